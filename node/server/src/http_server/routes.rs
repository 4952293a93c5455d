//! Where requests go: to the router, or past it.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;

use super::serve::Caller;

/// What becomes of a request that went past the router.
pub(crate) enum Answered {
    /// Its answer.
    Now(Response),
    /// Its answer comes later, from a future of its own: a held request keeps no more than it needs.
    Later(Pin<Box<dyn Future<Output = Response> + Send>>),
}

impl Answered {
    /// The answer.
    pub(crate) async fn whole(self) -> Response {
        match self {
            Self::Now(answer) => answer,
            Self::Later(answer) => answer.await,
        }
    }
}

/// An answer on its way.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Answered> + Send>>;

/// Takes the requests that come so often that they go past the router, which costs several allocations each.
pub(crate) trait Direct: Send + Sync + std::fmt::Debug {
    /// Whether this request is one of them.
    fn takes(&self, request: &Request<Incoming>) -> bool;
    /// Answers it.
    fn answer(self: Arc<Self>, request: Request<Incoming>, caller: Caller) -> Answer;
}

/// What a listener serves.
#[derive(Debug, Clone)]
pub(crate) struct Routes {
    pub(super) router: Router,
    pub(super) direct: Option<Arc<dyn Direct>>,
}

impl Routes {
    /// The router, after these requests have been taken out.
    pub(crate) fn new(router: Router, direct: Arc<dyn Direct>) -> Self {
        Self {
            router,
            direct: Some(direct),
        }
    }
}

impl From<Router> for Routes {
    fn from(router: Router) -> Self {
        Self {
            router,
            direct: None,
        }
    }
}
