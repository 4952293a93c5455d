//! The line protocol of a NATS server, as far as the loads need it: a room is a subject.

use anyhow::bail;

/// Longest line that is read.
const LINE_MAX: usize = 4096;

/// The subject of a channel.
pub(super) fn subject(channel: &str) -> String {
    channel.trim_start_matches('/').replace('/', ".")
}

/// Cuts a stream of bytes into messages.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of what has not come whole.
    partial: Vec<u8>,
}

impl Decoder {
    /// Takes bytes and hands the whole messages among them to `text` in one piece, lines and payloads; answers to be sent are appended
    /// to `answers`. Tells how many pongs have come.
    pub(super) fn feed(
        &mut self,
        bytes: &[u8],
        answers: &mut Vec<u8>,
        mut text: impl FnMut(&[u8]),
    ) -> anyhow::Result<usize> {
        let mut pongs = 0;
        let mut whole = std::mem::take(&mut self.partial);
        let bytes = if whole.is_empty() {
            bytes
        } else {
            whole.extend_from_slice(bytes);
            &whole
        };
        let mut at = 0;
        while let Some(line) = memchr::memchr(b'\n', &bytes[at..]) {
            let mut end = at + line + 1;
            let line = &bytes[at..end];
            if line.starts_with(b"MSG ") {
                let length = line
                    .trim_ascii_end()
                    .rsplit(|byte| *byte == b' ')
                    .next()
                    .and_then(|length| std::str::from_utf8(length).ok()?.parse::<usize>().ok());
                let Some(length) = length.filter(|length| *length <= 1 << 26) else {
                    bail!("a message without a length");
                };
                end += length + 2;
                if end > bytes.len() {
                    break;
                }
            } else if line.starts_with(b"PING") {
                answers.extend_from_slice(b"PONG\r\n");
            } else if line.starts_with(b"PONG") {
                pongs += 1;
            } else if line.starts_with(b"-ERR") {
                bail!("{}", String::from_utf8_lossy(line.trim_ascii_end()));
            }
            at = end;
        }
        if at > 0 {
            text(&bytes[..at]);
        }
        let rest = &bytes[at..];
        if rest.len() > LINE_MAX && memchr::memchr(b'\n', rest).is_none() {
            bail!("a line of more than {LINE_MAX} bytes");
        }
        self.partial = rest.to_vec();
        Ok(pongs)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_messages_however_they_are_cut() {
        let stream = b"INFO {}\r\nMSG a.b 1 5\r\nhe\nlo\r\nPING\r\nPONG\r\nMSG c 2 0\r\n\r\n";
        for cut in 1..=stream.len() {
            let (mut decoder, mut answers, mut seen, mut pongs) =
                (Decoder::default(), Vec::new(), Vec::new(), 0);
            for bytes in stream.chunks(cut) {
                pongs += decoder
                    .feed(bytes, &mut answers, |text| seen.extend_from_slice(text))
                    .unwrap();
            }
            assert_eq!((seen.as_slice(), pongs), (&stream[..], 1), "cut at {cut}");
            assert_eq!(answers, b"PONG\r\n");
            assert!(decoder.partial.is_empty());
        }
        let mut decoder = Decoder::default();
        assert!(
            decoder
                .feed(b"-ERR 'no'\r\n", &mut Vec::new(), |_| {})
                .is_err()
        );
        assert_eq!(subject("/bench/rooms/1"), "bench.rooms.1");
    }
}
