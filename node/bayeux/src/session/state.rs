use super::{Acks, EndReason, Transport};
use crate::AddressGroup;
use crate::reply::ExtField;
use crate::{
    Advice, Attachment, EngineConfig, Extension, Millis, Publication, QueueListener, Reconnect,
    Waiting, WhenFull,
};
use std::collections::VecDeque;
use std::sync::Arc;
use std::task::Waker;

/// The instant that does not come.
pub(crate) const NEVER: Millis = Millis(u64::MAX);

/// Queue slots that an idle session may keep.
const IDLE_QUEUE_CAPACITY: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Handshaken,
    Connected,
    Ended(EndReason),
}

/// The connection that last spoke for the session: where publications go.
#[derive(Debug)]
pub(crate) enum Binding {
    /// None yet, or it has closed.
    None,
    /// A WebSocket connection, and its writer when it waits.
    WebSocket(u64, Option<Waker>),
    /// HTTP: publications wait for a request.
    Http,
}

/// Where a held connect waits for its reply.
#[derive(Debug)]
pub(crate) enum HoldPlace {
    WebSocket(u64),
    /// A parked request, and its task when it waits.
    Http(Option<Waker>),
}

/// A connect without a reply yet.
#[derive(Debug)]
pub(crate) struct Hold {
    pub(crate) generation: u32,
    pub(crate) place: HoldPlace,
    pub(crate) id: Option<Box<str>>,
    pub(crate) ext: Vec<ExtField>,
    pub(crate) received: Millis,
    pub(crate) deadline: Millis,
    /// The request carried advice, so the reply must.
    pub(crate) advise: bool,
    /// Counts in its browser.
    pub(crate) slot: bool,
    /// The reply is due; whoever holds the connection fetches it.
    pub(crate) released: bool,
}

/// What most sessions do not have, so boxed.
#[derive(Default)]
pub(crate) struct Rare {
    pub(crate) times: Overrides,
    /// Remote calls without an answer yet.
    pub(crate) calls: u32,
    pub(crate) broadcast_to_publisher: Option<bool>,
    pub(crate) extensions: Vec<Arc<dyn Extension>>,
    pub(crate) attributes: Vec<(Box<str>, Attachment)>,
    pub(crate) queue_listener: Option<Arc<dyn QueueListener>>,
}

impl std::fmt::Debug for Rare {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rare")
            .field("times", &self.times)
            .finish_non_exhaustive()
    }
}

/// Times that differ from the engine's for this session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Overrides {
    pub(crate) timeout_ms: Option<u64>,
    pub(crate) interval_ms: Option<u64>,
    pub(crate) max_interval_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct QueueLimits {
    pub(crate) messages: usize,
    pub(crate) bytes: usize,
}

/// What became of a publication for one session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enqueued {
    /// The session has ended, or an extension dropped it.
    Refused,
    /// A local session has it.
    Received,
    /// It waits in the queue.
    Queued,
    /// The queue was full, and the session's listener has decided: this publication has a place or not, and these bytes have left the
    /// queue (negative where the listener has put in longer ones).
    Thinned { queued: bool, removed_bytes: i64 },
    /// The queue was full: the session has ended, and this many bytes were dropped with it. The engine must bury it.
    Overflow { dropped_bytes: usize },
}

/// Whom to wake once the lock is released.
#[derive(Debug, Default)]
#[must_use]
pub(crate) struct Wakers(pub(crate) Option<Waker>, pub(crate) Option<Waker>);

impl Wakers {
    pub(crate) fn wake(self) {
        for waker in [self.0, self.1].into_iter().flatten() {
            waker.wake();
        }
    }
}

