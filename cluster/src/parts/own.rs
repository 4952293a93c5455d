//! The owner's side of a part.

use std::collections::HashMap;

use bytes::Bytes;
use halley_bayeux::Millis;

use super::{PartFrame, PartLimits, PartState};
use crate::{Incarnation, NodeName};

/// An encoded snapshot that took more than one window is kept this long after the last piece was asked for.
const TRANSFER_IDLE_MS: u64 = 10_000;

/// The change would make the part longer than its bound; nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the part would have {bytes} bytes, at most {max} are allowed")]
pub struct PartTooLarge {
    /// The bytes the part would have.
    pub bytes: usize,
    /// The bound.
    pub max: usize,
}

/// This node's own part: the state, its version, and the long snapshots that are under way to siblings.
#[derive(Debug)]
pub struct OwnPart<S> {
    incarnation: Incarnation,
    version: u64,
    state: S,
    limits: PartLimits,
    /// Snapshots longer than one window, by the sibling that collects them. At most one per sibling, so a sibling that
    /// begins does not disturb another one; snapshots of the same version share their bytes.
    transfers: HashMap<NodeName, Transfer>,
}

#[derive(Debug)]
struct Transfer {
    version: u64,
    bytes: Bytes,
    asked: Millis,
}

impl<S: PartState> OwnPart<S> {
    /// A part at version 0.
    ///
    /// # Errors
    /// [`PartTooLarge`] when the first state is already longer than the bound.
    pub fn new(
        incarnation: Incarnation,
        state: S,
        limits: PartLimits,
    ) -> Result<Self, PartTooLarge> {
        fits(state.encoded_len(), &limits)?;
        Ok(Self {
            incarnation,
            version: 0,
            state,
            limits,
            transfers: HashMap::new(),
        })
    }

    /// The state.
    pub fn state(&self) -> &S {
        &self.state
    }

    /// The incarnation that the versions count in.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// The number of changes in this incarnation.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// Starts over in a new incarnation, with the same state at version 0.
    pub fn restart(&mut self, incarnation: Incarnation) {
        self.incarnation = incarnation;
        self.version = 0;
        self.transfers.clear();
    }

    /// Applies `delta` and returns the frame for all siblings.
    ///
    /// # Errors
    /// [`PartTooLarge`] when the part would pass its bound; then nothing has changed.
    pub fn change(
        &mut self,
        delta: S::Delta,
        changes: &mut Vec<S::Change>,
    ) -> Result<PartFrame, PartTooLarge> {
        fits(self.state.encoded_len_after(&delta), &self.limits)?;
        let bytes = S::encode_delta(&delta);
        self.version += 1;
        self.state.apply(delta, changes);
        if bytes.len() > self.limits.piece_bytes {
            return Ok(self.current());
        }
        Ok(PartFrame::Delta {
            incarnation: self.incarnation,
            version: self.version,
            bytes,
        })
    }

    /// The frame that tells the present version.
    pub fn current(&self) -> PartFrame {
        PartFrame::Current {
            incarnation: self.incarnation,
            version: self.version,
        }
    }

    /// The first window of the present state, for a sibling that joined.
    pub fn push(&mut self, to: &NodeName, now: Millis, out: &mut impl FnMut(PartFrame)) {
        let bytes = self.encoded();
        self.window(to, self.version, bytes, 0, now, out);
    }

    /// Answers a pull: with the rest of the snapshot that this sibling collects if it is still at hand, otherwise with
    /// the present state from its first piece.
    pub fn pulled(
        &mut self,
        from: &NodeName,
        incarnation: Incarnation,
        version: u64,
        piece: u32,
        now: Millis,
        out: &mut impl FnMut(PartFrame),
    ) {
        if incarnation != self.incarnation {
            return;
        }
        if piece > 0 {
            let kept = self
                .transfers
                .get(from)
                .filter(|transfer| transfer.version == version);
            let bytes = match kept {
                Some(transfer) => Some(transfer.bytes.clone()),
                None if version == self.version => Some(self.encoded()),
                None => None,
            };
            if let Some(bytes) = bytes
                && piece < self.pieces(&bytes)
            {
                return self.window(from, version, bytes, piece, now, out);
            }
        }
        self.push(from, now, out);
    }

    /// A sibling is gone: what was under way to it is dropped.
    pub fn left(&mut self, sibling: &NodeName) {
        self.transfers.remove(sibling);
    }

    /// Drops snapshots that nobody asks for any more.
    pub fn tick(&mut self, now: Millis) {
        self.transfers
            .retain(|_, transfer| now.since(transfer.asked) < TRANSFER_IDLE_MS);
    }

    /// The present state as bytes, shared with a transfer of the same version.
    fn encoded(&self) -> Bytes {
        match self
            .transfers
            .values()
            .find(|transfer| transfer.version == self.version)
        {
            Some(transfer) => transfer.bytes.clone(),
            None => self.state.encode(),
        }
    }

    fn pieces(&self, bytes: &Bytes) -> u32 {
        let pieces = bytes.len().div_ceil(self.limits.piece_bytes).max(1);
        u32::try_from(pieces).unwrap_or(u32::MAX)
    }

    fn window(
        &mut self,
        to: &NodeName,
        version: u64,
        bytes: Bytes,
        first: u32,
        now: Millis,
        out: &mut impl FnMut(PartFrame),
    ) {
        let pieces = self.pieces(&bytes);
        let end = first.saturating_add(self.limits.window_pieces).min(pieces);
        for piece in first..end {
            let from = piece as usize * self.limits.piece_bytes;
            let to = (from + self.limits.piece_bytes).min(bytes.len());
            let bytes = bytes.slice(from..to);
            out(PartFrame::Snapshot {
                incarnation: self.incarnation,
                version,
                piece,
                pieces,
                bytes,
            });
        }
        if pieces > self.limits.window_pieces {
            self.transfers.insert(
                to.clone(),
                Transfer {
                    version,
                    bytes,
                    asked: now,
                },
            );
        } else {
            self.transfers.remove(to);
        }
    }
}

fn fits(bytes: usize, limits: &PartLimits) -> Result<(), PartTooLarge> {
    let max = limits.part_bytes_max;
    if bytes > max {
        Err(PartTooLarge { bytes, max })
    } else {
        Ok(())
    }
}
