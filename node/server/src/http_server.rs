//! Accepts TCP connections and serves HTTP/1.1 on them; the client and the admin listener both stand on it.
//!
//! ```text
//! accept ──> slot free? ──> task: hyper ──> router ──> answer
//!              │ no                            └─ upgrade: the task ends, a WebSocket task has the stream
//!              └─> closed at once, counted
//! ```
//!
//! Every task runs under the node's tracker. `stop` ends accepting; `close` lets each connection finish what it is
//! answering and then ends it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::metrics::Metrics;
use crate::timed_io::TimedIo;

/// Bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) max_header_bytes: usize,
}

/// A listener and what it serves.
#[derive(Debug)]
pub(crate) struct HttpServer {
    pub(crate) listener: TcpListener,
    pub(crate) router: Router,
    pub(crate) limits: Limits,
    pub(crate) tracker: TaskTracker,
    /// Ends accepting.
    pub(crate) stop: CancellationToken,
    /// Ends connections, after what they are answering.
    pub(crate) close: CancellationToken,
    /// Counts refused connections, on the client listener.
    pub(crate) metrics: Option<Arc<Metrics>>,
}

/// How long to wait after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl HttpServer {
    /// Accepts until told to stop.
    pub(crate) async fn run(self) {
        let slots = Arc::new(Semaphore::new(self.limits.max_connections));
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, from) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    self.pause_after(&error).await;
                    continue;
                }
            };
            let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
                if let Some(metrics) = &self.metrics {
                    metrics.connections_refused.inc();
                }
                debug!(%from, "connection refused: at the limit of connections");
                continue;
            };
            let io = self.prepare(stream, slot);
            self.tracker.spawn(connection(
                io,
                from,
                self.router.clone(),
                self.limits,
                self.close.clone(),
            ));
        }
    }

    fn prepare(&self, stream: TcpStream, slot: tokio::sync::OwnedSemaphorePermit) -> TimedIo {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot switch off delayed sending");
        }
        let gauge = self
            .metrics
            .as_ref()
            .map(|metrics| metrics.connections.clone());
        TimedIo::new(stream, self.limits.write_timeout).with_slot(slot, gauge)
    }

    async fn pause_after(&self, error: &io::Error) {
        use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
        if matches!(
            error.kind(),
            ConnectionAborted | ConnectionRefused | ConnectionReset
        ) {
            return;
        }
        warn!(%error, "cannot accept a connection");
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

async fn connection(
    io: TimedIo,
    from: SocketAddr,
    router: Router,
    limits: Limits,
    close: CancellationToken,
) {
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_timeout)
        .max_buf_size(limits.max_header_bytes)
        .keep_alive(true)
        .half_close(false)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(router))
        .with_upgrades();
    let mut serving = std::pin::pin!(serving);
    let ended = tokio::select! {
        ended = serving.as_mut() => ended,
        () = close.cancelled() => {
            serving.as_mut().graceful_shutdown();
            serving.await
        }
    };
    if let Err(error) = ended {
        debug!(%from, %error, "connection ended");
    }
}
