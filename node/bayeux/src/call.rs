//! Remote calls (reference 7.7): a message on a service channel that is answered with a result.

use crate::engine::Engine;
use crate::json::{self, Json};
use crate::session::Session;
use crate::{BinaryData, ChannelName, Message, Millis, Publication};
use parking_lot::Mutex;
use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use thiserror::Error;

/// Answers what clients call on a service channel: what CometD's `@RemoteCall` methods are.
///
/// The client gets the usual reply to its publish, and the result as a message on the same channel with the id of its call. A call without
/// `id` is answered without one, as an event. Closures with these arguments are remote calls, too.
pub trait RemoteCall: Send + Sync {
    /// A call that the policy has granted. Must not block: what takes time is answered later, from any thread, through `responder`.
    fn call(
        &self,
        session: &Arc<Session>,
        message: &Message<'_>,
        responder: Responder,
        now: Millis,
    );
}

impl<F: Fn(&Arc<Session>, &Message<'_>, Responder, Millis) + Send + Sync> RemoteCall for F {
    fn call(
        &self,
        session: &Arc<Session>,
        message: &Message<'_>,
        responder: Responder,
        now: Millis,
    ) {
        self(session, message, responder, now);
    }
}

/// What a dropped responder answers.
const UNANSWERED: &str = r#"{"code":"unanswered","message":"the service has dropped the call"}"#;

/// Answers one call, once, now or later.
///
/// The answer goes through the session's queue like every delivery: in the response of the call if it is given in time, before the reply to
/// the publish; else with the next frame, response or connect reply; acknowledged, and bounded like the rest. Dropping the responder answers
/// with a failure, `{"code":"unanswered",...}`. For a session that has ended there is nobody to answer, and nothing happens.
#[must_use = "a dropped call is answered with a failure"]
pub struct Responder {
    engine: Arc<Engine>,
    session: Arc<Session>,
    channel: ChannelName,
    id: Option<Box<str>>,
    /// Where code of this node waits for the answer.
    waiting: Option<Arc<Waiting>>,
    answered: bool,
}

impl Responder {
    pub(crate) fn new(
        engine: Arc<Engine>,
        session: Arc<Session>,
        message: &Message<'_>,
        waiting: Option<Arc<Waiting>>,
    ) -> Self {
        Self {
            engine,
            session,
            channel: message.channel().clone(),
            id: message.id().map(Into::into),
            waiting,
            answered: false,
        }
    }

    /// The session that calls.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The channel of the call.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// Whether there is still somebody to answer.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.session.is_live()
    }

    /// Answers with a result: `successful: true`. Remote clients get `{}` for `null`, because stock ones cannot tell a result of `null`
    /// from the reply to the publish, and would wait on.
    pub fn succeed(mut self, result: Json<'_>) {
        self.answer(true, result.as_str(), "");
    }

    /// Answers with bytes, for clients with the binary extension. False when `meta` is not JSON: then the call has failed.
    pub fn succeed_with_binary(mut self, binary: &BinaryData) -> bool {
        let mut data = Vec::new();
        match binary
            .write(&mut data)
            .and_then(|()| String::from_utf8(data).ok())
        {
            Some(data) => {
                self.answer(true, &data, r#","ext":{"binary":{}}"#);
                true
            }
            None => false,
        }
    }

    /// Answers with a failure: `successful: false`, and what there is to say about it as `data`.
    pub fn fail(mut self, failure: Json<'_>) {
        self.answer(false, failure.as_str(), "");
    }

    fn answer(&mut self, successful: bool, data: &str, more: &str) {
        self.answered = true;
        self.engine.call_ended(&self.session);
        if let Some(waiting) = &self.waiting {
            return waiting.put(if successful {
                Ok(data.to_owned())
            } else {
                Err(CallError::Failed(data.to_owned()))
            });
        }
        let mut object = Vec::with_capacity(data.len() + 96);
        object.extend_from_slice(b"\"channel\":");
        json::write_string(&mut object, self.channel.as_str());
        if let Some(id) = &self.id {
            object.extend_from_slice(b",\"id\":");
            json::write_string(&mut object, id);
        }
        object.extend_from_slice(if successful {
            b",\"successful\":true,\"data\":".as_slice()
        } else {
            b",\"successful\":false,\"data\":"
        });
        let data = if data == "null" { "{}" } else { data };
        object.extend_from_slice(data.as_bytes());
        object.extend_from_slice(more.as_bytes());
        // Always: made of strings.
        if let Ok(object) = std::str::from_utf8(&object) {
            let answer = Publication::from_parts(self.channel.clone(), std::iter::once(object));
            self.engine.deliver_to(&self.session, &answer);
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if !self.answered {
            self.answer(false, UNANSWERED, "");
        }
    }
}

impl fmt::Debug for Responder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder")
            .field("session", &self.session)
            .field("channel", &self.channel)
            .finish_non_exhaustive()
    }
}

/// Why [`crate::LocalSession::call`] has no result.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CallError {
    /// The policy, an extension or the service has refused, with this Bayeux error string, or the session has ended.
    #[error("refused: {0}")]
    Refused(String),
    /// Nothing answers calls on this channel.
    #[error("nothing answers calls on this channel; register one with Engine::add_remote_call")]
    NoRemoteCall,
    /// The service answered with a failure: raw JSON.
    #[error("failed: {0}")]
    Failed(String),
}

/// Where code of this node waits for the answer to its call.
#[derive(Debug, Default)]
pub(crate) struct Waiting(Mutex<Slot>);

#[derive(Debug, Default)]
struct Slot {
    answer: Option<Result<String, CallError>>,
    waker: Option<Waker>,
}

impl Waiting {
    fn put(&self, answer: Result<String, CallError>) {
        let waker = {
            let mut slot = self.0.lock();
            slot.answer = Some(answer);
            slot.waker.take()
        };
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    pub(crate) fn poll(self: &Arc<Self>, cx: &mut Context<'_>) -> Poll<Result<String, CallError>> {
        let mut slot = self.0.lock();
        match slot.answer.take() {
            Some(answer) => Poll::Ready(answer),
            // A responder would hold it, and answers when dropped.
            None if Arc::strong_count(self) == 1 => Poll::Ready(Err(CallError::NoRemoteCall)),
            None => {
                slot.waker = Some(cx.waker().clone());
                Poll::Pending
            }
        }
    }
}
