use crate::ChannelName;
use crate::json::{self, Json, RawMessage, ScanError};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use thiserror::Error;

/// Deepest nesting accepted in an object from a sibling: its own node has checked the publisher's limit, this one only bounds work.
const SIBLING_DEPTH_MAX: usize = 1024;

/// An event, encoded once for all its receivers: the bytes `[{"channel":...,"data":...}]`.
///
/// A frame that carries this event alone is these bytes as they are; a batch copies the object out of the brackets.
pub struct Publication {
    channel: ChannelName,
    array: Bytes,
    lazy: bool,
}

/// Not an event object.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidPublication {
    /// The bytes are not UTF-8.
    #[error("not UTF-8")]
    Encoding,
    /// The bytes are not one JSON object.
    #[error(transparent)]
    Json(#[from] ScanError),
    /// The object's `channel` is absent, not a channel name, or another channel.
    #[error("the object names no channel or another one")]
    Channel,
}

impl Publication {
    /// An event with `channel` and `data` and nothing else.
    #[must_use]
    pub fn new(channel: &ChannelName, data: Json<'_>) -> Arc<Self> {
        let data = data.as_str();
        let mut out = Vec::with_capacity(channel.as_str().len() + data.len() + 26);
        out.extend_from_slice(b"[{\"channel\":");
        json::write_string(&mut out, channel.as_str());
        out.extend_from_slice(b",\"data\":");
        out.extend_from_slice(data.as_bytes());
        out.extend_from_slice(b"}]");
        Arc::new(Self {
            channel: channel.clone(),
            array: out.into(),
            lazy: false,
        })
    }

    /// The same event, marked as lazy: it may wait for something that is not (reference 1.10). The mark is for this node only.
    #[must_use]
    pub fn into_lazy(self: Arc<Self>) -> Arc<Self> {
        Arc::new(Self {
            channel: self.channel.clone(),
            array: self.array.clone(),
            lazy: true,
        })
    }

    /// Whether it is marked as lazy. Its channel may be lazy without that.
    #[must_use]
    pub fn is_lazy(&self) -> bool {
        self.lazy
    }

    /// An event from an object that another node encoded (see [`Publication::object`]). Copies it once.
    ///
    /// # Errors
    /// When `object` is not a JSON object whose `channel` is `channel`.
    pub fn from_object(
        channel: ChannelName,
        object: &[u8],
    ) -> Result<Arc<Self>, InvalidPublication> {
        let text = std::str::from_utf8(object).map_err(|_| InvalidPublication::Encoding)?;
        if text.trim_start().starts_with('[') {
            return Err(ScanError::NotAnObject.into());
        }
        let messages = json::scan_frame(text, SIBLING_DEPTH_MAX, 1)?;
        let message = &messages[0];
        let named = message
            .channel
            .and_then(json::decode_string)
            .and_then(|name| ChannelName::parse(&name).ok());
        if named.as_ref() != Some(&channel) {
            return Err(InvalidPublication::Channel);
        }
        Ok(Self::from_parts(
            channel,
            std::iter::once(&message.object[1..message.object.len() - 1]),
        ))
    }

    /// The event that a client's publish becomes: its whole object without `clientId` and `id` (reference 5.1).
    pub(crate) fn relay(channel: ChannelName, message: &RawMessage<'_>) -> Arc<Self> {
        Self::from_parts(channel, message.relayed())
    }

    /// The event with this `timestamp`; with the one it has, if it has one that is to be kept. Encodes it anew.
    pub(crate) fn stamped(self: &Arc<Self>, timestamp: &str, keep: bool) -> Arc<Self> {
        const FIELD: &str = "timestamp";
        if keep
            && std::str::from_utf8(self.object_bytes())
                .is_ok_and(|text| json::members(text).iter().any(|(name, _)| name == FIELD))
        {
            return self.clone();
        }
        let mut quoted = Vec::with_capacity(timestamp.len() + 2);
        json::write_string(&mut quoted, timestamp);
        match std::str::from_utf8(&quoted) {
            Ok(quoted) => self.with_member(FIELD, quoted),
            Err(_) => self.clone(),
        }
    }

    /// The event with other data. Encodes it anew.
    pub(crate) fn with_data(self: &Arc<Self>, data: &str) -> Arc<Self> {
        self.with_member("data", data)
    }

    /// The event with one member set, at the end, to this raw JSON.
    fn with_member(self: &Arc<Self>, field: &str, value: &str) -> Arc<Self> {
        let Ok(text) = std::str::from_utf8(self.object_bytes()) else {
            return self.clone();
        };
        let mut out = Vec::with_capacity(self.array.len() + field.len() + value.len() + 4);
        out.extend_from_slice(b"[{");
        for (name, value) in json::members(text).iter().filter(|(name, _)| name != field) {
            json::write_string(&mut out, name);
            out.push(b':');
            out.extend_from_slice(value.as_bytes());
            out.push(b',');
        }
        json::write_string(&mut out, field);
        out.push(b':');
        out.extend_from_slice(value.as_bytes());
        out.extend_from_slice(b"}]");
        Arc::new(Self {
            channel: self.channel.clone(),
            array: out.into(),
            lazy: self.lazy,
        })
    }

