//! HTTP/1.1 as the long-polling loads need it: requests made by hand, answers found by a byte search.

use std::borrow::Cow;

use anyhow::{Context as _, bail};
use memchr::memmem;

/// Largest answer that is taken.
const ANSWER_MAX: usize = 64 << 20;

/// Largest head of an answer.
const HEAD_MAX: usize = 64 << 10;

/// Everything of a POST up to the length of its body.
pub(super) fn post_head(path: &str, authority: &str, cookie: Option<&str>) -> Vec<u8> {
    let cookie = cookie.map_or_else(String::new, |cookie| format!("Cookie: {cookie}\r\n"));
    format!(
        "POST {path} HTTP/1.1\r\nHost: {authority}\r\nContent-Type: application/json;charset=UTF-8\r\n{cookie}Content-Length: "
    )
    .into_bytes()
}

/// Appends a POST.
pub(super) fn push_post(out: &mut Vec<u8>, head: &[u8], body: &[u8]) {
    out.extend_from_slice(head);
    out.extend_from_slice(body.len().to_string().as_bytes());
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(body);
}

/// Cuts a stream of bytes into answers.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The beginning of an answer whose rest has not come.
    partial: Vec<u8>,
    /// The cookies that answers have set, as a request shows them.
    pub(super) cookies: Vec<String>,
}

impl Decoder {
    /// Takes bytes and hands the body of each whole answer to `body`.
    pub(super) fn feed(&mut self, bytes: &[u8], mut body: impl FnMut(&[u8])) -> anyhow::Result<()> {
        let mut whole = std::mem::take(&mut self.partial);
        let bytes = if whole.is_empty() {
            bytes
        } else {
            whole.extend_from_slice(bytes);
            &whole
        };
        let mut at = 0;
        while let Some(end) = self.answer(&bytes[at..], &mut body)? {
            at += end;
        }
        if bytes.len() - at > ANSWER_MAX {
            bail!("an answer of more than {ANSWER_MAX} bytes");
        }
        self.partial = bytes[at..].to_vec();
        Ok(())
    }

    /// The end of the answer at the front, when it is whole.
    fn answer(
        &mut self,
        bytes: &[u8],
        body: &mut impl FnMut(&[u8]),
    ) -> anyhow::Result<Option<usize>> {
        let Some(head) = memmem::find(bytes, b"\r\n\r\n") else {
            if bytes.len() > HEAD_MAX {
                bail!("the head of an answer has more than {HEAD_MAX} bytes");
            }
            return Ok(None);
        };
        let (head, from) = (&bytes[..head], head + 4);
        let mut length = None;
        let mut chunked = false;
        let mut cookie = None;
        for line in head.split(|byte| *byte == b'\n').skip(1) {
            let Some(colon) = memchr::memchr(b':', line) else {
                continue;
            };
            let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
            if name.eq_ignore_ascii_case(b"content-length") {
                length = std::str::from_utf8(value)?.parse::<usize>().ok();
            } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
                chunked = value.eq_ignore_ascii_case(b"chunked");
            } else if name.eq_ignore_ascii_case(b"set-cookie") {
                let pair = value.split(|byte| *byte == b';').next().unwrap_or_default();
                cookie = Some(String::from_utf8_lossy(pair).into_owned());
            }
        }
        let whole = if chunked {
            unchunk(&bytes[from..])?.map(|(text, end)| (Cow::Owned(text), from + end))
        } else {
            let end = from + length.context("an answer without a length")?;
            bytes.get(from..end).map(|text| (Cow::Borrowed(text), end))
        };
        let Some((text, end)) = whole else {
            return Ok(None);
        };
        if !head.starts_with(b"HTTP/1.1 200") {
            bail!(
                "the server answered {}: {}",
                String::from_utf8_lossy(head.split(|byte| *byte == b'\r').next().unwrap_or(head)),
                String::from_utf8_lossy(&text)
            );
        }
        self.cookies.extend(cookie);
        body(&text);
        Ok(Some(end))
    }
}

/// The joined chunks and where they end, when all have come. The server's trailers, if it has any, are not read.
fn unchunk(bytes: &[u8]) -> anyhow::Result<Option<(Vec<u8>, usize)>> {
    let (mut text, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = memmem::find(&bytes[at..], b"\r\n") else {
            return Ok(None);
        };
        let size = std::str::from_utf8(&bytes[at..at + line])?;
        let size = usize::from_str_radix(size.split(';').next().unwrap_or_default().trim(), 16)
            .ok()
            .filter(|size| *size <= ANSWER_MAX)
            .context("a chunk without a length")?;
        at += line + 2;
        let Some(chunk) = bytes.get(at..at + size + 2) else {
            return Ok(None);
        };
        at += size + 2;
        if size == 0 {
            return Ok(Some((text, at)));
        }
        text.extend_from_slice(&chunk[..size]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_answers_however_they_are_cut() {
        let stream = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\nSet-Cookie: a=b; Path=/\r\n\r\none\
            HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\ntw\r\n1;x\r\no\r\n0\r\n\r\n";
        for cut in 1..=stream.len() {
            let (mut decoder, mut seen) = (Decoder::default(), Vec::new());
            for bytes in stream.chunks(cut) {
                decoder
                    .feed(bytes, |body| seen.push(body.to_vec()))
                    .unwrap();
            }
            assert_eq!(seen, [&b"one"[..], b"two"], "cut at {cut}");
            assert_eq!(decoder.cookies, ["a=b"]);
            assert!(decoder.partial.is_empty());
        }
        let refusal = b"HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n";
        assert!(Decoder::default().feed(refusal, |_| {}).is_err());
    }
}
