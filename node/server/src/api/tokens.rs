//! Which application a request comes from, and what it may do. The files with the tokens are read again and again, so that one is
//! replaced without a restart.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use halley_bayeux::ChannelName;
use http::HeaderMap;
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::admin::bearer;
use crate::config::{ApiConfig, ApiKeys, ApiRole, ApiToken, ambiguous, read_api_keys};
use crate::metrics::Metrics;

/// Time between two looks at the files. A mounted Kubernetes secret takes a minute to arrive, so there is no hurry.
const LOOK: Duration = Duration::from_secs(5);

/// An application.
#[derive(Debug)]
pub(super) struct App(ApiToken);

impl App {
    pub(super) fn name(&self) -> &str {
        &self.0.name
    }

    pub(super) fn has(&self, role: ApiRole) -> bool {
        self.0.roles.contains(&role)
    }

    /// Whether the application may use this channel, for whatever it has a role.
    pub(super) fn may_use(&self, channel: &ChannelName) -> bool {
        let patterns = &self.0.channels;
        patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(channel))
    }
}

/// All applications and their tokens.
pub(crate) struct Tokens {
    apps: Vec<App>,
    /// The tokens of each application, in the same order.
    keys: ArcSwap<Vec<ApiKeys>>,
    /// Notified when the files are to be read again at once.
    reload: Notify,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens")
            .field("apps", &self.apps)
            .finish_non_exhaustive()
    }
}

impl Tokens {
    pub(crate) fn new(config: &ApiConfig) -> Arc<Self> {
        Arc::new(Self {
            apps: config.tokens.iter().cloned().map(App).collect(),
            keys: ArcSwap::from_pointee(config.keys().to_vec()),
            reload: Notify::new(),
        })
    }

    /// The application whose token the request shows. Takes the same time whichever it is.
    pub(super) fn app(&self, headers: &HeaderMap) -> Option<&App> {
        let given = bearer(headers)?;
        let mut found = None;
        for (app, keys) in self.apps.iter().zip(self.keys.load().iter()) {
            for key in keys {
                if key.matches(given) {
                    found = Some(app);
                }
            }
        }
        found
    }

    /// The application with this name.
    pub(super) fn named(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.name() == name)
    }

    /// Has the files read again now.
    pub(crate) fn reload(&self) {
        self.reload.notify_one();
    }

    /// Looks at the files on a timer and whenever it is told to, until it is dropped.
    pub(crate) async fn watch(self: Arc<Self>, metrics: Arc<Metrics>) {
        let mut problems = vec![None; self.apps.len()];
        let mut timer = interval(LOOK);
        timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.reload.notified() => {}
                _ = timer.tick() => {}
            }
            self.look(&mut problems, &metrics).await;
        }
    }

    /// A file that cannot be used changes nothing for its application: it keeps the tokens it has. `problems` holds what was wrong at
    /// the last look, so that it is said once.
    async fn look(&self, problems: &mut [Option<String>], metrics: &Metrics) {
        let reloads = |result| metrics.api_token_reloads.with_label_values(&[result]).inc();
        for (at, app) in self.apps.iter().enumerate() {
            let Some(file) = app.0.token_file.clone() else {
                continue;
            };
            let path = file.clone();
            // A file may be on a slow disk; the worker must not wait for it.
            let read = tokio::task::spawn_blocking(move || read_api_keys(&path)).await;
            let next = read.unwrap_or_else(|error| Err(error.to_string()));
            let next = next.and_then(|next| self.replaced(at, next));
            match next {
                Ok(None) => problems[at] = None,
                Ok(Some(keys)) => {
                    problems[at] = None;
                    self.keys.store(Arc::new(keys));
                    reloads("changed");
                    info!(file = %file.display(), app = app.name(), "the tokens of an application have changed");
                }
                Err(problem) if problems[at].as_ref() != Some(&problem) => {
                    reloads("failed");
                    warn!(file = %file.display(), app = app.name(), problem, "the file cannot be used: the application keeps the tokens it has");
                    problems[at] = Some(problem);
                }
                Err(_) => {}
            }
        }
    }

    /// All tokens with these in place of those of one application; `None` when they are the same.
    fn replaced(&self, at: usize, next: ApiKeys) -> Result<Option<Vec<ApiKeys>>, String> {
        let mut keys = Vec::clone(&self.keys.load());
        if keys[at] == next {
            return Ok(None);
        }
        keys[at] = next;
        match ambiguous(&keys) {
            None => Ok(Some(keys)),
            Some(_) => Err("holds a token of another application".to_owned()),
        }
    }
}
