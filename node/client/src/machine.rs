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

mod replies;
mod sending;

use std::collections::{BTreeSet, VecDeque};

use tokio::time::Instant;

use crate::{
    advice::Advice,
    backoff::Backoff,
    builder::Settings,
    error::LinkError,
    event::{EndReason, Event, Message},
    pending::Table,
    session::Session,
    transport::Transport,
    wire::Frame,
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
}
