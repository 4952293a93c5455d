//! Sessions of the application inside its node: requests without a clock in hand, and deliveries that wait in a bounded inbox.
//!
//! ```text
//! publish path ──LocalReceiver──> inbox (bounded in messages and bytes) ──next()──> application
//! ```

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use halley_bayeux::{
    CallError, EndReason, Engine, LocalReceiver, Millis, Publication, Refused, Session, SessionId,
    SessionListener, UserId,
};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use crate::clock::Clock;
use crate::handle::{PublishError, json_text, parse, validated};
use crate::node::Shared;

/// Why a request of a local session failed.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The channel or the data is not valid. Nothing was asked.
    #[error(transparent)]
    Invalid(#[from] PublishError),
    /// What a client would have been told: the Bayeux error string.
    #[error("refused: {0}")]
    Refused(#[from] Refused),
    /// The call was refused, has failed, or nothing answers it.
    #[error("the call has no result: {0}")]
    Call(#[from] CallError),
    /// The result of a call has another shape than was asked for.
    #[error("the result has another shape: {0}")]
    Result(#[source] serde_json::Error),
}

/// Why an inbox gives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboxEnd {
    /// The session has ended: it was dropped or ended, or the node has ended.
    #[error("the session has ended")]
    Ended,
    /// More waited than may: `session.maxQueue` messages or `session.maxQueueBytes` bytes. The session was ended, as a client's would
    /// have been; nothing is missing before this.
    #[error("the inbox was full, and the session was ended")]
    Overflow,
}

/// A publication that a local session received.
#[derive(Clone, Debug)]
pub struct Received(Arc<Publication>);

impl Received {
    /// The channel it was published on; never a pattern.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.0.channel().as_str()
    }

    /// Its data as JSON text; `null` when the publisher sent none. Scans the message: keep what it returns.
    #[must_use]
    pub fn data(&self) -> &str {
        self.0.data().unwrap_or("null")
    }

    /// Reads its data.
    ///
    /// # Errors
    /// The data has another shape than `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data())
    }

    /// The message as the engine keeps it: encoded once, shared by all who received it.
    #[must_use]
    pub fn publication(&self) -> &Arc<Publication> {
        &self.0
    }
}

/// What waits for one local session.
struct Queue {
    state: Mutex<QueueState>,
    changed: Notify,
    messages_max: usize,
    bytes_max: usize,
    /// Set when a queue of the node has overflowed: the publish path must not end sessions, the next tick does.
    any_overflow: Arc<AtomicBool>,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Arc<Publication>>,
    bytes: usize,
    end: Option<InboxEnd>,
}

impl Queue {
    fn end(&self, why: InboxEnd) {
        self.state.lock().end.get_or_insert(why);
        self.changed.notify_one();
    }
}

impl LocalReceiver for Queue {
    fn publication(&self, publication: &Arc<Publication>) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        let bytes = state.bytes + publication.len();
        // As with clients: a single message passes any bound in bytes.
        let full = state.waiting.len() >= self.messages_max
            || (bytes > self.bytes_max && !state.waiting.is_empty());
        if full {
            state.end = Some(InboxEnd::Overflow);
            self.any_overflow.store(true, Ordering::Release);
        } else {
            state.bytes = bytes;
            state.waiting.push_back(Arc::clone(publication));
        }
        drop(state);
        self.changed.notify_one();
    }
}

/// What a local session receives, in order. Bounded like a client's queue: who does not read loses the session, not single messages.
pub struct Inbox {
    queue: Arc<Queue>,
    node_ended: CancellationToken,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("waiting", &self.queue.state.lock().waiting.len())
            .finish_non_exhaustive()
    }
}

impl Inbox {
    /// The next message, once there is one. Cancel-safe.
    ///
    /// # Errors
    /// There will be none any more; what had arrived before was given first.
    pub async fn next(&mut self) -> Result<Received, InboxEnd> {
        loop {
            if let Some(next) = self.try_next()? {
                return Ok(next);
            }
            tokio::select! {
                () = self.queue.changed.notified() => {}
                () = self.node_ended.cancelled() => self.queue.end(InboxEnd::Ended),
            }
        }
    }

    /// A message that is already here.
    ///
    /// # Errors
    /// As [`Inbox::next`].
    pub fn try_next(&mut self) -> Result<Option<Received>, InboxEnd> {
        let mut state = self.queue.state.lock();
        if let Some(publication) = state.waiting.pop_front() {
            state.bytes -= publication.len();
            return Ok(Some(Received(publication)));
        }
        match state.end {
            None => Ok(None),
            Some(end) => Err(end),
        }
    }
}

impl Drop for Inbox {
    /// Nobody reads any more: the session goes on, and what is delivered to it is thrown away.
    fn drop(&mut self) {
        self.queue.end(InboxEnd::Ended);
        let mut state = self.queue.state.lock();
        state.waiting = VecDeque::new();
        state.bytes = 0;
    }
}

