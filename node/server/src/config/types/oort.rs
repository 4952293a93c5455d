//! `[mesh.oort]`: a cluster together with CometD's Java nodes.

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::config::check::Secret;

/// `[mesh.oort]`: a cluster together with CometD's Java nodes.
#[derive(Debug, Clone)]
pub struct OortConfig {
    /// Whether Java nodes may join.
    pub enabled: bool,
    /// This node's Oort URL; `None`: from the mesh address.
    pub url: Option<String>,
    /// Other URLs by which Java nodes may dial this one.
    pub aliases: Vec<String>,
    /// A file with the secret that the Java nodes have.
    pub secret_file: Option<PathBuf>,
    /// The secret itself, or what is in the file.
    pub secret: Option<Secret>,
    /// Which digest of the secret this node shows.
    pub digest: OortDigest,
    /// Java nodes by URL.
    pub cloud: Vec<String>,
    /// The group in which Java nodes announce themselves; `None`: they are not looked for there.
    pub multicast: Option<SocketAddr>,
    /// More channels than these are not asked for one by one.
    pub channels_max: usize,
    /// Longest message, sent or accepted.
    pub max_message_bytes: usize,
    /// How long a Java node's connect is held.
    pub timeout_ms: u64,
    /// Whether links to and from Java nodes acknowledge.
    pub ack: bool,
    /// How long a Java node may be away before it has left.
    pub max_interval_ms: u64,
}

impl Default for OortConfig {
    fn default() -> Self {
        Self {
            enabled: false,
            url: None,
            aliases: Vec::new(),
            secret_file: None,
            secret: None,
            digest: OortDigest::Sha512,
            cloud: Vec::new(),
            multicast: None,
            channels_max: 10_000,
            max_message_bytes: 1 << 20,
            timeout_ms: 10_000,
            ack: true,
            max_interval_ms: 4_000,
        }
    }
}

/// Which digest of the Oort secret a node shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OortDigest {
    /// That of CometD since 4.0.5. Only it is accepted.
    Sha512,
    /// That of CometD before 4.0.5. Both are accepted.
    Sha1,
}
