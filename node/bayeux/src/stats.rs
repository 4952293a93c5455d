use std::sync::atomic::{AtomicI64, Ordering};

/// Shards of a counter: enough that the threads of a node rarely share one.
const SHARDS: usize = 16;

#[repr(align(64))]
#[derive(Debug, Default)]
struct Shard(AtomicI64);

/// A counter that threads add to without sharing a cache line.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    shards: [Shard; SHARDS],
}

impl Counter {
    pub(crate) fn add(&self, n: i64) {
        use std::cell::Cell;
        use std::sync::atomic::AtomicUsize;
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        thread_local! {
            static SHARD: Cell<usize> = Cell::new(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        let shard = SHARD.try_with(Cell::get).unwrap_or(0);
        self.shards[shard].0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn sum(&self) -> u64 {
        let sum: i64 = self
            .shards
            .iter()
            .map(|shard| shard.0.load(Ordering::Relaxed))
            .sum();
        // Shards are read one after the other: a sum that passes zero downwards in between is zero.
        u64::try_from(sum).unwrap_or(0)
    }
}

/// The counters behind [`EngineStats`].
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) received: Counter,
    pub(crate) delivered: Counter,
    pub(crate) queue_bytes: Counter,
    pub(crate) overflows: Counter,
    pub(crate) expired: Counter,
    pub(crate) handshakes: Counter,
}

/// What the engine counts. Totals only grow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineStats {
    /// Sessions now, local ones included.
    pub sessions: u64,
    /// Channels now.
    pub channels: u64,
    /// Subscriptions of sessions now.
    pub subscriptions: u64,
    /// Bytes of publications waiting in session queues now. A publication counts once per session.
    pub queue_bytes: u64,
    /// Messages received from clients.
    pub messages_received: u64,
    /// Publications queued for sessions or handed to local sessions.
    pub messages_delivered: u64,
    /// Sessions made.
    pub handshakes: u64,
    /// Sessions ended because their queue was full.
    pub queue_overflows: u64,
    /// Sessions ended because their client was silent.
    pub expired: u64,
    /// Remote calls without an answer yet.
    pub calls: u64,
}
