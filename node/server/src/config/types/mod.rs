//! The effective configuration as the node uses it, and its defaults.

mod client;
mod mesh;
mod node;
mod oort;
mod operators;
mod security;
mod services;

pub use client::{BrowserCookieConfig, ClientConfig, Http2Config, SameSite, TlsConfig};
pub use mesh::{Discovery, DnsConfig, MeshConfig, MeshTlsConfig, MulticastConfig};
pub use node::{LogConfig, LogFormat, LogLevel, NodeConfig};
pub use oort::{OortConfig, OortDigest};
pub use operators::{AdminConfig, ApiConfig, ApiRole, ApiToken};
pub use security::{
    ChannelRule, HooksConfig, JwtConfig, PolicyKind, SecurityConfig, TokenAlgorithm,
};
pub use services::{PresenceConfig, ServiceHook, ServicesConfig, SetiConfig};

use halley_bayeux::EngineConfig;

/// Everything a node can be told.
#[derive(Debug, Clone, Default)]
pub struct Config {
    /// `[node]`
    pub node: NodeConfig,
    /// `[client]`
    pub client: ClientConfig,
    /// `[mesh]`
    pub mesh: MeshConfig,
    /// `[admin]`
    pub admin: AdminConfig,
    /// `[api]`
    pub api: ApiConfig,
    /// `[session]`: CometD's names and units on the left, the engine's on the right.
    pub session: EngineConfig,
    /// `[security]`
    pub security: SecurityConfig,
    /// `[services]`
    pub services: ServicesConfig,
    /// `[seti]`
    pub seti: SetiConfig,
    /// `[presence]`
    pub presence: PresenceConfig,
    /// `[log]`
    pub log: LogConfig,
}

impl Config {
    /// The node's name: the configured one, or the host name.
    #[must_use]
    pub fn node_name(&self) -> String {
        self.node.name.clone().unwrap_or_else(host_name)
    }

    /// True when this node takes part in a cluster.
    #[must_use]
    pub fn clustered(&self) -> bool {
        self.mesh.clustered
    }
}

/// The host name as the system tells it.
fn host_name() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname")
        .or_else(|_| std::fs::read_to_string("/etc/hostname"))
        .ok()
        .map(|name| name.trim().to_owned())
        .filter(|name| !name.is_empty())
        .or_else(|| {
            std::env::var("HOSTNAME")
                .ok()
                .filter(|name| !name.is_empty())
        })
        .unwrap_or_else(|| "localhost".to_owned())
}
