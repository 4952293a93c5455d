//! What code of the node does with channels: listeners, persistence, subscriptions of others' sessions.

use super::{Engine, Refused};
use crate::message::Message;
use crate::refusal;
use crate::session::Session;
use crate::{
    ChannelKind, ChannelName, Flow, MessageListener, MessageListenerId, Millis, Publication,
};
use ahash::RandomState;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

type Entry = (MessageListenerId, Arc<dyn MessageListener>);

/// The listeners by channel or pattern, in order of registration. No list is empty.
pub(super) type MessageListeners = HashMap<ChannelName, Vec<Entry>, RandomState>;

/// Channels and patterns whose publishers do not receive their own messages.
pub(super) type SilentChannels = HashSet<ChannelName, RandomState>;

impl Engine {
    /// Adds a listener of the messages on a channel or on those a pattern matches: meta and service channels, too. A channel with a listener
    /// of its own counts as existing.
    pub fn add_message_listener(
        &self,
        channel: &ChannelName,
        listener: Arc<dyn MessageListener>,
    ) -> MessageListenerId {
        let id = MessageListenerId(self.draw_key());
        self.message_listeners.rcu(|all| {
            let mut all = MessageListeners::clone(all);
            all.entry(channel.clone())
                .or_default()
                .push((id, listener.clone()));
            all
        });
        id
    }

    /// Removes a listener; a message that is in process may still reach it. False when there is none of this id.
    pub fn remove_message_listener(&self, id: MessageListenerId) -> bool {
        let before = self.message_listeners.rcu(|all| {
            let mut all = MessageListeners::clone(all);
            all.retain(|_, entries| {
                entries.retain(|(known, _)| *known != id);
                !entries.is_empty()
            });
            all
        });
        before.values().flatten().any(|(known, _)| *known == id)
    }

    /// Whether some listener, asked from `/**` down to the channel itself, stops a message.
    fn stopped_by_listener(
        &self,
        channel: &ChannelName,
        stops: impl Fn(&dyn MessageListener) -> bool,
    ) -> bool {
        let all = self.message_listeners.load();
        if all.is_empty() {
            return false;
        }
        let mut lists = SmallVec::<[&[Entry]; 6]>::new();
        channel.for_each_consulted(|name| lists.extend(all.get(name).map(Vec::as_slice)));
        let mut listeners = lists.iter().rev().copied().flatten();
        listeners.any(|(_, listener)| stops(&**listener))
    }

    pub(super) fn message_stopped(
        &self,
        session: Option<&Arc<Session>>,
        message: &Message<'_>,
        now: Millis,
    ) -> bool {
        self.stopped_by_listener(message.channel(), |listener| {
            listener.message(session, message, now) == Flow::Stop
        })
    }

    pub(super) fn publication_stopped(&self, publication: &Arc<Publication>, now: Millis) -> bool {
        self.stopped_by_listener(publication.channel(), |listener| {
            listener.publication(publication, now) == Flow::Stop
        })
    }

    /// Makes a channel exist without subscribers, or lets it go again once it is not used. Not bound by the channel limits.
    pub fn set_persistent(&self, channel: &ChannelName, persistent: bool) {
        self.tree.set_persistent(channel, persistent);
    }

    /// Whether the channel exists: somebody is subscribed to it or has published on it, it is persistent, or it has a listener or an
    /// authorizer.
    #[must_use]
    pub fn has_channel(&self, channel: &ChannelName) -> bool {
        self.channel_exists(channel)
    }

    /// The sessions that are subscribed to exactly this channel or pattern.
    #[must_use]
    pub fn subscribers(&self, channel: &ChannelName) -> Vec<Arc<Session>> {
        self.tree.sessions(channel)
    }

    /// Sets whether publishers that are subscribed to this channel or pattern receive their own messages through it; true at first. One that
    /// also matches through another subscription receives them through that. `session.broadcastToPublisher` and the session's own setting
    /// go before.
    pub fn set_broadcast_to_publisher(&self, channel: &ChannelName, broadcast: bool) {
        self.silent_channels.rcu(|silent| {
            let mut silent = SilentChannels::clone(silent);
            if broadcast {
                silent.remove(channel);
            } else {
                silent.insert(channel.clone());
            }
            silent
        });
    }

    /// Whether a publisher receives its own message, as far as it is subscribed.
    pub(super) fn broadcasts_to_publisher(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
    ) -> bool {
        if !self.session_broadcasts(session) {
            return false;
        }
        let silent = self.silent_channels.load();
        if silent.is_empty() {
            return true;
        }
        let subscriptions = session.subscriptions.lock();
        let mut receives = false;
        channel.for_each_consulted(|name| {
            receives |=
                !silent.contains(name) && subscriptions.channels.iter().any(|c| c.as_str() == name);
        });
        receives
    }

    /// Subscribes a session on behalf of its client, who is not told. Policy, authorizers and extensions are not asked; the limits hold.
    ///
    /// # Errors
    /// When a limit is reached, the session has ended, or the channel is a meta or service channel.
    pub fn subscribe_session(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
    ) -> Result<(), Refused> {
        if channel.kind() != ChannelKind::Broadcast {
            return Err(Refused::new(refusal::SUBSCRIBE_FAILED));
        }
        self.subscribe_unasked(session, channel)
            .map_err(|error| Refused::new(&error))
    }

    /// Takes a subscription from a session; its client is not told. False when it was not subscribed.
    pub fn unsubscribe_session(&self, session: &Arc<Session>, channel: &ChannelName) -> bool {
        let listeners = self.subscription_listeners.load();
        {
            let mut subscriptions = session.subscriptions.lock();
            let Ok(position) = subscriptions.channels.binary_search(channel) else {
                return false;
            };
            subscriptions.channels.remove(position);
            self.tree.unsubscribe(channel, session.key(), &listeners);
        }
        for listener in listeners.iter() {
            listener.unsubscribed(session, channel);
        }
        true
    }
}
