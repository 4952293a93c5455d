//! Closures in the places of the engine's traits.

use std::sync::Arc;

use halley_bayeux::{
    Authorization, Authorizer, ChannelName, DataFilter, Decision, EndReason, Filtered, Flow,
    Message, MessageListener, Millis, Operation, Session, SessionListener,
};

pub(crate) struct Added<F>(pub(crate) F);

impl<F: Fn(&Arc<Session>) + Send + Sync> SessionListener for Added<F> {
    fn added(&self, session: &Arc<Session>) {
        (self.0)(session);
    }
}

pub(crate) struct Removed<F>(pub(crate) F);

impl<F: Fn(&Arc<Session>, EndReason) + Send + Sync> SessionListener for Removed<F> {
    fn removed(&self, session: &Arc<Session>, reason: EndReason) {
        (self.0)(session, reason);
    }
}

pub(crate) struct Seen<F>(pub(crate) F);

impl<F> MessageListener for Seen<F>
where
    F: Fn(Option<&Arc<Session>>, &Message<'_>) -> Flow + Send + Sync,
{
    fn message(&self, session: Option<&Arc<Session>>, message: &Message<'_>, _: Millis) -> Flow {
        (self.0)(session, message)
    }
}

pub(crate) struct Decide<F>(pub(crate) F);

impl<F> Authorizer for Decide<F>
where
    F: Fn(Operation, &Arc<Session>, &ChannelName, &Message<'_>) -> Authorization + Send + Sync,
{
    fn authorize(
        &self,
        operation: Operation,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Authorization> {
        Decision::Now((self.0)(operation, session, channel, message))
    }
}

pub(crate) struct Filter<F>(pub(crate) F);

impl<F> DataFilter for Filter<F>
where
    F: Fn(Option<&Arc<Session>>, &ChannelName, &str) -> Filtered + Send + Sync,
{
    fn filter(
        &self,
        session: Option<&Arc<Session>>,
        channel: &ChannelName,
        data: &str,
    ) -> Filtered {
        (self.0)(session, channel, data)
    }
}