/// A session of the application inside its node: it subscribes and publishes as a client does, through the same policy and extensions, but
/// without handshake, transport and expiry. It ends when it is dropped.
#[derive(Debug)]
pub struct LocalSession {
    inner: halley_bayeux::LocalSession,
    clock: Clock,
}

impl LocalSession {
    /// Subscribes to a channel or pattern.
    ///
    /// # Errors
    /// The channel is not one, the policy or an extension refuses, or the session has ended.
    pub async fn subscribe(&self, channel: &str) -> Result<(), LocalError> {
        let channel = parse(channel)?;
        Ok(self.inner.subscribe(&channel, self.clock.now()).await?)
    }

    /// Ends a subscription.
    ///
    /// # Errors
    /// The channel is not one or does not exist, or the session has ended.
    pub async fn unsubscribe(&self, channel: &str) -> Result<(), LocalError> {
        let channel = parse(channel)?;
        Ok(self.inner.unsubscribe(&channel, self.clock.now()).await?)
    }

    /// Publishes on a broadcast channel, or sends to a service.
    ///
    /// # Errors
    /// Channel or data are not valid; the policy, an extension or the service refuses; the session has ended.
    pub async fn publish(&self, channel: &str, data: impl Serialize) -> Result<(), LocalError> {
        let (channel, text) = (parse(channel)?, json_text(data)?);
        let json = validated(&text)?;
        Ok(self.inner.publish(&channel, json, self.clock.now()).await?)
    }

    /// Calls what answers on a service channel, and waits for the result as long as it takes; dropping the future gives up waiting.
    ///
    /// # Errors
    /// Channel or data are not valid; the call is refused or fails; nothing answers there; the result has another shape than `T`.
    pub async fn call<T: DeserializeOwned>(
        &self,
        channel: &str,
        data: impl Serialize,
    ) -> Result<T, LocalError> {
        let (channel, text) = (parse(channel)?, json_text(data)?);
        let json = validated(&text)?;
        let result = self.inner.call(&channel, json, self.clock.now()).await?;
        serde_json::from_str(&result).map_err(LocalError::Result)
    }

    /// The session as others see it.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        self.inner.session()
    }

    /// Ends the session; its inbox gives what has arrived, and then its end.
    pub fn disconnect(self) {
        self.inner.disconnect(self.clock.now());
    }
}

/// The local sessions of a node, so that their inboxes learn of their end whoever ends them. One entry for each that lives.
#[derive(Default)]
pub(crate) struct LocalSessions {
    open: Mutex<HashMap<u64, Open, ahash::RandomState>>,
    any_overflow: Arc<AtomicBool>,
}

struct Open {
    session: SessionId,
    queue: Weak<Queue>,
}

impl LocalSessions {
    pub(crate) fn open(&self, shared: &Arc<Shared>, user: Option<UserId>) -> (LocalSession, Inbox) {
        let config = &shared.config.session;
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            changed: Notify::new(),
            messages_max: config.max_queue,
            bytes_max: config.max_queue_bytes,
            any_overflow: Arc::clone(&self.any_overflow),
        });
        let inner = shared
            .engine
            .local_session(user, Arc::clone(&queue) as Arc<dyn LocalReceiver>);
        let session = Arc::clone(inner.session());
        let open = Open {
            session: *session.id(),
            queue: Arc::downgrade(&queue),
        };
        self.open.lock().insert(session.key(), open);
        if !session.is_live() {
            // Somebody ended it before it was noted.
            self.removed(&session, EndReason::Disconnected);
        }
        let inbox = Inbox {
            queue,
            node_ended: shared.ended.clone(),
        };
        let clock = shared.clock;
        (LocalSession { inner, clock }, inbox)
    }

    /// Ends the sessions whose inbox has overflowed. To be called as often as the engine's timers.
    pub(crate) fn tick(&self, engine: &Engine, now: Millis) {
        if !self.any_overflow.swap(false, Ordering::Acquire) {
            return;
        }
        let overflowed = |open: &&Open| {
            open.queue
                .upgrade()
                .is_some_and(|queue| queue.state.lock().end == Some(InboxEnd::Overflow))
        };
        let ids: Vec<SessionId> = {
            let open = self.open.lock();
            open.values()
                .filter(overflowed)
                .map(|open| open.session)
                .collect()
        };
        // Not under the lock: the end of a session calls `removed`.
        for id in ids {
            engine.end_session(&id, EndReason::QueueOverflow, now);
        }
    }
}

impl SessionListener for LocalSessions {
    fn removed(&self, session: &Arc<Session>, _: EndReason) {
        if !session.is_local() {
            return;
        }
        let open = self.open.lock().remove(&session.key());
        if let Some(queue) = open.and_then(|open| open.queue.upgrade()) {
            queue.end(InboxEnd::Ended);
        }
    }
}
