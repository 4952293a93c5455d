//! The application decides: what it is asked over HTTP, and what becomes of its answers.
//!
//! While a hook thinks, nothing more is read from the connection whose message it is about: a slow application slows its own
//! clients down, and nothing piles up. Whatever goes wrong refuses.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{
    Advice, Attachment, BoxFuture, ChannelName, HandshakeVerdict, Message, Reconnect, Session,
    UserId, Verdict,
};
use http::Uri;
use prometheus::IntCounterVec;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::time::Instant;
use tracing::{debug, warn};

use super::asker::Asker;
use super::hook_client::{HookClient, HookFailure, HookLimits, address};
use super::identity::Identity;
use super::permissions::{Operation, Permissions};
use super::unix_clock::UnixClock;
use crate::config::HooksConfig;

/// For a client whose handshake could not be decided now.
pub(super) const TRY_AGAIN: Advice = try_again(2000);

/// Bytes of an answer.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// The longest reason of a hook that is passed on.
const REASON_BYTES_MAX: usize = 64;

/// What a client is told when a hook refuses without a reason, or with one that does not fit into an error string.
const DENIED_BY_HOOK: &str = "denied_by_hook";

/// The hooks of a node.
#[derive(Debug)]
pub(crate) struct Hooks {
    client: HookClient,
    handshake: Option<Uri>,
    subscribe: Option<Uri>,
    publish: Option<Uri>,
    node: String,
    /// Headers that are shown, in lower case.
    headers: Vec<String>,
    /// How long an answer counts again; zero: not at all.
    cache: Duration,
    clock: UnixClock,
    calls: IntCounterVec,
}

/// What is asked at a handshake.
#[derive(Serialize)]
struct HandshakeQuestion<'a> {
    hook: &'static str,
    node: &'a str,
    ext: Option<&'a RawValue>,
    /// The header, whatever its scheme.
    authorization: Option<&'a str>,
    #[serde(flatten)]
    asker: Asker<'a>,
}

#[derive(Deserialize)]
struct HandshakeAnswer {
    allow: bool,
    user: Option<String>,
    #[serde(default)]
    roles: Vec<String>,
    expires_in_ms: Option<u64>,
    reason: Option<String>,
    retry_ms: Option<u64>,
}

/// What is asked about a session and a channel.
#[derive(Serialize)]
struct ChannelQuestion<'a> {
    hook: &'static str,
    node: &'a str,
    session: u64,
    user: Option<&'a str>,
    channel: &'a str,
    #[serde(flatten)]
    asker: Asker<'a>,
}

#[derive(Deserialize)]
struct ChannelAnswer {
    allow: bool,
    reason: Option<String>,
}

impl Hooks {
    /// # Errors
    /// An address is not one.
    pub(crate) fn new(
        config: &HooksConfig,
        node: &str,
        clock: UnixClock,
        calls: IntCounterVec,
    ) -> Result<Self, String> {
        let read = |text: &Option<String>| text.as_deref().map(address).transpose();
        let limits = HookLimits {
            timeout_ms: config.timeout_ms,
            max_concurrent: config.max_concurrent,
            retries: config.retries,
            answer_bytes_max: ANSWER_BYTES_MAX,
        };
        Ok(Self {
            client: HookClient::new(&limits, config.token()),
            handshake: read(&config.handshake)?,
            subscribe: read(&config.subscribe)?,
            publish: read(&config.publish)?,
            node: node.to_owned(),
            headers: config.headers.clone(),
            cache: Duration::from_millis(config.cache_ms),
            clock,
            calls,
        })
    }

    /// Asks about a handshake; `None` when nobody is to be asked.
    pub(crate) fn handshake(
        self: &Arc<Self>,
        message: &Message<'_>,
        permissions: &Arc<Permissions>,
    ) -> Option<BoxFuture<HandshakeVerdict>> {
        let to = self.handshake.clone()?;
        let question = HandshakeQuestion {
            hook: "handshake",
            node: &self.node,
            // Validated by the engine; what this parser does not like is left out, and the application sees that.
            ext: message.ext().and_then(|ext| serde_json::from_str(ext).ok()),
            authorization: message.request().header("authorization"),
            asker: Asker::of(message, &self.headers),
        };
        let body = serde_json::to_vec(&question).unwrap_or_default();
        let (hooks, permissions) = (Arc::clone(self), Arc::clone(permissions));
        Some(Box::pin(async move {
            let answer = hooks.client.call(&to, body).await;
            let verdict = answer.and_then(|answer| hooks.judge_handshake(answer, &permissions));
            hooks.count(
                "handshake",
                verdict
                    .as_ref()
                    .map(|verdict| matches!(verdict, HandshakeVerdict::Grant { .. })),
            );
            verdict.unwrap_or_else(|failure| HandshakeVerdict::Deny {
                reason: failure.reason().into(),
                advice: Some(TRY_AGAIN),
            })
        }))
    }

