//! A service for clients: they call a service channel, and the owner's result is the answer.

use std::sync::Arc;

use bytes::Bytes;
use halley_bayeux::{Json, Message, Millis, RemoteCall, Responder, Session};
use tokio::runtime::Handle;

use super::{ForwardError, OortService};

/// Nesting of results that are handed to clients.
const DEPTH_MAX: usize = 64;

impl OortService {
    /// What answers clients on a service channel, for [`halley_bayeux::Engine::add_remote_call`]. A client's `data` is the
    /// parameter, as JSON text; the result or failure must be JSON too, and is its answer. What goes wrong on the way is a
    /// failure `{"code":…,"message":…}`: `timeout`, `owner_left`, `no_owner`, `too_large`, `busy`, `unanswered`,
    /// `invalid_result`.
    ///
    /// It runs on the runtime that this is called on.
    ///
    /// # Panics
    /// Outside of a runtime.
    pub fn for_clients(&self) -> Arc<dyn RemoteCall> {
        Arc::new(ClientChannel {
            service: self.clone(),
            runtime: Handle::current(),
        })
    }
}

struct ClientChannel {
    service: OortService,
    runtime: Handle,
}

impl RemoteCall for ClientChannel {
    fn call(&self, _: &Arc<Session>, message: &Message<'_>, responder: Responder, _: Millis) {
        let parameter = Bytes::copy_from_slice(message.data().unwrap_or("null").as_bytes());
        let service = self.service.clone();
        // Bounded by the engine's bounds on calls, and by the time that an action may take.
        self.runtime.spawn(async move {
            let outcome = service.forward(parameter).await;
            answer(outcome, responder);
        });
    }
}

fn answer(outcome: Result<Bytes, ForwardError>, responder: Responder) {
    let (data, good) = match &outcome {
        Ok(data) => (data, true),
        Err(ForwardError::Failed(data)) => (data, false),
        Err(error) => return failed(code(error), &error.to_string(), responder),
    };
    let json = std::str::from_utf8(data)
        .ok()
        .and_then(|text| Json::validate(text, DEPTH_MAX).ok());
    match json {
        Some(json) if good => responder.succeed(json),
        Some(json) => responder.fail(json),
        None => failed(
            "invalid_result",
            "the service's answer is not JSON",
            responder,
        ),
    }
}

fn code(error: &ForwardError) -> &'static str {
    match error {
        ForwardError::Timeout(_) => "timeout",
        ForwardError::OwnerLeft(_) | ForwardError::NotMember(_) => "owner_left",
        ForwardError::NoOwner | ForwardError::NoService(_) => "no_owner",
        ForwardError::TooLarge { .. } => "too_large",
        ForwardError::TooMany(_) | ForwardError::Busy(_) => "busy",
        ForwardError::Dropped | ForwardError::Failed(_) => "unanswered",
    }
}

fn failed(code: &str, message: &str, responder: Responder) {
    let text = serde_json::json!({ "code": code, "message": message }).to_string();
    if let Ok(json) = Json::validate(&text, DEPTH_MAX) {
        responder.fail(json);
    }
}
