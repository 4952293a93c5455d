//! The delay before the next attempt: doubles up to a bound, with jitter.

use std::time::Duration;

/// Counts failed attempts and draws the delay before the next one.
///
/// The delay before attempt *n* lies between half of and the whole of `first * 2^n`, never above `max`. The jitter
/// keeps clients that lost the same node from returning in the same instant.
#[derive(Debug)]
pub(crate) struct Backoff {
    first: Duration,
    max: Duration,
    attempts: u32,
}

impl Backoff {
    pub(crate) fn new(first: Duration, max: Duration) -> Self {
        Self {
            first,
            max,
            attempts: 0,
        }
    }

    /// How many delays were drawn since the last success.
    pub(crate) fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Something worked: the next delay is the shortest again.
    pub(crate) fn reset(&mut self) {
        self.attempts = 0;
    }

    /// Like [`Self::next`], but no delay at all before the first attempt.
    pub(crate) fn next_eager(&mut self) -> Duration {
        let first = self.attempts == 0;
        let delay = self.next();
        if first { Duration::ZERO } else { delay }
    }

    /// The delay before the next attempt.
    pub(crate) fn next(&mut self) -> Duration {
        let whole = self
            .first
            .saturating_mul(1 << self.attempts.min(20))
            .min(self.max);
        self.attempts = self.attempts.saturating_add(1);
        whole.mul_f64(rand::random_range(0.5..=1.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_within_its_bounds_and_starts_over() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        for whole in [100, 200, 400, 800, 1000, 1000] {
            let delay = backoff.next();
            assert!(
                delay >= Duration::from_millis(whole / 2),
                "{delay:?} for {whole}"
            );
            assert!(
                delay <= Duration::from_millis(whole),
                "{delay:?} for {whole}"
            );
        }
        backoff.reset();
        assert!(backoff.next() <= Duration::from_millis(100));
    }

    #[test]
    fn never_overflows() {
        let mut backoff = Backoff::new(Duration::from_secs(3600), Duration::from_secs(7200));
        for _ in 0..100 {
            assert!(backoff.next() <= Duration::from_secs(7200));
        }
    }

    #[test]
    fn clients_that_begin_together_do_not_come_back_together() {
        let delay = |_| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).next();
        let delays: std::collections::BTreeSet<_> = (0..20).map(delay).collect();
        assert!(delays.len() > 10, "{delays:?}");
    }
}
