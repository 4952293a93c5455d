//! A Bayeux server that does what a test tells it.

use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpStream},
    time::timeout,
};
use tokio_tungstenite::{WebSocketStream, accept_async, tungstenite::Message};

pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) struct Server {
    listener: TcpListener,
}

impl Server {
    pub(crate) async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/cometd", self.listener.local_addr().unwrap())
    }

    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = timeout(PATIENCE, self.listener.accept())
            .await
            .expect("no connection came")
            .unwrap();
        Peer {
            stream: accept_async(stream).await.unwrap(),
        }
    }
}

pub(crate) struct Peer {
    stream: WebSocketStream<TcpStream>,
}

impl Peer {
    async fn frame(&mut self) -> Vec<Value> {
        loop {
            let message = timeout(PATIENCE, self.stream.next())
                .await
                .expect("no frame came")
                .unwrap()
                .unwrap();
            if let Message::Text(text) = message {
                return serde_json::from_str(&text).unwrap();
            }
        }
    }

    /// The next frame that holds a message on `channel`; passes over others.
    pub(crate) async fn expect_frame_with(&mut self, channel: &str) -> Vec<Value> {
        loop {
            let frame = self.frame().await;
            if frame.iter().any(|message| message["channel"] == channel) {
                return frame;
            }
        }
    }

    /// The next message on `channel`.
    pub(crate) async fn expect(&mut self, channel: &str) -> Value {
        let frame = self.expect_frame_with(channel).await;
        frame
            .into_iter()
            .find(|message| message["channel"] == channel)
            .unwrap()
    }

    pub(crate) async fn send_text(&mut self, text: &str) {
        self.stream.send(Message::text(text)).await.unwrap();
    }

    pub(crate) async fn send(&mut self, frame: Value) {
        self.send_text(&frame.to_string()).await;
    }

    pub(crate) async fn accept_message(&mut self, message: &Value) {
        self.send(
            json!([{"channel": message["channel"], "id": message["id"], "successful": true}]),
        )
        .await;
    }

    pub(crate) async fn refuse(&mut self, message: &Value, error: &str) {
        self.send(json!([{"channel": message["channel"], "id": message["id"], "successful": false, "error": error}]))
            .await;
    }

    /// Answers the handshake with this session id; returns the handshake.
    pub(crate) async fn grant_session(&mut self, id: &str) -> Value {
        let handshake = self.expect("/meta/handshake").await;
        self.send(json!([{"channel": "/meta/handshake", "id": handshake["id"], "successful": true, "clientId": id,
            "version": "1.0", "supportedConnectionTypes": ["websocket"],
            "advice": {"reconnect": "retry", "interval": 0, "timeout": 30000}}]))
            .await;
        handshake
    }

    /// Reads up to the close frame.
    pub(crate) async fn close_code(&mut self) -> Option<u16> {
        while let Some(Ok(message)) = timeout(PATIENCE, self.stream.next())
            .await
            .expect("no close came")
        {
            if let Message::Close(frame) = message {
                return frame.map(|frame| frame.code.into());
            }
        }
        None
    }
}
