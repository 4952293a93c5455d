//! Ways into the decoders for the fuzz targets of `tests/fuzz`. Not part of any other build.

use bytes::Bytes;

use crate::discovery;
use crate::wire::{Frame, VERSION_MIN};

/// Decodes a frame of a link; what decodes must come out again when it is written and read anew.
///
/// # Panics
/// It does not.
pub fn mesh_frame(bytes: &[u8]) {
    let Ok(frame) = Frame::decode(&Bytes::copy_from_slice(bytes)) else {
        return;
    };
    // Channels that are no text are told apart from others only by whoever delivers them.
    if let Frame::Publications(publications) = &frame
        && publications
            .items
            .iter()
            .any(|(channel, _)| std::str::from_utf8(channel).is_err())
    {
        return;
    }
    // `Hello` comes before a version is chosen.
    let again = Frame::decode(&frame.encode(bytes[0].max(VERSION_MIN)));
    assert_eq!(again.as_ref(), Ok(&frame), "written and read anew");
}

/// Opens a datagram, as it came and as somebody with the secret would have sealed it.
pub fn datagram(bytes: &[u8]) {
    discovery::fuzz_datagram(bytes);
}
