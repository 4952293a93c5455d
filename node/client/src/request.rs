//! One request on its way from a handle to the driver, and its answer on the way back.

use serde_json::value::RawValue;
use tokio::sync::oneshot;

use crate::{
    error::{CallError, RequestError},
    json::Json,
};

/// What is asked for.
#[derive(Debug)]
pub(crate) enum Ask {
    Publish {
        channel: String,
        data: Box<RawValue>,
    },
    /// A publication that a service answers with a result.
    Call {
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

/// Where an answer goes.
#[derive(Debug)]
pub(crate) enum Answer {
    Outcome(oneshot::Sender<Result<(), RequestError>>),
    Call(oneshot::Sender<Result<Json, CallError>>),
}

impl Answer {
    /// Whether the asker has gone.
    pub(crate) fn is_closed(&self) -> bool {
        match self {
            Self::Outcome(sender) => sender.is_closed(),
            Self::Call(sender) => sender.is_closed(),
        }
    }

    /// It was done. For a call that is no answer, so it must not come to that.
    pub(crate) fn done(self) {
        if let Self::Outcome(sender) = self {
            let _ = sender.send(Ok(()));
        }
    }

    /// It failed.
    pub(crate) fn fail(self, error: RequestError) {
        match self {
            Self::Outcome(sender) => {
                let _ = sender.send(Err(error));
            }
            Self::Call(sender) => {
                let _ = sender.send(Err(error.into()));
            }
        }
    }

    /// The service has answered.
    pub(crate) fn result(self, successful: bool, data: Json) {
        if let Self::Call(sender) = self {
            let result = if successful {
                Ok(data)
            } else {
                Err(CallError::Failed(data))
            };
            let _ = sender.send(result);
        }
    }
}

/// A request and where its answer goes. When the asker has gone before it was sent, it is not sent.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) ask: Ask,
    pub(crate) answer: Answer,
}

/// Requests that were made together leave together, in order.
pub(crate) type Command = Vec<Request>;
