//! Opening a byte stream to an endpoint: TCP, and TLS where the URL asks for it.

use std::{io, sync::Arc, time::Duration};

use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::either::Either;

use crate::{endpoint::Endpoint, error::LinkError};

/// Clear text or TLS.
pub(crate) type Stream = Either<TcpStream, Box<TlsStream<TcpStream>>>;

/// Connects, with TLS where the endpoint wants it.
///
/// # Errors
/// When the host is not there, does not prove itself, or it takes longer than `patience`.
pub(crate) async fn open(
    endpoint: &Endpoint,
    tls: Option<&Arc<ClientConfig>>,
    patience: Duration,
) -> Result<Stream, LinkError> {
    let opening = async {
        let stream = TcpStream::connect((endpoint.host.as_str(), endpoint.port))
            .await
            .map_err(LinkError::Connect)?;
        stream.set_nodelay(true).map_err(LinkError::Connect)?;
        if !endpoint.tls {
            return Ok(Either::Left(stream));
        }
        let Some(tls) = tls else {
            let error = io::Error::new(io::ErrorKind::Unsupported, "TLS is not set up");
            return Err(LinkError::Tls(error));
        };
        let name = ServerName::try_from(endpoint.host.clone())
            .map_err(|error| LinkError::Tls(io::Error::new(io::ErrorKind::InvalidInput, error)))?;
        let stream = TlsConnector::from(Arc::clone(tls))
            .connect(name, stream)
            .await
            .map_err(LinkError::Tls)?;
        Ok(Either::Right(Box::new(stream)))
    };
    match timeout(patience, Box::pin(opening)).await {
        Ok(result) => result,
        Err(_elapsed) => Err(LinkError::OpenTimeout),
    }
}
