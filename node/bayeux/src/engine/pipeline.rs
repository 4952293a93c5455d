//! The way of one message from a client, in the order of reference 5.1:
//! reply skeleton, field validation, incoming extensions, session check and timers, then the handler of its channel.

use super::Engine;
use crate::call::Waiting;
use crate::json::{self, RawMessage};
use crate::message::Message;
use crate::refusal::{self, FrameRefusal};
use crate::reply::Reply;
use crate::session::{Session, Transport};
use crate::{
    Activity, Advice, ChannelKind, ChannelName, HttpRequest, Millis, Request, RequestHead,
    SessionId, UpgradeHead, timestamp, timesync,
};
use smallvec::SmallVec;
use std::sync::Arc;

/// The protocol's own channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Meta {
    Handshake,
    Connect,
    Subscribe,
    Unsubscribe,
    Disconnect,
}

/// Their names, made once.
pub(super) struct MetaChannels {
    names: [(Meta, ChannelName); 5],
}

impl MetaChannels {
    pub(super) fn new() -> Self {
        let name = |text| ChannelName::parse(text).expect("a constant, valid name");
        Self {
            names: [
                (Meta::Connect, name("/meta/connect")),
                (Meta::Subscribe, name("/meta/subscribe")),
                (Meta::Handshake, name("/meta/handshake")),
                (Meta::Unsubscribe, name("/meta/unsubscribe")),
                (Meta::Disconnect, name("/meta/disconnect")),
            ],
        }
    }

    pub(super) fn find(&self, text: &str) -> Option<&(Meta, ChannelName)> {
        self.names.iter().find(|(_, name)| name.as_str() == text)
    }
}

/// Where a message comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Origin<'a> {
    WebSocket {
        connection: u64,
        upgrade: Option<&'a UpgradeHead>,
    },
    Http {
        request: &'a HttpRequest<'a>,
        /// The only message of its request.
        alone: bool,
    },
    Local {
        /// Where the sender waits for the answer to a call.
        waiting: Option<&'a Arc<Waiting>>,
    },
}

impl<'a> Origin<'a> {
    pub(super) const fn transport(&self) -> Transport {
        match self {
            Self::WebSocket { .. } => Transport::WebSocket,
            Self::Http { request, .. } if request.callback => Transport::CallbackPolling,
            Self::Http { .. } => Transport::LongPolling,
            Self::Local { .. } => Transport::Local,
        }
    }

    pub(crate) fn request(&self) -> Request<'a> {
        let head = match self {
            Self::WebSocket { upgrade, .. } => upgrade.map(|head| head as &dyn RequestHead),
            Self::Http { request, .. } => request.head,
            Self::Local { .. } => None,
        };
        Request {
            transport: self.transport(),
            head,
        }
    }
}

/// What the transport has to do beside sending the reply.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing.
    Replied,
    /// A connect has been answered at once: the queue goes out with it.
    Connected { generation: u32 },
    /// A connect has ended its session, for its client was inactive: the disconnect message goes out with the reply.
    Inactive,
    /// There is no reply yet: the connect is held.
    Parked { generation: u32 },
    /// There is a new session, and a cookie to set for a new browser.
    Handshaken(Arc<Session>, Option<String>),
    /// The client has ended its session: a held connect is answered before this.
    Disconnected,
}

/// A message on its way: where it comes from, and the session that its connection or request stands for.
#[derive(Clone, Copy)]
pub(super) struct Context<'a> {
    pub(super) origin: Origin<'a>,
    pub(super) session: Option<&'a Arc<Session>>,
    pub(super) now: Millis,
}

/// Subscriptions of a subscribe or unsubscribe, usually one.
pub(super) type Channels = SmallVec<[ChannelName; 1]>;

/// A message whose fields are in order.
struct Valid {
    channel: ChannelName,
    meta: Option<Meta>,
    subscriptions: Channels,
}

/// `null` counts as absent.
fn present(field: Option<&str>) -> Option<&str> {
    field.filter(|raw| *raw != "null")
}

