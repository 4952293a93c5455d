//! How a client is set up.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    client::Client,
    driver::{Driver, Parts},
    endpoint::{Endpoint, InvalidUrl},
    error::ConnectError,
    event::Events,
    session::Session,
    tls,
    traffic::Meter,
    transport::Transport,
};

/// Commands that may wait for the driver; a handle that finds the queue full waits.
const COMMANDS_MAX: usize = 256;

/// Pings of a WebSocket, and how long nothing may come.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ping {
    pub(crate) interval: Duration,
    pub(crate) silence: Duration,
}

/// The settings that the running client keeps.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) connect_timeout: Duration,
    pub(crate) max_network_delay: Duration,
    pub(crate) request_timeout: Duration,
    pub(crate) ping: Option<Ping>,
    pub(crate) backoff_first: Duration,
    pub(crate) backoff_max: Duration,
    pub(crate) attempts_max: Option<u32>,
    pub(crate) events_max: usize,
    pub(crate) max_message_bytes: usize,
    pub(crate) max_frame_bytes: usize,
    pub(crate) acknowledge: bool,
    /// The `ext` of handshakes as JSON text.
    pub(crate) handshake_ext: Option<String>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(10),
            max_network_delay: Duration::from_secs(10),
            request_timeout: Duration::from_secs(30),
            ping: None,
            backoff_first: Duration::from_millis(500),
            backoff_max: Duration::from_secs(30),
            attempts_max: None,
            events_max: 1024,
            max_message_bytes: 65_536,
            max_frame_bytes: 8 << 20,
            acknowledge: false,
            handshake_ext: None,
        }
    }
}

/// Sets up a [`Client`]. Every setting has a default that suits a service beside its server.
#[derive(Debug)]
pub struct ClientBuilder {
    urls: Vec<String>,
    transports: Vec<Transport>,
    roots: Option<Vec<u8>>,
    headers: Vec<(String, String)>,
    ext: BTreeMap<String, Result<Box<RawValue>, serde_json::Error>>,
    settings: Settings,
}

impl ClientBuilder {
    pub(crate) fn new(url: String) -> Self {
        Self {
            urls: vec![url],
            transports: vec![Transport::WebSocket, Transport::LongPolling],
            roots: None,
            headers: Vec::new(),
            ext: BTreeMap::new(),
            settings: Settings::default(),
        }
    }

    /// Adds another URL of the same cluster. The client goes to the next one when a connection cannot be opened.
    #[must_use]
    pub fn url(mut self, url: impl Into<String>) -> Self {
        self.urls.push(url.into());
        self
    }

    /// The transports that may be used, best first. Default: WebSocket, then long-polling.
    ///
    /// The first is opened; the server's handshake reply has the last word. Where a host answers but gives no WebSocket,
    /// long-polling is taken at once and kept until a new session is due.
    #[must_use]
    pub fn transports(mut self, transports: impl IntoIterator<Item = Transport>) -> Self {
        self.transports.clear();
        for transport in transports {
            if !self.transports.contains(&transport) {
                self.transports.push(transport);
            }
        }
        self
    }

    /// Trusts these certificate authorities (PEM, one or several) for `wss` and `https`, instead of the system's.
    #[must_use]
    pub fn root_certificates(mut self, pem: impl Into<Vec<u8>>) -> Self {
        self.roots = Some(pem.into());
        self
    }

    /// Adds a header to the WebSocket upgrade and to every request of long-polling, such as `Origin`, `Authorization` or
    /// `Cookie`. Cookies that the server sets are kept and sent besides.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets one field of the handshake's `ext`, sent with every handshake.
    #[must_use]
    pub fn ext(mut self, name: impl Into<String>, value: impl Serialize) -> Self {
        self.ext
            .insert(name.into(), serde_json::value::to_raw_value(&value));
        self
    }

    /// Names the user of the session, as `ext.halley.user`. A node believes it only where it is configured to.
    #[must_use]
    pub fn user(self, user: &str) -> Self {
        self.ext("halley", BTreeMap::from([("user", user)]))
    }

    /// Asks for the ack extension: messages lost with a connection are sent again by the server. Each message is
    /// then reported once, when its number has come. Default: no.
    #[must_use]
    pub fn acknowledge(mut self, yes: bool) -> Self {
        self.settings.acknowledge = yes;
        self
    }

