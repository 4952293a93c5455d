//! The engine: joins sessions, channels, hooks and time. Each file holds one step of a message's way.

mod authorizers;
mod channels;
mod fan_out;
mod filters;
mod handlers;
mod http;
mod lazy;
mod lifecycle;
mod listing;
mod local_session;
mod pipeline;
mod services;
mod session_hooks;
mod websocket;

pub(crate) use listing::smallest;

pub use http::{HeldConnect, HttpOutcome, HttpReply, HttpRequest, Released, WriteTicket};
pub use local_session::{LocalSession, Refused};
pub(crate) use pipeline::Origin;
pub use websocket::{Output, WebSocketPeer};

use crate::browsers::Browsers;
use crate::session::{QueueLimits, Session};
use crate::stats::Counters;
use crate::tree::{ChannelTree, Limits, Receiver, Subscriber};
use crate::wheel::Wheel;
use crate::{
    Admission, ChannelName, EngineConfig, EngineStats, Extension, Millis, Publication,
    SecurityPolicy, SessionId, SessionListener, SubscriptionListener, Tap, TapId,
};
use ahash::RandomState;
use arc_swap::ArcSwap;
use authorizers::Authorizers;
use channels::{MessageListeners, SilentChannels};
use filters::DataFilters;
use lazy::LazyChannels;
use lifecycle::Sweeps;
use parking_lot::Mutex;
use pipeline::MetaChannels;
use services::Handlers;
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A list of hooks, read on every message and written before serving.
type Hooks<T> = ArcSwap<Vec<Arc<T>>>;

/// A node's Bayeux engine. Shared by all transports; every method may be called from any thread.
pub struct Engine {
    config: EngineConfig,
    policy: Arc<dyn SecurityPolicy>,
    sessions: papaya::HashMap<SessionId, Arc<Session>, RandomState>,
    tree: ChannelTree,
    wheel: Wheel,
    browsers: Browsers,
    counters: Counters,
    meta: MetaChannels,
    server_disconnect: Arc<Publication>,
    /// Keys of sessions, taps, connections and authorizers.
    next_key: AtomicU64,
    /// Milliseconds from 1970 to instant zero.
    epoch_unix_ms: AtomicU64,
    /// The instant of the last tick, for what is dropped without being told the time.
    latest: AtomicU64,
    /// Asked at every handshake of a client.
    admission: OnceLock<Arc<dyn Admission>>,
    session_listeners: Hooks<dyn SessionListener>,
    subscription_listeners: Hooks<dyn SubscriptionListener>,
    extensions: Hooks<dyn Extension>,
    message_listeners: ArcSwap<MessageListeners>,
    data_filters: ArcSwap<DataFilters>,
    silent_channels: ArcSwap<SilentChannels>,
    /// Whether a session has an extension or a setting of its own, of those that are looked for with each message.
    session_hooks: AtomicBool,
    /// Whether any extension wants to see each delivery.
    sees_deliveries: AtomicBool,
    /// Whether more waits for all sessions together than may; as of the last tick.
    queues_full: AtomicBool,
    authorizers: ArcSwap<Authorizers>,
    lazy_channels: ArcSwap<LazyChannels>,
    services: ArcSwap<Handlers>,
    /// Handshakes in process: each has a session's place.
    handshakes: AtomicUsize,
    /// Calls without an answer yet, those of ended sessions included.
    calls: AtomicU64,
    taps: Mutex<HashMap<u64, Arc<TapEntry>, RandomState>>,
    /// Sessions whose queue overflowed: ended already, taken out of the maps by the next tick, so that a publish never recurses.
    overflowed: Mutex<Vec<Arc<Session>>>,
    sweeps: Mutex<Sweeps>,
}

struct TapEntry {
    tap: Arc<dyn Tap>,
    /// `None` once the tap is removed. Its lock orders the changes of this tap, and of no other.
    patterns: Mutex<Option<HashSet<ChannelName, RandomState>>>,
}

fn push<T: ?Sized>(hooks: &Hooks<T>, hook: &Arc<T>) {
    hooks.rcu(|list| {
        let mut list = Vec::clone(list);
        list.push(hook.clone());
        list
    });
}

fn same<T: ?Sized>(one: &Arc<T>, other: &Arc<T>) -> bool {
    std::ptr::addr_eq(Arc::as_ptr(one), Arc::as_ptr(other))
}

