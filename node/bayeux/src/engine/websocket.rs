use super::Engine;
use super::pipeline::{Context, Origin, Outcome};
use crate::refusal::FrameError;
use crate::reply::Reply;
use crate::session::{Binding, Hold, HoldPlace, NEVER, Phase, Session, State, fits};
use crate::{Millis, Publication, UpgradeHead};
use bytes::Bytes;
use smallvec::SmallVec;
use std::fmt;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

/// What a WebSocket transport has to send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A text frame: a JSON array, UTF-8. After it has been written (or has failed), call [`WebSocketPeer::written`].
    Frame(Bytes),
    /// A close frame with this code and reason. Nothing follows.
    Close(u16, &'static str),
}

/// The engine's side of one WebSocket connection. Owned by the task that owns the socket.
///
/// Inbound text goes to [`Engine::websocket_frame`], one frame after the other; outbound frames come from
/// [`WebSocketPeer::poll_output`], each as much as waits, up to the byte budget: events first, then the replies of the frames before.
pub struct WebSocketPeer {
    engine: Arc<Engine>,
    /// Unique in the engine.
    connection: u64,
    upgrade: Option<Arc<UpgradeHead>>,
    /// The session this connection stands for.
    session: Option<Arc<Session>>,
    /// Encoded replies, an array without its closing bracket.
    replies: Vec<u8>,
    /// Events of the queue that go before `replies`.
    events_first: u32,
    /// The connect whose reply `replies` hold.
    generation: u32,
    /// Events that the handshake reply has announced: they follow it, even where otherwise only connect replies deliver.
    greeting: u32,
    /// `replies` hold a connect reply: where only those deliver, events may go now.
    connect_reply: bool,
    /// The last frame carried a handshake or connect reply, and the session's expiry waits for its end.
    unconfirmed: bool,
    finished: bool,
}

type Events = SmallVec<[Arc<Publication>; 8]>;

/// The longest text of a close frame's reason.
const CLOSE_REASON_BYTES_MAX: usize = 123;

impl Engine {
    /// A new connection, before its first frame.
    #[must_use]
    pub fn websocket_peer(self: &Arc<Self>) -> WebSocketPeer {
        self.websocket_peer_of(None)
    }

    /// Likewise, with the head of the request that opened it, for policies and services that ask.
    #[must_use]
    pub fn websocket_peer_of(self: &Arc<Self>, upgrade: Option<UpgradeHead>) -> WebSocketPeer {
        WebSocketPeer {
            engine: self.clone(),
            connection: self.draw_key(),
            upgrade: upgrade.map(Arc::new),
            session: None,
            replies: Vec::new(),
            events_first: 0,
            generation: 0,
            greeting: 0,
            connect_reply: false,
            unconfirmed: false,
            finished: false,
        }
    }

