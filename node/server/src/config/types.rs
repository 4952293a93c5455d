//! The effective configuration as the node uses it, and its defaults.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use halley_bayeux::{ChannelName, EngineConfig};
use halley_cluster::TlsMode;
use ipnet::IpNet;

use super::check::{Secret, Token};
use super::check_api::ApiKeys;

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

/// `[node]`: the process itself.
#[derive(Debug, Clone)]
pub struct NodeConfig {
    /// Stable, unique name; the host name when not given.
    pub name: Option<String>,
    /// How long a drain may take before what is left is cut off.
    pub drain_timeout_ms: u64,
    /// How long a draining node still accepts clients while `/readyz` already answers 503.
    pub drain_wait_ms: u64,
}

impl Default for NodeConfig {
    fn default() -> Self {
        Self {
            name: None,
            drain_timeout_ms: 10_000,
            drain_wait_ms: 0,
        }
    }
}

/// `[client]`: what clients reach.
#[derive(Debug, Clone)]
pub struct ClientConfig {
    /// Where clients are accepted.
    pub listen: SocketAddr,
    /// The Bayeux endpoint.
    pub path: String,
    /// How others reach this endpoint; made from `listen` and `path` when not given.
    pub url: Option<String>,
    /// Exact origins that may use the endpoint; empty: the same host only.
    pub allowed_origins: Vec<String>,
    /// Connections at one time; further ones are closed at once.
    pub max_connections: usize,
    /// Connections from one address at one time; 0: no limit. Proxies that are trusted are not counted.
    pub max_connections_per_address: usize,
    /// Sessions of one address; 0: no limit.
    pub max_sessions_per_address: usize,
    /// Handshakes of all clients in a second; 0: no limit.
    pub handshakes_per_second: u32,
    /// Handshakes of all clients at once after a pause.
    pub handshake_burst: u32,
    /// Handshakes of one address in a second; 0: no limit.
    pub handshakes_per_second_per_address: u32,
    /// Handshakes of one address at once after a pause.
    pub handshake_burst_per_address: u32,
    /// Bytes of messages that clients have begun to send, all together.
    pub max_unfinished_bytes: usize,
    /// Time for the head of a request to arrive, counted from the connection or from the last answer.
    pub header_timeout_ms: u64,
    /// Time for the body of a request to arrive.
    pub body_timeout_ms: u64,
    /// Size of the head of a request.
    pub max_header_bytes: usize,
    /// A WebSocket on which nothing arrives for this long is closed with 1001; 0: never.
    pub idle_timeout_ms: u64,
    /// A write that makes no progress for this long ends the connection.
    pub write_timeout_ms: u64,
    /// The cookie that ties the sessions of one browser together over HTTP.
    pub browser_cookie: BrowserCookieConfig,
    /// Further endpoints of the same node.
    pub further_paths: Vec<String>,
    /// The WebSocket sub-protocol that clients must offer; `None`: none is asked for, and none agreed to.
    pub subprotocol: Option<String>,
    /// Accept requests by script tags.
    pub callback_polling: bool,
    /// Answer `/` with the demonstration page.
    pub demo: bool,
    /// Proxies whose `X-Forwarded-Proto` counts.
    pub trusted_proxies: Vec<IpNet>,
    /// `[client.tls]`
    pub tls: TlsConfig,
    /// `[client.http2]`
    pub http2: Http2Config,
}

impl ClientConfig {
    /// All endpoints, the first of which is the one that others are told.
    pub fn paths(&self) -> impl Iterator<Item = &str> {
        std::iter::once(&self.path)
            .chain(&self.further_paths)
            .map(String::as_str)
    }
}

/// `session.browserCookie…`: attributes of the browser cookie.
#[derive(Debug, Clone)]
pub struct BrowserCookieConfig {
    /// Its name.
    pub name: String,
    /// `Domain`; `None`: the host that set it.
    pub domain: Option<String>,
    /// `Path`.
    pub path: String,
    /// `Max-Age` in seconds; negative: the cookie goes with the browser.
    pub max_age_s: i64,
    /// `HttpOnly`.
    pub http_only: bool,
    /// `Secure`, where the client's connection is encrypted.
    pub secure: bool,
    /// `SameSite`.
    pub same_site: SameSite,
    /// `Partitioned`, where `Secure` is there.
    pub partitioned: bool,
}

