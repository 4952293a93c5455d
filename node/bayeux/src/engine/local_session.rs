use super::Engine;
use super::pipeline::{Context, Origin};
use crate::call::{CallError, Waiting};
use crate::reply::Reply;
use crate::session::{LocalReceiver, Session, Transport};
use crate::{BinaryData, ChannelName, EndReason, Json, Millis, UserId, json};
use std::future::poll_fn;
use std::sync::Arc;
use thiserror::Error;

/// Code inside the node that acts as a client: the same pipeline, policy and extensions, no transport, no expiry; deliveries are direct
/// calls of its receiver. Ends when dropped.
#[derive(Debug)]
pub struct LocalSession {
    engine: Arc<Engine>,
    session: Arc<Session>,
}

/// What a client would have been told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Refused(String);

impl Refused {
    pub(super) fn new(error: &str) -> Self {
        Self(error.to_owned())
    }

    /// The Bayeux error string, `code:args:text`.
    #[must_use]
    pub fn error(&self) -> &str {
        &self.0
    }
}

impl Engine {
    /// Makes a local session. The policy is not asked: what runs in the node is trusted to be in it.
    #[must_use]
    pub fn local_session(
        self: &Arc<Self>,
        user: Option<UserId>,
        receiver: Arc<dyn LocalReceiver>,
    ) -> LocalSession {
        LocalSession {
            engine: self.clone(),
            session: self.add_session(Transport::Local, user, None, None, Some(receiver), false),
        }
    }
}

impl LocalSession {
    /// The session as others see it.
    #[must_use]
    pub fn session(&self) -> &Arc<Session> {
        &self.session
    }

    /// Publishes on a broadcast or service channel.
    ///
    /// # Errors
    /// When the policy, an extension or a service refuses, or the session has ended.
    pub async fn publish(
        &self,
        channel: &ChannelName,
        data: Json<'_>,
        now: Millis,
    ) -> Result<(), Refused> {
        let mut text = self.message(channel.as_str());
        text.extend_from_slice(b",\"data\":");
        text.extend_from_slice(data.as_str().as_bytes());
        self.send(text, None, now).await
    }

    /// Calls what answers on a service channel ([`crate::RemoteCall`]), and waits for the result: raw JSON. Waits as long as the service
    /// takes; dropping the future gives up waiting.
    ///
    /// # Errors
    /// As [`LocalSession::publish`], and when the call failed or nothing answers calls there.
    pub async fn call(
        &self,
        channel: &ChannelName,
        data: Json<'_>,
        now: Millis,
    ) -> Result<String, CallError> {
        let mut text = self.message(channel.as_str());
        text.extend_from_slice(b",\"data\":");
        text.extend_from_slice(data.as_str().as_bytes());
        let waiting = Arc::default();
        self.send(text, Some(&waiting), now)
            .await
            .map_err(|Refused(error)| CallError::Refused(error))?;
        poll_fn(|cx| waiting.poll(cx)).await
    }

    /// Publishes bytes, for clients with the binary extension.
    ///
    /// # Errors
    /// As [`LocalSession::publish`], and when `meta` is not JSON.
    pub async fn publish_binary(
        &self,
        channel: &ChannelName,
        binary: &BinaryData,
        now: Millis,
    ) -> Result<(), Refused> {
        let mut text = self.message(channel.as_str());
        text.extend_from_slice(b",\"ext\":{\"binary\":{}},\"data\":");
        if binary.write(&mut text).is_none() {
            return Err(Refused("400::message_invalid".to_owned()));
        }
        self.send(text, None, now).await
    }

    /// Subscribes.
    ///
    /// # Errors
    /// When the policy or an extension refuses, or the session has ended.
    pub async fn subscribe(&self, channel: &ChannelName, now: Millis) -> Result<(), Refused> {
        self.send(self.about("/meta/subscribe", channel), None, now)
            .await
    }

    /// Unsubscribes.
    ///
    /// # Errors
    /// When the channel does not exist, or the session has ended.
    pub async fn unsubscribe(&self, channel: &ChannelName, now: Millis) -> Result<(), Refused> {
        self.send(self.about("/meta/unsubscribe", channel), None, now)
            .await
    }

    /// Ends the session.
    pub fn disconnect(&self, now: Millis) {
        self.engine.end(&self.session, EndReason::Disconnected, now);
    }

    /// The beginning of a message object.
    fn message(&self, channel: &str) -> Vec<u8> {
        let mut text = b"{\"clientId\":\"".to_vec();
        text.extend_from_slice(self.session.id().as_str().as_bytes());
        text.extend_from_slice(b"\",\"channel\":");
        json::write_string(&mut text, channel);
        text
    }

    fn about(&self, meta: &str, channel: &ChannelName) -> Vec<u8> {
        let mut text = self.message(meta);
        text.extend_from_slice(b",\"subscription\":");
        json::write_string(&mut text, channel.as_str());
        text
    }

    async fn send(
        &self,
        mut text: Vec<u8>,
        waiting: Option<&Arc<Waiting>>,
        now: Millis,
    ) -> Result<(), Refused> {
        text.push(b'}');
        let refused = |error: &str| Refused(error.to_owned());
        let text = String::from_utf8(text).map_err(|_| refused("400::message_invalid"))?;
        let messages = json::scan_frame(&text, crate::DEPTH_MAX, 1)
            .map_err(|_| refused("400::message_invalid"))?;
        let context = Context {
            origin: Origin::Local { waiting },
            session: Some(&self.session),
            now,
        };
        let mut reply = Reply::default();
        self.engine
            .process(&context, &messages[0], &mut reply)
            .await;
        if reply.is_successful() {
            Ok(())
        } else {
            Err(refused(reply.error().unwrap_or("400::message_invalid")))
        }
    }
}

impl Drop for LocalSession {
    fn drop(&mut self) {
        self.disconnect(self.engine.latest());
    }
}