    /// Processes an inbound text frame. Replies wait in the peer's output. Suspends only where a policy answers later.
    ///
    /// Not cancel-safe: a dropped future leaves the rest of the frame unprocessed; close the connection then.
    ///
    /// # Errors
    /// When the frame cannot be answered message by message (see [`crate::FrameRefusal`]): nothing of it has taken effect, and the
    /// connection must be closed with the error's code and reason.
    pub async fn websocket_frame(
        self: &Arc<Self>,
        peer: &mut WebSocketPeer,
        text: &str,
        now: Millis,
    ) -> Result<(), FrameError> {
        let messages = self.read_frame(text).map_err(|refusal| {
            let mut error = FrameError::from(refusal);
            error.reason.truncate(CLOSE_REASON_BYTES_MAX);
            error
        })?;
        if peer.session.is_none() && !self.config.require_handshake_per_connection {
            // A reload or a reconnect continues its session on a new connection (reference 3.4).
            peer.session = Self::session_id_of(&messages[0])
                .and_then(|id| self.session(&id))
                .filter(|s| !s.is_local());
        }
        let upgrade = peer.upgrade.clone();
        let mut handshaken = false;
        for raw in &messages {
            let mut reply = Reply::default();
            let session = peer.session.clone();
            let context = Context {
                origin: Origin::WebSocket {
                    connection: peer.connection,
                    upgrade: upgrade.as_deref(),
                },
                session: session.as_ref(),
                now,
            };
            match self.process(&context, raw, &mut reply).await {
                Outcome::Parked { .. } => continue,
                Outcome::Replied | Outcome::Inactive => {}
                Outcome::Connected { generation } => peer.answer_connect(generation, &mut reply),
                Outcome::Disconnected => peer.answer_hold(now),
                Outcome::Handshaken(session, _) => {
                    peer.leave_session(now, false);
                    peer.session = Some(session);
                    peer.connect_reply = true;
                    peer.generation = 0;
                    handshaken = true;
                }
            }
            self.encode_reply(peer.session.as_ref(), &mut reply, now, &mut peer.replies);
            if let Some(session) = peer.session.as_ref().filter(|_| reply.x_messages > 0) {
                if session.acknowledges() {
                    // In one frame with the reply, which has given their number.
                    self.greet(session, reply.x_messages, &mut peer.replies);
                } else {
                    peer.greeting = count(reply.x_messages);
                }
            }
        }
        if let Some(session) = &peer.session {
            let state = session.state.lock();
            if handshaken {
                peer.events_first = 0;
            } else if state.acks.is_none() {
                // With acknowledgements each connect reply has said what goes before it.
                peer.events_first = count(state.queue.len());
            }
        }
        Ok(())
    }
}

impl WebSocketPeer {
    /// The session the connection stands for.
    #[must_use]
    pub fn session(&self) -> Option<&Arc<Session>> {
        self.session.as_ref()
    }

    /// The next frame to send: everything that waits, up to the byte budget. Pending registers the task to be woken once something does.
    ///
    /// Cancel-safe; allocates nothing for an event that goes alone.
    pub fn poll_output(&mut self, cx: &mut TaskContext<'_>, now: Millis) -> Poll<Output> {
        if self.finished {
            return Poll::Pending;
        }
        self.answer_released(now);
        let mut events = Events::new();
        if let Some(session) = &self.session {
            let mut state = session.state.lock();
            let bound = is_bound(&state, self.connection);
            if self.connect_reply
                && state.acks.is_some()
                && (state.generation != self.generation || (!bound && self.events_first > 0))
            {
                // Overtaken on another connection: it would claim messages that do not go with it. What else waits here is for a
                // client that has moved on.
                self.replies = Vec::new();
                (self.connect_reply, self.events_first) = (false, 0);
            }
            if bound {
                if let Phase::Ended(reason) = state.phase
                    && let Some((code, text)) = reason.close()
                {
                    self.finished = true;
                    return Poll::Ready(Output::Close(code, text));
                }
                let freely = (!state.deliver_only || !state.is_live())
                    && (state.urgent || !self.replies.is_empty());
                // What is acknowledged goes with its number or not at all, if an extension has dropped that reply.
                let with_connect =
                    self.connect_reply && (state.acks.is_none() || !self.replies.is_empty());
                let allowed = if freely || with_connect {
                    usize::MAX
                } else {
                    self.greeting as usize
                };
                if allowed > 0 {
                    let most = if self.replies.is_empty() {
                        allowed
                    } else {
                        allowed.min(self.events_first as usize)
                    };
                    // What a handshake has announced comes as announced.
                    if self.greeting == 0 {
                        self.engine.let_thin(&mut state);
                    }
                    let bytes = take_events(
                        &mut state,
                        most,
                        self.engine.config.max_frame_bytes,
                        &mut events,
                    );
                    self.events_first = self
                        .events_first
                        .saturating_sub(count(events.len()))
                        .min(count(state.unsent()));
                    self.engine.counters.queue_bytes.add(-(bytes as i64));
                    self.engine.note_sent(&mut state, events.len(), now);
                    self.greeting = self.greeting.saturating_sub(count(events.len()));
                } else {
                    self.events_first = 0;
                }
                if events.is_empty()
                    && self.replies.is_empty()
                    && let Binding::WebSocket(_, waker) = &mut state.binding
                    && !waker
                        .as_ref()
                        .is_some_and(|waker| waker.will_wake(cx.waker()))
                {
                    *waker = Some(cx.waker().clone());
                }
            } else {
                self.events_first = 0;
            }
        }
        self.frame(&events)
    }

