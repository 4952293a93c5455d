//! The four frames of a part and their bytes.
//!
//! ```text
//! Delta     1, incarnation u64, version u64, delta
//! Snapshot  2, incarnation u64, version u64, piece u32, pieces u32, bytes of this piece
//! Pull      3, incarnation u64, version u64, piece u32
//! Current   4, incarnation u64, version u64
//! ```
//!
//! Integers are little-endian and of fixed width, so that the payload is a slice of what was received.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::state::Malformed;
use crate::Incarnation;

const DELTA: u8 = 1;
const SNAPSHOT: u8 = 2;
const PULL: u8 = 3;
const CURRENT: u8 = 4;

/// Tag, incarnation and version, which every frame begins with.
const HEAD_BYTES: usize = 1 + 8 + 8;

/// One frame between the owner of a part and a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartFrame {
    /// Owner to all: the change that leads to `version`.
    Delta {
        /// The owner's incarnation.
        incarnation: Incarnation,
        /// The version after the change.
        version: u64,
        /// The encoded delta.
        bytes: Bytes,
    },
    /// Owner to one: a piece of the whole state at `version`.
    Snapshot {
        /// The owner's incarnation.
        incarnation: Incarnation,
        /// The version of the state.
        version: u64,
        /// Which piece, from 0.
        piece: u32,
        /// How many pieces there are, at least 1.
        pieces: u32,
        /// The bytes of this piece.
        bytes: Bytes,
    },
    /// Replica to owner: send the state, or the rest of it.
    Pull {
        /// The owner's incarnation, as the asking node knows it.
        incarnation: Incarnation,
        /// With `piece` above 0, the version that is being collected.
        version: u64,
        /// The first piece wanted; 0 asks for the present state.
        piece: u32,
    },
    /// Owner to all: the present version.
    Current {
        /// The owner's incarnation.
        incarnation: Incarnation,
        /// The present version.
        version: u64,
    },
}

impl PartFrame {
    /// The frame as bytes.
    pub fn encode(&self) -> Bytes {
        let (tag, incarnation, version, tail) = match self {
            Self::Delta {
                incarnation,
                version,
                bytes,
            } => (DELTA, incarnation, version, bytes.len()),
            Self::Snapshot {
                incarnation,
                version,
                bytes,
                ..
            } => (SNAPSHOT, incarnation, version, 8 + bytes.len()),
            Self::Pull {
                incarnation,
                version,
                ..
            } => (PULL, incarnation, version, 4),
            Self::Current {
                incarnation,
                version,
            } => (CURRENT, incarnation, version, 0),
        };
        let mut out = BytesMut::with_capacity(HEAD_BYTES + tail);
        out.put_u8(tag);
        out.put_u64_le(incarnation.0);
        out.put_u64_le(*version);
        match self {
            Self::Delta { bytes, .. } => out.put_slice(bytes),
            Self::Snapshot {
                piece,
                pieces,
                bytes,
                ..
            } => {
                out.put_u32_le(*piece);
                out.put_u32_le(*pieces);
                out.put_slice(bytes);
            }
            Self::Pull { piece, .. } => out.put_u32_le(*piece),
            Self::Current { .. } => {}
        }
        out.freeze()
    }

    /// Reads a frame; the payload is a slice of `bytes`, nothing is copied.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are no such frame.
    pub fn decode(mut bytes: Bytes) -> Result<Self, Malformed> {
        const MALFORMED: Malformed = Malformed("part frame");
        if bytes.len() < HEAD_BYTES {
            return Err(MALFORMED);
        }
        let tag = bytes.get_u8();
        let incarnation = Incarnation(bytes.get_u64_le());
        let version = bytes.get_u64_le();
        match tag {
            DELTA => Ok(Self::Delta {
                incarnation,
                version,
                bytes,
            }),
            SNAPSHOT if bytes.len() >= 8 => {
                let piece = bytes.get_u32_le();
                let pieces = bytes.get_u32_le();
                if piece >= pieces {
                    return Err(MALFORMED);
                }
                Ok(Self::Snapshot {
                    incarnation,
                    version,
                    piece,
                    pieces,
                    bytes,
                })
            }
            PULL if bytes.len() == 4 => Ok(Self::Pull {
                incarnation,
                version,
                piece: bytes.get_u32_le(),
            }),
            CURRENT if bytes.is_empty() => Ok(Self::Current {
                incarnation,
                version,
            }),
            _ => Err(MALFORMED),
        }
    }
}
