//! The way from an HTTP request to a WebSocket: the answer 101, and the stream taken back from the HTTP engine.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use halley_bayeux::UpgradeHead;
use http::header::{
    CONNECTION, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL,
    SEC_WEBSOCKET_VERSION, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Version};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use sha1::{Digest as _, Sha1};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tracing::debug;

use super::endpoint::Endpoint;
use super::request_head::upgrade_head;
use super::{Socket, websocket};
use crate::http_server::{Caller, Watched};

/// What RFC 6455 appends to the key.
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Bytes of the read buffer, which every connection holds for as long as it lives: the larger part of what an idle
/// session costs.
pub(super) const READ_BUFFER_BYTES: usize = 2 << 10;

/// Bytes gathered before a write; a flush always follows.
const WRITE_BUFFER_BYTES: usize = 4 << 10;

/// Whether the client asks for a WebSocket.
pub(super) fn is_upgrade(headers: &HeaderMap) -> bool {
    has_token(headers, CONNECTION, "upgrade") && has_token(headers, UPGRADE, "websocket")
}

fn has_token(headers: &HeaderMap, name: HeaderName, token: &str) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|word| word.trim().eq_ignore_ascii_case(token))
}

/// Whether the client offers a sub-protocol. Their names differ by case.
fn offers(headers: &HeaderMap, subprotocol: &HeaderValue) -> bool {
    headers
        .get_all(SEC_WEBSOCKET_PROTOCOL)
        .iter()
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .any(|offered| offered.trim_ascii() == subprotocol.as_bytes())
}

/// Why a request does not become a WebSocket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) text: &'static str,
}

/// A request that becomes a WebSocket once it is answered.
pub(crate) struct Upgrade {
    pending: OnUpgrade,
    accept: HeaderValue,
}

impl Upgrade {
    /// Checks the request.
    ///
    /// # Errors
    /// It is not a WebSocket handshake of version 13 over HTTP/1.1.
    pub(crate) fn of(request: &mut Request) -> Result<Self, Refused> {
        let refused = |status, text| Err(Refused { status, text });
        if request.version() != Version::HTTP_11 {
            return refused(StatusCode::BAD_REQUEST, "WebSocket needs HTTP/1.1");
        }
        if !is_upgrade(request.headers()) {
            return refused(StatusCode::BAD_REQUEST, "This is not a WebSocket handshake");
        }
        let version = request.headers().get(SEC_WEBSOCKET_VERSION);
        if version.map(HeaderValue::as_bytes) != Some(b"13") {
            return refused(
                StatusCode::UPGRADE_REQUIRED,
                "WebSocket version 13 is needed",
            );
        }
        let accept = request
            .headers()
            .get(SEC_WEBSOCKET_KEY)
            .and_then(|key| accept_key(key.as_bytes()));
        let Some(accept) = accept else {
            return refused(
                StatusCode::BAD_REQUEST,
                "Sec-WebSocket-Key is missing or malformed",
            );
        };
        Ok(Self {
            pending: hyper::upgrade::on(request),
            accept,
        })
    }

    /// The answer 101. An offered extension stays unanswered, and so does an offered sub-protocol other than this one.
    pub(crate) fn answer(&self, subprotocol: Option<&HeaderValue>) -> Response {
        let mut answer = Response::new(Body::empty());
        *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        let headers = answer.headers_mut();
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, self.accept.clone());
        if let Some(subprotocol) = subprotocol {
            headers.insert(SEC_WEBSOCKET_PROTOCOL, subprotocol.clone());
        }
        answer
    }

    /// Waits until the answer is written and takes the stream over.
    pub(crate) async fn socket(self, config: WebSocketConfig) -> Option<Socket> {
        let upgraded = match self.pending.await {
            Ok(upgraded) => upgraded,
            Err(error) => {
                debug!(%error, "upgrade failed");
                return None;
            }
        };
        let Ok(Parts { io, read_buf, .. }) = upgraded.downcast::<TokioIo<Watched>>() else {
            debug!("upgrade on a foreign stream");
            return None;
        };
        // The leftover holds what an eager client sent behind its request.
        let socket = WebSocketStream::from_partially_read(
            io.into_inner().into_inner(),
            read_buf.to_vec(),
            Role::Server,
            Some(config),
        );
        Some(socket.await)
    }
}

/// Answers 101 and starts the task that takes the stream over.
pub(super) fn answer(endpoint: &Arc<Endpoint>, mut request: Request) -> Response {
    if let Some(needed) = &endpoint.subprotocol
        && !offers(request.headers(), needed)
    {
        return endpoint.refusal(
            StatusCode::BAD_REQUEST,
            "The WebSocket sub-protocol of this endpoint was not offered",
        );
    }
    let upgrade = match Upgrade::of(&mut request) {
        Ok(upgrade) => upgrade,
        Err(Refused { status, text }) => {
            let mut answer = endpoint.refusal(status, text);
            if status == StatusCode::UPGRADE_REQUIRED {
                answer
                    .headers_mut()
                    .insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            return answer;
        }
    };
    let answer = upgrade.answer(endpoint.subprotocol.as_ref());
    let caller = request.extensions().get::<Caller>().copied();
    let head = upgrade_head(&endpoint.proxies, caller, request.headers());
    endpoint
        .tracker
        .spawn(take_over(Arc::clone(endpoint), upgrade, head));
    answer
}

/// The answer to a key; `None` when the key is not 16 bytes in Base64.
fn accept_key(key: &[u8]) -> Option<HeaderValue> {
    if STANDARD.decode(key).ok()?.len() != 16 {
        return None;
    }
    let digest = Sha1::new().chain_update(key).chain_update(GUID).finalize();
    HeaderValue::from_str(&STANDARD.encode(digest)).ok()
}

/// Waits for the stream, then hands it to a task of its own: the state of the upgrade must not stay allocated for
/// the life of the connection.
async fn take_over(endpoint: Arc<Endpoint>, upgrade: Upgrade, head: UpgradeHead) {
    let config = socket_config(endpoint.message_bytes_max, endpoint.write_bytes_max);
    if let Some(socket) = upgrade.socket(config).await {
        websocket::start(endpoint, socket, head);
    }
}

/// Every setting written out: the library's defaults cost 128 KiB per connection and have no bound for writes.
pub(crate) fn socket_config(message_bytes_max: usize, write_bytes_max: usize) -> WebSocketConfig {
    WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES + write_bytes_max)
        .max_message_size(Some(message_bytes_max))
        .max_frame_size(Some(message_bytes_max))
        .accept_unmasked_frames(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_rfc() {
        let accept = accept_key(b"dGhlIHNhbXBsZSBub25jZQ==").expect("a key");
        assert_eq!(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn malformed_keys_are_refused() {
        assert!(accept_key(b"").is_none());
        assert!(accept_key(b"c2hvcnQ=").is_none());
        assert!(accept_key(b"not base64 at all !!!!!!").is_none());
    }

    #[test]
    fn tokens_are_found_in_lists() {
        let mut headers = HeaderMap::new();
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        assert!(is_upgrade(&headers));
        headers.insert(UPGRADE, HeaderValue::from_static("h2c"));
        assert!(!is_upgrade(&headers));
    }
}
