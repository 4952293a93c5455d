//! Long-polling over HTTP/2: by ALPN, and in clear text with prior knowledge; its limits, and how connections end.

mod support;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::{Value, json};
use support::tls::{Authority, NAME};
use support::{Http, Ws, last, metric_becomes, node, within};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// One HTTP/2 connection, and the session of a browser on it.
#[derive(Clone)]
struct Browser {
    requests: SendRequest<Full<Bytes>>,
    scheme: &'static str,
    cookie: String,
    client_id: String,
}

/// The connection, and the task that ends with it.
async fn open<S>(stream: S, scheme: &'static str) -> (Browser, JoinHandle<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (requests, connection) = within(
        "HTTP/2",
        http2::handshake(TokioExecutor::new(), TokioIo::new(stream)),
    )
    .await
    .expect("HTTP/2 is spoken");
    let ended = tokio::spawn(async move {
        let _ = connection.await;
    });
    let browser = Browser {
        requests,
        scheme,
        cookie: String::new(),
        client_id: String::new(),
    };
    (browser, ended)
}

async fn open_clear(address: std::net::SocketAddr) -> (Browser, JoinHandle<()>) {
    let stream = TcpStream::connect(address).await.expect("connects");
    open(stream, "http").await
}

impl Browser {
    async fn send(&mut self, message: Value, headers: &[(&str, &str)]) -> Response<Incoming> {
        let mut request = Request::post(format!("{}://{NAME}/cometd", self.scheme))
            .header("content-type", "application/json");
        // Cookies may come in several fields.
        for cookie in ["a=b", &self.cookie] {
            request = request.header("cookie", cookie);
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = json!([message]).to_string();
        let request = request.body(Full::from(body)).expect("a request");
        within("an answer", self.requests.send_request(request))
            .await
            .expect("an answer")
    }

    async fn exchange(&mut self, mut message: Value) -> Vec<Value> {
        if !self.client_id.is_empty() {
            message["clientId"] = json!(self.client_id);
        }
        let answer = self.send(message, &[]).await;
        assert_eq!(answer.status(), StatusCode::OK);
        let body = within("a body", answer.into_body().collect())
            .await
            .expect("a body")
            .to_bytes();
        serde_json::from_slice(&body).expect("an array")
    }

    async fn handshake(&mut self) -> Option<String> {
        let answer = self
            .send(
                json!({ "channel": "/meta/handshake", "version": "1.0",
                    "supportedConnectionTypes": ["long-polling"] }),
                &[],
            )
            .await;
        assert_eq!(answer.version(), http::Version::HTTP_2);
        let set = answer
            .headers()
            .get("set-cookie")
            .map(|set| set.to_str().expect("ASCII").to_owned());
        if let Some(set) = &set {
            self.cookie = set.split(';').next().expect("a cookie").to_owned();
        }
        let body = answer
            .into_body()
            .collect()
            .await
            .expect("a body")
            .to_bytes();
        let replies: Value = serde_json::from_slice(&body).expect("JSON");
        self.client_id = replies[0]["clientId"].as_str().expect("an id").to_owned();
        set
    }

    async fn connect(&mut self, advice: Value) -> Vec<Value> {
        let mut message = json!({ "channel": "/meta/connect", "connectionType": "long-polling" });
        if !advice.is_null() {
            message["advice"] = advice;
        }
        self.exchange(message).await
    }

    /// Handshake, and a first connect, which is answered at once.
    async fn join(&mut self) -> Option<String> {
        let set = self.handshake().await;
        let replies = self.connect(json!({ "timeout": 0 })).await;
        assert_eq!(last(&replies)["successful"], true, "{replies:?}");
        set
    }

    /// A connect that is held, in a task of its own.
    fn hold(&self) -> JoinHandle<Vec<Value>> {
        let mut browser = self.clone();
        tokio::spawn(async move { browser.connect(Value::Null).await })
    }
}

#[tokio::test]
async fn long_polling_over_tls() {
    let authority = Authority::new();
    let node = node(&authority.toml("")).await;
    let stream = authority
        .connect(node.client_address(), &["h2", "http/1.1"])
        .await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut browser, _connection) = open(stream, "https").await;
    let set = browser.join().await.expect("a cookie");
    assert!(set.ends_with("; Secure; SameSite=Lax"), "{set}");
    // A second session of the browser, on the same connection: no limit over HTTP/2.
    let mut second = browser.clone();
    second.client_id.clear();
    assert_eq!(second.join().await, None);
    let replies = browser
        .exchange(json!({ "channel": "/meta/subscribe", "subscription": "/chat" }))
        .await;
    assert_eq!(last(&replies)["successful"], true);
    let held = (browser.hold(), second.hold());
    metric_becomes(&node, "halley_held_connects", 2.0).await;
    second
        .exchange(json!({ "channel": "/chat", "data": "hi" }))
        .await;
    let replies = within("the event", held.0).await.expect("no panic");
    assert_eq!(replies[0]["data"], "hi");
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    // When the client gives up, the slot is free again.
    held.1.abort();
    metric_becomes(&node, "halley_held_connects", 0.0).await;
}

#[tokio::test]
async fn the_limit_of_sessions_per_browser_is_its_own() {
    let node = node("[session]\nmaxSessionsPerBrowser = -1\nhttp2MaxSessionsPerBrowser = 1").await;
    let (mut browser, _connection) = open_clear(node.client_address()).await;
    browser.join().await;
    let mut second = browser.clone();
    second.client_id.clear();
    second.join().await;
    let _held = browser.hold();
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    let replies = second.connect(Value::Null).await;
    assert_eq!(
        last(&replies)["advice"]["multiple-clients"],
        true,
        "{replies:?}"
    );
}