#[derive(Debug)]
pub(crate) struct State {
    /// Where the session is counted, see [`crate::Admission`].
    pub(crate) place: Option<AddressGroup>,
    pub(crate) queue: VecDeque<Arc<Publication>>,
    pub(crate) queue_bytes: usize,
    /// Something waits that is not lazy, or has waited for long enough. Set when it comes, cleared when nothing waits any more.
    pub(crate) urgent: bool,
    /// Whether `lazy_at` is set: beside the other flags, so that a session without lazy messages is not read further.
    lazy_waits: bool,
    /// When the lazy messages that wait become urgent.
    pub(crate) lazy_at: Millis,
    pub(crate) phase: Phase,
    /// The transport of the last message.
    pub(crate) transport: Transport,
    /// The transport on which the present advice was given; `None` when the advice is stale.
    pub(crate) advised: Option<Transport>,
    pub(crate) deliver_only: bool,
    /// For a client that acknowledges. Boxed: most do not.
    pub(crate) acks: Option<Box<Acks>>,
    pub(crate) binding: Binding,
    pub(crate) hold: Option<Box<Hold>>,
    /// Counts connects, so that a late completion of an old one is recognised.
    pub(crate) generation: u32,
    /// HTTP requests in process: nothing wakes until the last ends.
    pub(crate) batch: u32,
    pub(crate) expire_at: Millis,
    /// When the processing of what the client sent last must have ended: counts while it cannot expire.
    pub(crate) process_until: Millis,
    /// When the client was last active, where that is looked at.
    pub(crate) active_at: Millis,
    /// The timer wheel's slot that holds this session; 0 for none.
    pub(crate) armed: u64,
    /// From the last connect's advice, for that connect only.
    pub(crate) client_timeout_ms: Option<u32>,
    pub(crate) client_interval_ms: Option<u32>,
    pub(crate) rare: Option<Box<Rare>>,
}

impl State {
    pub(crate) fn new(transport: Transport, deliver_only: bool) -> Self {
        Self {
            queue: VecDeque::new(),
            queue_bytes: 0,
            urgent: false,
            lazy_waits: false,
            lazy_at: NEVER,
            phase: Phase::Handshaken,
            transport,
            advised: Some(transport),
            deliver_only,
            acks: None,
            binding: Binding::None,
            hold: None,
            generation: 0,
            batch: 0,
            expire_at: NEVER,
            process_until: NEVER,
            active_at: Millis::default(),
            armed: 0,
            client_timeout_ms: None,
            client_interval_ms: None,
            place: None,
            rare: None,
        }
    }

    pub(crate) fn is_live(&self) -> bool {
        !matches!(self.phase, Phase::Ended(_))
    }

