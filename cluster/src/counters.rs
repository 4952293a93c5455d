//! What the cluster layer counts, and a brake on what it logs.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

/// A number that only grows.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    pub(crate) fn add(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// The number at present.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What the cluster layer has counted since it started.
#[derive(Debug, Default)]
pub struct Counters {
    /// Links that were reset because one of their queues was full.
    pub links_reset_queue_full: Counter,
    /// Publications lost with links: they waited for a sibling, or were under way, when its link ended for good. The sibling
    /// has left and, if it could, joined again.
    pub publications_dropped: Counter,
    /// Publications that were not sent to a sibling because they are longer than a link carries.
    pub publications_too_large: Counter,
    /// Siblings that asked for more channels than this node remembers for one, and are sent everything instead.
    pub interest_coarse: Counter,
    /// Publications that siblings sent here.
    pub publications_received: Counter,
    /// Publications of siblings that could not be read, or whose channel does not travel.
    pub publications_invalid: Counter,
    /// Connections that did not prove that they know the secret.
    pub handshakes_failed: Counter,
    /// Connections, in either direction, that failed because of TLS: a certificate that does not do, or TLS on one side only.
    pub tls_failures: Counter,
    /// Handshakes that failed, on either side, because the two nodes have no version of the mesh protocol in common.
    pub version_mismatches: Counter,
    /// Connections of this node that the other side closed during the handshake: most likely the secret differs.
    pub dials_closed: Counter,
    /// Connections closed to make room, because too many were not authenticated yet.
    pub connections_over_limit: Counter,
    /// Connections from addresses outside `allow`.
    pub connections_not_allowed: Counter,
    /// Nodes that knew the secret and were refused all the same.
    pub nodes_refused: Counter,
    /// Nodes refused because another live node has the same name and gives the same address.
    pub name_conflicts: Counter,
    /// Datagrams that were no advertisement of this cluster, or came too fast.
    pub datagrams_ignored: Counter,
    /// Answers of the DNS with addresses.
    pub dns_answers: Counter,
    /// Questions to the DNS that had no answer, or an empty one.
    pub dns_failures: Counter,
    /// Addresses in answers of the DNS that are outside `allow`, counted when they appear.
    pub dns_addresses_not_allowed: Counter,
    /// State messages for which this node has no handler.
    pub state_unhandled: Counter,
    /// Oort handshakes that were refused: a wrong digest, a URL that is not this node's, or no node at all.
    pub oort_refused: Counter,
    /// Publications that were queued for nodes of the Oort dialect.
    pub oort_publications_sent: Counter,
    /// Presence, objects and other messages that were not sent to an Oort node because they are longer than it takes.
    pub oort_too_large: Counter,
    /// How often this node started over because its process had been suspended.
    pub suspensions: Counter,
}

/// Lets one log line through per interval, and counts the others.
#[derive(Debug, Default)]
pub(crate) struct LogBrake(Mutex<(Option<Duration>, u64)>);

const LOG_INTERVAL: Duration = Duration::from_secs(10);

impl LogBrake {
    /// How many lines were held back since the last one, if one may be written now.
    pub(crate) fn pass(&self, now: Duration) -> Option<u64> {
        let mut state = self.0.lock();
        if held(state.0, now) {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }

    /// Whether a line would be held back now.
    fn holds(&self, now: Duration) -> bool {
        held(self.0.lock().0, now)
    }
}

fn held(last: Option<Duration>, now: Duration) -> bool {
    last.is_some_and(|last| now.saturating_sub(last) < LOG_INTERVAL)
}

/// What is logged about connections.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Problem {
    NotAllowed,
    OverLimit,
    WrongSecret,
    Tls,
    Handshake,
    Refused,
    NameConflict,
    ClosedByOther,
}

/// A brake per problem and address, so that none hides another. When there are too many addresses, the others of the same
/// problem share one.
#[derive(Debug, Default)]
pub(crate) struct LogBrakes(Mutex<BTreeMap<(Problem, Option<SocketAddr>), LogBrake>>);

const BRAKES_MAX: usize = 256;

impl LogBrakes {
    /// As [`LogBrake::pass`].
    pub(crate) fn pass(&self, problem: Problem, address: SocketAddr, now: Duration) -> Option<u64> {
        let mut brakes = self.0.lock();
        let mut key = (problem, Some(address));
        if brakes.len() >= BRAKES_MAX && !brakes.contains_key(&key) {
            brakes.retain(|(_, address), brake| address.is_none() || brake.holds(now));
            if brakes.len() >= BRAKES_MAX {
                key.1 = None;
            }
        }
        brakes.entry(key).or_default().pass(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_problem_and_no_address_hides_another_and_the_brakes_are_bounded() {
        let brakes = LogBrakes::default();
        let at = |port| SocketAddr::from(([10, 0, 0, 1], port));
        let second = Duration::from_secs(1);
        assert_eq!(brakes.pass(Problem::Refused, at(1), second), Some(0));
        assert_eq!(brakes.pass(Problem::Refused, at(1), second), None);
        assert_eq!(brakes.pass(Problem::WrongSecret, at(1), second), Some(0));
        assert_eq!(brakes.pass(Problem::Refused, at(2), second), Some(0));
        assert_eq!(brakes.pass(Problem::Refused, at(1), second * 20), Some(1));
        let passed = (1..2000)
            .filter(|port| {
                brakes
                    .pass(Problem::OverLimit, at(*port), second * 20)
                    .is_some()
            })
            .count();
        assert!(passed <= BRAKES_MAX + 1 && brakes.0.lock().len() <= BRAKES_MAX + 6);
        assert_eq!(
            brakes.pass(Problem::WrongSecret, at(9), second * 40),
            Some(0)
        );
    }
}
