//! The policy of a node, and what keeps it running.

use std::fmt;
use std::sync::Arc;

use halley_bayeux::{
    Advice, Attachment, ChannelName, Decision, DefaultPolicy, Engine, HandshakeVerdict, Message,
    Millis, SecurityPolicy, Session, SessionListener, Verdict,
};
use serde_json::Value;
use tracing::debug;

use super::expiry::Expiries;
use super::hooks::{Asked, Hooks, TRY_AGAIN};
use super::identity::Identity;
use super::jwt::{TokenRefusal, TokenVerifier};
use super::keys::{KeyFault, KeyStore};
use super::permissions::{Operation, Permissions};
use super::unix_clock::UnixClock;
use crate::config::{Config, PolicyKind};
use crate::metrics::Metrics;

/// Why there is no policy to start with. The configuration was checked before: a file has changed since.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SecurityError(String);

impl From<Vec<KeyFault>> for SecurityError {
    fn from(faults: Vec<KeyFault>) -> Self {
        let lines: Vec<String> = faults
            .into_iter()
            .map(|fault| format!("{}: {}", fault.key, fault.what))
            .collect();
        Self(lines.join("; "))
    }
}

/// How clients are recognised.
enum Recognition {
    /// By what the base rules make of the handshake.
    Anonymous,
    Token(Box<TokenVerifier>),
    Hooks(Arc<Hooks>),
}

/// The engine's policy: the base rules, then who the client is, then what that one may do.
pub(crate) struct NodePolicy {
    base: DefaultPolicy,
    recognition: Recognition,
    permissions: Arc<Permissions>,
}

impl fmt::Debug for NodePolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodePolicy").finish_non_exhaustive()
    }
}

/// The policy with what has to be done beside answering the engine.
#[derive(Debug)]
pub(crate) struct Security {
    policy: Arc<NodePolicy>,
    expiries: Arc<Expiries>,
    keys: Option<Arc<KeyStore>>,
    clock: UnixClock,
    metrics: Arc<Metrics>,
}

impl Security {
    /// # Errors
    /// A key file cannot be used any more.
    pub(crate) fn new(
        config: &Config,
        node: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, SecurityError> {
        let clock = UnixClock::system();
        let mut keys = None;
        let recognition = match config.security.policy {
            PolicyKind::Anonymous => Recognition::Anonymous,
            PolicyKind::Jwt => {
                let jwt = &config.security.jwt;
                let store = keys.insert(KeyStore::open(jwt)?);
                Recognition::Token(Box::new(TokenVerifier::new(
                    Arc::clone(store),
                    jwt,
                    clock.clone(),
                )))
            }
            PolicyKind::Hooks => Recognition::Hooks(Arc::new(
                Hooks::new(
                    &config.security.hooks,
                    node,
                    clock.clone(),
                    metrics.hook_calls.clone(),
                )
                .map_err(SecurityError)?,
            )),
        };
        let policy = NodePolicy {
            base: DefaultPolicy::new(config.seti.trust_handshake_user),
            recognition,
            permissions: Arc::new(Permissions::new(&config.security.channels)),
        };
        Ok(Self {
            policy: Arc::new(policy),
            expiries: Arc::default(),
            keys,
            clock,
            metrics,
        })
    }

    /// What the engine asks.
    pub(crate) fn policy(&self) -> Arc<dyn SecurityPolicy> {
        Arc::clone(&self.policy) as Arc<dyn SecurityPolicy>
    }

    /// Lets the engine tell of sessions that may expire.
    pub(crate) fn attach(&self, engine: &Engine) {
        if !matches!(self.policy.recognition, Recognition::Anonymous) {
            engine.add_session_listener(Arc::clone(&self.expiries) as Arc<dyn SessionListener>);
        }
    }

    /// Ends the sessions whose credential has expired. To be called as often as the engine's timers.
    pub(crate) fn tick(&self, engine: &Engine, now: Millis) {
        let ended = self.expiries.end_due(engine, self.clock.now_ms(), now);
        self.metrics.credentials_expired.inc_by(ended);
    }

    /// The task that reads key files again, if there are any.
    pub(crate) fn watch_keys(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        self.keys.clone().map(KeyStore::watch)
    }
}

/// The token in a handshake: `ext.authentication.token`, else `ext.token`, else what the header `Authorization: Bearer` of its
/// request has.
fn token_of(message: &Message<'_>) -> Result<String, TokenRefusal> {
    let field = |name| match message.ext_field(name) {
        None => Ok(Value::Null),
        Some(raw) => {
            serde_json::from_str(raw).map_err(|_| TokenRefusal::Invalid("an ext nested too deep"))
        }
    };
    let mut token = match field("authentication")? {
        Value::Object(mut authentication) => authentication
            .get_mut("token")
            .map(Value::take)
            .unwrap_or_default(),
        _ => Value::Null,
    };
    if token.is_null() {
        token = field("token")?;
    }
    match token {
        Value::String(token) => Ok(token),
        Value::Null => bearer(message)
            .map(str::to_owned)
            .ok_or(TokenRefusal::Missing),
        _ => Err(TokenRefusal::Invalid("the token is not a text")),
    }
}

/// The token in the header; other schemes are no affair of ours.
fn bearer<'m>(message: &Message<'m>) -> Option<&'m str> {
    let (scheme, token) = message.request().header("authorization")?.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then(|| token.trim())
        .filter(|token| !token.is_empty())
}

