//! The one source of randomness of the cluster layer.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// A cryptographically strong source of random numbers, seeded from the system or, in simulations, from a number.
///
/// Nonces, incarnations and jitter come from here and from nowhere else: that makes a simulated run repeatable.
#[derive(Clone)]
pub struct RandomSource(Arc<Mutex<StdRng>>);

impl RandomSource {
    /// Seeded by the operating system. What a real node uses.
    pub fn system() -> Self {
        Self(Arc::new(Mutex::new(StdRng::from_rng(&mut rand::rng()))))
    }

    /// Seeded by a number: repeatable, and therefore only for simulations.
    pub fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A random number.
    pub fn next_u64(&self) -> u64 {
        self.0.lock().next_u64()
    }

    /// Random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().fill_bytes(&mut bytes);
        bytes
    }

    /// A duration between half of the given one and the whole of it.
    pub fn jitter(&self, whole: Duration) -> Duration {
        let whole_us = u64::try_from(whole.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(self.0.lock().random_range(whole_us / 2..=whole_us))
    }
}

impl fmt::Debug for RandomSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RandomSource(..)")
    }
}
