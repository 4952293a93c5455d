//! Where users are, and ending sessions: of a user everywhere, or one by one.

use axum::response::Response;
use halley_bayeux::EndReason;
use http::{StatusCode, Uri};
use serde::Deserialize;
use serde_json::json;
use tracing::info;

use super::listings::{self, Nothing};
use super::problem::Problem;
use super::publishing;
use super::{Asked, answer, body};

/// Longest reason in characters.
const REASON_CHARACTERS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EndQuery {
    reason: Option<String>,
}

fn reason(uri: &Uri) -> Result<String, Problem> {
    let query: EndQuery = body::query(uri)?;
    let reason = query.reason.unwrap_or_default();
    if reason.chars().count() > REASON_CHARACTERS_MAX || reason.chars().any(char::is_control) {
        return Err(Problem::invalid(
            "query_invalid",
            format!(
                "reason has at most {REASON_CHARACTERS_MAX} characters and no control characters"
            ),
        ));
    }
    Ok(reason)
}

fn unknown() -> Problem {
    Problem::new(
        StatusCode::NOT_FOUND,
        "user_unknown",
        "the user has no session on any node of the cluster",
    )
}

/// `GET /v1/users/{user}`
pub(super) fn user(asked: &Asked<'_>, uri: &Uri) -> Result<Response, Problem> {
    let Nothing {} = body::query(uri)?;
    let user = publishing::user(asked.named)?;
    let shared = &asked.api.shared;
    let nodes = shared.cluster.directory.nodes_of(&user);
    if nodes.is_empty() {
        return Err(unknown());
    }
    let ids = shared.cluster.directory.sessions_here(&user);
    let sessions = ids.iter().filter_map(|id| shared.engine.session(id));
    let mut here: Vec<u64> = sessions.map(|session| session.key()).collect();
    here.sort_unstable();
    Ok(answer::ok(&json!({
        "user": user.as_str(),
        "node": shared.name,
        "nodes": nodes,
        "sessions_here": here,
    })))
}

/// `DELETE /v1/users/{user}`
pub(super) fn end_user(asked: &Asked<'_>, uri: &Uri) -> Result<Response, Problem> {
    let reason = reason(uri)?;
    let user = publishing::user(asked.named)?;
    let shared = &asked.api.shared;
    let reached = shared
        .cluster
        .directory
        .disconnect(&user, shared.clock.now());
    if !reached.anybody() && reached.refused.is_empty() {
        return Err(unknown());
    }
    info!(app = asked.app()?.name(), %user, reason, here = reached.here, nodes = ?reached.nodes, "user disconnected by an application");
    Ok(answer::ok(&publishing::whom(asked.api, &user, reached)))
}

/// `DELETE /v1/sessions/{session}`
pub(super) fn end_session(asked: &Asked<'_>, uri: &Uri) -> Result<Response, Problem> {
    let reason = reason(uri)?;
    let session = listings::named(asked)?;
    let shared = &asked.api.shared;
    if session.is_local() {
        return Err(Problem::new(
            StatusCode::CONFLICT,
            "session_of_node",
            "this session belongs to the node itself and ends with it",
        ));
    }
    let ended = shared
        .engine
        .end_session(session.id(), EndReason::Server, shared.clock.now());
    info!(
        app = asked.app()?.name(),
        session = session.key(),
        reason,
        "session disconnected by an application"
    );
    Ok(answer::ok(&json!({
        "session": session.key(),
        "node": shared.name,
        "ended": ended,
    })))
}
