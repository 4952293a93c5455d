//! What has gone over the connections of a client, and how long a ping took.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

/// What a client has counted since it was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Traffic {
    /// Bytes of Bayeux frames sent: JSON text, without what the transport puts around it.
    pub bytes_sent: u64,
    /// Bytes of Bayeux frames received.
    pub bytes_received: u64,
    /// The last round trip of a ping; `None` before the first, and without [`ping`](crate::ClientBuilder::ping).
    pub round_trip: Option<Duration>,
}

/// Counts for one client, over all its connections.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    sent: AtomicU64,
    received: AtomicU64,
    /// In microseconds; 0 before the first.
    round_trip: AtomicU64,
}

impl Meter {
    pub(crate) fn sent(&self, bytes: usize) {
        self.sent.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn received(&self, bytes: usize) {
        self.received.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn measured(&self, round_trip: Duration) {
        let us = u64::try_from(round_trip.as_micros()).unwrap_or(u64::MAX);
        self.round_trip.store(us.max(1), Ordering::Relaxed);
    }

    pub(crate) fn traffic(&self) -> Traffic {
        let us = self.round_trip.load(Ordering::Relaxed);
        Traffic {
            bytes_sent: self.sent.load(Ordering::Relaxed),
            bytes_received: self.received.load(Ordering::Relaxed),
            round_trip: (us > 0).then(|| Duration::from_micros(us)),
        }
    }
}
