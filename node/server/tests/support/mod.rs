//! Scripted clients for the component tests: raw HTTP/1.1, and WebSocket. Every wait has a deadline.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    reason = "each test file uses its own part"
)]

pub mod application;
pub mod tls;

use std::future::Future;
use std::net::SocketAddr;
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use halley::config::Config;
use halley::node::Node;
use serde_json::{Value, json};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

/// Waits for something that must come; `HALLEY_TEST_PATIENCE` stretches the deadline.
pub async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    let patience = std::env::var("HALLEY_TEST_PATIENCE")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(20);
    match tokio::time::timeout(Duration::from_secs(patience), future).await {
        Ok(value) => value,
        Err(_) => panic!("did not happen in time: {what}"),
    }
}

/// Asks again until the answer is there.
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    within(what, async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
}

/// The configuration of a node on free loopback ports, with more TOML behind it.
pub fn config(more: &str) -> Config {
    let mut table: toml::Table = more.parse().expect("TOML");
    for section in ["client", "admin"] {
        let section = table
            .entry(section)
            .or_insert_with(|| toml::Table::new().into());
        section
            .as_table_mut()
            .expect("a section")
            .insert("listen".into(), "127.0.0.1:0".into());
    }
    Config::from_text(&table.to_string(), []).expect("a valid configuration")
}

/// A node on free loopback ports.
pub async fn node(more: &str) -> Node {
    Node::start(config(more)).await.expect("the node starts")
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("UTF-8")
    }

    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {:?}", self.text()))
    }
}

/// One HTTP/1.1 connection.
#[derive(Debug)]
pub struct Http<S = TcpStream> {
    pub stream: S,
    pub address: SocketAddr,
    /// What was read and not yet used.
    pub buffer: Vec<u8>,
}

impl Http {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = within("connection", TcpStream::connect(address))
            .await
            .expect("connects");
        stream.set_nodelay(true).expect("nodelay");
        Self::over(stream, address)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Http<S> {
    pub fn over(stream: S, address: SocketAddr) -> Self {
        Self {
            stream,
            address,
            buffer: Vec::new(),
        }
    }

    pub async fn raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.expect("writes");
    }

    pub async fn send(&mut self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) {
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.address);
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        if method == "POST" || !body.is_empty() {
            head += &format!("Content-Length: {}\r\n", body.len());
        }
        head += "\r\n";
        self.raw(&[head.as_bytes(), body].concat()).await;
    }

    /// Reads one answer; `None` when the node closes without.
    pub async fn try_answer(&mut self) -> Option<Answer> {
        within("an HTTP answer", async {
            let end = loop {
                if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                    break at + 4;
                }
                self.fill().await?;
            };
            let head = String::from_utf8(self.buffer.drain(..end).collect()).expect("ASCII");
            let status = head
                .split(' ')
                .nth(1)
                .expect("a status")
                .parse()
                .expect("a number");
            let mut answer = Answer {
                status,
                head,
                body: Vec::new(),
            };
            if answer.header("transfer-encoding").is_some() {
                panic!("chunked answers are not expected: {}", answer.head);
            }
            let length = answer
                .header("content-length")
                .map_or(0, |text| text.parse().expect("a length"));
            while self.buffer.len() < length {
                self.fill().await?;
            }
            answer.body = self.buffer.drain(..length).collect();
            Some(answer)
        })
        .await
    }

    async fn fill(&mut self) -> Option<()> {
        let mut block = vec![0; 4096];
        match self.stream.read(&mut block).await {
            Ok(0) | Err(_) => None,
            Ok(read) => {
                self.buffer.extend_from_slice(&block[..read]);
                Some(())
            }
        }
    }

    pub async fn answer(&mut self) -> Answer {
        self.try_answer().await.expect("an answer, not a close")
    }

    pub async fn request(
        &mut self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Answer {
        self.send(method, path, headers, body).await;
        self.answer().await
    }

    /// Waits until the node has closed the connection.
    pub async fn closed(&mut self) {
        within("the close of the connection", async {
            while self.fill().await.is_some() {}
        })
        .await;
    }
}

/// One request on a connection of its own.
pub async fn request(
    address: SocketAddr,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    Http::connect(address)
        .await
        .request(method, path, headers, body)
        .await
}

/// A Bayeux client over long-polling: two connections, as browsers keep them.
#[derive(Debug)]
pub struct Poller {
    pub address: SocketAddr,
    pub cookie: Option<String>,
    pub client_id: String,
    pub connect_line: Http,
    pub line: Http,
    id: u64,
}

