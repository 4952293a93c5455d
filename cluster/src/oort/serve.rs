//! A connection of another node to the engine of links.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use halley_bayeux::{Engine, Millis, Output, WebSocketPeer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};
use tokio_util::sync::CancellationToken;

use super::server::Peer;
use super::tally::Tally;
use crate::Clock;

/// The longest message of a connection that does not stand for a session yet.
const HANDSHAKE_BYTES_MAX: usize = 16 << 10;

/// How a connection is served.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pace {
    /// Within this time a connection must stand for a session.
    pub(super) handshake_timeout: Duration,
    /// Time between two pings.
    pub(super) ping_interval: Duration,
    /// After this time without a word the connection is given up.
    pub(super) detection: Duration,
}

enum Step {
    Text(Utf8Bytes),
    Output(Output),
    Flush,
    Gone,
    Timer,
}

/// Serves one connection until it ends. `proven` is dropped as soon as it stands for a session.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin, P>(
    ws: WebSocketStream<S>,
    links: Arc<Engine>,
    clock: Clock,
    pace: Pace,
    evicted: CancellationToken,
    proven: P,
) {
    let now = Instant::now();
    let mut connection = Connection {
        peer: links.websocket_peer(),
        ws,
        unflushed: false,
        heard: now,
        stuck: None,
        pinged: (0, now),
        tally: None,
        uncounted: (0, 0),
    };
    let close = connection.run(&links, clock, pace, &evicted, proven).await;
    // The node is given time to come back from when it was heard last.
    let now = clock.now();
    match connection.silence(pace) {
        Some(silence) => connection
            .peer
            .fell_silent(Millis(now.0.saturating_sub(silence))),
        None => connection.peer.closed(now),
    }
    let close = close.map(|(code, reason)| CloseFrame {
        code: code.into(),
        reason: reason.into(),
    });
    // It may not listen any more.
    let _ = timeout(pace.handshake_timeout, connection.ws.close(close)).await;
}

