//! The only module that knows bincode.
//!
//! The layout is bincode's legacy one: little endian, fixed widths, lengths as 64-bit numbers. It is not
//! self-describing: within one version of the dialect no field is added, removed or reordered.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// No body that goes through here may ask for more than this, whatever the lengths in it claim.
const DECODE_BYTES_MAX: usize = 16 << 20;

/// Bytes that are no such value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CodecError {
    /// The bytes end early, are no such value, or claim more than allowed.
    #[error("malformed body")]
    Malformed,
    /// The value is followed by bytes that do not belong to it.
    #[error("{0} bytes after the end of the body")]
    Trailing(usize),
}

/// Appends the encoded value.
pub(crate) fn encode_onto<T: Serialize>(value: &T, onto: &mut Vec<u8>) {
    bincode::serde::encode_into_std_write(value, onto, bincode::config::legacy())
        .expect("writing to a vector cannot fail, and the bodies have no unsupported types");
}

/// Encodes a value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    encode_onto(value, &mut bytes);
    bytes
}

/// Decodes a value that takes up all of the bytes.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, CodecError> {
    let config = bincode::config::legacy().with_limit::<DECODE_BYTES_MAX>();
    let (value, used) =
        bincode::serde::decode_from_slice(bytes, config).map_err(|_| CodecError::Malformed)?;
    match bytes.len() - used {
        0 => Ok(value),
        trailing => Err(CodecError::Trailing(trailing)),
    }
}
