//! What the server advises about reconnecting.

use std::time::Duration;

use serde::Deserialize;

/// Longest interval and timeout the client follows; a larger number in an advice is taken as this.
const ADVISED_MAX: Duration = Duration::from_secs(3600);

/// The `reconnect` field of an advice.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reconnect {
    Retry,
    Handshake,
    None,
}

/// The latest advice. A new one replaces the old one wholly; a field it lacks falls back to the default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Advice {
    /// Absent when the server named none, or one that Bayeux does not know.
    pub(crate) reconnect: Option<Reconnect>,
    /// How long to wait between two connects.
    pub(crate) interval: Duration,
    /// How long the server holds a connect.
    pub(crate) timeout: Duration,
}

impl Default for Advice {
    /// What stock clients assume: connects held for a minute, no pause between them.
    fn default() -> Self {
        Self {
            reconnect: None,
            interval: Duration::ZERO,
            timeout: Duration::from_secs(60),
        }
    }
}

#[derive(Deserialize)]
struct Raw<'a> {
    #[serde(borrow, default)]
    reconnect: Option<std::borrow::Cow<'a, str>>,
    #[serde(default)]
    interval: Option<f64>,
    #[serde(default)]
    timeout: Option<f64>,
}

impl Advice {
    /// Reads an advice object. One that cannot be read counts as empty: the defaults are always safe.
    pub(crate) fn read(json: &str) -> Self {
        let mut advice = Self::default();
        if let Ok(raw) = serde_json::from_str::<Raw<'_>>(json) {
            advice.reconnect = match raw.reconnect.as_deref() {
                Some("retry") => Some(Reconnect::Retry),
                Some("handshake") => Some(Reconnect::Handshake),
                Some("none") => Some(Reconnect::None),
                _ => None,
            };
            advice.interval = raw.interval.map_or(advice.interval, milliseconds);
            advice.timeout = raw.timeout.map_or(advice.timeout, milliseconds);
        }
        advice
    }
}

fn milliseconds(value: f64) -> Duration {
    // `clamp` keeps a NaN, which JSON cannot carry, and `as` would turn it into 0 all the same.
    Duration::from_millis(value.clamp(0.0, 1e12) as u64).min(ADVISED_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaces_wholly_over_the_defaults() {
        let advice = Advice::read(r#"{"reconnect":"handshake","interval":5}"#);
        assert_eq!(advice.reconnect, Some(Reconnect::Handshake));
        assert_eq!(advice.interval, Duration::from_millis(5));
        assert_eq!(advice.timeout, Duration::from_secs(60));
    }

    #[test]
    fn bounds_what_it_follows() {
        let advice = Advice::read(r#"{"interval":-1,"timeout":1e300,"reconnect":"whatever"}"#);
        assert_eq!(
            (advice.interval, advice.timeout),
            (Duration::ZERO, ADVISED_MAX)
        );
        assert_eq!(advice.reconnect, None);
        assert_eq!(Advice::read(r#"{"interval":"soon"}"#), Advice::default());
        assert_eq!(Advice::read("7"), Advice::default());
    }
}
