//! Conformance tests, named after the sections of the reference they come from. Time is an argument: nothing sleeps.

mod acks;
mod authorizers;
mod calls;
mod channels;
mod data_filters;
mod extensions;
mod greeting;
mod http;
mod lazy;
mod limits;
mod listing;
mod moments;
mod places;
mod processing;
mod publish;
mod queue_listeners;
mod races;
mod refusals;
mod requests;
mod session_end;
mod session_hooks;
mod websocket;

use super::*;
use crate::{
    ChannelName, DefaultPolicy, EngineConfig, HttpError, HttpOutcome, HttpRequest, Json, Millis,
    Output, Publication, Released, WebSocketPeer,
};
use serde_json::{Value, json};
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

pub(super) const START: Millis = Millis(1_000_000);

pub(super) fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

pub(super) fn event(channel: &str, data: &str) -> Arc<Publication> {
    Publication::new(&name(channel), Json::validate(data, 16).unwrap())
}

pub(super) fn engine() -> Arc<Engine> {
    engine_with(|_| {})
}

pub(super) fn engine_with(change: impl FnOnce(&mut EngineConfig)) -> Arc<Engine> {
    let mut config = EngineConfig::default();
    change(&mut config);
    config.validate().unwrap();
    let engine = Engine::new(config, Arc::new(DefaultPolicy::default()));
    engine.tick(START);
    engine
}

/// Completes a future that must not suspend.
pub(super) fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    let mut cx = Context::from_waker(Waker::noop());
    match pin!(future).poll(&mut cx) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("suspended without a policy that answers later"),
    }
}

/// Counts wake-ups.
#[derive(Default)]
pub(super) struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Wakes {
    pub(super) fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// A client on a WebSocket connection.
pub(super) struct Ws {
    pub(super) engine: Arc<Engine>,
    pub(super) peer: WebSocketPeer,
    pub(super) wakes: Arc<Wakes>,
    pub(super) now: Millis,
}

impl Ws {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            engine: engine.clone(),
            peer: engine.websocket_peer(),
            wakes: Arc::default(),
            now: START,
        }
    }

    /// A connected client, and its id.
    pub(super) fn connected(engine: &Arc<Engine>) -> (Self, String) {
        let mut ws = Self::new(engine);
        let id = ws.handshake();
        ws.send(json!([{"channel":"/meta/connect","clientId":id,"id":"c0"}]));
        assert_eq!(
            ws.next(),
            json!([{"channel":"/meta/connect","id":"c0","successful":true}])
        );
        (ws, id)
    }

    pub(super) fn send(&mut self, frame: Value) {
        self.try_send(&frame.to_string()).unwrap();
    }

    pub(super) fn try_send(&mut self, text: &str) -> Result<(), crate::FrameError> {
        let engine = self.engine.clone();
        now_or_never(engine.websocket_frame(&mut self.peer, text, self.now))
    }

    pub(super) fn output(&mut self) -> Option<Output> {
        let waker = Waker::from(self.wakes.clone());
        match self
            .peer
            .poll_output(&mut Context::from_waker(&waker), self.now)
        {
            Poll::Ready(output) => {
                self.peer.written(self.now);
                Some(output)
            }
            Poll::Pending => None,
        }
    }

    /// The next frame; `null` when there is none.
    pub(super) fn next(&mut self) -> Value {
        match self.output() {
            Some(Output::Frame(bytes)) => serde_json::from_slice(&bytes).unwrap(),
            Some(Output::Close(code, reason)) => json!({"close": code, "reason": reason}),
            None => Value::Null,
        }
    }

    pub(super) fn ask(&mut self, message: Value) -> Value {
        self.send(json!([message]));
        self.next()
    }

    pub(super) fn handshake(&mut self) -> String {
        let reply = self.ask(json!({"channel":"/meta/handshake","id":"h","version":"1.0","supportedConnectionTypes":["websocket"]}));
        assert_eq!(reply[0]["successful"], json!(true), "{reply}");
        reply[0]["clientId"].as_str().unwrap().to_owned()
    }

    pub(super) fn subscribe(&mut self, id: &str, channel: &str) {
        let reply =
            self.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":channel}));
        assert_eq!(reply[0]["successful"], json!(true), "{reply}");
    }

    /// Holds a connect with message id `id`.
    pub(super) fn hold(&mut self, client: &str, id: &str) {
        self.send(json!([{"channel":"/meta/connect","clientId":client,"id":id}]));
        assert_eq!(self.next(), Value::Null, "the connect is held");
    }

    /// Lets time pass to `after_ms` from the start.
    pub(super) fn pass(&mut self, after_ms: u64) {
        self.now = START.after(after_ms);
        self.engine.tick(self.now);
    }
}

