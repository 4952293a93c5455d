//! Publishing to channels and to users, one by one or many at once. What is published is never written again.

use std::borrow::Cow;

use axum::extract::Request;
use axum::response::Response;
use halley_bayeux::{ChannelKind, ChannelName, Json, Publication, UserId};
use http::StatusCode;
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::problem::Problem;
use super::tokens::App;
use super::{Api, Asked, answer, body};
use crate::services::Reached;

/// A batch lets others run after so many messages.
const MESSAGES_IN_ONE_GO: usize = 16;

/// An event on a channel.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Event<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
}

/// One message of a batch: for a user when it names one.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Message<'a> {
    #[serde(borrow)]
    channel: Cow<'a, str>,
    #[serde(borrow)]
    data: &'a RawValue,
    #[serde(default, borrow)]
    user: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Batch<'a> {
    #[serde(borrow)]
    messages: Vec<&'a RawValue>,
}

/// `POST /v1/publish`
pub(super) async fn publish(asked: &Asked<'_>, request: Request) -> Result<Response, Problem> {
    let bytes = body::read(asked.api, request).await?;
    let event: Event<'_> = body::parse(&bytes)?;
    let data = body::data(asked.api, event.data)?;
    to_channel(asked.api, asked.app()?, &event.channel, data).map(|told| answer::ok(&told))
}

/// `POST /v1/users/{user}/publish`
pub(super) async fn publish_to_user(
    asked: &Asked<'_>,
    request: Request,
) -> Result<Response, Problem> {
    let user = user(asked.named)?;
    let bytes = body::read(asked.api, request).await?;
    let event: Event<'_> = body::parse(&bytes)?;
    let data = body::data(asked.api, event.data)?;
    to_user(asked.api, asked.app()?, &user, &event.channel, data).map(|told| answer::ok(&told))
}

/// `POST /v1/batch`
pub(super) async fn batch(asked: &Asked<'_>, request: Request) -> Result<Response, Problem> {
    let bytes = body::read(asked.api, request).await?;
    let batch: Batch<'_> = body::parse(&bytes)?;
    let most = asked.api.config().max_batch;
    match batch.messages.len() {
        0 => {
            return Err(Problem::invalid(
                "batch_empty",
                "a batch has at least one message",
            ));
        }
        count if count > most => {
            return Err(Problem::invalid(
                "batch_too_long",
                format!(
                    "a batch may have {most} messages (api.max_batch), this one has {count}: send several"
                ),
            ));
        }
        _ => {}
    }
    let mut results = Vec::with_capacity(batch.messages.len());
    for (at, message) in batch.messages.iter().enumerate() {
        if at % MESSAGES_IN_ONE_GO == MESSAGES_IN_ONE_GO - 1 {
            tokio::task::yield_now().await;
        }
        results.push(match one(asked, message) {
            Ok(mut told) => {
                told["status"] = 200.into();
                told
            }
            Err(problem) => problem.json(),
        });
    }
    Ok(answer::ok(&json!({
        "node": asked.api.shared.name,
        "results": results,
    })))
}

fn one(asked: &Asked<'_>, message: &RawValue) -> Result<Value, Problem> {
    let message: Message<'_> = body::parse(message.get().as_bytes())?;
    let data = body::data(asked.api, message.data)?;
    match message.user {
        None => to_channel(asked.api, asked.app()?, &message.channel, data),
        Some(name) => to_user(
            asked.api,
            asked.app()?,
            &user(&name)?,
            &message.channel,
            data,
        ),
    }
}

fn to_channel(api: &Api, app: &App, name: &str, data: Json<'_>) -> Result<Value, Problem> {
    let channel = channel(app, name)?;
    if channel.kind() == ChannelKind::Service {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "channel_is_service",
            "nobody is subscribed to a service channel: call it by POST /v1/services/{name}, or publish on it to a user",
        ));
    }
    let publication = Publication::new(&channel, data);
    let here = api
        .shared
        .engine
        .publish(&publication, api.shared.clock.now());
    api.shared
        .metrics
        .api_publications
        .with_label_values(&["channel"])
        .inc();
    Ok(json!({ "channel": channel.as_str(), "node": api.shared.name, "here": here }))
}

fn to_user(
    api: &Api,
    app: &App,
    user: &UserId,
    name: &str,
    data: Json<'_>,
) -> Result<Value, Problem> {
    let channel = channel(app, name)?;
    let publication = Publication::new(&channel, data);
    let directory = &api.shared.cluster.directory;
    let reached = directory.send(user, &publication, api.shared.clock.now());
    api.shared
        .metrics
        .api_publications
        .with_label_values(&["user"])
        .inc();
    let mut told = whom(api, user, reached);
    told["channel"] = channel.as_str().into();
    Ok(told)
}

/// What is told about something that was for a user.
pub(super) fn whom(api: &Api, user: &UserId, reached: Reached) -> Value {
    json!({
        "user": user.as_str(),
        "node": api.shared.name,
        "known": reached.anybody() || !reached.refused.is_empty(),
        "here": reached.here,
        "nodes": reached.nodes,
        "refused": reached.refused,
    })
}

/// A channel on which an application may publish.
fn channel(app: &App, name: &str) -> Result<ChannelName, Problem> {
    let channel = parse_channel(name)?;
    if channel.kind() == ChannelKind::Meta || channel.is_internal() || is_of_halley(&channel) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            "channel_reserved",
            "nobody publishes below /meta, /oort, /seti and /halley: use a channel of your own",
        ));
    }
    if channel.is_wild() {
        return Err(Problem::invalid(
            "channel_is_pattern",
            "a pattern is for subscribers: publish on a channel",
        ));
    }
    may_use(app, &channel)?;
    Ok(channel)
}

fn is_of_halley(channel: &ChannelName) -> bool {
    channel
        .as_str()
        .strip_prefix("/halley")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Reads the name of a channel or pattern, which must be written as the node writes it.
pub(super) fn parse_channel(name: &str) -> Result<ChannelName, Problem> {
    let channel = ChannelName::parse(name)
        .map_err(|error| Problem::invalid("channel_invalid", error.to_string()))?;
    if channel.as_str() == name {
        return Ok(channel);
    }
    Err(Problem::invalid(
        "channel_invalid",
        format!("write {channel}, without spaces or a slash at the end"),
    ))
}

/// Whether the application may use the channel.
pub(super) fn may_use(app: &App, channel: &ChannelName) -> Result<(), Problem> {
    if app.may_use(channel) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::FORBIDDEN,
        "channel_denied",
        format!(
            "{} may not use this channel: see its channels in api.tokens",
            app.name()
        ),
    ))
}

/// Reads the name of a user.
pub(super) fn user(name: &str) -> Result<UserId, Problem> {
    UserId::new(name).map_err(|error| Problem::invalid("user_invalid", error.to_string()))
}
