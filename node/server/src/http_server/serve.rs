//! Caller a request on a connection to the router.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::response::Response;
use hyper::Request;
use hyper::body::Incoming;
use hyper::service::Service;
use hyper_util::service::TowerToHyperService;

use super::http2::{Activity, Answering};

/// Where a request came from; an extension of every request.
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
    caller: Caller,
}

impl Serve {
    pub(super) fn new(router: Router, caller: Caller) -> Self {
        Self {
            router: TowerToHyperService::new(router),
            caller,
        }
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
    type Future = <TowerToHyperService<Router> as Service<Request<Incoming>>>::Future;

    fn call(&self, mut request: Request<Incoming>) -> Self::Future {
        request.extensions_mut().insert(self.caller);
        self.router.call(request)
    }
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
