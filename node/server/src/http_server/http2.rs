//! One HTTP/2 connection.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::serve::{Caller, Serve};
use super::{Limits, Stream};

/// Bytes of one frame that a client may send.
const FRAME_BYTES_MAX: u32 = 16 << 10;

/// Bytes of an answer that wait in the library for the client to take them.
const SEND_BUFFER_BYTES: usize = 64 << 10;

/// Streams that the client has reset while nobody has looked at them yet; one more ends the connection.
const RESET_STREAMS_MAX: usize = 20;

/// Settings of HTTP/2 that an operator may choose.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Http2Limits {
    pub(crate) max_concurrent_streams: u32,
    /// Bytes of one body that a client may send ahead of its reader.
    pub(crate) stream_window_bytes: u32,
    /// The same for all bodies of a connection.
    pub(crate) connection_window_bytes: u32,
    /// Time between two questions whether the client is still there; `None`: it is not asked.
    pub(crate) keep_alive_interval: Option<Duration>,
    pub(crate) keep_alive_timeout: Duration,
}

/// Spawns the tasks of the streams where a drain waits for them.
#[derive(Debug, Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

/// What a connection is doing, for the one who ends idle ones.
#[derive(Debug, Default)]
pub(super) struct Activity {
    answering: AtomicUsize,
    requests: AtomicU64,
}

/// Counts a request as being answered for as long as it lives.
#[derive(Debug)]
pub(super) struct Answering(Arc<Activity>);

impl Answering {
    pub(super) fn new(activity: &Arc<Activity>) -> Self {
        activity.requests.fetch_add(1, Ordering::Relaxed);
        activity.answering.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(activity))
    }
}

impl Drop for Answering {
    fn drop(&mut self) {
        self.0.answering.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Serves until the client goes, the node closes, or nothing was asked for the header timeout (and at most twice
/// that): the protocol itself has no such end.
pub(super) async fn serve(
    stream: Stream,
    caller: Caller,
    serve: Serve,
    limits: Limits,
    http2: Http2Limits,
    tracker: TaskTracker,
    close: CancellationToken,
) {
    let activity = Arc::new(Activity::default());
    let serving = http2::Builder::new(Tracked(tracker))
        .timer(TokioTimer::new())
        .max_concurrent_streams(http2.max_concurrent_streams)
        .initial_stream_window_size(http2.stream_window_bytes)
        .initial_connection_window_size(http2.connection_window_bytes)
        .adaptive_window(false)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(u32::try_from(limits.max_header_bytes).unwrap_or(u32::MAX))
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_pending_accept_reset_streams(RESET_STREAMS_MAX)
        .keep_alive_interval(http2.keep_alive_interval)
        .keep_alive_timeout(http2.keep_alive_timeout)
        // Extended CONNECT (RFC 8441) stays off, which is the default: browsers then open WebSockets over HTTP/1.1.
        .serve_connection(TokioIo::new(stream), serve.counting(Arc::clone(&activity)));
    let mut serving = std::pin::pin!(serving);
    let mut requests = 0;
    loop {
        tokio::select! {
            ended = serving.as_mut() => {
                if let Err(error) = ended {
                    debug!(from = %caller.peer, %error, "HTTP/2 connection ended");
                }
                return;
            }
            () = close.cancelled() => break,
            () = tokio::time::sleep(limits.header_timeout) => {
                let now = activity.requests.load(Ordering::Relaxed);
                if now == requests && activity.answering.load(Ordering::Relaxed) == 0 {
                    break;
                }
                requests = now;
            }
        }
    }
    serving.as_mut().graceful_shutdown();
    // A client that does not follow is cut off; a drain has its own deadline.
    if tokio::time::timeout(limits.write_timeout, serving)
        .await
        .is_err()
    {
        debug!(from = %caller.peer, "HTTP/2 connection cut off");
    }
}
