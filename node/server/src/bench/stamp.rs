//! The stamp at the front of each payload: who published it where, as which of how many, and when.

use memchr::memmem::Finder;

/// What a stamp begins with. It stands in a JSON string and needs no escape, so every server relays it as it is.
const MARK: &[u8] = b"~hb:";

/// Length of a stamp: mark, room, publisher, sequence and instant in hexadecimal digits.
pub(super) const STAMP_BYTES: usize = MARK.len() + 4 + 4 + 8 + 10;

/// Who published, where, as which, when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stamp {
    pub(super) room: u16,
    pub(super) publisher: u16,
    /// Counts from 1 per publisher and room.
    pub(super) sequence: u32,
    /// Microseconds since the run began; 40 bits, 12 days.
    pub(super) micros: u64,
}

impl Stamp {
    /// Appends the stamp, then filler up to `payload_bytes`.
    pub(super) fn push(&self, out: &mut Vec<u8>, payload_bytes: usize) {
        let end = out.len() + payload_bytes.max(STAMP_BYTES);
        out.extend_from_slice(MARK);
        push_hex(out, self.room.into(), 4);
        push_hex(out, self.publisher.into(), 4);
        push_hex(out, self.sequence.into(), 8);
        push_hex(out, self.micros, 10);
        out.resize(end, b'x');
    }

    fn read(digits: &[u8]) -> Option<Self> {
        let (room, rest) = digits.split_at_checked(4)?;
        let (publisher, rest) = rest.split_at_checked(4)?;
        let (sequence, rest) = rest.split_at_checked(8)?;
        let micros = rest.get(..10)?;
        Some(Self {
            // Each cast is of as many bits as the digits hold.
            room: hex(room)? as u16,
            publisher: hex(publisher)? as u16,
            sequence: hex(sequence)? as u32,
            micros: hex(micros)?,
        })
    }
}

fn push_hex(out: &mut Vec<u8>, value: u64, digits: u32) {
    for digit in (0..digits).rev() {
        out.push(b"0123456789abcdef"[(value >> (digit * 4) & 0xf) as usize]);
    }
}

fn hex(digits: &[u8]) -> Option<u64> {
    let mut value = 0;
    for digit in digits {
        let nibble = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        value = value << 4 | u64::from(nibble);
    }
    Some(value)
}

/// Finds stamps in frames.
#[derive(Debug, Clone)]
pub(super) struct StampFinder(Finder<'static>);

impl StampFinder {
    pub(super) fn new() -> Self {
        Self(Finder::new(MARK))
    }

    /// Hands each stamp of a frame to `found`, in order.
    pub(super) fn each(&self, frame: &[u8], mut found: impl FnMut(Stamp)) {
        let mut at = 0;
        while let Some(mark) = self.0.find(&frame[at..]) {
            at += mark + MARK.len();
            if let Some(stamp) = Stamp::read(&frame[at..]) {
                found(stamp);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_what_was_written() {
        let stamps = [
            Stamp {
                room: 0,
                publisher: 1,
                sequence: 2,
                micros: 3,
            },
            Stamp {
                room: u16::MAX,
                publisher: 255,
                sequence: u32::MAX,
                micros: (1 << 40) - 1,
            },
        ];
        let mut frame = b"[{\"channel\":\"/a\",\"data\":\"".to_vec();
        for stamp in stamps {
            let before = frame.len();
            stamp.push(&mut frame, 50);
            assert_eq!(frame.len() - before, 50);
            frame.extend_from_slice(b"\"},{\"data\":\"");
        }
        frame.extend_from_slice(b"~hb:00");
        let mut found = Vec::new();
        StampFinder::new().each(&frame, |stamp| found.push(stamp));
        assert_eq!(found, stamps);
    }
}
