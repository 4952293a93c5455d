//! The connection to the server, over whichever transport.

use crate::{
    error::LinkError,
    poll::Poll,
    socket::{Socket, Text},
    transport::Transport,
    wire::Frame,
};

/// What comes in.
#[derive(Debug)]
pub(crate) enum Received {
    /// A JSON array of messages.
    Text(Text),
    /// The request that carried the messages with these ids was answered with this HTTP status.
    Failed(Vec<u64>, u16),
}

/// An open connection.
#[derive(Debug)]
pub(crate) enum Link {
    Socket(Box<Socket>),
    Poll(Box<Poll>),
}

impl Link {
    pub(crate) fn transport(&self) -> Transport {
        match self {
            Self::Socket(_) => Transport::WebSocket,
            Self::Poll(_) => Transport::LongPolling,
        }
    }

    /// Whether requests that are made now leave at once.
    pub(crate) fn has_room(&self) -> bool {
        match self {
            Self::Socket(_) => true,
            Self::Poll(poll) => poll.has_room(),
        }
    }

    /// Sends frames in order. Not cancel-safe.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) async fn send(&mut self, frames: Vec<Frame>) -> Result<(), LinkError> {
        match self {
            Self::Socket(socket) => socket.send(frames).await,
            Self::Poll(poll) => {
                poll.send(frames);
                Ok(())
            }
        }
    }

    /// What comes next. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks or is closed.
    pub(crate) async fn receive(&mut self) -> Result<Received, LinkError> {
        match self {
            Self::Socket(socket) => socket.receive().await.map(Received::Text),
            Self::Poll(poll) => poll.receive().await,
        }
    }

    /// What is already here.
    pub(crate) fn try_receive(&mut self) -> Option<Result<Received, LinkError>> {
        match self {
            Self::Socket(socket) => socket.try_receive().map(|text| text.map(Received::Text)),
            Self::Poll(poll) => poll.try_receive(),
        }
    }

    /// Closes, without insisting on an answer.
    pub(crate) async fn close(self) {
        match self {
            Self::Socket(socket) => socket.close().await,
            Self::Poll(_) => {}
        }
    }
}
