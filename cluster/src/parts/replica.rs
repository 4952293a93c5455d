//! The replica of one sibling's part.

use std::collections::BTreeMap;

use bytes::Bytes;
use halley_bayeux::Millis;

use super::{PartFrame, PartLimits, PartState};
use crate::Incarnation;

/// What became of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The replica went forward to a newer version.
    Applied,
    /// Nothing new: an older version, another incarnation, a piece that is already there or comes too early.
    Stale,
    /// The frame shows that something is missing; it was kept if it can be of use, and a pull is or was sent.
    Gap,
    /// A piece of a snapshot that is not yet whole.
    Collecting,
    /// The bytes do not decode, or pass the bound. A pull is or was sent.
    Malformed,
}

/// What this node knows of a sibling's part, from *joined* to *left*.
#[derive(Debug)]
pub struct Replica<S> {
    incarnation: Incarnation,
    limits: PartLimits,
    /// The version this node had when the owner last left in the same incarnation: a snapshot from before that is late.
    floor: u64,
    /// The version and state applied last; none until the first snapshot.
    known: Option<(u64, S)>,
    /// The newest version heard of; above the known one, something is missing.
    newest: u64,
    /// Deltas ahead of the known version, in order.
    held: BTreeMap<u64, Bytes>,
    held_bytes: usize,
    /// The snapshot that is being collected.
    incoming: Option<Incoming>,
    /// Set while something is missing.
    waiting: Option<Waiting>,
}

#[derive(Debug)]
struct Incoming {
    version: u64,
    next: u32,
    bytes: Vec<u8>,
}

#[derive(Debug)]
struct Waiting {
    /// When the owner was last asked, or when the replica began to wait for a state that comes unasked.
    asked: Millis,
    /// How long after that the pull is repeated.
    pause_ms: u64,
}

/// What a held delta costs beside its bytes.
const HELD_OVERHEAD_BYTES: usize = 64;

impl<S: PartState> Replica<S> {
    /// A replica of which nothing is known yet, and which will not take a state older than version `floor`. The owner
    /// sends its state of its own accord, so the first pull is left to the timer.
    pub fn new(incarnation: Incarnation, floor: u64, now: Millis, limits: PartLimits) -> Self {
        let waiting = Waiting {
            asked: now,
            pause_ms: limits.pull_interval_ms,
        };
        Self {
            incarnation,
            limits,
            floor,
            known: None,
            newest: floor,
            held: BTreeMap::new(),
            held_bytes: 0,
            incoming: None,
            waiting: Some(waiting),
        }
    }

    /// The state, unless no snapshot has come yet.
    pub fn state(&self) -> Option<&S> {
        self.known.as_ref().map(|(_, state)| state)
    }

    /// The version of the state.
    pub fn version(&self) -> Option<u64> {
        self.known.as_ref().map(|(version, _)| *version)
    }

    /// The newest version this node ever had of this incarnation: nothing older is taken.
    pub fn floor(&self) -> u64 {
        self.version().unwrap_or(self.floor)
    }

    /// The owner's incarnation.
    pub fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    /// Whether a pull is outstanding.
    pub fn is_behind(&self) -> bool {
        self.waiting.is_some()
    }

    /// Takes a frame of the owner: what became of it, and a pull to send. What changed is added to `changes`.
    pub fn receive(
        &mut self,
        frame: PartFrame,
        now: Millis,
        changes: &mut Vec<S::Change>,
    ) -> (Outcome, Option<PartFrame>) {
        match frame {
            PartFrame::Delta {
                incarnation,
                version,
                bytes,
            } if incarnation == self.incarnation => self.delta(version, bytes, now, changes),
            PartFrame::Snapshot {
                incarnation,
                version,
                piece,
                pieces,
                bytes,
            } if incarnation == self.incarnation => {
                self.piece(version, piece, pieces, bytes, now, changes)
            }
            PartFrame::Current {
                incarnation,
                version,
            } if incarnation == self.incarnation => {
                if self.version().is_some_and(|known| version <= known) {
                    return (Outcome::Stale, None);
                }
                self.newest = self.newest.max(version);
                (Outcome::Gap, self.missing(now))
            }
            _ => (Outcome::Stale, None),
        }
    }

    /// Repeats the pull when its time has come.
    pub fn tick(&mut self, now: Millis) -> Option<PartFrame> {
        let waiting = self.waiting.as_mut()?;
        if now.since(waiting.asked) < waiting.pause_ms {
            return None;
        }
        // An owner that never answered may not have this object; one that did must, so it is asked at a steady pace.
        if self.known.is_none() {
            waiting.pause_ms = waiting
                .pause_ms
                .saturating_mul(2)
                .min(self.limits.pull_interval_max_ms);
        }
        Some(self.pull(now))
    }

    /// Asks for the state now, whatever the timer says.
    pub fn pull(&mut self, now: Millis) -> PartFrame {
        let pause_ms = self
            .waiting
            .as_ref()
            .map_or(self.limits.pull_interval_ms, |waiting| waiting.pause_ms);
        self.waiting = Some(Waiting {
            asked: now,
            pause_ms,
        });
        // A snapshot that deltas have overtaken is of no use any more.
        let known = self.version();
        self.incoming
            .take_if(|incoming| known.is_some_and(|known| incoming.version <= known));
        let (version, piece) = self
            .incoming
            .as_ref()
            .map_or((0, 0), |incoming| (incoming.version, incoming.next));
        PartFrame::Pull {
            incarnation: self.incarnation,
            version,
            piece,
        }
    }

