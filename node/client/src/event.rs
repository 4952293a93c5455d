//! What the client reports: messages, and what became of its session.

use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use crate::error::{LinkError, Refusal};

/// An event published on a channel.
#[derive(Debug, Clone)]
pub struct Message {
    pub(crate) channel: String,
    pub(crate) data: Option<Box<RawValue>>,
    pub(crate) ext: Option<Box<RawValue>>,
}

impl Message {
    /// The channel it was published on; never a pattern.
    pub fn channel(&self) -> &str {
        &self.channel
    }

    /// Its data as JSON text, exactly as it came; `null` when the publisher sent none.
    pub fn data(&self) -> &str {
        self.data.as_deref().map_or("null", RawValue::get)
    }

    /// The publisher's `ext` as JSON text.
    pub fn ext(&self) -> Option<&str> {
        self.ext.as_deref().map(RawValue::get)
    }

    /// Reads its data.
    ///
    /// # Errors
    /// When the data has another shape than `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data())
    }
}

/// Why the client ended.
#[derive(Debug)]
pub enum EndReason {
    /// [`Client::disconnect`](crate::Client::disconnect) was called, or the last handle was dropped.
    Disconnected,
    /// The server ended the session and advised against another.
    ByServer,
    /// The server refused a handshake and advised against another.
    Refused(Refusal),
    /// As many attempts to reconnect failed as were allowed; the last failure.
    GaveUp(LinkError),
}

/// One item of the stream of [`Events`].
#[derive(Debug)]
pub enum Event {
    /// A message on a subscribed channel, or one the server sent to this session alone.
    Message(Message),
    /// The connection is lost; the client is opening another.
    Interrupted(LinkError),
    /// Connected again, with the same session and its subscriptions. Whether messages were lost in between depends on
    /// the server: with [`acknowledge`](crate::ClientBuilder::acknowledge) they were not.
    Resumed,
    /// The old session is gone. A new one stands and is subscribed to the same channels; messages published in
    /// between are lost.
    Renewed,
    /// The server refused to subscribe the new session to this channel; the client does not try again.
    Unsubscribed {
        /// The channel that was subscribed before.
        channel: String,
        /// What the server said.
        refusal: Refusal,
    },
    /// The last event of all.
    Ended(EndReason),
}

/// The stream of events: bounded, in the order of the wire.
///
/// Dropping it means that events are of no interest: they are thrown away, and the client goes on.
#[derive(Debug)]
pub struct Events {
    pub(crate) receiver: mpsc::Receiver<Event>,
}

impl Events {
    /// The next event; `None` after the last. Cancel-safe.
    pub async fn next(&mut self) -> Option<Event> {
        self.receiver.recv().await
    }

    /// The next message, passing over all other events; `None` after the last. Cancel-safe.
    pub async fn next_message(&mut self) -> Option<Message> {
        loop {
            if let Event::Message(message) = self.receiver.recv().await? {
                return Some(message);
            }
        }
    }

    /// An event that is already here.
    pub fn try_next(&mut self) -> Option<Event> {
        self.receiver.try_recv().ok()
    }
}
