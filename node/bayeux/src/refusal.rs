//! What clients are told when something is refused: Bayeux error strings, WebSocket close codes and HTTP statuses, in one place.

use crate::json::ScanError;
use std::borrow::Cow;
use thiserror::Error;

pub(crate) const SESSION_UNKNOWN: &str = "402::session_unknown";
pub(crate) const CHANNEL_MISSING: &str = "400::channel_missing";
pub(crate) const CHANNEL_INVALID: &str = "405::channel_invalid";
pub(crate) const MESSAGE_ID_INVALID: &str = "405::message_id_invalid";
pub(crate) const SUBSCRIPTION_MISSING: &str = "403::subscription_missing";
pub(crate) const SUBSCRIPTION_INVALID: &str = "403::subscription_invalid";
pub(crate) const SUBSCRIBE_FAILED: &str = "403::subscribe_failed";
pub(crate) const UNSUBSCRIBE_FAILED: &str = "403::unsubscribe_failed";
/// Not a stock string: stock servers have no such limit.
pub(crate) const SESSION_LIMIT_REACHED: &str = "503::session_limit_reached";
pub(crate) const MESSAGE_DELETED: &str = "404::message_deleted";
/// Not a stock string: there a wrong type in `advice` fails the whole request.
pub(crate) const ADVICE_INVALID: &str = "400::advice_invalid";
/// Not a stock string: there a wrong type in `ext` fails the whole request.
pub(crate) const EXT_INVALID: &str = "400::ext_invalid";

/// Reason of a refusal by the security policy.
pub const DENIED_BY_SECURITY_POLICY: &str = "denied_by_security_policy";
/// Reason of a refusal because no authorizer of the channel has granted.
pub const DENIED_BY_NOT_GRANTING: &str = "denied_by_not_granting";
/// Reason of a refusal to create a channel or subscription beyond a limit.
pub const LIMIT_REACHED: &str = "limit_reached";

/// What was refused with a reason: the last part of the error string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// A publish would create the channel.
    ChannelCreate,
    /// A subscribe would create the channel.
    Create,
    Publish,
    Subscribe,
    Handshake,
}

pub(crate) fn denied(what: Denied, reason: &str) -> Cow<'static, str> {
    let text = match what {
        Denied::ChannelCreate => "channel_create_denied",
        Denied::Create => "create_denied",
        Denied::Publish => "publish_denied",
        Denied::Subscribe => "subscribe_denied",
        Denied::Handshake => "handshake_denied",
    };
    Cow::Owned(format!("403:{reason}:{text}"))
}

/// A frame that cannot be answered message by message. Nothing in it has taken effect.
///
/// | refused | HTTP status | WebSocket close |
/// |---|---|---|
/// | not JSON, nested too deep, empty | 400 | 1007 |
/// | JSON but no Bayeux frame (empty array, element not an object, field twice) | 400 | 1003 |
/// | too many messages | 400 | 1008 |
/// | handshake together with other messages | 400 | 1003 |
/// | larger than `max_message_bytes` | 413 | 1009 |
///
/// CometD answers the rows after the first with 500 and 1011; clients only look at whether it is a failure.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FrameRefusal {
    /// The text is no frame.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// The text is too large.
    #[error("message too large: {bytes} > {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The size allowed.
        max: usize,
    },
    /// A handshake must be alone in its frame.
    #[error("handshake together with other messages")]
    HandshakeNotAlone,
}

/// Why a WebSocket connection must be closed: the code and reason of the close frame.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("close {code}: {reason}")]
pub struct FrameError {
    /// Close code.
    pub code: u16,
    /// Reason, short enough for a close frame (at most 123 bytes).
    pub reason: String,
}

/// Why an HTTP request is answered with an error status.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{status}: {text}")]
pub struct HttpError {
    /// HTTP status.
    pub status: u16,
    /// Text for the body.
    pub text: String,
}

impl From<FrameRefusal> for FrameError {
    fn from(refusal: FrameRefusal) -> Self {
        let code = match &refusal {
            FrameRefusal::TooLarge { .. } => 1009,
            FrameRefusal::Scan(ScanError::TooManyMessages { .. }) => 1008,
            FrameRefusal::Scan(error) if error.is_syntax() => 1007,
            FrameRefusal::Scan(_) | FrameRefusal::HandshakeNotAlone => 1003,
        };
        Self {
            code,
            reason: refusal.to_string(),
        }
    }
}

impl From<FrameRefusal> for HttpError {
    fn from(refusal: FrameRefusal) -> Self {
        let status = match &refusal {
            FrameRefusal::TooLarge { .. } => 413,
            FrameRefusal::Scan(_) | FrameRefusal::HandshakeNotAlone => 400,
        };
        Self {
            status,
            text: refusal.to_string(),
        }
    }
}
