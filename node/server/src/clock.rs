//! The engine's time, made from the runtime's clock so that tests can hold it still.

use halley_bayeux::Millis;
use tokio::time::Instant;

/// Milliseconds since the node started.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    start: Instant,
}

impl Clock {
    /// A clock that starts now.
    #[must_use]
    pub fn start() -> Self {
        Self {
            start: Instant::now(),
        }
    }

    /// The same clock for the cluster layer: instants of one engine must have one origin.
    #[must_use]
    pub fn cluster(&self) -> halley_cluster::Clock {
        halley_cluster::Clock::with_origin(self.start)
    }

    /// The present instant.
    #[must_use]
    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.start.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
