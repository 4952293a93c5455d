use crate::refusal::DENIED_BY_SECURITY_POLICY;
use crate::{Advice, ChannelKind, ChannelName, Message, Session, UserId, json};
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

/// A future that owns what it needs.
pub type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The answer of a policy: at once, without allocation, or later, after asking elsewhere.
pub enum Decision<T> {
    /// The answer.
    Now(T),
    /// The answer to come. Messages of the same frame wait for it; other sessions do not.
    Later(BoxFuture<T>),
}

impl<T> Decision<T> {
    /// As small as the decision itself: an `async fn` would hold it and the future in it side by side.
    pub(crate) fn resolve(self) -> impl Future<Output = T> {
        let mut decision = Some(self);
        poll_fn(move |context| match decision.take() {
            Some(Self::Now(answer)) => Poll::Ready(answer),
            Some(Self::Later(mut future)) => {
                let answer = future.as_mut().poll(context);
                if answer.is_pending() {
                    decision = Some(Self::Later(future));
                }
                answer
            }
            None => Poll::Pending,
        })
    }
}

impl<T: fmt::Debug> fmt::Debug for Decision<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Now(answer) => f.debug_tuple("Now").field(answer).finish(),
            Self::Later(_) => f.write_str("Later"),
        }
    }
}

/// Whether something is allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Allowed.
    Grant,
    /// Refused, with the middle part of the error string `403:<reason>:..._denied`.
    Deny(Cow<'static, str>),
}

impl Verdict {
    /// A refusal with the reason `denied_by_security_policy`.
    #[must_use]
    pub const fn deny() -> Self {
        Self::Deny(Cow::Borrowed(DENIED_BY_SECURITY_POLICY))
    }

    const fn from_bool(granted: bool) -> Self {
        if granted { Self::Grant } else { Self::deny() }
    }
}

/// What a policy learned at the handshake and wants back with the session: roles, say, or when a credential expires.
#[derive(Clone)]
pub struct Attachment(Arc<dyn Any + Send + Sync>);

impl Attachment {
    /// Wraps a value.
    #[must_use]
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Arc::new(value))
    }

    /// The value, if it is of this type.
    #[must_use]
    pub fn get<T: Any>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Attachment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Attachment")
    }
}

impl PartialEq for Attachment {
    /// Whether both are the same value, not merely an equal one.
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for Attachment {}

/// Whether a client gets a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HandshakeVerdict {
    /// Yes, and who it is, if known.
    Grant {
        /// The authenticated user.
        user: Option<UserId>,
        /// Kept with the session, see [`Session::attachment`].
        attachment: Option<Attachment>,
    },
    /// No.
    Deny {
        /// The middle part of the error string `403:<reason>:handshake_denied`; empty for none.
        reason: Cow<'static, str>,
        /// Advice for the client; `reconnect: none` when absent.
        advice: Option<Advice>,
    },
}

impl HandshakeVerdict {
    /// Yes, with nothing to keep.
    #[must_use]
    pub const fn grant(user: Option<UserId>) -> Self {
        Self::Grant {
            user,
            attachment: None,
        }
    }

    /// No, without a reason: `403::handshake_denied`.
    #[must_use]
    pub const fn deny() -> Self {
        Self::Deny {
            reason: Cow::Borrowed(""),
            advice: None,
        }
    }
}

/// Decides what clients may do. The engine itself refuses, whatever the policy says, that a client subscribes or publishes to
/// `/meta/`, `/oort` and `/seti` channels.
///
/// `Later` futures own their inputs: clone what they need from the arguments.
pub trait SecurityPolicy: Send + Sync {
    /// A client asks for a session.
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict>;

    /// A session names a channel that does not exist yet.
    fn can_create(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict>;

    /// A session subscribes.
    fn can_subscribe(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict>;

    /// A session publishes, on a broadcast or a service channel.
    fn can_publish(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict>;
}

/// CometD's default rules (reference 6.3), and: clients do not reach the cluster's channels and do not publish to `/halley/`.
#[derive(Clone, Copy, Debug, Default)]
pub struct DefaultPolicy {
    trust_user: bool,
}

impl DefaultPolicy {
    /// The rules.
    ///
    /// With `trust_user` a client is whoever its handshake's `ext.halley.user` says: anyone can be anyone. For trials and for
    /// networks where something before the node writes that field; never for clients that reach the node directly.
    #[must_use]
    pub const fn new(trust_user: bool) -> Self {
        Self { trust_user }
    }
}

fn outside_meta(session: &Session, channel: &ChannelName) -> bool {
    session.is_local() || (channel.kind() != ChannelKind::Meta && !channel.is_internal())
}

impl SecurityPolicy for DefaultPolicy {
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
        let user = || {
            let halley = message
                .ext_field("halley")
                .filter(|value| value.starts_with('{'))?;
            let user = crate::message::member(halley, "user").and_then(json::decode_string)?;
            Some(UserId::new(&user))
        };
        Decision::Now(match self.trust_user.then(user).flatten() {
            None => HandshakeVerdict::grant(None),
            Some(Ok(user)) => HandshakeVerdict::grant(Some(user)),
            // A name that cannot be a user is not silently nobody.
            Some(Err(_)) => HandshakeVerdict::deny(),
        })
    }

    fn can_create(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        Decision::Now(Verdict::from_bool(outside_meta(session, channel)))
    }

    fn can_subscribe(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        Decision::Now(Verdict::from_bool(outside_meta(session, channel)))
    }

    fn can_publish(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        let reserved = !session.is_local() && channel.as_str().starts_with("/halley/");
        Decision::Now(Verdict::from_bool(
            outside_meta(session, channel) && !reserved,
        ))
    }
}
