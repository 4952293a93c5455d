//! The frame that carries publications: written and read by hand, because it is the hot path, in exactly the layout
//! that the codec would give to `struct { first_sequence: u64, items: Vec<(String, Vec<u8>)> }`.

use bytes::{Buf, Bytes};

use super::frame::{FrameError, KIND_PUBLICATIONS};

const HEADER_BYTES: usize = 2 + 8 + 8;
const COUNT_AT: usize = 2 + 8;

/// Collects publications into one frame.
#[derive(Debug)]
pub(crate) struct Batch {
    bytes: Vec<u8>,
    count: u64,
}

impl Batch {
    pub(crate) fn new(version: u8, first_sequence: u64, capacity: usize) -> Self {
        let mut bytes = Vec::with_capacity(HEADER_BYTES + capacity);
        bytes.push(version);
        bytes.push(KIND_PUBLICATIONS);
        bytes.extend_from_slice(&first_sequence.to_le_bytes());
        bytes.extend_from_slice(&0u64.to_le_bytes());
        Self { bytes, count: 0 }
    }

    /// Bytes that one publication takes in a frame.
    pub(crate) fn item_bytes(channel: &str, object_bytes: usize) -> usize {
        16 + channel.len() + object_bytes
    }

    pub(crate) fn push(&mut self, channel: &str, object: &[u8]) {
        for part in [channel.as_bytes(), object] {
            self.bytes
                .extend_from_slice(&(part.len() as u64).to_le_bytes());
            self.bytes.extend_from_slice(part);
        }
        self.count += 1;
    }

    pub(crate) fn into_bytes(mut self) -> Bytes {
        self.bytes[COUNT_AT..HEADER_BYTES].copy_from_slice(&self.count.to_le_bytes());
        self.bytes.into()
    }
}

/// The publications of one frame, still as bytes of that frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Publications {
    /// The number of the first one on this link; the others follow without gap.
    pub(crate) first_sequence: u64,
    /// Channel and JSON object of each.
    pub(crate) items: Vec<(Bytes, Bytes)>,
}

impl Publications {
    pub(crate) fn decode(mut body: Bytes) -> Result<Self, FrameError> {
        let first_sequence = body.try_get_u64_le().map_err(|_| FrameError::Malformed)?;
        let count = body.try_get_u64_le().map_err(|_| FrameError::Malformed)?;
        // Every item takes at least its two lengths: no claim can make the vector larger than the frame.
        if count > (body.len() / 16) as u64 || first_sequence.checked_add(count).is_none() {
            return Err(FrameError::Malformed);
        }
        let mut items = Vec::with_capacity(count as usize);
        for _ in 0..count {
            let channel = take_part(&mut body)?;
            let object = take_part(&mut body)?;
            items.push((channel, object));
        }
        if !body.is_empty() {
            return Err(FrameError::Malformed);
        }
        Ok(Self {
            first_sequence,
            items,
        })
    }
}

fn take_part(body: &mut Bytes) -> Result<Bytes, FrameError> {
    let length = body.try_get_u64_le().map_err(|_| FrameError::Malformed)?;
    if length > body.len() as u64 {
        return Err(FrameError::Malformed);
    }
    Ok(body.split_to(length as usize))
}

#[cfg(test)]
mod tests {
    use super::super::codec;
    use super::*;

    #[test]
    fn the_layout_is_the_codecs() {
        let mut batch = Batch::new(1, 7, 0);
        batch.push("/a/b", b"{\"data\":1}");
        batch.push("/c", b"{}");
        let frame = batch.into_bytes();
        let twin = codec::encode(&(
            7u64,
            vec![("/a/b", b"{\"data\":1}".to_vec()), ("/c", b"{}".to_vec())],
        ));
        assert_eq!(&frame[..2], [1, KIND_PUBLICATIONS]);
        assert_eq!(&frame[2..], twin);
        let read = Publications::decode(frame.slice(2..)).unwrap();
        assert_eq!(read.first_sequence, 7);
        assert_eq!(read.items[1], (Bytes::from("/c"), Bytes::from("{}")));
    }

    #[test]
    fn hostile_lengths_are_refused() {
        let mut batch = Batch::new(1, 0, 0);
        batch.push("/a", b"{}");
        let good = batch.into_bytes().slice(2..);
        for cut in 0..good.len() {
            assert!(Publications::decode(good.slice(..cut)).is_err());
        }
        for at in (0..24).step_by(8) {
            let mut bad = good.to_vec();
            bad[at..at + 8].copy_from_slice(&u64::MAX.to_le_bytes());
            assert!(Publications::decode(bad.into()).is_err(), "length at {at}");
        }
        let mut longer = good.to_vec();
        longer.push(0);
        assert!(Publications::decode(longer.into()).is_err());
    }
}
