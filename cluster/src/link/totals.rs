//! What is counted of the links to one sibling, over all of them since the process started.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::cluster::{Dialect, LinkStats};
use crate::{Counter, NodeName};

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

    /// All this for operators, with what does not stand here left at 0.
    pub(crate) fn stats(&self, sibling: &NodeName, dialect: Dialect, up: bool) -> LinkStats {
        let rtt_of_sibling_us = self.rtt_of_sibling_us.load(Ordering::Relaxed);
        let [rtt, rtt_of_sibling] = [self.rtt_us(), rtt_of_sibling_us]
            .map(|us| (us > 0).then(|| Duration::from_micros(us)));
        LinkStats {
            sibling: sibling.clone(),
            dialect,
            up,
            queue_bytes: 0,
            window_bytes: 0,
            publications_sent: 0,
            bytes_sent: self.bytes_sent.get(),
            bytes_received: self.bytes_received.get(),
            resumed: self.resumed.get(),
            frames_resent: self.frames_resent.get(),
            publications_lost: self.lost.get(),
            rtt,
            rtt_of_sibling,
        }
    }
}
