//! What is counted of the links to one sibling, over all of them since the process started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Counter;

/// The totals of one sibling.
#[derive(Debug, Default)]
pub(crate) struct LinkTotals {
    /// Bytes of frames written.
    pub(crate) bytes_sent: Counter,
    /// Bytes of frames read.
    pub(crate) bytes_received: Counter,
    /// How often a link to the sibling went on over another connection.
    pub(crate) resumed: Counter,
    /// Frames that were written again.
    pub(crate) frames_resent: Counter,
    /// Publications lost with a link.
    pub(crate) lost: Counter,
    rtt_us: AtomicU64,
    rtt_of_sibling_us: AtomicU64,
}

impl LinkTotals {
    pub(crate) fn measured(&self, rtt: Duration) {
        let us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX).max(1);
        self.rtt_us.store(us, Ordering::Relaxed);
    }

    /// What the sibling has measured on its link to this node; 0: nothing yet.
    pub(crate) fn told(&self, rtt_us: u64) {
        if rtt_us > 0 {
            self.rtt_of_sibling_us.store(rtt_us, Ordering::Relaxed);
        }
    }

    /// The last round trip on this node's link in microseconds; 0 before the first.
    pub(crate) fn rtt_us(&self) -> u64 {
        self.rtt_us.load(Ordering::Relaxed)
    }

    /// The last round trip on this node's link, and on the sibling's.
    pub(crate) fn rtts(&self) -> [Option<Duration>; 2] {
        let rtt_of_sibling_us = self.rtt_of_sibling_us.load(Ordering::Relaxed);
        [self.rtt_us(), rtt_of_sibling_us].map(|us| (us > 0).then(|| Duration::from_micros(us)))
    }
}
