//! The monotonic clock that the cluster layer reads.

use std::time::Duration;

use halley_bayeux::Millis;
use tokio::time::Instant;

/// A monotonic clock with an arbitrary origin. It follows tokio's time, so that paused and simulated time work.
///
/// The node makes one and shares it with everything that talks to the engine, because the engine's instants are only
/// comparable when they have the same origin.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    origin: Instant,
}

impl Clock {
    /// A clock whose origin is now.
    pub fn start() -> Self {
        Self::with_origin(Instant::now())
    }

    /// A clock with the given origin.
    pub fn with_origin(origin: Instant) -> Self {
        Self { origin }
    }

    /// Time since the origin.
    pub fn elapsed(&self) -> Duration {
        Instant::now().saturating_duration_since(self.origin)
    }

    /// The instant for the engine: milliseconds since the origin.
    pub fn now(&self) -> Millis {
        Millis(u64::try_from(self.elapsed().as_millis()).unwrap_or(u64::MAX))
    }
}