    /// The frame that the last [`Output::Frame`] was has been written, or has failed: if it carried a connect reply, the time in which the
    /// client must be heard of again starts here (reference 7.3).
    pub fn written(&mut self, now: Millis) {
        if std::mem::take(&mut self.unconfirmed)
            && let Some(session) = &self.session
        {
            self.engine.reply_written(session, now);
        }
    }

    /// The connection has closed. Its session lives on for interval + maxInterval from now, and can be continued elsewhere (reference 3.6);
    /// what waits for it stays. Dropping the peer does the same, with the instant of the last tick.
    pub fn closed(&mut self, now: Millis) {
        self.finished = true;
        self.leave_session(now, false);
    }

    /// As [`Self::closed`], of a connection that was given up because nothing has come since `heard`: interval + maxInterval count from
    /// there, also when a reply has been written since, which nobody has read.
    pub fn fell_silent(&mut self, heard: Millis) {
        self.finished = true;
        self.leave_session(heard, true);
    }

    /// Gives up the session: publications wait for it until it speaks elsewhere or expires.
    fn leave_session(&mut self, now: Millis, silent: bool) {
        let Some(session) = self.session.take() else {
            return;
        };
        let mut state = session.state.lock();
        let bound = is_bound(&state, self.connection);
        if bound {
            state.binding = Binding::None;
        }
        if !state.is_live() {
            self.engine.abandon(&mut state);
            return;
        }
        // A connect that will not be answered, or whose reply will not be confirmed. It is dropped now and not at its timeout, as CometD
        // does: who closed a page would otherwise stay present for timeout + maxInterval. Over HTTP a request that is cut is dropped, too.
        let lost = take_held(&mut state, self.connection).is_some();
        let unconfirmed = bound || self.unconfirmed || self.connect_reply;
        if lost || (unconfirmed && (silent || state.expire_at == NEVER)) {
            state.reply_written(&self.engine.config, now);
            self.engine.arm(&session, &mut state);
        }
    }

    /// Answers the connect held on this connection now, because what follows must come after it (reference 5.8).
    fn answer_hold(&mut self, now: Millis) {
        let Some(session) = self.session.clone() else {
            return;
        };
        let mut state = session.state.lock();
        if let Some(hold) = take_held(&mut state, self.connection) {
            self.finish(&session, state, &hold, now);
        }
    }

    /// Answers the connect held on this connection if it has been released.
    fn answer_released(&mut self, now: Millis) {
        let Some(session) = self.session.clone() else {
            return;
        };
        let mut state = session.state.lock();
        if let Some(hold) = take_released(&mut state, self.connection) {
            self.finish(&session, state, &hold, now);
        }
    }

    fn finish(
        &mut self,
        session: &Arc<Session>,
        mut state: parking_lot::MutexGuard<'_, State>,
        hold: &Hold,
        now: Millis,
    ) {
        let mut reply = held_reply(hold);
        state.finish_hold(hold, &mut reply, &self.engine.config);
        self.engine.let_thin(&mut state);
        let waiting = state
            .offer(&mut reply, self.engine.config.max_frame_bytes)
            .unwrap_or_else(|| state.queue.len());
        drop(state);
        if self
            .engine
            .encode_reply(Some(session), &mut reply, now, &mut self.replies)
        {
            self.events_first = count(waiting);
            self.generation = hold.generation;
            self.connect_reply = true;
            self.greeting = 0;
        }
    }

    /// A connect is answered at once.
    fn answer_connect(&mut self, generation: u32, reply: &mut Reply<'_>) {
        self.connect_reply = true;
        self.generation = generation;
        self.greeting = 0;
        if let Some(session) = &self.session {
            let mut state = session.state.lock();
            self.engine.let_thin(&mut state);
            if state.generation == generation
                && let Some(waiting) = state.offer(reply, self.engine.config.max_frame_bytes)
            {
                self.events_first = count(waiting);
            }
        }
    }

