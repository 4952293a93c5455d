//! The session as a state machine: frames, requests and instants in; frames, events and answers out. No IO.
//!
//! ```text
//!            opened, no session          opened, session kept
//!                   │                            │
//!                   ▼          402 / advice      ▼
//!              handshaking ◀───────────────── resuming (connect, timeout 0)
//!                   │ reply                      │ reply
//!                   ▼                            ▼
//!          renewing (subscribe again) ──────▶ connected: connect, held, answered, interval, connect, ...
//! ```

use std::{
    collections::{BTreeSet, VecDeque},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    advice::{Advice, Reconnect},
    backoff::Backoff,
    builder::Settings,
    error::{LinkError, Refusal, RequestError},
    event::{EndReason, Event, Message},
    json::Json,
    pending::{Pending, Table, Waiting},
    request::{Answer, Ask, Request},
    session::Session,
    transport::Transport,
    wire::{Frame, Incoming, Outgoing, read_frame, write_frames},
};

/// Most messages held back until their acknowledgement number arrives; a server that sends more without one is out of
/// order. Far above the queue of any session.
const UNACKNOWLEDGED_MAX: usize = 65_536;

/// The meta message that the server owes a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    Handshake,
    Connect,
}

/// The server's handshake reply leads to another transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Switch {
    pub(crate) to: Transport,
    /// Whether the server does not support the one in use.
    pub(crate) denied: bool,
}

/// What the connect loop does next.
#[derive(Debug)]
enum Timer {
    /// Nothing: there is no connection.
    Off,
    /// Send this then.
    Send(Turn, Instant),
    /// The reply with this id is due by then.
    Reply(Turn, u64, Instant),
}

/// The session of one client.
#[derive(Debug)]
pub(crate) struct Machine {
    settings: Settings,
    /// What the server gave; kept over lost connections.
    session: Option<Session>,
    /// Whether the session is so new that it has had no connect and no subscription yet.
    fresh: bool,
    /// The transport of this connection.
    transport: Transport,
    /// What handshakes offer.
    offers: Vec<Transport>,
    switch: Option<Switch>,
    /// Counts the sessions that were given.
    generation: u64,
    /// Whether a connect succeeded on this connection.
    connected: bool,
    /// Whether requests may be sent on this connection.
    ready: bool,
    /// Whether `Interrupted` was reported and neither `Resumed` nor `Renewed` since.
    interrupted: bool,
    timer: Timer,
    advice: Advice,
    /// Paces repeated handshakes and connects that the server refuses.
    backoff: Backoff,
    next_id: u64,
    pending: Table,
    /// Replies still missing before the renewed session is whole.
    renewing: usize,
    /// What a new session is subscribed to.
    subscriptions: BTreeSet<String>,
    /// Number to acknowledge, when the server granted the ack extension.
    ack: Option<i64>,
    /// Messages whose acknowledgement number has not come yet.
    unacknowledged: Vec<Message>,
    /// How many of those came over an earlier connection, and come again when the session is resumed.
    stale: usize,
    frames: Vec<Frame>,
    events: VecDeque<Event>,
    end: Option<EndReason>,
}

impl Machine {
    pub(crate) fn new(settings: Settings) -> Self {
        Self {
            backoff: Backoff::new(settings.backoff_first, settings.backoff_max),
            settings,
            session: None,
            fresh: false,
            transport: Transport::WebSocket,
            offers: Vec::new(),
            switch: None,
            generation: 0,
            connected: false,
            ready: false,
            interrupted: false,
            timer: Timer::Off,
            advice: Advice::default(),
            next_id: 1,
            pending: Table::default(),
            renewing: 0,
            subscriptions: BTreeSet::new(),
            ack: None,
            unacknowledged: Vec::new(),
            stale: 0,
            frames: Vec::new(),
            events: VecDeque::new(),
            end: None,
        }
    }

    /// Whether requests may be sent now.
    pub(crate) fn is_ready(&self) -> bool {
        self.ready && self.pending.has_room()
    }

    /// Whether a connect has succeeded on this connection.
    pub(crate) fn is_connected(&self) -> bool {
        self.connected
    }

