//! The task of one WebSocket.
//!
//! ```text
//! inbound frame ──> engine ──replies──┐
//! deliveries of the session ──────────┴──> peer output ──feed, feed, ... one flush──> socket
//! ```
//!
//! While a flush waits for a slow reader nothing more is read from it, and what is delivered meanwhile waits in the
//! session's queue, whose bound ends the session. The stream itself ends a write that makes no progress.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::{SinkExt as _, StreamExt as _};
use halley_bayeux::{Output, UpgradeHead, WebSocketPeer};
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_tungstenite::tungstenite::{Error, Message, Utf8Bytes};
use tracing::debug;

use super::Socket;
use super::closing::{Close, say_goodbye};
use super::endpoint::Endpoint;
use super::upgrade::READ_BUFFER_BYTES;
use crate::http_server::Part;
use crate::metrics::Limit;

/// Frames written one after the other before the client is listened to again.
const BURST_FRAMES_MAX: u32 = 16;

/// What a control frame of a client has beside its content.
const CONTROL_FRAME_HEAD_BYTES: usize = 6;

/// What happened next on a connection.
enum Step {
    Text(Utf8Bytes),
    Output(Output),
    Flush,
    /// The client closed, or its stream broke.
    Gone,
    Close(Close),
    /// Perhaps idle: the timer has fired.
    Timer,
}

/// Starts the task. The caller is a task that ends with this call, so that nothing of it stays.
pub(super) fn start(endpoint: Arc<Endpoint>, socket: Socket, head: UpgradeHead) {
    let tracker = endpoint.tracker.clone();
    tracker.spawn(run(endpoint, socket, Some(head)));
}

/// Not an `async fn`: that would keep its arguments beside the variables they are moved to.
fn run(
    endpoint: Arc<Endpoint>,
    socket: Socket,
    head: Option<UpgradeHead>,
) -> impl Future<Output = ()> + Send {
    let mut connection = Connection {
        peer: endpoint.engine.websocket_peer_of(head),
        finished: socket.get_ref().received(),
        unfinished: endpoint.unfinished.part(),
        socket,
        last_inbound: Instant::now(),
        unflushed: false,
        burst: 0,
        drained: false,
    };
    async move {
        endpoint.metrics.websockets.inc();
        let end = connection.serve(&endpoint).await;
        connection.peer.closed(endpoint.clock.now());
        endpoint.metrics.websockets.dec();
        if let Err(close) = end {
            debug!(
                code = close.code,
                reason = close.reason,
                "WebSocket closed by the node"
            );
            endpoint
                .metrics
                .websocket_closes
                .with_label_values(&[code_label(close.code)])
                .inc();
            // Boxed: rare, and its state must not enlarge every connection.
            Box::pin(say_goodbye(connection.socket, close)).await;
        }
    }
}

/// The codes this node sends, as labels.
fn code_label(code: u16) -> &'static str {
    match code {
        1000 => "1000",
        1001 => "1001",
        1002 => "1002",
        1003 => "1003",
        1007 => "1007",
        1008 => "1008",
        1009 => "1009",
        1011 => "1011",
        1013 => "1013",
        _ => "other",
    }
}

struct Connection {
    peer: WebSocketPeer,
    socket: Socket,
    last_inbound: Instant,
    /// Bytes that were read and belong to no message under way.
    finished: u64,
    /// Those that do, if they are more than the read buffer holds.
    unfinished: Part,
    /// Something was fed and not flushed.
    unflushed: bool,
    /// Frames written since the client was last listened to.
    burst: u32,
    /// All that has been read has been taken: the library, which clears its buffer each time, need not be asked before more comes.
    drained: bool,
}

impl Connection {
    /// Serves until the client is gone, or until there is a reason to close.
    async fn serve(&mut self, endpoint: &Endpoint) -> Result<(), Close> {
        let mut closing = pin!(endpoint.close.cancelled());
        let mut timer = pin!(
            endpoint
                .idle_timeout
                .map(|idle| sleep_until(self.last_inbound + idle))
        );
        loop {
            let step = poll_fn(|cx| {
                if let Poll::Ready(step) = self.poll_step(cx, endpoint) {
                    return Poll::Ready(step);
                }
                if closing.as_mut().poll(cx).is_ready() {
                    return Poll::Ready(Step::Close(Close::new(1001, "Node is going away")));
                }
                match timer.as_mut().as_pin_mut().map(|timer| timer.poll(cx)) {
                    Some(Poll::Ready(())) => Poll::Ready(Step::Timer),
                    _ => Poll::Pending,
                }
            })
            .await;
            match step {
                Step::Text(text) => {
                    // Boxed: its state is larger than all the rest, and an idle connection does not need it.
                    Box::pin(endpoint.engine.websocket_frame(
                        &mut self.peer,
                        text.as_str(),
                        endpoint.clock.now(),
                    ))
                    .await
                    .map_err(|error| Close::new(error.code, error.reason))?;
                }
                Step::Output(Output::Frame(frame)) => {
                    let text = Utf8Bytes::try_from(frame)
                        .map_err(|_| Close::new(1011, "Output is not text"))?;
                    self.burst += 1;
                    self.unflushed = true;
                    if let Err(error) = self.socket.feed(Message::Text(text)).await {
                        return ended_by(error, endpoint);
                    }
                }
                Step::Output(Output::Close(code, reason)) => {
                    return Err(Close::new(code, reason));
                }
                Step::Flush => {
                    self.unflushed = false;
                    if let Err(error) = self.socket.flush().await {
                        return ended_by(error, endpoint);
                    }
                    self.peer.written(endpoint.clock.now());
                }
                Step::Gone => return Ok(()),
                Step::Close(close) => return Err(close),
                Step::Timer => self.check_idle(endpoint, timer.as_mut())?,
            }
        }
    }

