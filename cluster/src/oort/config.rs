//! The configuration of the Oort dialect.

use std::time::Duration;

use super::url::OortUrl;
use crate::{MulticastConfig, Secret};

/// How a node takes part in a cluster with CometD's Java nodes.
///
/// A node that knows the secret's digest is believed. The digest is the same in every handshake and travels in clear
/// text: whoever sees one can be a node. Only where the network between the nodes is trusted.
#[derive(Clone, Debug)]
pub struct OortConfig {
    /// This node's Oort URL; none: `http://`, the mesh address, and `/cometd`. Its path is that of the mesh listener.
    pub url: Option<OortUrl>,
    /// Other URLs by which nodes may dial this one.
    pub aliases: Vec<String>,
    /// The secret of all nodes. Not that of the mesh, which must not be shown to anybody.
    pub secret: Secret,
    /// Whether the SHA-1 digest of CometD before 4.0.5 is accepted as well.
    pub accept_sha1: bool,
    /// Whether this node shows that digest. Then newer nodes that check it refuse this one.
    pub show_sha1: bool,
    /// Nodes to begin with.
    pub cloud: Vec<String>,
    /// The group in which Java nodes announce themselves: not that of [`ClusterConfig::multicast`](crate::ClusterConfig),
    /// whose datagrams end the discovery of a Java node.
    pub multicast: Option<MulticastConfig>,
    /// More channels than these are not asked for one by one: everything is.
    pub channels_max: usize,
    /// Longest message in bytes, sent or accepted.
    pub max_message_bytes: usize,
    /// Whether links in both directions have the acknowledgement extension (CometD: `enableAckExtension`). Without it what is
    /// under way when a connection breaks is lost, uncounted.
    pub ack: bool,
    /// How long the `/meta/connect` of another node is held.
    pub timeout: Duration,
    /// How long a node may be away before it has left: without a connection in one of the two directions, or silent on
    /// one. For silence the detection time, if that is longer.
    pub max_interval: Duration,
}

impl OortConfig {
    /// All defaults.
    pub fn new(secret: Secret) -> Self {
        Self {
            url: None,
            aliases: Vec::new(),
            secret,
            accept_sha1: false,
            show_sha1: false,
            cloud: Vec::new(),
            multicast: None,
            channels_max: 10_000,
            max_message_bytes: 1 << 20,
            ack: true,
            timeout: Duration::from_secs(10),
            max_interval: Duration::from_secs(4),
        }
    }

    pub(crate) fn validate(&self, mut problem: impl FnMut(&'static str, String)) {
        for url in &self.cloud {
            if let Err(error) = OortUrl::parse(url) {
                problem("mesh.oort.cloud", format!("{url:?}: {error}"));
            }
        }
        if self.max_message_bytes < 1 << 10 {
            problem(
                "mesh.oort.max_message_bytes",
                "must be at least 1024".into(),
            );
        }
        if self.channels_max == 0 {
            problem("mesh.oort.channels_max", "must be at least 1".into());
        }
        if self.show_sha1 && !self.accept_sha1 {
            problem(
                "mesh.oort.digest",
                "what is shown must be accepted as well".into(),
            );
        }
    }
}
