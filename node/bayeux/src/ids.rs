use rand::TryRng;
use rand::rngs::SysRng;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Characters of a session id: 26 of 36 possible each carry more than 128 random bits (134).
pub const SESSION_ID_CHARACTERS: usize = 26;

/// Longest user name in bytes.
pub const USER_ID_BYTES_MAX: usize = 256;

const ALPHABET: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Draws a text of `N` uniformly distributed lower-case base-36 characters from the operating system.
///
/// # Panics
/// When the operating system has no random numbers to give: a guessable session id must never be handed out.
pub(crate) fn random_base36<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    let mut filled = 0;
    let mut pool = [0_u8; 64];
    while filled < N {
        SysRng
            .try_fill_bytes(&mut pool)
            .expect("the operating system gives random numbers");
        for byte in pool {
            // 252 = 7 * 36: larger bytes would favour the first characters.
            if byte < 252 && filled < N {
                out[filled] = ALPHABET[usize::from(byte % 36)];
                filled += 1;
            }
        }
    }
    out
}

/// A session's id (`clientId` on the wire): 26 lower-case base-36 characters from the operating system's random source.
///
/// It is the session's only secret. Copied by value, no allocation.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionId([u8; SESSION_ID_CHARACTERS]);

impl SessionId {
    /// Draws a new id.
    #[must_use]
    pub fn random() -> Self {
        Self(random_base36())
    }

    /// Reads an id; `None` for what no node can have issued.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes: [u8; SESSION_ID_CHARACTERS] = text.as_bytes().try_into().ok()?;
        bytes
            .iter()
            .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
            .then_some(Self(bytes))
    }

    /// The id's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Shows only the beginning: the whole id is a credential and does not belong in logs.
impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..", &self.as_str()[..6])
    }
}

/// The name of an authenticated user: 1 to 256 bytes, no control characters.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct UserId(Arc<str>);

/// Not a user name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("a user name has 1 to {USER_ID_BYTES_MAX} bytes and no control characters")]
pub struct InvalidUserId;

impl UserId {
    /// Validates `text`.
    ///
    /// # Errors
    /// When it is empty, too long, or has control characters.
    pub fn new(text: &str) -> Result<Self, InvalidUserId> {
        if text.is_empty() || text.len() > USER_ID_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(InvalidUserId);
        }
        Ok(Self(Arc::from(text)))
    }

    /// The name's text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn session_ids_are_distinct_and_parse_back() {
        let ids: HashSet<_> = (0..1000).map(|_| SessionId::random()).collect();
        assert_eq!(ids.len(), 1000);
        for id in ids {
            assert_eq!(SessionId::parse(id.as_str()), Some(id));
        }
        assert_eq!(SessionId::parse("short"), None);
        assert_eq!(SessionId::parse(&"A".repeat(26)), None);
        assert_eq!(SessionId::parse(&"é".repeat(13)), None);
    }

    #[test]
    fn debug_does_not_show_the_credential() {
        let id = SessionId::random();
        assert!(!format!("{id:?}").contains(&id.as_str()[..8]));
    }

    #[test]
    fn user_names() {
        assert!(UserId::new("alice").is_ok());
        assert!(UserId::new(&"a".repeat(256)).is_ok());
        for bad in ["", "a\nb", "\u{7f}", &"a".repeat(257)] {
            assert_eq!(UserId::new(bad), Err(InvalidUserId));
        }
    }
}
