//! Pages of channels, subscribers and sessions of this node.

use std::sync::Arc;

use axum::response::Response;
use halley_bayeux::{CHANNEL_NAME_BYTES_MAX, ChannelKind, Session};
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::{Value, json};

use super::problem::Problem;
use super::publishing::{may_use, parse_channel};
use super::tokens::App;
use super::{Asked, answer, body};

/// Entries of a page unless more or fewer are asked for.
const PAGE_DEFAULT: usize = 100;
/// Most entries of a page.
const PAGE_MAX: usize = 1000;
/// Most subscriptions that are told of one session.
const SUBSCRIPTIONS_MAX: usize = 10_000;

/// No parameters.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Nothing {}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelsQuery {
    prefix: Option<String>,
    after: Option<String>,
    limit: Option<usize>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SessionsQuery {
    after: Option<u64>,
    limit: Option<usize>,
}

fn page(limit: Option<usize>) -> Result<usize, Problem> {
    let limit = limit.unwrap_or(PAGE_DEFAULT);
    if (1..=PAGE_MAX).contains(&limit) {
        return Ok(limit);
    }
    Err(Problem::invalid(
        "query_invalid",
        format!("limit is 1 to {PAGE_MAX}"),
    ))
}

/// Where a page of sessions begins. Numbers are those of JSON everywhere, so that half of the range is enough.
fn after(after: Option<u64>) -> Result<u64, Problem> {
    let after = after.unwrap_or(0);
    if after <= i64::MAX as u64 {
        return Ok(after);
    }
    Err(Problem::invalid(
        "query_invalid",
        format!("after is 0 to {}", i64::MAX),
    ))
}

/// Runs what looks at everything away from the tasks that serve clients.
async fn aside<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
    tokio::task::spawn_blocking(look).await.map_err(|_| {
        Problem::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "failed",
            "the node has failed to answer: its log says why",
        )
    })
}

/// `GET /v1/channels`
pub(super) async fn channels(asked: &Asked<'_>, uri: &Uri) -> Result<Response, Problem> {
    let query: ChannelsQuery = body::query(uri)?;
    let limit = page(query.limit)?;
    for text in [&query.prefix, &query.after].into_iter().flatten() {
        if text.len() > CHANNEL_NAME_BYTES_MAX {
            return Err(Problem::invalid(
                "query_invalid",
                format!("prefix and after have at most {CHANNEL_NAME_BYTES_MAX} bytes"),
            ));
        }
    }
    let (api, name) = (Arc::clone(asked.api), asked.app()?.name().to_owned());
    let mut found = aside(move || {
        let prefix = query.prefix.unwrap_or_default();
        let after = query.after.unwrap_or_default();
        let app = api.tokens.named(&name);
        api.shared
            .engine
            .channels_after(&after, limit + 1, |channel| {
                channel.as_str().starts_with(&prefix)
                    && channel.kind() != ChannelKind::Meta
                    && !channel.is_internal()
                    && app.is_some_and(|app| app.may_use(channel))
            })
    })
    .await?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more);
    let next = next.map(|found| found.channel.as_str().to_owned());
    let channels = found
        .iter()
        .map(|found| json!({ "channel": found.channel.as_str(), "sessions": found.sessions }));
    Ok(answer::ok(&json!({
        "node": asked.api.shared.name,
        "scope": "node",
        "channels": channels.collect::<Vec<_>>(),
        "next": next,
    })))
}

/// `GET /v1/channels/{channel}/subscribers`
pub(super) fn subscribers(asked: &Asked<'_>, uri: &Uri) -> Result<Response, Problem> {
    let query: SessionsQuery = body::query(uri)?;
    let limit = page(query.limit)?;
    let channel = parse_channel(asked.named)?;
    may_use(asked.app()?, &channel)?;
    let engine = &asked.api.shared.engine;
    let found = engine.subscribers_after(&channel, after(query.after)?, limit + 1);
    let found = found.filter(|_| !channel.is_internal()).ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "channel_unknown",
            "nobody on this node uses this channel",
        )
    })?;
    let mut told = json!({ "channel": channel.as_str() });
    list(asked, &mut told, found, limit);
    Ok(answer::ok(&told))
}

/// `GET /v1/sessions`
pub(super) async fn sessions(asked: &Asked<'_>, uri: &Uri) -> Result<Response, Problem> {
    let query: SessionsQuery = body::query(uri)?;
    let limit = page(query.limit)?;
    let engine = Arc::clone(&asked.api.shared.engine);
    let after = after(query.after)?;
    let found = aside(move || engine.sessions_after(after, limit + 1)).await?;
    let mut told = json!({});
    list(asked, &mut told, found, limit);
    Ok(answer::ok(&told))
}

fn list(asked: &Asked<'_>, told: &mut Value, mut found: Vec<Arc<Session>>, limit: usize) {
    let more = found.len() > limit;
    found.truncate(limit);
    told["node"] = asked.api.shared.name.as_str().into();
    told["scope"] = "node".into();
    told["next"] = json!(found.last().filter(|_| more).map(|last| last.key()));
    told["sessions"] = found.iter().map(|session| brief(session)).collect();
}

/// A session by its number: its id is the credential of its client, and is told to nobody.
fn brief(session: &Session) -> Value {
    json!({
        "session": session.key(),
        "user": session.user().map(|user| user.as_str()),
        "transport": session.transport().name(),
    })
}

/// The live session with the number in the path.
pub(super) fn named(asked: &Asked<'_>) -> Result<Arc<Session>, Problem> {
    let number = asked.named.parse::<u64>().ok().filter(|number| *number > 0);
    let number = number.ok_or_else(|| {
        Problem::invalid(
            "session_invalid",
            "a session is named by its number, as GET /v1/sessions lists it",
        )
    })?;
    let session = asked.api.shared.engine.session_with_key(number);
    session.ok_or_else(|| {
        Problem::new(
            StatusCode::NOT_FOUND,
            "session_unknown",
            "this node has no such session: it has ended, or it is a session of another node",
        )
    })
}

/// `GET /v1/sessions/{session}`
pub(super) fn session(asked: &Asked<'_>, uri: &Uri) -> Result<Response, Problem> {
    let Nothing {} = body::query(uri)?;
    let session = named(asked)?;
    let mut told = brief(&session);
    told["node"] = asked.api.shared.name.as_str().into();
    told["acknowledges"] = session.acknowledges().into();
    told["queue_messages"] = session.queue_len().into();
    told["queue_bytes"] = session.queue_bytes().into();
    subscriptions(asked.app()?, &session, &mut told);
    Ok(answer::ok(&told))
}

/// The channels of a session that the application may use.
fn subscriptions(app: &App, session: &Session, told: &mut Value) {
    let mut channels = session.subscriptions();
    channels.retain(|channel| app.may_use(channel));
    told["subscriptions_more"] = (channels.len() > SUBSCRIPTIONS_MAX).into();
    channels.truncate(SUBSCRIPTIONS_MAX);
    let names = channels.iter().map(|channel| channel.as_str());
    told["subscriptions"] = names.collect();
}
