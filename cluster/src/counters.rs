//! What the cluster layer counts, and a brake on what it logs.

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
    /// Publications that waited for a sibling when its link ended. The sibling has left and, if it could, joined again.
    pub publications_dropped: Counter,
    /// Publications that were not sent to a sibling because they are longer than a link carries.
    pub publications_too_large: Counter,
    /// Publications that siblings sent here.
    pub publications_received: Counter,
    /// Publications of siblings that could not be read, or whose channel does not travel.
    pub publications_invalid: Counter,
    /// Connections that did not prove that they know the secret.
    pub handshakes_failed: Counter,
    /// Connections turned away because too many others were not authenticated yet.
    pub connections_over_limit: Counter,
    /// Connections from addresses outside `allow`.
    pub connections_not_allowed: Counter,
    /// Nodes that knew the secret and were refused all the same.
    pub nodes_refused: Counter,
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
        if state
            .0
            .is_some_and(|last| now.saturating_sub(last) < LOG_INTERVAL)
        {
            state.1 += 1;
            return None;
        }
        state.0 = Some(now);
        Some(std::mem::take(&mut state.1))
    }
}