    pub(crate) fn rare_mut(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(crate) fn override_times(&mut self, change: impl FnOnce(&mut Overrides)) {
        change(&mut self.rare_mut().times);
        self.advised = None;
    }

    fn times(&self) -> Overrides {
        self.rare
            .as_ref()
            .map(|rare| rare.times)
            .unwrap_or_default()
    }

    /// The timeout that is advised: never the client's own wish.
    pub(crate) fn timeout_ms(&self, config: &EngineConfig) -> u64 {
        self.times().timeout_ms.unwrap_or(config.timeout_ms)
    }

    pub(crate) fn interval_ms(&self, config: &EngineConfig) -> u64 {
        self.client_interval_ms
            .map(u64::from)
            .or(self.times().interval_ms)
            .unwrap_or(config.interval_ms)
    }

    pub(crate) fn max_interval_ms(&self, config: &EngineConfig) -> u64 {
        self.times()
            .max_interval_ms
            .unwrap_or(config.max_interval_ms)
    }

    pub(crate) fn full_advice(&self, config: &EngineConfig) -> Advice {
        Advice {
            interval_ms: Some(self.interval_ms(config)),
            timeout_ms: Some(self.timeout_ms(config)),
            max_interval_ms: config
                .handshake_reconnect
                .then(|| self.max_interval_ms(config)),
            ..Advice::only(Reconnect::Retry)
        }
    }

    pub(crate) fn enqueue(
        &mut self,
        publication: &Arc<Publication>,
        limits: QueueLimits,
    ) -> (Enqueued, Wakers) {
        let outcome = match self.push(publication, limits) {
            Ok(outcome) => outcome,
            Err(refused) => return refused,
        };
        self.urgent = true;
        let waker = if self.batch == 0 {
            self.wake_writer()
        } else {
            None
        };
        (outcome, Wakers(waker, None))
    }

    /// Queues without waking anybody; `until` then is the latest that it waits.
    pub(crate) fn enqueue_lazy(
        &mut self,
        publication: &Arc<Publication>,
        limits: QueueLimits,
        until: Millis,
    ) -> (Enqueued, Wakers) {
        let outcome = match self.push(publication, limits) {
            Ok(outcome) => outcome,
            Err(refused) => return refused,
        };
        self.lazy_at = self.lazy_at.min(until);
        self.lazy_waits = true;
        (outcome, Wakers::default())
    }

    /// The end of the queue, or why there is no place. Inlined: on the path of every delivery.
    #[inline(always)]
    fn push(
        &mut self,
        publication: &Arc<Publication>,
        limits: QueueLimits,
    ) -> Result<Enqueued, (Enqueued, Wakers)> {
        if !self.is_live() {
            return Err((Enqueued::Refused, Wakers::default()));
        }
        if !self.has_place(publication, limits) {
            return self.push_when_full(publication, limits);
        }
        self.queue.push_back(publication.clone());
        self.queue_bytes += publication.len();
        Ok(Enqueued::Queued)
    }

    #[inline(always)]
    fn has_place(&self, publication: &Publication, limits: QueueLimits) -> bool {
        let bytes = self.queue_bytes + publication.len();
        self.queue.len() < limits.messages && (bytes <= limits.bytes || self.queue.is_empty())
    }

    /// The session's queue listener decides; without one the session ends.
    #[cold]
    fn push_when_full(
        &mut self,
        publication: &Arc<Publication>,
        limits: QueueLimits,
    ) -> Result<Enqueued, (Enqueued, Wakers)> {
        let before = self.queue_bytes;
        let decision = match self.queue_listener() {
            Some(listener) => listener.full(&mut self.editable(), publication),
            None => WhenFull::End,
        };
        let removed_bytes = before as i64 - self.queue_bytes as i64;
        match decision {
            WhenFull::Discard => {
                self.settle();
                let outcome = Enqueued::Thinned {
                    queued: false,
                    removed_bytes,
                };
                Err((outcome, Wakers::default()))
            }
            WhenFull::Queue if self.has_place(publication, limits) => {
                self.queue.push_back(publication.clone());
                self.queue_bytes += publication.len();
                Ok(Enqueued::Thinned {
                    queued: true,
                    removed_bytes,
                })
            }
            WhenFull::Queue | WhenFull::End => {
                let wakers = self.end(EndReason::QueueOverflow);
                let outcome = Enqueued::Overflow {
                    dropped_bytes: before,
                };
                Err((outcome, wakers))
            }
        }
    }

    pub(crate) fn queue_listener(&self) -> Option<Arc<dyn QueueListener>> {
        self.rare.as_ref()?.queue_listener.clone()
    }

    /// What code of the node may edit: not what a client that acknowledges has been offered.
    fn editable(&mut self) -> Waiting<'_> {
        let offered = self.acks.as_ref().map_or(0, |acks| acks.unconfirmed());
        let first = offered.min(self.queue.len());
        Waiting::new(&mut self.queue, &mut self.queue_bytes, first)
    }

    /// Messages are about to leave: the session's listener may thin them. Returns the bytes that have left the queue.
    pub(crate) fn thin(&mut self) -> i64 {
        let Some(listener) = self.queue_listener() else {
            return 0;
        };
        let before = self.queue_bytes;
        let mut waiting = self.editable();
        if !waiting.is_empty() {
            listener.leaving(&mut waiting);
            self.settle();
        }
        before as i64 - self.queue_bytes as i64
    }

    /// The lazy messages that wait have waited for long enough, if they have by `now`.
    pub(crate) fn end_laziness(&mut self, now: Millis) -> Option<Waker> {
        if self.lazy_at > now {
            return None;
        }
        self.lazy_at = NEVER;
        self.urgent = true;
        if self.batch == 0 {
            self.wake_writer()
        } else {
            None
        }
    }

