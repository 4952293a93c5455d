use super::Engine;
use super::pipeline::{Context, Origin, Outcome};
use crate::admission::Admitted;
use crate::json::RawMessage;
use crate::message::Message;
use crate::refusal::{self, Denied, denied};
use crate::reply::Reply;
use crate::session::{BrowserSlots, ClientAdvice, ConnectOutcome, ConnectRequest, Session};
use crate::tree::Subscriber;
use crate::{
    Activity, AddressGroup, Advice, ChannelKind, ChannelName, DENIED_BY_SECURITY_POLICY, EndReason,
    Flow, HandshakeVerdict, LIMIT_REACHED, Millis, Operation, Publication, Reconnect, Verdict,
};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The held connects of a session's browser.
pub(super) struct Slots<'a> {
    pub(super) engine: &'a Engine,
    pub(super) session: &'a Session,
    pub(super) http2: bool,
}

impl BrowserSlots for Slots<'_> {
    fn take(&self) -> bool {
        let config = &self.engine.config;
        let max = if self.http2 {
            config.http2_max_sessions_per_browser
        } else {
            config.max_sessions_per_browser
        };
        match self.session.browser() {
            Some(browser) => self.engine.browsers.take_slot(browser, max),
            None => max != 0,
        }
    }

    fn give_back(&self) {
        if let Some(browser) = self.session.browser() {
            self.engine.browsers.give_slot_back(browser);
        }
    }
}

/// A session's place while its handshake is in process; survives a policy that answers later, and cancellation.
struct Place<'a>(&'a Engine);

impl<'a> Place<'a> {
    fn take(engine: &'a Engine) -> Option<Self> {
        // Before the sessions are counted: who gives a place back here has made a session or none, and is seen in one of the two.
        let handshakes = engine.handshakes.fetch_add(1, Ordering::AcqRel) + 1;
        let place = Self(engine);
        (engine.session_count() + handshakes <= engine.config.max_sessions).then_some(place)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::AcqRel);
    }
}

/// How long a client is advised to wait when the node has all the sessions it may have.
const LIMIT_INTERVAL_MS: u64 = 10_000;

impl Engine {
    pub(super) async fn handshake(
        self: &Arc<Self>,
        context: &Context<'_>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
    ) -> Outcome {
        let Some(_place) = Place::take(self) else {
            reply.refuse(refusal::SESSION_LIMIT_REACHED);
            reply.advice = Some(Advice {
                interval_ms: Some(LIMIT_INTERVAL_MS),
                ..Advice::HANDSHAKE
            });
            return Outcome::Replied;
        };
        let address = message.request().remote_address().map(AddressGroup::of);
        let mut admitted = match Admitted::ask(self, address, context.now) {
            Ok(admitted) => admitted,
            Err(crowded) => {
                reply.refuse(crowded.error);
                reply.advice = Some(Advice {
                    interval_ms: Some(crowded.interval_ms),
                    ..Advice::HANDSHAKE
                });
                return Outcome::Replied;
            }
        };
        let (user, attachment) = match self.policy.can_handshake(message).resolve().await {
            HandshakeVerdict::Grant { user, attachment } => (user, attachment),
            HandshakeVerdict::Deny { reason, advice } => {
                reply.refuse(denied(Denied::Handshake, &reason));
                reply.advice = Some(advice.unwrap_or(Advice::NONE));
                return Outcome::Replied;
            }
        };
        let (browser, cookie) = match context.origin {
            Origin::Http { request, .. } => {
                let (id, new) = self.browsers.admit(request.browser, context.now);
                let cookie = new.then(|| id.to_string());
                (Some(id), cookie)
            }
            Origin::WebSocket { .. } | Origin::Local { .. } => (None, None),
        };
        let acknowledges = self.config.ack && message.ext_field("ack") == Some("true");
        let transport = context.origin.transport();
        let session = self.add_session(transport, user, attachment, browser, None, acknowledges);
        reply.succeed();
        if acknowledges {
            reply.set_ext_raw("ack", "true");
        }
        if self.config.allow_message_delivery_during_handshake {
            self.announce_greeting(context, &session, reply);
        }
        reply.session_id = Some(*session.id());
        {
            let mut state = session.state.lock();
            // A listener may have ended it.
            if state.is_live() {
                state.place = admitted.keep();
            }
            state.active_at = context.now;
            state.begin_processing(&self.config, context.now);
            self.arm(&session, &mut state);
            reply.advice = Some(state.full_advice(&self.config));
        }
        Outcome::Handshaken(session, cookie)
    }

