//! The certificates of the mesh: from their files to the cluster layer, again and again.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use halley_cluster::{Cluster, MeshTls, MeshTlsError, MeshTlsPem, MeshTlsRules};
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tracing::error;

use super::acceptor::{keep_fresh, say};
use super::files::{READS_MAX, TlsProblem, expiry, read};
use crate::config::MeshTlsConfig;
use crate::metrics::Metrics;

/// Where the files are, and what holds beside them.
#[derive(Debug, Clone)]
pub(crate) struct MeshFiles {
    certificate: PathBuf,
    key: PathBuf,
    ca: PathBuf,
    rules: MeshTlsRules,
}

/// What the three files held.
#[derive(Clone, PartialEq, Eq)]
struct Content {
    certificate: Vec<u8>,
    key: Vec<u8>,
    ca: Vec<u8>,
}

impl MeshFiles {
    /// `None` without TLS on the mesh.
    pub(crate) fn of(config: &MeshTlsConfig) -> Option<Self> {
        Some(Self {
            certificate: config.certificate.clone()?,
            key: config.key.clone()?,
            ca: config.ca.clone()?,
            rules: MeshTlsRules {
                mode: config.mode,
                server_name: config.server_name.clone(),
                verify_clients: config.verify_clients,
            },
        })
    }

    /// Reads the files and makes something that can serve of them.
    pub(crate) fn load(&self) -> Result<MeshTls, TlsProblem> {
        Ok(self.build(&self.read()?)?.0)
    }

    /// Reads the files until nothing changed meanwhile, a few times.
    fn read(&self) -> Result<Content, TlsProblem> {
        let mut content = self.read_once()?;
        for _ in 1..READS_MAX {
            let again = self.read_once()?;
            if again == content {
                break;
            }
            content = again;
        }
        Ok(content)
    }

    fn read_once(&self) -> Result<Content, TlsProblem> {
        let of =
            |key: &'static str, file: &Path| read(file).map_err(|what| TlsProblem { key, what });
        Ok(Content {
            certificate: of("mesh.tls.certificate", &self.certificate)?,
            key: of("mesh.tls.key", &self.key)?,
            ca: of("mesh.tls.ca", &self.ca)?,
        })
    }

    /// What can serve, and when its certificate ends.
    fn build(&self, content: &Content) -> Result<(MeshTls, i64), TlsProblem> {
        let pem = MeshTlsPem {
            certificate: &content.certificate,
            key: &content.key,
            ca: &content.ca,
        };
        let tls = MeshTls::new(pem, &self.rules).map_err(|error| {
            let (key, file) = match &error {
                MeshTlsError::Certificate(_) => ("mesh.tls.certificate", Some(&self.certificate)),
                MeshTlsError::Key(_) => ("mesh.tls.key", Some(&self.key)),
                MeshTlsError::Ca(_) => ("mesh.tls.ca", Some(&self.ca)),
                MeshTlsError::ServerName(_) => ("mesh.tls.server_name", None),
            };
            let what = match file {
                Some(file) => format!("{}: {error}", file.display()),
                None => error.to_string(),
            };
            TlsProblem { key, what }
        })?;
        let expiry = expiry(&content.certificate).ok_or_else(|| TlsProblem {
            key: "mesh.tls.certificate",
            what: format!(
                "{} holds something that is not an X.509 certificate",
                self.certificate.display()
            ),
        })?;
        Ok((tls, expiry))
    }
}

/// The certificates in use on the mesh, and their exchange.
#[derive(Debug)]
pub(crate) struct MeshCertificates {
    files: MeshFiles,
    cluster: Cluster,
    /// What the files held when they were last looked at, good or bad; held while they are looked at again.
    seen: Mutex<Option<Content>>,
    metrics: Arc<Metrics>,
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Content(***)")
    }
}

impl MeshCertificates {
    /// For a cluster layer that was made with these files.
    pub(crate) fn new(files: MeshFiles, cluster: Cluster, metrics: Arc<Metrics>) -> Self {
        let seen = Mutex::new(None);
        let this = Self {
            files,
            cluster,
            seen,
            metrics,
        };
        this.reload();
        this
    }

    /// Reads the files again; blocks for as long as that takes. Files that did not change since the last look change
    /// nothing, and neither do bad ones, which are logged and counted once.
    pub(crate) fn reload(&self) {
        let mut seen = self.seen.lock();
        let first = seen.is_none();
        let result = match self.files.read() {
            Ok(content) if seen.as_ref() == Some(&content) => return,
            Ok(content) => {
                let built = self.files.build(&content);
                *seen = Some(content);
                built
            }
            Err(problem) => Err(problem),
        };
        let count = |result| self.metrics.mesh_tls_reloads.with_label_values(&[result]);
        match result {
            Ok((tls, expiry)) => {
                self.cluster.set_tls(tls);
                self.metrics.mesh_tls_certificate_expiry.set(expiry);
                if first {
                    say("TLS certificate of the mesh loaded", expiry);
                } else {
                    count("changed").inc();
                    say("TLS certificate of the mesh reloaded", expiry);
                }
            }
            Err(problem) => {
                count("failed").inc();
                error!(%problem, "the new TLS files of the mesh cannot be used; the old ones stay");
            }
        }
    }

    /// Reloads now and then until told to end.
    pub(crate) async fn keep_fresh(self: Arc<Self>, every: Duration, end: CancellationToken) {
        keep_fresh(every, end, move || self.reload()).await;
    }
}
