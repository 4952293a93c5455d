//! What is known of the session that stands now.

use std::fmt;

use crate::{json::Json, transport::Transport};

/// The session as its last handshake left it.
#[derive(Clone)]
pub struct Session {
    pub(crate) id: String,
    pub(crate) transport: Transport,
    pub(crate) ext: Option<Json>,
    pub(crate) acknowledged: bool,
}

impl Session {
    /// What is shown until the first handshake is done; nobody gets a handle before that.
    pub(crate) fn none() -> Self {
        Self {
            id: String::new(),
            transport: Transport::WebSocket,
            ext: None,
            acknowledged: false,
        }
    }

    /// Whether this is what `other` shows. A session's `ext` never changes.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        (&self.id, self.transport) == (&other.id, other.transport)
    }

    /// The `clientId` that the server gave. It is a secret: who has it can speak for this session.
    pub fn client_id(&self) -> &str {
        &self.id
    }

    /// The transport in use, or the last one that was.
    pub fn transport(&self) -> Transport {
        self.transport
    }

    /// The `ext` of the handshake reply.
    pub fn handshake_ext(&self) -> Option<&Json> {
        self.ext.as_ref()
    }

    /// Whether the server granted the ack extension.
    pub fn is_acknowledged(&self) -> bool {
        self.acknowledged
    }
}

impl fmt::Debug for Session {
    /// Keeps the `clientId` to itself.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("transport", &self.transport)
            .field("ext", &self.ext)
            .field("acknowledged", &self.acknowledged)
            .finish_non_exhaustive()
    }
}
