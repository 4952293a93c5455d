//! `[services]`, `[seti]` and `[presence]`: what the node offers beside channels.

use std::path::PathBuf;

use halley_bayeux::ChannelName;

use crate::config::check::Secret;

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
    pub(in crate::config) token: Option<Secret>,
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
