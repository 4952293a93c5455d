//! An HTTP server that does what a test tells it, request by request.

use std::net::SocketAddr;

use serde_json::{Value, json};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::{mpsc, oneshot},
    task::JoinSet,
    time::timeout,
};

use super::PATIENCE;

/// A server whose connections are read side by side; their requests come in the order of their arrival.
pub(crate) struct HttpServer {
    address: SocketAddr,
    requests: mpsc::Receiver<HttpRequest>,
    /// Requests that another one was looked for before.
    early: Vec<HttpRequest>,
    _accepting: JoinSet<()>,
}

/// A request that waits for its response.
pub(crate) struct HttpRequest {
    /// Request line and headers.
    pub(crate) head: String,
    /// The messages of the body; empty when there is none.
    pub(crate) messages: Vec<Value>,
    /// Which of the server's connections carried it, counted from 0.
    pub(crate) connection: usize,
    respond: oneshot::Sender<String>,
}

impl HttpServer {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::channel(16);
        let mut accepting = JoinSet::new();
        accepting.spawn(async move {
            let mut connections = JoinSet::new();
            for number in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, number, sender.clone()));
            }
        });
        Self {
            address,
            requests,
            early: Vec::new(),
            _accepting: accepting,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/cometd", self.address)
    }

    /// The next request.
    pub(crate) async fn request(&mut self) -> HttpRequest {
        timeout(PATIENCE, self.requests.recv())
            .await
            .expect("no request came")
            .unwrap()
    }

    /// The next request that begins with a message on `channel`; others wait.
    pub(crate) async fn expect(&mut self, channel: &str) -> HttpRequest {
        let wanted = |request: &HttpRequest| {
            request
                .messages
                .first()
                .is_some_and(|message| message["channel"] == channel)
        };
        if let Some(place) = self.early.iter().position(wanted) {
            return self.early.remove(place);
        }
        loop {
            let request = self.request().await;
            if wanted(&request) {
                return request;
            }
            self.early.push(request);
        }
    }

    /// Answers the handshake with this session id, transports and advice; returns the handshake.
    pub(crate) async fn grant_session(&mut self, id: &str, types: Value) -> Value {
        let request = self.expect("/meta/handshake").await;
        let handshake = request.messages[0].clone();
        let reply = json!([{"channel": "/meta/handshake", "id": handshake["id"], "successful": true, "clientId": id,
            "version": "1.0", "supportedConnectionTypes": types, "ext": {"server": {"n": 1}},
            "advice": {"reconnect": "retry", "interval": 0, "timeout": 30000}}]);
        request.with_headers(
            "Set-Cookie: BAYEUX_BROWSER=b1; Path=/; HttpOnly\r\n",
            &reply,
        );
        handshake
    }
}

impl HttpRequest {
    /// The value of a header, when it is there.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }

    fn with_headers(self, headers: &str, reply: &Value) {
        let body = reply.to_string();
        self.raw(format!(
            "HTTP/1.1 200 OK\r\n{headers}Content-Length: {}\r\n\r\n{body}",
            body.len()
        ));
    }

    pub(crate) fn reply(self, reply: &Value) {
        self.with_headers("", reply);
    }

    /// Replies in chunks of three bytes.
    pub(crate) fn reply_chunked(self, reply: &Value) {
        let mut response = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_owned();
        for chunk in reply.to_string().as_bytes().chunks(3) {
            let chunk = std::str::from_utf8(chunk).unwrap();
            response.push_str(&format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        }
        response.push_str("0\r\n\r\n");
        self.raw(response);
    }

    /// Says yes to all of its messages.
    pub(crate) fn accept(self) {
        let replies: Vec<_> = self
            .messages
            .iter()
            .map(|message| json!({"channel": message["channel"], "id": message["id"], "successful": true}))
            .collect();
        self.reply(&replies.into());
    }

    pub(crate) fn status(self, status: u16) {
        self.raw(format!(
            "HTTP/1.1 {status} No\r\nContent-Length: 4\r\n\r\noops"
        ));
    }

    pub(crate) fn raw(self, response: String) {
        let _ = self.respond.send(response);
    }
}

async fn serve(mut stream: TcpStream, connection: usize, requests: mpsc::Sender<HttpRequest>) {
    let mut bytes = Vec::new();
    loop {
        let (head, length) = loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                let length = head
                    .lines()
                    .find_map(|line| {
                        line.to_ascii_lowercase()
                            .strip_prefix("content-length:")?
                            .trim()
                            .parse()
                            .ok()
                    })
                    .unwrap_or(0);
                if bytes.len() >= head.len() + 4 + length {
                    break (head.to_owned(), length);
                }
            }
            match stream.read_buf(&mut bytes).await {
                Ok(read) if read > 0 => {}
                _ => return,
            }
        };
        let body: Vec<u8> = bytes
            .drain(..head.len() + 4 + length)
            .skip(head.len() + 4)
            .collect();
        let messages = serde_json::from_slice(&body).unwrap_or_default();
        let (respond, response) = oneshot::channel();
        let request = HttpRequest {
            head,
            messages,
            connection,
            respond,
        };
        if requests.send(request).await.is_err() {
            return;
        }
        // A request that is dropped without a response costs its connection.
        let Ok(response) = response.await else { return };
        if stream.write_all(response.as_bytes()).await.is_err() {
            return;
        }
    }
}
