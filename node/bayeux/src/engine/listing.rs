//! Pages of what there is, for whoever looks from outside. Each walks over everything once and keeps no more than one page: not for the way of
//! a message.

use super::Engine;
use crate::session::Session;
use crate::tree::Receiver;
use crate::{ChannelName, ChannelUse};
use std::cmp::Ordering as Order;
use std::collections::BinaryHeap;
use std::sync::Arc;

/// A session, ordered by its key.
struct ByKey(Arc<Session>);

impl PartialEq for ByKey {
    fn eq(&self, other: &Self) -> bool {
        self.0.key() == other.0.key()
    }
}

impl Eq for ByKey {}

impl PartialOrd for ByKey {
    fn partial_cmp(&self, other: &Self) -> Option<Order> {
        Some(self.cmp(other))
    }
}

impl Ord for ByKey {
    fn cmp(&self, other: &Self) -> Order {
        self.0.key().cmp(&other.0.key())
    }
}

/// The smallest `limit` entries, in order.
pub(crate) fn smallest<T: Ord>(all: impl Iterator<Item = T>, limit: usize) -> Vec<T> {
    let mut kept = BinaryHeap::new();
    for entry in all {
        if kept.len() < limit {
            kept.push(entry);
        } else if kept.peek().is_some_and(|greatest| entry < *greatest) {
            kept.pop();
            kept.push(entry);
        }
    }
    kept.into_sorted_vec()
}

impl Engine {
    /// The live sessions whose keys are greater than `after`, the first `limit` in the order of their keys.
    #[must_use]
    pub fn sessions_after(&self, after: u64, limit: usize) -> Vec<Arc<Session>> {
        let sessions = self.sessions.pin();
        let later = sessions.values().filter(|session| session.key() > after);
        let live = later.filter(|session| session.is_live());
        let page = smallest(live.map(|session| ByKey(session.clone())), limit);
        page.into_iter().map(|ByKey(session)| session).collect()
    }

    /// The live session with this key. Looks at every session.
    #[must_use]
    pub fn session_with_key(&self, key: u64) -> Option<Arc<Session>> {
        let sessions = self.sessions.pin();
        sessions
            .values()
            .find(|session| session.key() == key && session.is_live())
            .cloned()
    }

    /// The channels of this node, patterns among them, whose names come behind `after` and satisfy `wanted`: the first `limit` by name, each
    /// with the number of its subscribed sessions.
    #[must_use]
    pub fn channels_after(
        &self,
        after: &str,
        limit: usize,
        wanted: impl Fn(&ChannelName) -> bool,
    ) -> Vec<ChannelUse> {
        self.tree.page(after, limit, wanted)
    }

    /// The sessions that are subscribed to exactly this channel or pattern and whose keys are greater than `after`: the first `limit` in the
    /// order of their keys. `None` when the channel does not exist on this node.
    #[must_use]
    pub fn subscribers_after(
        &self,
        channel: &ChannelName,
        after: u64,
        limit: usize,
    ) -> Option<Vec<Arc<Session>>> {
        let snapshot = self.tree.snapshot(channel)?;
        let sessions = snapshot
            .iter()
            .filter_map(|subscriber| match &subscriber.receiver {
                Receiver::Session(session) => Some(session),
                Receiver::Tap(_) => None,
            });
        let later = sessions.filter(|session| session.key() > after);
        Some(later.take(limit).cloned().collect())
    }
}
