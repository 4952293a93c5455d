//! From a fresh stream to one that a link can run over. The caller limits the time.

use std::io;
use std::net::SocketAddr;

use rustls_pki_types::CertificateDer;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio_rustls::{TlsAcceptor, TlsConnector, TlsStream};

use super::stream::Peeked;
use super::{Binding, MeshTls, Transport};
use crate::link::DialError;

/// The first byte of a TLS handshake (RFC 8446, section 5.1). No HTTP request begins with it.
const TLS_HANDSHAKE: u8 = 0x16;
/// What a dialler in clear text is told (RFC 2817, section 4.2), so that its log says what is wrong.
const WANTS_TLS: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\nUpgrade: TLS/1.3\r\n\
    Connection: Upgrade, close\r\nContent-Length: 0\r\n\r\n";
/// What is read of a dialler in clear text, so that the answer reaches it.
const UNREAD_BYTES_MAX: u64 = 16 << 10;

/// A stream that a link can run over.
#[derive(Debug)]
pub(crate) struct Secured<S> {
    pub(crate) transport: Transport<S>,
    pub(crate) binding: Binding,
    /// The certificate of the other side; none in clear text, or if a dialler was not asked for it.
    pub(crate) certificate: Option<CertificateDer<'static>>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Secured<S> {
    fn new(transport: Transport<S>) -> Result<Self, DialError> {
        let binding = transport
            .binding()
            .map_err(|error| DialError::Tls(error.to_string()))?;
        let certificate = transport.certificate();
        Ok(Self {
            transport,
            binding,
            certificate,
        })
    }
}

/// The dialler's side. It never falls back to clear text.
pub(crate) async fn connect<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    address: SocketAddr,
    tls: Option<&MeshTls>,
) -> Result<Secured<S>, DialError> {
    let stream = Peeked::new(stream);
    let Some(tls) = tls.filter(|tls| tls.dials()) else {
        return Secured::new(Transport::Clear(stream));
    };
    let connector = TlsConnector::from(tls.client());
    let connected = connector.connect(tls.name_of(address), stream).await;
    let stream = connected.map_err(|error| failed(&error))?;
    Secured::new(Transport::Tls(Box::new(TlsStream::Client(stream))))
}

/// The acceptor's side. What comes in says by its first byte whether it is TLS.
pub(crate) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    tls: Option<&MeshTls>,
) -> Result<Secured<S>, DialError> {
    let mut stream = Peeked::new(stream);
    let is_tls = stream.peek().await? == TLS_HANDSHAKE;
    match tls {
        Some(tls) if is_tls => {
            let accepted = TlsAcceptor::from(tls.server()).accept(stream).await;
            let stream = accepted.map_err(|error| failed(&error))?;
            Secured::new(Transport::Tls(Box::new(TlsStream::Server(stream))))
        }
        None if is_tls => Err(DialError::UnexpectedTls),
        Some(tls) if !tls.accepts_clear() => {
            // Whether it hears that is its own affair.
            let _ = want_tls(stream).await;
            Err(DialError::ClearText)
        }
        _ => Secured::new(Transport::Clear(stream)),
    }
}

async fn want_tls<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S) -> io::Result<()> {
    stream.write_all(WANTS_TLS).await?;
    stream.shutdown().await?;
    // A socket that is closed while something is unread resets the connection, and the answer is lost.
    let mut unread = stream.take(UNREAD_BYTES_MAX);
    tokio::io::copy(&mut unread, &mut tokio::io::sink()).await?;
    Ok(())
}

fn failed(error: &io::Error) -> DialError {
    failure_of(error).unwrap_or_else(|| {
        DialError::Tls(format!(
            "the other side ended the handshake ({error}): is mesh.tls set there too?"
        ))
    })
}

/// What TLS itself complains about, if that is why the stream failed.
pub(crate) fn failure_of(error: &io::Error) -> Option<DialError> {
    let tls = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    Some(DialError::Tls(tls.to_string()))
}
