//! What HTTP and WebSocket run over: TCP, or TLS on it.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

use super::timed_io::TimedIo;

/// A connection of a client. TLS is boxed, so that a connection in clear text does not pay for it.
#[derive(Debug)]
pub(crate) enum Stream {
    /// In clear text.
    Clear(TimedIo),
    /// The handshake is done.
    Tls(Box<TlsStream<TimedIo>>),
}

impl Stream {
    /// Whether there may be something to read; otherwise the task is woken once there is. In clear text this asks no system call; TLS is
    /// always taken as ready.
    pub(crate) fn poll_read_ready(&self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Clear(stream) => stream.poll_read_ready(cx),
            Self::Tls(_) => Poll::Ready(()),
        }
    }
}

macro_rules! inner {
    ($self:ident, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Stream::Clear($stream) => $call,
            Stream::Tls(tls) => {
                let $stream = &mut **tls;
                $call
            }
        }
    };
}

impl Stream {
    /// Bytes that were read from it so far, without those of encryption.
    pub(crate) fn received(&self) -> u64 {
        match self {
            Self::Clear(io) => io.received(),
            Self::Tls(tls) => tls.get_ref().0.received(),
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        match self.get_mut() {
            Self::Clear(io) => {
                let read = Pin::new(&mut *io).poll_read(cx, buf);
                io.note(buf.filled().len() - before);
                read
            }
            Self::Tls(tls) => {
                let read = Pin::new(&mut **tls).poll_read(cx, buf);
                tls.get_mut().0.note(buf.filled().len() - before);
                read
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        inner!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        inner!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        inner!(self, stream => Pin::new(stream).poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }
}