fn is_valid_id(raw: &str) -> bool {
    if raw.starts_with(['{', '[']) {
        return false;
    }
    let text = crate::message::id_text(raw);
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

/// Reads `subscription`: a channel name or an array of them.
fn parse_subscriptions(raw: Option<&str>) -> Result<Channels, &'static str> {
    let raw = present(raw).ok_or(refusal::SUBSCRIPTION_MISSING)?;
    let parse = |raw: &str| {
        json::decode_string(raw)
            .and_then(|text| ChannelName::parse(&text).ok())
            .ok_or(refusal::SUBSCRIPTION_INVALID)
    };
    match json::elements(raw) {
        Some(elements) => elements.into_iter().map(parse).collect(),
        None => Ok(SmallVec::from_iter([parse(raw)?])),
    }
}

impl Engine {
    /// Reads a frame and checks what concerns it as a whole. An error means that nothing in it has taken effect.
    pub(super) fn read_frame<'a>(
        &self,
        text: &'a str,
    ) -> Result<SmallVec<[RawMessage<'a>; 1]>, FrameRefusal> {
        if text.len() > self.config.max_message_bytes {
            return Err(FrameRefusal::TooLarge {
                bytes: text.len(),
                max: self.config.max_message_bytes,
            });
        }
        let messages = json::scan_frame(text, self.config.max_depth, self.config.max_batch)?;
        if messages.len() > 1
            && messages
                .iter()
                .any(|message| self.meta_of(message) == Some(Meta::Handshake))
        {
            return Err(FrameRefusal::HandshakeNotAlone);
        }
        self.counters.received.add(messages.len() as i64);
        Ok(messages)
    }

    pub(super) fn meta_of(&self, message: &RawMessage<'_>) -> Option<Meta> {
        let channel = json::decode_string(message.channel?)?;
        Some(self.meta.find(channel.trim_end_matches([' ', '/']))?.0)
    }

    /// The `clientId` of a message, if it can be one.
    pub(super) fn session_id_of(message: &RawMessage<'_>) -> Option<SessionId> {
        SessionId::parse(&json::decode_string(message.client_id?)?)
    }

    /// Field validation, reference 5.3; before anything is known of the session.
    fn validate(&self, raw: &RawMessage<'_>) -> Result<Valid, &'static str> {
        let channel = present(raw.channel).ok_or(refusal::CHANNEL_MISSING)?;
        let channel = json::decode_string(channel).ok_or(refusal::CHANNEL_INVALID)?;
        let (meta, channel) = match self.meta.find(&channel) {
            Some((meta, name)) => (Some(*meta), name.clone()),
            None => {
                let name = ChannelName::parse(&channel).map_err(|_| refusal::CHANNEL_INVALID)?;
                (self.meta.find(name.as_str()).map(|(meta, _)| *meta), name)
            }
        };
        if present(raw.id).is_some_and(|id| !is_valid_id(id)) {
            return Err(refusal::MESSAGE_ID_INVALID);
        }
        if present(raw.ext).is_some_and(|ext| !ext.starts_with('{')) {
            return Err(refusal::EXT_INVALID);
        }
        if meta == Some(Meta::Connect)
            && present(raw.advice).is_some_and(|advice| !advice.starts_with('{'))
        {
            return Err(refusal::ADVICE_INVALID);
        }
        let subscriptions = match meta {
            Some(Meta::Subscribe | Meta::Unsubscribe) => parse_subscriptions(raw.subscription)?,
            _ => Channels::new(),
        };
        Ok(Valid {
            channel,
            meta,
            subscriptions,
        })
    }

    /// Processes one message. Everything but the policy's `Later` answers happens without suspending.
    pub(super) async fn process<'m>(
        self: &Arc<Self>,
        context: &Context<'_>,
        raw: &'m RawMessage<'m>,
        reply: &mut Reply<'m>,
    ) -> Outcome {
        reply.channel = raw.channel.filter(|raw| raw.starts_with('"'));
        reply.id = present(raw.id).filter(|raw| !raw.starts_with(['{', '[']));
        reply.subscription = raw.subscription;
        reply.received = context.now;
        let valid = match self.validate(raw) {
            Ok(valid) => valid,
            Err(error) => {
                reply.refuse(error);
                return Outcome::Replied;
            }
        };
        let message = Message {
            raw,
            channel: &valid.channel,
            origin: &context.origin,
        };
        if self.config.timesync && valid.channel.kind() == ChannelKind::Meta {
            timesync::begin(raw.ext, reply, self.unix_ms(context.now));
        }
        // A disconnect may land before the connect is through.
        let began = valid.meta == Some(Meta::Connect)
            && context.session.is_some_and(|session| session.is_live());
        if self.stopped_by_extension(context.session, &message, reply, context.now) {
            reply.refuse(refusal::MESSAGE_DELETED);
            return Outcome::Replied;
        }
        if valid.meta == Some(Meta::Handshake) {
            if self.message_stopped(None, &message, context.now) {
                reply.refuse(refusal::MESSAGE_DELETED);
                return Outcome::Replied;
            }
            return self.handshake(context, &message, reply).await;
        }
        let Some(session) = self.check_session(context, valid.meta, raw) else {
            reply.refuse(refusal::SESSION_UNKNOWN);
            if valid.meta == Some(Meta::Connect) {
                let ended = context.session.filter(|_| began);
                reply.advice = Some(ended.map_or(Advice::HANDSHAKE, |s| s.advice_of_end()));
            }
            return Outcome::Replied;
        };
        if valid.meta.is_some() && self.message_stopped(Some(session), &message, context.now) {
            reply.refuse(refusal::MESSAGE_DELETED);
            return Outcome::Replied;
        }
        match (valid.meta, valid.channel.kind()) {
            (Some(Meta::Connect), _) => return self.connect(context, session, raw, reply),
            (Some(Meta::Disconnect), _) => {
                self.end(session, crate::EndReason::Disconnected, context.now);
                reply.succeed();
                return Outcome::Disconnected;
            }
            (Some(Meta::Subscribe), _) => {
                self.subscribe(session, &message, &valid.subscriptions, reply)
                    .await
            }
            (Some(Meta::Unsubscribe), _) => self.unsubscribe(session, &valid.subscriptions, reply),
            (_, ChannelKind::Meta) => {
                let reason = crate::DENIED_BY_SECURITY_POLICY;
                reply.refuse(refusal::denied(refusal::Denied::ChannelCreate, reason));
            }
            (_, ChannelKind::Service) => self.call_service(context, session, &message, reply).await,
            (_, ChannelKind::Broadcast) => self.broadcast(context, session, &message, reply).await,
        }
        Outcome::Replied
    }

    /// The session, if the message names the one of its connection and that is live. Touches timers and binding (reference 3.4, 7.3).
    fn check_session<'a>(
        &self,
        context: &Context<'a>,
        meta: Option<Meta>,
        raw: &RawMessage<'_>,
    ) -> Option<&'a Arc<Session>> {
        let session = context.session?;
        if Self::session_id_of(raw)? != *session.id() {
            return None;
        }
        let mut state = session.state.lock();
        if !state.is_live() {
            return None;
        }
        if !session.is_local() {
            state.begin_processing(&self.config, context.now);
        }
        if let Origin::WebSocket { connection, .. } = context.origin {
            state.bind(connection, &self.config, context.now);
        }
        if meta != Some(Meta::Connect) {
            if self.config.activity != Activity::Off {
                state.active_at = context.now;
            }
            state.heard(&self.config, context.now);
            self.arm(session, &mut state);
        }
        Some(session)
    }

    /// Appends the reply, after a comma if it is not the first, unless an extension drops it.
    pub(super) fn encode_reply(
        &self,
        session: Option<&Arc<Session>>,
        reply: &mut Reply<'_>,
        now: Millis,
        out: &mut Vec<u8>,
    ) -> bool {
        if self.config.timesync && !reply.ext.is_empty() {
            timesync::complete(reply, now.since(reply.received));
        }
        if self.reply_dropped_by_extension(session, reply, now) {
            return false;
        }
        out.push(if out.is_empty() { b'[' } else { b',' });
        reply.encode(&self.config, out);
        if self.config.timestamp {
            out.pop();
            out.extend_from_slice(b",\"timestamp\":\"");
            out.extend_from_slice(timestamp::text(self.unix_ms(now)).as_bytes());
            out.extend_from_slice(b"\"}");
        }
        true
    }
}
