//! The admin listener: health, readiness, metrics, and under `/admin/` what needs the token.

use std::sync::Arc;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::{get, post};
use http::header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde_json::{Value, json};
use tracing::info;

use crate::config::OPTIONS;
use crate::node::Shared;
use crate::operators;

/// The routes of the admin listener.
pub(crate) fn router(shared: Arc<Shared>) -> Router {
    let guarded = Router::new()
        .route("/admin/status", get(status))
        .route("/admin/config", get(config))
        .route("/admin/drain", post(drain))
        .merge(operators::routes())
        .route("/admin/", get(not_found))
        .route("/admin/{*rest}", get(not_found).post(not_found))
        .layer(middleware::from_fn_with_state(
            Arc::clone(&shared),
            with_token,
        ));
    Router::new()
        .route(
            "/healthz",
            get(|| async { json_answer(StatusCode::OK, &json!({ "status": "alive" })) }),
        )
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .merge(guarded)
        .fallback(not_found)
        .with_state(shared)
}

pub(crate) fn json_answer(status: StatusCode, value: &Value) -> Response {
    let mut answer = Response::new(Body::from(value.to_string()));
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    answer
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    answer
}

async fn not_found() -> Response {
    json_answer(StatusCode::NOT_FOUND, &json!({ "error": "no such page" }))
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let status = if shared.readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    json_answer(status, &shared.readiness.json())
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    match shared.metrics.text(&shared.engine, &shared.figures()) {
        Ok(text) => {
            let mut answer = Response::new(Body::from(text));
            answer.headers_mut().insert(
                CONTENT_TYPE,
                HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8"),
            );
            answer
        }
        Err(error) => json_answer(
            StatusCode::INTERNAL_SERVER_ERROR,
            &json!({ "error": error.to_string() }),
        ),
    }
}

/// Lets a request pass only with the token.
async fn with_token(State(shared): State<Arc<Shared>>, request: Request, next: Next) -> Response {
    let Some(token) = shared.config.admin.token() else {
        return json_answer(
            StatusCode::FORBIDDEN,
            &json!({ "error": "closed: no admin.token_file is configured on this node" }),
        );
    };
    if bearer(request.headers()).is_some_and(|given| token.matches(given)) {
        return next.run(request).await;
    }
    let mut answer = json_answer(
        StatusCode::UNAUTHORIZED,
        &json!({ "error": "a bearer token is needed" }),
    );
    answer
        .headers_mut()
        .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
    answer
}

/// The token that a request shows.
pub(crate) fn bearer(headers: &HeaderMap) -> Option<&[u8]> {
    let value = headers.get(AUTHORIZATION)?.as_bytes();
    let (scheme, token) = value.split_at_checked(7)?;
    scheme
        .eq_ignore_ascii_case(b"bearer ")
        .then(|| token.trim_ascii())
}

async fn status(State(shared): State<Arc<Shared>>) -> Response {
    let stats = shared.engine.stats();
    let figures = shared.figures();
    let links: Vec<Value> = figures
        .links
        .iter()
        .map(|link| json!({ "sibling": link.sibling.as_str(), "up": link.up, "queue_bytes": link.queue_bytes }))
        .collect();
    let nodes: Vec<Value> = shared.nodes().iter().map(|node| node.json()).collect();
    json_answer(
        StatusCode::OK,
        &json!({
            "node": shared.name,
            "version": env!("CARGO_PKG_VERSION"),
            "readiness": shared.readiness.json(),
            "sessions": stats.sessions,
            "channels": stats.channels,
            "subscriptions": stats.subscriptions,
            "mesh_secrets": figures.secrets,
            "nodes": nodes,
            "links": links,
        }),
    )
}

/// The effective configuration, secrets masked.
async fn config(State(shared): State<Arc<Shared>>) -> Response {
    let options: serde_json::Map<String, Value> = OPTIONS
        .iter()
        .filter_map(|option| {
            let value = serde_json::to_value(option.value(&shared.config)?).ok()?;
            Some((option.key.to_owned(), value))
        })
        .collect();
    json_answer(StatusCode::OK, &Value::Object(options))
}

/// Asks the process to drain and end, as SIGTERM does.
async fn drain(State(shared): State<Arc<Shared>>) -> Response {
    info!("drain asked for on the admin address");
    shared.drain_requested.cancel();
    json_answer(StatusCode::ACCEPTED, &json!({ "status": "draining" }))
}
