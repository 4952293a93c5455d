//! A session as light as it gets: a socket or two, one task that reads, messages written from anywhere.
//!
//! | protocol | deliveries come | publications go |
//! |---|---|---|
//! | WebSocket | as frames | as frames, on the same connection |
//! | long-polling | in answers to connects, of which one is always held | as requests on a connection of their own, one at a time |
//! | NATS | as `MSG` | as `PUB`, on the same connection |

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use memchr::memmem;
use parking_lot::Mutex;
use serde_json::Value;

pub(super) use super::line::Sent;
use super::{
    frame, http_lines,
    line::Line,
    nats,
    stamp::Stamp,
    target::{Protocol, Target},
};

/// Messages of one subscribe frame; stays below the 64 KiB that servers accept.
const SUBSCRIPTIONS_PER_FRAME: usize = 200;

/// Requests with publications that may wait for the answer to the one before.
const POSTS_WAITING_MAX: usize = 1000;

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    protocol: Protocol,
    line: Arc<Line>,
    /// Where publications go, with long-polling.
    posts: Option<Posts>,
    /// Everything of a request up to the length of its body, with long-polling.
    head: Vec<u8>,
    id: String,
    next_id: AtomicU64,
    /// Advised pause between connects.
    interval: Duration,
}

/// The connection for publications, with long-polling.
#[derive(Debug)]
struct Posts {
    line: Arc<Line>,
    waiting: Mutex<PostsWaiting>,
}

#[derive(Debug, Default)]
struct PostsWaiting {
    bodies: VecDeque<Vec<u8>>,
    /// Whether an answer is outstanding.
    asked: bool,
}

/// The half of a session that reads.
#[derive(Debug)]
pub(super) struct Reader {
    session: Arc<Session>,
    decoder: Decoder,
    /// Of the answers to publications.
    posts: http_lines::Decoder,
}

#[derive(Debug)]
enum Decoder {
    WebSocket(frame::Decoder),
    LongPolling(http_lines::Decoder),
    Nats(nats::Decoder),
}

impl Decoder {
    fn new(protocol: Protocol) -> Self {
        match protocol {
            Protocol::WebSocket => Self::WebSocket(frame::Decoder::default()),
            Protocol::LongPolling => Self::LongPolling(http_lines::Decoder::default()),
            Protocol::Nats => Self::Nats(nats::Decoder::default()),
        }
    }

    /// Takes bytes, hands each whole text to `text`; what is to be sent in answer is appended to `answers`. Tells whether a pong of NATS
    /// has come.
    fn feed(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
        text: impl FnMut(&[u8]),
    ) -> anyhow::Result<bool> {
        match self {
            Self::WebSocket(decoder) => decoder.feed(bytes, answers, text)?,
            Self::LongPolling(decoder) => decoder.feed(bytes, text)?,
            Self::Nats(decoder) => return Ok(decoder.feed(bytes, answers, text)? > 0),
        }
        Ok(false)
    }
}

impl Session {
    /// Connects, handshakes and subscribes; the first connect is sent. `publishes`: there will be publications, over whatever is needed
    /// for them.
    pub(super) async fn open(
        target: &Target,
        channels: &[String],
        publishes: bool,
    ) -> anyhow::Result<(Arc<Self>, Reader)> {
        let protocol = target.protocol;
        let mut session = Self {
            protocol,
            line: Arc::new(Line::new(target.connect().await?)),
            posts: None,
            head: Vec::new(),
            id: String::new(),
            next_id: AtomicU64::new(1),
            interval: Duration::ZERO,
        };
        let mut decoder = Decoder::new(protocol);
        match protocol {
            Protocol::WebSocket => session.upgrade(target).await.context("cannot upgrade")?,
            Protocol::LongPolling => {
                session.head = http_lines::post_head(&target.path, &target.authority, None);
                if publishes {
                    session.posts = Some(Posts {
                        line: Arc::new(Line::new(target.connect().await?)),
                        waiting: Mutex::default(),
                    });
                }
            }
            Protocol::Nats => {}
        }
        if protocol == Protocol::Nats {
            session.join(&mut decoder, channels).await?;
        } else {
            session.handshake(&mut decoder).await?;
            if let Decoder::LongPolling(decoder) = &decoder
                && !decoder.cookies.is_empty()
            {
                let cookies = decoder.cookies.join("; ");
                session.head =
                    http_lines::post_head(&target.path, &target.authority, Some(&cookies));
            }
            session.subscribe(&mut decoder, channels).await?;
        }
        let session = Arc::new(session);
        session.send_connect();
        let reader = Reader {
            session: session.clone(),
            decoder,
            posts: http_lines::Decoder::default(),
        };
        Ok((session, reader))
    }

