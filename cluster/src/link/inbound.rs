//! The acceptor's end of a link: it reads, and answers pings.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Error as WsError, Message};

use super::{CLOSE_TIMEOUT, LinkEnd, LinkTotals, Verified, is_over, over};
use crate::wire::{Frame, Interest, PONG_BUSY, Pong, Reached, Received, VERSION_RESUME};
use crate::{Member, StateChannel};

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

/// Another connection for a link that has lost its own.
#[derive(Debug)]
pub(crate) struct Successor<S> {
    pub(crate) verified: Verified<S>,
    /// Who this node says it is.
    pub(crate) me: Member,
}

/// The acceptor's end.
#[derive(Debug)]
pub(crate) struct Inbound<S> {
    ws: WebSocketStream<S>,
    version: u8,
    detection: Duration,
    /// Greatest state message that is put together.
    state_bytes_max: usize,
    /// Connections that take over.
    successors: mpsc::Receiver<Successor<S>>,
    totals: Arc<LinkTotals>,
    /// What has come in; the numbers of the next ones.
    received: Received,
    /// When the sibling was heard last, or this node began to listen again.
    heard: Instant,
    /// When the sibling was last told that this node lives.
    spoken: Instant,
    /// The connection is gone; another one may come.
    broken: bool,
    /// The parts of a state message that is not complete.
    partial: Option<(StateChannel, BytesMut)>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Inbound<S> {
    pub(crate) fn new(
        ws: WebSocketStream<S>,
        version: u8,
        detection: Duration,
        state_bytes_max: usize,
        successors: mpsc::Receiver<Successor<S>>,
        totals: Arc<LinkTotals>,
    ) -> Self {
        let now = Instant::now();
        Self {
            ws,
            version,
            detection,
            state_bytes_max,
            successors,
            totals,
            received: Received::default(),
            heard: now,
            spoken: now,
            broken: false,
            partial: None,
        }
    }

    /// What has come in.
    pub(crate) fn received(&self) -> Received {
        self.received
    }

    /// The next thing that the sibling says. The link has ended when this fails.
    pub(crate) async fn next(&mut self) -> Result<InboundEvent, LinkEnd> {
        self.heard = Instant::now();
        if self.heard >= self.spoken + self.detection / 2 {
            // There is so much to do that the sibling's next ping is far behind.
            if let Err(end) = self.pong(PONG_BUSY).await {
                self.connection_ended(end)?;
            }
        }
        loop {
            let frame = match self.frame().await {
                Ok(Some(frame)) => frame,
                Ok(None) => continue,
                Err(end) => {
                    self.connection_ended(end)?;
                    continue;
                }
            };
            self.heard = Instant::now();
            if let Frame::Ping(ping) = frame {
                self.totals.told(ping.rtt_us);
                if let Err(end) = self.pong(ping.clock).await {
                    self.connection_ended(end)?;
                }
                continue;
            }
            self.received.frames += 1;
            match frame {
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
                    if publications.first_sequence != self.received.publications {
                        return Err(LinkEnd::Protocol("a gap between publications"));
                    }
                    self.received.publications += publications.items.len() as u64;
                    return Ok(InboundEvent::Publications(publications.items));
                }
                _ => return Err(LinkEnd::Protocol("a frame that does not belong here")),
            }
        }
    }

    /// The link goes on without a connection for a while, if nothing else is wrong.
    fn connection_ended(&mut self, end: LinkEnd) -> Result<(), LinkEnd> {
        if self.version < VERSION_RESUME || !end.is_of_connection() {
            return Err(end);
        }
        tracing::debug!(%end, "a link has lost its connection, and waits for another one");
        self.broken = true;
        Ok(())
    }

