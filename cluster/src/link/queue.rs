//! What waits for one sibling: three lanes, each bounded in bytes.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use halley_bayeux::Publication;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::WRITE_BUDGET_BYTES;
use super::message::{self, Message};
use super::window::Window;
use crate::wire::{Frame, Received, State, VERSION_RESUME};
use crate::{LinkLimits, StateChannel};

/// Which of the queues of a link.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Lane {
    /// Interest and addresses; goes first.
    Control,
    /// State messages.
    State,
    /// Publications and what is for the sessions of a user, in one order; goes last.
    Messages,
}

impl fmt::Display for Lane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lane::Control => "control",
            Lane::State => "state",
            Lane::Messages => "message",
        })
    }
}

/// Nothing was queued.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum PushError {
    /// The lane was full, just now or before: the link is being reset.
    Full,
    /// The link has ended.
    Closed,
}

/// What a writer takes from the queue.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// Nothing waits.
    Nothing,
    /// Frames to be written together, at most a budget of bytes (or one frame that is larger).
    Frames(Vec<Bytes>),
    /// A lane ran over: the link must be reset.
    Full(Lane),
    /// Everything has been taken, and nothing more will come.
    Drained,
}

/// What an entry costs beside its bytes, so that many tiny ones are bounded too.
const ENTRY_BYTES: usize = 32;
/// Interest waits outside the queue while the control lane holds more than this, or than a quarter of its bound.
const INTEREST_WAITING_BYTES: usize = 256 << 10;
/// So many bytes are written at most until the acceptor is asked how far it has come. Less, when the bound is small.
const ASK_AFTER_BYTES: usize = 256 << 10;
/// State messages travel in parts of this size, so that a heartbeat never waits behind a large one.
const STATE_PART_BYTES: usize = 32 << 10;

/// The queue of a link. Pushing never blocks and never allocates per sibling beyond the slot.
#[derive(Debug)]
pub(crate) struct LinkQueue {
    version: u8,
    limits: LinkLimits,
    lanes: Mutex<Lanes>,
    wake: Notify,
    /// Wakes who waits for room for interest.
    room: Arc<Notify>,
    /// Bytes waiting, for the statistics; written under the lock.
    bytes: AtomicU64,
    /// Bytes written and not acknowledged, likewise.
    window_bytes: AtomicU64,
    /// Publications written to the link.
    sent: AtomicU64,
}

/// Publications of a link that has ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unsent {
    /// How many were never written, with what was for users.
    pub(crate) queued: u64,
    /// How many were written in all.
    pub(crate) written: u64,
    /// How many of these are known to have come in.
    pub(crate) acknowledged: u64,
}

#[derive(Debug, Default)]
struct Lanes {
    control: VecDeque<Bytes>,
    control_bytes: usize,
    /// Message and how much of it has been written.
    state: VecDeque<(StateChannel, Bytes, usize)>,
    state_bytes: usize,
    messages: VecDeque<Message>,
    messages_bytes: usize,
    /// Number of the next publication on this link.
    next_sequence: u64,
    /// What was written and is not acknowledged; from version 2 on.
    window: Window,
    full: Option<Lane>,
    /// Nothing more is taken in, because the link is to be closed when all has been written.
    closing: bool,
    /// The last frame of a link that is closing.
    last_words: Option<Bytes>,
    closed: bool,
    /// State is held back until the first interest snapshot has been queued, as the sibling has no use for it before.
    snapshot_queued: bool,
    /// Somebody waits for room for interest.
    interest_waits: bool,
}

impl Lanes {
    fn bytes(&self) -> usize {
        self.control_bytes + self.state_bytes + self.messages_bytes
    }

    fn check(&self) -> Result<(), PushError> {
        if self.closed || self.closing {
            return Err(PushError::Closed);
        }
        if self.full.is_some() {
            Err(PushError::Full)
        } else {
            Ok(())
        }
    }
}

impl LinkQueue {
    pub(crate) fn new(version: u8, limits: LinkLimits, room: Arc<Notify>) -> Self {
        Self {
            version,
            limits,
            lanes: Mutex::default(),
            wake: Notify::new(),
            room,
            bytes: AtomicU64::new(0),
            window_bytes: AtomicU64::new(0),
            sent: AtomicU64::new(0),
        }
    }

    pub(crate) fn version(&self) -> u8 {
        self.version
    }

    /// Queues a control frame.
    pub(crate) fn push_control(&self, frame: &Frame) -> Result<(), PushError> {
        let frame = frame.encode(self.version);
        let cost = frame.len() + ENTRY_BYTES;
        self.push(
            Lane::Control,
            cost,
            self.limits.control_queue_bytes,
            |lanes| {
                lanes.control_bytes += cost;
                lanes.control.push_back(frame);
            },
        )
    }

    /// Whether a piece of interest may be queued now. If not, `room` is notified when it may. A link that has ended takes
    /// everything and drops it.
    pub(crate) fn has_room_for_interest(&self) -> bool {
        let mut lanes = self.lanes.lock();
        let room = lanes.check().is_err() || lanes.control_bytes < self.interest_mark();
        lanes.interest_waits = !room;
        room
    }

