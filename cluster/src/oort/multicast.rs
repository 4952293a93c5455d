//! Discovery by multicast, as Java nodes do it: a datagram is a URL and nothing else.
//!
//! Nothing proves who has sent it. So a URL is only tried, within `mesh.allow`, and forgotten when it gives no session;
//! the node at its end must know the secret.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep, sleep_until};

use super::OortSide;
use super::url::OortUrl;
use crate::MulticastConfig;
use crate::counters::LogBrake;
use crate::net::{Datagrams, Net};
use crate::runtime::Shared;

/// The longest datagram, as in CometD.
const DATAGRAM_BYTES_MAX: usize = 1400;
/// Datagrams that are looked at per second.
const DATAGRAMS_PER_SECOND_MAX: u32 = 200;

/// Advertises and listens until the runtime ends. A socket that fails is opened again.
pub(crate) async fn run_multicast<N: Net>(
    net: N,
    group: MulticastConfig,
    shared: Arc<Shared>,
    side: Arc<OortSide>,
) {
    let brake = LogBrake::default();
    loop {
        let error = match net.join(&group).await {
            Ok(datagrams) => exchange(&datagrams, &group, &shared, &side).await,
            Err(error) => error,
        };
        if let Some(suppressed) = brake.pass(shared.clock.elapsed()) {
            let (group, port) = (group.group, group.port);
            tracing::warn!(%group, port, %error, suppressed, "the multicast group of Oort cannot be used");
        }
        sleep(shared.random.jitter(group.interval)).await;
    }
}

async fn exchange(
    datagrams: &impl Datagrams,
    group: &MulticastConfig,
    shared: &Shared,
    side: &OortSide,
) -> std::io::Error {
    let mut advertise_at = Instant::now();
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
                advertise_at = Instant::now() + shared.random.jitter(group.interval);
                if let Err(error) = datagrams.send(side.url().as_str().as_bytes()).await {
                    tracing::debug!(%error, "an Oort advertisement could not be sent");
                }
            }
            Some(Ok((length, from))) => {
                let now = shared.clock.elapsed();
                if now.saturating_sub(rate.0) >= Duration::from_secs(1) {
                    rate = (now, 0);
                }
                rate.1 += 1;
                let url = std::str::from_utf8(&buffer[..length])
                    .ok()
                    .filter(|_| rate.1 <= DATAGRAMS_PER_SECOND_MAX)
                    .filter(|_| length <= DATAGRAM_BYTES_MAX)
                    .filter(|_| shared.config.allows(from.ip()))
                    .and_then(|text| OortUrl::parse(text).ok());
                match url {
                    Some(url) => side.observe(url.as_str()),
                    None => shared.counters.datagrams_ignored.add(1),
                }
            }
            Some(Err(error)) => return error,
        }
    }
}