    /// Asks for a WebSocket. Nothing can come right after the answer: a Bayeux server speaks when spoken to.
    async fn upgrade(&self, target: &Target) -> anyhow::Result<()> {
        let key = STANDARD.encode(rand::random::<[u8; 16]>());
        let request = format!(
            "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n",
            target.path, target.authority
        );
        self.line.send_now(request.as_bytes()).await?;
        let mut answer = Vec::new();
        while memmem::find(&answer, b"\r\n\r\n").is_none() {
            self.line
                .read(|bytes| {
                    answer.extend_from_slice(bytes);
                    Ok(())
                })
                .await?;
        }
        if !answer.starts_with(b"HTTP/1.1 101 ") || !answer.ends_with(b"\r\n\r\n") {
            bail!("the server answered {}", String::from_utf8_lossy(&answer));
        }
        Ok(())
    }

    async fn handshake(&mut self, decoder: &mut Decoder) -> anyhow::Result<()> {
        let kind = self.connection_type();
        let text = format!(
            r#"[{{"channel":"/meta/handshake","id":"1","version":"1.0","minimumVersion":"1.0","supportedConnectionTypes":["{kind}"]}}]"#
        );
        self.next_id.store(2, Ordering::Relaxed);
        let replies = self.ask(decoder, &text).await?;
        let reply = replies
            .first()
            .context("an empty answer to the handshake")?;
        self.id = match reply["clientId"].as_str() {
            // The id is put into frames as it is.
            Some(id)
                if id
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\') =>
            {
                id.to_owned()
            }
            _ => bail!("handshake refused: {}", reply["error"]),
        };
        self.interval = Duration::from_millis(
            reply["advice"]["interval"]
                .as_u64()
                .unwrap_or(0)
                .min(60_000),
        );
        Ok(())
    }

