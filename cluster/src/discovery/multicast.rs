//! Discovery by multicast: advertise at start and then at every interval; listen to others.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::advert::{Advert, DATAGRAM_BYTES_MAX};
use crate::MulticastConfig;
use crate::counters::LogBrake;
use crate::membership::Source;
use crate::net::{Datagrams, Net};
use crate::runtime::{Event, Shared};

/// Datagrams whose MAC is checked per second; the others are ignored, and nodes advertise again.
const DATAGRAMS_PER_SECOND_MAX: u32 = 2000;

/// Advertises and listens until the runtime ends. A socket that fails is opened again.
pub(crate) async fn run<N: Net>(net: N, group: MulticastConfig, shared: Arc<Shared>) {
    let brake = LogBrake::default();
    loop {
        match net.join(&group).await {
            Ok(datagrams) => {
                let error = exchange(&datagrams, &group, &shared).await;
                tracing::warn!(%error, "the multicast socket failed and is opened again");
            }
            Err(error) => {
                if let Some(suppressed) = brake.pass(shared.clock.elapsed()) {
                    let (group, port) = (group.group, group.port);
                    tracing::warn!(%group, port, %error, suppressed, "the multicast group cannot be joined");
                }
            }
        }
        sleep(shared.random.jitter(group.interval)).await;
    }
}

async fn exchange(
    datagrams: &impl Datagrams,
    group: &MulticastConfig,
    shared: &Shared,
) -> std::io::Error {
    let ignored = LogBrake::default();
    let mut advertise_at = Instant::now();
    let mut counter = 0;
    // One byte more than allowed, so that what was cut off is seen to be too long.
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX + 1];
    let mut rate = (shared.clock.elapsed(), 0u32);
    loop {
        let received = tokio::select! {
            biased;
            () = sleep_until(advertise_at) => None,
            received = datagrams.receive(&mut buffer) => Some(received),
        };
        match received {
            None => {
                counter += 1;
                advertise_at = Instant::now() + shared.random.jitter(group.interval);
                let advert = Advert {
                    member: shared.me(),
                    counter,
                };
                let Some(datagram) = advert.seal(&shared.secrets()) else {
                    tracing::warn!("the client address is too long to be advertised by multicast");
                    continue;
                };
                if let Err(error) = datagrams.send(&datagram).await {
                    tracing::debug!(%error, "an advertisement could not be sent");
                }
            }
            Some(Ok((length, from))) => {
                let now = shared.clock.elapsed();
                if now.saturating_sub(rate.0) >= Duration::from_secs(1) {
                    rate = (now, 0);
                }
                rate.1 += 1;
                let advert = (rate.1 <= DATAGRAMS_PER_SECOND_MAX)
                    .then(|| Advert::open(&buffer[..length], &shared.secrets()))
                    .flatten();
                match advert {
                    Some(advert) if advert.member.incarnation == shared.me().incarnation => {}
                    Some(advert) => {
                        shared
                            .event(Event::Learned(advert.member.mesh_address, Source::Hint))
                            .await;
                    }
                    None => {
                        shared.counters.datagrams_ignored.add(1);
                        if let Some(suppressed) = ignored.pass(now) {
                            tracing::warn!(%from, length, suppressed, "a datagram that is no advertisement of this cluster");
                        }
                    }
                }
            }
            Some(Err(error)) => return error,
        }
    }
}
