//! The body of a request: its type, its size, its time, its JSON.

use axum::extract::Request;
use bytes::Bytes;
use halley_bayeux::{Json, ScanError};
use http::header::{CONNECTION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Api;
use super::problem::Problem;
use crate::http_server::{BodyFault, is_utf8, read_body};

/// Reads the body of a request that must have one.
pub(super) async fn read(api: &Api, request: Request) -> Result<Bytes, Problem> {
    let (parts, body) = request.into_parts();
    if !is_json(&parts.headers) {
        return Err(unread(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "content_type_unsupported",
            "send JSON in UTF-8, with Content-Type: application/json",
        )));
    }
    let bytes_max = api.config().max_body_bytes;
    match tokio::time::timeout(api.body_timeout, read_body(body, bytes_max, None)).await {
        Ok(Ok(bytes)) => Ok(bytes),
        Ok(Err(BodyFault::TooLarge)) => Err(unread(Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "body_too_large",
            format!("the body may have {bytes_max} bytes (api.max_body_bytes): send less at once"),
        ))),
        // `Crowded` comes with the bound of all clients together only, which is not used here: the API's requests are bounded in number.
        Ok(Err(BodyFault::Broken | BodyFault::Crowded)) => Err(unread(Problem::invalid(
            "body_broken",
            "the body could not be read to its end: send it again",
        ))),
        Err(_) => Err(unread(Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "body_late",
            "the body did not arrive in time: send it again",
        ))),
    }
}

/// The rest of the request was not read: the connection cannot be used again.
fn unread(problem: Problem) -> Problem {
    problem.with(CONNECTION, HeaderValue::from_static("close"))
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok());
    let essence = kind.and_then(|kind| kind.split(';').next());
    essence.is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        && is_utf8(headers)
}

/// Reads a JSON object into a type.
pub(super) fn parse<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, Problem> {
    // An array with the values of the members in order would be taken as well.
    if bytes.trim_ascii_start().first() != Some(&b'{') {
        return Err(Problem::invalid("body_invalid", "send a JSON object"));
    }
    serde_json::from_slice(bytes).map_err(|error| {
        Problem::invalid(
            "body_invalid",
            format!("the body is not as described: {error}"),
        )
    })
}

/// Checks what is to be published, as that of a client is checked. What it is stays as it is written.
pub(super) fn data<'a>(api: &Api, data: &'a RawValue) -> Result<Json<'a>, Problem> {
    // An event is an object around its data.
    let depth_max = api.shared.config.session.max_depth.saturating_sub(2).max(1);
    Json::validate(data.get(), depth_max).map_err(|error| match error {
        ScanError::TooDeep { .. } => Problem::invalid(
            "data_too_deep",
            format!("data may be nested {depth_max} deep (session.maxMessageDepth)"),
        ),
        error => Problem::invalid("data_invalid", format!("data is not JSON: {error}")),
    })
}

/// Reads the query; parameters that are not described are refused.
pub(super) fn query<T: DeserializeOwned>(uri: &http::Uri) -> Result<T, Problem> {
    axum::extract::Query::try_from_uri(uri)
        .map(|axum::extract::Query(query)| query)
        .map_err(|error| Problem::invalid("query_invalid", error.body_text()))
}
