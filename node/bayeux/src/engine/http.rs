use super::Engine;
use super::handlers::Slots;
use super::pipeline::{Context, Meta, Origin, Outcome};
use super::websocket::{held_reply, join};
use crate::json::RawMessage;
use crate::refusal::HttpError;
use crate::reply::Reply;
use crate::session::{BrowserSlots, HoldPlace, Session};
use crate::{Millis, Publication, RequestHead};
use bytes::Bytes;
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

/// What the engine must know of an HTTP request beside its body.
#[derive(Clone, Copy, Default)]
pub struct HttpRequest<'a> {
    /// The value of the `BAYEUX_BROWSER` cookie.
    pub browser: Option<&'a str>,
    /// Whether the request came over HTTP/2, which has its own limit of held connects.
    pub http2: bool,
    /// Whether the request came by a script tag (`callback-polling`, reference section 2): then events leave with connect replies only.
    pub callback: bool,
    /// Its head, for policies and services that ask.
    pub head: Option<&'a dyn RequestHead>,
}

impl fmt::Debug for HttpRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRequest")
            .field("http2", &self.http2)
            .field("callback", &self.callback)
            .finish_non_exhaustive()
    }
}

/// What becomes of a request.
#[derive(Debug)]
pub enum HttpOutcome {
    /// Answer it now.
    Reply(HttpReply),
    /// It is a connect that is held.
    Hold(HeldConnect),
}

/// A response with status 200.
#[derive(Debug)]
pub struct HttpReply {
    /// A JSON array, UTF-8; `application/json`.
    pub body: Bytes,
    /// The value for a new `BAYEUX_BROWSER` cookie.
    pub set_browser: Option<String>,
    /// To be told when the body has been written.
    pub ticket: WriteTicket,
}

/// What becomes of a held connect.
#[derive(Debug)]
pub enum Released {
    /// Answer it.
    Reply(HttpReply),
    /// A newer connect took its place, or the node stops: answer with this status and no body.
    Displaced {
        /// HTTP status.
        status: u16,
    },
}

/// Starts the session's expiry once a connect or handshake reply is out of the node's hands (reference 7.3). Dropping it counts as failed.
#[must_use = "tell when the body has been written"]
pub struct WriteTicket {
    engine: Arc<Engine>,
    session: Option<Arc<Session>>,
}

impl WriteTicket {
    /// The body has been handed to the socket.
    pub fn written(mut self, now: Millis) {
        self.settle(now);
    }

    /// The body could not be written; its messages are lost.
    pub fn failed(mut self, now: Millis) {
        self.settle(now);
    }

    fn settle(&mut self, now: Millis) {
        if let Some(session) = self.session.take() {
            self.engine.reply_written(&session, now);
        }
    }
}

impl Drop for WriteTicket {
    fn drop(&mut self) {
        self.settle(self.engine.latest());
    }
}

impl fmt::Debug for WriteTicket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WriteTicket")
            .field("session", &self.session)
            .finish()
    }
}

/// Keeps the session's own messages from waking its held connect while one of its requests is processed; survives cancellation.
struct Batch<'a> {
    engine: &'a Engine,
    session: &'a Arc<Session>,
}

