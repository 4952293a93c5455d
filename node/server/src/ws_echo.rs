//! `halley ws-echo`: the node's own WebSocket stack as an echo server, for conformance suites.
//!
//! Upgrade, settings and the answers to violations are those of the client listener; there is no Bayeux, and any path
//! will do.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use clap::Args;
use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::TcpListener;
use tokio_tungstenite::tungstenite::Message;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::client::{Close, Refused, Socket, Upgrade, say_goodbye, socket_config};
use crate::http_server::{HttpServer, Limits, Shared};
use crate::proxies::Proxies;

/// The largest message; the suites go up to 16 MiB.
const MESSAGE_BYTES_MAX: usize = 32 << 20;

/// Connections at one time.
const CONNECTIONS_MAX: usize = 1024;

/// Time for a request to arrive, and for a write to make progress.
const TIMEOUT: Duration = Duration::from_secs(30);

/// Bytes of the head of a request.
const HEADER_BYTES_MAX: usize = 16 << 10;

/// `halley ws-echo`
#[derive(Debug, Args)]
pub(crate) struct WsEchoCommand {
    /// Where connections are accepted.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9001")]
    listen: SocketAddr,
}

impl WsEchoCommand {
    /// Echoes until the process is told to end.
    pub(crate) async fn run(self) -> anyhow::Result<()> {
        let listener = TcpListener::bind(self.listen).await?;
        println!("ws://{}/", listener.local_addr()?);
        let stop = CancellationToken::new();
        tokio::select! {
            () = serve(listener, stop.clone()) => {}
            interrupted = tokio::signal::ctrl_c() => interrupted?,
        }
        stop.cancel();
        Ok(())
    }
}

/// Echoes on a listener until told to stop.
async fn serve(listener: TcpListener, stop: CancellationToken) {
    let tracker = TaskTracker::new();
    let server = HttpServer {
        listener,
        stop: stop.clone(),
        shared: Arc::new(Shared {
            routes: Router::new()
                .fallback(upgrade)
                .with_state(tracker.clone())
                .into(),
            limits: Limits {
                max_connections: CONNECTIONS_MAX,
                max_connections_per_address: 0,
                header_timeout: TIMEOUT,
                write_timeout: TIMEOUT,
                max_header_bytes: HEADER_BYTES_MAX,
                http2: None,
            },
            tls: None,
            tracker,
            close: stop,
            proxies: Proxies::new(&[]),
            metrics: None,
        }),
    };
    server.run().await;
}

async fn upgrade(State(tracker): State<TaskTracker>, mut request: Request) -> Response {
    match Upgrade::of(&mut request) {
        Ok(upgrade) => {
            let answer = upgrade.answer(None);
            tracker.spawn(async move {
                let config = socket_config(MESSAGE_BYTES_MAX, MESSAGE_BYTES_MAX);
                if let Some(socket) = upgrade.socket(config).await {
                    echo(socket).await;
                }
            });
            answer
        }
        Err(Refused { status, text }) => {
            let mut answer = Response::new(Body::from(text));
            *answer.status_mut() = status;
            answer
        }
    }
}

async fn echo(mut socket: Socket) {
    // Pings and close frames are answered by the library when it is asked for the next message.
    while let Some(next) = socket.next().await {
        match next {
            Ok(message @ (Message::Text(_) | Message::Binary(_))) => {
                if socket.send(message).await.is_err() {
                    return;
                }
            }
            Ok(_) => {}
            Err(error) => {
                if let Some(close) = Close::for_fault(&error) {
                    say_goodbye(socket, close).await;
                }
                return;
            }
        }
    }
}