    /// When [`Self::timer`] is due.
    pub(crate) fn deadline(&self) -> Option<Instant> {
        match self.timer {
            Timer::Off => None,
            Timer::Send(_, at) | Timer::Reply(_, _, at) => Some(at),
        }
    }

    /// The frames to send, in order.
    pub(crate) fn take_frames(&mut self) -> Vec<Frame> {
        std::mem::take(&mut self.frames)
    }

    /// The events to report, in order.
    pub(crate) fn events(&mut self) -> &mut VecDeque<Event> {
        &mut self.events
    }

    /// Why the session ended for good, once.
    pub(crate) fn take_end(&mut self) -> Option<EndReason> {
        self.end.take()
    }

    /// The transport to go on with, once.
    pub(crate) fn take_switch(&mut self) -> Option<Switch> {
        self.switch.take()
    }

    /// The session that stands.
    pub(crate) fn session(&self) -> Option<&Session> {
        self.session.as_ref()
    }

    /// Whether the next thing to be sent, now, is a handshake.
    pub(crate) fn is_handshake_due(&self, now: Instant) -> bool {
        matches!(self.timer, Timer::Send(Turn::Handshake, at) if at <= now)
    }

    /// A connection is open. Handshakes on it offer these transports, in this order.
    pub(crate) fn opened(&mut self, transport: Transport, offers: Vec<Transport>, now: Instant) {
        self.transport = transport;
        self.offers = offers;
        let Some(session) = &mut self.session else {
            return self.send_turn(Turn::Handshake, now);
        };
        session.transport = transport;
        self.send_turn(Turn::Connect, now);
        if std::mem::take(&mut self.fresh) {
            self.renew();
        }
    }

    /// The connection is given up for another one; that is no loss to report.
    pub(crate) fn leave(&mut self) {
        self.connected = false;
        self.ready = false;
        self.timer = Timer::Off;
        self.renewing = 0;
        self.frames.clear();
        if self.pending.interrupt() {
            // Some of the subscriptions may be missing, so this session cannot be trusted: take another.
            self.forget_session();
        }
    }

    fn forget_session(&mut self) {
        // Nobody will send them again, so what has come is all there is.
        self.release();
        self.session = None;
        self.fresh = false;
        self.pending.session_gone();
    }

    /// The connection is lost.
    pub(crate) fn lost(&mut self, error: LinkError) {
        if self.connected {
            self.stale = self.unacknowledged.len();
        } else {
            // Part of the repetition at most: it will be repeated as a whole.
            self.unacknowledged.truncate(self.stale);
        }
        self.switch = None;
        self.leave();
        if self.fresh {
            self.forget_session();
        }
        if !self.interrupted && self.generation > 0 {
            self.interrupted = true;
            self.events.push_back(Event::Interrupted(error));
        }
    }

    /// The client ends, and with it all requests under way.
    pub(crate) fn abandon(&mut self) {
        self.pending.abandon();
    }

    /// The deadline has passed.
    ///
    /// # Errors
    /// When a reply is overdue: the connection is as good as lost.
    pub(crate) fn timer(&mut self, now: Instant) -> Result<(), LinkError> {
        match self.timer {
            Timer::Send(turn, at) if at <= now => self.send_turn(turn, now),
            Timer::Reply(_, _, at) if at <= now => return Err(LinkError::Silent),
            _ => {}
        }
        Ok(())
    }

    /// Requests to send. Only when [`Self::is_ready`].
    pub(crate) fn requests(&mut self, requests: impl IntoIterator<Item = Request>) {
        debug_assert!(self.ready, "requests wait until the session is ready");
        self.pending.forget_abandoned();
        let mut messages = Vec::new();
        for Request { ask, answer } in requests {
            if answer.is_closed() {
                continue;
            }
            let id = self.draw_id();
            let (message, pending) = match ask {
                Ask::Publish { channel, data } => (
                    self.message(&channel, id).json("data", data.get()),
                    Pending::Publish,
                ),
                Ask::Call { channel, data } => (
                    self.message(&channel, id).json("data", data.get()),
                    Pending::Call {
                        channel,
                        accepted: false,
                    },
                ),
                Ask::Subscribe { channel } => (
                    self.message("/meta/subscribe", id)
                        .string("subscription", &channel),
                    Pending::Subscribe(channel),
                ),
                Ask::Unsubscribe { channel } => (
                    self.message("/meta/unsubscribe", id)
                        .string("subscription", &channel),
                    Pending::Unsubscribe(channel),
                ),
            };
            let message = message.finish();
            if message.len() > self.settings.max_message_bytes {
                let error = RequestError::TooLarge {
                    bytes: message.len(),
                    max: self.settings.max_message_bytes,
                };
                answer.fail(error);
                continue;
            }
            self.wait_for(id, pending, Some(answer));
            messages.push((id, message));
        }
        self.frames
            .extend(write_frames(messages, self.settings.max_message_bytes));
    }

