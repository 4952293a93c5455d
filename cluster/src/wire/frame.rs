//! The frames, and how they become bytes and come back.

use std::net::SocketAddr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{
    VERSION_MAX, VERSION_MIN, VERSION_RESUME, VERSION_UNDECIDED, codec, publications::Publications,
};
use crate::Member;

pub(crate) const NONCE_BYTES: usize = 32;
pub(crate) const MAC_BYTES: usize = 32;

const KIND_HELLO: u8 = 1;
const KIND_CHALLENGE: u8 = 2;
const KIND_PROOF: u8 = 3;
const KIND_WELCOME: u8 = 4;
const KIND_REFUSED: u8 = 5;
const KIND_PING: u8 = 16;
const KIND_PONG: u8 = 17;
const KIND_INTEREST: u8 = 18;
const KIND_KNOWN: u8 = 19;
const KIND_LEAVING: u8 = 20;
const KIND_STATE: u8 = 32;
pub(super) const KIND_PUBLICATIONS: u8 = 48;

/// The dialler's first words. Frozen for all versions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version_min: u8,
    pub(crate) version_max: u8,
    pub(crate) nonce: [u8; NONCE_BYTES],
}

/// The acceptor's answer: the version that both will speak.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Challenge {
    pub(crate) version: u8,
    pub(crate) nonce: [u8; NONCE_BYTES],
}

/// Which link a dialler wants to open, or to go on with. From version 2 on; in version 1 every connection is a new link.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LinkClaim {
    /// Drawn by the dialler when the link is new.
    pub(crate) id: u64,
    /// The link has lost its connection and shall go on over this one.
    pub(crate) resumes: bool,
}

/// How far the acceptor of a link has come with what the dialler has sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Received {
    /// Frames, but for pings.
    pub(crate) frames: u64,
    /// The publications in them.
    pub(crate) publications: u64,
}

/// What the acceptor knows of the links of a dialler. From version 2 on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Reached {
    /// On the link that goes on; nothing on a new one.
    pub(crate) received: Received,
    /// The last link of the same life of the dialler that has ended, and how many of its publications came in: so that
    /// the dialler can tell how many were lost.
    pub(crate) former: Option<(u64, u64)>,
}

/// The dialler proves that it knows the secret and says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Proof {
    pub(crate) identity: Member,
    pub(crate) uptime_ms: u64,
    pub(crate) link: LinkClaim,
    pub(crate) mac: [u8; MAC_BYTES],
}

/// The acceptor proves the same and says who it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Welcome {
    pub(crate) identity: Member,
    pub(crate) reached: Reached,
    pub(crate) mac: [u8; MAC_BYTES],
}

/// Why a node that knows the secret was not accepted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The node has dialled itself.
    #[error("the node has dialled itself")]
    SelfConnection,
    /// Another live node has the dialler's name.
    #[error("a live node at {holder} has the same name")]
    NameTaken {
        /// Where that node is.
        holder: SocketAddr,
    },
    /// The acceptor has the dialler's name, and is the younger of the two.
    #[error("the other node has the same name and was started later")]
    YoungerTwin,
    /// The dialler's own address is outside the acceptor's `allow`.
    #[error("the address {0} is not allowed there")]
    AddressNotAllowed(SocketAddr),
    /// The acceptor has as many siblings as it may have.
    #[error("the other node has as many siblings as it may have")]
    TooManySiblings,
    /// The acceptor is leaving.
    #[error("the other node is leaving")]
    Leaving,
    /// The link that shall go on has ended there. From version 2 on.
    #[error("the link has ended there")]
    LinkEnded,
}

/// The acceptor does not take the dialler, although it knows the secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Refused {
    pub(crate) reason: Refusal,
    pub(crate) mac: [u8; MAC_BYTES],
}

/// Which channels the sender of the frame wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Interest {
    pub(crate) added: Vec<String>,
    pub(crate) removed: Vec<String>,
    /// Set on the last frame of the first snapshot of a link.
    pub(crate) snapshot_end: bool,
}

/// A state message or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct State {
    pub(crate) channel: u8,
    /// No part follows.
    pub(crate) last: bool,
    pub(crate) body: Bytes,
}

/// Asks whether the acceptor lives, and how far it has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ping {
    /// The dialler's clock, which comes back in the pong.
    pub(crate) clock: u64,
    /// The round trip that the dialler has measured last, in microseconds; 0 before the first, and in version 1.
    pub(crate) rtt_us: u64,
}

/// The answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Pong {
    /// The clock of the ping, or [`super::PONG_BUSY`].
    pub(crate) clock: u64,
    /// The acknowledgement of everything before; nothing in version 1.
    pub(crate) received: Received,
}

/// What travels on a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    Hello(Hello),
    Challenge(Challenge),
    Proof(Proof),
    Welcome(Welcome),
    Refused(Refused),
    Ping(Ping),
    Pong(Pong),
    Interest(Interest),
    Known(Vec<SocketAddr>),
    Leaving,
    State(State),
    Publications(Publications),
}

/// A frame that cannot be read. It ends the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum FrameError {
    #[error("malformed frame")]
    Malformed,
    #[error("frame of version {0}")]
    Version(u8),
    #[error("frame of unknown kind {0}")]
    Kind(u8),
}

impl From<codec::CodecError> for FrameError {
    fn from(_: codec::CodecError) -> Self {
        FrameError::Malformed
    }
}

