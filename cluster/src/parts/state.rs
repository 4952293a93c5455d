//! What the state of a part must be able to do.

use bytes::Bytes;

/// Bytes of a sibling that do not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed {0}")]
pub struct Malformed(pub &'static str);

/// The state of one part.
///
/// # What an implementation must hold to
///
/// - `encode` called twice without a change in between gives the same bytes: a long snapshot travels in pieces, and a
///   piece may be encoded again.
/// - Applying to a decoded snapshot the deltas that followed it gives the owner's state.
/// - `decode` and `decode_delta` accept anything a sibling may send, without panic, and allocate no more than a small
///   multiple of the bytes they were given.
pub trait PartState: Sized {
    /// One change of the state, as it travels.
    type Delta;
    /// What a listener is told about a change.
    type Change;

    /// The whole state as bytes.
    fn encode(&self) -> Bytes;

    /// The state that [`encode`](Self::encode) wrote.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are not such a state.
    fn decode(bytes: &[u8]) -> Result<Self, Malformed>;

    /// One delta as bytes.
    fn encode_delta(delta: &Self::Delta) -> Bytes;

    /// The delta that [`encode_delta`](Self::encode_delta) wrote.
    ///
    /// # Errors
    /// [`Malformed`] when the bytes are not such a delta.
    fn decode_delta(bytes: &[u8]) -> Result<Self::Delta, Malformed>;

    /// How many bytes [`encode`](Self::encode) gives now.
    fn encoded_len(&self) -> usize;

    /// How many bytes [`encode`](Self::encode) would give after `delta`. The owner checks its bound with it, before
    /// anything has changed.
    fn encoded_len_after(&self, delta: &Self::Delta) -> usize;

    /// How many entries the state has; a state that is one value has one.
    fn entries(&self) -> usize {
        1
    }

    /// How many entries the state would have after `delta`, at most.
    fn entries_after(&self, delta: &Self::Delta) -> usize {
        let _ = delta;
        1
    }

    /// Applies one delta and adds to `changes` what really changed.
    fn apply(&mut self, delta: Self::Delta, changes: &mut Vec<Self::Change>);

    /// Adds to `changes` what differs from `before` to `after`; none stands for a part that is not known.
    fn differences(before: Option<&Self>, after: Option<&Self>, changes: &mut Vec<Self::Change>);
}
