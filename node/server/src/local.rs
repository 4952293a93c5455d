//! Sessions of the application inside its node: requests without a clock in hand, and deliveries that wait in a bounded inbox.
//!
//! ```text
//! publish path ──LocalReceiver──> inbox (bounded in messages and bytes) ──next()──> application
//! ```

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use halley_bayeux::{
    CallError, EndReason, Engine, LocalReceiver, Millis, Refused, Session, SessionId,
    SessionListener, UserId,
};
use parking_lot::Mutex;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::clock::Clock;
use crate::handle::{PublishError, json_text, parse, validated};
use crate::inbox::{Inbox, InboxEnd, Queue};
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
        let queue = Arc::new(Queue::new(
            config.max_queue,
            config.max_queue_bytes,
            Arc::clone(&self.any_overflow),
        ));
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
        let inbox = Inbox::new(queue, shared.ended.clone());
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
                .is_some_and(|queue| queue.has_overflowed())
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
