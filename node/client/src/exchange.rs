//! One HTTP/1.1 request and its response, over a connection that is kept between them.

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio_util::task::AbortOnDropHandle;

use crate::{endpoint::Endpoint, error::LinkError, stream, stream::Stream};

/// Bound of the buffer for one response head; hyper wants at least 8 KiB.
const HEAD_BYTES: usize = 64 * 1024;

/// Where requests go, and how.
#[derive(Debug)]
pub(crate) struct Target {
    pub(crate) endpoint: Endpoint,
    pub(crate) path: Uri,
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) connect_timeout: Duration,
    pub(crate) max_reply_bytes: usize,
}

/// An open connection. Dropped, it is closed at once.
#[derive(Debug)]
pub(crate) struct Connection {
    sender: SendRequest<Full<Bytes>>,
    _io: AbortOnDropHandle<()>,
}

impl Connection {
    /// Opens one.
    ///
    /// # Errors
    /// As [`stream::open`].
    pub(crate) async fn open(target: &Target) -> Result<Self, LinkError> {
        let stream: Stream = stream::open(
            &target.endpoint,
            target.tls.as_ref(),
            target.connect_timeout,
        )
        .await?;
        let (sender, io) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(broken)?;
        // Whatever ends the connection is seen by the request on it, or by the next one.
        let io = AbortOnDropHandle::new(tokio::spawn(async move {
            let _ = io.await;
        }));
        Ok(Self { sender, _io: io })
    }
}

/// What the server answered.
#[derive(Debug)]
pub(crate) struct Response {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    /// The text; empty unless the status is 200.
    pub(crate) text: String,
}

/// Posts `body`, over the connection that was kept or a new one, and returns the connection to be kept.
///
/// A kept connection that the server has closed meanwhile is replaced, as long as nothing was sent on it.
pub(crate) async fn post(
    target: &Arc<Target>,
    mut kept: Option<Connection>,
    headers: HeaderMap,
    body: Bytes,
) -> (Option<Connection>, Result<Response, LinkError>) {
    let mut request = Request::new(Full::new(body));
    *request.method_mut() = Method::POST;
    *request.uri_mut() = target.path.clone();
    *request.headers_mut() = headers;
    loop {
        let reused = kept.is_some();
        let mut connection = match kept.take() {
            Some(connection) => connection,
            None => match Connection::open(target).await {
                Ok(connection) => connection,
                Err(error) => return (None, Err(error)),
            },
        };
        if let Err(error) = connection.sender.ready().await {
            if reused {
                continue;
            }
            return (None, Err(broken(error)));
        }
        let response = match connection.sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut error) => match error.take_message() {
                Some(unsent) if reused => {
                    request = unsent;
                    continue;
                }
                _ => return (None, Err(broken(error.into_error()))),
            },
        };
        let (head, body) = response.into_parts();
        let mut response = Response {
            status: head.status,
            headers: head.headers,
            text: String::new(),
        };
        if response.status != StatusCode::OK {
            // The page of an error is of no interest, and neither is a connection that still carries it.
            return (None, Ok(response));
        }
        return match read(body, target.max_reply_bytes).await {
            Ok(text) => {
                response.text = text;
                (Some(connection), Ok(response))
            }
            Err(error) => (None, Err(error)),
        };
    }
}

async fn read(mut body: hyper::body::Incoming, max: usize) -> Result<String, LinkError> {
    let mut bytes = Vec::new();
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame.map_err(broken)?.into_data() {
            if bytes.len() + data.len() > max {
                return Err(LinkError::ReplyTooLarge(max));
            }
            bytes.extend_from_slice(&data);
        }
    }
    String::from_utf8(bytes).map_err(|_| LinkError::Bayeux("a reply that is not UTF-8"))
}

fn broken(error: hyper::Error) -> LinkError {
    LinkError::Broken(io::Error::other(error))
}

/// The headers that every request carries.
pub(crate) fn headers(
    endpoint: &Endpoint,
    own: &[(http::HeaderName, http::HeaderValue)],
) -> Result<HeaderMap, LinkError> {
    let mut headers = HeaderMap::with_capacity(own.len() + 3);
    let host = http::HeaderValue::try_from(&endpoint.authority)
        .map_err(|_| LinkError::Bayeux("a host that cannot stand in a request"))?;
    headers.insert(header::HOST, host);
    headers.insert(
        header::CONTENT_TYPE,
        http::HeaderValue::from_static("application/json;charset=UTF-8"),
    );
    for (name, value) in own {
        headers.append(name, value.clone());
    }
    Ok(headers)
}
