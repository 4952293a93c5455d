//! `[security]`: who clients are, and what they may do.

use std::path::PathBuf;

use halley_bayeux::ChannelName;

use crate::config::check::Secret;

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
    pub(in crate::config) token: Option<Secret>,
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
