//! A TCP stream whose writes may not stall for ever.
//!
//! A reader that takes nothing would otherwise keep its connection, and what waits for it, until it goes away. The
//! timer exists only while a write waits, so an idle connection pays a few words for it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use prometheus::IntGauge;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Sleep, sleep};

use super::per_address::Place;

/// The stream and the time a write may wait without progress.
#[derive(Debug)]
pub(crate) struct TimedIo {
    stream: TcpStream,
    write_timeout: Duration,
    /// Set while a write waits.
    waiting: Option<Pin<Box<Sleep>>>,
    /// Bytes that were read to look at them, and are to be read again.
    unread: Option<Box<Unread>>,
    /// Given back when the stream is dropped, whoever holds it then.
    slot: Option<Slot>,
    /// Bytes that were read from it, as the one above counts them.
    received: u64,
}

/// The bytes from `next` on.
#[derive(Debug)]
struct Unread {
    bytes: Box<[u8]>,
    next: usize,
}

/// The place of one connection under the listener's limit.
#[derive(Debug)]
struct Slot {
    _permit: OwnedSemaphorePermit,
    _place: Option<Place>,
    gauge: Option<IntGauge>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            gauge.dec();
        }
    }
}

impl TimedIo {
    pub(crate) fn new(stream: TcpStream, write_timeout: Duration) -> Self {
        Self {
            stream,
            write_timeout,
            waiting: None,
            unread: None,
            slot: None,
            received: 0,
        }
    }

    /// Ties a place under a limit to the life of the stream, and counts it in the gauge meanwhile.
    pub(crate) fn with_slot(
        mut self,
        permit: OwnedSemaphorePermit,
        place: Option<Place>,
        gauge: Option<IntGauge>,
    ) -> Self {
        if let Some(gauge) = &gauge {
            gauge.inc();
        }
        self.slot = Some(Slot {
            _permit: permit,
            _place: place,
            gauge,
        });
        self
    }

    /// Bytes that were read, see [`TimedIo::note`].
    pub(super) const fn received(&self) -> u64 {
        self.received
    }

    /// Counts bytes that were read, without those of encryption.
    pub(super) const fn note(&mut self, bytes: usize) {
        self.received += bytes as u64;
    }

    /// Puts bytes in front of what is read next.
    pub(super) fn unread(&mut self, bytes: &[u8]) {
        self.unread = Some(Box::new(Unread {
            bytes: bytes.into(),
            next: 0,
        }));
    }

    /// See [`super::Stream::poll_read_ready`].
    pub(super) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.unread.is_some() {
            return Poll::Ready(());
        }
        // An error shows in the read.
        self.stream.poll_read_ready(cx).map(drop)
    }

    fn bounded<T>(
        &mut self,
        cx: &mut Context<'_>,
        result: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.waiting = None;
            return result;
        }
        let timeout = self.write_timeout;
        let timer = self.waiting.get_or_insert_with(|| Box::pin(sleep(timeout)));
        ready!(timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if let Some(unread) = &mut self.unread {
            let rest = &unread.bytes[unread.next..];
            let count = rest.len().min(buf.remaining());
            buf.put_slice(&rest[..count]);
            unread.next += count;
            if unread.next < unread.bytes.len() {
                return Poll::Ready(Ok(()));
            }
            self.unread = None;
            // What follows comes with it: a reader that gets a few bytes first and then asks for more has a buffer twice as large, for
            // as long as the connection lives. What the socket has to say beside bytes, it says next time.
            let _ = Pin::new(&mut self.stream).poll_read(cx, buf);
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TimedIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.bounded(cx, result)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.bounded(cx, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_reader_that_takes_nothing_is_cut_off() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (reader, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut io = TimedIo::new(accepted.unwrap().0, Duration::from_millis(50));
        let block = vec![0; 1 << 20];
        let error = loop {
            if let Err(error) = io.write_all(&block).await {
                break error;
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        drop(reader);
    }

    #[tokio::test]
    async fn what_was_put_back_comes_with_what_follows() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (writer, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let mut writer = writer.unwrap();
        writer.write_all(b"POST / HTTP/1.1").await.unwrap();
        let mut io = TimedIo::new(accepted.unwrap().0, Duration::from_secs(1));
        let (mut first, mut rest) = ([0; 4], [0; 32]);
        io.read_exact(&mut first).await.unwrap();
        io.unread(&first);
        let count = io.read(&mut rest).await.unwrap();
        assert_eq!(&rest[..count], b"POST / HTTP/1.1");
        // And no more than there is room for, of either.
        io.unread(b"abcd");
        writer.write_all(b"efgh").await.unwrap();
        let mut whole = [0; 8];
        io.read_exact(&mut whole[..3]).await.unwrap();
        io.read_exact(&mut whole[3..]).await.unwrap();
        assert_eq!(&whole, b"abcdefgh");
        drop(writer);
        io.unread(b"x");
        assert_eq!(io.read(&mut rest).await.unwrap(), 1);
        assert_eq!(io.read(&mut rest).await.unwrap(), 0);
    }
}
