//! The HTTP API for back-end applications, on a listener of its own.
//!
//! ```text
//! request ──> route (404, 405) ──> token (401) ──> role (403) ──> place (429) ──> body (408, 413, 415) ──> operation
//! ```
//!
//! [`ROUTES`] is the only list of operations; `openapi.json` describes the same, and a test compares them.

mod answer;
mod body;
mod listings;
mod problem;
mod publishing;
mod services;
mod tokens;
mod users;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::rejection::RawPathParamsRejection;
use axum::extract::{RawPathParams, Request, State};
use axum::response::Response;
use axum::routing::any;
use halley_bayeux::LocalSession;
use http::{HeaderValue, Method, StatusCode, header};
use tokio::sync::Semaphore;

use crate::config::{ApiConfig, ApiRole};
use crate::node::Shared;
use problem::Problem;
use tokens::App;
pub(crate) use tokens::Tokens;

/// The description of the API (OpenAPI 3.1).
pub const OPENAPI: &str = include_str!("openapi.json");

/// What can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operation {
    Publish,
    PublishToUser,
    Batch,
    Channels,
    Subscribers,
    Sessions,
    Session,
    EndSession,
    User,
    EndUser,
    Call,
    Openapi,
    Health,
}

impl Operation {
    /// What an application needs for it; `None`: not even a token.
    const fn role(self) -> Option<ApiRole> {
        Some(match self {
            Self::Publish | Self::PublishToUser | Self::Batch => ApiRole::Publish,
            Self::Channels | Self::Subscribers | Self::Sessions | Self::Session | Self::User => {
                ApiRole::Read
            }
            Self::EndSession | Self::EndUser => ApiRole::Manage,
            Self::Call => ApiRole::Call,
            Self::Openapi | Self::Health => return None,
        })
    }
}

/// Each path, and what its methods do. `{*name}` takes slashes too.
const ROUTES: &[(&str, &[(Method, Operation)])] = &[
    ("/v1/publish", &[(Method::POST, Operation::Publish)]),
    (
        "/v1/users/{user}/publish",
        &[(Method::POST, Operation::PublishToUser)],
    ),
    ("/v1/batch", &[(Method::POST, Operation::Batch)]),
    ("/v1/channels", &[(Method::GET, Operation::Channels)]),
    (
        "/v1/channels/{channel}/subscribers",
        &[(Method::GET, Operation::Subscribers)],
    ),
    ("/v1/sessions", &[(Method::GET, Operation::Sessions)]),
    (
        "/v1/sessions/{session}",
        &[
            (Method::GET, Operation::Session),
            (Method::DELETE, Operation::EndSession),
        ],
    ),
    (
        "/v1/users/{user}",
        &[
            (Method::GET, Operation::User),
            (Method::DELETE, Operation::EndUser),
        ],
    ),
    ("/v1/services/{*name}", &[(Method::POST, Operation::Call)]),
    ("/v1/openapi.json", &[(Method::GET, Operation::Openapi)]),
    ("/v1/health", &[(Method::GET, Operation::Health)]),
];

/// Every path with its methods, as the description writes them.
pub fn routes() -> impl Iterator<Item = (String, Vec<&'static str>)> {
    ROUTES.iter().map(|(path, operations)| {
        let methods = operations.iter().map(|(method, _)| match *method {
            Method::DELETE => "delete",
            Method::POST => "post",
            _ => "get",
        });
        (path.replace("{*", "{"), methods.collect())
    })
}

/// What the operations need.
pub(crate) struct Api {
    shared: Arc<Shared>,
    tokens: Arc<Tokens>,
    /// Calls services. What is delivered to it is not looked at.
    session: LocalSession,
    places: Semaphore,
    body_timeout: Duration,
}

impl Api {
    pub(crate) fn new(shared: Arc<Shared>, tokens: Arc<Tokens>) -> Arc<Self> {
        let session = shared.engine.local_session(None, Arc::new(|_: &_| {}));
        Arc::new(Self {
            tokens,
            session,
            places: Semaphore::new(shared.config.api.max_requests),
            body_timeout: Duration::from_millis(shared.config.client.body_timeout_ms),
            shared,
        })
    }

    fn config(&self) -> &ApiConfig {
        &self.shared.config.api
    }
}

/// One request on its way to its operation.
struct Asked<'a> {
    api: &'a Arc<Api>,
    /// Who asks. Operations without a role have nobody.
    app: Option<&'a App>,
    /// The text in place of the path's `{…}`; empty where there is none.
    named: &'a str,
}

