//! The streams that links run over.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

use super::{Binding, EXPORTER_BYTES};

/// The exporter of RFC 9266, section 4.2; its context is empty.
const EXPORTER_LABEL: &[u8] = b"EXPORTER-Channel-Binding";

/// A stream whose first byte was looked at.
#[derive(Debug)]
pub(crate) struct Peeked<S> {
    stream: S,
    first: Option<u8>,
}

impl<S: AsyncRead + Unpin> Peeked<S> {
    /// A stream that nobody looked at.
    pub(super) fn new(stream: S) -> Self {
        Self {
            stream,
            first: None,
        }
    }

    /// The first byte, which is read all the same.
    pub(super) async fn peek(&mut self) -> io::Result<u8> {
        let first = self.stream.read_u8().await?;
        self.first = Some(first);
        Ok(first)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Peeked<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.first.is_some() && buf.remaining() > 0 {
            let first = self.first.take();
            buf.put_slice(first.as_slice());
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Peeked<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

/// What the WebSocket of a link runs over. TLS is boxed, so that a connection in clear text does not pay for it.
#[derive(Debug)]
pub(crate) enum Transport<S> {
    Clear(Peeked<S>),
    Tls(Box<TlsStream<Peeked<S>>>),
}

impl<S: AsyncRead + AsyncWrite + Unpin> Transport<S> {
    /// What the proofs are bound to.
    pub(super) fn binding(&self) -> Result<Binding, rustls::Error> {
        let Self::Tls(stream) = self else {
            return Ok(Binding::NONE);
        };
        let exporter = [0; EXPORTER_BYTES];
        let exporter = match &**stream {
            TlsStream::Client(stream) => {
                let session = stream.get_ref().1;
                session.export_keying_material(exporter, EXPORTER_LABEL, Some(&[]))
            }
            TlsStream::Server(stream) => {
                let session = stream.get_ref().1;
                session.export_keying_material(exporter, EXPORTER_LABEL, Some(&[]))
            }
        };
        Ok(Binding(Some(exporter?)))
    }

    /// The certificate that the other side has shown, if it has.
    pub(super) fn certificate(&self) -> Option<CertificateDer<'static>> {
        let Self::Tls(stream) = self else {
            return None;
        };
        let shown = stream.get_ref().1.peer_certificates()?;
        shown.first().map(|first| first.clone().into_owned())
    }
}

macro_rules! either {
    ($self:ident, $stream:ident => $what:expr) => {
        match $self.get_mut() {
            Transport::Clear($stream) => $what,
            Transport::Tls(tls) => {
                let $stream = &mut **tls;
                $what
            }
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_read(cx, buf))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        either!(self, stream => Pin::new(stream).poll_write(cx, buf))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        either!(self, stream => Pin::new(stream).poll_shutdown(cx))
    }
}
