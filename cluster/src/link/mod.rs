//! One link: its queue, its writer and its reader.
//!
//! ```text
//!   dialler: queue ──▶ writer ═══ frames ═══▶ reader: acceptor
//!                      reader ◀══ pongs ═════
//! ```
//!
//! A link is never repaired: whatever goes wrong ends it, both sides drop what they knew of each other, and the dialler
//! dials again. So a link that is up has lost nothing.

mod handshake;
mod inbound;
mod outbound;
mod queue;

use std::time::Duration;

use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

pub(crate) use handshake::{
    DialError, Dialled, Introduction, Upgraded, Verified, accept, dial, upgrade,
};
pub(crate) use inbound::{Inbound, InboundEvent};
pub(crate) use outbound::Outbound;
pub(crate) use queue::{Lane, LinkQueue, PushError};

/// Bytes that are put into one write. A heartbeat waits behind no more than this, or one larger publication.
pub(crate) const WRITE_BUDGET_BYTES: usize = 64 << 10;
/// Reads are few and large on a link.
const READ_BUFFER_BYTES: usize = 64 << 10;

/// What carries state to a member, whatever the dialect.
pub(crate) trait Link: std::fmt::Debug + Send + Sync {
    /// Queues a message. Never blocks.
    ///
    /// # Errors
    /// [`PushError`]: then it is not sent, and the member begins again.
    fn push_state(&self, channel: crate::StateChannel, body: bytes::Bytes)
    -> Result<(), PushError>;
}

impl Link for LinkQueue {
    fn push_state(
        &self,
        channel: crate::StateChannel,
        body: bytes::Bytes,
    ) -> Result<(), PushError> {
        LinkQueue::push_state(self, channel, body)
    }
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkEnd {
    /// The other side closed it.
    #[error("closed by the other side")]
    Closed,
    /// Nothing was heard for the detection time.
    #[error("silent for {0:?}")]
    Silent(Duration),
    /// The socket failed.
    #[error("{0}")]
    Io(String),
    /// The other side broke the protocol.
    #[error("protocol: {0}")]
    Protocol(&'static str),
    /// A frame could not be read.
    #[error("{0}")]
    Frame(#[from] crate::wire::FrameError),
    /// A queue was full: the link is reset, and both sides start over.
    #[error("the {0} queue was full")]
    QueueFull(Lane),
    /// This side closed it.
    #[error("closed by this node")]
    Cancelled,
}

/// The WebSocket settings of an authenticated link.
fn link_config(frame_bytes: usize) -> WebSocketConfig {
    let largest = frame_bytes + WRITE_BUDGET_BYTES;
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUDGET_BYTES)
        .max_write_buffer_size(2 * largest)
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest))
}

/// The WebSocket settings until the other side has proved itself.
fn handshake_config() -> WebSocketConfig {
    let largest = crate::wire::HANDSHAKE_FRAME_BYTES_MAX;
    WebSocketConfig::default()
        .read_buffer_size(largest)
        .write_buffer_size(0)
        .max_write_buffer_size(4 * largest)
        .max_message_size(Some(largest))
        .max_frame_size(Some(largest))
}
