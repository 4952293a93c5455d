//! The dialler's end of a link: it writes, and listens for pongs only.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::{Instant, sleep, sleep_until, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;

use super::queue::Taken;
use super::totals::LinkTotals;
use super::{CLOSE_TIMEOUT, LinkEnd, LinkQueue, WRITE_BUDGET_BYTES, is_over, over};
use crate::wire::{Frame, PONG_BUSY, Ping, VERSION_RESUME};

/// What the dialler's end needs to know.
#[derive(Debug)]
pub(crate) struct Outbound {
    pub(crate) queue: Arc<LinkQueue>,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) detection: Duration,
    pub(crate) totals: Arc<LinkTotals>,
    /// Ends the link on purpose; the sibling is told.
    pub(crate) cancel: CancellationToken,
}

/// How one connection of a link ended, and when the sibling was heard last.
#[derive(Debug)]
pub(crate) struct ConnectionEnd {
    pub(crate) end: LinkEnd,
    pub(crate) heard: Instant,
}

impl Outbound {
    /// Runs the link over a connection until that ends. `again` goes first. Reading goes on while a write is stuck, so
    /// that both are judged by what comes back.
    pub(crate) async fn run<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        ws: WebSocketStream<S>,
        again: VecDeque<Bytes>,
    ) -> ConnectionEnd {
        let (mut sink, mut stream) = ws.split();
        let started = Instant::now();
        let heard = Mutex::new(started);
        let end = tokio::select! {
            biased;
            () = self.cancel.cancelled() => LinkEnd::Cancelled,
            end = self.read(&mut stream, started, &heard) => end,
            end = self.write(&mut sink, started, again) => end,
        };
        if !end.is_of_connection() {
            // So that the sibling does not wait for another connection.
            let _ = timeout(CLOSE_TIMEOUT, sink.send(over())).await;
        }
        let heard = *heard.lock();
        ConnectionEnd { end, heard }
    }

    async fn write<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        sink: &mut SplitSink<WebSocketStream<S>, Message>,
        started: Instant,
        mut again: VecDeque<Bytes>,
    ) -> LinkEnd {
        let mut next_ping = started;
        let (mut unasked, ask_after) = (0, self.queue.ask_after_bytes());
        loop {
            let now = Instant::now();
            let mut frames = if again.is_empty() {
                match self.queue.take() {
                    Taken::Full(lane) => return LinkEnd::QueueFull(lane),
                    Taken::Drained => {
                        // The other side closes when it has read everything. Closing first could throw away, on its
                        // way, what was just written.
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
                }
            } else {
                let frames = budget(&mut again);
                self.totals.frames_resent.add(frames.len() as u64);
                frames
            };
            let due = now >= next_ping;
            if due {
                (next_ping, unasked) = (now + self.heartbeat_interval, 0);
            }
            unasked += frames.iter().map(Bytes::len).sum::<usize>();
            if due {
                frames.insert(0, self.ping(started));
            } else if unasked >= ask_after {
                unasked = 0;
                frames.push(self.ping(started));
            }
            let bytes: usize = frames.iter().map(Bytes::len).sum();
            // However long this takes: whether the sibling lives is judged by what it says, in `read`.
            if let Err(error) = write_all(sink, frames).await {
                return LinkEnd::Io(error.to_string());
            }
            self.totals.bytes_sent.add(bytes as u64);
        }
    }

    fn ping(&self, started: Instant) -> Bytes {
        let clock = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let rtt_us = self.totals.rtt_us();
        Frame::Ping(Ping { clock, rtt_us }).encode(self.queue.version())
    }

    /// How long the sibling may be silent, and what that means: before it counts as lost another connection is tried.
    fn patience(&self) -> (Duration, LinkEnd) {
        let beats = self.heartbeat_interval + self.heartbeat_interval / 2;
        let half = (self.detection / 2).max(beats).min(self.detection);
        if self.queue.version() >= VERSION_RESUME {
            (half, LinkEnd::Stalled(half))
        } else {
            (self.detection, LinkEnd::Silent(self.detection))
        }
    }

    async fn read<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        stream: &mut SplitStream<WebSocketStream<S>>,
        started: Instant,
        last_heard: &Mutex<Instant>,
    ) -> LinkEnd {
        let mut heard = started;
        let (patience, silence) = self.patience();
        loop {
            let message = match timeout_at(heard + patience, stream.next()).await {
                Err(_) => return silence,
                Ok(Some(Ok(message))) if is_over(&message) => return LinkEnd::Over,
                Ok(None | Some(Ok(Message::Close(_)))) => return LinkEnd::Closed,
                Ok(Some(Err(error))) => return LinkEnd::Io(error.to_string()),
                Ok(Some(Ok(message))) => message,
            };
            let Message::Binary(bytes) = message else {
                return LinkEnd::Protocol("not binary");
            };
            let pong = match Frame::decode(&bytes) {
                Ok(Frame::Pong(pong)) => pong,
                Ok(_) => return LinkEnd::Protocol("the acceptor sends only pongs"),
                Err(error) => return error.into(),
            };
            heard = Instant::now();
            *last_heard.lock() = heard;
            if !self.queue.acknowledge(pong.received) {
                return LinkEnd::Protocol("more is acknowledged than was sent");
            }
            if pong.clock != PONG_BUSY {
                // The clock is the acceptor's word: it may be any number.
                let sent = started.checked_add(Duration::from_micros(pong.clock));
                let rtt = sent.map(|sent| heard.saturating_duration_since(sent));
                self.totals.measured(rtt.unwrap_or_default());
            }
        }
    }
}

/// As much as goes into one write, and one frame at least.
fn budget(again: &mut VecDeque<Bytes>) -> Vec<Bytes> {
    let (mut frames, mut bytes) = (Vec::new(), 0);
    while bytes < WRITE_BUDGET_BYTES
        && let Some(frame) = again.pop_front()
    {
        bytes += frame.len();
        frames.push(frame);
    }
    frames
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
