//! Why a node does not start.

use std::net::SocketAddr;

use crate::application::ApplicationError;
use crate::cluster::ClusterError;
use crate::config::ConfigError;
use crate::security::SecurityError;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or does not belong to this machine.
    #[error("cannot listen on {address} ({key}): {error}")]
    Listen {
        /// The option with the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Certificate or key cannot be used any more; they could when the configuration was checked.
    #[error("{0}")]
    Tls(String),
    /// The metrics cannot be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The node cannot take part in its cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The keys of the security policy cannot be used.
    #[error("security: {0}")]
    Security(#[from] SecurityError),
    /// A built-in channel name is not valid.
    #[error("channel: {0}")]
    Channel(#[from] halley_bayeux::InvalidChannel),
    /// Calls cannot be handed to the application.
    #[error("services: {0}")]
    Services(String),
    /// There is no configuration to start with.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// What the application brings cannot be used.
    #[error(transparent)]
    Application(#[from] ApplicationError),
}
