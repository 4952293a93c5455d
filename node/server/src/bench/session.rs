//! A Bayeux session as light as it gets: one socket, one task that reads, frames written from anywhere.

use std::{
    cell::RefCell,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use anyhow::{Context as _, bail};
use memchr::memmem;
use parking_lot::Mutex;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::{
    client_async_with_config,
    tungstenite::{client::IntoClientRequest, protocol::WebSocketConfig},
};

use super::{
    frame::{self, Decoder},
    target::Target,
};

/// Bytes that may wait for the socket; a publication that finds more waiting is not sent and counts as stalled.
const WAITING_MAX: usize = 1 << 20;

/// Size of the buffer that all sessions of a thread read into.
const SCRATCH_BYTES: usize = 64 * 1024;

/// Messages of one subscribe frame; stays below the 64 KiB that servers accept.
const SUBSCRIPTIONS_PER_FRAME: usize = 200;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into_boxed_slice());
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    stream: TcpStream,
    id: String,
    waiting: Mutex<Waiting>,
    next_id: AtomicU64,
    /// Advised pause between connects.
    interval: Duration,
}

#[derive(Debug, Default)]
struct Waiting {
    bytes: Vec<u8>,
    /// Whether a task is writing them.
    flushing: bool,
}

/// The half of a session that reads.
#[derive(Debug)]
pub(super) struct Reader {
    session: Arc<Session>,
    decoder: Decoder,
}

/// What became of a frame that was to be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sent {
    Yes,
    /// The server does not take the bytes; the frame was not sent.
    Stalled,
}

impl Session {
    /// Connects, upgrades, handshakes and subscribes; the first connect is sent.
    pub(super) async fn open(
        target: &Target,
        channels: &[String],
    ) -> anyhow::Result<(Arc<Self>, Reader)> {
        let stream = TcpStream::connect(target.address().await?)
            .await
            .context("cannot connect")?;
        stream.set_nodelay(true)?;
        let config = WebSocketConfig::default()
            .read_buffer_size(1024)
            .write_buffer_size(1024);
        let request = target.url.as_str().into_client_request()?;
        let (upgraded, _) = client_async_with_config(request, stream, Some(config))
            .await
            .context("cannot upgrade")?;
        // Nothing can have come after the upgrade: a Bayeux server speaks when spoken to.
        let mut session = Self {
            stream: upgraded.into_inner(),
            id: String::new(),
            waiting: Mutex::default(),
            next_id: AtomicU64::new(1),
            interval: Duration::ZERO,
        };
        let mut decoder = Decoder::default();
        session.handshake(&mut decoder).await?;
        session.subscribe(&mut decoder, channels).await?;
        let session = Arc::new(session);
        session.send_connect();
        Ok((session.clone(), Reader { session, decoder }))
    }

