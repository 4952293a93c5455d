//! Verifies a token: signature, issuer, audience, time; and reads user and roles from it.
//!
//! Nothing of a token is ever logged, not even in part.

use halley_bayeux::UserId;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};
use std::sync::Arc;

use super::keys::KeyStore;
use super::unix_clock::UnixClock;
use crate::config::JwtConfig;

/// Why a token was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TokenRefusal {
    /// There is none.
    Missing,
    /// Its time is over.
    Expired,
    /// Signed by a key that is not there, but may come.
    KeyUnknown,
    /// Anything else; the text is for the log of the node, not for the client.
    Invalid(&'static str),
}

impl TokenRefusal {
    /// The middle part of `403:<reason>:handshake_denied`.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "token_missing",
            Self::Expired => "token_expired",
            Self::KeyUnknown => "token_key_unknown",
            Self::Invalid(_) => "token_invalid",
        }
    }
}

/// What a token says.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Claims {
    pub(crate) user: UserId,
    pub(crate) roles: Vec<String>,
    /// From when on it does not count, leeway included.
    pub(crate) expires_at_ms: u64,
}

/// Verifies tokens.
#[derive(Debug)]
pub(crate) struct TokenVerifier {
    keys: Arc<KeyStore>,
    config: JwtConfig,
    clock: UnixClock,
}

type Object = Map<String, Value>;

impl TokenVerifier {
    pub(crate) fn new(keys: Arc<KeyStore>, config: &JwtConfig, clock: UnixClock) -> Self {
        Self {
            keys,
            config: config.clone(),
            clock,
        }
    }

    /// Whether a client must show a token.
    pub(crate) fn required(&self) -> bool {
        self.config.required
    }

    /// What the token says, if it counts.
    pub(crate) fn verify(&self, token: &str) -> Result<Claims, TokenRefusal> {
        let claims = self.signed(token)?;
        let expires_at_ms = self.check_times(&claims)?;
        self.check_issuer(&claims)?;
        self.check_audience(&claims)?;
        let user = claim(&claims, &self.config.user_claim)
            .and_then(Value::as_str)
            .and_then(|text| UserId::new(text).ok())
            .ok_or(TokenRefusal::Invalid("no user in the token"))?;
        let roles = roles(claim(&claims, &self.config.roles_claim)).ok_or(
            TokenRefusal::Invalid("the roles are neither a list nor text"),
        )?;
        Ok(Claims {
            user,
            roles,
            expires_at_ms,
        })
    }

    /// The claims, if one of our keys signed them with the algorithm of that key.
    fn signed(&self, token: &str) -> Result<Object, TokenRefusal> {
        // Fails for `none`, too, which is no algorithm.
        let header = decode_header(token).map_err(|_| TokenRefusal::Invalid("not a token"))?;
        if header.crit.is_some() {
            return Err(TokenRefusal::Invalid("the token demands an extension"));
        }
        let sets = self.keys.current();
        let mut tried = false;
        for key in sets
            .iter()
            .flat_map(|set| set.candidates(header.alg, header.kid.as_deref()))
        {
            tried = true;
            // Only the algorithm that the key was configured for; times and names are checked here, with our clock.
            let mut validation = Validation::new(key.algorithm);
            validation.validate_exp = false;
            validation.validate_nbf = false;
            validation.validate_aud = false;
            validation.required_spec_claims.clear();
            if let Ok(data) = decode::<Object>(token, &key.key, &validation) {
                return Ok(data.claims);
            }
        }
        if !tried && self.keys.want(header.alg) {
            return Err(TokenRefusal::KeyUnknown);
        }
        Err(TokenRefusal::Invalid("no key verifies the token"))
    }

    /// `exp` must be there, `nbf` may. Returns when the token's time is over.
    fn check_times(&self, claims: &Object) -> Result<u64, TokenRefusal> {
        let now = self.clock.now_ms();
        let leeway_ms = self.config.leeway_s.saturating_mul(1000);
        let expires = claims
            .get("exp")
            .and_then(date_ms)
            .ok_or(TokenRefusal::Invalid("no date of expiry in the token"))?
            .saturating_add(leeway_ms);
        if now >= expires {
            return Err(TokenRefusal::Expired);
        }
        match claims.get("nbf").map(date_ms) {
            None => Ok(expires),
            Some(Some(from)) if now.saturating_add(leeway_ms) >= from => Ok(expires),
            Some(_) => Err(TokenRefusal::Invalid("the token does not count yet")),
        }
    }

    fn check_issuer(&self, claims: &Object) -> Result<(), TokenRefusal> {
        let accepted = self.config.issuer.is_empty()
            || claims
                .get("iss")
                .and_then(Value::as_str)
                .is_some_and(|issuer| self.config.issuer.iter().any(|known| known == issuer));
        accepted
            .then_some(())
            .ok_or(TokenRefusal::Invalid("another issuer"))
    }

    /// RFC 7519, 4.1.3: a token that names an audience is only for those that are in it.
    fn check_audience(&self, claims: &Object) -> Result<(), TokenRefusal> {
        let ours = |value: &Value| {
            value
                .as_str()
                .is_some_and(|name| self.config.audience.iter().any(|known| known == name))
        };
        let accepted = match claims.get("aud") {
            None => self.config.audience.is_empty(),
            Some(Value::Array(names)) => names.iter().any(ours),
            Some(name) => ours(name),
        };
        accepted
            .then_some(())
            .ok_or(TokenRefusal::Invalid("for another audience"))
    }
}

/// A claim by its name, or by a way through objects with dots between.
fn claim<'a>(claims: &'a Object, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (first, rest) = name.split_once('.')?;
    claim(claims.get(first)?.as_object()?, rest)
}

/// A list of texts, or words with spaces between them as in `scope`. None at all is no roles.
fn roles(claim: Option<&Value>) -> Option<Vec<String>> {
    match claim {
        None | Some(Value::Null) => Some(Vec::new()),
        Some(Value::String(words)) => Some(words.split_whitespace().map(str::to_owned).collect()),
        Some(Value::Array(names)) => names
            .iter()
            .map(|name| name.as_str().map(str::to_owned))
            .collect(),
        Some(_) => None,
    }
}

/// Seconds since 1970, perhaps with a fraction, in milliseconds.
fn date_ms(value: &Value) -> Option<u64> {
    if let Some(seconds) = value.as_u64() {
        return Some(seconds.saturating_mul(1000));
    }
    let seconds = value.as_f64().filter(|seconds| *seconds >= 0.0)?;
    // Saturates at what no clock will show.
    Some((seconds * 1000.0) as u64)
}

#[cfg(test)]
mod tests;