/// A session expires while its connection stays open; the browser shakes hands again on it.
#[tokio::test]
async fn a_session_expires_though_its_connection_is_open() {
    let node = node("[session]\nmaxInterval = 200\ntimeout = 300").await;
    let (mut browser, connection) = open_clear(node.client_address()).await;
    browser.join().await;
    // As long as a connect is held, and for maxInterval after it, it lives.
    let replies = browser.connect(Value::Null).await;
    assert_eq!(last(&replies)["successful"], true, "{replies:?}");
    metric_becomes(&node, "halley_sessions", 0.0).await;
    let replies = browser.connect(Value::Null).await;
    let reply = last(&replies);
    assert_eq!(reply["error"], "402::session_unknown", "{reply}");
    assert_eq!(reply["advice"]["reconnect"], "handshake", "{reply}");
    let before = std::mem::take(&mut browser.client_id);
    browser.join().await;
    assert_ne!(browser.client_id, before);
    assert!(!connection.is_finished(), "it is the same connection");
}

#[tokio::test]
async fn origins_are_compared_with_the_authority() {
    let node = node("").await;
    let (mut browser, _connection) = open_clear(node.client_address()).await;
    let message = json!({ "channel": "/meta/handshake", "version": "1.0",
        "supportedConnectionTypes": ["long-polling"] });
    let same = format!("http://{NAME}");
    let answer = browser.send(message.clone(), &[("origin", &same)]).await;
    assert_eq!(answer.status(), StatusCode::OK);
    let other = [("origin", "http://other.example")];
    let answer = browser.send(message, &other).await;
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn a_body_that_is_too_large_ends_its_stream_only() {
    let node = node("").await;
    let (mut browser, _connection) = open_clear(node.client_address()).await;
    browser.join().await;
    let answer = browser.send(json!("x".repeat(200_000)), &[]).await;
    assert_eq!(answer.status(), StatusCode::PAYLOAD_TOO_LARGE);
    let replies = browser
        .exchange(json!({ "channel": "/a", "data": 1 }))
        .await;
    assert_eq!(last(&replies)["successful"], true);
}

/// What the node says first, by setting.
#[tokio::test]
async fn the_settings_are_the_configured_ones_and_extended_connect_is_off() {
    let node = node(
        "[client.http2]\nmax_concurrent_streams = 7\nstream_window_bytes = 4321\n[client]\nmax_header_bytes = 9000",
    )
    .await;
    let mut stream = TcpStream::connect(node.client_address())
        .await
        .expect("connects");
    // In two pieces: the node must not decide too early.
    stream.write_all(&PREFACE[..5]).await.expect("writes");
    stream.flush().await.expect("flushes");
    tokio::task::yield_now().await;
    stream.write_all(&PREFACE[5..]).await.expect("writes");
    stream
        .write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0])
        .await
        .expect("writes");
    let mut head = [0; 9];
    within("settings", stream.read_exact(&mut head))
        .await
        .expect("a frame");
    assert_eq!(head[3], 4, "the first frame holds the settings");
    let mut body = vec![0; usize::from(head[2])];
    within("settings", stream.read_exact(&mut body))
        .await
        .expect("a frame");
    let settings: Vec<(u8, u32)> = body
        .chunks_exact(6)
        .map(|six| (six[1], u32::from_be_bytes([six[2], six[3], six[4], six[5]])))
        .collect();
    assert!(settings.contains(&(3, 7)), "{settings:?}");
    assert!(settings.contains(&(4, 4321)), "{settings:?}");
    assert!(settings.contains(&(6, 9000)), "{settings:?}");
    assert!(
        settings.iter().all(|&(id, value)| id != 8 || value == 0),
        "{settings:?}"
    );
}

#[tokio::test]
async fn an_idle_connection_ends_but_not_one_that_holds() {
    let node = node("[client]\nheader_timeout_ms = 150\nwrite_timeout_ms = 200").await;
    let (mut idle, ended) = open_clear(node.client_address()).await;
    idle.join().await;
    let (mut holding, _connection) = open_clear(node.client_address()).await;
    holding.join().await;
    let held = holding.hold();
    within("the end of the idle one", ended)
        .await
        .expect("no panic");
    // Preface, and nothing more; and nothing at all.
    let mut silent = Http::connect(node.client_address()).await;
    silent.raw(PREFACE).await;
    silent.closed().await;
    Http::connect(node.client_address()).await.closed().await;
    assert!(!held.is_finished());
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    metric_becomes(&node, "halley_connections", 1.0).await;
}

#[tokio::test]
async fn garbage_ends_the_connection_and_nobody_else_notices() {
    let node = node("").await;
    let mut bystander = Ws::joined(node.client_address()).await;
    for garbage in [&b"garbage that is no frame"[..], &[0xff; 4000]] {
        let mut client = Http::connect(node.client_address()).await;
        client.raw(PREFACE).await;
        client.raw(garbage).await;
        client.closed().await;
    }
    bystander.proves_itself("undisturbed").await;
}

#[tokio::test]
async fn a_drain_releases_held_connects() {
    let node = node("").await;
    let (mut browser, ended) = open_clear(node.client_address()).await;
    browser.join().await;
    let mut held = browser.clone();
    let held = tokio::spawn(async move {
        let connect = json!({ "channel": "/meta/connect", "clientId": held.client_id,
            "connectionType": "long-polling" });
        held.exchange(connect).await
    });
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    node.drain().await;
    // As over HTTP/1.1: an answer, not a broken connection.
    let replies = within("the answer", held).await.expect("an answer");
    assert_eq!(replies[0]["error"], "402::session_unknown");
    assert_eq!(replies[0]["advice"]["reconnect"], "handshake");
    within("the end", ended).await.expect("no panic");
}