/// A browser: requests with its cookie.
pub(super) struct Browser {
    pub(super) engine: Arc<Engine>,
    pub(super) cookie: Option<String>,
    pub(super) http2: bool,
    pub(super) callback: bool,
    pub(super) now: Millis,
}

impl Browser {
    pub(super) fn new(engine: &Arc<Engine>) -> Self {
        Self {
            engine: engine.clone(),
            cookie: None,
            http2: false,
            callback: false,
            now: START,
        }
    }

    pub(super) fn connected(engine: &Arc<Engine>) -> (Self, String) {
        let mut browser = Self::new(engine);
        let id = browser.handshake();
        browser.connect_first(&id);
        (browser, id)
    }

    pub(super) fn connect_first(&mut self, id: &str) {
        let reply = self.ask(json!([{"channel":"/meta/connect","clientId":id,"id":"c0"}]));
        assert_eq!(reply[0]["successful"], json!(true), "{reply}");
    }

    pub(super) fn request(&mut self, body: &str) -> Result<HttpOutcome, HttpError> {
        let request = HttpRequest {
            browser: self.cookie.as_deref(),
            http2: self.http2,
            callback: self.callback,
            head: None,
        };
        now_or_never(self.engine.http_request(request, body, self.now))
    }

    /// Sends a request that must be answered at once.
    pub(super) fn ask(&mut self, body: Value) -> Value {
        match self.request(&body.to_string()).unwrap() {
            HttpOutcome::Reply(reply) => {
                if let Some(cookie) = reply.set_browser {
                    self.cookie = Some(cookie);
                }
                reply.ticket.written(self.now);
                serde_json::from_slice(&reply.body).unwrap()
            }
            HttpOutcome::Hold(_) => panic!("held"),
        }
    }

    pub(super) fn handshake(&mut self) -> String {
        let reply = self.ask(json!([{"channel":"/meta/handshake","id":"h"}]));
        assert_eq!(reply[0]["successful"], json!(true), "{reply}");
        reply[0]["clientId"].as_str().unwrap().to_owned()
    }

    pub(super) fn hold(&mut self, client: &str, id: &str) -> Held {
        let body = json!([{"channel":"/meta/connect","clientId":client,"id":id}]).to_string();
        match self.request(&body).unwrap() {
            HttpOutcome::Hold(held) => Held {
                held,
                wakes: Arc::default(),
            },
            HttpOutcome::Reply(reply) => panic!("answered: {:?}", reply.body),
        }
    }

    pub(super) fn pass(&mut self, after_ms: u64) {
        self.now = START.after(after_ms);
        self.engine.tick(self.now);
    }
}

/// A request that is held.
pub(super) struct Held {
    held: crate::HeldConnect,
    pub(super) wakes: Arc<Wakes>,
}

impl Held {
    /// The response if there is one: its body, or its status.
    pub(super) fn poll(&mut self, now: Millis) -> Value {
        let waker = Waker::from(self.wakes.clone());
        match self
            .held
            .poll_release(&mut Context::from_waker(&waker), now)
        {
            Poll::Pending => Value::Null,
            Poll::Ready(Released::Displaced { status }) => json!(status),
            Poll::Ready(Released::Reply(reply)) => {
                reply.ticket.written(now);
                serde_json::from_slice(&reply.body).unwrap()
            }
        }
    }
}