    const fn connection_type(&self) -> &'static str {
        match self.protocol {
            Protocol::LongPolling => "long-polling",
            _ => "websocket",
        }
    }

    async fn subscribe(&self, decoder: &mut Decoder, channels: &[String]) -> anyhow::Result<()> {
        for channels in channels.chunks(SUBSCRIPTIONS_PER_FRAME) {
            let messages: Vec<String> = channels
                .iter()
                .map(|channel| {
                    let id = self.draw_id();
                    let client = &self.id;
                    format!(
                        r#"{{"channel":"/meta/subscribe","id":"{id}","clientId":"{client}","subscription":"{channel}"}}"#
                    )
                })
                .collect();
            let mut replies = self
                .ask(decoder, &format!("[{}]", messages.join(",")))
                .await?;
            let mut answered = 0;
            loop {
                for reply in replies {
                    if reply["channel"] == "/meta/subscribe" {
                        if reply["successful"] != true {
                            bail!("subscription refused: {}", reply["error"]);
                        }
                        answered += 1;
                    }
                }
                if answered >= channels.len() {
                    break;
                }
                replies = self.replies(decoder).await?;
            }
        }
        Ok(())
    }

    /// Connects and subscribes at a NATS server.
    async fn join(&self, decoder: &mut Decoder, channels: &[String]) -> anyhow::Result<()> {
        let mut text = String::from("CONNECT {\"verbose\":false,\"pedantic\":false}\r\n");
        for (number, channel) in channels.iter().enumerate() {
            text += &format!("SUB {} {}\r\n", nats::subject(channel), number + 1);
        }
        text += "PING\r\n";
        self.line.send_now(text.as_bytes()).await?;
        let mut answers = Vec::new();
        // The server answers in order: with the pong, all subscriptions stand.
        while !self
            .line
            .read(|bytes| decoder.feed(bytes, &mut answers, |_| {}))
            .await?
        {}
        Ok(self.line.send_now(&answers).await?)
    }

    /// Sends messages and waits for the first answer; only while nothing else reads or writes.
    async fn ask(&self, decoder: &mut Decoder, text: &str) -> anyhow::Result<Vec<Value>> {
        let mut out = Vec::new();
        self.push_request(&mut out, text.as_bytes());
        self.line.send_now(&out).await?;
        self.replies(decoder).await
    }

    /// The messages of the next frames that come together; only while nothing else reads.
    async fn replies(&self, decoder: &mut Decoder) -> anyhow::Result<Vec<Value>> {
        let mut messages: Vec<Value> = Vec::new();
        let mut failure = None;
        let mut answers = Vec::new();
        while messages.is_empty() {
            self.line
                .read(|bytes| {
                    decoder.feed(bytes, &mut answers, |text| {
                        match serde_json::from_slice::<Vec<Value>>(text) {
                            Ok(more) => messages.extend(more),
                            Err(error) => failure = Some(error),
                        }
                    })
                })
                .await?;
            if let Some(error) = failure.take() {
                return Err(error).context("an answer that is no JSON array");
            }
            self.line.send_now(&std::mem::take(&mut answers)).await?;
        }
        Ok(messages)
    }

    fn push_request(&self, out: &mut Vec<u8>, text: &[u8]) {
        match self.protocol {
            Protocol::WebSocket => frame::push_text(out, text),
            Protocol::LongPolling => http_lines::push_post(out, &self.head, text),
            Protocol::Nats => out.extend_from_slice(text),
        }
    }

    fn draw_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// Appends a publication to a batch, which begins empty.
    pub(super) fn push_publication(
        &self,
        batch: &mut Vec<u8>,
        channel: &str,
        stamp: &Stamp,
        payload_bytes: usize,
    ) {
        if self.protocol == Protocol::Nats {
            let bytes = payload_bytes.max(super::stamp::STAMP_BYTES);
            let head = format!("PUB {} {bytes}\r\n", nats::subject(channel));
            batch.extend_from_slice(head.as_bytes());
            stamp.push(batch, bytes);
            batch.extend_from_slice(b"\r\n");
            return;
        }
        batch.push(if batch.is_empty() { b'[' } else { b',' });
        let (id, client) = (self.draw_id(), self.id.as_str());
        let head = format!(r#"{{"channel":"{channel}","id":"{id}","clientId":"{client}","data":""#);
        batch.extend_from_slice(head.as_bytes());
        stamp.push(batch, payload_bytes);
        batch.extend_from_slice(b"\"}");
    }

    /// Sends a batch of publications without waiting.
    pub(super) fn publish(&self, batch: &mut Vec<u8>) -> Sent {
        if self.protocol != Protocol::Nats {
            batch.push(b']');
        }
        let Some(posts) = &self.posts else {
            return self.line.send(|out| self.push_request(out, batch));
        };
        let mut waiting = posts.waiting.lock();
        if waiting.bodies.len() >= POSTS_WAITING_MAX {
            return Sent::Stalled;
        }
        if std::mem::replace(&mut waiting.asked, true) {
            waiting.bodies.push_back(batch.clone());
            return Sent::Yes;
        }
        posts.line.send(|out| self.push_request(out, batch))
    }

    /// The publications before have been answered.
    fn publish_next(&self, posts: &Posts) {
        let mut waiting = posts.waiting.lock();
        match waiting.bodies.pop_front() {
            // Never stalls: nothing else is under way.
            Some(body) => drop(posts.line.send(|out| self.push_request(out, &body))),
            None => waiting.asked = false,
        }
    }

    fn send_connect(&self) {
        if self.protocol == Protocol::Nats {
            return;
        }
        let (id, client, kind) = (self.draw_id(), &self.id, self.connection_type());
        let text = format!(
            r#"[{{"channel":"/meta/connect","id":"{id}","clientId":"{client}","connectionType":"{kind}"}}]"#
        );
        self.line
            .send(|out| self.push_request(out, text.as_bytes()));
    }

    /// Ends the session at the server, without waiting for the answer. (With long-polling the request may stand behind a held connect:
    /// the server learns of the end when the connection closes.)
    pub(super) fn say_goodbye(&self) {
        if self.protocol == Protocol::Nats {
            return;
        }
        let text = format!(
            r#"[{{"channel":"/meta/disconnect","id":"{}","clientId":"{}"}}]"#,
            self.draw_id(),
            self.id
        );
        let line = self.posts.as_ref().map_or(&self.line, |posts| &posts.line);
        line.send(|out| self.push_request(out, text.as_bytes()));
    }

    /// Lets the connection vanish as when the machine of a client loses power and the kernel answers for it: with a
    /// reset instead of an end.
    pub(super) fn reset_on_drop(&self) {
        // When it cannot be set, the connection ends instead; for the load that is as good.
        let _ = self.line.wire.set_zero_linger();
    }
}