impl Asked<'_> {
    fn app(&self) -> Result<&App, Problem> {
        // Cannot happen: who needs it has a role.
        self.app.ok_or_else(Problem::no_token)
    }
}

/// The routes of the API listener.
pub(crate) fn router(api: Arc<Api>) -> Router {
    let mut router = Router::new();
    for (path, operations) in ROUTES {
        let handler = move |state, params, request| serve(state, path, operations, params, request);
        router = router.route(path, any(handler));
    }
    router.fallback(unknown).with_state(api)
}

async fn unknown(State(api): State<Arc<Api>>, request: Request) -> Response {
    count(&api, "unknown", request.method(), StatusCode::NOT_FOUND);
    Problem::new(
        StatusCode::NOT_FOUND,
        "path_unknown",
        "there is no such path: GET /v1/openapi.json describes those there are",
    )
    .response()
}

async fn serve(
    State(api): State<Arc<Api>>,
    path: &'static str,
    operations: &'static [(Method, Operation)],
    params: Result<RawPathParams, RawPathParamsRejection>,
    request: Request,
) -> Response {
    let method = request.method().clone();
    let answer = match &params {
        Ok(params) => {
            let named = params.iter().next().map_or("", |(_, value)| value);
            judge(&api, operations, named, request).await
        }
        Err(_) => Err(Problem::invalid(
            "path_invalid",
            "what the path names is not UTF-8",
        )),
    };
    let answer = answer.unwrap_or_else(|problem| problem.response());
    count(&api, path, &method, answer.status());
    answer
}

async fn judge(
    api: &Arc<Api>,
    operations: &'static [(Method, Operation)],
    named: &str,
    request: Request,
) -> Result<Response, Problem> {
    // HEAD is GET, and the HTTP layer leaves the body out.
    let method = match *request.method() {
        Method::HEAD => &Method::GET,
        ref method => method,
    };
    let found = operations.iter().find(|(known, _)| known == method);
    let Some((_, operation)) = found else {
        return Err(not_allowed(operations));
    };
    let Some(role) = operation.role() else {
        let asked = Asked {
            api,
            app: None,
            named,
        };
        return run(*operation, &asked, request).await;
    };
    let app = api.tokens.app(request.headers());
    let app = app.ok_or_else(Problem::no_token)?;
    if !app.has(role) {
        return Err(Problem::role(app, role));
    }
    let _place = api.places.try_acquire().map_err(|_| Problem::busy())?;
    let asked = Asked {
        api,
        app: Some(app),
        named,
    };
    run(*operation, &asked, request).await
}

async fn run(
    operation: Operation,
    asked: &Asked<'_>,
    request: Request,
) -> Result<Response, Problem> {
    match operation {
        Operation::Publish => publishing::publish(asked, request).await,
        Operation::PublishToUser => publishing::publish_to_user(asked, request).await,
        Operation::Batch => publishing::batch(asked, request).await,
        Operation::Channels => listings::channels(asked, request.uri()).await,
        Operation::Subscribers => listings::subscribers(asked, request.uri()),
        Operation::Sessions => listings::sessions(asked, request.uri()).await,
        Operation::Session => listings::session(asked, request.uri()),
        Operation::EndSession => users::end_session(asked, request.uri()),
        Operation::User => users::user(asked, request.uri()),
        Operation::EndUser => users::end_user(asked, request.uri()),
        Operation::Call => services::call(asked, request).await,
        Operation::Openapi => Ok(answer::raw(StatusCode::OK, OPENAPI)),
        Operation::Health => Ok(health(&asked.api.shared)),
    }
}

fn health(shared: &Shared) -> Response {
    let status = if shared.readiness.is_ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    crate::admin::json_answer(status, &shared.readiness.json())
}

fn not_allowed(operations: &[(Method, Operation)]) -> Problem {
    let mut methods: Vec<&str> = operations
        .iter()
        .map(|(method, _)| method.as_str())
        .collect();
    if methods.contains(&"GET") {
        methods.push("HEAD");
    }
    let methods = methods.join(", ");
    let problem = Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        format!("this path takes {methods}"),
    );
    match HeaderValue::from_str(&methods) {
        Ok(methods) => problem.with(header::ALLOW, methods),
        Err(_) => problem,
    }
}

fn count(api: &Api, path: &str, method: &Method, status: StatusCode) {
    let method = match *method {
        Method::GET | Method::HEAD | Method::POST | Method::DELETE => method.as_str(),
        _ => "other",
    };
    let requests = &api.shared.metrics.api_requests;
    requests
        .with_label_values(&[path, method, status.as_str()])
        .inc();
}
