//! The digest of the Oort secret, as nodes show it to each other.
//!
//! It is the Base64 text of an unsalted hash, the same in every handshake: whoever sees one handshake can repeat it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::Sha1;
use sha2::{Digest, Sha512};
use subtle::ConstantTimeEq;

use crate::Secret;

/// What this node shows and accepts.
#[derive(Clone)]
pub(super) struct SecretDigest {
    sha512: String,
    /// That of CometD before 4.0.5, where it is accepted.
    sha1: Option<String>,
    /// Which of them this node shows.
    show_sha1: bool,
}

impl SecretDigest {
    pub(super) fn new(secret: &Secret, accept_sha1: bool, show_sha1: bool) -> Self {
        Self {
            sha512: STANDARD.encode(Sha512::digest(secret.bytes())),
            sha1: accept_sha1.then(|| STANDARD.encode(Sha1::digest(secret.bytes()))),
            show_sha1,
        }
    }

    /// What this node shows.
    pub(super) fn shown(&self) -> &str {
        match &self.sha1 {
            Some(sha1) if self.show_sha1 => sha1,
            _ => &self.sha512,
        }
    }

    /// Whether another node's digest is the right one. Takes the same time whichever characters differ.
    pub(super) fn accepts(&self, shown: &str) -> bool {
        let same = |expected: &str| expected.as_bytes().ct_eq(shown.as_bytes());
        let mut right = same(&self.sha512);
        if let Some(sha1) = &self.sha1 {
            right |= same(sha1);
        }
        right.into()
    }
}

impl std::fmt::Debug for SecretDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SecretDigest(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // Digests of this text by the JDK's MessageDigest and Base64 encoder.
    const SECRET: &[u8] = b"an oort secret of at least 32 bytes";
    const SHA512: &str =
        "1cTc4Gm2xFXbTBfQq5hEDJb2K4D7IyXnMnEC1BpL5xA3INPjYUC4OXUJl7t5F/llBOlGg3il7sarOLHtSt64Tw==";
    const SHA1: &str = "gBqt+bYT79ETxbMnKAJutttZJUo=";

    #[test]
    fn both_encodings_are_those_of_java() {
        let secret = Secret::new(SECRET).unwrap();
        let new = SecretDigest::new(&secret, false, false);
        assert_eq!(new.shown(), SHA512);
        assert!(new.accepts(SHA512) && !new.accepts(SHA1) && !new.accepts(""));
        let both = SecretDigest::new(&secret, true, true);
        assert_eq!(both.shown(), SHA1);
        assert!(both.accepts(SHA512) && both.accepts(SHA1));
        assert!(!both.accepts(&SHA512[1..]) && !format!("{both:?}").contains(SHA1));
    }
}
