use crate::{ChannelName, Decision, Message, Session};
use std::borrow::Cow;
use std::sync::Arc;

/// What a session wants to do with a channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Operation {
    /// Name one that does not exist yet, by a publish or subscribe.
    Create,
    /// Subscribe to it.
    Subscribe,
    /// Publish on it.
    Publish,
}

/// An authorizer's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Authorization {
    /// Yes, unless another authorizer denies.
    Grant,
    /// No, whatever others say, with the middle part of the error string `403:<reason>:..._denied`.
    Deny(Cow<'static, str>),
    /// Let others decide.
    Ignore,
}

/// Decides on one channel or pattern, after the security policy has granted (reference 6.3).
///
/// All authorizers of the channel and of the patterns that match it are asked, from `/**` to the channel itself. Without any the
/// operation is granted. One that denies decides; otherwise at least one must grant: where all ignore, the operation is refused with
/// `denied_by_not_granting`. A channel with an authorizer of its own counts as existing.
pub trait Authorizer: Send + Sync {
    /// A session wants to do something with a channel. `Later` futures own their inputs.
    fn authorize(
        &self,
        operation: Operation,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Authorization>;
}

/// Identifies an authorizer of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AuthorizerId(pub(crate) u64);