impl Frame {
    /// Encodes a frame of the given version. (Publications are written by [`super::Batch`].)
    pub(crate) fn encode(&self, version: u8) -> Bytes {
        let mut bytes = Vec::with_capacity(128);
        bytes.push(version);
        match self {
            Frame::Hello(body) => {
                bytes[0] = VERSION_UNDECIDED;
                with_body(bytes, KIND_HELLO, body)
            }
            Frame::Challenge(body) => with_body(bytes, KIND_CHALLENGE, body),
            Frame::Proof(p) if version < VERSION_RESUME => {
                with_body(bytes, KIND_PROOF, &(&p.identity, p.uptime_ms, p.mac))
            }
            Frame::Proof(p) => with_body(
                bytes,
                KIND_PROOF,
                &(&p.identity, p.uptime_ms, p.link, p.mac),
            ),
            Frame::Welcome(w) if version < VERSION_RESUME => {
                with_body(bytes, KIND_WELCOME, &(&w.identity, w.mac))
            }
            Frame::Welcome(w) => with_body(bytes, KIND_WELCOME, &(&w.identity, w.reached, w.mac)),
            Frame::Refused(body) => with_body(bytes, KIND_REFUSED, body),
            Frame::Ping(ping) if version < VERSION_RESUME => {
                with_body(bytes, KIND_PING, &ping.clock)
            }
            Frame::Ping(ping) => with_body(bytes, KIND_PING, ping),
            Frame::Pong(pong) if version < VERSION_RESUME => {
                with_body(bytes, KIND_PONG, &pong.clock)
            }
            Frame::Pong(pong) => with_body(bytes, KIND_PONG, pong),
            Frame::Interest(body) => with_body(bytes, KIND_INTEREST, body),
            Frame::Known(addresses) => with_body(bytes, KIND_KNOWN, addresses),
            Frame::Leaving => with_body(bytes, KIND_LEAVING, &()),
            Frame::State(state) => {
                bytes.reserve(state.body.len());
                bytes.extend_from_slice(&[KIND_STATE, state.channel, u8::from(state.last)]);
                bytes.extend_from_slice(&state.body);
                bytes.into()
            }
            Frame::Publications(publications) => {
                let mut batch = super::Batch::new(version, publications.first_sequence, 0);
                for (channel, object) in &publications.items {
                    batch.push(&String::from_utf8_lossy(channel), object);
                }
                batch.into_bytes()
            }
        }
    }

    /// Decodes a frame; bodies are slices of it.
    pub(crate) fn decode(bytes: &Bytes) -> Result<Frame, FrameError> {
        let &[version, kind, ..] = bytes.as_ref() else {
            return Err(FrameError::Malformed);
        };
        let undecided = kind == KIND_HELLO && version == VERSION_UNDECIDED;
        if !undecided && !(VERSION_MIN..=VERSION_MAX).contains(&version) {
            return Err(FrameError::Version(version));
        }
        let (body, resumes) = (&bytes[2..], version >= VERSION_RESUME);
        Ok(match kind {
            KIND_HELLO if undecided => Frame::Hello(codec::decode(body)?),
            KIND_CHALLENGE => Frame::Challenge(codec::decode(body)?),
            KIND_PROOF => {
                let (identity, uptime_ms, link, mac) = if resumes {
                    codec::decode(body)?
                } else {
                    let (identity, uptime_ms, mac) = codec::decode(body)?;
                    (identity, uptime_ms, LinkClaim::default(), mac)
                };
                Frame::Proof(Proof {
                    identity,
                    uptime_ms,
                    link,
                    mac,
                })
            }
            KIND_WELCOME => {
                let (identity, reached, mac) = if resumes {
                    codec::decode(body)?
                } else {
                    let (identity, mac) = codec::decode(body)?;
                    (identity, Reached::default(), mac)
                };
                Frame::Welcome(Welcome {
                    identity,
                    reached,
                    mac,
                })
            }
            KIND_REFUSED => Frame::Refused(codec::decode(body)?),
            KIND_PING if resumes => Frame::Ping(codec::decode(body)?),
            KIND_PING => Frame::Ping(Ping {
                clock: codec::decode(body)?,
                rtt_us: 0,
            }),
            KIND_PONG if resumes => Frame::Pong(codec::decode(body)?),
            KIND_PONG => Frame::Pong(Pong {
                clock: codec::decode(body)?,
                received: Received::default(),
            }),
            KIND_INTEREST => Frame::Interest(codec::decode(body)?),
            KIND_KNOWN => {
                let addresses: Vec<SocketAddr> = codec::decode(body)?;
                if addresses.len() > super::KNOWN_ADDRESSES_MAX {
                    return Err(FrameError::Malformed);
                }
                Frame::Known(addresses)
            }
            KIND_LEAVING => {
                codec::decode::<()>(body)?;
                Frame::Leaving
            }
            KIND_STATE => match body {
                &[channel, last @ (0 | 1), ..] => Frame::State(State {
                    channel,
                    last: last == 1,
                    body: bytes.slice(4..),
                }),
                _ => return Err(FrameError::Malformed),
            },
            KIND_PUBLICATIONS => Frame::Publications(Publications::decode(bytes.slice(2..))?),
            other => return Err(FrameError::Kind(other)),
        })
    }
}

fn with_body<T: Serialize>(mut bytes: Vec<u8>, kind: u8, body: &T) -> Bytes {
    bytes.push(kind);
    codec::encode_onto(body, &mut bytes);
    bytes.into()
}

#[cfg(test)]
#[path = "frame_tests.rs"]
mod tests;