impl Poller {
    /// A client that has not shaken hands yet.
    pub async fn new(address: SocketAddr) -> Self {
        Self {
            address,
            cookie: None,
            client_id: String::new(),
            connect_line: Http::connect(address).await,
            line: Http::connect(address).await,
            id: 0,
        }
    }

    /// Handshake, and the first connect, which is answered at once.
    pub async fn joined(address: SocketAddr) -> Self {
        let mut client = Self::new(address).await;
        client.handshake().await;
        client.send_connect(json!({ "timeout": 0 })).await;
        let replies = client.connect_answer().await;
        assert_eq!(last(&replies)["successful"], true, "{replies:?}");
        client
    }

    pub async fn handshake(&mut self) -> Answer {
        let body = json!([{ "channel": "/meta/handshake", "id": "1", "version": "1.0",
            "supportedConnectionTypes": ["long-polling"] }]);
        let answer = self.post("/cometd/handshake", &body).await;
        let replies = answer.json();
        assert_eq!(replies[0]["successful"], true, "{replies}");
        self.client_id = replies[0]["clientId"]
            .as_str()
            .expect("a clientId")
            .to_owned();
        if let Some(set) = answer.header("set-cookie") {
            self.cookie = Some(set.split(';').next().expect("a cookie").to_owned());
        }
        answer
    }

    pub fn headers(&self) -> Vec<(&'static str, String)> {
        let mut headers = vec![("Content-Type", "application/json".to_owned())];
        if let Some(cookie) = &self.cookie {
            headers.push(("Cookie", cookie.clone()));
        }
        headers
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Answer {
        let headers = self.headers();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.line
            .request("POST", path, &headers, body.to_string().as_bytes())
            .await
    }

    /// One message and its reply; events that come with it are put in front of the reply.
    pub async fn exchange(&mut self, mut message: Value) -> Vec<Value> {
        self.id += 1;
        message["id"] = json!(format!("m{}", self.id));
        message["clientId"] = json!(self.client_id);
        let answer = self.post("/cometd/", &json!([message])).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json().as_array().expect("an array").clone()
    }

    pub async fn subscribe(&mut self, channel: &str) {
        let replies = self
            .exchange(json!({ "channel": "/meta/subscribe", "subscription": channel }))
            .await;
        assert_eq!(last(&replies)["successful"], true, "{replies:?}");
    }

    pub async fn publish(&mut self, channel: &str, data: Value) -> Vec<Value> {
        self.exchange(json!({ "channel": channel, "data": data }))
            .await
    }

    /// Sends a connect and does not wait for its answer. A null advice is left out.
    pub async fn send_connect(&mut self, advice: Value) {
        self.id += 1;
        let mut message = json!({ "channel": "/meta/connect", "id": format!("c{}", self.id),
            "clientId": self.client_id, "connectionType": "long-polling" });
        if !advice.is_null() {
            message["advice"] = advice;
        }
        let headers = self.headers();
        let headers: Vec<(&str, &str)> = headers
            .iter()
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        self.connect_line
            .send(
                "POST",
                "/cometd/connect",
                &headers,
                json!([message]).to_string().as_bytes(),
            )
            .await;
    }

    pub async fn connect_answer(&mut self) -> Vec<Value> {
        let answer = self.connect_line.answer().await;
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json().as_array().expect("an array").clone()
    }
}

/// The last reply.
pub fn last(replies: &[Value]) -> &Value {
    replies.last().expect("a reply")
}

/// A Bayeux client over WebSocket.
#[derive(Debug)]
pub struct Ws<S = TcpStream> {
    pub socket: WebSocketStream<S>,
    pub client_id: String,
    /// Messages that came while something else was waited for.
    pub waiting: std::collections::VecDeque<Value>,
    id: u64,
}

impl Ws {
    pub async fn open(address: SocketAddr) -> Self {
        let stream = within("connection", TcpStream::connect(address))
            .await
            .expect("connects");
        stream.set_nodelay(true).expect("nodelay");
        Self::over(stream, address).await
    }

    /// Upgrade, handshake, and a first connect, which is answered at once.
    pub async fn joined(address: SocketAddr) -> Self {
        Self::joined_with(address, Value::Null).await
    }

