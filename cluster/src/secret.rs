//! The secret that all nodes of a cluster share.

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_secrets_are_refused_and_none_is_printed() {
        assert_eq!(Secret::new(&[1; 31]).unwrap_err(), InvalidSecret(31));
        let secret = Secret::new(&[b'x'; 32]).unwrap();
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