impl Reader {
    /// Reads until the connection ends, keeps the connect loop going and hands each read's texts to `texts`, which is
    /// called once more with `None` after the last text that came in one read.
    pub(super) async fn run(mut self, mut texts: impl FnMut(Option<&[u8]>)) -> anyhow::Error {
        let connect = memmem::Finder::new(br#""/meta/connect""#);
        let mut answers = Vec::new();
        loop {
            let mut refused = None;
            let (mut connects, mut posted) = (0, 0);
            let (session, decoder) = (&self.session, &mut self.decoder);
            let bayeux = session.protocol != Protocol::Nats;
            let mut take = |text: &[u8]| {
                if bayeux && connect.find(text).is_some() {
                    match memmem::find(text, br#""successful":false"#) {
                        Some(_) => refused = Some(String::from_utf8_lossy(text).into_owned()),
                        None => connects += 1,
                    }
                }
                texts(Some(text));
            };
            let read = match &session.posts {
                None => {
                    let feed = |bytes: &[u8]| decoder.feed(bytes, &mut answers, &mut take);
                    session.line.read(feed).await.map(Some)
                }
                Some(posts) => {
                    let either = tokio::select! {
                        ready = session.line.wire.readable() => ready.map(|()| false),
                        ready = posts.line.wire.readable() => ready.map(|()| true),
                    };
                    match either {
                        Ok(true) => posts.line.try_read(|bytes| {
                            let text = |text: &[u8]| {
                                posted += 1;
                                take(text);
                            };
                            self.posts.feed(bytes, text).map(|()| false)
                        }),
                        Ok(false) => session
                            .line
                            .try_read(|bytes| decoder.feed(bytes, &mut answers, &mut take)),
                        Err(error) => Err(error.into()),
                    }
                }
            };
            texts(None);
            if let Err(error) = read {
                return error;
            }
            if let Some(refused) = refused {
                return anyhow::anyhow!("connect refused: {refused}");
            }
            if !answers.is_empty() {
                self.session.line.send(|out| out.append(&mut answers));
            }
            if let Some(posts) = &self.session.posts {
                for _ in 0..posted {
                    self.session.publish_next(posts);
                }
            }
            if connects > 0 {
                self.connect_again();
            }
        }
    }

    fn connect_again(&self) {
        if self.session.interval.is_zero() {
            self.session.send_connect();
        } else {
            let session = self.session.clone();
            tokio::spawn(async move {
                tokio::time::sleep(session.interval).await;
                session.send_connect();
            });
        }
    }
}