    /// As [`Ws::joined`], with an `ext` in the handshake.
    pub async fn joined_with(address: SocketAddr, ext: Value) -> Self {
        let mut client = Self::open(address).await;
        client.join(ext).await;
        client
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ws<S> {
    /// Upgrades a stream.
    pub async fn over(stream: S, address: SocketAddr) -> Self {
        let url = format!("ws://{address}/cometd");
        let (socket, _) = within("upgrade", tokio_tungstenite::client_async(url, stream))
            .await
            .expect("the upgrade succeeds");
        Self::of(socket)
    }

    /// On a WebSocket that is open.
    pub fn of(socket: WebSocketStream<S>) -> Self {
        Self {
            socket,
            client_id: String::new(),
            waiting: std::collections::VecDeque::new(),
            id: 0,
        }
    }

    /// Handshake, and a first connect, which is answered at once.
    pub async fn join(&mut self, ext: Value) {
        let mut handshake = json!({ "channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["websocket"] });
        if !ext.is_null() {
            handshake["ext"] = ext;
        }
        let reply = self.exchange(handshake).await;
        assert_eq!(reply["successful"], true, "{reply}");
        self.client_id = reply["clientId"].as_str().expect("a clientId").to_owned();
        let reply = self
            .exchange(json!({ "channel": "/meta/connect", "connectionType": "websocket", "advice": { "timeout": 0 } }))
            .await;
        assert_eq!(reply["successful"], true, "{reply}");
    }

    pub async fn text(&mut self, text: impl Into<String>) {
        self.socket
            .send(Message::text(text.into()))
            .await
            .expect("sends");
    }

    pub async fn ping(&mut self, content: &[u8]) {
        let frame = Message::Ping(content.to_vec().into());
        self.socket.send(frame).await.expect("sends");
    }

    /// Sends one message with the next id, and does not wait.
    pub async fn send(&mut self, mut message: Value) -> String {
        self.id += 1;
        let id = format!("w{}", self.id);
        message["id"] = json!(id);
        if !self.client_id.is_empty() && message.get("clientId").is_none() {
            message["clientId"] = json!(self.client_id);
        }
        self.text(json!([message]).to_string()).await;
        id
    }

    /// One message and its reply; events that come meanwhile wait.
    pub async fn exchange(&mut self, message: Value) -> Value {
        let id = self.send(message).await;
        self.reply(&id).await
    }

    /// The reply with this id.
    pub async fn reply(&mut self, id: &str) -> Value {
        loop {
            if let Some(at) = self.waiting.iter().position(|message| message["id"] == id) {
                return self.waiting.remove(at).expect("it is there");
            }
            let frame = self.frame().await;
            self.waiting.extend(frame);
        }
    }

    /// The next message, whatever it is.
    pub async fn next(&mut self) -> Value {
        loop {
            if let Some(message) = self.waiting.pop_front() {
                return message;
            }
            let frame = self.frame().await;
            self.waiting.extend(frame);
        }
    }

    /// The next text frame.
    pub async fn frame(&mut self) -> Vec<Value> {
        loop {
            match within("a frame", self.socket.next())
                .await
                .expect("not the end")
                .expect("a frame")
            {
                Message::Text(text) => {
                    let value: Value = serde_json::from_str(&text).expect("JSON");
                    return value.as_array().expect("always an array").clone();
                }
                Message::Ping(_) | Message::Pong(_) => {}
                other => panic!("a text frame was expected: {other:?}"),
            }
        }
    }

    /// Waits for the node's close frame and tells its code; frames before it are dropped.
    pub async fn close_code(&mut self) -> u16 {
        loop {
            match within("a close frame", self.socket.next()).await {
                Some(Ok(Message::Close(Some(frame)))) => return frame.code.into(),
                Some(Ok(Message::Close(None))) => panic!("a close frame without code"),
                Some(Ok(_)) => {}
                other => panic!("a close frame was expected: {other:?}"),
            }
        }
    }

    pub async fn subscribe(&mut self, channel: &str) {
        let reply = self
            .exchange(json!({ "channel": "/meta/subscribe", "subscription": channel }))
            .await;
        assert_eq!(reply["successful"], true, "{reply}");
    }

    pub async fn publish(&mut self, channel: &str, data: Value) -> Value {
        self.exchange(json!({ "channel": channel, "data": data }))
            .await
    }

    /// Shows that this client is served: a publish comes back to it.
    pub async fn proves_itself(&mut self, mark: &str) {
        self.subscribe("/proof").await;
        let reply = self.publish("/proof", json!(mark)).await;
        assert_eq!(reply["successful"], true, "{reply}");
        loop {
            let message = self.next().await;
            if message["channel"] == "/proof" && message["data"] == mark {
                return;
            }
        }
    }
}

/// One figure of `/metrics`.
pub async fn metric(node: &Node, name: &str) -> f64 {
    let answer = request(node.admin_address(), "GET", "/metrics", &[], b"").await;
    answer
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or_else(|| panic!("{name} is missing in {}", answer.text()))
}

/// Waits until a figure has a value.
pub async fn metric_becomes(node: &Node, name: &str, value: f64) {
    eventually(&format!("{name} is {value}"), async || {
        (metric(node, name).await == value).then_some(())
    })
    .await;
}
