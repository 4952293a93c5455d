use super::Engine;
use crate::message::Message;
use crate::session::Session;
use crate::{
    Authorization, Authorizer, AuthorizerId, ChannelName, DENIED_BY_NOT_GRANTING, Decision,
    Operation, Verdict,
};
use ahash::RandomState;
use std::borrow::Cow;
use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

type Entry = (AuthorizerId, Arc<dyn Authorizer>);

/// The authorizers by channel or pattern, in order of registration. No list is empty.
pub(super) type Authorizers = HashMap<ChannelName, Vec<Entry>, RandomState>;

/// The answer of the policy and the authorizers, or the one to come.
pub(super) enum Asked<'a> {
    Now(Verdict),
    Later(Pin<Box<dyn Future<Output = Verdict> + Send + 'a>>),
}

impl Asked<'_> {
    pub(super) async fn resolve(self) -> Verdict {
        match self {
            Self::Now(verdict) => verdict,
            Self::Later(future) => future.await,
        }
    }
}

impl Engine {
    /// Adds an authorizer to a channel or pattern.
    pub fn add_authorizer(
        &self,
        channel: &ChannelName,
        authorizer: Arc<dyn Authorizer>,
    ) -> AuthorizerId {
        let id = AuthorizerId(self.draw_key());
        self.authorizers.rcu(|all| {
            let mut all = Authorizers::clone(all);
            all.entry(channel.clone())
                .or_default()
                .push((id, authorizer.clone()));
            all
        });
        id
    }

    /// Removes an authorizer. What is being decided may still ask it.
    pub fn remove_authorizer(&self, id: AuthorizerId) {
        self.authorizers.rcu(|all| {
            let mut all = Authorizers::clone(all);
            all.retain(|_, entries| {
                entries.retain(|(known, _)| *known != id);
                !entries.is_empty()
            });
            all
        });
    }

    /// Whether the channel is known: it is in the tree, or has an authorizer or a listener.
    pub(super) fn channel_exists(&self, channel: &ChannelName) -> bool {
        self.tree.contains(channel)
            || self.authorizers.load().contains_key(channel)
            || self.message_listeners.load().contains_key(channel)
    }

    /// Asks the policy, and then the authorizers.
    pub(super) fn authorise<'a>(
        &'a self,
        operation: Operation,
        session: &'a Arc<Session>,
        channel: &'a ChannelName,
        message: &'a Message<'a>,
    ) -> Asked<'a> {
        let decision = match operation {
            Operation::Create => self.policy.can_create(session, channel, message),
            Operation::Subscribe => self.policy.can_subscribe(session, channel, message),
            Operation::Publish => self.policy.can_publish(session, channel, message),
        };
        let none = self.authorizers.load().is_empty();
        match decision {
            Decision::Now(verdict) if none || verdict != Verdict::Grant => Asked::Now(verdict),
            Decision::Later(verdict) if none => Asked::Later(verdict),
            // Boxed: most nodes have no authorizers, and the futures of all connections would grow.
            decision => Asked::Later(Box::pin(async move {
                match decision.resolve().await {
                    Verdict::Grant => {
                        self.ask_authorizers(operation, session, channel, message)
                            .await
                    }
                    denied => denied,
                }
            })),
        }
    }

    async fn ask_authorizers(
        &self,
        operation: Operation,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Verdict {
        let mut asked: Vec<Arc<dyn Authorizer>> = Vec::new();
        {
            let all = self.authorizers.load();
            channel.for_each_consulted(|name| {
                let entries = all.get(name).map(Vec::as_slice).unwrap_or_default();
                asked.extend(
                    entries
                        .iter()
                        .rev()
                        .map(|(_, authorizer)| authorizer.clone()),
                );
            });
        }
        let mut granted = asked.is_empty();
        for authorizer in asked.iter().rev() {
            match authorizer
                .authorize(operation, session, channel, message)
                .resolve()
                .await
            {
                Authorization::Grant => granted = true,
                Authorization::Deny(reason) => return Verdict::Deny(reason),
                Authorization::Ignore => {}
            }
        }
        if granted {
            Verdict::Grant
        } else {
            Verdict::Deny(Cow::Borrowed(DENIED_BY_NOT_GRANTING))
        }
    }
}
