//! A multicast group, whatever is said in it: advertise at start and then at every interval; listen to others.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use crate::MulticastConfig;
use crate::counters::LogBrake;
use crate::net::{Datagrams, Net};
use crate::runtime::Shared;

/// What a node says in a group, and what it makes of what others say.
pub(crate) trait Talk: Send {
    /// Greatest datagram in bytes. What is longer is ignored.
    const BYTES_MAX: usize;
    /// Datagrams that are looked at per second; the others are ignored, and nodes advertise again.
    const PER_SECOND_MAX: u32;
    /// What the group is for, in the log.
    const PURPOSE: &'static str;

    /// The next advertisement; none when there is nothing that can be said.
    fn advert(&mut self) -> Option<Vec<u8>>;
    /// A datagram. False when it is none of this group's.
    fn received(&mut self, datagram: &[u8], from: SocketAddr) -> impl Future<Output = bool> + Send;
}

/// Advertises and listens until the runtime ends. A socket that fails is opened again.
pub(crate) async fn run_group<N: Net, T: Talk>(
    net: N,
    group: MulticastConfig,
    shared: &Shared,
    mut talk: T,
) {
    let brake = LogBrake::default();
    loop {
        let error = match net.join(&group).await {
            Ok(datagrams) => exchange(&datagrams, &group, shared, &mut talk).await,
            Err(error) => error,
        };
        if let Some(suppressed) = brake.pass(shared.clock.elapsed()) {
            let (purpose, group, port) = (T::PURPOSE, group.group, group.port);
            tracing::warn!(purpose, %group, port, %error, suppressed, "the multicast group cannot be used");
        }
        sleep(shared.random.jitter(group.interval)).await;
    }
}

async fn exchange<T: Talk>(
    datagrams: &impl Datagrams,
    group: &MulticastConfig,
    shared: &Shared,
    talk: &mut T,
) -> io::Error {
    let ignored = LogBrake::default();
    let mut advertise_at = Instant::now();
    // One byte more than allowed, so that what was cut off is seen to be too long.
    let mut buffer = vec![0; T::BYTES_MAX + 1];
    let mut rate = (shared.clock.elapsed(), 0u32);
    loop {
        let received = tokio::select! {
            biased;
            () = sleep_until(advertise_at) => None,
            received = datagrams.receive(&mut buffer) => Some(received),
        };
        match received {
            None => {
                advertise_at = Instant::now() + shared.random.jitter(group.interval);
                let Some(datagram) = talk.advert() else {
                    continue;
                };
                if let Err(error) = datagrams.send(&datagram).await {
                    let purpose = T::PURPOSE;
                    tracing::debug!(purpose, %error, "an advertisement could not be sent");
                }
            }
            Some(Ok((length, from))) => {
                let now = shared.clock.elapsed();
                if now.saturating_sub(rate.0) >= Duration::from_secs(1) {
                    rate = (now, 0);
                }
                rate.1 += 1;
                let fits = rate.1 <= T::PER_SECOND_MAX && length <= T::BYTES_MAX;
                if fits && talk.received(&buffer[..length], from).await {
                    continue;
                }
                shared.counters.datagrams_ignored.add(1);
                if let Some(suppressed) = ignored.pass(now) {
                    let purpose = T::PURPOSE;
                    tracing::warn!(purpose, %from, length, suppressed, "a datagram that is no advertisement");
                }
            }
            Some(Err(error)) => return error,
        }
    }
}
