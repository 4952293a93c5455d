//! Sessions: what the node remembers of one client between its messages.
//!
//! ```text
//! handshake -> Handshaken -> first connect -> Connected -> Ended(reason)
//!                  publications -> queue -> writer (WebSocket) or held connect or reply (HTTP)
//! ```
//!
//! All that changes stands in one small state under one lock, held for a few lines: parking a connect and looking whether the queue is
//! empty are one step. A session knows nothing of the engine's maps; the engine ends sessions and tells listeners.

mod acks;
mod connect;
mod end_reason;
mod state;

pub(crate) use acks::{Acks, fits};
pub(crate) use connect::{BrowserSlots, ClientAdvice, ConnectOutcome, ConnectRequest};
pub use end_reason::EndReason;
pub(crate) use state::{
    Binding, Enqueued, Hold, HoldPlace, NEVER, Phase, QueueLimits, State, Wakers,
};

use crate::{Advice, Attachment, ChannelName, Publication, SessionId, UserId};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// How a client reaches its session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// A WebSocket connection.
    WebSocket,
    /// HTTP requests, one of them usually held.
    LongPolling,
    /// HTTP requests by script tags (JSONP): events travel with connect replies only.
    CallbackPolling,
    /// Code inside the node.
    Local,
}

impl Transport {
    /// The name on the wire.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::WebSocket => "websocket",
            Self::LongPolling => "long-polling",
            Self::CallbackPolling => "callback-polling",
            Self::Local => "local",
        }
    }
}

/// Receives what is delivered to a local session. Called on the publish path; must not block.
pub trait LocalReceiver: Send + Sync {
    /// A publication.
    fn publication(&self, publication: &Arc<Publication>);
}

impl<F: Fn(&Arc<Publication>) + Send + Sync> LocalReceiver for F {
    fn publication(&self, publication: &Arc<Publication>) {
        self(publication);
    }
}

/// The channels a session is subscribed to, sorted.
#[derive(Debug, Default)]
pub(crate) struct Subscriptions {
    pub(crate) channels: Vec<ChannelName>,
    /// Set when the session has ended and its channels were taken: nothing may be added any more.
    pub(crate) closed: bool,
}

/// One client's session, or code inside the node that acts as one.
pub struct Session {
    id: SessionId,
    /// Unique in the engine, in order of creation: what subscriber lists are sorted by.
    key: u64,
    user: Option<UserId>,
    /// What the security policy keeps with the session.
    attachment: Option<Attachment>,
    /// The cookie value that HTTP requests must show.
    browser: Option<Box<str>>,
    local: Option<Arc<dyn LocalReceiver>>,
    /// Channels that exist because this session named them first.
    pub(crate) channels_created: AtomicU32,
    /// Locked before any channel's lock, never together with `state`.
    pub(crate) subscriptions: Mutex<Subscriptions>,
    pub(crate) state: Mutex<State>,
}

impl Session {
    pub(crate) fn new(
        id: SessionId,
        key: u64,
        user: Option<UserId>,
        attachment: Option<Attachment>,
        browser: Option<Box<str>>,
        local: Option<Arc<dyn LocalReceiver>>,
        state: State,
    ) -> Arc<Self> {
        Arc::new(Self {
            id,
            key,
            user,
            attachment,
            browser,
            local,
            channels_created: AtomicU32::new(0),
            subscriptions: Mutex::default(),
            state: Mutex::new(state),
        })
    }

    /// The session's id, its client's only credential.
    #[must_use]
    pub fn id(&self) -> &SessionId {
        &self.id
    }

    /// A number unique in this engine, in order of creation. Safe to log.
    #[must_use]
    pub fn key(&self) -> u64 {
        self.key
    }