    fn interest_mark(&self) -> usize {
        INTEREST_WAITING_BYTES.min(self.limits.control_queue_bytes / 4)
    }

    /// The first interest snapshot is queued completely.
    pub(crate) fn snapshot_queued(&self) {
        self.lanes.lock().snapshot_queued = true;
        self.wake.notify_one();
    }

    /// Queues a state message.
    pub(crate) fn push_state(&self, channel: StateChannel, body: Bytes) -> Result<(), PushError> {
        let cost = body.len() + ENTRY_BYTES;
        self.push(Lane::State, cost, self.limits.state_queue_bytes, |lanes| {
            lanes.state_bytes += cost;
            lanes.state.push_back((channel, body, 0));
        })
    }

    /// Queues a publication. Called on the publish path.
    pub(crate) fn push_message(&self, publication: &Arc<Publication>) -> Result<(), PushError> {
        self.push_last(Message::Publication(publication.clone()))
    }

    /// Queues what is for the sessions of a user: behind the publications that were queued before it, and before those
    /// that come after it.
    pub(crate) fn push_for_user(
        &self,
        channel: StateChannel,
        body: Bytes,
    ) -> Result<(), PushError> {
        self.push_last(Message::ForUser(Box::new((channel, body))))
    }

    fn push_last(&self, message: Message) -> Result<(), PushError> {
        let cost = message.cost();
        self.push(
            Lane::Messages,
            cost,
            self.limits.message_queue_bytes,
            |lanes| {
                lanes.messages_bytes += cost;
                lanes.messages.push_back(message);
            },
        )
    }

    fn push(
        &self,
        lane: Lane,
        cost: usize,
        limit: usize,
        enqueue: impl FnOnce(&mut Lanes),
    ) -> Result<(), PushError> {
        let result = {
            let mut lanes = self.lanes.lock();
            lanes.check()?;
            let waiting = match lane {
                Lane::Control => lanes.control_bytes,
                Lane::State => lanes.state_bytes,
                Lane::Messages => lanes.messages_bytes,
            };
            // One entry always fits, whatever its size: sizes are checked elsewhere.
            let result = if waiting > 0 && waiting + cost > limit {
                lanes.full = Some(lane);
                Err(PushError::Full)
            } else {
                enqueue(&mut lanes);
                if lane == Lane::Messages {
                    self.shrink_window(&mut lanes);
                }
                Ok(())
            };
            self.bytes.store(lanes.bytes() as u64, Ordering::Relaxed);
            result
        };
        self.wake.notify_one();
        result
    }

    /// Waits until something was pushed. Cancel-safe. A push between two calls is not missed.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// Queue and window have one bound together; what waits goes before what was written.
    fn shrink_window(&self, lanes: &mut Lanes) {
        let left = (self.limits.message_queue_bytes).saturating_sub(lanes.messages_bytes);
        if lanes.window.bytes() > left {
            lanes.window.shrink(left);
            let bytes = lanes.window.bytes() as u64;
            self.window_bytes.store(bytes, Ordering::Relaxed);
        }
    }

    /// The acceptor has come so far. Says whether it can have.
    pub(crate) fn acknowledge(&self, received: Received) -> bool {
        let mut lanes = self.lanes.lock();
        let possible = lanes.window.acknowledge(received).is_ok();
        let bytes = lanes.window.bytes() as u64;
        self.window_bytes.store(bytes, Ordering::Relaxed);
        possible
    }

    /// What is to be written again, first of all, to an acceptor that has come so far; nothing when the link cannot go on.
    pub(crate) fn resume(&self, received: Received) -> Option<VecDeque<Bytes>> {
        let mut lanes = self.lanes.lock();
        let again = lanes.window.resume(received)?;
        let bytes = lanes.window.bytes() as u64;
        self.window_bytes.store(bytes, Ordering::Relaxed);
        Some(again)
    }

    /// Whether the link can go on over another connection when this one breaks.
    pub(crate) fn can_resume(&self) -> bool {
        let lanes = self.lanes.lock();
        self.version >= VERSION_RESUME && !lanes.closing && !lanes.closed && lanes.full.is_none()
    }

    /// So many bytes are written until the acceptor is asked how far it has come.
    pub(crate) fn ask_after_bytes(&self) -> usize {
        match self.version >= VERSION_RESUME {
            true => ASK_AFTER_BYTES.min(self.limits.message_queue_bytes / 8),
            false => usize::MAX,
        }
    }

    fn keep(&self, frames: &[Bytes]) {
        if self.version < VERSION_RESUME {
            return;
        }
        let mut lanes = self.lanes.lock();
        for frame in frames {
            lanes.window.push(frame.clone());
        }
        self.shrink_window(&mut lanes);
        let bytes = lanes.window.bytes() as u64;
        self.window_bytes.store(bytes, Ordering::Relaxed);
    }