    async fn handshake(&mut self, decoder: &mut Decoder) -> anyhow::Result<()> {
        let text = br#"[{"channel":"/meta/handshake","id":"1","version":"1.0","minimumVersion":"1.0","supportedConnectionTypes":["websocket"]}]"#;
        self.send_now(&frame::text(text)).await?;
        self.next_id.store(2, Ordering::Relaxed);
        let replies = self.replies(decoder).await?;
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
            self.send_now(&frame::text(format!("[{}]", messages.join(",")).as_bytes()))
                .await?;
            let mut answered = 0;
            while answered < channels.len() {
                for reply in self.replies(decoder).await? {
                    if reply["channel"] == "/meta/subscribe" {
                        if reply["successful"] != true {
                            bail!("subscription refused: {}", reply["error"]);
                        }
                        answered += 1;
                    }
                }
            }
        }
        Ok(())
    }

    /// The messages of the next frames that come together; only while nothing else reads.
    async fn replies(&self, decoder: &mut Decoder) -> anyhow::Result<Vec<Value>> {
        let mut messages: Vec<Value> = Vec::new();
        let mut failure = None;
        let mut answers = Vec::new();
        while messages.is_empty() {
            self.read(decoder, &mut answers, |text| {
                match serde_json::from_slice::<Vec<Value>>(text) {
                    Ok(more) => messages.extend(more),
                    Err(error) => failure = Some(error),
                }
            })
            .await?;
            if let Some(error) = failure.take() {
                return Err(error).context("an answer that is no JSON array");
            }
            self.send_now(&std::mem::take(&mut answers)).await?;
        }
        Ok(messages)
    }

    /// Reads what has come, at least something; frames to be sent in answer are appended to `answers`.
    async fn read(
        &self,
        decoder: &mut Decoder,
        answers: &mut Vec<u8>,
        text: impl FnMut(&[u8]),
    ) -> anyhow::Result<()> {
        let mut text = Some(text);
        loop {
            self.stream.readable().await?;
            let read = SCRATCH.with_borrow_mut(|scratch| match self.stream.try_read(scratch) {
                Ok(0) => bail!("the server hung up"),
                Ok(count) => match text.take() {
                    Some(text) => Ok(decoder
                        .feed(&scratch[..count], answers, text)
                        .map(|()| true)?),
                    None => Ok(true),
                },
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(false),
                Err(error) => Err(error.into()),
            })?;
            if read {
                return Ok(());
            }
        }
    }

    /// Writes frames, waiting for the socket; only while nothing else writes.
    async fn send_now(&self, frames: &[u8]) -> io::Result<()> {
        let mut rest = frames;
        while !rest.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(rest) {
                Ok(count) => rest = &rest[count..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// An id for the next message.
    pub(super) fn draw_id(&self) -> u64 {
        self.next_id.fetch_add(1, Ordering::Relaxed)
    }

    /// The session id.
    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Sends a text frame without waiting; what the socket does not take is written by a task.
    pub(super) fn send(self: &Arc<Self>, text: &[u8]) -> Sent {
        self.send_frames(|out| frame::push_text(out, text))
    }

    fn send_frames(self: &Arc<Self>, push: impl FnOnce(&mut Vec<u8>)) -> Sent {
        let mut waiting = self.waiting.lock();
        if waiting.bytes.len() > WAITING_MAX {
            return Sent::Stalled;
        }
        push(&mut waiting.bytes);
        if !waiting.flushing && !self.flush(&mut waiting) {
            waiting.flushing = true;
            let session = self.clone();
            tokio::spawn(async move {
                // A failure here shows in the reader too, which reports it.
                while session.stream.writable().await.is_ok() {
                    let mut waiting = session.waiting.lock();
                    if session.flush(&mut waiting) {
                        waiting.flushing = false;
                        return;
                    }
                }
            });
        }
        Sent::Yes
    }

    /// Writes what waits, as far as the socket takes it; true when nothing is left to do.
    fn flush(&self, waiting: &mut Waiting) -> bool {
        let mut written = 0;
        let done = loop {
            if written == waiting.bytes.len() {
                break true;
            }
            match self.stream.try_write(&waiting.bytes[written..]) {
                Ok(count) => written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break false,
                Err(_broken) => {
                    written = waiting.bytes.len();
                    break true;
                }
            }
        };
        waiting.bytes.drain(..written);
        if waiting.bytes.is_empty() && waiting.bytes.capacity() > 4096 {
            waiting.bytes = Vec::new();
        }
        done
    }

    fn send_connect(self: &Arc<Self>) {
        let (id, client) = (self.draw_id(), &self.id);
        let text = format!(
            r#"[{{"channel":"/meta/connect","id":"{id}","clientId":"{client}","connectionType":"websocket"}}]"#
        );
        self.send(text.as_bytes());
    }

    /// Ends the session at the server, without waiting for the answer.
    pub(super) fn say_goodbye(self: &Arc<Self>) {
        let text = format!(
            r#"[{{"channel":"/meta/disconnect","id":"{}","clientId":"{}"}}]"#,
            self.draw_id(),
            self.id
        );
        self.send(text.as_bytes());
    }

    /// Lets the connection vanish as when the machine of a client loses power and the kernel answers for it: with a
    /// reset instead of an end.
    pub(super) fn reset_on_drop(&self) {
        // When it cannot be set, the connection ends instead; for the load that is as good.
        let _ = self.stream.set_zero_linger();
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
            let mut connects = 0;
            let read = self
                .session
                .read(&mut self.decoder, &mut answers, |text| {
                    if connect.find(text).is_some() {
                        match memmem::find(text, br#""successful":false"#) {
                            Some(_) => refused = Some(String::from_utf8_lossy(text).into_owned()),
                            None => connects += 1,
                        }
                    }
                    texts(Some(text));
                })
                .await;
            texts(None);
            if let Err(error) = read {
                return error;
            }
            if let Some(refused) = refused {
                return anyhow::anyhow!("connect refused: {refused}");
            }
            if !answers.is_empty() {
                self.session.send_frames(|out| out.append(&mut answers));
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
