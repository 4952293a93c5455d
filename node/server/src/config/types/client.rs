//! `[client]`: what clients reach.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

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
