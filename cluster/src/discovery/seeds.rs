//! Static seeds: literal addresses once, host names again and again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{sleep, timeout};

use super::{ADDRESSES_PER_NAME_MAX, RESOLVE_TIMEOUT};
use crate::membership::Source;
use crate::net::Net;
use crate::runtime::{Event, Shared};

/// How often host names are resolved.
const RESOLVE_INTERVAL: Duration = Duration::from_secs(5);

/// Feeds the seeds to the runtime, until it ends.
pub(crate) async fn run<N: Net>(net: N, shared: Arc<Shared>) {
    let mut names = Vec::new();
    for seed in &shared.config.siblings {
        match seed.parse::<SocketAddr>() {
            Ok(address) => shared.event(Event::Learned(address, Source::Seed)).await,
            Err(_) => names.push(seed),
        }
    }
    while !names.is_empty() {
        for name in &names {
            match timeout(RESOLVE_TIMEOUT, net.resolve(name)).await {
                Ok(Ok(addresses)) => {
                    for address in addresses.into_iter().take(ADDRESSES_PER_NAME_MAX) {
                        shared.event(Event::Learned(address, Source::Hint)).await;
                    }
                }
                // The addresses of before are still dialled: no answer does not mean that nobody is there.
                Ok(Err(error)) => tracing::debug!(%name, %error, "a seed cannot be resolved"),
                Err(_) => tracing::debug!(%name, "a seed is not resolved in time"),
            }
        }
        let whole = RESOLVE_INTERVAL;
        sleep(shared.random.jitter(whole)).await;
    }
}
