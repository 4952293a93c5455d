//! How a WebSocket ends when the node has a reason.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio_tungstenite::tungstenite::Error;
use tokio_tungstenite::tungstenite::error::{CapacityError, ProtocolError};
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

use super::Socket;

/// How long the node still reads after its close frame, so that the frame is not lost to a reset.
const LINGER: Duration = Duration::from_secs(1);

/// Bytes it reads and drops meanwhile.
const LINGER_BYTES_MAX: usize = 4 << 20;

/// A reason longer than this does not fit into a close frame.
const REASON_BYTES_MAX: usize = 123;

/// Why the node ends a connection.
#[derive(Debug)]
pub(crate) struct Close {
    pub(super) code: u16,
    pub(super) reason: String,
}

impl Close {
    pub(super) fn new(code: u16, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// What an error of the stream means for the client; `None`: nothing can be said any more.
    pub(crate) fn for_fault(error: &Error) -> Option<Self> {
        Some(match error {
            Error::Utf8(_) => Self::new(1007, "Text is not UTF-8"),
            Error::Capacity(CapacityError::MessageTooLong { size, max_size }) => {
                Self::new(1009, format!("Text message too large: {size} > {max_size}"))
            }
            Error::Capacity(_) => Self::new(1009, "Message too large"),
            // No violation to answer: the client vanished without a close frame, as clients do.
            Error::Protocol(ProtocolError::ResetWithoutClosingHandshake) => return None,
            Error::Protocol(error) => Self::new(1002, error.to_string()),
            _ => return None,
        })
    }
}

/// Sends the close frame, then reads and drops for a moment: closing a socket with unread bytes in it resets the
/// connection, and the client would lose the frame.
pub(crate) async fn say_goodbye(mut socket: Socket, close: Close) {
    let mut reason = close.reason;
    while reason.len() > REASON_BYTES_MAX {
        reason.pop();
    }
    let frame = CloseFrame {
        code: CloseCode::from(close.code),
        reason: reason.into(),
    };
    if socket.close(Some(frame)).await.is_err() {
        return;
    }
    let stream = socket.get_mut();
    if stream.shutdown().await.is_err() {
        return;
    }
    let _ = tokio::time::timeout(LINGER, async {
        let mut left = LINGER_BYTES_MAX;
        let mut block = [0; 1024];
        while let Ok(read @ 1..) = stream.read(&mut block).await {
            let Some(rest) = left.checked_sub(read) else {
                return;
            };
            left = rest;
        }
    })
    .await;
}
