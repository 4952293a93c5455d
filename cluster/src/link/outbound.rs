//! The dialler's end of a link: it writes, and listens for pongs only.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use super::queue::Taken;
use super::{LinkEnd, LinkQueue};
use crate::wire::{Frame, PONG_BUSY};

/// What the dialler's end needs to know.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) queue: Arc<LinkQueue>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) detection: Duration,
    /// Last measured round trip in microseconds, 0 before the first; read by the statistics.
    pub(crate) rtt_us: Arc<AtomicU64>,
}

impl Outbound {
    /// Runs the link until it ends. Reading goes on while a write is stuck, so that both are judged by what comes back.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        ws: WebSocketStream<S>,
    ) -> LinkEnd {
        let (mut sink, mut stream) = ws.split();
        let started = Instant::now();
        tokio::select! {
            biased;
            end = self.read(&mut stream, started) => end,
            end = self.write(&mut sink, started) => end,
        }
    }

    async fn write<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        sink: &mut SplitSink<WebSocketStream<S>, Message>,
        started: Instant,
    ) -> LinkEnd {
        let mut next_ping = started;
        loop {
            let now = Instant::now();
            let mut frames = match self.queue.take() {
                Taken::Full(lane) => return LinkEnd::QueueFull(lane),
                Taken::Drained => {
                    // The other side closes when it has read everything. Closing first could throw away, on its way,
                    // what was just written.
                    sleep(self.heartbeat_interval).await;
                    return LinkEnd::Cancelled;
                }
                Taken::Frames(frames) => frames,
                Taken::Nothing if now < next_ping => {
                    tokio::select! {
                        biased;
                        () = self.queue.woken() => {}
                        () = sleep_until(next_ping) => {}
                    }
                    continue;
                }
                Taken::Nothing => Vec::new(),
            };
            if now >= next_ping {
                let clock = u64::try_from((now - started).as_micros()).unwrap_or(u64::MAX);
                frames.insert(0, Frame::Ping(clock).encode(self.queue.version()));
                next_ping = now + self.heartbeat_interval;
            }
            // However long this takes: whether the sibling lives is judged by what it says, in `read`.
            if let Err(error) = write_all(sink, frames).await {
                return LinkEnd::Io(error.to_string());
            }
        }
    }

    async fn read<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut SplitStream<WebSocketStream<S>>,
        started: Instant,
    ) -> LinkEnd {
        let mut heard = started;
        loop {
            let message = match timeout_at(heard + self.detection, stream.next()).await {
                Err(_) => return LinkEnd::Silent(self.detection),
                Ok(None | Some(Ok(Message::Close(_)))) => return LinkEnd::Closed,
                Ok(Some(Err(error))) => return LinkEnd::Io(error.to_string()),
                Ok(Some(Ok(message))) => message,
            };
            let Message::Binary(bytes) = message else {
                return LinkEnd::Protocol("not binary");
            };
            match Frame::decode(&bytes) {
                Ok(Frame::Pong(PONG_BUSY)) => heard = Instant::now(),
                Ok(Frame::Pong(clock)) => {
                    heard = Instant::now();
                    let sent = started + Duration::from_micros(clock);
                    let rtt = heard.saturating_duration_since(sent).as_micros();
                    self.rtt_us.store(
                        u64::try_from(rtt).unwrap_or(u64::MAX).max(1),
                        Ordering::Relaxed,
                    );
                }
                Ok(_) => return LinkEnd::Protocol("the acceptor sends only pongs"),
                Err(error) => return error.into(),
            }
        }
    }
}

/// One write for all: the frames are fed, and flushed once.
async fn write_all<S: AsyncRead + AsyncWrite + Unpin>(
    sink: &mut SplitSink<WebSocketStream<S>, Message>,
    frames: Vec<Bytes>,
) -> Result<(), tokio_tungstenite::tungstenite::Error> {
    for frame in frames {
        sink.feed(Message::Binary(frame)).await?;
    }
    sink.flush().await
}