fn recognise(
    verifier: &TokenVerifier,
    permissions: &Permissions,
    message: &Message<'_>,
) -> HandshakeVerdict {
    match token_of(message).and_then(|token| verifier.verify(&token)) {
        Ok(claims) => {
            let roles = permissions.known_roles(claims.roles.iter().map(String::as_str));
            let identity = Identity::new(roles, Some(claims.expires_at_ms));
            HandshakeVerdict::Grant {
                user: Some(claims.user),
                attachment: Some(Attachment::new(identity)),
            }
        }
        Err(TokenRefusal::Missing) if !verifier.required() => HandshakeVerdict::grant(None),
        Err(refusal) => {
            debug!(?refusal, "a handshake was denied");
            HandshakeVerdict::Deny {
                reason: refusal.reason().into(),
                advice: Some(match refusal {
                    TokenRefusal::KeyUnknown => TRY_AGAIN,
                    _ => Advice::NONE,
                }),
            }
        }
    }
}

impl NodePolicy {
    /// What the base rules granted, looked at again with the permissions and the hooks.
    fn further(
        &self,
        base: Decision<Verdict>,
        operation: Operation,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        if session.is_local() || !matches!(base, Decision::Now(Verdict::Grant)) {
            return base;
        }
        let roles = session
            .attachment::<Identity>()
            .map_or(&[][..], |identity| &identity.roles);
        let has_user = session.user().is_some();
        if !self.permissions.allow(operation, channel, has_user, roles) {
            return Decision::Now(Verdict::deny());
        }
        let Recognition::Hooks(hooks) = &self.recognition else {
            return base;
        };
        match hooks.channel(operation, session, channel, message) {
            None => base,
            Some(Asked::Known(verdict)) => Decision::Now(verdict),
            Some(Asked::Asking(answer)) => Decision::Later(answer),
        }
    }
}

impl SecurityPolicy for NodePolicy {
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
        match &self.recognition {
            Recognition::Anonymous => self.base.can_handshake(message),
            Recognition::Token(verifier) => {
                Decision::Now(recognise(verifier, &self.permissions, message))
            }
            Recognition::Hooks(hooks) => match hooks.handshake(message, &self.permissions) {
                Some(answer) => Decision::Later(answer),
                // With an identity all the same: answers about channels are kept there.
                None => Decision::Now(HandshakeVerdict::Grant {
                    user: None,
                    attachment: Some(Attachment::new(Identity::default())),
                }),
            },
        }
    }

    fn can_create(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        let base = self.base.can_create(session, channel, message);
        self.further(base, Operation::Create, session, channel, message)
    }

    fn can_subscribe(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        let base = self.base.can_subscribe(session, channel, message);
        self.further(base, Operation::Subscribe, session, channel, message)
    }

    fn can_publish(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        let base = self.base.can_publish(session, channel, message);
        self.further(base, Operation::Publish, session, channel, message)
    }
}
