//! Accepts TCP connections and serves HTTP on them; the client and the admin listener both stand on it.
//!
//! ```text
//! accept ──> slot free? ──> task: TLS or first bytes ──> task: HTTP/1.1 or HTTP/2 ──> router ──> answer
//!              │ no                                          └─ upgrade: the task ends, a WebSocket task has the stream
//!              └─> closed at once, counted
//! ```
//!
//! Every task runs under the node's tracker. `stop` ends accepting; `close` lets each connection finish what it is
//! answering and then ends it.

mod body;
mod connection;
mod http2;
mod per_address;
mod routes;
mod serve;
mod stream;
mod strict;
mod timed_io;
mod unfinished;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::metrics::{Limit, Metrics};
use crate::proxies::Proxies;
use crate::tls::Tls;

pub(crate) use body::{BodyFault, is_utf8, read_body};
pub(crate) use http2::Http2Limits;
use per_address::{PerAddress, Place};
pub(crate) use routes::{Answer, Answered, Direct, Routes};
pub(crate) use serve::Caller;
pub(crate) use stream::Stream;
pub(crate) use strict::Watched;
pub(crate) use timed_io::TimedIo;
pub(crate) use unfinished::{Part, Unfinished};

/// Bounds of one listener.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) max_connections: usize,
    /// 0: no limit.
    pub(crate) max_connections_per_address: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) write_timeout: Duration,
    pub(crate) max_header_bytes: usize,
    /// `None`: HTTP/1.1 only.
    pub(crate) http2: Option<Http2Limits>,
}

/// A listener and what it serves.
#[derive(Debug)]
pub(crate) struct HttpServer {
    pub(crate) listener: TcpListener,
    /// Ends accepting.
    pub(crate) stop: CancellationToken,
    pub(crate) shared: Arc<Shared>,
}

/// What the connections of a listener share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) routes: Routes,
    pub(crate) limits: Limits,
    /// `None`: clear text.
    pub(crate) tls: Option<Arc<Tls>>,
    pub(crate) tracker: TaskTracker,
    /// Ends connections, after what they are answering.
    pub(crate) close: CancellationToken,
    /// Their connections are not counted by address.
    pub(crate) proxies: Proxies,
    /// Counts refused connections, on the client listener.
    pub(crate) metrics: Option<Arc<Metrics>>,
}

/// How long to wait after an accept that failed for want of descriptors or memory.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

impl HttpServer {
    /// Accepts until told to stop.
    pub(crate) async fn run(self) {
        let slots = Arc::new(Semaphore::new(self.shared.limits.max_connections));
        let limit = self.shared.limits.max_connections_per_address;
        let per_address = (limit > 0).then(|| PerAddress::new(limit));
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
                if let Some(metrics) = &self.shared.metrics {
                    metrics.connections_refused.inc();
                }
                debug!(%from, "connection refused: at the limit of connections");
                continue;
            };
            let address = from.ip().to_canonical();
            let mut place = None;
            if let Some(per_address) = &per_address
                && !self.shared.proxies.trusts(address)
            {
                place = per_address.take(address.into());
                if place.is_none() {
                    if let Some(metrics) = &self.shared.metrics {
                        metrics.refuse(Limit::ConnectionsPerAddress);
                    }
                    debug!(%from, "connection refused: its address has all it may have");
                    continue;
                }
            }
            let io = self.prepare(stream, slot, place);
            connection::start(&self.shared, io, from);
        }
    }

    fn prepare(
        &self,
        stream: TcpStream,
        slot: OwnedSemaphorePermit,
        place: Option<Place>,
    ) -> TimedIo {
        if let Err(error) = stream.set_nodelay(true) {
            debug!(%error, "cannot switch off delayed sending");
        }
        let gauge = self
            .shared
            .metrics
            .as_ref()
            .map(|metrics| metrics.connections.clone());
        TimedIo::new(stream, self.shared.limits.write_timeout).with_slot(slot, place, gauge)
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
