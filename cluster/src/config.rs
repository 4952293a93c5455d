//! The configuration of the cluster layer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use halley_bayeux::ChannelName;
use ipnet::IpNet;

use crate::forwarding::is_forwarded;
use crate::wire::CLIENT_URL_BYTES_MAX;
use crate::{MeshTls, NodeName, OortConfig, Secrets, Versions};

/// Longest name of the DNS.
const DNS_NAME_BYTES_MAX: usize = 253;

/// Which channels this node asks its siblings for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observed {
    /// Exactly those with local subscribers.
    FollowSubscriptions,
    /// Always these, wildcards allowed, whether or not somebody subscribed.
    Fixed(Vec<String>),
}

/// Discovery by authenticated multicast datagrams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MulticastConfig {
    /// The group.
    pub group: Ipv4Addr,
    /// The port of the group.
    pub port: u16,
    /// The address of the interface that is used; `0.0.0.0` leaves the choice to the system.
    pub interface: Ipv4Addr,
    /// How many networks a datagram may cross.
    pub ttl: u32,
    /// Time between two advertisements.
    pub interval: Duration,
}

impl Default for MulticastConfig {
    fn default() -> Self {
        Self {
            group: Ipv4Addr::new(239, 255, 0, 1),
            port: 5577,
            interface: Ipv4Addr::UNSPECIFIED,
            ttl: 1,
            interval: Duration::from_secs(2),
        }
    }
}

/// Discovery by the addresses of a name, such as that of a headless service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsConfig {
    /// The name. One that begins with `_`, as in `_mesh._tcp.halley.example`, is that of SRV records, which name hosts
    /// and ports; any other one stands for all its A and AAAA addresses. A name with a dot in it is absolute: no search
    /// domain is put behind it.
    pub name: String,
    /// The mesh port of all nodes; SRV records bring their own.
    pub port: u16,
    /// Time between two questions.
    pub interval: Duration,
    /// The name servers that are asked; none: those of the system.
    pub servers: Vec<SocketAddr>,
}

impl DnsConfig {
    /// The name that is asked for.
    pub(crate) fn absolute_name(&self) -> String {
        let relative = self.name.contains('.') && !self.name.ends_with('.');
        format!("{}{}", self.name, if relative { "." } else { "" })
    }

    /// Whether the name is one of SRV records.
    pub(crate) fn is_service(&self) -> bool {
        self.name.starts_with('_')
    }

    fn validate(&self, mut problem: impl FnMut(&'static str, String)) {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if self.name.is_empty()
            || self.name.len() > DNS_NAME_BYTES_MAX
            || self.name.starts_with('.')
            || self.name.contains("..")
            || !self.name.bytes().all(plain)
        {
            problem("mesh.dns.name", format!("{:?} is not a name", self.name));
        }
        if self.port == 0 {
            problem("mesh.dns.port", "must not be 0".into());
        }
        if self.interval < Duration::from_millis(100) {
            problem("mesh.dns.interval_ms", "must be at least 100".into());
        }
    }
}

/// The bounds of a link. Every queue is bounded in bytes; a full one resets the link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkLimits {
    /// Bytes of publications that may wait for one sibling.
    pub message_queue_bytes: usize,
    /// Bytes of state messages that may wait for one sibling.
    pub state_queue_bytes: usize,
    /// Bytes of control frames (interest) that may wait for one sibling.
    pub control_queue_bytes: usize,
    /// Greatest frame in bytes, sent or accepted.
    pub frame_bytes: usize,
    /// Channels that this node remembers for one sibling. A sibling that asks for more is sent everything.
    pub interest_channels: usize,
}

impl Default for LinkLimits {
    fn default() -> Self {
        Self {
            message_queue_bytes: 32 << 20,
            state_queue_bytes: 64 << 20,
            control_queue_bytes: 32 << 20,
            frame_bytes: 8 << 20,
            interest_channels: 200_000,
        }
    }
}