    /// The next thing to do: write what waits, flush it, or take what the client sent.
    fn poll_step(&mut self, cx: &mut Context<'_>, endpoint: &Endpoint) -> Poll<Step> {
        if self.burst >= BURST_FRAMES_MAX {
            self.burst = 0;
            if let Poll::Ready(step) = self.poll_inbound(cx, endpoint) {
                return Poll::Ready(step);
            }
        }
        if let Poll::Ready(output) = self.peer.poll_output(cx, endpoint.clock.now()) {
            return Poll::Ready(Step::Output(output));
        }
        if self.unflushed {
            return Poll::Ready(Step::Flush);
        }
        self.burst = 0;
        self.poll_inbound(cx, endpoint)
    }

    fn poll_inbound(&mut self, cx: &mut Context<'_>, endpoint: &Endpoint) -> Poll<Step> {
        if self.drained && self.socket.get_ref().poll_read_ready(cx).is_pending() {
            return Poll::Pending;
        }
        loop {
            let Poll::Ready(next) = self.socket.poll_next_unpin(cx) else {
                self.drained = true;
                return self.bound_unfinished(endpoint);
            };
            self.drained = false;
            self.last_inbound = Instant::now();
            match next {
                None => return Poll::Ready(Step::Gone),
                Some(Ok(Message::Text(text))) => {
                    self.message_finished();
                    return Poll::Ready(Step::Text(text));
                }
                // Binary frames are ignored, as CometD does; the library answers close frames by itself, when it is asked
                // for the next message.
                Some(Ok(Message::Binary(_))) => self.message_finished(),
                // These may come in the middle of a message.
                Some(Ok(control)) => {
                    self.finished += (control.len() + CONTROL_FRAME_HEAD_BYTES) as u64;
                    if control.is_ping() {
                        // The library has queued the answer.
                        self.unflushed = true;
                        return Poll::Ready(Step::Flush);
                    }
                }
                Some(Err(error)) => return Poll::Ready(fault(&error)),
            }
        }
    }

    fn message_finished(&mut self) {
        self.finished = self.socket.get_ref().received();
        self.unfinished.clear();
    }

    /// Counts what has arrived of a message that is not complete; closes when all clients have begun too much.
    fn bound_unfinished(&mut self, endpoint: &Endpoint) -> Poll<Step> {
        let begun = self
            .socket
            .get_ref()
            .received()
            .saturating_sub(self.finished);
        let begun = usize::try_from(begun).unwrap_or(usize::MAX);
        if begun <= READ_BUFFER_BYTES || self.unfinished.set(begun) {
            return Poll::Pending;
        }
        endpoint.metrics.refuse(Limit::UnfinishedBytes);
        Poll::Ready(Step::Close(Close::new(
            1013,
            "Too many messages are on their way",
        )))
    }

    /// Closes a connection on which nothing arrived for too long, unless the client waits for a held connect.
    fn check_idle(
        &mut self,
        endpoint: &Endpoint,
        timer: Pin<&mut Option<Sleep>>,
    ) -> Result<(), Close> {
        let (Some(idle), Some(timer)) = (endpoint.idle_timeout, timer.as_pin_mut()) else {
            return Ok(());
        };
        // A session from which nothing arrives lives on only while a connect is held, and for its grace after that.
        if self.peer.session().is_some_and(|session| session.is_live()) {
            self.last_inbound = Instant::now();
        }
        let due = self.last_inbound + idle;
        if due <= Instant::now() {
            return Err(Close::new(1001, "Connection Idle Timeout"));
        }
        timer.reset(due);
        Ok(())
    }
}

/// What an error of the stream means.
fn fault(error: &Error) -> Step {
    Close::for_fault(error).map_or(Step::Gone, Step::Close)
}

/// A write failed: the client is gone, or took nothing for too long.
fn ended_by(error: Error, endpoint: &Endpoint) -> Result<(), Close> {
    if let Error::Io(error) = &error
        && error.kind() == std::io::ErrorKind::TimedOut
    {
        endpoint.metrics.slow_clients.inc();
        debug!("WebSocket cut off: the client takes nothing");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use halley_bayeux::{DefaultPolicy, Engine};
    use std::time::Duration;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_tungstenite::tungstenite::protocol::Role;
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::clock::Clock;
    use crate::config::Config;
    use crate::http_server::{Stream, TimedIo};
    use crate::metrics::Metrics;

    /// What an idle connection holds is this future, the read buffer, and its session.
    const FUTURE_BYTES_MAX: usize = 1024;

    #[tokio::test]
    async fn the_future_of_a_connection_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let config = Config::default();
        let endpoint = Arc::new(Endpoint::new(
            &config,
            Engine::new(config.session.clone(), Arc::new(DefaultPolicy::new(false))),
            Clock::start(),
            Arc::new(Metrics::new().unwrap()),
            TaskTracker::new(),
            CancellationToken::new(),
        ));
        let socket = Socket::from_raw_socket(
            Stream::Clear(TimedIo::new(stream, Duration::from_secs(1))),
            Role::Server,
            None,
        )
        .await;
        let bytes = size_of_val(&run(Arc::clone(&endpoint), socket, None));
        println!(
            "future of a WebSocket connection: {bytes} bytes, of which the socket {}",
            size_of::<Socket>()
        );
        assert!(bytes <= FUTURE_BYTES_MAX, "{bytes} bytes");
    }
}
