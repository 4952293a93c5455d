//! Long-polling: one POST, one answer, perhaps held.

use std::future::poll_fn;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use halley_bayeux::{HttpOutcome, HttpReply, HttpRequest, Released};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, SET_COOKIE};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode, Version};
use http_body_util::BodyExt as _;
use hyper::body::Body as _;
use prometheus::IntGauge;

use super::callback_polling;
use super::endpoint::Endpoint;
use super::request_head::Head;
use super::ticket_body::TicketBody;
use crate::cookies;
use crate::http_server::Caller;

/// Bytes of a too large body that are read and dropped before the answer, so that a client that writes first and reads
/// afterwards gets it.
const DRAIN_BYTES_MAX: usize = 1 << 20;

/// Time for that; a client that waits for the answer before it sends the body waits no longer.
const DRAIN_TIME_MAX: Duration = Duration::from_millis(300);

/// Answers one POST.
pub(super) async fn answer(endpoint: Arc<Endpoint>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    if !is_utf8(&parts.headers) {
        return endpoint.refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Only UTF-8 is understood",
        );
    }
    let reading = tokio::time::timeout(
        endpoint.body_timeout,
        read(body, endpoint.message_bytes_max),
    );
    // A node that ends does not wait for the rest of a body.
    let Some(read) = endpoint.close.run_until_cancelled(reading).await else {
        return closing(
            endpoint.refusal(StatusCode::SERVICE_UNAVAILABLE, "The node is about to end"),
        );
    };
    let body = match read {
        Ok(Ok(body)) => body,
        Ok(Err(BodyFault::TooLarge)) => {
            return closing(endpoint.refusal(StatusCode::PAYLOAD_TOO_LARGE, "Body too large"));
        }
        Ok(Err(BodyFault::Broken)) => {
            return closing(endpoint.refusal(StatusCode::BAD_REQUEST, "Body is broken"));
        }
        Err(_) => {
            return closing(
                endpoint.refusal(StatusCode::REQUEST_TIMEOUT, "Body did not arrive in time"),
            );
        }
    };
    exchange(&endpoint, &parts, body, None).await
}

/// Hands a request to the engine and waits for the reply; with `callback` that is a script which calls this function.
pub(super) async fn exchange(
    endpoint: &Endpoint,
    parts: &Parts,
    body: Bytes,
    callback: Option<&str>,
) -> Response {
    let secure = endpoint
        .proxies
        .encrypted(parts.extensions.get::<Caller>().copied(), &parts.headers);
    let Ok(text) = std::str::from_utf8(&body) else {
        return endpoint.refusal(StatusCode::BAD_REQUEST, "Body is not UTF-8");
    };
    let head = Head::of(&endpoint.proxies, parts);
    let request = HttpRequest {
        browser: cookies::browser(&parts.headers, &endpoint.browser_cookie),
        http2: parts.version == Version::HTTP_2,
        callback: callback.is_some(),
        head: Some(&head),
    };
    match endpoint
        .engine
        .http_request(request, text, endpoint.clock.now())
        .await
    {
        Ok(HttpOutcome::Reply(reply)) => replied(endpoint, reply, secure, callback),
        Ok(HttpOutcome::Hold(mut held)) => {
            drop(body);
            let _counted = Counted::new(&endpoint.metrics.held_connects);
            // When the client goes away this future is dropped, and `held` with it, which frees the session's slot.
            match poll_fn(|cx| held.poll_release(cx, endpoint.clock.now())).await {
                Released::Reply(reply) => replied(endpoint, reply, secure, callback),
                Released::Displaced { status } => {
                    let status =
                        StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                    endpoint.refusal(status, "Displaced by a newer connect")
                }
            }
        }
        Err(error) => {
            let status =
                StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
            endpoint.refusal(status, error.text)
        }
    }
}

fn replied(
    endpoint: &Endpoint,
    reply: HttpReply,
    secure: bool,
    callback: Option<&str>,
) -> Response {
    let (body, content_type) = match callback {
        None => (reply.body, "application/json"),
        Some(callback) => (
            callback_polling::script(callback, &reply.body),
            "text/javascript;charset=UTF-8",
        ),
    };
    let mut answer = Response::new(Body::new(TicketBody::new(
        body,
        reply.ticket,
        endpoint.clock,
    )));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if let Some(id) = reply.set_browser
        && let Ok(cookie) =
            HeaderValue::from_str(&cookies::set_browser(&endpoint.browser_cookie, &id, secure))
    {
        headers.insert(SET_COOKIE, cookie);
    }
    answer
}

/// The rest of the request was not read: the connection cannot be used again. (Over HTTP/2 only the stream ends, and
/// the library leaves the header out.)
fn closing(mut answer: Response) -> Response {
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

enum BodyFault {
    TooLarge,
    Broken,
}

/// Reads the whole body, at most `bytes_max`; one that came in one piece is not copied.
async fn read(mut body: Body, bytes_max: usize) -> Result<Bytes, BodyFault> {
    let declared = body.size_hint().lower();
    if declared > bytes_max as u64 {
        drain(body).await;
        return Err(BodyFault::TooLarge);
    }
    let mut whole = Bytes::new();
    let mut joined: Option<BytesMut> = None;
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame.map_err(|_| BodyFault::Broken)?.into_data() else {
            continue;
        };
        let so_far = joined.as_ref().map_or(whole.len(), BytesMut::len);
        if so_far + data.len() > bytes_max {
            drain(body).await;
            return Err(BodyFault::TooLarge);
        }
        match &mut joined {
            Some(joined) => joined.extend_from_slice(&data),
            None if whole.is_empty() => whole = data,
            None => {
                let mut both =
                    BytesMut::with_capacity((whole.len() + data.len()).max(declared as usize));
                // Taken and not borrowed: the first piece holds the connection's read buffer.
                both.extend_from_slice(&std::mem::take(&mut whole));
                both.extend_from_slice(&data);
                joined = Some(both);
            }
        }
    }
    Ok(joined.map_or(whole, BytesMut::freeze))
}

async fn drain(mut body: Body) {
    let _ = tokio::time::timeout(DRAIN_TIME_MAX, async {
        let mut left = DRAIN_BYTES_MAX;
        while let Some(Ok(frame)) = body.frame().await {
            let Some(rest) = left.checked_sub(frame.data_ref().map_or(0, Bytes::len)) else {
                return;
            };
            left = rest;
        }
    })
    .await;
}

/// No charset, or UTF-8.
fn is_utf8(headers: &HeaderMap) -> bool {
    let Some(kind) = headers.get(CONTENT_TYPE) else {
        return true;
    };
    let Ok(kind) = kind.to_str() else {
        return false;
    };
    kind.split(';')
        .skip(1)
        .filter_map(|parameter| parameter.split_once('='))
        .filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"))
        .all(|(_, charset)| {
            let charset = charset.trim().trim_matches('"');
            charset.eq_ignore_ascii_case("utf-8") || charset.eq_ignore_ascii_case("utf8")
        })
}

/// Counts in a gauge for as long as it lives.
struct Counted(IntGauge);

impl Counted {
    fn new(gauge: &IntGauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
