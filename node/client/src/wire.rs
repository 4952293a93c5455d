//! Bayeux messages as they stand in frames: reading what comes, writing what goes.
//!
//! Reading is lenient where a foreign publisher may have a hand in the object (doubled fields, odd types, unknown
//! fields): a message that another client crafted must not break this one's connection.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::error::LinkError;

/// A message from the server; all values still JSON text, borrowed from the frame.
#[derive(Debug, Default)]
pub(crate) struct Incoming<'a> {
    channel: Option<&'a RawValue>,
    id: Option<&'a RawValue>,
    successful: Option<&'a RawValue>,
    error: Option<&'a RawValue>,
    client_id: Option<&'a RawValue>,
    connection_types: Option<&'a RawValue>,
    pub(crate) advice: Option<&'a RawValue>,
    pub(crate) data: Option<&'a RawValue>,
    pub(crate) ext: Option<&'a RawValue>,
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "camelCase")]
enum Field {
    Channel,
    Id,
    Successful,
    Error,
    ClientId,
    #[serde(rename = "supportedConnectionTypes")]
    ConnectionTypes,
    Advice,
    Data,
    Ext,
    #[serde(other)]
    Other,
}

impl<'de: 'a, 'a> Deserialize<'de> for Incoming<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;
        impl<'de> Visitor<'de> for Fields {
            type Value = Incoming<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Bayeux message")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut message = Incoming::default();
                while let Some(field) = map.next_key::<Field>()? {
                    let value: &'de RawValue = map.next_value()?;
                    let place = match field {
                        Field::Channel => &mut message.channel,
                        Field::Id => &mut message.id,
                        Field::Successful => &mut message.successful,
                        Field::Error => &mut message.error,
                        Field::ClientId => &mut message.client_id,
                        Field::ConnectionTypes => &mut message.connection_types,
                        Field::Advice => &mut message.advice,
                        Field::Data => &mut message.data,
                        Field::Ext => &mut message.ext,
                        Field::Other => continue,
                    };
                    *place = Some(value);
                }
                Ok(message)
            }
        }
        deserializer.deserialize_map(Fields)
    }
}

impl<'a> Incoming<'a> {
    /// The channel.
    ///
    /// # Errors
    /// When there is none, or it is no string.
    pub(crate) fn channel(&self) -> Result<Cow<'a, str>, LinkError> {
        self.channel
            .and_then(string)
            .ok_or(LinkError::Bayeux("a message without a channel"))
    }

    /// The id, when it is one that this client draws: a whole number, as a string or bare.
    pub(crate) fn id(&self) -> Option<u64> {
        self.id?.get().trim_matches('"').parse().ok()
    }

    /// Whether there is an `id` of any kind.
    pub(crate) fn has_id(&self) -> bool {
        self.id.is_some()
    }

    /// Whether it carries `successful:true`.
    pub(crate) fn is_successful(&self) -> bool {
        self.successful.is_some_and(|value| value.get() == "true")
    }

    /// Whether there is a `successful` of any kind: only replies have one.
    pub(crate) fn has_outcome(&self) -> bool {
        self.successful.is_some()
    }

    /// The error text of a refusal.
    pub(crate) fn error(&self) -> Option<String> {
        self.error.and_then(string).map(Cow::into_owned)
    }

    /// The session id that a handshake reply gives.
    pub(crate) fn client_id(&self) -> Option<String> {
        self.client_id
            .and_then(string)
            .map(Cow::into_owned)
            .filter(|id| !id.is_empty())
    }

    /// The transports of a handshake reply; `None` when it names none at all.
    pub(crate) fn connection_types(&self) -> Option<Vec<Cow<'a, str>>> {
        #[derive(Deserialize)]
        #[serde(transparent)]
        struct Names<'a>(#[serde(borrow)] Vec<Text<'a>>);
        let names = serde_json::from_str::<Names<'_>>(self.connection_types?.get()).ok()?;
        Some(names.0.into_iter().map(|name| name.0).collect())
    }

    /// The number under `ext.ack`.
    pub(crate) fn ack(&self) -> Option<i64> {
        #[derive(Deserialize)]
        struct Ext {
            ack: i64,
        }
        serde_json::from_str::<Ext>(self.ext?.get())
            .ok()
            .map(|ext| ext.ack)
    }

    /// Whether a handshake reply grants acknowledgement: `ext.ack` is `true`, or an object in servers that deliver
    /// during the handshake.
    pub(crate) fn grants_ack(&self) -> bool {
        #[derive(Deserialize)]
        struct Ext {
            ack: serde_json::Value,
        }
        let Some(ext) = self.ext else { return false };
        match serde_json::from_str::<Ext>(ext.get()) {
            Ok(ext) => {
                ext.ack == true
                    || ext
                        .ack
                        .get("enabled")
                        .is_some_and(|enabled| enabled == true)
            }
            Err(_) => false,
        }
    }
}

#[derive(Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn string(value: &RawValue) -> Option<Cow<'_, str>> {
    serde_json::from_str::<Text<'_>>(value.get())
        .ok()
        .map(|text| text.0)
}

