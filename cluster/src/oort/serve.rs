//! A connection of another node to the engine of links.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use halley_bayeux::{Engine, Output, WebSocketPeer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;
use tokio_tungstenite::tungstenite::{Message, Utf8Bytes};

use tokio_util::sync::CancellationToken;

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
    let mut connection = Connection {
        peer: links.websocket_peer(),
        ws,
        unflushed: false,
        heard: Instant::now(),
    };
    let close = connection.run(&links, clock, pace, &evicted, proven).await;
    connection.peer.closed(clock.now());
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
    heard: Instant,
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
                    }
                }
                Step::Output(Output::Frame(frame)) => {
                    let Ok(text) = Utf8Bytes::try_from(frame) else {
                        return Some((1011, "output is not text".to_owned()));
                    };
                    self.unflushed = true;
                    if self.write(pace, Some(Message::Text(text))).await.is_none() {
                        return None;
                    }
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
                    self.write(pace, Some(Message::Ping(bytes::Bytes::new())))
                        .await?;
                    self.write(pace, None).await?;
                    timer.as_mut().reset(now + pace.ping_interval);
                }
            }
        }
    }

    /// Feeds a message, or flushes. `None` when the connection is broken, or takes nothing for too long.
    async fn write(&mut self, pace: Pace, message: Option<Message>) -> Option<()> {
        let writing = async {
            match message {
                Some(message) => self.ws.feed(message).await,
                None => self.ws.flush().await,
            }
        };
        timeout(pace.detection, writing).await.ok()?.ok()
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
                Some(Ok(Message::Close(_)) | Err(_)) | None => return Poll::Ready(Step::Gone),
                Some(Ok(_)) => {}
            }
        }
    }
}