    /// Waits until this node is ready for more. Meanwhile nothing is read, pings neither, so the sibling is told from
    /// time to time that this node lives. Not for ever: a node that is stuck shall be given up. What is waited for has
    /// been received, so it is seen through although the connection breaks.
    pub(crate) async fn busy<T>(&mut self, work: impl Future<Output = T>) -> Result<T, LinkEnd> {
        let mut work = std::pin::pin!(work);
        for _ in 0..4 * BUSY_DETECTIONS_MAX {
            let successor = tokio::select! {
                biased;
                done = work.as_mut() => return Ok(done),
                Some(successor) = self.successors.recv() => Some(successor),
                () = sleep_until(self.spoken + self.detection / 4) => None,
            };
            match successor {
                Some(successor) => self.take_over(successor).await,
                None => {
                    if let Err(end) = self.pong(PONG_BUSY).await {
                        self.connection_ended(end)?;
                    }
                }
            }
        }
        Err(LinkEnd::Silent(self.detection * BUSY_DETECTIONS_MAX))
    }

    /// The next frame; nothing when another connection has taken over.
    async fn frame(&mut self) -> Result<Option<Frame>, LinkEnd> {
        // The deadline is looked at first: a process that was suspended must not go on with what it finds in its
        // buffers, because its siblings have given it up.
        let deadline = self.heard + self.detection;
        if self.broken {
            tokio::select! {
                biased;
                () = sleep_until(deadline) => return Err(LinkEnd::Silent(self.detection)),
                Some(successor) = self.successors.recv() => self.take_over(successor).await,
            }
            return Ok(None);
        }
        let ready = self.ws.next().now_or_never();
        let message = match ready {
            Some(message) => message,
            None => tokio::select! {
                biased;
                () = sleep_until(deadline) => return Err(LinkEnd::Silent(self.detection)),
                message = self.ws.next() => message,
                Some(successor) = self.successors.recv() => {
                    self.take_over(successor).await;
                    return Ok(None);
                }
            },
        };
        match message {
            Some(Ok(Message::Binary(bytes))) => {
                self.totals.bytes_received.add(bytes.len() as u64);
                Ok(Some(Frame::decode(&bytes)?))
            }
            Some(Ok(message)) if is_over(&message) => Err(LinkEnd::Over),
            None | Some(Ok(Message::Close(_)) | Err(WsError::ConnectionClosed)) => {
                Err(LinkEnd::Closed)
            }
            Some(Ok(_)) => Err(LinkEnd::Protocol("not binary")),
            Some(Err(error)) => Err(LinkEnd::Io(error.to_string())),
        }
    }

    /// Goes on over another connection. The sibling has given up this one, whatever becomes of that.
    async fn take_over(&mut self, successor: Successor<S>) {
        self.broken = true;
        let reached = Reached {
            received: self.received,
            former: None,
        };
        let Successor { verified, me } = successor;
        let welcome = verified.welcome(me, reached, self.state_bytes_max);
        match timeout(self.detection, welcome).await {
            Ok(Ok((ws, version))) if version == self.version => {
                let now = Instant::now();
                (self.ws, self.broken) = (ws, false);
                (self.heard, self.spoken) = (now, now);
            }
            Ok(Ok(_)) => tracing::debug!("a link cannot go on in another version"),
            Ok(Err(error)) => tracing::debug!(%error, "another connection of a link has failed"),
            Err(_) => tracing::debug!("another connection of a link takes nothing"),
        }
    }

    async fn pong(&mut self, clock: u64) -> Result<(), LinkEnd> {
        self.spoken = Instant::now();
        if self.broken {
            return Ok(());
        }
        let received = self.received;
        let pong = Frame::Pong(Pong { clock, received }).encode(self.version);
        match timeout(self.detection, self.ws.send(Message::Binary(pong))).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(LinkEnd::Io(error.to_string())),
            Err(_) => Err(LinkEnd::Silent(self.detection)),
        }
    }

    /// Tells the sibling that the link shall not go on.
    pub(crate) async fn close(&mut self) {
        if !self.broken {
            let _ = timeout(CLOSE_TIMEOUT, self.ws.send(over())).await;
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