/// The configuration of a node's cluster layer.
#[derive(Clone, Debug)]
pub struct ClusterConfig {
    /// The stable, unique name of this node.
    pub name: NodeName,
    /// Where clients reach this node; empty when it serves none.
    pub client_url: String,
    /// Where this node listens for siblings.
    pub listen: SocketAddr,
    /// The address given to siblings. A port of 0 stands for the one that `listen` got; no address for `listen`.
    pub advertise: Option<SocketAddr>,
    /// The shared secret, or several while it is replaced. [`crate::Cluster::set_secrets`] changes them later.
    pub secrets: Secrets,
    /// TLS on the links; none: they are in clear text. [`crate::Cluster::set_tls`] changes it later.
    pub tls: Option<MeshTls>,
    /// The versions of the mesh protocol that are offered: all, but in tests of mixed clusters.
    pub versions: Versions,
    /// Addresses that may be dialled or accepted.
    pub allow: Vec<IpNet>,
    /// Which channels this node asks its siblings for.
    pub channels: Observed,
    /// Seeds: `host:port`, resolved again at every attempt.
    pub siblings: Vec<String>,
    /// Discovery by multicast.
    pub multicast: Option<MulticastConfig>,
    /// Discovery by the DNS.
    pub dns: Option<DnsConfig>,
    /// Java nodes, with which a cluster is formed in their own dialect.
    pub oort: Option<OortConfig>,
    /// Time between two heartbeats on a link.
    pub heartbeat_interval: Duration,
    /// A sibling that was silent for this long has left.
    pub detection: Duration,
    /// Longest time between two attempts to reach a sibling.
    pub backoff_max: Duration,
    /// Time within which a link must be established and authenticated.
    pub handshake_timeout: Duration,
    /// See [`crate::seti::Seti::set_grace`].
    pub presence_grace: Duration,
    /// Greatest number of siblings.
    pub siblings_max: usize,
    /// Greatest number of accepted connections that are not authenticated yet.
    pub unauthenticated_max: usize,
    /// The bounds of each link.
    pub limits: LinkLimits,
}

/// A configuration that cannot work.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{key}: {problem}")]
pub struct ConfigError {
    /// The key at fault, as in the configuration file.
    pub key: &'static str,
    /// What is wrong with it.
    pub problem: String,
}

impl ClusterConfig {
    /// A configuration with all defaults: no seeds, no multicast, no DNS, the private and loopback networks allowed.
    pub fn new(name: NodeName, listen: SocketAddr, secrets: impl Into<Secrets>) -> Self {
        Self {
            name,
            client_url: String::new(),
            listen,
            advertise: None,
            secrets: secrets.into(),
            tls: None,
            versions: Versions::ALL,
            allow: default_allow(),
            channels: Observed::FollowSubscriptions,
            siblings: Vec::new(),
            multicast: None,
            dns: None,
            oort: None,
            heartbeat_interval: Duration::from_secs(1),
            detection: Duration::from_secs(4),
            backoff_max: Duration::from_secs(5),
            handshake_timeout: Duration::from_secs(3),
            presence_grace: Duration::ZERO,
            siblings_max: 1024,
            unauthenticated_max: 64,
            limits: LinkLimits::default(),
        }
    }

