//! The channel tree: which sessions and taps are subscribed to which channel.
//!
//! ```text
//! publish: consulted names -> flat map -> immutable snapshots, no lock -> each receiver once
//! subscribe: channel's lock -> copy one chunk -> swap the snapshot
//! ```
//!
//! A wildcard is a channel like any other; nothing is walked, the few names that can match are looked up. The tree does not know what a
//! delivery is and asks no policy.

mod snapshot;

pub(crate) use snapshot::{Receiver, Snapshot, Subscriber};

use crate::engine::smallest;
use crate::session::Session;
use crate::{ChannelName, SubscriptionListener};
use arc_swap::{ArcSwap, Guard};
use parking_lot::Mutex;
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::Weak;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Sweeps that must find a channel unused before it goes (reference 6.2).
const SWEEPS_UNUSED: u8 = 3;

pub(crate) struct Channel {
    name: ChannelName,
    subscribers: ArcSwap<Snapshot>,
    control: Mutex<Control>,
}

/// What changes under the channel's lock.
#[derive(Default)]
struct Control {
    /// Subscribed sessions; taps do not count.
    sessions: usize,
    unused_sweeps: u8,
    /// Stays without subscribers.
    persistent: bool,
    /// Taken out of the map: whoever still holds it must look again.
    removed: bool,
    /// The session that named the channel first, for its count.
    creator: Weak<Session>,
}

/// A channel of this node and how many of this node's sessions are subscribed to it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChannelUse {
    /// Its name, or the pattern that sessions are subscribed to.
    pub channel: ChannelName,
    /// Subscribed sessions; siblings do not count.
    pub sessions: usize,
}

/// Why a channel was not created.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LimitReached;

pub(crate) struct Limits {
    pub(crate) channels: usize,
    pub(crate) channels_per_session: u32,
}

pub(crate) struct ChannelTree {
    channels: papaya::HashMap<ChannelName, Arc<Channel>, ahash::RandomState>,
    count: AtomicUsize,
    subscriptions: AtomicUsize,
    limits: Limits,
}

impl ChannelTree {
    pub(crate) fn new(limits: Limits) -> Self {
        Self {
            channels: papaya::HashMap::with_hasher(ahash::RandomState::new()),
            count: AtomicUsize::new(0),
            subscriptions: AtomicUsize::new(0),
            limits,
        }
    }

    pub(crate) fn channel_count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Subscriptions of sessions.
    pub(crate) fn subscription_count(&self) -> usize {
        self.subscriptions.load(Ordering::Relaxed)
    }

    pub(crate) fn contains(&self, channel: &ChannelName) -> bool {
        self.channels.pin().contains_key(channel)
    }

    /// Makes the channel exist; counts it for `creator`.
    pub(crate) fn create(
        &self,
        channel: &ChannelName,
        creator: Option<&Arc<Session>>,
    ) -> Result<Arc<Channel>, LimitReached> {
        if let Some(known) = self.channels.pin().get(channel) {
            return Ok(known.clone());
        }
        let over = creator.is_some_and(|session| {
            session.channels_created.load(Ordering::Relaxed) >= self.limits.channels_per_session
        });
        if over || self.channel_count() >= self.limits.channels {
            return Err(LimitReached);
        }
        Ok(self.find_or_insert(channel, creator))
    }

    fn find_or_insert(
        &self,
        channel: &ChannelName,
        creator: Option<&Arc<Session>>,
    ) -> Arc<Channel> {
        let map = self.channels.pin();
        let new = Arc::new(Channel {
            name: channel.clone(),
            subscribers: ArcSwap::from_pointee(Snapshot::default()),
            control: Mutex::new(Control {
                creator: creator.map_or_else(Weak::new, Arc::downgrade),
                ..Control::default()
            }),
        });
        match map.try_insert(channel.clone(), new) {
            Ok(new) => {
                self.count.fetch_add(1, Ordering::Relaxed);
                if let Some(session) = creator {
                    session.channels_created.fetch_add(1, Ordering::Relaxed);
                }
                new.clone()
            }
            Err(error) => error.current.clone(),
        }
    }

    pub(crate) fn set_persistent(&self, channel: &ChannelName, persistent: bool) {
        loop {
            let found = if persistent {
                self.find_or_insert(channel, None)
            } else {
                match self.channels.pin().get(channel) {
                    Some(found) => found.clone(),
                    None => return,
                }
            };
            let mut control = found.control.lock();
            if !control.removed {
                control.persistent = persistent;
                control.unused_sweeps = 0;
                return;
            }
        }
    }

    /// The sessions subscribed to exactly this channel.
    pub(crate) fn sessions(&self, channel: &ChannelName) -> Vec<Arc<Session>> {
        let channels = self.channels.pin();
        let Some(found) = channels.get(channel) else {
            return Vec::new();
        };
        let snapshot = found.subscribers.load();
        let sessions = snapshot.iter().filter_map(|s| match &s.receiver {
            Receiver::Session(session) => Some(session.clone()),
            Receiver::Tap(_) => None,
        });
        sessions.collect()
    }