fn pull<T: ?Sized>(hooks: &Hooks<T>, hook: &Arc<T>) -> bool {
    let before = hooks.rcu(|list| {
        let mut list = Vec::clone(list);
        list.retain(|known| !same(known, hook));
        list
    });
    before.iter().any(|known| same(known, hook))
}

impl Engine {
    /// An engine without sessions. Check the configuration with [`EngineConfig::validate`] first: what it refuses is not defended against.
    #[must_use]
    pub fn new(config: EngineConfig, policy: Arc<dyn SecurityPolicy>) -> Arc<Self> {
        let limits = Limits {
            channels: config.max_channels,
            channels_per_session: u32::try_from(config.max_channels_per_session)
                .unwrap_or(u32::MAX),
        };
        let lazy = config.lazy_channels.iter();
        let lazy_channels: LazyChannels = lazy.map(|name| (name.clone(), None)).collect();
        Arc::new(Self {
            config,
            policy,
            sessions: papaya::HashMap::with_hasher(RandomState::new()),
            tree: ChannelTree::new(limits),
            wheel: Wheel::new(),
            browsers: Browsers::default(),
            counters: Counters::default(),
            meta: MetaChannels::new(),
            server_disconnect: Publication::server_disconnect(),
            next_key: AtomicU64::new(1),
            epoch_unix_ms: AtomicU64::new(0),
            latest: AtomicU64::new(0),
            admission: OnceLock::new(),
            session_listeners: ArcSwap::default(),
            subscription_listeners: ArcSwap::default(),
            extensions: ArcSwap::default(),
            message_listeners: ArcSwap::default(),
            data_filters: ArcSwap::default(),
            silent_channels: ArcSwap::default(),
            session_hooks: AtomicBool::new(false),
            sees_deliveries: AtomicBool::new(false),
            queues_full: AtomicBool::new(false),
            authorizers: ArcSwap::default(),
            lazy_channels: ArcSwap::from_pointee(lazy_channels),
            services: ArcSwap::default(),
            handshakes: AtomicUsize::new(0),
            calls: AtomicU64::new(0),
            taps: Mutex::default(),
            overflowed: Mutex::default(),
            sweeps: Mutex::default(),
        })
    }

    /// The options.
    #[must_use]
    pub fn config(&self) -> &EngineConfig {
        &self.config
    }

    /// Tells what time it is for people: milliseconds since 1970. To be called now and then, since that time may be set.
    pub fn set_wall_clock(&self, unix_ms: u64, now: Millis) {
        self.epoch_unix_ms
            .store(unix_ms.saturating_sub(now.0), Ordering::Relaxed);
    }

    fn unix_ms(&self, now: Millis) -> u64 {
        self.epoch_unix_ms
            .load(Ordering::Relaxed)
            .saturating_add(now.0)
    }

