/// Why a session ended. What its client sees of it:
///
/// | reason | held connect | WebSocket bound to it |
/// |---|---|---|
/// | `Disconnected` | `successful`, `reconnect: none`, before the disconnect reply | stays open |
/// | `Server` | a `/meta/disconnect` message, then as above | the message is pushed; stays open |
/// | `Expired` | none is held then; after `max_processing_ms`: `successful`, without advice | stays open |
/// | `CredentialExpired` | `402` and `reconnect: handshake` | stays open |
/// | `QueueOverflow` | `402` and `reconnect: handshake` | close 1013 `queue_overflow` |
/// | `NodeSuspended` | `402` and `reconnect: handshake` | close 1012 `node_suspended` |
/// | `Shutdown` | what waits, `402` and `reconnect: handshake` (CometD: an error status) | close 1001 `shutdown` |
///
/// Every later message gets `402::session_unknown`; on a connect with `reconnect: handshake`, so that a stock client starts anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EndReason {
    /// The client said so.
    Disconnected,
    /// Code inside the node said so.
    Server,
    /// The client was silent for too long.
    Expired,
    /// What the client showed at its handshake is not valid any more: it must handshake again, with something newer.
    CredentialExpired,
    /// More waits for the client than the bounds allow; instead of a gap the session ends.
    QueueOverflow,
    /// The process was suspended for so long that siblings have given up on it.
    NodeSuspended,
    /// The node stops.
    Shutdown,
}

impl EndReason {
    /// Code and reason of the close frame that the session's WebSocket connection gets, if any.
    #[must_use]
    pub const fn close(self) -> Option<(u16, &'static str)> {
        match self {
            Self::Disconnected | Self::Server | Self::Expired | Self::CredentialExpired => None,
            Self::QueueOverflow => Some((1013, "queue_overflow")),
            Self::NodeSuspended => Some((1012, "node_suspended")),
            Self::Shutdown => Some((1001, "shutdown")),
        }
    }

    /// Whether messages that wait are still worth sending.
    pub(crate) const fn keeps_queue(self) -> bool {
        matches!(self, Self::Disconnected | Self::Server | Self::Shutdown)
    }
}