    /// What was queued while the session was made goes with or after the handshake reply (reference 5.5).
    fn announce_greeting(
        &self,
        context: &Context<'_>,
        session: &Arc<Session>,
        reply: &mut Reply<'_>,
    ) {
        let mut state = session.state.lock();
        self.let_thin(&mut state);
        reply.x_messages = state.queue.len();
        let bytes_max = match context.origin {
            Origin::WebSocket { .. } => self.config.max_frame_bytes,
            Origin::Http { .. } | Origin::Local { .. } => usize::MAX,
        };
        if let Some(batch) = state.offer(reply, bytes_max) {
            reply.x_messages = batch;
            reply.set_ext_raw("ack", format!("{{\"enabled\":true,\"batch\":{batch}}}"));
        }
        if let Origin::WebSocket { connection, .. } = context.origin
            && reply.x_messages > 0
        {
            state.bind(connection, &self.config, context.now);
        }
    }

    /// Ends the session of a client that has been inactive for too long (reference 8.2). False if it has not been.
    fn end_inactive(&self, session: &Arc<Session>, slots: &Slots<'_>, now: Millis) -> bool {
        if self.config.activity == Activity::Off {
            return false;
        }
        let displaced = {
            let mut state = session.state.lock();
            let idle_ms = now.since(state.active_at);
            if !state.is_live() || idle_ms <= self.config.max_inactivity_ms {
                return false;
            }
            state.displace_hold(slots)
        };
        if let Some(waker) = displaced {
            waker.wake();
        }
        self.end(session, EndReason::Server, now)
    }

    pub(super) fn connect(
        &self,
        context: &Context<'_>,
        session: &Arc<Session>,
        raw: &RawMessage<'_>,
        reply: &mut Reply<'_>,
    ) -> Outcome {
        let (connection, http2, alone) = match context.origin {
            Origin::WebSocket { connection, .. } => (connection, false, false),
            Origin::Http { request, alone } => (0, request.http2, alone),
            Origin::Local { .. } => (0, false, false),
        };
        let slots = Slots {
            engine: self,
            session,
            http2,
        };
        if self.end_inactive(session, &slots, context.now) {
            reply.refuse(refusal::SESSION_UNKNOWN);
            reply.advice = Some(Advice {
                interval_ms: Some(0),
                ..Advice::NONE
            });
            return Outcome::Inactive;
        }
        let advice = raw.advice.filter(|advice| advice.starts_with('{'));
        let request = ConnectRequest {
            transport: context.origin.transport(),
            connection,
            advice: advice
                .map(|advice| ClientAdvice::parse(advice, self.config.max_client_advice_ms)),
            alone,
            id: reply.id,
            ext: &mut reply.ext,
        };
        let ack = raw.ext.and_then(|ext| crate::message::member(ext, "ack"));
        let (outcome, displaced, generation) = {
            let mut state = session.state.lock();
            if state.is_live() {
                let confirmed = state.acknowledge(ack);
                self.counters.queue_bytes.add(-(confirmed as i64));
            }
            let (outcome, displaced) = state.connect(request, &slots, &self.config, context.now);
            self.arm(session, &mut state);
            (outcome, displaced, state.generation)
        };
        displaced.wake();
        match outcome {
            ConnectOutcome::Parked { generation } => return Outcome::Parked { generation },
            ConnectOutcome::Reply(advice) => {
                reply.succeed();
                reply.advice = advice;
            }
            // No `error` field, reference 1.9.
            ConnectOutcome::TooMany => {
                reply.advice = Some(Advice {
                    multiple_clients: true,
                    ..Advice::only(Reconnect::None)
                });
            }
            ConnectOutcome::Unknown => {
                reply.refuse(refusal::SESSION_UNKNOWN);
                reply.advice = Some(session.advice_of_end());
                return Outcome::Replied;
            }
        }
        Outcome::Connected { generation }
    }

    /// Elements in order, up to the first refusal; those before it stay subscribed (reference 5.7).
    pub(super) async fn subscribe(
        &self,
        session: &Arc<Session>,
        message: &Message<'_>,
        channels: &[ChannelName],
        reply: &mut Reply<'_>,
    ) {
        reply.succeed();
        for channel in channels {
            if let Err(error) = self.subscribe_one(session, message, channel).await {
                reply.refuse(error);
                return;
            }
        }
    }

