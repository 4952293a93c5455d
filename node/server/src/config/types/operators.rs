//! `[admin]` and `[api]`: what operators and back-end applications reach.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use halley_bayeux::ChannelName;

use crate::config::check::Token;
use crate::config::check_api::ApiKeys;

/// `[admin]`: health, metrics, operator commands.
#[derive(Debug, Clone)]
pub struct AdminConfig {
    /// Where operators and scrapers are accepted.
    pub listen: SocketAddr,
    /// A file with the token for everything under `/admin/`.
    pub token_file: Option<PathBuf>,
    /// The token read from that file. Written by the checks.
    pub(in crate::config) token: Option<Token>,
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
    pub(in crate::config) keys: Vec<ApiKeys>,
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
