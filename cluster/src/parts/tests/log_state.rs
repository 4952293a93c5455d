//! A state that only grows, so that a replica that lost, doubled or swapped a change is seen at once: it must always
//! be a beginning of its owner's log.

use bytes::Bytes;

use crate::parts::{Malformed, PartState};

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Log(pub(super) Vec<u8>);

/// What the log was before and is after.
pub(super) type LogChange = (Option<Vec<u8>>, Option<Vec<u8>>);

impl PartState for Log {
    type Delta = Vec<u8>;
    type Change = LogChange;

    fn encode(&self) -> Bytes {
        Bytes::copy_from_slice(&self.0)
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.contains(&0xff) {
            Err(Malformed("log"))
        } else {
            Ok(Self(bytes.to_vec()))
        }
    }

    fn encode_delta(delta: &Vec<u8>) -> Bytes {
        Bytes::copy_from_slice(delta)
    }

    fn decode_delta(bytes: &[u8]) -> Result<Vec<u8>, Malformed> {
        if bytes.contains(&0xff) {
            Err(Malformed("log delta"))
        } else {
            Ok(bytes.to_vec())
        }
    }

    fn encoded_len(&self) -> usize {
        self.0.len()
    }

    fn encoded_len_after(&self, delta: &Vec<u8>) -> usize {
        self.0.len() + delta.len()
    }

    fn apply(&mut self, delta: Vec<u8>, changes: &mut Vec<LogChange>) {
        let before = self.0.clone();
        self.0.extend(delta);
        changes.push((Some(before), Some(self.0.clone())));
    }

    fn differences(before: Option<&Self>, after: Option<&Self>, changes: &mut Vec<LogChange>) {
        if before != after {
            changes.push((
                before.map(|log| log.0.clone()),
                after.map(|log| log.0.clone()),
            ));
        }
    }
}
