//! The acceptor's end of a link: it reads, and answers pings.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::LinkEnd;
use crate::StateChannel;
use crate::wire::{Frame, Interest, PONG_BUSY};

/// How many detection times a node may be busy with what a sibling has sent before the link is given up.
const BUSY_DETECTIONS_MAX: u32 = 10;

/// What a sibling says.
#[derive(Debug)]
pub(crate) enum InboundEvent {
    Interest(Interest),
    Known(Vec<std::net::SocketAddr>),
    Leaving,
    /// A whole state message.
    State(StateChannel, Bytes),
    /// Channel and object of each publication, in order and without gap.
    Publications(Vec<(Bytes, Bytes)>),
}

/// The acceptor's end.
#[derive(Debug)]
pub(crate) struct Inbound<S> {
    ws: WebSocketStream<S>,
    version: u8,
    detection: Duration,
    /// Greatest state message that is put together.
    state_bytes_max: usize,
    next_sequence: u64,
    /// When the sibling was last told that this node lives.
    spoken: Instant,
    /// The parts of a state message that is not complete.
    partial: Option<(StateChannel, BytesMut)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inbound<S> {
    pub(crate) fn new(
        ws: WebSocketStream<S>,
        version: u8,
        detection: Duration,
        state_bytes_max: usize,
    ) -> Self {
        Self {
            ws,
            version,
            detection,
            state_bytes_max,
            next_sequence: 0,
            spoken: Instant::now(),
            partial: None,
        }
    }

    /// The next thing that the sibling says. The link has ended when this fails.
    pub(crate) async fn next(&mut self) -> Result<InboundEvent, LinkEnd> {
        let mut heard = Instant::now();
        if heard >= self.spoken + self.detection / 2 {
            // There is so much to do that the sibling's next ping is far behind.
            self.pong(PONG_BUSY).await?;
        }
        loop {
            let frame = self.frame(heard).await?;
            heard = Instant::now();
            match frame {
                Frame::Ping(clock) => self.pong(clock).await?,
                Frame::Interest(interest) => return Ok(InboundEvent::Interest(interest)),
                Frame::Known(addresses) => return Ok(InboundEvent::Known(addresses)),
                Frame::Leaving => return Ok(InboundEvent::Leaving),
                Frame::State(state) => {
                    let channel = StateChannel(state.channel);
                    if let Some(body) = self.part(channel, &state.body, state.last)? {
                        return Ok(InboundEvent::State(channel, body));
                    }
                }
                Frame::Publications(publications) => {
                    if publications.first_sequence != self.next_sequence {
                        return Err(LinkEnd::Protocol("a gap between publications"));
                    }
                    self.next_sequence += publications.items.len() as u64;
                    return Ok(InboundEvent::Publications(publications.items));
                }
                _ => return Err(LinkEnd::Protocol("a frame that does not belong here")),
            }
        }
    }

    /// Waits until this node is ready for more. Meanwhile nothing is read, pings neither, so the sibling is told from
    /// time to time that this node lives. Not for ever: a node that is stuck shall be given up.
    pub(crate) async fn busy<T>(&mut self, work: impl Future<Output = T>) -> Result<T, LinkEnd> {
        let mut work = std::pin::pin!(work);
        for _ in 0..4 * BUSY_DETECTIONS_MAX {
            match timeout_at(self.spoken + self.detection / 4, work.as_mut()).await {
                Ok(done) => return Ok(done),
                Err(_) => self.pong(PONG_BUSY).await?,
            }
        }
        Err(LinkEnd::Silent(self.detection * BUSY_DETECTIONS_MAX))
    }

    async fn frame(&mut self, heard: Instant) -> Result<Frame, LinkEnd> {
        let ready = self.ws.next().now_or_never();
        let message = match ready {
            Some(message) => message,
            // The deadline is looked at first: a process that was suspended must not go on with what it finds in its
            // buffers, because its siblings have given it up.
            None => tokio::select! {
                biased;
                () = sleep_until(heard + self.detection) => {
                    return Err(LinkEnd::Silent(self.detection));
                }
                message = self.ws.next() => message,
            },
        };
        match message {
            Some(Ok(Message::Binary(bytes))) => Ok(Frame::decode(&bytes)?),
            None | Some(Ok(Message::Close(_)) | Err(WsError::ConnectionClosed)) => {
                Err(LinkEnd::Closed)
            }
            Some(Ok(_)) => Err(LinkEnd::Protocol("not binary")),
            Some(Err(error)) => Err(LinkEnd::Io(error.to_string())),
        }
    }

    async fn pong(&mut self, clock: u64) -> Result<(), LinkEnd> {
        let pong = Message::Binary(Frame::Pong(clock).encode(self.version));
        self.spoken = Instant::now();
        match timeout(self.detection, self.ws.send(pong)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(LinkEnd::Io(error.to_string())),
            Err(_) => Err(LinkEnd::Silent(self.detection)),
        }
    }

    /// Adds a part, and returns the message if it is the last one. Copies: a slice would keep the read buffer alive.
    fn part(
        &mut self,
        channel: StateChannel,
        part: &[u8],
        last: bool,
    ) -> Result<Option<Bytes>, LinkEnd> {
        let (began, mut whole) = self
            .partial
            .take()
            .unwrap_or_else(|| (channel, BytesMut::with_capacity(part.len())));
        if began != channel {
            return Err(LinkEnd::Protocol("state messages are mixed up"));
        }
        if whole.len() + part.len() > self.state_bytes_max {
            return Err(LinkEnd::Protocol("a state message that is too long"));
        }
        whole.extend_from_slice(part);
        if last {
            return Ok(Some(whole.freeze()));
        }
        self.partial = Some((channel, whole));
        Ok(None)
    }
}
