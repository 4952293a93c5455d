//! The WebSocket: the only module that knows the library underneath.

use std::{io, time::Duration};

use futures_util::{FutureExt, SinkExt, StreamExt};
use http::{HeaderName, HeaderValue};
use tokio::time::{Instant, timeout};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{
        self,
        client::IntoClientRequest,
        protocol::{
            CloseFrame, WebSocketConfig,
            frame::{Utf8Bytes, coding::CloseCode},
        },
    },
};

use crate::{
    builder::{Ping, Settings},
    cookies::Jar,
    endpoint::Endpoint,
    error::LinkError,
    stream::Stream,
    traffic::Meter,
    wire::Frame,
};

/// The text of a frame.
pub(crate) type Text = Utf8Bytes;

/// Read and write buffers of one connection: the messages of Bayeux are small, and a process may hold many clients.
const BUFFER_BYTES: usize = 8 * 1024;

/// How long closing may take before the connection is simply dropped.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);

/// One open connection.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: WebSocketStream<Stream>,
    write_timeout: Duration,
    ping: Option<Ping>,
    /// When anything has come last.
    heard: Instant,
    ping_at: Instant,
    /// Number and time of the last ping.
    pinged: (u64, Instant),
}

impl Socket {
    /// Upgrades a fresh connection.
    ///
    /// # Errors
    /// When the server answers with something else than an upgrade, or it takes too long.
    pub(crate) async fn upgrade(
        stream: Stream,
        endpoint: &Endpoint,
        headers: &[(HeaderName, HeaderValue)],
        cookies: &Jar,
        settings: &Settings,
    ) -> Result<Self, LinkError> {
        let upgrading = async {
            let mut request = endpoint
                .upgrade_url()
                .into_client_request()
                .map_err(translate)?;
            for (name, value) in headers {
                request.headers_mut().append(name, value.clone());
            }
            cookies.add_to(request.headers_mut());
            let config = WebSocketConfig::default()
                .read_buffer_size(BUFFER_BYTES)
                .write_buffer_size(BUFFER_BYTES)
                .max_write_buffer_size(
                    BUFFER_BYTES + 2 * settings.max_message_bytes.max(BUFFER_BYTES),
                )
                .max_message_size(Some(settings.max_frame_bytes))
                .max_frame_size(Some(settings.max_frame_bytes))
                .accept_unmasked_frames(false);
            let (stream, response) = client_async_with_config(request, stream, Some(config))
                .await
                .map_err(translate)?;
            cookies.store(response.headers(), endpoint.tls);
            let now = Instant::now();
            Ok(Self {
                stream,
                write_timeout: settings.max_network_delay,
                ping: settings.ping,
                heard: now,
                ping_at: now,
                pinged: (0, now),
            })
        };
        match timeout(settings.connect_timeout, Box::pin(upgrading)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(LinkError::OpenTimeout),
        }
    }

    /// Writes frames and flushes once. Not cancel-safe.
    ///
    /// # Errors
    /// When the connection is broken, or takes no bytes for too long.
    pub(crate) async fn send(&mut self, frames: Vec<Frame>) -> Result<(), LinkError> {
        let writing = async {
            for frame in frames {
                self.stream
                    .feed(tungstenite::Message::text(frame.text))
                    .await?;
            }
            self.stream.flush().await
        };
        match timeout(self.write_timeout, writing).await {
            Ok(result) => result.map_err(translate),
            Err(_elapsed) => Err(LinkError::Silent),
        }
    }

    /// The next text frame. Pings are answered, binary frames passed over. Cancel-safe.
    ///
    /// # Errors
    /// When the connection breaks or is closed.
    pub(crate) async fn receive(&mut self, meter: &Meter) -> Result<Text, LinkError> {
        loop {
            let next = self.stream.next().await;
            self.heard = Instant::now();
            match next {
                Some(Ok(tungstenite::Message::Pong(payload))) => {
                    let (number, at) = self.pinged;
                    if payload[..] == number.to_be_bytes() {
                        meter.measured(self.heard.duration_since(at));
                    }
                }
                Some(Ok(tungstenite::Message::Text(text))) => return Ok(text),
                Some(Ok(tungstenite::Message::Close(frame))) => return Err(closed(frame)),
                Some(Ok(_)) => {}
                Some(Err(error)) => return Err(translate(error)),
                None => return Err(LinkError::Broken(io::ErrorKind::UnexpectedEof.into())),
            }
        }
    }

    /// A text frame, or a failure, that is already here.
    pub(crate) fn try_receive(&mut self, meter: &Meter) -> Option<Result<Text, LinkError>> {
        self.receive(meter).now_or_never()
    }

    /// When [`Self::heartbeat`] is due, if there are pings.
    pub(crate) fn heartbeat_at(&self) -> Option<Instant> {
        self.ping
            .map(|ping| self.ping_at.min(self.heard + ping.silence))
    }

    /// Judges the connection by what has been read, and sends a ping when its time has come. Not cancel-safe.
    ///
    /// # Errors
    /// When nothing has come for too long, or the connection is broken.
    pub(crate) async fn heartbeat(&mut self) -> Result<(), LinkError> {
        let Some(ping) = self.ping else {
            return Ok(());
        };
        let now = Instant::now();
        if now >= self.heard + ping.silence {
            return Err(LinkError::Silent);
        }
        if now < self.ping_at {
            return Ok(());
        }
        self.ping_at = now + ping.interval;
        self.pinged = (self.pinged.0 + 1, now);
        let payload = self.pinged.0.to_be_bytes().to_vec();
        let sending = self.stream.send(tungstenite::Message::Ping(payload.into()));
        match timeout(self.write_timeout, sending).await {
            Ok(result) => result.map_err(translate),
            Err(_elapsed) => Err(LinkError::Silent),
        }
    }

    /// Closes with code 1000, without insisting on an answer.
    pub(crate) async fn close(mut self) {
        let frame = CloseFrame {
            code: CloseCode::Normal,
            reason: "Disconnect".into(),
        };
        // Whatever fails here, the connection is dropped next.
        let _ = timeout(CLOSE_TIMEOUT, async {
            if self.stream.close(Some(frame)).await.is_ok() {
                while let Some(Ok(_)) = self.stream.next().await {}
            }
        })
        .await;
    }
}

fn closed(frame: Option<CloseFrame>) -> LinkError {
    match frame {
        Some(frame) => LinkError::Closed {
            code: frame.code.into(),
            reason: frame.reason.to_string(),
        },
        None => LinkError::Closed {
            code: 1005,
            reason: String::new(),
        },
    }
}

fn translate(error: tungstenite::Error) -> LinkError {
    match error {
        tungstenite::Error::Io(error) => LinkError::Broken(error),
        tungstenite::Error::Http(response) => LinkError::Upgrade(response.status().as_u16()),
        tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed => closed(None),
        other => LinkError::WebSocket(other.to_string()),
    }
}
