//! Requests that two readers could understand differently, which is how one request is smuggled behind another.
//!
//! The HTTP engine follows RFC 9112: where a request has both `Transfer-Encoding` and `Content-Length` it forgets the
//! latter, so that nobody behind it can tell. [`Watched`] therefore looks for the name in the bytes as they arrive.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use http::header::{HOST, TRANSFER_ENCODING};
use http::{Request, Version};
use memchr::memchr_iter;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::stream::Stream;

/// A line that begins like this, whatever its case, declares the length of a body.
const CONTENT_LENGTH: &[u8] = b"\ncontent-length";

/// Whether a declared length came in since somebody last asked.
#[derive(Debug, Clone, Default)]
pub(super) struct LengthSeen(Arc<AtomicBool>);

/// A stream under HTTP/1.1. A JSON text has no line that begins with the bare name, so no body is taken for a head.
#[derive(Debug)]
pub(crate) struct Watched {
    stream: Stream,
    seen: LengthSeen,
    /// The last bytes read, for a name that arrives in pieces.
    tail: [u8; CONTENT_LENGTH.len() - 1],
}

impl Watched {
    pub(super) fn new(stream: Stream) -> (Self, LengthSeen) {
        let seen = LengthSeen::default();
        let watched = Self {
            stream,
            seen: seen.clone(),
            tail: [0; CONTENT_LENGTH.len() - 1],
        };
        (watched, seen)
    }

    /// The stream, when HTTP is over.
    pub(crate) fn into_inner(self) -> Stream {
        self.stream
    }

    fn look(&mut self, bytes: &[u8]) {
        let border = bytes.len().min(self.tail.len());
        let mut joined = [0; 2 * (CONTENT_LENGTH.len() - 1)];
        joined[..self.tail.len()].copy_from_slice(&self.tail);
        joined[self.tail.len()..][..border].copy_from_slice(&bytes[..border]);
        if has_length(&joined[..self.tail.len() + border]) || has_length(bytes) {
            self.seen.0.store(true, Ordering::Relaxed);
        }
        let length = self.tail.len();
        if bytes.len() >= length {
            self.tail.copy_from_slice(&bytes[bytes.len() - length..]);
        } else {
            self.tail.rotate_left(bytes.len());
            self.tail[length - bytes.len()..].copy_from_slice(bytes);
        }
    }
}

fn has_length(bytes: &[u8]) -> bool {
    memchr_iter(b'\n', bytes).any(|at| {
        bytes[at..]
            .get(..CONTENT_LENGTH.len())
            .is_some_and(|line| line.eq_ignore_ascii_case(CONTENT_LENGTH))
    })
}

/// Why a request is refused, if it is. After that nothing on its connection can be trusted.
pub(super) fn fault<B>(
    request: &Request<B>,
    length_seen: Option<&LengthSeen>,
) -> Option<&'static str> {
    if request.version() >= Version::HTTP_2 {
        return None;
    }
    let length = length_seen.is_some_and(|seen| seen.0.swap(false, Ordering::Relaxed));
    let headers = request.headers();
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (None, _) if request.version() == Version::HTTP_11 => return Some("Host is missing"),
        (Some(_), Some(_)) => return Some("Host is given twice"),
        _ => {}
    }
    (length && headers.contains_key(TRANSFER_ENCODING))
        .then_some("Content-Length together with Transfer-Encoding")
}

impl AsyncRead for Watched {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let before = buf.filled().len();
        let read = Pin::new(&mut this.stream).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            this.look(&buf.filled()[before..]);
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::net::{TcpListener, TcpStream};

    use super::super::timed_io::TimedIo;
    use super::*;

    #[tokio::test]
    async fn a_length_is_seen_in_whatever_pieces_it_comes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let head = b"POST / HTTP/1.1\r\nHost: a\r\nCONTENT-length: 3\r\n\r\n{}\n";
        let other = b"POST / HTTP/1.1\r\nX-Content-Length: 3\r\n\r\n{\"x\":\"\\ncontent-length\"}";
        for size in 1..=head.len() {
            let stream = TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let stream = Stream::Clear(TimedIo::new(stream, Duration::from_secs(1)));
            let (mut watched, seen) = Watched::new(stream);
            for piece in other.chunks(size) {
                watched.look(piece);
            }
            assert!(!seen.0.load(Ordering::Relaxed), "pieces of {size}");
            for piece in head.chunks(size) {
                watched.look(piece);
            }
            assert!(seen.0.load(Ordering::Relaxed), "pieces of {size}");
        }
    }
}