    /// The frame that says goodbye, when there is a session to end.
    pub(crate) fn goodbye(&mut self) -> Option<Frame> {
        self.session.as_ref()?;
        let id = self.draw_id();
        self.wait_for(id, Pending::Goodbye, None);
        let message = self.message("/meta/disconnect", id).finish();
        Some(Frame::of(&message, id, false))
    }

    /// A frame has come.
    ///
    /// # Errors
    /// When it is not Bayeux; the connection is then of no more use.
    pub(crate) fn frame(&mut self, text: &str, now: Instant) -> Result<(), LinkError> {
        for message in read_frame(text)? {
            let channel = message.channel()?;
            match &*channel {
                "/meta/handshake" => self.handshake_reply(&message, now)?,
                "/meta/connect" => self.connect_reply(&message, now)?,
                "/meta/disconnect" if !message.has_id() => self.end = Some(EndReason::ByServer),
                _ if message.data.is_some()
                    && message.has_id()
                    && message.has_outcome()
                    && channel.starts_with("/service/") =>
                {
                    self.result(&channel, &message);
                }
                _ if message.data.is_some() || !(message.has_id() || message.has_outcome()) => {
                    self.event(channel.into_owned(), &message)?;
                }
                _ => self.reply(&message, now),
            }
        }
        Ok(())
    }

    /// The HTTP request with these messages has failed with a status.
    ///
    /// # Errors
    /// When the client cannot go on without one of them.
    pub(crate) fn failed(&mut self, ids: &[u64], status: u16) -> Result<(), LinkError> {
        for id in ids {
            let Some(waiting) = self.pending.remove(*id) else {
                continue;
            };
            match (waiting.pending, waiting.answer) {
                (Pending::Renew(_), _) => {
                    self.forget_session();
                    return Err(LinkError::Status(status));
                }
                (Pending::Goodbye, _) => return Err(LinkError::Status(status)),
                (_, Some(answer)) => answer.fail(RequestError::Status(status)),
                (_, None) => {}
            }
        }
        Ok(())
    }

    /// The result of a call. It comes again when the session resends what was not acknowledged; then nobody waits.
    fn result(&mut self, channel: &str, message: &Incoming<'_>) {
        let call = message
            .id()
            .and_then(|id| self.pending.remove_call(id, channel));
        if let (Some(answer), Some(data)) = (call.and_then(|call| call.answer), message.data) {
            answer.result(message.is_successful(), Json(data.to_owned()));
        }
    }

    fn event(&mut self, channel: String, message: &Incoming<'_>) -> Result<(), LinkError> {
        let own = |value: &serde_json::value::RawValue| value.to_owned();
        let message = Message {
            channel,
            data: message.data.map(own),
            ext: message.ext.map(own),
        };
        if self.ack.is_none() {
            self.events.push_back(Event::Message(message));
        } else if self.unacknowledged.len() < UNACKNOWLEDGED_MAX {
            self.unacknowledged.push(message);
        } else {
            return Err(LinkError::Bayeux(
                "too many messages without an acknowledgement number",
            ));
        }
        Ok(())
    }

