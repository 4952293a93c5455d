//! The secret that all nodes of a cluster share, and several of them while one is replaced by another.

use std::fmt;
use std::sync::Arc;

/// Least length of a secret in bytes: that of the SHA-256 output, so that guessing it is not easier than forging a MAC.
pub(crate) const SECRET_BYTES_MIN: usize = 32;

/// The shared secret of a cluster. It is never printed and never leaves the process: only MACs made with it do.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

/// A secret that is too short.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the cluster secret has {0} bytes, at least 32 are needed")]
pub struct InvalidSecret(pub usize);

impl Secret {
    /// Takes the bytes as they are. Whoever reads them from a file removes the line end first.
    ///
    /// # Errors
    /// When there are fewer than 32 bytes.
    pub fn new(bytes: &[u8]) -> Result<Self, InvalidSecret> {
        if bytes.len() < SECRET_BYTES_MIN {
            return Err(InvalidSecret(bytes.len()));
        }
        Ok(Self(bytes.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Most secrets that are accepted at one time: a stranger can make a node compute so many MACs per attempt.
const SECRETS_MAX: usize = 4;

/// The secrets of a cluster while one is replaced by another: the first is used to prove, all are accepted. With one it
/// is the secret.
///
/// A rotation that nobody notices: every node accepts the new one too, then every node proves with the new one, then no
/// node accepts the old one any more. Between two steps the nodes may differ as long as they like.
#[derive(Clone, Debug)]
pub struct Secrets(Arc<[Secret]>);

/// Secrets that cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSecrets {
    /// There is none.
    #[error("there is no secret")]
    None,
    /// There are more than can be accepted.
    #[error("there are {0} secrets, more than {SECRETS_MAX}")]
    TooMany(usize),
    /// One is too short.
    #[error("{problem} (line {line})")]
    Short {
        /// Where it stands, from 1.
        line: usize,
        /// What is wrong.
        problem: InvalidSecret,
    },
}

impl Secrets {
    /// Reads one secret per line. Empty lines, and spaces around a secret, are nothing.
    ///
    /// # Errors
    /// When there is none, one that is too short, or more than four.
    pub fn from_lines(text: &[u8]) -> Result<Self, InvalidSecrets> {
        let mut secrets = Vec::new();
        for (at, line) in text.split(|byte| *byte == b'\n').enumerate() {
            let line = line.trim_ascii();
            if !line.is_empty() {
                secrets.push(Secret::new(line).map_err(|problem| InvalidSecrets::Short {
                    line: at + 1,
                    problem,
                })?);
            }
        }
        match secrets.len() {
            0 => Err(InvalidSecrets::None),
            1..=SECRETS_MAX => Ok(Self(secrets.into())),
            many => Err(InvalidSecrets::TooMany(many)),
        }
    }

    /// How many are accepted.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// The one that is used to prove.
    pub(crate) fn first(&self) -> &Secret {
        // Neither constructor makes an empty list.
        &self.0[0]
    }

    /// The one that fits. All are tried, so that the time does not tell which.
    pub(crate) fn find(&self, mut fits: impl FnMut(&Secret) -> bool) -> Option<&Secret> {
        let mut found = None;
        for secret in self.0.iter() {
            if fits(secret) {
                found = Some(secret);
            }
        }
        found
    }
}

impl From<Secret> for Secrets {
    fn from(secret: Secret) -> Self {
        Self([secret].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_secrets_are_refused_and_none_is_printed() {
        assert_eq!(Secret::new(&[1; 31]).unwrap_err(), InvalidSecret(31));
        let secret = Secret::new(&[b'x'; 32]).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }

    #[test]
    fn one_secret_per_line() {
        let (old, new) = ("o".repeat(32), "n".repeat(40));
        let read = |text: &str| Secrets::from_lines(text.as_bytes());
        let both = read(&format!("\r\n  {new}\r\n\n{old}\n")).unwrap();
        assert_eq!((both.count(), both.first().bytes()), (2, new.as_bytes()));
        let fits = both.find(|secret| secret.bytes() == old.as_bytes());
        assert!(fits.is_some() && both.find(|_| false).is_none());
        assert_eq!(read("\n \n").unwrap_err(), InvalidSecrets::None);
        let short = InvalidSecrets::Short {
            line: 2,
            problem: InvalidSecret(5),
        };
        assert_eq!(read(&format!("{old}\nshort")).unwrap_err(), short);
        let many = format!("{old}\n").repeat(5);
        assert_eq!(read(&many).unwrap_err(), InvalidSecrets::TooMany(5));
    }
}
