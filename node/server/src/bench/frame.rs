//! WebSocket frames as a load generator needs them: no allocation per frame, nothing copied that came whole.
//!
//! Frames are sent with a masking key of zero, which leaves the payload as it is: legal on the wire, and it saves the
//! generator the masking. The unpredictable key of RFC 6455 protects proxies from hostile web pages, of which there
//! are none here.

/// Largest frame or message that is taken from a server.
const BYTES_MAX: usize = 64 << 20;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// Appends a text frame.
pub(super) fn push_text(out: &mut Vec<u8>, payload: &[u8]) {
    push(out, 0x1, payload);
}

fn push(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.push(FIN | opcode);
    match payload.len() {
        // Each cast is of a number that the arm bounds.
        len @ 0..=125 => out.push(MASKED | len as u8),
        len @ 126..=65_535 => {
            out.push(MASKED | 126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
        len => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(payload);
}

/// Why a stream of frames cannot be read on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum FrameError {
    #[error("the server closed with code {0}")]
    Closed(u16),
    #[error("the server sent a masked frame, a reserved bit or an unknown opcode")]
    Violation,
    #[error("the server sent a frame of {0} bytes")]
    TooLarge(u64),
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of a frame whose rest has not come.
    partial: Vec<u8>,
    /// The fragments of a message whose last has not come.
    fragments: Vec<u8>,
}

impl Decoder {
    /// Takes bytes, hands each whole text message to `text`; pongs to be sent are appended to `answers`.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
        mut text: impl FnMut(&[u8]),
    ) -> Result<(), FrameError> {
        if self.partial.is_empty() {
            let used = self.frames(bytes, answers, &mut text)?;
            self.partial.extend_from_slice(&bytes[used..]);
        } else {
            let mut whole = std::mem::take(&mut self.partial);
            whole.extend_from_slice(bytes);
            let used = self.frames(&whole, answers, &mut text)?;
            whole.drain(..used);
            if whole.capacity() > 16 * 1024 && whole.len() < 1024 {
                whole.shrink_to(4096);
            }
            self.partial = whole;
        }
        Ok(())
    }

    /// Reads whole frames and tells how many bytes they were.
    fn frames(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
        text: &mut impl FnMut(&[u8]),
    ) -> Result<usize, FrameError> {
        let mut at = 0;
        while let Some((first, payload, end)) = next_frame(&bytes[at..])? {
            let payload = &bytes[at..][payload..end];
            at += end;
            match (first & 0x0f, first & FIN != 0) {
                (0x1, true) => text(payload),
                (0x0 | 0x1, fin) => {
                    if self.fragments.len() + payload.len() > BYTES_MAX {
                        return Err(FrameError::TooLarge(BYTES_MAX as u64));
                    }
                    self.fragments.extend_from_slice(payload);
                    if fin {
                        text(&std::mem::take(&mut self.fragments));
                    }
                }
                (0x2 | 0xa, _) => {}
                (0x9, _) => push(answers, 0xa, payload),
                (0x8, _) => {
                    let code = payload
                        .first_chunk()
                        .map_or(1005, |code| u16::from_be_bytes(*code));
                    return Err(FrameError::Closed(code));
                }
                _ => return Err(FrameError::Violation),
            }
        }
        Ok(at)
    }
}

/// The first byte, the start of the payload and the end of the frame at the front, when it is whole.
fn next_frame(bytes: &[u8]) -> Result<Option<(u8, usize, usize)>, FrameError> {
    let [first, second, ..] = *bytes else {
        return Ok(None);
    };
    if first & 0x70 != 0 || second & MASKED != 0 {
        return Err(FrameError::Violation);
    }
    let (start, len) = match second {
        126 => match bytes[2..].first_chunk() {
            Some(len) => (4, u64::from(u16::from_be_bytes(*len))),
            None => return Ok(None),
        },
        127 => match bytes[2..].first_chunk() {
            Some(len) => (10, u64::from_be_bytes(*len)),
            None => return Ok(None),
        },
        len => (2, u64::from(len)),
    };
    if len > BYTES_MAX as u64 {
        return Err(FrameError::TooLarge(len));
    }
    let end = start + len as usize;
    Ok((bytes.len() >= end).then_some((first, start, end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's frame: as ours, without the mask.
    fn server_frame(first: u8, payload: &[u8]) -> Vec<u8> {
        let mut frame = Vec::new();
        push(&mut frame, first & 0x0f, payload);
        frame[0] = first;
        frame[1] &= !MASKED;
        let key = frame.len() - payload.len() - 4;
        frame.drain(key..key + 4);
        frame
    }

    #[test]
    fn reads_frames_however_they_are_cut() {
        let long = vec![b'y'; 70_000];
        let middle = vec![b'z'; 300];
        let mut stream = server_frame(0x81, b"one");
        stream.extend(server_frame(0x89, b"ping"));
        stream.extend(server_frame(0x01, b"tw"));
        stream.extend(server_frame(0x80, b"o"));
        stream.extend(server_frame(0x81, &middle));
        stream.extend(server_frame(0x81, &long));
        for cut in [1, 2, 3, 7, 1000, stream.len()] {
            let (mut decoder, mut answers, mut seen) = (Decoder::default(), Vec::new(), Vec::new());
            for bytes in stream.chunks(cut) {
                decoder
                    .feed(bytes, &mut answers, |text| seen.push(text.to_vec()))
                    .unwrap();
            }
            assert_eq!(
                seen,
                [
                    b"one".to_vec(),
                    b"two".to_vec(),
                    middle.clone(),
                    long.clone()
                ],
                "cut {cut}"
            );
            assert_eq!(answers, [&[0x8a, 0x84, 0, 0, 0, 0][..], b"ping"].concat());
        }
    }

    #[test]
    fn stops_at_a_close_and_at_violations() {
        let feed = |bytes: &[u8]| Decoder::default().feed(bytes, &mut Vec::new(), |_| {});
        assert_eq!(
            feed(&server_frame(0x88, &1009_u16.to_be_bytes())),
            Err(FrameError::Closed(1009))
        );
        assert_eq!(
            feed(&[0x81, 0x81, 0, 0, 0, 0, 0]),
            Err(FrameError::Violation)
        );
        assert_eq!(feed(&[0xc1, 0x01, 0]), Err(FrameError::Violation));
        assert_eq!(feed(&server_frame(0x83, b"")), Err(FrameError::Violation));
        assert!(matches!(
            feed(&[0x81, 127, 255, 0, 0, 0, 0, 0, 0, 0]),
            Err(FrameError::TooLarge(_))
        ));
    }
}