    fn judge_handshake(
        &self,
        answer: HandshakeAnswer,
        permissions: &Permissions,
    ) -> Result<HandshakeVerdict, HookFailure> {
        if !answer.allow {
            return Ok(HandshakeVerdict::Deny {
                reason: reason(answer.reason),
                advice: answer.retry_ms.map(try_again),
            });
        }
        let user = answer
            .user
            .map(|user| UserId::new(&user))
            .transpose()
            .map_err(|_| HookFailure::Unusable("the user is not a user name".into()))?;
        let roles = permissions.known_roles(answer.roles.iter().map(String::as_str));
        let expires_at_ms = answer
            .expires_in_ms
            .map(|ms| self.clock.now_ms().saturating_add(ms));
        Ok(HandshakeVerdict::Grant {
            user,
            attachment: Some(Attachment::new(Identity::new(roles, expires_at_ms))),
        })
    }

    /// Asks about a session and a channel; `None` when nobody is to be asked.
    pub(crate) fn channel(
        self: &Arc<Self>,
        operation: Operation,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Option<Asked> {
        let to = match operation {
            Operation::Create => None,
            Operation::Subscribe => self.subscribe.clone(),
            Operation::Publish => self.publish.clone(),
        }?;
        if let Some(verdict) = session
            .attachment::<Identity>()
            .and_then(|identity| identity.answer(operation, channel, Instant::now()))
        {
            return Some(Asked::Known(verdict));
        }
        let question = ChannelQuestion {
            hook: operation.name(),
            node: &self.node,
            session: session.key(),
            user: session.user().map(UserId::as_str),
            channel: channel.as_str(),
            asker: Asker::of(message, &self.headers),
        };
        let body = serde_json::to_vec(&question).unwrap_or_default();
        let (hooks, session, channel) = (Arc::clone(self), Arc::clone(session), channel.clone());
        Some(Asked::Asking(Box::pin(async move {
            let verdict = hooks.ask(&to, body).await;
            hooks.count(
                operation.name(),
                verdict.as_ref().map(|verdict| *verdict == Verdict::Grant),
            );
            match verdict {
                Ok(verdict) => {
                    if let Some(identity) = session.attachment::<Identity>()
                        && !hooks.cache.is_zero()
                    {
                        let now = Instant::now();
                        identity.remember(operation, channel, verdict.clone(), now, hooks.cache);
                    }
                    verdict
                }
                Err(failure) => Verdict::Deny(failure.reason().into()),
            }
        })))
    }

    async fn ask(&self, to: &Uri, body: Vec<u8>) -> Result<Verdict, HookFailure> {
        let answer: ChannelAnswer = self.client.call(to, body).await?;
        Ok(if answer.allow {
            Verdict::Grant
        } else {
            Verdict::Deny(reason(answer.reason))
        })
    }

    fn count(&self, hook: &'static str, allowed: Result<bool, &HookFailure>) {
        let outcome = match allowed {
            Ok(true) => "allowed",
            Ok(false) => "denied",
            Err(HookFailure::Unreachable(_)) => "unreachable",
            Err(HookFailure::Timeout) => "timeout",
            Err(HookFailure::Unusable(_)) => "invalid",
        };
        if let Err(failure) = allowed {
            warn!(hook, %failure, "a hook did not decide, the client is refused");
        } else {
            debug!(hook, outcome, "a hook decided");
        }
        self.calls.with_label_values(&[hook, outcome]).inc();
    }
}

/// A question to a hook.
pub(crate) enum Asked {
    /// Answered before, and that still counts.
    Known(Verdict),
    /// The answer to come.
    Asking(BoxFuture<Verdict>),
}

const fn try_again(after_ms: u64) -> Advice {
    Advice {
        interval_ms: Some(after_ms),
        ..Advice::only(Reconnect::Handshake)
    }
}

/// A reason that fits between the colons of an error string.
fn reason(given: Option<String>) -> Cow<'static, str> {
    let fits = |text: &String| {
        !text.is_empty()
            && text.len() <= REASON_BYTES_MAX
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"_-.".contains(&byte))
    };
    given
        .filter(fits)
        .map_or(Cow::Borrowed(DENIED_BY_HOOK), Cow::Owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_cannot_break_an_error_string() {
        assert_eq!(reason(Some("not_a-member.1".into())), "not_a-member.1");
        for bad in ["", "a:b", "a b", "\"", "é", &"a".repeat(65)] {
            assert_eq!(reason(Some(bad.to_owned())), DENIED_BY_HOOK, "{bad}");
        }
        assert_eq!(reason(None), DENIED_BY_HOOK);
    }
}