    /// The user that the security policy recognised at the handshake.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.user.as_ref()
    }

    /// What the security policy attached at the handshake, if it is of this type.
    #[must_use]
    pub fn attachment<T: std::any::Any>(&self) -> Option<&T> {
        self.attachment.as_ref()?.get()
    }

    /// Whether the session belongs to code inside the node.
    #[must_use]
    pub fn is_local(&self) -> bool {
        self.local.is_some()
    }

    /// How the client reached the session last.
    #[must_use]
    pub fn transport(&self) -> Transport {
        if self.is_local() {
            return Transport::Local;
        }
        self.state.lock().transport
    }

    /// Whether the session has not ended.
    #[must_use]
    pub fn is_live(&self) -> bool {
        self.state.lock().is_live()
    }

    /// Whether the client acknowledges what it receives (the `ack` extension).
    #[must_use]
    pub fn acknowledges(&self) -> bool {
        self.state.lock().acks.is_some()
    }

    /// Messages waiting for the client, or for its acknowledgement.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.state.lock().queue.len()
    }

    /// Bytes of the messages waiting for the client, or for its acknowledgement.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        self.state.lock().queue_bytes
    }

    /// Of [`Self::queue_bytes`], those of messages that the client has been offered and has not acknowledged. Walks along them.
    #[must_use]
    pub fn unacknowledged_bytes(&self) -> usize {
        let state = self.state.lock();
        let offered = state.acks.as_ref().map_or(0, |acks| acks.unconfirmed());
        let offered = state.queue.iter().take(offered);
        offered.map(|publication| publication.len()).sum()
    }

    /// The channels the session is subscribed to, sorted.
    #[must_use]
    pub fn subscriptions(&self) -> Vec<ChannelName> {
        self.subscriptions.lock().channels.clone()
    }

    /// Whether the session is subscribed to this channel or pattern itself.
    #[must_use]
    pub fn is_subscribed(&self, channel: &ChannelName) -> bool {
        let subscriptions = self.subscriptions.lock();
        subscriptions.channels.binary_search(channel).is_ok()
    }

    /// Sets how long this session's connects are held; `None` for the engine's default. The client learns it with its next connect reply.
    pub fn set_timeout_ms(&self, timeout_ms: Option<u64>) {
        self.state
            .lock()
            .override_times(|times| times.timeout_ms = timeout_ms);
    }

    /// Sets the interval advised to this session; `None` for the engine's default. The client learns it with its next connect reply.
    pub fn set_interval_ms(&self, interval_ms: Option<u64>) {
        self.state
            .lock()
            .override_times(|times| times.interval_ms = interval_ms);
    }

    /// Sets this session's grace after a connect reply; `None` for the engine's default.
    pub fn set_max_interval_ms(&self, max_interval_ms: Option<u64>) {
        self.state
            .lock()
            .override_times(|times| times.max_interval_ms = max_interval_ms);
    }

    /// Sets whether messages leave with connect replies only; of a session that acknowledges they always do.
    pub fn set_meta_connect_deliver_only(&self, only: bool) {
        let mut state = self.state.lock();
        state.deliver_only = only || state.acks.is_some();
    }

    /// Keeps a value with the session, under a name; gives back the one it replaces.
    pub fn set_attribute(&self, name: &str, value: Attachment) -> Option<Attachment> {
        let mut state = self.state.lock();
        let attributes = &mut state.rare_mut().attributes;
        match attributes.iter_mut().find(|(known, _)| &**known == name) {
            Some((_, old)) => Some(std::mem::replace(old, value)),
            None => {
                attributes.push((name.into(), value));
                None
            }
        }
    }

    /// What is kept under a name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<Attachment> {
        let state = self.state.lock();
        let mut attributes = state.rare.as_ref()?.attributes.iter();
        attributes.find_map(|(known, value)| (&**known == name).then(|| value.clone()))
    }

    /// Takes what is kept under a name.
    pub fn remove_attribute(&self, name: &str) -> Option<Attachment> {
        let mut state = self.state.lock();
        let attributes = &mut state.rare.as_mut()?.attributes;
        let position = attributes.iter().position(|(known, _)| &**known == name)?;
        Some(attributes.swap_remove(position).1)
    }

    /// What a connect is told that was in process when the session ended: after a disconnect its client must not come back by itself.
    pub(crate) fn advice_of_end(&self) -> Advice {
        match self.state.lock().phase {
            Phase::Ended(EndReason::Disconnected | EndReason::Server) => Advice {
                interval_ms: Some(0),
                ..Advice::NONE
            },
            _ => Advice::HANDSHAKE,
        }
    }

    pub(crate) fn browser(&self) -> Option<&str> {
        self.browser.as_deref()
    }

    /// Queues a publication and wakes whoever writes, once per change from idle to not idle.
    pub(crate) fn enqueue(&self, publication: &Arc<Publication>, limits: QueueLimits) -> Enqueued {
        if let Some(local) = &self.local {
            if !self.is_live() {
                return Enqueued::Refused;
            }
            local.publication(publication);
            return Enqueued::Received;
        }
        let (outcome, wakers) = self.state.lock().enqueue(publication, limits);
        wakers.wake();
        outcome
    }

    pub(crate) fn channel_removed(&self) {
        self.channels_created.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Never shows the id: it is a credential.
impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("key", &self.key)
            .field("user", &self.user)
            .finish_non_exhaustive()
    }
}
