//! The mutual proof of the shared secret: pure, no IO.
//!
//! ```text
//! dialler                                  acceptor
//!   Hello{versions, nonce}          ──▶
//!                                   ◀──    Challenge{version, nonce}
//!   Proof{identity, uptime, mac}    ──▶
//!                                   ◀──    Welcome{identity, mac}  or  Refused{reason, mac}
//! ```
//!
//! Each MAC is HMAC-SHA-256 over a label that names the role and the step (so that nothing can be reflected), over
//! everything said so far, and over the identities. Fields are preceded by their lengths. A dialler that cannot prove
//! the secret learns nothing: it is cut off without a word.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::wire::{
    Challenge, Hello, MAC_BYTES, NONCE_BYTES, Proof, Refusal, Refused, VERSION_MAX, VERSION_MIN,
    Welcome, encode_body,
};
use crate::{Member, Secret, Secrets};

const LABEL_PROOF: &[u8] = b"halley mesh: dialler proves";
const LABEL_WELCOME: &[u8] = b"halley mesh: acceptor proves";
const LABEL_REFUSED: &[u8] = b"halley mesh: acceptor refuses";
const LABEL_DATAGRAM: &[u8] = b"halley mesh: advertisement";

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    #[error("no common version of the mesh protocol")]
    Version,
    #[error("the other side does not know the cluster secret")]
    Secret,
}

/// The dialler's side, between `Hello` and the end.
#[derive(Debug)]
pub(crate) struct Dialler {
    hello: Hello,
}

/// The dialler's side after its proof.
#[derive(Debug)]
pub(crate) struct DiallerProved {
    transcript: Transcript,
    /// What it proved with, and therefore what the answer must be made with.
    secret: Secret,
    identity: Vec<u8>,
}

impl Dialler {
    pub(crate) fn new(nonce: [u8; NONCE_BYTES]) -> Self {
        Self {
            hello: Hello {
                version_min: VERSION_MIN,
                version_max: VERSION_MAX,
                nonce,
            },
        }
    }

    pub(crate) fn hello(&self) -> Hello {
        self.hello.clone()
    }

    pub(crate) fn prove(
        self,
        challenge: &Challenge,
        secrets: &Secrets,
        identity: Member,
        uptime_ms: u64,
    ) -> Result<(DiallerProved, Proof), AuthError> {
        if !(VERSION_MIN..=VERSION_MAX).contains(&challenge.version) {
            return Err(AuthError::Version);
        }
        let transcript = Transcript {
            hello: self.hello,
            challenge: challenge.clone(),
        };
        let identity_bytes = encode_body(&identity);
        let secret = secrets.first();
        let mac = transcript.mac(
            secret,
            LABEL_PROOF,
            &[&identity_bytes, &uptime_ms.to_le_bytes()],
        );
        let proved = DiallerProved {
            transcript,
            secret: secret.clone(),
            identity: identity_bytes,
        };
        Ok((
            proved,
            Proof {
                identity,
                uptime_ms,
                mac,
            },
        ))
    }
}

impl DiallerProved {
    pub(crate) fn version(&self) -> u8 {
        self.transcript.challenge.version
    }

    pub(crate) fn welcomed(&self, welcome: Welcome) -> Result<Member, AuthError> {
        let identity = encode_body(&welcome.identity);
        let mac = self
            .transcript
            .mac(&self.secret, LABEL_WELCOME, &[&self.identity, &identity]);
        if !same(&mac, &welcome.mac) {
            return Err(AuthError::Secret);
        }
        Ok(welcome.identity)
    }

    pub(crate) fn refused(&self, refused: Refused) -> Result<Refusal, AuthError> {
        let reason = encode_body(&refused.reason);
        let mac = self
            .transcript
            .mac(&self.secret, LABEL_REFUSED, &[&self.identity, &reason]);
        if !same(&mac, &refused.mac) {
            return Err(AuthError::Secret);
        }
        Ok(refused.reason)
    }
}

/// The acceptor's side.
#[derive(Debug)]
pub(crate) struct Acceptor {
    transcript: Transcript,
}

/// The acceptor's side once the dialler has proved itself.
#[derive(Debug)]
pub(crate) struct AcceptorVerified {
    transcript: Transcript,
    /// What the dialler has proved with. It need not know another one, so the answer is made with it.
    secret: Secret,
    dialler: Vec<u8>,
}

impl Acceptor {
    /// Chooses the newest version that both speak.
    pub(crate) fn new(
        hello: Hello,
        nonce: [u8; NONCE_BYTES],
    ) -> Result<(Self, Challenge), AuthError> {
        let version = hello.version_max.min(VERSION_MAX);
        if version < hello.version_min.max(VERSION_MIN) {
            return Err(AuthError::Version);
        }
        let challenge = Challenge { version, nonce };
        Ok((
            Self {
                transcript: Transcript {
                    hello,
                    challenge: challenge.clone(),
                },
            },
            challenge,
        ))
    }

    pub(crate) fn verify(
        self,
        proof: &Proof,
        secrets: &Secrets,
    ) -> Result<AcceptorVerified, AuthError> {
        let dialler = encode_body(&proof.identity);
        let uptime = proof.uptime_ms.to_le_bytes();
        let secret = secrets
            .find(|secret| {
                let mac = self
                    .transcript
                    .mac(secret, LABEL_PROOF, &[&dialler, &uptime]);
                same(&mac, &proof.mac)
            })
            .ok_or(AuthError::Secret)?
            .clone();
        Ok(AcceptorVerified {
            transcript: self.transcript,
            secret,
            dialler,
        })
    }
}

impl AcceptorVerified {
    pub(crate) fn version(&self) -> u8 {
        self.transcript.challenge.version
    }

    pub(crate) fn welcome(&self, identity: Member) -> Welcome {
        let bytes = encode_body(&identity);
        let mac = self
            .transcript
            .mac(&self.secret, LABEL_WELCOME, &[&self.dialler, &bytes]);
        Welcome { identity, mac }
    }

    pub(crate) fn refuse(&self, reason: Refusal) -> Refused {
        let bytes = encode_body(&reason);
        let mac = self
            .transcript
            .mac(&self.secret, LABEL_REFUSED, &[&self.dialler, &bytes]);
        Refused { reason, mac }
    }
}

#[derive(Debug)]
struct Transcript {
    hello: Hello,
    challenge: Challenge,
}

impl Transcript {
    fn mac(&self, secret: &Secret, label: &'static [u8], parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        let hello = encode_body(&self.hello);
        let challenge = encode_body(&self.challenge);
        let said: [&[u8]; 2] = [&hello, &challenge];
        mac(secret, label, said.into_iter().chain(parts.iter().copied()))
    }
}

/// The MAC of a discovery datagram.
pub(crate) fn datagram_mac(secret: &Secret, body: &[u8]) -> [u8; MAC_BYTES] {
    mac(secret, LABEL_DATAGRAM, [body].into_iter())
}

/// Compares in constant time.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.ct_eq(b).into()
}

fn mac<'a>(
    secret: &Secret,
    label: &'a [u8],
    parts: impl Iterator<Item = &'a [u8]>,
) -> [u8; MAC_BYTES] {
    let mut hmac =
        Hmac::<Sha256>::new_from_slice(secret.bytes()).expect("HMAC takes a key of any length");
    for part in std::iter::once(label).chain(parts) {
        hmac.update(&(part.len() as u64).to_le_bytes());
        hmac.update(part);
    }
    hmac.finalize().into_bytes().into()
}

#[cfg(test)]
#[path = "auth_tests.rs"]
mod tests;