    /// Joins member runs to an object.
    pub(crate) fn from_parts<'a>(
        channel: ChannelName,
        parts: impl Iterator<Item = &'a str> + Clone,
    ) -> Arc<Self> {
        // Exactly as long as needed: it may wait in many queues, whose bounds count its length. A part and its comma, and the brackets.
        let length: usize = parts.clone().map(|part| part.len() + 1).sum();
        let mut out = Vec::with_capacity(length + 3);
        out.extend_from_slice(b"[{");
        let mut first = true;
        for part in parts {
            if !std::mem::take(&mut first) {
                out.push(b',');
            }
            out.extend_from_slice(part.as_bytes());
        }
        out.extend_from_slice(b"}]");
        Arc::new(Self {
            channel,
            array: out.into(),
            lazy: false,
        })
    }

    /// The message that tells a client that the node ended its session (reference 5.8).
    pub(crate) fn server_disconnect() -> Arc<Self> {
        Arc::new(Self {
            channel: ChannelName::parse("/meta/disconnect").expect("a constant, valid name"),
            array: Bytes::from_static(b"[{\"channel\":\"/meta/disconnect\",\"successful\":true}]"),
            lazy: false,
        })
    }

    /// The channel, normalised. The object may spell it with a trailing slash.
    #[must_use]
    pub fn channel(&self) -> &ChannelName {
        &self.channel
    }

    /// The object's bytes, `{...}`. Shares the allocation.
    #[must_use]
    pub fn object(&self) -> Bytes {
        self.array.slice(1..self.array.len() - 1)
    }

    /// The object's bytes as a slice.
    pub(crate) fn object_bytes(&self) -> &[u8] {
        &self.array[1..self.array.len() - 1]
    }

    /// The whole frame, `[{...}]`. Shares the allocation.
    #[must_use]
    pub fn array(&self) -> Bytes {
        self.array.clone()
    }

    /// Bytes of the object.
    #[must_use]
    pub fn len(&self) -> usize {
        self.array.len() - 2
    }

    /// Never: an object has at least its braces. Present because there is a `len`.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        false
    }

    /// The raw JSON of the event's `data`, if it has any. Scans the object.
    #[must_use]
    pub fn data(&self) -> Option<&str> {
        let text = std::str::from_utf8(self.object_bytes()).ok()?;
        let messages = json::scan_frame(text, usize::MAX, 1).ok()?;
        messages[0].data
    }
}

impl fmt::Debug for Publication {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publication")
            .field("channel", &self.channel)
            .field("len", &self.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap()
    }

    #[test]
    fn holds_no_more_memory_than_it_is_long() {
        let long = format!("\"data\":\"{}\"", "x".repeat(1000));
        for parts in [
            vec!["\"data\":1"],
            vec!["\"channel\":\"/a\"", &long, "\"ext\":{}"],
        ] {
            let channel = ChannelName::parse("/a").unwrap();
            let publication = Publication::from_parts(channel, parts.into_iter());
            let bytes = Arc::into_inner(publication).unwrap().array;
            let bytes = bytes.try_into_mut().unwrap();
            assert_eq!(bytes.capacity(), bytes.len());
        }
    }

    #[test]
    fn new_holds_channel_and_data() {
        let data = Json::validate(" {\"a\":1.50} ", 8).unwrap();
        let event = Publication::new(&name("/chat"), data);
        assert_eq!(
            &event.array()[..],
            br#"[{"channel":"/chat","data":{"a":1.50}}]"#
        );
        assert_eq!(
            &event.object()[..],
            br#"{"channel":"/chat","data":{"a":1.50}}"#
        );
        assert_eq!(event.data(), Some("{\"a\":1.50}"));
        assert_eq!(event.len(), event.object().len());
    }

    #[test]
    fn from_object_checks_what_it_takes() {
        let object = br#"{"channel":"\/chat/","data":1}"#;
        let event = Publication::from_object(name("/chat"), object).unwrap();
        assert_eq!(&event.object()[..], object);
        let refused = |object: &[u8]| Publication::from_object(name("/chat"), object).unwrap_err();
        assert_eq!(refused(b"\xff"), InvalidPublication::Encoding);
        assert_eq!(
            refused(br#"{"channel":"/other"}"#),
            InvalidPublication::Channel
        );
        assert_eq!(refused(br#"{"data":1}"#), InvalidPublication::Channel);
        assert_eq!(
            refused(br#"[{"channel":"/chat"}]"#),
            InvalidPublication::Json(ScanError::NotAnObject)
        );
        assert!(matches!(
            refused(b"{"),
            InvalidPublication::Json(ScanError::Syntax { .. })
        ));
    }

    #[test]
    fn relay_drops_client_id_and_id_wherever_they_stand() {
        for (text, relayed) in [
            (
                r#"{"id":"1","channel":"/a","clientId":"x"}"#,
                r#"{"channel":"/a"}"#,
            ),
            (
                r#"{"channel":"/a","id":1,"data":{"id":2},"clientId":"x","ext":{}}"#,
                r#"{"channel":"/a","data":{"id":2},"ext":{}}"#,
            ),
            (
                r#"{"clientId":"x","id":"1","channel":"/a" , "un known":[1]}"#,
                r#"{"channel":"/a" , "un known":[1]}"#,
            ),
            (r#"{"channel":"/a","\u0069d":"1"}"#, r#"{"channel":"/a"}"#),
        ] {
            let messages = json::scan_frame(text, 8, 1).unwrap();
            let event = Publication::relay(name("/a"), &messages[0]);
            assert_eq!(std::str::from_utf8(&event.object()).unwrap(), relayed);
        }
    }
}