    fn handshake_reply(&mut self, message: &Incoming<'_>, now: Instant) -> Result<(), LinkError> {
        match self.timer {
            Timer::Reply(Turn::Handshake, id, _)
                if message.id().is_none_or(|theirs| theirs == id) => {}
            _ => return Ok(()),
        }
        if let Some(advice) = message.advice {
            self.advice = Advice::read(advice.get());
        }
        if !message.is_successful() {
            let none = message.advice.is_some() && self.advice.reconnect == Some(Reconnect::None);
            if none || self.generation == 0 {
                self.end = Some(EndReason::Refused(Refusal::new(message.error())));
            } else {
                self.timer = Timer::Send(Turn::Handshake, now + self.backoff.next());
            }
            return Ok(());
        }
        let id = message
            .client_id()
            .ok_or(LinkError::Bayeux("a handshake reply without a clientId"))?;
        self.switch = self.negotiate(message)?;
        if self.switch.is_some() {
            self.timer = Timer::Off;
            if self.transport == Transport::WebSocket {
                // A session that began on a WebSocket has no cookie to be known by over HTTP: take another.
                return Ok(());
            }
        }
        self.generation += 1;
        self.ack = (self.settings.acknowledge && message.grants_ack()).then_some(0);
        self.session = Some(Session {
            id,
            transport: self.transport,
            ext: message.ext.map(|ext| Json(ext.to_owned())),
            acknowledged: self.ack.is_some(),
        });
        if self.switch.is_some() {
            self.fresh = true;
        } else {
            self.send_turn(Turn::Connect, now);
            self.renew();
        }
        Ok(())
    }

    /// The first of our transports that the server supports, when it is another than the one in use. A server that
    /// names none is content with it.
    fn negotiate(&self, message: &Incoming<'_>) -> Result<Option<Switch>, LinkError> {
        let Some(names) = message.connection_types() else {
            return Ok(None);
        };
        let supported = |transport: &&Transport| names.iter().any(|name| name == transport.name());
        match self.offers.iter().find(supported) {
            Some(to) if *to == self.transport => Ok(None),
            Some(to) => Ok(Some(Switch {
                to: *to,
                denied: !supported(&&self.transport),
            })),
            None => Err(LinkError::Bayeux(
                "the server supports none of the transports that are allowed",
            )),
        }
    }

    /// A session was given: subscribes it to what the one before was subscribed to.
    fn renew(&mut self) {
        let mut messages = Vec::new();
        for channel in self.subscriptions.clone() {
            let id = self.draw_id();
            let message = self
                .message("/meta/subscribe", id)
                .string("subscription", &channel)
                .finish();
            messages.push((id, message));
            self.wait_for(id, Pending::Renew(channel), None);
        }
        self.renewing = messages.len();
        self.frames
            .extend(write_frames(messages, self.settings.max_message_bytes));
        if self.renewing == 0 {
            self.renewed();
        }
    }

    fn renewed(&mut self) {
        self.ready = true;
        self.interrupted = false;
        if self.generation > 1 {
            self.events.push_back(Event::Renewed);
        }
    }

    fn connect_reply(&mut self, message: &Incoming<'_>, now: Instant) -> Result<(), LinkError> {
        match self.timer {
            Timer::Reply(Turn::Connect, id, _) if message.id() == Some(id) => {}
            // The reply to a connect of which nothing is expected any more.
            _ => return Ok(()),
        }
        if let Some(advice) = message.advice {
            self.advice = Advice::read(advice.get());
        }
        if self.advice.reconnect == Some(Reconnect::None) {
            self.end = Some(EndReason::ByServer);
            return Ok(());
        }
        if !message.is_successful() {
            let refusal = Refusal::new(message.error());
            if self.advice.reconnect == Some(Reconnect::Handshake) || refusal.code() == Some(402) {
                self.session_gone(now);
            } else {
                self.timer = Timer::Send(Turn::Connect, now + self.backoff.next());
            }
            return Ok(());
        }
        self.backoff.reset();
        if !std::mem::replace(&mut self.connected, true) && !self.ready && self.renewing == 0 {
            // The session of an earlier connection goes on. Its unacknowledged messages are sent again by the server.
            self.ready = true;
            self.interrupted = false;
            self.events.push_back(Event::Resumed);
        }
        self.unacknowledged.drain(..self.stale);
        self.stale = 0;
        if let (Some(ack), Some(number)) = (self.ack.as_mut(), message.ack()) {
            *ack = number;
            self.release();
        }
        if self.advice.interval.is_zero() {
            self.send_turn(Turn::Connect, now);
        } else {
            self.timer = Timer::Send(Turn::Connect, now + self.advice.interval);
        }
        Ok(())
    }