    /// How long a connection may take to open, upgrade included. Default: 10 s.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.settings.connect_timeout = timeout;
        self
    }

    /// How long a reply may be late, beyond the time the server said it holds a connect, before the connection counts
    /// as lost. Default: 10 s.
    #[must_use]
    pub fn max_network_delay(mut self, delay: Duration) -> Self {
        self.settings.max_network_delay = delay;
        self
    }

    /// How long a request may take, waiting for a connection included. Default: 30 s.
    #[must_use]
    pub fn request_timeout(mut self, timeout: Duration) -> Self {
        self.settings.request_timeout = timeout;
        self
    }

    /// Sends a WebSocket ping at every `interval`, and counts a connection over which nothing has come for `silence` as
    /// lost. So a server that is gone without a word is noticed while it should hold a connect. Servers answer pings by
    /// themselves (RFC 6455); `silence` should span several intervals. Default: no pings.
    #[must_use]
    pub fn ping(mut self, interval: Duration, silence: Duration) -> Self {
        self.settings.ping = Some(Ping { interval, silence });
        self
    }

    /// The delay before the first attempt to reconnect, and the bound up to which it doubles. Each delay is drawn
    /// between half of it and the whole. Default: 500 ms and 30 s.
    #[must_use]
    pub fn backoff(mut self, first: Duration, max: Duration) -> Self {
        self.settings.backoff_first = first;
        self.settings.backoff_max = max;
        self
    }

    /// How many attempts to reconnect may fail in a row before the client ends. Default: it never gives up.
    #[must_use]
    pub fn attempts_max(mut self, attempts: u32) -> Self {
        self.settings.attempts_max = Some(attempts);
        self
    }

    /// How many events may wait to be read before the client stops reading from the server. Default: 1024.
    #[must_use]
    pub fn events_max(mut self, events: usize) -> Self {
        self.settings.events_max = events.max(1);
        self
    }

    /// The largest message, and the largest frame of several messages, that is sent. Default: 65536, which servers
    /// accept unless configured otherwise.
    #[must_use]
    pub fn max_message_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_message_bytes = bytes;
        self
    }

    /// The largest frame, or reply of long-polling, that is accepted. Default: 8 MiB.
    #[must_use]
    pub fn max_frame_bytes(mut self, bytes: usize) -> Self {
        self.settings.max_frame_bytes = bytes;
        self
    }

    /// Connects and handshakes, trying each URL once.
    ///
    /// The handle makes requests; the client lives until [`Client::disconnect`] or until its last handle is dropped.
    ///
    /// # Errors
    /// When a setting cannot be used, no connection can be opened, or the handshake is refused.
    pub async fn connect(self) -> Result<(Client, Events), ConnectError> {
        let Self {
            urls,
            transports,
            roots,
            headers,
            ext,
            mut settings,
        } = self;
        let mut endpoints = Vec::with_capacity(urls.len());
        for url in &urls {
            endpoints.push(Endpoint::parse(url)?);
        }
        if endpoints.is_empty() {
            return Err(InvalidUrl::Missing.into());
        }
        if transports.is_empty() {
            return Err(ConnectError::NoTransport);
        }
        let headers = read_headers(headers)?;
        let tls = if endpoints.iter().any(|endpoint| endpoint.tls) {
            Some(tls::config(roots.as_deref()).await?)
        } else {
            None
        };
        settings.handshake_ext = write_ext(ext, settings.acknowledge)?;

        let request_timeout = settings.request_timeout;
        let (commands, commands_receiver) = mpsc::channel(COMMANDS_MAX);
        let (events, receiver) = mpsc::channel(settings.events_max);
        let stop = CancellationToken::new();
        // Dropping this future before the end must end what it has begun.
        let guard = stop.clone().drop_guard();
        let (session, shown) = watch::channel(Session::none());
        let meter = Arc::new(Meter::default());
        let mut driver = Driver::new(Parts {
            endpoints,
            transports,
            headers,
            tls,
            settings,
            commands: commands_receiver,
            events,
            session,
            meter: meter.clone(),
            stop,
        });
        Box::pin(driver.start()).await?;
        let task = tokio::spawn(driver.run());
        Ok((
            Client::new(commands, guard, task, request_timeout, shown, meter),
            Events { receiver },
        ))
    }
}

fn read_headers(
    headers: Vec<(String, String)>,
) -> Result<Vec<(HeaderName, HeaderValue)>, ConnectError> {
    headers
        .into_iter()
        .map(
            |(name, value)| match (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
                (Ok(name), Ok(value)) => Ok((name, value)),
                _ => Err(ConnectError::Header(name)),
            },
        )
        .collect()
}

fn write_ext(
    ext: BTreeMap<String, Result<Box<RawValue>, serde_json::Error>>,
    acknowledge: bool,
) -> Result<Option<String>, ConnectError> {
    let mut fields = BTreeMap::new();
    for (name, value) in ext {
        fields.insert(name, value.map_err(ConnectError::Ext)?);
    }
    if acknowledge {
        fields.insert(
            "ack".to_owned(),
            serde_json::value::to_raw_value(&true).map_err(ConnectError::Ext)?,
        );
    }
    if fields.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(&fields)
        .map(Some)
        .map_err(ConnectError::Ext)
}
