//! Waiting for conditions under deadlines.

use std::time::Duration;

use tokio::time::Instant;

/// A deadline as this machine deserves it: multiplied by `HALLEY_TEST_PATIENCE`, for slow machines.
#[must_use]
pub fn patience(deadline: Duration) -> Duration {
    let factor = std::env::var("HALLEY_TEST_PATIENCE")
        .ok()
        .and_then(|text| text.parse::<f64>().ok())
        .unwrap_or(1.0);
    deadline.mul_f64(factor.clamp(0.1, 100.0))
}

/// Asks again and again until the answer is `Ok`; returns it and how long that took.
///
/// # Errors
/// The deadline passed; the error says what was seen last.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut check: impl AsyncFnMut() -> anyhow::Result<T>,
) -> anyhow::Result<(T, Duration)> {
    let started = Instant::now();
    let deadline = patience(deadline);
    loop {
        match check().await {
            Ok(value) => return Ok((value, started.elapsed())),
            Err(error) if started.elapsed() > deadline => {
                anyhow::bail!(
                    "{what}: not within {} ms; last seen: {error:#}",
                    deadline.as_millis()
                )
            }
            Err(_) => tokio::time::sleep(Duration::from_millis(25)).await,
        }
    }
}
