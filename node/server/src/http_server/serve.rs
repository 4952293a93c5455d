//! Hands a request on a connection to the router.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use axum::Router;
use axum::body::Body;
use axum::response::Response;
use futures_util::future::{Either, ready};
use http::header::CONNECTION;
use http::{HeaderValue, StatusCode};
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;
use tracing::debug;

use super::http2::{Activity, Answering};
use super::routes::{Answer, Answered, Direct, Routes};
use super::strict::{self, LengthSeen};

/// Where a request came from; an extension of every request that the router gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Caller {
    /// The other end of the connection: the client, or a proxy.
    pub(crate) peer: IpAddr,
    /// Whether the connection is encrypted up to this node.
    pub(crate) tls: bool,
}

/// Serves the requests of one connection.
#[derive(Debug, Clone)]
pub(super) struct Serve {
    router: TowerToHyperService<Router>,
    direct: Option<Arc<dyn Direct>>,
    caller: Caller,
    /// Only under HTTP/1.1.
    length_seen: Option<LengthSeen>,
}

impl Serve {
    pub(super) fn new(routes: &Routes, caller: Caller) -> Self {
        Self {
            router: TowerToHyperService::new(routes.router.clone()),
            direct: routes.direct.clone(),
            caller,
            length_seen: None,
        }
    }

    /// The same, on a stream that is watched.
    pub(super) fn watching(mut self, length_seen: LengthSeen) -> Self {
        self.length_seen = Some(length_seen);
        self
    }

    /// The same, counting what it answers.
    pub(super) fn counting(self, activity: Arc<Activity>) -> Counting {
        Counting {
            serve: self,
            activity,
        }
    }
}

impl Service<Request<Incoming>> for Serve {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future =
        Either<<TowerToHyperService<Router> as Service<Request<Incoming>>>::Future, DirectAnswer>;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        if let Some(fault) = strict::fault(&request, self.length_seen.as_ref()) {
            debug!(from = %self.caller.peer, fault, "request refused");
            let refused = ready(Answered::Now(refusal(fault)));
            return Either::Right(DirectAnswer::Asked(Box::pin(refused)));
        }
        match &self.direct {
            Some(direct) if direct.takes(&request) => Either::Right(DirectAnswer::Asked(
                Arc::clone(direct).answer(request, self.caller),
            )),
            _ => {
                request.extensions_mut().insert(self.caller);
                Either::Left(self.router.call(request))
            }
        }
    }
}

/// The answer to a request that went past the router.
pub(super) enum DirectAnswer {
    Asked(Answer),
    Held(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl Future for DirectAnswer {
    type Output = Result<Response, std::convert::Infallible>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        loop {
            match &mut *self {
                Self::Asked(answer) => match ready!(answer.as_mut().poll(cx)) {
                    Answered::Now(answer) => return Poll::Ready(Ok(answer)),
                    Answered::Later(answer) => *self = Self::Held(answer),
                },
                Self::Held(answer) => return answer.as_mut().poll(cx).map(Ok),
            }
        }
    }
}

/// The answer to a request that cannot be trusted; the last on its connection.
fn refusal(text: &'static str) -> Response {
    let mut answer = Response::new(Body::from(text));
    *answer.status_mut() = StatusCode::BAD_REQUEST;
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    answer
}

/// Counts the requests that are being answered.
#[derive(Debug)]
pub(super) struct Counting {
    serve: Serve,
    activity: Arc<Activity>,
}

impl Service<Request<Incoming>> for Counting {
    type Response = Response;
    type Error = std::convert::Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Self::Error>> + Send>>;

    fn call(&self, request: Request<Incoming>) -> Self::Future {
        let answering = Answering::new(&self.activity);
        let answer = self.serve.call(request);
        Box::pin(async move {
            let _answering = answering;
            answer.await
        })
    }
}
