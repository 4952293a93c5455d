//! One link: its queue, its writer and its reader.
//!
//! ```text
//!   dialler: queue ──▶ writer ═══ frames ═══▶ reader: acceptor
//!                      reader ◀══ pongs ═════
//! ```
//!
//! A link outlives its connection: when that breaks, or is silent for half the detection time, the dialler opens another
//! one and writes again what was not acknowledged. It does so until the detection time is over, and only to the same life
//! of the same node. Whatever else goes wrong ends the link: both sides drop what they knew of each other, and the
//! dialler dials anew. So a link that is up has lost nothing. (In version 1 a link is its connection.)

mod handshake;
mod inbound;
mod message;
mod outbound;
mod queue;
#[cfg(test)]
mod resume_tests;
mod totals;
mod window;

use std::time::Duration;

use futures_util::SinkExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, WebSocketConfig};

pub(crate) use handshake::{
    DialError, Dialled, Introduction, Upgraded, Verified, accept, dial, upgrade,
};
pub(crate) use inbound::{Inbound, InboundEvent, Successor};
pub(crate) use outbound::{ConnectionEnd, Outbound};
pub(crate) use queue::{Lane, LinkQueue, PushError, Unsent};
pub(crate) use totals::LinkTotals;

/// Bytes that are put into one write. A heartbeat waits behind no more than this, or one larger publication.
pub(crate) const WRITE_BUDGET_BYTES: usize = 64 << 10;
/// How long it may take to tell the other side that a link is over.
const CLOSE_TIMEOUT: Duration = Duration::from_millis(100);
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
        if channel.is_for_users() {
            self.push_for_user(channel, body)
        } else {
            LinkQueue::push_state(self, channel, body)
        }
    }
}

/// Why a link ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum LinkEnd {
    /// The connection was closed.
    #[error("closed by the other side")]
    Closed,
    /// The other side says that the link shall not go on.
    #[error("ended by the other side")]
    Over,
    /// Nothing was heard for the detection time.
    #[error("silent for {0:?}")]
    Silent(Duration),
    /// Nothing was heard for half the detection time: another connection may do better.
    #[error("silent for half of {0:?}")]
    Stalled(Duration),
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

impl LinkEnd {
    /// Whether only the connection is at fault, so that the link may go on over another one.
    pub(crate) fn is_of_connection(&self) -> bool {
        matches!(self, LinkEnd::Closed | LinkEnd::Stalled(_) | LinkEnd::Io(_))
    }
}

/// The last word on a link that shall not go on.
fn over() -> Message {
    Message::Close(Some(CloseFrame {
        code: CloseCode::from(crate::wire::CLOSE_OVER),
        reason: "".into(),
    }))
}

/// Closes a connection over which its link cannot go on.
pub(crate) async fn close<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocketStream<S>) {
    let _ = timeout(CLOSE_TIMEOUT, ws.send(over())).await;
}

fn is_over(message: &Message) -> bool {
    let over = |close: &CloseFrame| u16::from(close.code) == crate::wire::CLOSE_OVER;
    matches!(message, Message::Close(Some(close)) if over(close))
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
