//! The connection to the server, over whichever transport.

use std::sync::Arc;

use tokio::time::Instant;

use crate::{
    error::LinkError,
    poll::Poll,
    socket::{Socket, Text},
    traffic::Meter,
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

/// What carries the frames.
#[derive(Debug)]
pub(crate) enum Carrier {
    Socket(Box<Socket>),
    Poll(Box<Poll>),
}

/// An open connection.
#[derive(Debug)]
pub(crate) struct Link {
    carrier: Carrier,
    meter: Arc<Meter>,
}

impl Link {
    pub(crate) fn new(carrier: Carrier, meter: Arc<Meter>) -> Self {
        Self { carrier, meter }
    }

    pub(crate) fn transport(&self) -> Transport {
        match &self.carrier {
            Carrier::Socket(_) => Transport::WebSocket,
            Carrier::Poll(_) => Transport::LongPolling,
        }
    }

    /// Whether requests that are made now leave at once.
    pub(crate) fn has_room(&self) -> bool {
        match &self.carrier {
            Carrier::Socket(_) => true,
            Carrier::Poll(poll) => poll.has_room(),
        }
    }

    /// Sends frames in order. Not cancel-safe.
    ///
    /// # Errors
    /// When the connection is broken.
    pub(crate) async fn send(&mut self, frames: Vec<Frame>) -> Result<(), LinkError> {
        self.meter
            .sent(frames.iter().map(|frame| frame.text.len()).sum());
        match &mut self.carrier {
            Carrier::Socket(socket) => socket.send(frames).await,
            Carrier::Poll(poll) => {
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
        let received = match &mut self.carrier {
            Carrier::Socket(socket) => Received::Text(socket.receive(&self.meter).await?),
            Carrier::Poll(poll) => poll.receive().await?,
        };
        self.count(&received);
        Ok(received)
    }

    /// What is already here.
    pub(crate) fn try_receive(&mut self) -> Option<Result<Received, LinkError>> {
        let received = match &mut self.carrier {
            Carrier::Socket(socket) => socket
                .try_receive(&self.meter)
                .map(|text| text.map(Received::Text)),
            Carrier::Poll(poll) => poll.try_receive(),
        };
        if let Some(Ok(received)) = &received {
            self.count(received);
        }
        received
    }

    fn count(&self, received: &Received) {
        if let Received::Text(text) = received {
            self.meter.received(text.len());
        }
    }

    /// When [`Self::heartbeat`] is due, if ever.
    pub(crate) fn heartbeat_at(&self) -> Option<Instant> {
        match &self.carrier {
            Carrier::Socket(socket) => socket.heartbeat_at(),
            Carrier::Poll(_) => None,
        }
    }

    /// Judges the connection, and sends a ping when its time has come. Not cancel-safe.
    ///
    /// # Errors
    /// When nothing has come for too long, or the connection is broken.
    pub(crate) async fn heartbeat(&mut self) -> Result<(), LinkError> {
        match &mut self.carrier {
            Carrier::Socket(socket) => socket.heartbeat().await,
            Carrier::Poll(_) => Ok(()),
        }
    }

    /// Closes, without insisting on an answer.
    pub(crate) async fn close(self) {
        match self.carrier {
            Carrier::Socket(socket) => socket.close().await,
            Carrier::Poll(_) => {}
        }
    }
}