impl Default for BrowserCookieConfig {
    fn default() -> Self {
        Self {
            name: "BAYEUX_BROWSER".into(),
            domain: None,
            path: "/".into(),
            max_age_s: -1,
            http_only: true,
            secure: true,
            same_site: SameSite::Lax,
            partitioned: false,
        }
    }
}

/// Whether the browser sends the cookie with requests that another site caused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameSite {
    /// Never.
    Strict,
    /// Only when the user goes there.
    #[default]
    Lax,
    /// Always; browsers want `Secure` with it.
    None,
    /// The attribute is left out, and the browser chooses.
    Absent,
}

/// `[client.tls]`: encryption up to the node; off without a certificate.
#[derive(Debug, Clone)]
pub struct TlsConfig {
    /// A PEM file with the certificate, and after it those of its issuers.
    pub certificate: Option<PathBuf>,
    /// A PEM file with the private key.
    pub key: Option<PathBuf>,
    /// Time between two looks at the files; 0: only on SIGHUP.
    pub reload_interval_ms: u64,
    /// Time for a handshake.
    pub handshake_timeout_ms: u64,
}

impl Default for TlsConfig {
    fn default() -> Self {
        Self {
            certificate: None,
            key: None,
            reload_interval_ms: 60_000,
            handshake_timeout_ms: 10_000,
        }
    }
}

/// `[client.http2]`
#[derive(Debug, Clone)]
pub struct Http2Config {
    /// Requests of one connection that are answered at one time.
    pub max_concurrent_streams: u32,
    /// Bytes of one request body that may arrive before they are read.
    pub stream_window_bytes: u32,
    /// The same for all bodies of a connection.
    pub connection_window_bytes: u32,
    /// Time between two questions whether the client is still there; 0: never.
    pub keep_alive_interval_ms: u64,
    /// Time for its answer.
    pub keep_alive_timeout_ms: u64,
}

impl Default for Http2Config {
    fn default() -> Self {
        Self {
            max_concurrent_streams: 100,
            stream_window_bytes: 65_535,
            connection_window_bytes: 262_144,
            keep_alive_interval_ms: 30_000,
            keep_alive_timeout_ms: 20_000,
        }
    }
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 8080),
            path: "/cometd".into(),
            url: None,
            allowed_origins: Vec::new(),
            max_connections: 100_000,
            max_connections_per_address: 0,
            max_sessions_per_address: 0,
            handshakes_per_second: 5_000,
            handshake_burst: 50_000,
            handshakes_per_second_per_address: 0,
            handshake_burst_per_address: 100,
            max_unfinished_bytes: 256 << 20,
            header_timeout_ms: 30_000,
            body_timeout_ms: 30_000,
            max_header_bytes: 16_384,
            idle_timeout_ms: 300_000,
            write_timeout_ms: 30_000,
            browser_cookie: BrowserCookieConfig::default(),
            further_paths: Vec::new(),
            subprotocol: None,
            callback_polling: false,
            demo: false,
            trusted_proxies: Vec::new(),
            tls: TlsConfig::default(),
            http2: Http2Config::default(),
        }
    }
}

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
    pub(super) clustered: bool,
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
    /// How long a Java node whose connection is lost may take to come back.
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
            max_interval_ms: 5_000,
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

/// `[admin]`: health, metrics, operator commands.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where operators and scrapers are accepted.
    pub listen: SocketAddr,
    /// A file with the token for everything under `/admin/`.
    pub token_file: Option<PathBuf>,
    /// The token read from that file. Written by the checks.
    pub(super) token: Option<Token>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9400),
            token_file: None,
            token: None,
        }
    }
}

impl AdminConfig {
    /// The token that opens `/admin/`, when one is configured.
    #[must_use]
    pub fn token(&self) -> Option<&Token> {
        self.token.as_ref()
    }
}

/// `[api]`: what back-end applications reach.
#[derive(Debug, Clone)]
pub struct ApiConfig {
    /// Where back-end applications are accepted; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// Serve over TLS with the certificate of `[client.tls]`.
    pub tls: bool,
    /// Connections at one time.
    pub max_connections: usize,
    /// Requests that are answered at one time.
    pub max_requests: usize,
    /// Bytes of the body of one request.
    pub max_body_bytes: usize,
    /// Messages in one batch.
    pub max_batch: usize,
    /// Time for a service to answer a call.
    pub call_timeout_ms: u64,
    /// `[[api.tokens]]`
    pub tokens: Vec<ApiToken>,
    /// What is in their files, in the same order. Written by the checks.
    pub(super) keys: Vec<ApiKeys>,
}