    /// The event as it leaves: with a timestamp if that is configured.
    fn stamped<'a>(
        &self,
        publication: &'a Arc<Publication>,
        keep: bool,
        now: Millis,
    ) -> Cow<'a, Arc<Publication>> {
        if self.config.timestamp {
            let text = crate::timestamp::text(self.unix_ms(now));
            Cow::Owned(publication.stamped(&text, keep))
        } else {
            Cow::Borrowed(publication)
        }
    }

    /// Sets who is asked at every handshake of a client. Once, before clients are served; later calls change nothing.
    pub fn set_admission(&self, admission: Arc<dyn Admission>) {
        let _ = self.admission.set(admission);
    }

    pub(crate) fn admission(&self) -> Option<&dyn Admission> {
        self.admission.get().map(|admission| &**admission)
    }

    /// Adds a listener of sessions.
    pub fn add_session_listener(&self, listener: Arc<dyn SessionListener>) {
        push(&self.session_listeners, &listener);
    }

    /// Removes a listener of sessions. False when it is not there. It may still be called for what is under way.
    pub fn remove_session_listener(&self, listener: &Arc<dyn SessionListener>) -> bool {
        pull(&self.session_listeners, listener)
    }

    /// Adds a listener of subscriptions. It is not told of those that exist already.
    pub fn add_subscription_listener(&self, listener: Arc<dyn SubscriptionListener>) {
        push(&self.subscription_listeners, &listener);
    }

    /// Removes a listener of subscriptions. False when it is not there.
    pub fn remove_subscription_listener(&self, listener: &Arc<dyn SubscriptionListener>) -> bool {
        pull(&self.subscription_listeners, listener)
    }

    /// Adds an extension, behind those already there.
    pub fn add_extension(&self, extension: Arc<dyn Extension>) {
        if extension.sees_deliveries() {
            self.sees_deliveries.store(true, Ordering::Relaxed);
        }
        push(&self.extensions, &extension);
    }

    /// Removes an extension. False when it is not there.
    pub fn remove_extension(&self, extension: &Arc<dyn Extension>) -> bool {
        pull(&self.extensions, extension)
    }

    /// Adds a tap without patterns.
    pub fn add_tap(&self, tap: Arc<dyn Tap>) -> TapId {
        let key = self.draw_key();
        let entry = TapEntry {
            tap,
            patterns: Mutex::new(Some(HashSet::default())),
        };
        self.taps.lock().insert(key, Arc::new(entry));
        TapId(key)
    }

    fn tap_entry(&self, id: TapId) -> Option<Arc<TapEntry>> {
        self.taps.lock().get(&id.0).cloned()
    }

    /// Subscribes a tap to a channel or pattern; nothing if it is subscribed already, or gone. Not bound by the channel limits.
    ///
    /// Takes the same time however many patterns the tap has.
    pub fn tap_subscribe(&self, id: TapId, channel: &ChannelName) {
        let Some(entry) = self.tap_entry(id) else {
            return;
        };
        let mut patterns = entry.patterns.lock();
        let Some(patterns) = patterns.as_mut() else {
            return;
        };
        if patterns.insert(channel.clone()) {
            let subscriber = Subscriber {
                key: id.0,
                receiver: Receiver::Tap(entry.tap.clone()),
            };
            // Cannot fail: limits bind clients only.
            let _ = self.tree.subscribe(channel, subscriber, &[]);
        }
    }

    /// Takes a pattern from a tap. Takes the same time however many patterns the tap has.
    pub fn tap_unsubscribe(&self, id: TapId, channel: &ChannelName) {
        let Some(entry) = self.tap_entry(id) else {
            return;
        };
        let mut patterns = entry.patterns.lock();
        if patterns
            .as_mut()
            .is_some_and(|patterns| patterns.remove(channel))
        {
            self.tree.unsubscribe(channel, id.0, &[]);
        }
    }

    /// Removes a tap with all its patterns. A publish that is under way may still call it.
    ///
    /// Takes as long as the tap has patterns: who must not be held up takes them from it one by one first.
    pub fn remove_tap(&self, id: TapId) {
        let Some(entry) = self.taps.lock().remove(&id.0) else {
            return;
        };
        let patterns = entry.patterns.lock().take();
        for channel in patterns.into_iter().flatten() {
            self.tree.unsubscribe(&channel, id.0, &[]);
        }
    }

    /// The channels with at least one session of this node.
    #[must_use]
    pub fn subscribed_channels(&self) -> Vec<ChannelName> {
        self.tree.subscribed()
    }

    /// The session with this id, while it is live.
    #[must_use]
    pub fn session(&self, id: &SessionId) -> Option<Arc<Session>> {
        self.sessions
            .pin()
            .get(id)
            .filter(|session| session.is_live())
            .cloned()
    }

    /// All sessions, in no order.
    #[must_use]
    pub fn sessions(&self) -> Vec<Arc<Session>> {
        self.sessions.pin().values().cloned().collect()
    }

    /// Number of sessions.
    #[must_use]
    pub fn session_count(&self) -> usize {
        self.sessions.len()
    }

    /// What the engine counts.
    #[must_use]
    pub fn stats(&self) -> EngineStats {
        EngineStats {
            sessions: self.session_count() as u64,
            channels: self.tree.channel_count() as u64,
            subscriptions: self.tree.subscription_count() as u64,
            queue_bytes: self.counters.queue_bytes.sum(),
            messages_received: self.counters.received.sum(),
            messages_delivered: self.counters.delivered.sum(),
            handshakes: self.counters.handshakes.sum(),
            queue_overflows: self.counters.overflows.sum(),
            expired: self.counters.expired.sum(),
            calls: self.calls.load(Ordering::Relaxed),
        }
    }

    fn draw_key(&self) -> u64 {
        self.next_key.fetch_add(1, Ordering::Relaxed)
    }

    fn queue_limits(&self) -> QueueLimits {
        let full = self.queues_full.load(Ordering::Relaxed);
        QueueLimits {
            messages: self.config.max_queue,
            // A single message passes any bound in bytes: who keeps up is served even now.
            bytes: if full { 0 } else { self.config.max_queue_bytes },
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Engine")
            .field("sessions", &self.session_count())
            .field("channels", &self.tree.channel_count())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
