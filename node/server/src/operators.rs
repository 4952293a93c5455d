//! What operators ask on the admin address about the cluster: members, links, users, interest, objects. `halley ctl` shows it.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Response;
use axum::routing::get;
use halley_bayeux::ChannelName;
use halley_cluster::{Dialect, InterestQuery, InterestReport, Member, Wanted};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::admin::json_answer;
use crate::node::Shared;

/// Names in an answer unless more or fewer are asked for.
const NAMES_DEFAULT: usize = 100;
/// Most names in one answer, so that no question fills the memory.
const NAMES_MAX: usize = 10_000;
/// How long the cluster's task may take to answer. It is busy when a sibling joins with much state.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The routes; whoever mounts them asks for the token.
pub(crate) fn routes() -> Router<Arc<Shared>> {
    Router::new()
        .route("/admin/members", get(members))
        .route("/admin/links", get(links))
        .route("/admin/users", get(users))
        .route("/admin/interest", get(interest))
        .route("/admin/objects", get(objects))
}

/// `GET /admin/members`: this node, the other members, and who has this node's name.
async fn members(State(shared): State<Arc<Shared>>) -> Response {
    let cluster = shared.cluster.cluster();
    let mut members = vec![match cluster {
        Some(cluster) => member(&cluster.this_node(), true),
        None => json!({ "name": shared.name, "this": true }),
    }];
    let siblings = cluster.map(|cluster| cluster.members()).unwrap_or_default();
    members.extend(siblings.iter().map(|sibling| {
        let mut shown = member(sibling, false);
        if cluster.and_then(|cluster| cluster.dialect(&sibling.name)) == Some(Dialect::Oort) {
            shown["dialect"] = json!(Dialect::Oort.as_str());
            // It is reached at its URL, and has no mesh address.
            shown["mesh"] = json!("-");
        }
        shown
    }));
    let status = cluster.map(|cluster| cluster.status()).unwrap_or_default();
    let conflicts = status.conflicts.iter();
    let conflicts = conflicts.map(
        |conflict| json!({ "name": conflict.name.as_str(), "holder": conflict.holder.to_string() }),
    );
    answer(json!({
        "node": shared.name,
        "clustered": cluster.is_some(),
        "members": members,
        "conflicts": conflicts.collect::<Vec<_>>(),
        "addresses_known": status.addresses,
    }))
}

fn member(member: &Member, this: bool) -> Value {
    json!({
        "name": member.name.as_str(),
        "this": this,
        "dialect": Dialect::Native.as_str(),
        "incarnation": member.incarnation.to_string(),
        "mesh": member.mesh_address.to_string(),
        "client": member.client_url,
    })
}

/// `GET /admin/links`: the links that this node has opened, also to siblings that have left. With a Java node it is both links in one row.
async fn links(State(shared): State<Arc<Shared>>) -> Response {
    let links = shared.cluster.links().into_iter().map(|link| {
        let ms = |rtt: Option<Duration>| rtt.map(|rtt| rtt.as_secs_f64() * 1000.0);
        json!({
            "sibling": link.sibling.as_str(),
            "dialect": link.dialect.as_str(),
            "up": link.up,
            "rtt_ms": ms(link.rtt),
            "rtt_of_sibling_ms": ms(link.rtt_of_sibling),
            "queue_bytes": link.queue_bytes,
            "window_bytes": link.window_bytes,
            "publications_sent": link.publications_sent,
            "publications_lost": link.publications_lost,
            "bytes_sent": link.bytes_sent,
            "bytes_received": link.bytes_received,
            "resumes": link.resumed,
            "frames_resent": link.frames_resent,
        })
    });
    let links: Vec<Value> = links.collect();
    answer(json!({ "node": shared.name, "links": links }))
}

/// What `GET /admin/users` may be told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct UsersQuery {
    filter: Option<String>,
    limit: Option<usize>,
}

/// `GET /admin/users`: how many there are; with a filter or a limit also who, and on which nodes.
async fn users(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<UsersQuery>, QueryRejection>,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(rejection) => return bad_query(&rejection),
    };
    let directory = &shared.cluster.directory;
    let mut told = json!({
        "node": shared.name,
        "count": directory.user_count(),
        "here": directory.users_here(),
    });
    if query.filter.is_some() || query.limit.is_some() {
        let limit = query.limit.unwrap_or(NAMES_DEFAULT).min(NAMES_MAX);
        // One more says whether there are more.
        let mut found = directory.find_users(&query.filter.unwrap_or_default(), limit + 1);
        told["more"] = (found.len() > limit).into();
        found.truncate(limit);
        let users = found
            .iter()
            .map(|user| json!({ "user": user.as_str(), "nodes": directory.nodes_of(user) }));
        told["users"] = users.collect();
    }
    answer(told)
}

/// What `GET /admin/interest` may be told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ChannelsQuery {
    prefix: Option<String>,
    limit: Option<usize>,
}

/// `GET /admin/interest`: the channels that this node asks its siblings for, and those that each of them asks it for.
async fn interest(
    State(shared): State<Arc<Shared>>,
    query: Result<Query<ChannelsQuery>, QueryRejection>,
) -> Response {
    let Query(query) = match query {
        Ok(query) => query,
        Err(rejection) => return bad_query(&rejection),
    };
    let query = InterestQuery {
        prefix: query.prefix.unwrap_or_default(),
        limit: query.limit.unwrap_or(NAMES_DEFAULT).min(NAMES_MAX),
    };
    let report = match shared.cluster.cluster() {
        None => InterestReport::default(),
        Some(cluster) => {
            match tokio::time::timeout(ANSWER_TIMEOUT, cluster.interest(query)).await {
                Ok(report) => report,
                Err(_) => {
                    return json_answer(
                        StatusCode::SERVICE_UNAVAILABLE,
                        &json!({ "error": "the cluster layer is busy, ask again" }),
                    );
                }
            }
        }
    };
    let siblings = report.siblings.iter().map(|(sibling, wanted)| {
        let mut told = channels(wanted);
        told["sibling"] = sibling.as_str().into();
        told
    });
    let siblings: Vec<Value> = siblings.collect();
    answer(json!({ "node": shared.name, "own": channels(&report.own), "siblings": siblings }))
}

fn channels(wanted: &Wanted) -> Value {
    let names: Vec<&str> = wanted.channels.iter().map(ChannelName::as_str).collect();
    json!({ "count": wanted.count, "channels": names })
}

/// `GET /admin/objects`: the replicated objects of this node, and what it has of every node's part.
async fn objects(State(shared): State<Arc<Shared>>) -> Response {
    let objects = shared.cluster.objects.report();
    let objects = objects.iter().map(|object| {
        let parts = object.parts.iter().map(|part| {
            json!({
                "node": part.node.as_str(),
                "entries": part.entries,
                "bytes": part.bytes,
                "version": part.version,
                "behind": part.behind,
            })
        });
        json!({
            "name": &*object.name,
            "kind": object.kind,
            "entries": object.entries(),
            "bytes": object.bytes(),
            "parts": parts.collect::<Vec<_>>(),
        })
    });
    let objects: Vec<Value> = objects.collect();
    answer(json!({ "node": shared.name, "objects": objects }))
}

fn answer(value: Value) -> Response {
    json_answer(StatusCode::OK, &value)
}

fn bad_query(rejection: &QueryRejection) -> Response {
    json_answer(
        StatusCode::BAD_REQUEST,
        &json!({ "error": rejection.body_text() }),
    )
}
