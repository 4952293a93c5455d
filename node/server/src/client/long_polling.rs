//! Long-polling: one POST, one answer, perhaps held.

use std::future::poll_fn;
use std::sync::Arc;

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use halley_bayeux::{HeldConnect, HttpOutcome, HttpReply, HttpRequest, Released};
use http::header::{CACHE_CONTROL, CONNECTION, CONTENT_TYPE, RETRY_AFTER, SET_COOKIE};
use http::request::Parts;
use http::{HeaderValue, StatusCode, Version};
use prometheus::IntGauge;

use super::callback_polling;
use super::endpoint::Endpoint;
use super::patience::{Waited, wait};
use super::request_head::Head;
use super::ticket_body::TicketBody;
use crate::cookies;
use crate::http_server::{BodyFault, Caller, is_utf8, read_body};
use crate::metrics::Limit;

/// What becomes of a request.
pub(super) enum Outcome {
    /// Its answer.
    Answer(Response),
    /// It is a connect that is held.
    Held(Held),
}

/// Answers one POST.
pub(super) async fn answer<B>(
    endpoint: Arc<Endpoint>,
    request: http::Request<B>,
    caller: Option<Caller>,
) -> Outcome
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let (parts, body) = request.into_parts();
    if !is_utf8(&parts.headers) {
        return Outcome::Answer(endpoint.refusal(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "Only UTF-8 is understood",
        ));
    }
    let reading = read_body(
        body,
        endpoint.message_bytes_max,
        Some(endpoint.unfinished.part()),
    );
    let refused = match wait(reading, endpoint.body_timeout, &endpoint.close).await {
        Waited::For(Ok(body)) => return exchange(&endpoint, parts, caller, body, None).await,
        // A node that ends does not wait for the rest of a body.
        Waited::NodeEnds => {
            endpoint.refusal(StatusCode::SERVICE_UNAVAILABLE, "The node is about to end")
        }
        Waited::For(Err(BodyFault::TooLarge)) => {
            endpoint.refusal(StatusCode::PAYLOAD_TOO_LARGE, "Body too large")
        }
        Waited::For(Err(BodyFault::Crowded)) => {
            endpoint.metrics.refuse(Limit::UnfinishedBytes);
            let mut answer = endpoint.refusal(
                StatusCode::SERVICE_UNAVAILABLE,
                "Too many bodies are on their way",
            );
            answer
                .headers_mut()
                .insert(RETRY_AFTER, HeaderValue::from_static("1"));
            answer
        }
        Waited::For(Err(BodyFault::Broken)) => {
            endpoint.refusal(StatusCode::BAD_REQUEST, "Body is broken")
        }
        Waited::TooLong => {
            endpoint.refusal(StatusCode::REQUEST_TIMEOUT, "Body did not arrive in time")
        }
    };
    Outcome::Answer(closing(refused))
}

/// Hands a request to the engine; with `callback` the answer is a script that calls this function.
pub(super) async fn exchange(
    endpoint: &Endpoint,
    parts: Parts,
    caller: Option<Caller>,
    body: Bytes,
    callback: Option<&str>,
) -> Outcome {
    let secure = endpoint.proxies.encrypted(caller, &parts.headers);
    let Ok(text) = std::str::from_utf8(&body) else {
        return Outcome::Answer(endpoint.refusal(StatusCode::BAD_REQUEST, "Body is not UTF-8"));
    };
    let head = Head::of(&endpoint.proxies, caller, &parts.headers);
    let request = HttpRequest {
        browser: cookies::browser(&parts.headers, &endpoint.browser_cookie.name),
        http2: parts.version == Version::HTTP_2,
        callback: callback.is_some(),
        head: Some(&head),
    };
    Outcome::Answer(
        match endpoint
            .engine
            .http_request(request, text, endpoint.clock.now())
            .await
        {
            Ok(HttpOutcome::Reply(reply)) => replied(endpoint, reply, secure, callback),
            Ok(HttpOutcome::Hold(held)) => {
                return Outcome::Held(Held {
                    held,
                    secure,
                    callback: callback.map(Box::from),
                    _counted: Counted::new(&endpoint.metrics.held_connects),
                });
            }
            Err(error) => {
                let status =
                    StatusCode::from_u16(error.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                endpoint.refusal(status, error.text)
            }
        },
    )
}

/// A connect that waits for something to answer it with; all that is kept of its request. When the client goes away it is dropped, which
/// frees the session's slot.
pub(super) struct Held {
    held: HeldConnect,
    secure: bool,
    callback: Option<Box<str>>,
    _counted: Counted,
}

impl Held {
    /// Waits for the answer.
    pub(super) async fn answer(mut self, endpoint: &Endpoint) -> Response {
        match poll_fn(|cx| self.held.poll_release(cx, endpoint.clock.now())).await {
            Released::Reply(reply) => {
                replied(endpoint, reply, self.secure, self.callback.as_deref())
            }
            Released::Displaced { status } => {
                let status =
                    StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
                endpoint.refusal(status, "Displaced by a newer connect")
            }
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
        && let Ok(cookie) = HeaderValue::from_str(&endpoint.browser_cookie.set(&id, secure))
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