    /// Takes what is to be written next: control first, then state, then publications.
    pub(crate) fn take(&self) -> Taken {
        let mut frames = Vec::new();
        let mut messages = Vec::new();
        let first_sequence;
        {
            let mut lanes = self.lanes.lock();
            if let Some(lane) = lanes.full {
                return Taken::Full(lane);
            }
            let mut room = Room(WRITE_BUDGET_BYTES);
            // A large interest leaves half of each write to the others.
            let others = !(lanes.messages.is_empty() && lanes.state.is_empty());
            while !(others && room.0 < WRITE_BUDGET_BYTES / 2)
                && let Some(frame) = room.take(lanes.control.front(), Bytes::len)
            {
                lanes.control.pop_front();
                lanes.control_bytes -= frame.len() + ENTRY_BYTES;
                frames.push(frame);
            }
            if lanes.interest_waits && lanes.control_bytes < self.interest_mark().div_ceil(2) {
                lanes.interest_waits = false;
                self.room.notify_one();
            }
            if lanes.snapshot_queued || lanes.closing {
                take_state(&mut lanes, &mut room, self.version, &mut frames);
            }
            first_sequence = lanes.next_sequence;
            // The parts of a state message follow each other: no other one comes between.
            let divided = matches!(lanes.state.front(), Some((.., written)) if *written > 0);
            let may_go = |message: &&Message| !divided || message.is_publication();
            while let Some(message) =
                room.take(lanes.messages.front().filter(may_go), Message::frame_bytes)
            {
                lanes.messages.pop_front();
                lanes.messages_bytes -= message.cost();
                messages.push(message);
            }
            let publications = messages.iter().filter(|m| m.is_publication()).count() as u64;
            lanes.next_sequence += publications;
            self.sent.fetch_add(publications, Ordering::Relaxed);
            self.bytes.store(lanes.bytes() as u64, Ordering::Relaxed);
            if frames.is_empty() && messages.is_empty() {
                match (lanes.closing, lanes.last_words.take()) {
                    (true, Some(frame)) => frames.push(frame),
                    (true, None) => return Taken::Drained,
                    (false, _) => return Taken::Nothing,
                }
            }
        }
        message::encode(self.version, first_sequence, &messages, &mut frames);
        self.keep(&frames);
        Taken::Frames(frames)
    }

    /// Says that everything queued is to be written, followed by this frame, and then the link is to be closed.
    pub(crate) fn close_after(&self, frame: &Frame) {
        let frame = frame.encode(self.version);
        {
            let mut lanes = self.lanes.lock();
            lanes.last_words = Some(frame);
            lanes.closing = true;
        }
        self.wake.notify_one();
    }

    /// Whether the link is to be closed when everything has been written.
    pub(crate) fn is_closing(&self) -> bool {
        self.lanes.lock().closing
    }

    /// Ends the queue: what still waits, and what is not acknowledged, is dropped.
    pub(crate) fn close(&self) -> Unsent {
        let mut lanes = self.lanes.lock();
        lanes.closed = true;
        lanes.control.clear();
        lanes.state.clear();
        let unsent = Unsent {
            queued: lanes.messages.len() as u64,
            written: lanes.next_sequence,
            acknowledged: lanes.window.acknowledged().publications,
        };
        lanes.messages.clear();
        lanes.window.clear();
        self.window_bytes.store(0, Ordering::Relaxed);
        (lanes.control_bytes, lanes.state_bytes, lanes.messages_bytes) = (0, 0, 0);
        self.bytes.store(0, Ordering::Relaxed);
        unsent
    }

    pub(crate) fn queued_bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Bytes written that are not acknowledged.
    pub(crate) fn window_bytes(&self) -> u64 {
        self.window_bytes.load(Ordering::Relaxed)
    }

    pub(crate) fn publications_sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }
}

fn take_state(lanes: &mut Lanes, room: &mut Room, version: u8, frames: &mut Vec<Bytes>) {
    while let Some((channel, body, written)) = lanes.state.front_mut() {
        let part = (body.len() - *written).min(STATE_PART_BYTES);
        if !room.fits(part) {
            return;
        }
        let last = *written + part == body.len();
        let bytes = body.slice(*written..*written + part);
        let state = State {
            channel: channel.0,
            last,
            body: bytes,
        };
        frames.push(Frame::State(state).encode(version));
        *written += part;
        if last {
            lanes.state_bytes -= body.len() + ENTRY_BYTES;
            lanes.state.pop_front();
        }
    }
}

/// How much still goes into one write. The first entry always goes.
struct Room(usize);

impl Room {
    fn fits(&mut self, size: usize) -> bool {
        if size > self.0 && self.0 < WRITE_BUDGET_BYTES {
            return false;
        }
        // An entry of no bytes still uses up a little, so that a write is bounded in entries too.
        self.0 = self.0.saturating_sub(size.max(1));
        true
    }

    fn take<T: Clone>(&mut self, front: Option<&T>, size: impl Fn(&T) -> usize) -> Option<T> {
        front.filter(|entry| self.fits(size(entry))).cloned()
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
