//! `[mesh]`: what siblings reach.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use halley_bayeux::ChannelName;
use halley_cluster::TlsMode;
use ipnet::IpNet;

use super::OortConfig;
use crate::config::check::Secret;

/// `[mesh]`: what siblings reach.
#[derive(Debug, Clone)]
pub struct MeshConfig {
    /// Where siblings are accepted.
    pub listen: SocketAddr,
    /// Address given to siblings; the address of `listen` when not given.
    pub advertise: Option<SocketAddr>,
    /// The secret itself, or what is in the file.
    pub secret: Option<Secret>,
    /// A file with the secret, or with several while one is replaced: one per line.
    pub secret_file: Option<PathBuf>,
    /// Addresses that may be dialled or accepted.
    pub allow: Vec<IpNet>,
    /// Observed channels; `None`: follow the local subscriptions.
    pub channels: Option<Vec<ChannelName>>,
    /// How siblings are found.
    pub discovery: Vec<Discovery>,
    /// Siblings by address.
    pub siblings: Vec<String>,
    /// Time between two heartbeats on a link.
    pub heartbeat_ms: u64,
    /// Silence after which a sibling counts as lost.
    pub detection_ms: u64,
    /// Bytes of publications that may wait for one sibling.
    pub link_queue_bytes: usize,
    /// How long a starting node waits for siblings before it says that it is ready.
    pub join_wait_ms: u64,
    /// `[mesh.multicast]`
    pub multicast: MulticastConfig,
    /// `[mesh.dns]`
    pub dns: DnsConfig,
    /// `[mesh.tls]`
    pub tls: MeshTlsConfig,
    /// `[mesh.oort]`
    pub oort: OortConfig,
    /// True when this node takes part in a cluster. Written by the checks, read by the wiring.
    pub(in crate::config) clustered: bool,
}

impl Default for MeshConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 7400),
            advertise: None,
            secret: None,
            secret_file: None,
            allow: private_networks(),
            channels: None,
            discovery: Vec::new(),
            siblings: Vec::new(),
            heartbeat_ms: 1000,
            detection_ms: 4000,
            link_queue_bytes: 32 << 20,
            join_wait_ms: 1000,
            multicast: MulticastConfig::default(),
            dns: DnsConfig::default(),
            tls: MeshTlsConfig::default(),
            oort: OortConfig::default(),
            clustered: false,
        }
    }
}

/// `[mesh.multicast]`
#[derive(Debug, Clone)]
pub struct MulticastConfig {
    /// Multicast group.
    pub group: Ipv4Addr,
    /// Port of the group.
    pub port: u16,
    /// Address of the interface to use.
    pub interface: Ipv4Addr,
    /// Time to live of the datagrams.
    pub ttl: u32,
    /// Time between two announcements.
    pub interval_ms: u64,
}

impl Default for MulticastConfig {
    fn default() -> Self {
        Self {
            group: Ipv4Addr::new(239, 255, 0, 1),
            port: 5577,
            interface: Ipv4Addr::UNSPECIFIED,
            ttl: 1,
            interval_ms: 2000,
        }
    }
}

/// `[mesh.dns]`
#[derive(Debug, Clone)]
pub struct DnsConfig {
    /// The name whose addresses are those of the nodes.
    pub name: Option<String>,
    /// The mesh port of all nodes.
    pub port: u16,
    /// Time between two questions.
    pub interval_ms: u64,
    /// Name servers to ask; empty: those of the system.
    pub servers: Vec<SocketAddr>,
}

impl Default for DnsConfig {
    fn default() -> Self {
        Self {
            name: None,
            port: 7400,
            interval_ms: 2000,
            servers: Vec::new(),
        }
    }
}

/// `[mesh.tls]`: encryption of the links; off without a certificate.
#[derive(Debug, Clone)]
pub struct MeshTlsConfig {
    /// A PEM file with the certificate of this node, and after it those of its issuers.
    pub certificate: Option<PathBuf>,
    /// A PEM file with its private key.
    pub key: Option<PathBuf>,
    /// A PEM file with the authorities of the mesh.
    pub ca: Option<PathBuf>,
    /// The name that every certificate of the mesh carries; `None`: the address that its node advertises.
    pub server_name: Option<String>,
    /// Whether siblings must show a certificate when they dial.
    pub verify_clients: bool,
    /// Whether clear text is still spoken.
    pub mode: TlsMode,
    /// Time between two looks at the files; 0: only on SIGHUP.
    pub reload_interval_ms: u64,
}

impl Default for MeshTlsConfig {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            ca: None,
            server_name: None,
            verify_clients: true,
            mode: TlsMode::Required,
            reload_interval_ms: 60_000,
        }
    }
}

/// A way to find siblings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Discovery {
    /// The addresses of `mesh.siblings`.
    Static,
    /// Announcements to a multicast group.
    Multicast,
    /// The addresses of a name.
    Dns,
}

/// Loopback, the private networks and their IPv6 counterparts.
fn private_networks() -> Vec<IpNet> {
    [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    ]
    .iter()
    .filter_map(|network| network.parse().ok())
    .collect()
}
