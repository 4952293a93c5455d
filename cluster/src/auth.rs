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
//! everything said so far, over the exporter of the TLS session if there is one below, and over the identities. Fields are preceded by their lengths. A dialler that cannot prove
//! the secret learns nothing: it is cut off without a word.

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::tls::Binding;
use crate::wire::{
    Challenge, Hello, LinkClaim, MAC_BYTES, NONCE_BYTES, Proof, Reached, Refusal, Refused,
    VERSION_RESUME, Versions, Welcome, encode_body,
};
use crate::{Member, Secret, Secrets};

const LABEL_PROOF: &[u8] = b"halley mesh: dialler proves";
const LABEL_WELCOME: &[u8] = b"halley mesh: acceptor proves";
const LABEL_REFUSED: &[u8] = b"halley mesh: acceptor refuses";
const LABEL_DATAGRAM: &[u8] = b"halley mesh: advertisement";

/// Why a handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum AuthError {
    #[error(
        "no common version of the mesh protocol: this node speaks {here}, the other one {there}"
    )]
    Version { here: Versions, there: Versions },
    #[error("the other side does not know the cluster secret")]
    Secret,
}

/// The dialler's side, between `Hello` and the end.
#[derive(Debug)]
pub(crate) struct Dialler {
    hello: Hello,
    binding: Binding,
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
    pub(crate) fn new(nonce: [u8; NONCE_BYTES], versions: Versions, binding: Binding) -> Self {
        Self {
            hello: Hello {
                version_min: versions.min,
                version_max: versions.max,
                nonce,
            },
            binding,
        }
    }

    /// The error when the acceptor speaks other versions.
    pub(crate) fn no_common_version(&self, there: Versions) -> AuthError {
        let here = Versions {
            min: self.hello.version_min,
            max: self.hello.version_max,
        };
        AuthError::Version { here, there }
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
        link: LinkClaim,
    ) -> Result<(DiallerProved, Proof), AuthError> {
        let (min, max) = (self.hello.version_min, self.hello.version_max);
        if !(Versions { min, max }).contains(challenge.version) {
            let (min, max) = (challenge.version, challenge.version);
            return Err(self.no_common_version(Versions { min, max }));
        }
        let transcript = Transcript {
            hello: self.hello,
            challenge: challenge.clone(),
            binding: self.binding,
        };
        let identity_bytes = encode_body(&identity);
        let secret = secrets.first();
        let mac = transcript.proof(secret, &identity_bytes, uptime_ms, link);
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
                link,
                mac,
            },
        ))
    }
}

impl DiallerProved {
    pub(crate) fn version(&self) -> u8 {
        self.transcript.challenge.version
    }

    pub(crate) fn welcomed(&self, welcome: Welcome) -> Result<(Member, Reached), AuthError> {
        let identity = encode_body(&welcome.identity);
        let mac =
            self.transcript
                .welcome(&self.secret, &self.identity, &identity, &welcome.reached);
        if !same(&mac, &welcome.mac) {
            return Err(AuthError::Secret);
        }
        Ok((welcome.identity, welcome.reached))
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
        here: Versions,
        binding: Binding,
    ) -> Result<(Self, Challenge), AuthError> {
        let there = Versions {
            min: hello.version_min,
            max: hello.version_max,
        };
        let version = here
            .common(there)
            .ok_or(AuthError::Version { here, there })?;
        let challenge = Challenge { version, nonce };
        Ok((
            Self {
                transcript: Transcript {
                    hello,
                    challenge: challenge.clone(),
                    binding,
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
        let secret = secrets
            .find(|secret| {
                let mac = self
                    .transcript
                    .proof(secret, &dialler, proof.uptime_ms, proof.link);
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

    pub(crate) fn welcome(&self, identity: Member, reached: Reached) -> Welcome {
        let bytes = encode_body(&identity);
        let mac = self
            .transcript
            .welcome(&self.secret, &self.dialler, &bytes, &reached);
        Welcome {
            identity,
            reached,
            mac,
        }
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
    /// What each side has below it; never said.
    binding: Binding,
}

impl Transcript {
    fn mac(&self, secret: &Secret, label: &'static [u8], parts: &[&[u8]]) -> [u8; MAC_BYTES] {
        let hello = encode_body(&self.hello);
        let challenge = encode_body(&self.challenge);
        let said: [&[u8]; 2] = [&hello, &challenge];
        let binding = self.binding.part();
        let before = said.into_iter().chain(binding.as_deref());
        mac(secret, label, before.chain(parts.iter().copied()))
    }

    fn proof(
        &self,
        secret: &Secret,
        identity: &[u8],
        uptime_ms: u64,
        link: LinkClaim,
    ) -> [u8; MAC_BYTES] {
        let (uptime, link) = (uptime_ms.to_le_bytes(), encode_body(&link));
        let parts: [&[u8]; 3] = [identity, &uptime, &link];
        self.mac(secret, LABEL_PROOF, self.spoken(&parts))
    }

    fn welcome(
        &self,
        secret: &Secret,
        dialler: &[u8],
        acceptor: &[u8],
        reached: &Reached,
    ) -> [u8; MAC_BYTES] {
        let reached = encode_body(reached);
        let parts: [&[u8]; 3] = [dialler, acceptor, &reached];
        self.mac(secret, LABEL_WELCOME, self.spoken(&parts))
    }

    /// Version 1 has no links that go on, and says nothing of them: the last part is left out.
    fn spoken<'a, 'b>(&self, parts: &'a [&'b [u8]]) -> &'a [&'b [u8]] {
        match self.challenge.version < VERSION_RESUME {
            true => &parts[..parts.len() - 1],
            false => parts,
        }
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
