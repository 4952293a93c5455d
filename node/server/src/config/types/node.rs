//! `[node]` and `[log]`: the process itself.

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
