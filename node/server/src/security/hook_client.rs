//! Calls an HTTP hook: one POST of JSON, one answer of JSON, over connections that are kept.
//!
//! Knows nothing of what is asked. Bounds: calls under way, the time of a call, the bytes of an answer.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use serde::de::DeserializeOwned;
use tokio::sync::Semaphore;

use crate::config::Secret;

/// What bounds the calls of one client.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HookLimits {
    /// Time for one answer, with waiting for a place and retries.
    pub(crate) timeout_ms: u64,
    /// Calls under way at one time.
    pub(crate) max_concurrent: usize,
    /// Further attempts when no connection can be made.
    pub(crate) retries: u32,
    /// Bytes of one answer.
    pub(crate) answer_bytes_max: usize,
}

/// How long a connection is kept unused: shorter than most servers keep theirs, so that a call rarely meets a close.
const IDLE: Duration = Duration::from_secs(4);

/// Before a second attempt to connect; each further one waits as much longer.
const RETRY_WAIT: Duration = Duration::from_millis(50);

/// Why there is no answer to use.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HookFailure {
    /// No connection, or it broke before the answer was there.
    #[error("cannot be reached: {0}")]
    Unreachable(String),
    /// No answer in time, or no place for the call in time.
    #[error("no answer in time")]
    Timeout,
    /// An answer with another status than 200, too large, or not the JSON that was expected.
    #[error("the answer cannot be used: {0}")]
    Unusable(String),
}

impl HookFailure {
    /// The middle part of the error string that the client gets.
    pub(crate) const fn reason(&self) -> &'static str {
        match self {
            Self::Unreachable(_) => "hook_unreachable",
            Self::Timeout => "hook_timeout",
            Self::Unusable(_) => "hook_answer_invalid",
        }
    }
}

/// Reads the address of a hook.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn address(text: &str) -> Result<Uri, String> {
    let wrong = || format!("{text:?} is not an address such as \"http://127.0.0.1:9000/hook\"");
    let uri: Uri = text.parse().map_err(|_| wrong())?;
    match (uri.scheme_str(), uri.authority()) {
        (Some("https"), _) => Err(
            "https is not spoken here: use http on a trusted network, or a proxy beside the node"
                .into(),
        ),
        (Some("http"), Some(authority)) if authority.as_str().contains('@') => {
            Err("must not hold a password".into())
        }
        (Some("http"), Some(_)) => Ok(uri),
        _ => Err(wrong()),
    }
}

/// A client for hooks that share their limits.
pub(crate) struct HookClient {
    client: Client<HttpConnector, Full<Bytes>>,
    places: Semaphore,
    timeout: Duration,
    retries: u32,
    answer_bytes_max: usize,
    authorization: Option<HeaderValue>,
}

impl fmt::Debug for HookClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookClient").finish_non_exhaustive()
    }
}

impl HookClient {
    /// A client that shows `token`, if there is one.
    pub(crate) fn new(limits: &HookLimits, token: Option<&Secret>) -> Self {
        let timeout = Duration::from_millis(limits.timeout_ms);
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_connect_timeout(Some(timeout));
        let client = Client::builder(TokioExecutor::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(limits.max_concurrent)
            .pool_timer(TokioTimer::new())
            .build(connector);
        let authorization = token.and_then(|token| {
            let value = [b"Bearer ", token.bytes()].concat();
            let mut value = HeaderValue::from_bytes(&value).ok()?;
            value.set_sensitive(true);
            Some(value)
        });
        Self {
            client,
            places: Semaphore::new(limits.max_concurrent),
            timeout,
            retries: limits.retries,
            answer_bytes_max: limits.answer_bytes_max,
            authorization,
        }
    }

    /// One call. The time counts from here, with waiting for a place. Cancel-safe: dropped, it gives its place back.
    ///
    /// # Errors
    /// There is no answer, or none that can be used.
    pub(crate) async fn call<T: DeserializeOwned>(
        &self,
        to: &Uri,
        body: Vec<u8>,
    ) -> Result<T, HookFailure> {
        tokio::time::timeout(self.timeout, self.attempt(to, body.into()))
            .await
            .unwrap_or(Err(HookFailure::Timeout))
    }

    async fn attempt<T: DeserializeOwned>(&self, to: &Uri, body: Bytes) -> Result<T, HookFailure> {
        let _place = self
            .places
            .acquire()
            .await
            .map_err(|_| HookFailure::Timeout)?;
        let mut attempts = 0;
        let answer = loop {
            match self.client.request(self.request(to, &body)).await {
                Ok(answer) => break answer,
                // Nothing was sent: asking again cannot ask twice.
                Err(error) if error.is_connect() && attempts < self.retries => {
                    attempts += 1;
                    tokio::time::sleep(RETRY_WAIT * attempts).await;
                }
                Err(error) => return Err(HookFailure::Unreachable(causes(&error))),
            }
        };
        let status = answer.status();
        if status != StatusCode::OK {
            return Err(HookFailure::Unusable(format!("status {}", status.as_u16())));
        }
        let body = Limited::new(answer.into_body(), self.answer_bytes_max)
            .collect()
            .await
            .map_err(|_| HookFailure::Unusable("too large, or cut".into()))?
            .to_bytes();
        // An array of the same values would be read like an object.
        let object = Some(&body).filter(|body| body.trim_ascii_start().starts_with(b"{"));
        // Without the parser's words, which may show what was sent.
        object
            .and_then(|body| serde_json::from_slice(body).ok())
            .ok_or_else(|| HookFailure::Unusable("not the JSON that was expected".into()))
    }

    fn request(&self, to: &Uri, body: &Bytes) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(body.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = to.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        if let Some(value) = &self.authorization {
            headers.insert(AUTHORIZATION, value.clone());
        }
        request
    }
}

/// The error and what caused it, in one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        assert!(address("http://app:9000/hook?x=1").is_ok());
        for (text, part) in [
            ("https://app/hook", "https is not spoken"),
            ("http://u:secret@app/hook", "must not hold a password"),
            ("app:9000/hook", "is not an address"),
            ("/hook", "is not an address"),
            ("ftp://app/", "is not an address"),
            ("", "is not an address"),
        ] {
            let told = address(text).unwrap_err();
            assert!(told.contains(part), "{text}: {told}");
        }
    }
}