    async fn subscribe_one(
        &self,
        session: &Arc<Session>,
        message: &Message<'_>,
        channel: &ChannelName,
    ) -> Result<(), Cow<'static, str>> {
        if channel.kind() == ChannelKind::Service {
            return Ok(());
        }
        let meta = self.meta.find(channel.as_str()).is_some();
        let internal = self.is_closed(channel);
        if !session.is_local() && (channel.kind() == ChannelKind::Meta || internal) {
            let what = if meta || internal {
                Denied::Subscribe
            } else {
                Denied::Create
            };
            return Err(denied(what, DENIED_BY_SECURITY_POLICY));
        }
        if !meta
            && !self.channel_exists(channel)
            && let Verdict::Deny(reason) = self
                .authorise(Operation::Create, session, channel, message)
                .resolve()
                .await
        {
            return Err(denied(Denied::Create, &reason));
        }
        if let Verdict::Deny(reason) = self
            .authorise(Operation::Subscribe, session, channel, message)
            .resolve()
            .await
        {
            return Err(denied(Denied::Subscribe, &reason));
        }
        if channel.kind() == ChannelKind::Meta {
            return Err(refusal::SUBSCRIBE_FAILED.into());
        }
        self.subscribe_unasked(session, channel)
    }

    /// Whether the channel is one of the cluster's that remote sessions do not reach.
    fn is_closed(&self, channel: &ChannelName) -> bool {
        !self.config.internal_channels && channel.is_internal()
    }

    /// Subscribes without asking the policy.
    pub(super) fn subscribe_unasked(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
    ) -> Result<(), Cow<'static, str>> {
        let listeners = self.subscription_listeners.load();
        {
            let mut subscriptions = session.subscriptions.lock();
            if subscriptions.closed {
                return Err(refusal::SUBSCRIBE_FAILED.into());
            }
            let Err(position) = subscriptions.channels.binary_search(channel) else {
                return Ok(());
            };
            if !session.is_local() && subscriptions.channels.len() >= self.config.max_subscriptions
            {
                return Err(denied(Denied::Subscribe, LIMIT_REACHED));
            }
            self.tree
                .subscribe(channel, Subscriber::session(session), &listeners)
                .map_err(|_| denied(Denied::Create, LIMIT_REACHED))?;
            subscriptions.channels.insert(position, channel.clone());
        }
        for listener in listeners.iter() {
            listener.subscribed(session, channel);
        }
        Ok(())
    }

    /// Not being subscribed is success; a channel that does not exist is not (reference 5.7).
    pub(super) fn unsubscribe(
        &self,
        session: &Arc<Session>,
        channels: &[ChannelName],
        reply: &mut Reply<'_>,
    ) {
        reply.succeed();
        for channel in channels {
            match channel.kind() {
                ChannelKind::Service => {}
                ChannelKind::Meta if self.meta.find(channel.as_str()).is_some() => {
                    return reply.refuse(refusal::UNSUBSCRIBE_FAILED);
                }
                _ if !self.channel_exists(channel) => {
                    return reply.refuse(refusal::CHANNEL_MISSING);
                }
                _ => {
                    self.unsubscribe_session(session, channel);
                }
            }
        }
    }

    /// Whether the session may publish; the error string if not.
    pub(super) async fn authorise_publish(
        &self,
        session: &Arc<Session>,
        message: &Message<'_>,
        exists: bool,
    ) -> Result<(), Cow<'static, str>> {
        let channel = message.channel();
        if self.is_closed(channel) && !session.is_local() {
            return Err(denied(Denied::Publish, DENIED_BY_SECURITY_POLICY));
        }
        if !exists
            && let Verdict::Deny(reason) = self
                .authorise(Operation::Create, session, channel, message)
                .resolve()
                .await
        {
            return Err(denied(Denied::ChannelCreate, &reason));
        }
        match self
            .authorise(Operation::Publish, session, channel, message)
            .resolve()
            .await
        {
            // It may have ended while a policy was thinking.
            Verdict::Grant if !session.is_live() => Err(refusal::SESSION_UNKNOWN.into()),
            Verdict::Grant => Ok(()),
            Verdict::Deny(reason) => Err(denied(Denied::Publish, &reason)),
        }
    }

    pub(super) async fn broadcast(
        &self,
        context: &Context<'_>,
        session: &Arc<Session>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
    ) {
        let channel = message.channel();
        let exists = self.channel_exists(channel);
        if let Err(error) = self.authorise_publish(session, message, exists).await {
            return reply.refuse(error);
        }
        if !exists {
            // The channel only has to exist for a later unsubscribe to find it: beyond the limits it simply does not.
            let creator = Some(session).filter(|session| !session.is_local());
            let _ = self.tree.create(channel, creator);
        }
        if self.message_stopped(Some(session), message, context.now) {
            return reply.refuse(refusal::MESSAGE_DELETED);
        }
        let Ok(replaced) = self.filtered_data(Some(session), channel, message.data()) else {
            return reply.refuse(refusal::MESSAGE_DELETED);
        };
        let mut publication = Publication::relay(channel.clone(), message.raw);
        if let Some(data) = replaced {
            publication = publication.with_data(&data);
        }
        let publication = if self.config.timestamp {
            self.stamped(&publication, false, context.now).into_owned()
        } else {
            publication
        };
        for extension in self.extensions.load().iter().rev() {
            match extension.outgoing_broadcast(session, &publication, context.now) {
                Flow::Continue => {}
                Flow::Stop => return reply.refuse(refusal::MESSAGE_DELETED),
                Flow::Taken => return reply.succeed(),
            }
        }
        reply.succeed();
        self.fan_out(&publication, Some(session), true, context.now);
    }
}
