//! Chooses the transport of a request.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::Response;
use axum::routing::any;
use bytes::Bytes;
use halley_bayeux::Engine;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderValue, Method, StatusCode};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::long_polling::Outcome;
use super::{callback_polling, long_polling, upgrade};
use crate::browser_cookie::BrowserCookie;
use crate::clock::Clock;
use crate::config::Config;
use crate::http_server::{Answer, Answered, Caller, Direct, Routes, Unfinished};
use crate::metrics::Metrics;
use crate::origin::{Origins, Verdict};
use crate::proxies::Proxies;

/// The largest publication that comes over a link.
const SIBLING_FRAME_BYTES_MAX: usize = 8 << 20;

/// A reply repeats id, channel and subscription of its message, and is at most some dozens of times longer than the
/// shortest message there is.
const REPLY_FACTOR: usize = 64;

/// What the transports need from the node.
#[derive(Debug)]
pub(crate) struct Endpoint {
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) origins: Origins,
    pub(crate) proxies: Proxies,
    /// The first is the one that others are told.
    pub(crate) paths: Vec<String>,
    /// What a client must offer to get a WebSocket.
    pub(crate) subprotocol: Option<HeaderValue>,
    pub(crate) callback_polling: bool,
    /// The cookie that ties the sessions of one browser together.
    pub(crate) browser_cookie: BrowserCookie,
    pub(crate) message_bytes_max: usize,
    /// No frame to a client is larger: what may wait for a session and the replies to one of its frames, or one
    /// publication from a sibling. The engine bounds what waits; this bound is never met.
    pub(crate) write_bytes_max: usize,
    pub(crate) body_timeout: Duration,
    /// What clients have begun to send.
    pub(crate) unfinished: Arc<Unfinished>,
    /// `None`: a WebSocket may be idle for ever.
    pub(crate) idle_timeout: Option<Duration>,
    pub(crate) tracker: TaskTracker,
    /// Ends WebSockets with 1001 and held connects with what they have.
    pub(crate) close: CancellationToken,
}

impl Endpoint {
    pub(crate) fn new(
        config: &Config,
        engine: Arc<Engine>,
        clock: Clock,
        metrics: Arc<Metrics>,
        tracker: TaskTracker,
        close: CancellationToken,
    ) -> Self {
        let idle = config.client.idle_timeout_ms;
        Self {
            engine,
            clock,
            metrics,
            origins: Origins::new(&config.client.allowed_origins),
            proxies: Proxies::new(&config.client.trusted_proxies),
            paths: config.client.paths().map(str::to_owned).collect(),
            subprotocol: (config.client.subprotocol.as_deref())
                .and_then(|name| HeaderValue::from_str(name).ok()),
            callback_polling: config.client.callback_polling,
            browser_cookie: BrowserCookie::new(&config.client.browser_cookie),
            message_bytes_max: config.session.max_message_bytes,
            write_bytes_max: SIBLING_FRAME_BYTES_MAX
                + config.session.max_queue_bytes
                + config.session.max_frame_bytes
                + REPLY_FACTOR * config.session.max_message_bytes,
            unfinished: Unfinished::new(config.client.max_unfinished_bytes),
            body_timeout: Duration::from_millis(config.client.body_timeout_ms),
            idle_timeout: (idle > 0).then(|| Duration::from_millis(idle)),
            tracker,
            close,
        }
    }

    /// An answer for a request that is not a Bayeux exchange, counted.
    pub(super) fn refusal(&self, status: StatusCode, text: impl Into<Body>) -> Response {
        self.metrics
            .http_errors
            .with_label_values(&[status.as_str()])
            .inc();
        let mut answer = Response::new(text.into());
        *answer.status_mut() = status;
        answer.headers_mut().insert(
            CONTENT_TYPE,
            HeaderValue::from_static("text/plain; charset=utf-8"),
        );
        answer
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }
}

/// What the client listener serves.
pub(crate) fn routes(endpoint: Arc<Endpoint>, demo: bool, files: Router) -> Routes {
    let router = router(Arc::clone(&endpoint), demo).merge(files);
    Routes::new(router, endpoint)
}

impl Direct for Endpoint {
    fn takes(&self, request: &hyper::Request<Incoming>) -> bool {
        request.method() == Method::POST
            && self.paths.iter().any(|path| request.uri().path() == path)
    }

    fn answer(self: Arc<Self>, request: hyper::Request<Incoming>, caller: Caller) -> Answer {
        Box::pin(answer_post(self, request, Some(caller)))
    }
}

fn router(endpoint: Arc<Endpoint>, demo: bool) -> Router {
    let paths = endpoint.paths.clone();
    let mut bayeux = Router::new();
    for path in &paths {
        // The root has no name of its own, only the slash.
        let name = path.trim_end_matches('/');
        if !name.is_empty() {
            bayeux = bayeux.route(name, any(dispatch));
        }
        bayeux = bayeux
            .route(&format!("{name}/"), any(dispatch))
            .route(&format!("{name}/{{*rest}}"), any(dispatch));
    }
    let bayeux = bayeux.with_state(endpoint);
    match paths.first().filter(|_| demo) {
        Some(path) => bayeux.merge(crate::pages::router(path)),
        None => bayeux,
    }
}

async fn dispatch(State(endpoint): State<Arc<Endpoint>>, request: Request) -> Response {
    let method = request.method();
    if method == Method::OPTIONS {
        let mut answer = Response::new(Body::empty());
        endpoint
            .origins
            .judge(request.headers(), request.uri().authority())
            .add_preflight_headers(answer.headers_mut());
        return answer;
    }
    let upgrade = method == Method::GET
        && endpoint
            .paths
            .iter()
            .any(|path| request.uri().path() == path)
        && upgrade::is_upgrade(request.headers());
    if !upgrade && endpoint.callback_polling && method == Method::GET {
        return callback_polling::answer(endpoint, request).await;
    }
    let post = method.as_str().eq_ignore_ascii_case("POST");
    if !upgrade && !post {
        return endpoint.refusal(StatusCode::BAD_REQUEST, "Unknown Bayeux Transport");
    }
    if !upgrade {
        let caller = request.extensions().get::<Caller>().copied();
        return answer_post(endpoint, request, caller).await.whole().await;
    }
    let verdict = endpoint
        .origins
        .judge(request.headers(), request.uri().authority());
    if verdict == Verdict::Refused {
        return endpoint.refusal(StatusCode::FORBIDDEN, "Origin not allowed");
    }
    upgrade::answer(&endpoint, request)
}

async fn answer_post<B>(
    endpoint: Arc<Endpoint>,
    request: hyper::Request<B>,
    caller: Option<Caller>,
) -> Answered
where
    B: hyper::body::Body<Data = Bytes> + Unpin,
{
    let verdict = endpoint
        .origins
        .judge(request.headers(), request.uri().authority());
    if verdict == Verdict::Refused {
        return Answered::Now(endpoint.refusal(StatusCode::FORBIDDEN, "Origin not allowed"));
    }
    match long_polling::answer(Arc::clone(&endpoint), request, caller).await {
        Outcome::Answer(mut answer) => {
            verdict.add_headers(answer.headers_mut());
            Answered::Now(answer)
        }
        Outcome::Held(held) => Answered::Later(Box::pin(async move {
            let mut answer = held.answer(&endpoint).await;
            verdict.add_headers(answer.headers_mut());
            answer
        })),
    }
}
