use crate::engine::Origin;
use crate::json::{self, RawMessage};
use crate::{ChannelName, Request};
use std::borrow::Cow;

/// A message from a client, after its fields were validated. Values are raw JSON, borrowed from the frame.
#[derive(Clone, Copy, Debug)]
pub struct Message<'m> {
    pub(crate) raw: &'m RawMessage<'m>,
    pub(crate) channel: &'m ChannelName,
    pub(crate) origin: &'m Origin<'m>,
}

impl<'m> Message<'m> {
    /// The channel, normalised.
    #[must_use]
    pub fn channel(&self) -> &'m ChannelName {
        self.channel
    }

    /// The request that brought it: transport, address, headers.
    #[must_use]
    pub fn request(&self) -> Request<'m> {
        self.origin.request()
    }

    /// The message id as text, whatever its JSON type.
    #[must_use]
    pub fn id(&self) -> Option<Cow<'m, str>> {
        self.raw.id.map(id_text)
    }

    /// The raw JSON of `data`.
    #[must_use]
    pub fn data(&self) -> Option<&'m str> {
        self.raw.data
    }

    /// The raw JSON of `ext`, an object.
    #[must_use]
    pub fn ext(&self) -> Option<&'m str> {
        self.raw.ext
    }

    /// The raw JSON of one member of `ext`. Scans `ext`.
    #[must_use]
    pub fn ext_field(&self, name: &str) -> Option<&'m str> {
        member(self.raw.ext?, name)
    }

    /// The raw JSON of any top-level field, known to the protocol or not. Scans the message.
    #[must_use]
    pub fn field(&self, name: &str) -> Option<&'m str> {
        member(self.raw.object, name)
    }

    /// The whole object as the client sent it.
    #[must_use]
    pub fn object(&self) -> &'m str {
        self.raw.object
    }
}

/// The raw JSON of member `name` of `object`, the last if there are several.
pub(crate) fn member<'m>(object: &'m str, name: &str) -> Option<&'m str> {
    json::members(object)
        .into_iter()
        .rev()
        .find_map(|(key, value)| (key == name).then_some(value))
}

/// A validated id as text.
pub(crate) fn id_text(raw: &str) -> Cow<'_, str> {
    json::decode_string(raw).unwrap_or(Cow::Borrowed(raw))
}