    /// Subscribes; true when it was not subscribed before. `first` is told under the channel's lock when it is the first session.
    pub(crate) fn subscribe(
        &self,
        channel: &ChannelName,
        subscriber: Subscriber,
        listeners: &[Arc<dyn SubscriptionListener>],
    ) -> Result<bool, LimitReached> {
        loop {
            // Limits bind clients; a tap follows what siblings want, a local session what the node's own code wants.
            let found = match &subscriber.receiver {
                Receiver::Session(session) if !session.is_local() => {
                    self.create(channel, Some(session))?
                }
                _ => self.find_or_insert(channel, None),
            };
            let mut control = found.control.lock();
            if control.removed {
                continue;
            }
            control.unused_sweeps = 0;
            let Some(next) = found.subscribers.load().with(&subscriber) else {
                return Ok(false);
            };
            found.subscribers.store(Arc::new(next));
            if subscriber.is_session() {
                self.subscriptions.fetch_add(1, Ordering::Relaxed);
                control.sessions += 1;
                if control.sessions == 1 {
                    for listener in listeners {
                        listener.first(channel);
                    }
                }
            }
            return Ok(true);
        }
    }

    /// Unsubscribes; true when it was subscribed. `last` is told under the channel's lock when no session is left.
    pub(crate) fn unsubscribe(
        &self,
        channel: &ChannelName,
        key: u64,
        listeners: &[Arc<dyn SubscriptionListener>],
    ) -> bool {
        let Some(found) = self.channels.pin().get(channel).cloned() else {
            return false;
        };
        let mut control = found.control.lock();
        let Some((next, removed)) = found.subscribers.load().without(key) else {
            return false;
        };
        found.subscribers.store(Arc::new(next));
        if removed.is_session() {
            self.subscriptions.fetch_sub(1, Ordering::Relaxed);
            control.sessions -= 1;
            if control.sessions == 0 {
                for listener in listeners {
                    listener.last(channel);
                }
            }
        }
        true
    }

    /// The channels with at least one session.
    pub(crate) fn subscribed(&self) -> Vec<ChannelName> {
        self.channels
            .pin()
            .iter()
            .filter(|(_, channel)| channel.control.lock().sessions > 0)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// The first `limit` channels by name behind `after` that are `wanted`.
    pub(crate) fn page(
        &self,
        after: &str,
        limit: usize,
        wanted: impl Fn(&ChannelName) -> bool,
    ) -> Vec<ChannelUse> {
        let channels = self.channels.pin();
        let names = channels
            .keys()
            .filter(|name| name.as_str() > after && wanted(name));
        let page = smallest(names, limit);
        page.into_iter()
            .map(|name| ChannelUse {
                channel: name.clone(),
                sessions: channels
                    .get(name)
                    .map_or(0, |channel| channel.control.lock().sessions),
            })
            .collect()
    }

    /// The subscribers of a channel at this instant; `None` when it does not exist.
    pub(crate) fn snapshot(&self, channel: &ChannelName) -> Option<Arc<Snapshot>> {
        Some(self.channels.pin().get(channel)?.subscribers.load_full())
    }

    /// Calls `visit` once for each receiver that a message to `channel` reaches, whatever number of its patterns match. Returns how many.
    ///
    /// Takes no lock and allocates nothing per receiver: a receiver of a later snapshot is looked for in the earlier ones.
    pub(crate) fn for_each_receiver(
        &self,
        channel: &ChannelName,
        mut visit: impl FnMut(&Subscriber),
    ) {
        let internal = channel.is_internal();
        let mut matched: SmallVec<[(Guard<Arc<Snapshot>>, bool); 6]> = SmallVec::new();
        {
            let map = self.channels.pin();
            channel.for_each_consulted(|name| {
                if let Some(found) = map.get(name) {
                    let snapshot = found.subscribers.load();
                    if !snapshot.is_empty() {
                        // A client's `/**` or `/*` does not see the cluster's own channels.
                        matched.push((snapshot, internal && !found.name.is_internal()));
                    }
                }
            });
        }
        for (n, (snapshot, hidden)) in matched.iter().enumerate() {
            let earlier = &matched[..n];
            for subscriber in snapshot.iter() {
                if *hidden && subscriber.is_client() {
                    continue;
                }
                if !earlier
                    .iter()
                    .any(|(other, _)| other.contains(subscriber.key))
                {
                    visit(subscriber);
                }
            }
        }
    }

    /// Removes channels that three sweeps in a row have found without subscribers.
    pub(crate) fn sweep(&self) {
        let map = self.channels.pin();
        for (name, channel) in &map {
            let mut control = channel.control.lock();
            if control.persistent || !channel.subscribers.load().is_empty() {
                control.unused_sweeps = 0;
                continue;
            }
            control.unused_sweeps += 1;
            if control.unused_sweeps < SWEEPS_UNUSED {
                continue;
            }
            control.removed = true;
            let creator = control.creator.upgrade();
            map.remove(name);
            self.count.fetch_sub(1, Ordering::Relaxed);
            if let Some(creator) = creator {
                creator.channel_removed();
            }
        }
    }
}

#[cfg(test)]
mod tests;
