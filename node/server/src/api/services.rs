//! Calls of services: `POST /v1/services/{name}` asks what answers on `/service/{name}`.

use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use halley_bayeux::CallError;
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::problem::Problem;
use super::publishing::{may_use, parse_channel};
use super::{Asked, answer, body};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Call<'a> {
    #[serde(borrow)]
    data: &'a RawValue,
}

/// `POST /v1/services/{name}`
pub(super) async fn call(asked: &Asked<'_>, request: Request) -> Result<Response, Problem> {
    let api = asked.api;
    let channel = parse_channel(&format!("/service/{}", asked.named))?;
    if channel.is_wild() {
        return Err(Problem::invalid(
            "channel_is_pattern",
            "a pattern is for subscribers: name one service",
        ));
    }
    may_use(asked.app()?, &channel)?;
    let bytes = body::read(api, request).await?;
    let call: Call<'_> = body::parse(&bytes)?;
    let data = body::data(api, call.data)?;
    let engine = &api.shared.engine;
    // Asked before: what is no remote call would have handled the message by the time that is known.
    if !engine.answers_calls(&channel) {
        return Err(unknown());
    }
    // Calls that nobody waits for any more still count, so that a service that hangs does not gather them without end.
    if engine.stats().calls >= engine.config().max_calls as u64 {
        return Err(Problem::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "calls_full",
            "as many calls as may (session.maxCalls) wait for an answer on this node: try again later",
        ));
    }
    let calling = api.session.call(&channel, data, api.shared.clock.now());
    let time = Duration::from_millis(api.config().call_timeout_ms);
    let Ok(result) = tokio::time::timeout(time, calling).await else {
        return Err(Problem::new(
            StatusCode::GATEWAY_TIMEOUT,
            "call_timeout",
            "the service has not answered in time (api.call_timeout_ms); it may still act on the call",
        ));
    };
    match result {
        Ok(result) => {
            let result = if result.is_empty() { "null" } else { &result };
            Ok(answer::raw(
                StatusCode::OK,
                format!("{{\"result\":{result}}}"),
            ))
        }
        Err(CallError::NoRemoteCall) => Err(unknown()),
        Err(CallError::Refused(error)) => Err(Problem::new(
            StatusCode::FORBIDDEN,
            "call_refused",
            format!("the call was refused: {error}"),
        )),
        Err(CallError::Failed(failure)) => Err(Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "call_failed",
            "the service has answered with a failure, see the member failure",
        )
        .member("failure", failure)),
    }
}

fn unknown() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "service_unknown",
        "nothing answers calls of this service on this node",
    )
}
