//! What the parts of a node share.

use std::sync::Arc;

use halley_bayeux::Engine;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::api::Tokens;
use crate::clock::Clock;
use crate::cluster::ClusterParts;
use crate::config::Config;
use crate::local::LocalSessions;
use crate::metrics::{Metrics, NodeFigures};
use crate::readiness::Readiness;
use crate::security::Security;
use crate::services::NodeInfo;
use crate::tasks::Tasks;
use crate::tls::{MeshCertificates, Tls};

/// What the parts of a node share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) cluster: ClusterParts,
    pub(crate) security: Security,
    /// `None`: clients are served in clear text.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Those of the links.
    pub(crate) mesh_tls: Option<Arc<MeshCertificates>>,
    /// The applications of the API.
    pub(crate) api_tokens: Arc<Tokens>,
    /// Notified when files that may have changed are to be read again.
    pub(crate) reload: Notify,
    /// Cancelled when an operator asks the process to end.
    pub(crate) drain_requested: CancellationToken,
    pub(crate) local_sessions: Arc<LocalSessions>,
    /// What answers calls.
    pub(crate) tasks: Tasks,
    /// Cancelled when the node has ended.
    pub(crate) ended: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// What the metrics show beside the engine's figures.
    pub(crate) fn figures(&self) -> NodeFigures {
        NodeFigures {
            members: self.cluster.member_count(),
            secrets: self
                .cluster
                .cluster()
                .map_or(0, |cluster| cluster.secret_count()),
            ready: self.readiness.is_ready(),
            links: self.cluster.links(),
            objects: self.cluster.objects.report(),
            cluster: self.cluster.counters(),
        }
    }

    pub(crate) fn nodes(&self) -> Vec<NodeInfo> {
        self.cluster.nodes.nodes()
    }
}
