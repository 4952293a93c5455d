//! Z85 (ZeroMQ RFC 32), with the tail rule of CometD for lengths that are no multiple of four (reference 8.3).

use thiserror::Error;

const ALPHABET: &[u8; 85] =
    b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#";

/// The value of each byte, and this for bytes that are none of the alphabet.
const NONE: u8 = 0xFF;

const VALUES: [u8; 256] = {
    let mut values = [NONE; 256];
    let mut n = 0;
    while n < ALPHABET.len() {
        values[ALPHABET[n] as usize] = n as u8;
        n += 1;
    }
    values
};

/// Not Z85.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("not Z85 at character {at}")]
pub struct InvalidZ85 {
    /// Where the group of five begins that cannot be decoded.
    pub at: usize,
}

/// Encodes bytes: four become five characters, a tail of n bytes n + 1.
#[must_use]
pub fn encode(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(4) * 5);
    for group in bytes.chunks(4) {
        let mut four = [0; 4];
        four[..group.len()].copy_from_slice(group);
        let mut value = u32::from_be_bytes(four);
        let mut five = [0; 5];
        for place in five.iter_mut().rev() {
            *place = ALPHABET[(value % 85) as usize];
            value /= 85;
        }
        out.extend(five[..=group.len()].iter().copied().map(char::from));
    }
    out
}

/// Decodes text. A tail is padded with `#`, and as many bytes are dropped as characters were added.
///
/// # Errors
/// A character outside the alphabet, five characters beyond 32 bits, or a tail of a single one.
pub fn decode(text: &str) -> Result<Vec<u8>, InvalidZ85> {
    let mut out = Vec::with_capacity(text.len() / 5 * 4 + 4);
    for (n, group) in text.as_bytes().chunks(5).enumerate() {
        let invalid = InvalidZ85 { at: n * 5 };
        if group.len() == 1 {
            return Err(invalid);
        }
        let mut value: u64 = 0;
        for place in 0..5 {
            let byte = group.get(place).copied().unwrap_or(b'#');
            let digit = VALUES[usize::from(byte)];
            if digit == NONE {
                return Err(invalid);
            }
            value = value * 85 + u64::from(digit);
        }
        let value = u32::try_from(value).map_err(|_| invalid)?;
        out.extend_from_slice(&value.to_be_bytes()[..group.len() - 1]);
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Z85Test: Java and JavaScript agree on these.
    #[test]
    fn vectors() {
        for (bytes, text) in [
            (
                &[0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B][..],
                "HelloWorld",
            ),
            (&[1], "0r"),
            (&[1, 2], "0rJ"),
            (&[1, 2, 3], "0rJu"),
            (&[0xFF, 0xFF, 0xFF], "%nS9"),
            (&[], ""),
        ] {
            assert_eq!(encode(bytes), text);
            assert_eq!(decode(text).unwrap(), bytes);
        }
    }

    #[test]
    fn what_is_not_z85() {
        for (text, at) in [
            ("Hello~orld", 5),
            ("\"", 0),
            ("HelloW", 5),
            ("#####", 0),
            ("Helloé", 5),
        ] {
            assert_eq!(decode(text), Err(InvalidZ85 { at }), "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_come_back(bytes: Vec<u8>) {
            prop_assert_eq!(decode(&encode(&bytes)), Ok(bytes));
        }

        #[test]
        fn no_text_panics(text: String) {
            let _ = decode(&text);
        }
    }
}