    fn delta(
        &mut self,
        version: u64,
        bytes: Bytes,
        now: Millis,
        changes: &mut Vec<S::Change>,
    ) -> (Outcome, Option<PartFrame>) {
        let next = match &self.known {
            Some((known, _)) if version <= *known => return (Outcome::Stale, None),
            Some((known, _)) => version == *known + 1,
            None => false,
        };
        self.newest = self.newest.max(version);
        if !next {
            self.hold(version, bytes);
            return (Outcome::Gap, self.missing(now));
        }
        if !self.advance(version, &bytes, changes) {
            return (Outcome::Malformed, self.missing(now));
        }
        (Outcome::Applied, self.settle(now, changes))
    }

    fn piece(
        &mut self,
        version: u64,
        piece: u32,
        pieces: u32,
        bytes: Bytes,
        now: Millis,
        changes: &mut Vec<S::Change>,
    ) -> (Outcome, Option<PartFrame>) {
        if version < self.floor || self.version().is_some_and(|known| version <= known) {
            return (Outcome::Stale, None);
        }
        if piece == 0
            && self
                .incoming
                .as_ref()
                .is_none_or(|incoming| version > incoming.version)
        {
            self.incoming = Some(Incoming {
                version,
                next: 0,
                bytes: Vec::new(),
            });
        }
        let Some(incoming) = &mut self.incoming else {
            return (Outcome::Stale, None);
        };
        if incoming.version != version || incoming.next != piece {
            return (Outcome::Stale, None);
        }
        if incoming.bytes.len() + bytes.len() > self.limits.part_bytes_max {
            self.incoming = None;
            return (Outcome::Malformed, self.missing(now));
        }
        incoming.next += 1;
        if incoming.next < pieces {
            incoming.bytes.extend_from_slice(&bytes);
            let window_ends = incoming
                .next
                .is_multiple_of(self.limits.window_pieces.max(1));
            if window_ends {
                return (Outcome::Collecting, Some(self.pull(now)));
            }
            return (Outcome::Collecting, None);
        }
        // The common case is one piece, which needs no copy.
        let decoded = if incoming.bytes.is_empty() {
            S::decode(&bytes)
        } else {
            incoming.bytes.extend_from_slice(&bytes);
            S::decode(&incoming.bytes)
        };
        self.incoming = None;
        let within = |state: &S| state.entries() <= self.limits.entries_max;
        let Some(state) = decoded.ok().filter(within) else {
            return (Outcome::Malformed, self.missing(now));
        };
        S::differences(self.state(), Some(&state), changes);
        self.known = Some((version, state));
        self.newest = self.newest.max(version);
        // The snapshot answers the pull; if more is missing, `settle` begins a new one.
        self.waiting = None;
        (Outcome::Applied, self.settle(now, changes))
    }

    /// Applies what was held and follows, drops what is behind, and asks again if something is still missing.
    fn settle(&mut self, now: Millis, changes: &mut Vec<S::Change>) -> Option<PartFrame> {
        while let Some(entry) = self.held.first_entry() {
            let known = self.known.as_ref().map_or(0, |(version, _)| *version);
            let version = *entry.key();
            if version > known.saturating_add(1) {
                break;
            }
            let bytes = entry.remove();
            self.held_bytes -= bytes.len() + HELD_OVERHEAD_BYTES;
            if version == known.saturating_add(1) && !self.advance(version, &bytes, changes) {
                break;
            }
        }
        let known = self.version();
        if known.is_some_and(|known| self.newest <= known) {
            self.waiting = None;
            self.incoming = None;
            return None;
        }
        self.missing(now)
    }

    fn advance(&mut self, version: u64, bytes: &Bytes, changes: &mut Vec<S::Change>) -> bool {
        let (Some((known, state)), Ok(delta)) = (&mut self.known, S::decode_delta(bytes)) else {
            return false;
        };
        if state.encoded_len_after(&delta) > self.limits.part_bytes_max
            || state.entries_after(&delta) > self.limits.entries_max
        {
            return false;
        }
        state.apply(delta, changes);
        *known = version;
        true
    }

    fn hold(&mut self, version: u64, bytes: Bytes) {
        let len = bytes.len() + HELD_OVERHEAD_BYTES;
        if self.held.contains_key(&version) {
            return;
        }
        if self.held_bytes + len > self.limits.held_bytes_max {
            self.held.clear();
            self.held_bytes = 0;
            return;
        }
        self.held_bytes += len;
        self.held.insert(version, bytes);
    }

    /// Something is missing: asks for it, unless the owner was asked, or was expected to send unasked, just now.
    fn missing(&mut self, now: Millis) -> Option<PartFrame> {
        let interval_ms = self.limits.pull_interval_ms;
        let due = self
            .waiting
            .as_ref()
            .is_none_or(|waiting| now.since(waiting.asked) >= interval_ms);
        due.then(|| self.pull(now))
    }
}
