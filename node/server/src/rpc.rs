//! Calls that clients make on a service channel, answered by an async closure.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use halley_bayeux::{ChannelName, Message, Millis, RemoteCall, Responder, Session, UserId};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;

use crate::handle::{NodeHandle, PublishError, json_text, validated};

/// A call without data is one with `null`.
const NO_DATA: &str = "null";

/// One call of a client, with what is known of the caller.
#[derive(Clone, Debug)]
pub struct Call {
    session: Arc<Session>,
    channel: ChannelName,
    data: String,
    remote_address: Option<IpAddr>,
    node: NodeHandle,
}

impl Call {
    /// Reads what the client sent. With `?`, a client that sent something else is told so (`data_invalid`).
    ///
    /// # Errors
    /// The data has another shape than `T`.
    pub fn data<T: DeserializeOwned>(&self) -> Result<T, RpcError> {
        serde_json::from_str(&self.data)
            .map_err(|error| RpcError::new("data_invalid", error.to_string()))
    }

    /// What the client sent, as JSON text; `null` when it sent nothing.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.data
    }

    /// The channel that was called: with a pattern there are many.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The user that the security policy recognised.
    #[must_use]
    pub fn user(&self) -> Option<&UserId> {
        self.session.user()
    }

    /// The caller's address, if the transport knows it; see `client.trusted_proxies` for nodes behind a proxy. Local sessions have none.
    #[must_use]
    pub fn remote_address(&self) -> Option<IpAddr> {
        self.remote_address
    }

    /// The caller's session.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// The node, to publish or to reach other users.
    #[must_use]
    pub fn node(&self) -> &NodeHandle {
        &self.node
    }
}

/// What a caller gets instead of a result: `{"code": …, "message": …}`, or other data.
///
/// A member `class` in data of one's own is best avoided: CometD's Java client takes it for the name of a Java class, and over long-polling
/// drops the whole response when it has no such class.
///
/// Everything in it reaches the client. There is no conversion from any error whatever, so that nothing internal gets there by a `?`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RpcError(String);

impl RpcError {
    /// A failure with a word for programs and a sentence for people.
    #[must_use]
    pub fn new(code: &str, message: impl AsRef<str>) -> Self {
        Self(json!({ "code": code, "message": message.as_ref() }).to_string())
    }

    /// A failure with data of the application's own.
    ///
    /// # Errors
    /// The data cannot be written as JSON.
    pub fn with_data(data: impl Serialize) -> Result<Self, PublishError> {
        let text = json_text(data)?;
        validated(&text)?;
        Ok(Self(text))
    }

    /// The failure as JSON text.
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }
}

impl From<&str> for RpcError {
    /// A failure with the code `failed`.
    fn from(message: &str) -> Self {
        Self::new("failed", message)
    }
}

impl From<PublishError> for RpcError {
    /// A failure with the code `failed`. The message names channels and users, nothing of the node.
    fn from(error: PublishError) -> Self {
        Self::new("failed", error.to_string())
    }
}

/// Runs the closure as a task for each call.
pub(crate) struct Rpc<F> {
    node: NodeHandle,
    answer: Arc<F>,
}

impl<F> fmt::Debug for Rpc<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rpc").finish_non_exhaustive()
    }
}

impl<F> Rpc<F> {
    pub(crate) fn new(node: NodeHandle, answer: F) -> Self {
        let answer = Arc::new(answer);
        Self { node, answer }
    }
}

impl<F, Fut, T> RemoteCall for Rpc<F>
where
    F: Fn(Call) -> Fut + Send + Sync + 'static,
    Fut: Future<Output = Result<T, RpcError>> + Send + 'static,
    T: Serialize,
{
    fn call(&self, session: &Arc<Session>, message: &Message<'_>, responder: Responder, _: Millis) {
        let Some(shared) = self.node.shared() else {
            return;
        };
        let call = Call {
            session: Arc::clone(session),
            channel: message.channel().clone(),
            data: message.data().unwrap_or(NO_DATA).to_owned(),
            remote_address: message.request().remote_address(),
            node: self.node.clone(),
        };
        let answer = Arc::clone(&self.answer);
        shared.tasks.spawn(async move {
            // In here, not on the way of the message: should the closure panic, the responder is dropped, and the caller told that the
            // call has failed.
            let answer = answer(call)
                .await
                .and_then(|result| json_text(result).map_err(RpcError::from));
            match &answer {
                Ok(text) => match validated(text) {
                    Ok(json) => responder.succeed(json),
                    Err(error) => fail(responder, &error.into()),
                },
                Err(error) => fail(responder, error),
            }
        });
    }
}

fn fail(responder: Responder, error: &RpcError) {
    // What an `RpcError` holds is JSON; should it not be, the dropped responder answers.
    if let Ok(json) = validated(error.json()) {
        responder.fail(json);
    }
}
