//! An HTTP server that plays the application: what the node's hooks call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::response::Response;
use http_body_util::BodyExt as _;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// What a hook does with one call.
#[derive(Debug)]
pub enum Act {
    Answer(Value),
    Raw(u16, Vec<u8>),
    /// Answers once there is a permit.
    Wait(Arc<Semaphore>, Value),
}

#[derive(Clone, Debug)]
pub struct Call {
    pub path: String,
    pub authorization: Option<String>,
    pub body: Value,
}

/// The application, as the node's hooks see it.
#[derive(Debug)]
pub struct Application {
    pub address: SocketAddr,
    pub calls: Arc<Mutex<Vec<Call>>>,
    pub in_flight_max: Arc<AtomicUsize>,
    pub connections: Arc<AtomicUsize>,
}

impl Application {
    pub async fn start(act: impl Fn(&str, &Value) -> Act + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        Self::on(listener, act)
    }

    pub fn on(
        listener: TcpListener,
        act: impl Fn(&str, &Value) -> Act + Send + Sync + 'static,
    ) -> Self {
        let address = listener.local_addr().expect("an address");
        let calls: Arc<Mutex<Vec<Call>>> = Arc::default();
        let (in_flight, in_flight_max) =
            (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let connections = Arc::new(AtomicUsize::new(0));
        let (act, seen, most) = (
            Arc::new(act),
            Arc::clone(&calls),
            Arc::clone(&in_flight_max),
        );
        let handle = move |request: Request| {
            let (act, seen) = (Arc::clone(&act), Arc::clone(&seen));
            let (in_flight, most) = (Arc::clone(&in_flight), Arc::clone(&most));
            async move {
                most.fetch_max(
                    in_flight.fetch_add(1, Ordering::SeqCst) + 1,
                    Ordering::SeqCst,
                );
                let (head, body) = request.into_parts();
                let body = body.collect().await.expect("a body").to_bytes();
                // A fetch of keys has none.
                let body = serde_json::from_slice(&body).unwrap_or_default();
                let path = head.uri.path().to_owned();
                let authorization = head
                    .headers
                    .get("authorization")
                    .map(|value| value.to_str().expect("ASCII").to_owned());
                let act = act(&path, &body);
                seen.lock().push(Call {
                    path,
                    authorization,
                    body,
                });
                let (status, body) = match act {
                    Act::Answer(value) => (200, value.to_string().into_bytes()),
                    Act::Raw(status, body) => (status, body),
                    Act::Wait(gate, value) => {
                        gate.acquire().await.expect("open").forget();
                        (200, value.to_string().into_bytes())
                    }
                };
                in_flight.fetch_sub(1, Ordering::SeqCst);
                Response::builder()
                    .status(status)
                    .body(Body::from(Bytes::from(body)))
                    .expect("an answer")
            }
        };
        let count = Arc::clone(&connections);
        tokio::spawn(async move {
            let service =
                hyper_util::service::TowerToHyperService::new(axum::Router::new().fallback(handle));
            loop {
                let Ok((stream, _)) = listener.accept().await else {
                    return;
                };
                count.fetch_add(1, Ordering::SeqCst);
                let service = service.clone();
                tokio::spawn(async move {
                    let io = hyper_util::rt::TokioIo::new(stream);
                    let _ = hyper::server::conn::http1::Builder::new()
                        .serve_connection(io, service)
                        .await;
                });
            }
        });
        Self {
            address,
            calls,
            in_flight_max,
            connections,
        }
    }

    pub fn config(&self, hooks: &[&str], more: &str) -> String {
        hook_config(self.address, hooks, more)
    }

    pub fn calls(&self, path: &str) -> Vec<Call> {
        let calls = self.calls.lock();
        calls
            .iter()
            .filter(|call| call.path == path)
            .cloned()
            .collect()
    }
}

/// Security hooks of these names.
pub fn hook_config(address: SocketAddr, hooks: &[&str], more: &str) -> String {
    let mut text =
        "[node]\nname = \"n1\"\n[security]\npolicy = \"hooks\"\n[security.hooks]\n".to_owned();
    for hook in hooks {
        text += &format!("{hook} = \"http://{address}/{hook}\"\n");
    }
    text + more
}
