use super::Engine;
use super::pipeline::{Context, Origin};
use crate::message::Message;
use crate::refusal::{self, Denied, denied};
use crate::reply::Reply;
use crate::session::Session;
use crate::{ChannelName, LIMIT_REACHED, RemoteCall, Responder, Service, ServiceReply};
use ahash::RandomState;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What handles a service channel.
#[derive(Clone)]
pub(super) enum Handler {
    Service(Arc<dyn Service>),
    Call(Arc<dyn RemoteCall>),
}

/// The handlers by channel or pattern.
pub(super) type Handlers = HashMap<ChannelName, Handler, RandomState>;

impl Engine {
    /// Sets the handler of a service channel; a wildcard such as `/service/x/*` handles what has no handler of its own. Replaces the one
    /// that was there.
    pub fn add_service(&self, channel: ChannelName, service: Arc<dyn Service>) {
        self.set_handler(channel, Handler::Service(service));
    }

    /// Sets what answers calls on a service channel, like [`Engine::add_service`]: a channel has a service or a remote call.
    pub fn add_remote_call(&self, channel: ChannelName, call: Arc<dyn RemoteCall>) {
        self.set_handler(channel, Handler::Call(call));
    }

    /// Removes the service or remote call of a channel or pattern. False when there is none. Messages are then accepted and reach nobody;
    /// one that is in process may still be handled.
    pub fn remove_service(&self, channel: &ChannelName) -> bool {
        let before = self.services.rcu(|handlers| {
            let mut handlers = Handlers::clone(handlers);
            handlers.remove(channel);
            handlers
        });
        before.contains_key(channel)
    }

    /// Whether a call on this service channel would be answered: a remote call is set for it, or for a pattern that matches it first.
    #[must_use]
    pub fn answers_calls(&self, channel: &ChannelName) -> bool {
        matches!(self.handler_of(channel), Some(Handler::Call(_)))
    }

    fn set_handler(&self, channel: ChannelName, handler: Handler) {
        self.services.rcu(|handlers| {
            let mut handlers = Handlers::clone(handlers);
            handlers.insert(channel.clone(), handler.clone());
            handlers
        });
    }

    fn handler_of(&self, channel: &ChannelName) -> Option<Handler> {
        let handlers = self.services.load();
        let mut found = None;
        if !handlers.is_empty() {
            channel.for_each_consulted(|name| {
                if found.is_none() {
                    found = handlers.get(name).cloned();
                }
            });
        }
        found
    }

    pub(super) async fn call_service(
        self: &Arc<Self>,
        context: &Context<'_>,
        session: &Arc<Session>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
    ) {
        // Looked up again afterwards: held meanwhile it would enlarge the futures of all connections.
        let exists =
            self.handler_of(message.channel()).is_some() || self.channel_exists(message.channel());
        if let Err(error) = self.authorise_publish(session, message, exists).await {
            return reply.refuse(error);
        }
        if self.message_stopped(Some(session), message, context.now) {
            return reply.refuse(refusal::MESSAGE_DELETED);
        }
        let Ok(replaced) = self.filtered_data(Some(session), message.channel(), message.data())
        else {
            return reply.refuse(refusal::MESSAGE_DELETED);
        };
        if let Some(data) = &replaced {
            let raw = message.raw.with_data(data);
            let message = Message {
                raw: &raw,
                ..*message
            };
            return self.hand_to_service(context, session, &message, reply);
        }
        self.hand_to_service(context, session, message, reply);
    }

    /// What the channel's service makes of a message that may reach it.
    fn hand_to_service(
        self: &Arc<Self>,
        context: &Context<'_>,
        session: &Arc<Session>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
    ) {
        reply.succeed();
        match self.handler_of(message.channel()) {
            None => {}
            Some(Handler::Service(service)) => {
                if let ServiceReply::Refused(error) = service.message(session, message, context.now)
                {
                    reply.refuse(error);
                }
            }
            Some(Handler::Call(call)) => match self.responder(context, session, message) {
                Ok(responder) => call.call(session, message, responder, context.now),
                Err(error) => reply.refuse(error),
            },
        }
    }

    /// Counts a call that begins. Calls of code inside the node are not limited.
    fn responder(
        self: &Arc<Self>,
        context: &Context<'_>,
        session: &Arc<Session>,
        message: &Message<'_>,
    ) -> Result<Responder, Cow<'static, str>> {
        let of_node = self.calls.fetch_add(1, Ordering::Relaxed);
        let of_session = {
            let mut state = session.state.lock();
            let rare = state.rare_mut();
            rare.calls += 1;
            rare.calls
        };
        let within = of_session as usize <= self.config.max_calls_per_session
            && of_node < self.config.max_calls as u64;
        if !within && !session.is_local() {
            self.call_ended(session);
            return Err(denied(Denied::Publish, LIMIT_REACHED));
        }
        let waiting = match context.origin {
            Origin::Local { waiting } => waiting.cloned(),
            Origin::WebSocket { .. } | Origin::Http { .. } => None,
        };
        Ok(Responder::new(
            self.clone(),
            session.clone(),
            message,
            waiting,
        ))
    }

    pub(crate) fn call_ended(&self, session: &Session) {
        session.state.lock().rare_mut().calls -= 1;
        self.calls.fetch_sub(1, Ordering::Relaxed);
    }
}
