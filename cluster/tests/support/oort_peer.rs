//! A node of the Oort dialect under the orders of a test: the messages that CometD 8 was seen to send and to expect, on
//! this project's engine and client.

#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    missing_debug_implementations,
    clippy::unwrap_used
)]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use futures_util::{SinkExt, StreamExt};
use halley_bayeux::{
    ChannelName, Decision, Engine, EngineConfig, Extension, Flow, HandshakeVerdict, Json, Message,
    Millis, Output, Publication, Reply, SecurityPolicy, Session, Verdict,
};
use halley_client::{Client, ConnectError, Events};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite;

/// The secret of the tests.
pub const OORT_SECRET: &[u8] = b"an oort secret of at least 32 bytes";
/// Its SHA-512 digest as the JDK writes it.
pub const DIGEST: &str =
    "1cTc4Gm2xFXbTBfQq5hEDJb2K4D7IyXnMnEC1BpL5xA3INPjYUC4OXUJl7t5F/llBOlGg3il7sarOLHtSt64Tw==";
/// Its SHA-1 digest.
pub const DIGEST_SHA1: &str = "gBqt+bYT79ETxbMnKAJutttZJUo=";

/// The server of a peer, and everything that has been sent to it.
pub struct OortPeer {
    pub url: String,
    pub id: String,
    pub engine: Arc<Engine>,
    received: Arc<Mutex<Vec<Value>>>,
    held: Arc<Mutex<Option<Receiver<()>>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

struct Open;

impl SecurityPolicy for Open {
    fn can_handshake(&self, _: &Message<'_>) -> Decision<HandshakeVerdict> {
        Decision::Now(HandshakeVerdict::grant(None))
    }
    fn can_create(&self, _: &Arc<Session>, _: &ChannelName, _: &Message<'_>) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }
    fn can_subscribe(
        &self,
        _: &Arc<Session>,
        _: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }
    fn can_publish(&self, _: &Arc<Session>, _: &ChannelName, _: &Message<'_>) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }
}

/// Notes everything but connects, and shows who the peer is.
struct Notes {
    received: Arc<Mutex<Vec<Value>>>,
    held: Arc<Mutex<Option<Receiver<()>>>>,
    reply: String,
}

impl Extension for Notes {
    fn incoming(
        &self,
        _: Option<&Arc<Session>>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        _: Millis,
    ) -> Flow {
        if message.channel().as_str() != "/meta/connect" {
            let message = serde_json::from_str(message.object()).unwrap();
            self.received.lock().push(message);
        }
        if message.channel().as_str() == "/meta/disconnect" {
            let held = self.held.lock().take();
            // Until the test drops the other end.
            held.map(|held| held.recv());
        }
        if message.channel().as_str() == "/meta/handshake" {
            reply.set_ext("org.cometd.oort", Json::validate(&self.reply, 8).unwrap());
        }
        Flow::Continue
    }
}

impl Drop for OortPeer {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

impl OortPeer {
    /// Listens on loopback under this id.
    pub async fn start(id: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        Self::start_behind(id, listener, address)
    }

    /// Serves what comes to a listener, and says that it is at an address.
    pub fn start_behind(id: &str, listener: TcpListener, address: SocketAddr) -> Self {
        let url = format!("http://{address}/cometd");
        let config = EngineConfig {
            internal_channels: true,
            timeout_ms: 2000,
            // A node that is cut off for the length of a test keeps its session, however busy the machine.
            max_interval_ms: 10_000,
            ..EngineConfig::default()
        };
        let engine = Engine::new(config, Arc::new(Open));
        let received: Arc<Mutex<Vec<Value>>> = Arc::default();
        let held: Arc<Mutex<Option<Receiver<()>>>> = Arc::default();
        engine.add_extension(Arc::new(Notes {
            received: received.clone(),
            held: held.clone(),
            reply: json!({"oortURL": url, "oortId": id}).to_string(),
        }));
        let origin = tokio::time::Instant::now();
        let now = move || Millis(origin.elapsed().as_millis() as u64);
        let (ticking, serving) = (engine.clone(), engine.clone());
        let ticks = tokio::spawn(async move {
            loop {
                ticking.tick(now());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let accepts = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                connections.spawn(serve(stream, serving.clone(), now));
            }
        });
        Self {
            url,
            id: id.to_owned(),
            engine,
            received,
            held,
            tasks: vec![ticks, accepts],
        }
    }

    /// The next goodbye is noted, and not answered before the returned value is dropped.
    pub fn hold_goodbye(&self) -> Sender<()> {
        let (sender, receiver) = channel();
        *self.held.lock() = Some(receiver);
        sender
    }

    /// Everything that was sent here but connects.
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().clone()
    }

    /// What was published here on a channel.
    pub fn published(&self, channel: &str) -> Vec<Value> {
        let received = self.received();
        let there = received.iter().filter(|it| it["channel"] == channel);
        there.map(|it| it["data"].clone()).collect()
    }

    /// The Oort member of a handshake with the node at `url`.
    pub fn ext(&self, url: &str) -> Value {
        json!({"oortURL": self.url, "oortId": self.id, "oortSecret": DIGEST, "cometURL": url})
    }

    /// Opens a link to a node, as another one than the peer's own where `ext` says so.
    pub async fn dial(
        &self,
        mesh: SocketAddr,
        ext: Value,
    ) -> Result<(Client, Events), ConnectError> {
        Client::builder(format!("ws://{mesh}/cometd"))
            .ext("org.cometd.oort", ext)
            .acknowledge(true)
            .connect()
            .await
    }

    /// Confirms, as the last part of a join.
    pub async fn confirm(&self, link: &Client) {
        let join = json!({"oortId": self.id, "oortURL": self.url});
        link.publish("/service/oort", join).await.unwrap();
    }

    /// Publishes to whoever has subscribed here.
    pub fn publish(&self, channel: &str, data: &Value) -> usize {
        let data = data.to_string();
        let channel = ChannelName::parse(channel).unwrap();
        let publication = Publication::new(&channel, Json::validate(&data, 16).unwrap());
        self.engine.publish(&publication, Millis(0))
    }
}

async fn serve(stream: TcpStream, engine: Arc<Engine>, now: impl Fn() -> Millis) {
    let Ok(mut ws) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    let mut peer = engine.websocket_peer();
    loop {
        let output = std::future::poll_fn(|cx| peer.poll_output(cx, now()));
        tokio::select! {
            output = output => {
                let Output::Frame(frame) = output else { break };
                let text = tungstenite::Utf8Bytes::try_from(frame).unwrap();
                if ws.send(tungstenite::Message::Text(text)).await.is_err() {
                    break;
                }
                peer.written(now());
            }
            message = ws.next() => match message {
                Some(Ok(tungstenite::Message::Text(text))) => {
                    engine.websocket_frame(&mut peer, &text, now()).await.unwrap();
                }
                Some(Ok(_)) => {}
                _ => break,
            }
        }
    }
    peer.closed(now());
}