    /// Messages have been taken along: if none waits any more, nothing is urgent, and no timer runs.
    pub(crate) fn settle(&mut self) {
        if self.unsent() == 0 {
            self.urgent = false;
            if std::mem::take(&mut self.lazy_waits) {
                self.lazy_at = NEVER;
            }
        }
    }

    /// Lets what waits go out now: the waiting WebSocket writer, or else the held connect. At most one wake until it waits again.
    pub(crate) fn wake_writer(&mut self) -> Option<Waker> {
        match &mut self.binding {
            Binding::WebSocket(_, waker) if !self.deliver_only => waker.take(),
            _ => self.release_hold(),
        }
    }

    /// Marks the held connect as due for its reply. One whose connection is gone stays as it is: nobody would take the reply, and its
    /// deadline, with which the session's expiry begins, must not be forgotten.
    pub(crate) fn release_hold(&mut self) -> Option<Waker> {
        let hold = self.hold.as_mut()?;
        match (&mut hold.place, &mut self.binding) {
            (HoldPlace::Http(waker), _) => {
                hold.released = true;
                waker.take()
            }
            (HoldPlace::WebSocket(on), Binding::WebSocket(bound, waker)) if on == bound => {
                hold.released = true;
                waker.take()
            }
            (HoldPlace::WebSocket(_), _) => None,
        }
    }

    /// Ends the session here; the engine does the rest. The wakers are those of the connections that have to know.
    pub(crate) fn end(&mut self, reason: EndReason) -> Wakers {
        self.phase = Phase::Ended(reason);
        self.expire_at = NEVER;
        self.process_until = NEVER;
        if !reason.keeps_queue()
            && !self.queue.is_empty()
            && let Some(listener) = self.queue_listener()
        {
            listener.thrown_away(&Waiting::new(&mut self.queue, &mut self.queue_bytes, 0));
        }
        self.stop_acknowledging();
        if !reason.keeps_queue() {
            self.queue = VecDeque::new();
            self.queue_bytes = 0;
        }
        self.urgent = !self.queue.is_empty();
        self.lazy_at = NEVER;
        let held = self.release_hold();
        let bound = match &mut self.binding {
            Binding::WebSocket(_, waker) => waker.take(),
            _ => None,
        };
        Wakers(held, bound)
    }

    /// Takes all that waits.
    pub(crate) fn take_queue(&mut self) -> VecDeque<Arc<Publication>> {
        self.queue_bytes = 0;
        let events = std::mem::take(&mut self.queue);
        self.settle();
        events
    }

    /// An idle session gives back what a burst has cost.
    pub(crate) fn give_back_slots(&mut self) {
        if self.queue.is_empty() && self.queue.capacity() > IDLE_QUEUE_CAPACITY {
            self.queue.shrink_to(0);
        }
    }

    /// A connect or handshake reply is with the client, or lost: from here the session must be heard of again.
    pub(crate) fn reply_written(&mut self, config: &EngineConfig, now: Millis) {
        if self.is_live() && self.hold.is_none() {
            self.expire_at = now
                .after(self.interval_ms(config))
                .after(self.max_interval_ms(config));
        }
    }

    /// A message other than connect arrived.
    pub(crate) fn heard(&mut self, config: &EngineConfig, now: Millis) {
        if self.expire_at != NEVER {
            self.expire_at = self.expire_at.max(now.after(self.max_interval_ms(config)));
        }
    }

    /// A message arrived, and its processing begins.
    pub(crate) fn begin_processing(&mut self, config: &EngineConfig, now: Millis) {
        if config.max_processing_ms > 0 {
            self.process_until = now.after(config.max_processing_ms);
        }
    }

    /// When the session ends by itself if nothing happens.
    pub(crate) fn end_at(&self) -> Millis {
        if self.expire_at == NEVER {
            self.process_until
        } else {
            self.expire_at
        }
    }

    /// The next instant at which time alone changes something.
    pub(crate) fn deadline(&self) -> Millis {
        let hold = self.hold.as_ref().filter(|hold| !hold.released);
        hold.map_or(NEVER, |hold| hold.deadline)
            .min(self.end_at())
            .min(self.lazy_at)
    }
}
