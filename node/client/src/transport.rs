//! The transports, by the names that Bayeux gives them.

use std::fmt;

/// How messages travel between the client and the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Transport {
    /// One WebSocket that carries everything, both ways.
    WebSocket,
    /// HTTP/1.1 requests on two connections: one for the connect that the server holds, one for the rest.
    LongPolling,
}

impl Transport {
    /// Its name in `supportedConnectionTypes` and `connectionType`.
    pub fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::LongPolling => "long-polling",
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