impl Default for ApiConfig {
    fn default() -> Self {
        Self {
            listen: None,
            tls: false,
            max_connections: 1024,
            max_requests: 256,
            max_body_bytes: 1 << 20,
            max_batch: 1000,
            call_timeout_ms: 30_000,
            tokens: Vec::new(),
            keys: Vec::new(),
        }
    }
}

impl ApiConfig {
    /// The tokens of each row of `[[api.tokens]]`, in order.
    pub(crate) fn keys(&self) -> &[ApiKeys] {
        &self.keys
    }
}

/// One row of `[[api.tokens]]`: an application and what it may do.
#[derive(Debug, Clone, Default)]
pub struct ApiToken {
    /// What the application is called in logs.
    pub name: String,
    /// A file with its token, or with several while one is replaced: one per line.
    pub token_file: Option<PathBuf>,
    /// What it may do.
    pub roles: Vec<ApiRole>,
    /// The channels with which it may do so; empty: all.
    pub channels: Vec<ChannelName>,
}

/// What an application may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ApiRole {
    /// See channels, sessions and users.
    Read,
    /// Publish, to channels and to users.
    Publish,
    /// Call services.
    Call,
    /// Disconnect sessions and users.
    Manage,
}

/// `[security]`: who clients are, and what they may do.
#[derive(Debug, Clone, Default)]
pub struct SecurityConfig {
    /// How clients are recognised.
    pub policy: PolicyKind,
    /// `[security.jwt]`
    pub jwt: JwtConfig,
    /// `[security.hooks]`
    pub hooks: HooksConfig,
    /// `[[security.channels]]`
    pub channels: Vec<ChannelRule>,
}

/// How clients are recognised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum PolicyKind {
    /// Not at all.
    #[default]
    Anonymous,
    /// By a token in the handshake.
    Jwt,
    /// By asking the application.
    Hooks,
}

/// How a token is signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenAlgorithm {
    /// HMAC with SHA-256.
    Hs256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// Ed25519.
    EdDsa,
}

/// `[security.jwt]`
#[derive(Debug, Clone)]
pub struct JwtConfig {
    /// Algorithms that a token may be signed with.
    pub algorithms: Vec<TokenAlgorithm>,
    /// The secret for HS256.
    pub secret_file: Option<PathBuf>,
    /// One public key in PEM.
    pub public_key_file: Option<PathBuf>,
    /// A JSON Web Key Set.
    pub jwks_file: Option<PathBuf>,
    /// Address of a JSON Web Key Set.
    pub jwks_url: Option<String>,
    /// Time between two fetches.
    pub jwks_refresh_ms: u64,
    /// Time between two looks whether a file has changed.
    pub reload_ms: u64,
    /// Accepted issuers; empty: any.
    pub issuer: Vec<String>,
    /// Accepted audiences; empty: none.
    pub audience: Vec<String>,
    /// Seconds by which clocks may differ.
    pub leeway_s: u64,
    /// Claim with the user.
    pub user_claim: String,
    /// Claim with the roles.
    pub roles_claim: String,
    /// Whether a client without a token is refused.
    pub required: bool,
}

impl Default for JwtConfig {
    fn default() -> Self {
        Self {
            algorithms: Vec::new(),
            secret_file: None,
            public_key_file: None,
            jwks_file: None,
            jwks_url: None,
            jwks_refresh_ms: 300_000,
            reload_ms: 5000,
            issuer: Vec::new(),
            audience: Vec::new(),
            leeway_s: 30,
            user_claim: "sub".into(),
            roles_claim: "roles".into(),
            required: true,
        }
    }
}

/// `[security.hooks]`
#[derive(Debug, Clone)]
pub struct HooksConfig {
    /// Decides on handshakes.
    pub handshake: Option<String>,
    /// Decides on subscriptions.
    pub subscribe: Option<String>,
    /// Decides on publishing.
    pub publish: Option<String>,
    /// The token that the node shows.
    pub token_file: Option<PathBuf>,
    /// Time for one answer.
    pub timeout_ms: u64,
    /// Calls under way at one time.
    pub max_concurrent: usize,
    /// Further attempts when no connection can be made.
    pub retries: u32,
    /// How long an answer about a session and a channel counts again.
    pub cache_ms: u64,
    /// Headers of the clients' requests that are shown to the hooks, in lower case once checked.
    pub headers: Vec<String>,
    /// The token read from its file. Written by the checks.
    pub(super) token: Option<Secret>,
}

