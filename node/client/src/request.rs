//! One request on its way from a handle to the driver.

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::error::RequestError;

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Ask {
    Publish {
        channel: String,
        data: Box<RawValue>,
    },
    Subscribe {
        channel: String,
    },
    Unsubscribe {
        channel: String,
    },
}

/// A request and where its answer goes. When the asker has gone before it was sent, it is not sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) answer: oneshot::Sender<Result<(), RequestError>>,
}

/// Requests that were made together leave together, in order.
pub(crate) type Command = Vec<Request>;