/// The messages of a frame.
///
/// # Errors
/// When the frame is not a JSON array of objects.
pub(crate) fn read_frame(text: &str) -> Result<Vec<Incoming<'_>>, LinkError> {
    serde_json::from_str(text).map_err(LinkError::Json)
}

/// A message on its way out; fields are added one by one.
#[derive(Debug)]
pub(crate) struct Outgoing(String);

impl Outgoing {
    pub(crate) fn new(channel: &str, id: u64) -> Self {
        let mut text = String::with_capacity(160);
        text.push_str(r#"{"channel":"#);
        push_string(&mut text, channel);
        // Writing to a `String` cannot fail.
        let _ = write!(text, r#","id":"{id}""#);
        Self(text)
    }

    /// Adds a field whose value is a string.
    pub(crate) fn string(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.0, r#","{name}":"#);
        push_string(&mut self.0, value);
        self
    }

    /// Adds a field whose value is JSON text.
    pub(crate) fn json(mut self, name: &str, value: &str) -> Self {
        let _ = write!(self.0, r#","{name}":{value}"#);
        self
    }

    pub(crate) fn finish(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

fn push_string(text: &mut String, value: &str) {
    text.push_str(&serde_json::Value::from(value).to_string());
}

/// A JSON array of messages on its way out: one WebSocket frame, or the body of one request.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    pub(crate) text: String,
    /// The ids of its messages.
    pub(crate) ids: Vec<u64>,
    /// Whether it is a handshake or connect, which stands alone and has a connection of its own over HTTP.
    pub(crate) turn: bool,
}

impl Frame {
    /// A single message.
    pub(crate) fn of(message: &str, id: u64, turn: bool) -> Self {
        Self {
            text: format!("[{message}]"),
            ids: vec![id],
            turn,
        }
    }
}

/// Joins messages, each with its id, into frames of at most `max` bytes each; a message that is larger stands alone.
pub(crate) fn write_frames(
    messages: impl IntoIterator<Item = (u64, String)>,
    max: usize,
) -> Vec<Frame> {
    let mut frames: Vec<Frame> = Vec::new();
    for (id, message) in messages {
        match frames.last_mut() {
            // The closing bracket that is taken away comes back at the end.
            Some(frame) if frame.text.len() + message.len() < max => {
                frame.text.pop();
                frame.text.push(',');
                frame.text.push_str(&message);
                frame.text.push(']');
                frame.ids.push(id);
            }
            _ => frames.push(Frame::of(&message, id, false)),
        }
    }
    frames
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_a_reply_and_an_event() {
        let frame = r#"[{"channel":"/meta/connect","id":"7","successful":true,"ext":{"ack":3}},
            {"data":null,"channel":"\/a","ext":1,"ext":{},"successful":"odd","x":[1]}]"#;
        let messages = read_frame(frame).unwrap();
        assert_eq!((messages[0].id(), messages[0].ack()), (Some(7), Some(3)));
        assert!(messages[0].is_successful());
        assert_eq!(messages[1].channel().unwrap(), "/a");
        assert_eq!(messages[1].data.unwrap().get(), "null");
        assert_eq!(messages[1].ext.unwrap().get(), "{}");
        assert!(!messages[1].is_successful());
    }

    #[test]
    fn refuses_what_is_no_array_of_messages() {
        for frame in ["", "{}", "[1]", "[[]]", "[{\"channel\":\"/a\"}", "[{}]x"] {
            assert!(read_frame(frame).is_err(), "{frame}");
        }
        assert!(read_frame("[{}]").unwrap()[0].channel().is_err());
    }

    #[test]
    fn knows_both_forms_of_a_granted_ack() {
        let granted = |frame| read_frame(frame).unwrap()[0].grants_ack();
        assert!(granted(r#"[{"ext":{"ack":true}}]"#));
        assert!(granted(r#"[{"ext":{"ack":{"enabled":true,"batch":1}}}]"#));
        assert!(!granted(r#"[{"ext":{"ack":"true"}}]"#));
        assert!(!granted(r#"[{}]"#));
    }

    #[test]
    fn escapes_strings_and_splits_frames() {
        let message = Outgoing::new("/a\"b", 1)
            .string("clientId", "x\n")
            .json("data", "[1]")
            .finish();
        assert_eq!(
            message,
            r#"{"channel":"/a\"b","id":"1","clientId":"x\n","data":[1]}"#
        );
        let messages =
            [(1, "{1}"), (2, "{2}"), (3, "{333333333333}")].map(|(id, text)| (id, text.to_owned()));
        for (max, first) in [(9, vec!["[{1},{2}]"]), (8, vec!["[{1}]", "[{2}]"])] {
            let frames = write_frames(messages.clone(), max);
            let texts: Vec<_> = frames.iter().map(|frame| frame.text.as_str()).collect();
            assert_eq!(texts, [first, vec!["[{333333333333}]"]].concat());
            let ids: Vec<_> = frames.iter().flat_map(|frame| &frame.ids).collect();
            assert_eq!(ids, [&1, &2, &3]);
        }
        assert!(write_frames([], 10).is_empty());
    }
}
