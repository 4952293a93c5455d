//! A running node: what it consists of, how it starts and how it ends.
//!
//! ```text
//! start: engine, services ──> cluster ──> admin listener ──> client listener ──> ready
//! drain: readyz 503 ──> wait ──> stop accepting ──> flush ──> tell sessions, close ──> leave the cluster ──> end
//! ```

mod builtin;
mod ending;
mod error;
mod launch;
mod listeners;
mod shared;
mod ticker;

pub use error::StartError;
pub(crate) use shared::Shared;

use std::net::SocketAddr;
use std::sync::Arc;

use halley_bayeux::Engine;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::builder::NodeBuilder;
use crate::clock::Clock;
use crate::config::Config;
use crate::handle::NodeHandle;
use crate::readiness::Readiness;

/// One running node. Dropping it cuts everything off; [`Node::drain`] ends it in order.
///
/// Made by [`Node::builder`].
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    handle: NodeHandle,
    client_url: String,
    client_address: SocketAddr,
    admin_address: SocketAddr,
    api_address: Option<SocketAddr>,
    /// Client listener, connections and WebSockets.
    clients: TaskTracker,
    /// Everything else.
    background: TaskTracker,
    stop_accepting: CancellationToken,
    close_clients: CancellationToken,
    end: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        for token in [&self.stop_accepting, &self.close_clients, &self.end] {
            token.cancel();
        }
        // The links hold the node's parts, and the parts the links: they do not end by being dropped.
        self.shared.cluster.stop();
    }
}

impl Node {
    /// Begins to set up a node.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Starts a node that brings nothing but its configuration; when this returns, clients are served.
    ///
    /// # Errors
    /// As [`NodeBuilder::start`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::builder().config(config).start().await
    }

    /// The node for the code inside it: publishing, users, local sessions, objects, members. To be cloned and handed on.
    #[must_use]
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// How others reach the client endpoint: `client.url`, or made from the address that is listened on.
    #[must_use]
    pub fn client_url(&self) -> &str {
        &self.client_url
    }

    /// Where clients are accepted; useful when the port was chosen by the system.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where the admin listener is.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where back-end applications reach the API; `None` when it is off.
    #[must_use]
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api_address
    }

    /// Where siblings reach this node; `None` when it runs alone.
    #[must_use]
    pub fn mesh_address(&self) -> Option<SocketAddr> {
        self.shared
            .cluster
            .this_node()
            .map(|member| member.mesh_address)
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The engine, for what runs inside the process.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }

    /// The clock that the engine's instants come from.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Whether clients may be sent here.
    #[must_use]
    pub fn readiness(&self) -> &Arc<Readiness> {
        &self.shared.readiness
    }

    /// Reads the files again that may have changed, as on SIGHUP: the secrets of the mesh, the tokens of the API, the TLS files of clients and mesh. What
    /// cannot be used is logged and counted, and the node goes on with what it has.
    pub async fn reload(&self) {
        self.shared.reload.notify_one();
        self.shared.api_tokens.reload();
        if let Some(tls) = self.shared.tls.clone() {
            // A panic in there is in the log already.
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
        if let Some(mesh_tls) = self.shared.mesh_tls.clone() {
            let _ = tokio::task::spawn_blocking(move || mesh_tls.reload()).await;
        }
    }
}