    /// Joins events and, if none has to go before them, replies.
    fn frame(&mut self, events: &[Arc<Publication>]) -> Poll<Output> {
        let replies = if self.events_first == 0 && !self.replies.is_empty() {
            self.unconfirmed |= std::mem::take(&mut self.connect_reply);
            std::mem::take(&mut self.replies)
        } else {
            Vec::new()
        };
        match (events, replies.is_empty()) {
            ([], true) => Poll::Pending,
            ([event], true) => Poll::Ready(Output::Frame(event.array())),
            _ => Poll::Ready(Output::Frame(join(events.iter(), replies))),
        }
    }
}

/// The frame of some events and then replies, which come as an array without its closing bracket.
pub(super) fn join<'a>(
    events: impl Iterator<Item = &'a Arc<Publication>> + Clone,
    mut replies: Vec<u8>,
) -> Bytes {
    let bytes: usize = events.clone().map(|event| event.len() + 1).sum();
    if bytes == 0 {
        if replies.is_empty() {
            replies.push(b'[');
        }
        replies.push(b']');
        return replies.into();
    }
    let mut out = Vec::with_capacity(bytes + replies.len() + 2);
    for event in events {
        out.push(if out.is_empty() { b'[' } else { b',' });
        out.extend_from_slice(event.object_bytes());
    }
    if !replies.is_empty() {
        out.push(b',');
        out.extend_from_slice(&replies[1..]);
    }
    out.push(b']');
    out.into()
}

/// The beginning of the reply to a connect that was held.
pub(super) fn held_reply(hold: &Hold) -> Reply<'_> {
    Reply {
        channel: Some("\"/meta/connect\""),
        id: hold.id.as_deref(),
        ext: hold.ext.clone(),
        received: hold.received,
        ..Reply::default()
    }
}

fn is_bound(state: &State, connection: u64) -> bool {
    matches!(state.binding, Binding::WebSocket(bound, _) if bound == connection)
}

/// Takes the connect held on this connection, due or not.
fn take_held(state: &mut State, connection: u64) -> Option<Box<Hold>> {
    state
        .hold
        .take_if(|hold| matches!(hold.place, HoldPlace::WebSocket(on) if on == connection))
}

fn take_released(state: &mut State, connection: u64) -> Option<Box<Hold>> {
    state.hold.take_if(|hold| {
        hold.released && matches!(hold.place, HoldPlace::WebSocket(on) if on == connection)
    })
}

/// Takes events from the queue within the budgets, at least one if there is any. Returns the bytes that leave the queue: none where the
/// client has to acknowledge first.
fn take_events(state: &mut State, most: usize, bytes_max: usize, events: &mut Events) -> usize {
    let mut bytes = 0;
    if state.deliver_only
        && let Some(acks) = state.acks.as_deref_mut()
    {
        for next in state.queue.iter().skip(acks.sent).take(most) {
            if !fits(events.len(), bytes, next, bytes_max) {
                break;
            }
            bytes += next.len();
            events.push(next.clone());
        }
        acks.sent += events.len();
        state.settle();
        return 0;
    }
    while events.len() < most
        && let Some(next) = state.queue.front()
        && fits(events.len(), bytes, next, bytes_max)
    {
        bytes += next.len();
        events.extend(state.queue.pop_front());
    }
    state.queue_bytes -= bytes;
    state.settle();
    state.give_back_slots();
    bytes
}

/// A number of messages; a queue holds fewer than this can say.
fn count(messages: usize) -> u32 {
    u32::try_from(messages).unwrap_or(u32::MAX)
}

impl Drop for WebSocketPeer {
    fn drop(&mut self) {
        if self.session.is_some() {
            self.closed(self.engine.latest());
        }
    }
}

impl fmt::Debug for WebSocketPeer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebSocketPeer")
            .field("connection", &self.connection)
            .field("session", &self.session)
            .finish_non_exhaustive()
    }
}
