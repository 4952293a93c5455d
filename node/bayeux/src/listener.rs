use crate::{ChannelName, EndReason, Flow, Message, Millis, Publication, Session};
use std::sync::Arc;

/// Learns of sessions. Called outside of locks, on the thread that caused it; must not block.
pub trait SessionListener: Send + Sync {
    /// A session has handshaken. It can be delivered to; its client has not seen the reply yet.
    fn added(&self, session: &Arc<Session>) {
        let _ = session;
    }

    /// A session has ended, exactly once per session that was added. It is no longer found by its id.
    fn removed(&self, session: &Arc<Session>, reason: EndReason) {
        let _ = (session, reason);
    }
}

/// Learns of subscriptions of this node's sessions. Taps do not count.
pub trait SubscriptionListener: Send + Sync {
    /// The channel has its first subscribed session. Calls of `first` and `last` for one channel never overlap and alternate, because
    /// they run under that channel's lock: they must not subscribe or unsubscribe anything (taps included), not end sessions, and not block.
    fn first(&self, channel: &ChannelName) {
        let _ = channel;
    }

    /// The channel has lost its last subscribed session. See [`SubscriptionListener::first`].
    fn last(&self, channel: &ChannelName) {
        let _ = channel;
    }

    /// A session subscribed; not called when it was subscribed already. Called outside of locks, before the reply is written.
    fn subscribed(&self, session: &Arc<Session>, channel: &ChannelName) {
        let _ = (session, channel);
    }

    /// A session unsubscribed or ended.
    fn unsubscribed(&self, session: &Arc<Session>, channel: &ChannelName) {
        let _ = (session, channel);
    }
}

/// Sees the messages on a channel, after the policy has granted them and before anything comes of them (reference 5.1); may stop them.
///
/// Listeners of all patterns that match are asked, from `/**` to the channel itself. What siblings send is not asked about: their own
/// listeners were. Called on the message path: must not block, and must not call back into the engine for the same session.
pub trait MessageListener: Send + Sync {
    /// A client or a local session sent a message, on any channel. `session` is absent for a handshake. A stopped message is answered with
    /// `404::message_deleted`.
    fn message(&self, session: Option<&Arc<Session>>, message: &Message<'_>, now: Millis) -> Flow {
        let _ = (session, message, now);
        Flow::Continue
    }

    /// Code of the node publishes without a session ([`crate::Engine::publish`]). What is stopped reaches nobody.
    fn publication(&self, publication: &Arc<Publication>, now: Millis) -> Flow {
        let _ = (publication, now);
        Flow::Continue
    }
}

/// Identifies a message listener of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageListenerId(pub(crate) u64);

/// A subscriber that is not a session: a link to a sibling.
pub trait Tap: Send + Sync {
    /// A publication on a channel that at least one of the tap's patterns matches: one call, however many match. Runs on the publish
    /// path; must not block and must not change subscriptions.
    fn publication(&self, publication: &Arc<Publication>);
}

/// Identifies a tap of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TapId(pub(crate) u64);

/// What becomes of a message to a service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServiceReply {
    /// The publish is answered with `successful: true`.
    Accepted,
    /// The publish is answered with this error string, `code:args:text`.
    Refused(String),
}

/// Handles the messages that clients publish on a service channel.
pub trait Service: Send + Sync {
    /// A message that the policy has granted. Must not block.
    fn message(&self, session: &Arc<Session>, message: &Message<'_>, now: Millis) -> ServiceReply;
}
