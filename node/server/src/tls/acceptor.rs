//! The certificate in use, and its exchange.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::files::{Content, Loaded, TlsFiles, TlsProblem};
use crate::metrics::Metrics;

/// What the client listener needs for TLS.
#[derive(Debug)]
pub(crate) struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
    /// What the files held when they were last looked at, good or bad; held while they are looked at again.
    seen: Mutex<Content>,
    metrics: Arc<Metrics>,
    pub(crate) handshake_timeout: Duration,
}

impl Tls {
    /// Loads the files.
    ///
    /// # Errors
    /// They cannot be read, are not PEM, or do not belong together.
    pub(crate) fn load(
        files: TlsFiles,
        handshake_timeout: Duration,
        metrics: Arc<Metrics>,
    ) -> Result<Self, TlsProblem> {
        let (content, loaded) = files.load()?;
        announce("TLS certificate loaded", &loaded, &metrics);
        Ok(Self {
            files,
            current: ArcSwap::new(loaded.config),
            seen: Mutex::new(content),
            metrics,
            handshake_timeout,
        })
    }

    /// The certificate for the next handshake.
    pub(crate) fn current(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }

    /// A handshake did not succeed.
    pub(crate) fn failed(&self) {
        self.metrics.tls_handshake_failures.inc();
    }

    /// Reads the files again; blocks for as long as that takes. Files that did not change since the last look change
    /// nothing, and neither do bad ones, which are logged and counted once.
    pub(crate) fn reload(&self) {
        let mut seen = self.seen.lock();
        let result = match self.files.read() {
            Ok(content) if content == *seen => return,
            Ok(content) => {
                let built = self.files.build(&content);
                *seen = content;
                built
            }
            Err(problem) => Err(problem),
        };
        match result {
            Ok(loaded) => {
                self.current.store(Arc::clone(&loaded.config));
                announce("TLS certificate reloaded", &loaded, &self.metrics);
                self.metrics.tls_reloads.inc();
            }
            Err(problem) => {
                self.metrics.tls_reload_failures.inc();
                error!(%problem, "the new TLS certificate cannot be used; the old one stays");
            }
        }
    }

    /// Reloads now and then until told to end.
    pub(crate) async fn keep_fresh(self: Arc<Self>, every: Duration, end: CancellationToken) {
        keep_fresh(every, end, move || self.reload()).await;
    }
}

/// Calls `reload`, which may block, now and then until told to end.
pub(super) async fn keep_fresh(
    every: Duration,
    end: CancellationToken,
    reload: impl Fn() + Send + Sync + 'static,
) {
    let reload = Arc::new(reload);
    let mut period = tokio::time::interval(every);
    period.set_missed_tick_behavior(MissedTickBehavior::Delay);
    period.tick().await;
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = period.tick() => {}
        }
        let reload = Arc::clone(&reload);
        if let Err(error) = tokio::task::spawn_blocking(move || reload()).await {
            error!(%error, "reading TLS certificates again failed");
        }
    }
}

fn announce(what: &str, loaded: &Loaded, metrics: &Metrics) {
    metrics.tls_certificate_expiry.set(loaded.expiry);
    say(what, loaded.expiry);
}

/// Logs how long a certificate holds.
pub(super) fn say(what: &str, expiry: i64) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        });
    let days_left = (expiry - now).div_euclid(86_400);
    if expiry <= now {
        warn!(
            expiry_seconds = expiry,
            days_left, "{what}, but it has expired"
        );
    } else {
        info!(expiry_seconds = expiry, days_left, "{what}");
    }
}
