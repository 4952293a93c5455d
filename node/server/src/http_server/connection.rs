//! Hands an accepted socket to the task that serves it.
//!
//! ```text
//! TLS:        handshake ── ALPN ───┬─ h2 ──> HTTP/2 task
//! clear text: first bytes ─────────┴─ else ─> HTTP/1 task
//! ```
//!
//! What comes first runs in a task of its own, so that its state does not stay for the life of the connection.

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncReadExt as _;
use tokio_rustls::TlsAcceptor;
use tracing::debug;

use super::serve::{Caller, Serve};
use super::strict::Watched;
use super::timed_io::TimedIo;
use super::{Shared, Stream, http2};

/// What an HTTP/2 client says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Starts the tasks of one connection.
pub(super) fn start(shared: &Arc<Shared>, io: TimedIo, peer: SocketAddr) {
    let caller = Caller {
        peer: peer.ip().to_canonical(),
        tls: shared.tls.is_some(),
    };
    if shared.tls.is_some() {
        shared
            .tracker
            .spawn(handshake(Arc::clone(shared), io, caller));
    } else if shared.limits.http2.is_some() {
        shared
            .tracker
            .spawn(first_bytes(Arc::clone(shared), io, caller));
    } else {
        http1(shared, Stream::Clear(io), caller);
    }
}

async fn handshake(shared: Arc<Shared>, io: TimedIo, caller: Caller) {
    let Some(tls) = &shared.tls else { return };
    let accepting = tokio::time::timeout(
        tls.handshake_timeout,
        TlsAcceptor::from(tls.current()).accept(io),
    );
    let accepted = tokio::select! {
        () = shared.close.cancelled() => return,
        accepted = accepting => accepted,
    };
    let stream = match accepted {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => {
            tls.failed();
            debug!(from = %caller.peer, %error, "TLS handshake failed");
            return;
        }
        Err(_) => {
            tls.failed();
            debug!(from = %caller.peer, "TLS handshake did not end in time");
            return;
        }
    };
    let h2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
    let stream = Stream::Tls(Box::new(stream));
    if h2 {
        http2(&shared, stream, caller);
    } else {
        http1(&shared, stream, caller);
    }
}

/// Reads until it is certain whether this is HTTP/2 with prior knowledge, and puts the bytes back.
async fn first_bytes(shared: Arc<Shared>, mut io: TimedIo, caller: Caller) {
    let mut bytes = [0; PREFACE.len()];
    let mut count = 0;
    let reading = tokio::time::timeout(shared.limits.header_timeout, async {
        while count < PREFACE.len() && PREFACE.starts_with(&bytes[..count]) {
            match io.read(&mut bytes[count..]).await {
                Ok(0) | Err(_) => return false,
                Ok(read) => count += read,
            }
        }
        true
    });
    let complete = tokio::select! {
        () = shared.close.cancelled() => return,
        complete = reading => complete,
    };
    if count == 0 || complete.is_err() {
        return;
    }
    io.unread(&bytes[..count]);
    if bytes[..count] == *PREFACE {
        http2(&shared, Stream::Clear(io), caller);
    } else {
        http1(&shared, Stream::Clear(io), caller);
    }
}

fn http1(shared: &Arc<Shared>, stream: Stream, caller: Caller) {
    shared
        .tracker
        .spawn(serve_http1(Arc::clone(shared), stream, caller));
}

/// Not an `async fn`: that would keep its arguments beside the variables they are moved to.
fn serve_http1(
    shared: Arc<Shared>,
    stream: Stream,
    caller: Caller,
) -> impl Future<Output = ()> + Send {
    let (stream, length_seen) = Watched::new(stream);
    let serve = Serve::new(&shared.routes, caller).watching(length_seen);
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(shared.limits.header_timeout)
        .max_buf_size(shared.limits.max_header_bytes)
        .keep_alive(true)
        .half_close(false)
        .serve_connection(TokioIo::new(stream), serve)
        .with_upgrades();
    async move {
        let ended = tokio::select! {
            ended = &mut serving => ended,
            () = shared.close.cancelled() => {
                std::pin::Pin::new(&mut serving).graceful_shutdown();
                (&mut serving).await
            }
        };
        if let Err(error) = ended {
            debug!(from = %caller.peer, %error, "connection ended");
        }
    }
}

fn http2(shared: &Arc<Shared>, stream: Stream, caller: Caller) {
    let Some(settings) = shared.limits.http2 else {
        return;
    };
    shared.tracker.spawn(http2::serve(
        stream,
        caller,
        Serve::new(&shared.routes, caller),
        shared.limits,
        settings,
        shared.tracker.clone(),
        shared.close.clone(),
    ));
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::Router;
    use tokio::net::{TcpListener, TcpStream};
    use tokio_util::sync::CancellationToken;
    use tokio_util::task::TaskTracker;

    use super::super::Limits;
    use super::*;
    use crate::proxies::Proxies;

    /// What a connection over HTTP/1.1 holds beside its buffers.
    const FUTURE_BYTES_MAX: usize = 1024;

    #[tokio::test]
    async fn the_future_of_a_connection_is_small() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let second = Duration::from_secs(1);
        let shared = Arc::new(Shared {
            routes: Router::new().into(),
            limits: Limits {
                max_connections: 1,
                max_connections_per_address: 0,
                header_timeout: second,
                write_timeout: second,
                max_header_bytes: 8192,
                http2: None,
            },
            tls: None,
            tracker: TaskTracker::new(),
            close: CancellationToken::new(),
            proxies: Proxies::new(&[]),
            metrics: None,
        });
        let stream = TcpStream::connect(address).await.unwrap();
        let caller = Caller {
            peer: address.ip(),
            tls: false,
        };
        let stream = Stream::Clear(TimedIo::new(stream, second));
        let bytes = size_of_val(&serve_http1(shared, stream, caller));
        println!("future of an HTTP/1.1 connection: {bytes} bytes");
        assert!(bytes <= FUTURE_BYTES_MAX, "{bytes} bytes");
    }
}
