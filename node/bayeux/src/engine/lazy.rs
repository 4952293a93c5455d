//! Lazy channels and messages (reference 1.10): they wait for something that is not lazy, or for a timer, so that more leaves together.

use super::Engine;
use crate::session::{Enqueued, Session};
use crate::{ChannelName, Millis, Publication};
use ahash::RandomState;
use std::collections::HashMap;
use std::sync::Arc;

/// The lazy channels, with a timeout of their own if they have one.
pub(super) type LazyChannels = HashMap<ChannelName, Option<u64>, RandomState>;

impl Engine {
    /// Makes a channel or pattern lazy, or not: everything on it, and on what it matches, is delivered at most `maxLazyTimeout` late. A
    /// lazy `/a` says nothing about `/a/b`.
    pub fn set_lazy(&self, channel: &ChannelName, lazy: bool) {
        self.change_lazy(channel, lazy.then_some(None));
    }

    /// Makes a channel lazy with a timeout of its own, which holds for messages on exactly this channel; 0 makes it not lazy.
    pub fn set_lazy_timeout_ms(&self, channel: &ChannelName, timeout_ms: u64) {
        self.change_lazy(channel, (timeout_ms > 0).then_some(Some(timeout_ms)));
    }

    fn change_lazy(&self, channel: &ChannelName, lazy: Option<Option<u64>>) {
        self.lazy_channels.rcu(|channels| {
            let mut channels = LazyChannels::clone(channels);
            match lazy {
                Some(timeout_ms) => channels.insert(channel.clone(), timeout_ms),
                None => channels.remove(channel),
            };
            channels
        });
    }

    /// Until when the publication may wait; `None` when it is not lazy. Once per publish.
    pub(super) fn lazy_until(&self, publication: &Publication, now: Millis) -> Option<Millis> {
        let channels = self.lazy_channels.load();
        if !publication.is_lazy() && channels.is_empty() {
            return None;
        }
        let mut lazy = publication.is_lazy();
        publication
            .channel()
            .for_each_consulted(|name| lazy |= channels.contains_key(name));
        let own = channels.get(publication.channel()).copied().flatten();
        let timeout_ms = own.unwrap_or(self.config.max_lazy_timeout_ms);
        (lazy && timeout_ms > 0).then(|| now.after(timeout_ms))
    }

    /// Queues without waking anybody before `until`.
    pub(super) fn enqueue_lazy(
        &self,
        session: &Arc<Session>,
        publication: &Arc<Publication>,
        until: Millis,
    ) -> Enqueued {
        let (outcome, wakers) = {
            let mut state = session.state.lock();
            let result = state.enqueue_lazy(publication, self.queue_limits(), until);
            self.arm(session, &mut state);
            result
        };
        wakers.wake();
        outcome
    }
}