impl<'a> Batch<'a> {
    fn start(engine: &'a Engine, session: &'a Arc<Session>) -> Self {
        session.state.lock().batch += 1;
        Self { engine, session }
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let waker = {
            let mut state = self.session.state.lock();
            state.batch -= 1;
            self.engine.abandon(&mut state);
            if state.batch == 0 && state.urgent {
                state.wake_writer()
            } else {
                None
            }
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

impl Engine {
    /// Processes the body of a POST. Suspends only where a policy answers later. Cancel-safe in that nothing stays parked or batched; a
    /// dropped future leaves the rest of the request unprocessed.
    ///
    /// # Errors
    /// When the body cannot be answered message by message (see [`crate::FrameRefusal`]): nothing of it has taken effect.
    pub async fn http_request(
        self: &Arc<Self>,
        request: HttpRequest<'_>,
        body: &str,
        now: Millis,
    ) -> Result<HttpOutcome, HttpError> {
        let messages = self.read_frame(body)?;
        let session = self.session_of_request(&messages[0], request.browser);
        let alone = messages.len() == 1;
        let context = Context {
            origin: Origin::Http {
                request: &request,
                alone,
            },
            session: session.as_ref(),
            now,
        };
        let batched = session
            .as_ref()
            .filter(|_| !(alone && self.meta_of(&messages[0]) == Some(Meta::Connect)));
        let batch = batched.map(|session| Batch::start(self, session));
        let mut replies = Vec::new();
        let (mut set_browser, mut connected) = (None, false);
        // What goes with the reply to a connect, where its client acknowledges.
        let mut offered = None;
        let mut greeting = 0;
        // From the moment a connect is answered: whatever happens to this request, its session expires some time.
        let mut ticket = WriteTicket {
            engine: self.clone(),
            session: None,
        };
        for raw in &messages {
            let mut reply = Reply::default();
            match self.process(&context, raw, &mut reply).await {
                Outcome::Parked { generation } => {
                    if let Some(session) = &session {
                        return Ok(HttpOutcome::Hold(HeldConnect::new(
                            self,
                            session,
                            generation,
                            request.http2,
                        )));
                    }
                }
                Outcome::Connected { generation } => {
                    connected = true;
                    ticket.session.clone_from(&session);
                    offered = session
                        .as_ref()
                        .and_then(|session| self.offer(session, generation, &mut reply, now));
                }
                Outcome::Inactive => offered = session.as_ref().map(|s| self.farewell(s, now)),
                Outcome::Handshaken(session, cookie) => {
                    set_browser = cookie;
                    ticket.session = Some(session);
                    greeting = reply.x_messages;
                }
                Outcome::Replied | Outcome::Disconnected => {}
            }
            let replied_for = ticket.session.as_ref().or(session.as_ref());
            self.encode_reply(replied_for, &mut reply, now, &mut replies);
        }
        let drained = || Some(self.drain(session.as_ref()?, connected, request.callback, now));
        let events = offered.or_else(drained).unwrap_or_default();
        if let Some(session) = ticket.session.as_ref().filter(|_| greeting > 0) {
            self.greet(session, greeting, &mut replies);
        }
        drop(batch);
        Ok(HttpOutcome::Reply(HttpReply {
            body: join(events.iter(), replies),
            set_browser,
            ticket,
        }))
    }

    /// The session a request stands for: that of its first message, if the request shows the cookie of the browser that made it
    /// (reference 1.8).
    fn session_of_request(
        &self,
        first: &RawMessage<'_>,
        browser: Option<&str>,
    ) -> Option<Arc<Session>> {
        let session = self.session(&Self::session_id_of(first)?)?;
        let same_browser = session.browser().is_some_and(|id| browser == Some(id));
        (!session.is_local() && (same_browser || self.config.trust_client_session))
            .then_some(session)
    }

    /// What goes with a reply to a connect; `None` unless its client acknowledges. A reply that a newer connect has overtaken takes
    /// nothing along and carries no number.
    fn offer(
        &self,
        session: &Session,
        generation: u32,
        reply: &mut Reply<'_>,
        now: Millis,
    ) -> Option<VecDeque<Arc<Publication>>> {
        let mut state = session.state.lock();
        state.acks.as_ref()?;
        if state.generation != generation {
            return Some(VecDeque::new());
        }
        self.let_thin(&mut state);
        let events = state.events_of(reply);
        self.note_sent(&mut state, events.len(), now);
        Some(events)
    }

    /// Appends the messages that the handshake reply has announced.
    pub(super) fn greet(&self, session: &Session, messages: usize, replies: &mut Vec<u8>) {
        let mut state = session.state.lock();
        let before = state.queue_bytes;
        let events = state.first_events(messages);
        let taken = before - state.queue_bytes;
        drop(state);
        self.counters.queue_bytes.add(-(taken as i64));
        for event in &events {
            // An extension may have dropped the reply.
            replies.push(if replies.is_empty() { b'[' } else { b',' });
            replies.extend_from_slice(event.object_bytes());
        }
    }

    /// What waits for a session that its own connect has ended, with the disconnect message.
    fn farewell(&self, session: &Session, now: Millis) -> VecDeque<Arc<Publication>> {
        let mut events = self.take_queue(&mut session.state.lock());
        // Without a request that was in process at the same time nothing has been kept.
        if events.is_empty() {
            events.push_back(
                self.stamped(&self.server_disconnect, false, now)
                    .into_owned(),
            );
        }
        events
    }

    /// Takes what waits for a session whose request is answered now (reference 1.6).
    fn drain(
        &self,
        session: &Session,
        connected: bool,
        callback: bool,
        now: Millis,
    ) -> VecDeque<Arc<Publication>> {
        let mut state = session.state.lock();
        if (state.deliver_only || callback) && !connected && state.is_live() {
            return VecDeque::new();
        }
        self.let_thin(&mut state);
        let events = state.queue.len();
        self.note_sent(&mut state, events, now);
        self.take_queue(&mut state)
    }
}

/// A connect without a reply yet: an HTTP request that the transport keeps open. Dropping it (the client went away) lets its session
/// expire; what waits for the session stays.
pub struct HeldConnect {
    engine: Arc<Engine>,
    session: Arc<Session>,
    generation: u32,
    http2: bool,
    done: bool,
}

impl HeldConnect {
    fn new(engine: &Arc<Engine>, session: &Arc<Session>, generation: u32, http2: bool) -> Self {
        Self {
            engine: engine.clone(),
            session: session.clone(),
            generation,
            http2,
            done: false,
        }
    }

    /// The session that waits.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    fn slots(&self) -> Slots<'_> {
        Slots {
            engine: &self.engine,
            session: &self.session,
            http2: self.http2,
        }
    }

    /// The reply, once there is one. Cancel-safe. Must not be polled after it was ready.
    pub fn poll_release(&mut self, cx: &mut TaskContext<'_>, now: Millis) -> Poll<Released> {
        let displaced = Released::Displaced {
            status: self.engine.config.duplicate_meta_connect_status,
        };
        let mut state = self.session.state.lock();
        let Some(hold) = state
            .hold
            .as_mut()
            .filter(|hold| hold.generation == self.generation)
        else {
            drop(state);
            self.done = true;
            return Poll::Ready(displaced);
        };
        if !hold.released {
            if let HoldPlace::Http(waker) = &mut hold.place {
                *waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        let hold = state.hold.take();
        self.done = true;
        let Some(hold) = hold else {
            return Poll::Ready(displaced);
        };
        if hold.slot {
            self.slots().give_back();
        }
        let mut reply = held_reply(&hold);
        state.finish_hold(&hold, &mut reply, &self.engine.config);
        self.engine.let_thin(&mut state);
        let before = state.queue_bytes;
        let events = state.events_of(&mut reply);
        self.engine.note_sent(&mut state, events.len(), now);
        let taken = before - state.queue_bytes;
        drop(state);
        self.engine.counters.queue_bytes.add(-(taken as i64));
        let mut replies = Vec::new();
        self.engine
            .encode_reply(Some(&self.session), &mut reply, now, &mut replies);
        Poll::Ready(Released::Reply(HttpReply {
            body: join(events.iter(), replies),
            set_browser: None,
            ticket: WriteTicket {
                engine: self.engine.clone(),
                session: Some(self.session.clone()),
            },
        }))
    }
}

impl Drop for HeldConnect {
    fn drop(&mut self) {
        if self.done {
            return;
        }
        let mut state = self.session.state.lock();
        let Some(hold) = state
            .hold
            .take_if(|hold| hold.generation == self.generation)
        else {
            return;
        };
        if hold.slot {
            self.slots().give_back();
        }
        if state.is_live() {
            state.reply_written(&self.engine.config, self.engine.latest());
            self.engine.arm(&self.session, &mut state);
        } else {
            self.engine.abandon(&mut state);
        }
    }
}

impl fmt::Debug for HeldConnect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HeldConnect")
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