struct Connection<S> {
    peer: WebSocketPeer,
    ws: WebSocketStream<S>,
    unflushed: bool,
    /// When anything has come last.
    heard: Instant,
    /// Since when the connection has taken nothing, if that is why it has ended.
    stuck: Option<Instant>,
    /// Number and time of the last ping.
    pinged: (u64, Instant),
    /// Where the links with the node are counted, once it is known.
    tally: Option<Arc<Tally>>,
    /// Bytes received and sent before that.
    uncounted: (u64, u64),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    async fn run<P>(
        &mut self,
        links: &Arc<Engine>,
        clock: Clock,
        pace: Pace,
        evicted: &CancellationToken,
        proven: P,
    ) -> Option<(u16, String)> {
        let mut proven = Some(proven);
        let opened = Instant::now();
        let mut ping_at = opened + pace.ping_interval;
        let mut evicted = pin!(evicted.cancelled());
        let mut timer = pin!(sleep_until(
            opened + pace.handshake_timeout.min(pace.ping_interval)
        ));
        loop {
            let step = poll_fn(|cx| {
                if let Poll::Ready(step) = self.poll_step(cx, clock) {
                    return Poll::Ready(step);
                }
                if proven.is_some() && evicted.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Step::Gone);
                }
                timer.as_mut().poll(cx).map(|()| Step::Timer)
            })
            .await;
            match step {
                Step::Text(text) => {
                    if proven.is_some() && text.len() > HANDSHAKE_BYTES_MAX {
                        return Some((1009, "too long before a handshake".to_owned()));
                    }
                    let now = clock.now();
                    if let Err(error) = links
                        .websocket_frame(&mut self.peer, text.as_str(), now)
                        .await
                    {
                        return Some((error.code, error.reason.to_string()));
                    }
                    if self.peer.session().is_some() {
                        proven = None;
                        self.identify();
                    }
                    self.count(text.len(), 0);
                }
                Step::Output(Output::Frame(frame)) => {
                    let Ok(text) = Utf8Bytes::try_from(frame) else {
                        return Some((1011, "output is not text".to_owned()));
                    };
                    self.unflushed = true;
                    self.count(0, text.len());
                    self.write(pace, Some(Message::Text(text))).await?;
                }
                Step::Output(Output::Close(code, reason)) => {
                    return Some((code, reason.to_owned()));
                }
                Step::Flush => {
                    self.unflushed = false;
                    self.write(pace, None).await?;
                    self.peer.written(clock.now());
                }
                Step::Gone => return None,
                Step::Timer => {
                    let now = Instant::now();
                    if proven.is_some() && now >= opened + pace.handshake_timeout {
                        return Some((1008, "no handshake".to_owned()));
                    }
                    if now >= self.heard + pace.detection {
                        return Some((1001, "silent".to_owned()));
                    }
                    if now >= ping_at {
                        ping_at = now + pace.ping_interval;
                        self.ping(pace, now).await?;
                    }
                    let mut next = ping_at.min(self.heard + pace.detection);
                    if proven.is_some() {
                        next = next.min(opened + pace.handshake_timeout);
                    }
                    timer.as_mut().reset(next);
                }
            }
        }
    }

    async fn ping(&mut self, pace: Pace, now: Instant) -> Option<()> {
        self.pinged = (self.pinged.0 + 1, now);
        let number = self.pinged.0.to_be_bytes().to_vec();
        self.write(pace, Some(Message::Ping(number.into()))).await?;
        self.write(pace, None).await
    }

    /// The number of the last ping has come back.
    fn ponged(&self, payload: &[u8]) {
        let (number, at) = self.pinged;
        if let Some(tally) = &self.tally
            && payload == number.to_be_bytes()
        {
            let rtt = self.heard.saturating_duration_since(at);
            let us = u64::try_from(rtt.as_micros()).unwrap_or(u64::MAX);
            tally.totals.told(us.max(1));
        }
    }

    /// For how long nothing has been heard of the node, in milliseconds, when that is why the connection has ended.
    fn silence(&self, pace: Pace) -> Option<u64> {
        let silent = self.heard.elapsed();
        let silence = match self.stuck {
            Some(since) => since.elapsed(),
            None => Some(silent).filter(|silent| *silent >= pace.detection)?,
        };
        u64::try_from(silence.as_millis()).ok()
    }

    /// Looks who it is.
    fn identify(&mut self) {
        let peer = self.peer.session();
        let peer = peer.and_then(|session| session.attachment::<Peer>());
        if let (None, Some(peer)) = (&self.tally, peer) {
            self.tally = Some(peer.tally.clone());
            let (received, sent) = std::mem::take(&mut self.uncounted);
            peer.tally.totals.bytes_received.add(received);
            peer.tally.totals.bytes_sent.add(sent);
        }
    }

    fn count(&mut self, received: usize, sent: usize) {
        let (received, sent) = (received as u64, sent as u64);
        match &self.tally {
            Some(tally) => {
                tally.totals.bytes_received.add(received);
                tally.totals.bytes_sent.add(sent);
            }
            None => {
                self.uncounted.0 += received;
                self.uncounted.1 += sent;
            }
        }
    }

    /// Feeds a message, or flushes. `None` when the connection is broken, or takes nothing for too long.
    async fn write(&mut self, pace: Pace, message: Option<Message>) -> Option<()> {
        let began = Instant::now();
        let writing = async {
            match message {
                Some(message) => self.ws.feed(message).await,
                None => self.ws.flush().await,
            }
        };
        match timeout(pace.detection, writing).await {
            Ok(written) => written.ok(),
            Err(_) => {
                self.stuck = Some(began);
                None
            }
        }
    }

    fn poll_step(&mut self, cx: &mut Context<'_>, clock: Clock) -> Poll<Step> {
        if let Poll::Ready(output) = self.peer.poll_output(cx, clock.now()) {
            return Poll::Ready(Step::Output(output));
        }
        if self.unflushed {
            return Poll::Ready(Step::Flush);
        }
        loop {
            let Poll::Ready(next) = self.ws.poll_next_unpin(cx) else {
                return Poll::Pending;
            };
            self.heard = Instant::now();
            match next {
                Some(Ok(Message::Text(text))) => return Poll::Ready(Step::Text(text)),
                Some(Ok(Message::Pong(payload))) => self.ponged(&payload),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Poll::Ready(Step::Gone),
                Some(Ok(_)) => {}
            }
        }
    }
}

#[cfg(test)]
#[path = "serve_tests.rs"]
mod tests;
