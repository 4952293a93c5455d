//! The file with the secrets of the mesh, read again and again: a secret is replaced without a restart.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

use crate::config::{Secret, read_secret_file};
use crate::node::Shared;

/// Time between two looks at the file. A mounted Kubernetes secret takes a minute to arrive, so there is no hurry.
const LOOK: Duration = Duration::from_secs(5);

/// Looks at the file on the timer and whenever [`Shared::reload`] is notified, until it is dropped.
pub(crate) async fn watch(shared: Arc<Shared>) {
    let (Some(file), Some(secret)) = (
        shared.config.mesh.secret_file.clone(),
        shared.config.mesh.secret.clone(),
    ) else {
        return;
    };
    let mut watched = Watched {
        file,
        valid: secret,
        problem: None,
    };
    let mut timer = interval(LOOK);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shared.reload.notified() => {}
            _ = timer.tick() => {}
        }
        watched.look(&shared).await;
    }
}

struct Watched {
    file: PathBuf,
    /// What the node goes by.
    valid: Secret,
    /// What was wrong with the file at the last look. Said once.
    problem: Option<String>,
}

impl Watched {
    async fn look(&mut self, shared: &Shared) {
        let file = self.file.clone();
        // A file may be on a slow disk; the worker must not wait for it.
        let read = tokio::task::spawn_blocking(move || read_secret_file(&file)).await;
        match read.unwrap_or_else(|error| Err(error.to_string())) {
            Ok((text, _)) if text == self.valid => self.problem = None,
            Ok((text, secrets)) => {
                (self.valid, self.problem) = (text, None);
                let Some(cluster) = shared.cluster.cluster() else {
                    return;
                };
                let count = secrets.count();
                cluster.set_secrets(secrets);
                shared
                    .metrics
                    .secret_reloads
                    .with_label_values(&["changed"])
                    .inc();
                info!(file = %self.file.display(), secrets = count, "the secrets of the mesh have changed");
            }
            Err(problem) => {
                if self.problem.as_ref() != Some(&problem) {
                    shared
                        .metrics
                        .secret_reloads
                        .with_label_values(&["failed"])
                        .inc();
                    warn!(file = %self.file.display(), problem, "mesh.secret_file cannot be used: the node goes on with the secrets it has");
                    self.problem = Some(problem);
                }
            }
        }
    }
}