    /// Messages held back become events.
    fn release(&mut self) {
        self.stale = 0;
        self.events
            .extend(self.unacknowledged.drain(..).map(Event::Message));
    }

    /// The server no longer knows the session: handshakes, at once the first time, later with growing delays.
    fn session_gone(&mut self, now: Instant) {
        self.forget_session();
        self.ack = None;
        self.connected = false;
        self.ready = false;
        self.renewing = 0;
        let delay = self.backoff.next_eager().max(self.advice.interval);
        self.timer = Timer::Send(Turn::Handshake, now + delay);
    }

    /// The reply to a request.
    fn reply(&mut self, message: &Incoming<'_>, now: Instant) {
        let Some((id, waiting)) = message
            .id()
            .and_then(|id| Some((id, self.pending.remove(id)?)))
        else {
            return;
        };
        let refusal = (!message.is_successful()).then(|| Refusal::new(message.error()));
        let unknown = refusal
            .as_ref()
            .is_some_and(|refusal| refusal.code() == Some(402));
        match (waiting.pending, &refusal) {
            (Pending::Goodbye, _) => self.end = Some(EndReason::Disconnected),
            (Pending::Call { channel, .. }, None) => {
                // The result comes on its own.
                let pending = Pending::Call {
                    channel,
                    accepted: true,
                };
                return self.wait_for(id, pending, waiting.answer);
            }
            (Pending::Publish, _)
            | (Pending::Call { .. }, Some(_))
            | (Pending::Subscribe(_), Some(_))
            | (Pending::Unsubscribe(_), Some(_)) => {}
            (Pending::Subscribe(channel), None) => {
                self.subscriptions.insert(channel);
            }
            (Pending::Unsubscribe(channel), None) => {
                self.subscriptions.remove(&channel);
            }
            (Pending::Renew(channel), _) => {
                if let (Some(refusal), false) = (&refusal, unknown) {
                    self.subscriptions.remove(&channel);
                    self.events.push_back(Event::Unsubscribed {
                        channel,
                        refusal: refusal.clone(),
                    });
                }
                if !unknown {
                    self.renewing = self.renewing.saturating_sub(1);
                    if self.renewing == 0 {
                        self.renewed();
                    }
                }
            }
        }
        if let Some(answer) = waiting.answer {
            match refusal {
                Some(refusal) => answer.fail(RequestError::Refused(refusal)),
                None => answer.done(),
            }
        }
        if unknown && self.session.is_some() && waiting.generation == self.generation {
            self.session_gone(now);
        }
    }

    fn send_turn(&mut self, turn: Turn, now: Instant) {
        let id = self.draw_id();
        let (message, patience) = match turn {
            Turn::Handshake => {
                let names: Vec<_> = self.offers.iter().map(|offer| offer.name()).collect();
                let mut message = Outgoing::new("/meta/handshake", id)
                    .string("version", "1.0")
                    .string("minimumVersion", "1.0")
                    .json(
                        "supportedConnectionTypes",
                        &serde_json::Value::from(names).to_string(),
                    );
                if let Some(ext) = &self.settings.handshake_ext {
                    message = message.json("ext", ext);
                }
                (message, Duration::ZERO)
            }
            Turn::Connect => {
                let mut message = self
                    .message("/meta/connect", id)
                    .string("connectionType", self.transport.name());
                let mut held = self.advice.timeout;
                if !self.connected {
                    message = message.json("advice", r#"{"timeout":0}"#);
                    held = Duration::ZERO;
                }
                if let Some(ack) = self.ack {
                    message = message.json("ext", &format!(r#"{{"ack":{ack}}}"#));
                }
                (message, held)
            }
        };
        self.frames.push(Frame::of(&message.finish(), id, true));
        self.timer = Timer::Reply(turn, id, now + patience + self.settings.max_network_delay);
    }

    fn wait_for(&mut self, id: u64, pending: Pending, answer: Option<Answer>) {
        self.pending.insert(
            id,
            Waiting {
                pending,
                answer,
                generation: self.generation,
            },
        );
    }

    fn message(&self, channel: &str, id: u64) -> Outgoing {
        let session = self.session.as_ref().map_or("", |session| &session.id);
        Outgoing::new(channel, id).string("clientId", session)
    }

    fn draw_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}
