//! Discovery by the DNS: the addresses of one name, asked for again and again.
//!
//! What an answer does not hold is not forgotten: it may be cut short, stale or empty, and siblings are judged by their
//! links alone. A pod that comes back with another address is dialled as soon as the answer holds it.

use std::collections::BTreeSet;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::time::{sleep, timeout};

use super::{ADDRESSES_PER_NAME_MAX, RESOLVE_TIMEOUT};
use crate::DnsConfig;
use crate::counters::LogBrake;
use crate::membership::Source;
use crate::net::Net;
use crate::runtime::{Event, Shared};

/// Asks until the runtime ends.
pub(crate) async fn run<N: Net>(net: N, dns: DnsConfig, shared: Arc<Shared>) {
    let failures = LogBrake::default();
    let mut answer = Answer::default();
    loop {
        let asked = timeout(RESOLVE_TIMEOUT, net.discover(&dns)).await;
        match asked.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())) {
            Ok(addresses) if !addresses.is_empty() => {
                shared.counters.dns_answers.add(1);
                answer.replace(addresses, &dns, &shared);
                for address in &answer.addresses {
                    shared.event(Event::Learned(*address, Source::Hint)).await;
                }
            }
            unknown => {
                shared.counters.dns_failures.add(1);
                if let Some(suppressed) = failures.pass(shared.clock.elapsed()) {
                    let problem = match unknown {
                        Ok(_) => "no address in the answer".to_owned(),
                        Err(error) => error.to_string(),
                    };
                    let name = &dns.name;
                    tracing::warn!(%name, problem, suppressed, "the DNS does not say where siblings are; those that are known stay");
                }
            }
        }
        sleep(shared.random.jitter(dns.interval)).await;
    }
}

/// The last answer that held something.
#[derive(Debug, Default)]
struct Answer {
    addresses: BTreeSet<SocketAddr>,
    not_allowed: LogBrake,
    too_many: LogBrake,
}

impl Answer {
    /// Takes the next one, and tells what has changed.
    fn replace(&mut self, addresses: Vec<SocketAddr>, dns: &DnsConfig, shared: &Shared) {
        let now = shared.clock.elapsed();
        let name = &dns.name;
        let mut next: BTreeSet<SocketAddr> = addresses.into_iter().collect();
        if let Some(beyond) = next.iter().nth(ADDRESSES_PER_NAME_MAX).copied() {
            let ignored = next.split_off(&beyond).len();
            if let Some(suppressed) = self.too_many.pass(now) {
                tracing::warn!(%name, ignored, suppressed, "the name stands for too many addresses");
            }
        }
        let new: Vec<SocketAddr> = next.difference(&self.addresses).copied().collect();
        let gone = self.addresses.difference(&next).count();
        for address in new.iter().filter(|new| !shared.config.allows(new.ip())) {
            shared.counters.dns_addresses_not_allowed.add(1);
            if let Some(suppressed) = self.not_allowed.pass(now) {
                tracing::warn!(%name, %address, suppressed, "the DNS names an address that is not allowed: it is not dialled");
            }
        }
        if !new.is_empty() || gone > 0 {
            let (addresses, new) = (next.len(), new.len());
            tracing::info!(%name, addresses, new, gone, "the addresses of the name have changed");
        }
        self.addresses = next;
    }
}