    /// Finds everything that cannot work.
    ///
    /// # Errors
    /// All problems, each with its key.
    pub fn validate(&self) -> Result<(), Vec<ConfigError>> {
        let mut problems = Vec::new();
        let mut problem = |key, problem: String| problems.push(ConfigError { key, problem });
        if self.detection < self.heartbeat_interval * 2 {
            problem(
                "mesh.detection",
                "must be at least twice the heartbeat interval".into(),
            );
        }
        if self.heartbeat_interval < Duration::from_millis(10) {
            problem("mesh.heartbeat", "must be at least 10 ms".into());
        }
        if !self.versions.is_valid() {
            problem(
                "mesh.versions",
                format!("{} is not within {}", self.versions, Versions::ALL),
            );
        }
        if self.allow.is_empty() {
            problem(
                "mesh.allow",
                "no address is allowed, so no sibling could ever be reached".into(),
            );
        }
        if self.advertise.is_none() && self.listen.ip().is_unspecified() {
            problem(
                "mesh.advertise",
                "is needed when mesh.listen names no particular address".into(),
            );
        }
        if let Some(address) = self.advertise
            && (address.ip().is_unspecified() || address.ip().is_multicast())
        {
            problem("mesh.advertise", format!("{address} cannot be dialled"));
        }
        if let Some(multicast) = &self.multicast {
            if !multicast.group.is_multicast() {
                problem(
                    "mesh.multicast.group",
                    format!("{} is no multicast address", multicast.group),
                );
            }
            if multicast.interval < Duration::from_millis(100) {
                problem("mesh.multicast.interval_ms", "must be at least 100".into());
            }
        }
        if let Some(dns) = &self.dns {
            dns.validate(&mut problem);
        }
        if let Some(oort) = &self.oort {
            oort.validate(&mut problem);
            if self.tls.is_some() {
                problem(
                    "mesh.oort.enabled",
                    "cannot be true together with mesh.tls: the Oort dialect is spoken in clear text on the mesh listener".into(),
                );
            }
        }
        for seed in &self.siblings {
            let port = seed
                .rsplit_once(':')
                .and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
            if !matches!(port, Some(Ok(1..))) {
                problem("mesh.siblings", format!("{seed:?} is not host:port"));
            }
        }
        if self.client_url.len() > CLIENT_URL_BYTES_MAX {
            problem(
                "client.url",
                format!("has more than {CLIENT_URL_BYTES_MAX} bytes"),
            );
        }
        if let Observed::Fixed(channels) = &self.channels {
            for channel in channels {
                let travels = ChannelName::parse(channel).is_ok() && is_forwarded(channel);
                if !travels {
                    problem(
                        "mesh.channels",
                        format!("{channel:?} is no channel that travels"),
                    );
                }
            }
        }
        let limits = &self.limits;
        for (key, queue) in [
            ("mesh.message_queue_bytes", limits.message_queue_bytes),
            ("mesh.state_queue_bytes", limits.state_queue_bytes),
            ("mesh.control_queue_bytes", limits.control_queue_bytes),
        ] {
            if queue < limits.frame_bytes {
                problem(
                    key,
                    format!("must be at least mesh.frame_bytes ({})", limits.frame_bytes),
                );
            }
        }
        if limits.frame_bytes < 1 << 16 {
            problem("mesh.frame_bytes", "must be at least 65536".into());
        }
        if problems.is_empty() {
            Ok(())
        } else {
            Err(problems)
        }
    }

    pub(crate) fn allows(&self, ip: IpAddr) -> bool {
        let ip = ip.to_canonical();
        self.allow.iter().any(|net| net.contains(&ip))
    }
}

/// Loopback, the private networks and their IPv6 counterparts.
fn default_allow() -> Vec<IpNet> {
    [
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "::1/128",
        "fc00::/7",
    ]
    .iter()
    .filter_map(|net| net.parse().ok())
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_dot_gets_no_search_domain() {
        let dns = |name: &str| DnsConfig {
            name: name.into(),
            port: 7400,
            interval: Duration::from_secs(2),
            servers: Vec::new(),
        };
        for (name, absolute, service) in [
            ("halley", "halley", false),
            ("mesh.example", "mesh.example.", false),
            ("mesh.example.", "mesh.example.", false),
            ("_mesh._tcp.example", "_mesh._tcp.example.", true),
        ] {
            let dns = dns(name);
            assert_eq!(
                (dns.absolute_name().as_str(), dns.is_service()),
                (absolute, service)
            );
            let mut problems = 0;
            dns.validate(|_, _| problems += 1);
            assert_eq!(problems, 0, "{name}");
        }
    }
}