impl HooksConfig {
    /// The token that the node shows to the hooks, when one is configured.
    #[must_use]
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }

    /// The hooks that are set: key and address.
    pub(crate) fn addresses(&self) -> [(&'static str, Option<&String>); 3] {
        [
            ("security.hooks.handshake", self.handshake.as_ref()),
            ("security.hooks.subscribe", self.subscribe.as_ref()),
            ("security.hooks.publish", self.publish.as_ref()),
        ]
    }
}

impl Default for HooksConfig {
    fn default() -> Self {
        Self {
            handshake: None,
            subscribe: None,
            publish: None,
            token_file: None,
            timeout_ms: 2000,
            max_concurrent: 64,
            retries: 1,
            cache_ms: 0,
            headers: Vec::new(),
            token: None,
        }
    }
}

/// One row of `[[security.channels]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ChannelRule {
    /// The channels. `None` only in a row that was refused.
    pub pattern: Option<ChannelName>,
    /// Roles that may subscribe.
    pub subscribe: Vec<String>,
    /// Roles that may publish.
    pub publish: Vec<String>,
    /// Roles that may create; `None`: whoever may do what creates.
    pub create: Option<Vec<String>>,
}

/// `[services]`: calls on service channels that the application answers over HTTP.
#[derive(Debug, Clone)]
pub struct ServicesConfig {
    /// The token that the node shows.
    pub token_file: Option<PathBuf>,
    /// Time for one answer.
    pub timeout_ms: u64,
    /// Calls under way at one time.
    pub max_concurrent: usize,
    /// Calls that may wait for that.
    pub max_waiting: usize,
    /// Further attempts when no connection can be made.
    pub retries: u32,
    /// Bytes of one answer.
    pub max_answer_bytes: usize,
    /// Headers of the clients' requests that are shown to the hooks, in lower case once checked.
    pub headers: Vec<String>,
    /// `[[services.hooks]]`
    pub hooks: Vec<ServiceHook>,
    /// The token read from its file. Written by the checks.
    pub(super) token: Option<Secret>,
}

impl ServicesConfig {
    /// The token that the node shows, when one is configured.
    #[must_use]
    pub fn token(&self) -> Option<&Secret> {
        self.token.as_ref()
    }
}

impl Default for ServicesConfig {
    fn default() -> Self {
        Self {
            token_file: None,
            timeout_ms: 5000,
            max_concurrent: 64,
            max_waiting: 1000,
            retries: 1,
            max_answer_bytes: 64 << 10,
            headers: Vec::new(),
            hooks: Vec::new(),
            token: None,
        }
    }
}

/// One row of `[[services.hooks]]`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceHook {
    /// The channels. `None` only in a row that was refused.
    pub pattern: Option<ChannelName>,
    /// The address that answers. `None` only in a row that was refused.
    pub url: Option<String>,
}

/// `[seti]`: the user directory.
#[derive(Debug, Clone, Default)]
pub struct SetiConfig {
    /// Take the user from the handshake's `ext.halley.user`.
    pub trust_handshake_user: bool,
    /// Offer direct messages on `/service/user`.
    pub direct: bool,
    /// How long a user is kept present whose session or node was lost.
    pub grace_ms: u64,
}

/// `[presence]`: who is there.
#[derive(Debug, Clone, Default)]
pub struct PresenceConfig {
    /// Offer `/halley/presence`.
    pub enabled: bool,
    /// Offer `/halley/cluster`.
    pub nodes: bool,
    /// Channels and patterns that are rooms, each with a presence of its own.
    pub rooms: Vec<ChannelName>,
}

/// `[log]`
#[derive(Debug, Clone, Default)]
pub struct LogConfig {
    /// Form of a line.
    pub format: LogFormat,
    /// Least important level that is written.
    pub level: LogLevel,
}

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// How much is logged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LogLevel {
    /// Only what needs somebody.
    Error,
    /// And what may need somebody.
    Warn,
    /// And what happens to the node.
    #[default]
    Info,
    /// And what happens to connections.
    Debug,
    /// Everything.
    Trace,
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
