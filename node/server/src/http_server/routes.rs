//! Where requests go: to the router, or past it.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;

/// An answer on its way.
pub(crate) type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

/// Takes the requests that come so often that they go past the router, which costs several allocations each.
pub(crate) trait Direct: Send + Sync + std::fmt::Debug {
    /// Whether this request is one of them.
    fn takes(&self, request: &Request<Incoming>) -> bool;
    /// Answers it.
    fn answer(self: Arc<Self>, request: Request<Incoming>) -> Answer;
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
