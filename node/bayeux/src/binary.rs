use crate::json::{self, Json};
use crate::message::member;
use crate::{ChannelName, Message, Publication, z85};
use std::sync::Arc;

/// What travels with the binary extension (reference 8.3): `ext.binary` marks the message, and `data` is
/// `{"data":"<Z85>","last":...,"meta":...}`.
///
/// Between clients the node relays it untouched, which is the same on the wire as decoding and encoding it. This is for code inside the
/// node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BinaryData {
    /// The bytes.
    pub bytes: Vec<u8>,
    /// Whether they are the last of what belongs together.
    pub last: bool,
    /// Raw JSON of what describes them.
    pub meta: Option<String>,
}

impl BinaryData {
    /// All the bytes there are, without a description.
    #[must_use]
    pub fn whole(bytes: impl Into<Vec<u8>>) -> Self {
        Self {
            bytes: bytes.into(),
            last: true,
            meta: None,
        }
    }

    /// Reads the raw JSON of `data`.
    fn read(ext: Option<&str>, data: Option<&str>) -> Option<Self> {
        member(ext?, "binary").filter(|raw| *raw != "null")?;
        let data = data.filter(|raw| raw.starts_with('{'))?;
        let text = json::decode_string(member(data, "data")?)?;
        Some(Self {
            bytes: z85::decode(&text).ok()?,
            last: member(data, "last") == Some("true"),
            meta: member(data, "meta").map(str::to_owned),
        })
    }

    /// The raw JSON of `data`; `None` when `meta` is no JSON.
    pub(crate) fn write(&self, out: &mut Vec<u8>) -> Option<()> {
        out.extend_from_slice(b"{\"data\":");
        json::write_string(out, &z85::encode(&self.bytes));
        out.extend_from_slice(if self.last {
            b",\"last\":true".as_slice()
        } else {
            b",\"last\":false"
        });
        if let Some(meta) = &self.meta {
            out.extend_from_slice(b",\"meta\":");
            out.extend_from_slice(
                Json::validate(meta, crate::DEPTH_MAX)
                    .ok()?
                    .as_str()
                    .as_bytes(),
            );
        }
        out.push(b'}');
        Some(())
    }
}

impl Message<'_> {
    /// The bytes that a client with the binary extension sent; `None` when the message has none, or what it has is not Z85.
    #[must_use]
    pub fn binary(&self) -> Option<BinaryData> {
        BinaryData::read(self.ext(), self.data())
    }
}

impl Publication {
    /// An event with bytes, for clients with the binary extension; `None` when `meta` is not JSON.
    #[must_use]
    pub fn new_binary(channel: &ChannelName, binary: &BinaryData) -> Option<Arc<Self>> {
        let mut data = Vec::new();
        binary.write(&mut data)?;
        let data = String::from_utf8(data).ok()?;
        let mut name = Vec::new();
        json::write_string(&mut name, channel.as_str());
        let name = String::from_utf8(name).ok()?;
        let members = [
            "\"channel\":",
            &name,
            ",\"data\":",
            &data,
            ",\"ext\":{\"binary\":{}}",
        ];
        Some(Self::from_parts(
            channel.clone(),
            std::iter::once(members.concat().as_str()),
        ))
    }

    /// The bytes of an event with bytes; `None` when it has none, or what it has is not Z85. Scans the object.
    #[must_use]
    pub fn binary(&self) -> Option<BinaryData> {
        let text = std::str::from_utf8(self.object_bytes()).ok()?;
        let messages = json::scan_frame(text, usize::MAX, 1).ok()?;
        let ext = messages[0].ext.filter(|ext| ext.starts_with('{'));
        BinaryData::read(ext, messages[0].data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_with_bytes() {
        let channel = ChannelName::parse("/a").unwrap();
        let binary = BinaryData {
            bytes: vec![1, 2, 3],
            last: false,
            meta: Some(" {\"name\":\"x\"}".to_owned()),
        };
        let event = Publication::new_binary(&channel, &binary).unwrap();
        assert_eq!(
            std::str::from_utf8(&event.object()).unwrap(),
            r#"{"channel":"/a","data":{"data":"0rJu","last":false,"meta":{"name":"x"}},"ext":{"binary":{}}}"#
        );
        let read = event.binary().unwrap();
        assert_eq!((read.bytes, read.last), (vec![1, 2, 3], false));
        assert_eq!(read.meta.as_deref(), Some("{\"name\":\"x\"}"));
        let bad = BinaryData {
            meta: Some("}".to_owned()),
            ..BinaryData::whole([1])
        };
        assert!(Publication::new_binary(&channel, &bad).is_none());
    }

    #[test]
    fn only_marked_events_have_bytes() {
        let channel = ChannelName::parse("/a").unwrap();
        for (object, bytes) in [
            (
                r#"{"channel":"/a","data":{"data":"0r","last":true},"ext":{"binary":{}}}"#,
                true,
            ),
            (
                r#"{"channel":"/a","data":{"data":"0r","last":true}}"#,
                false,
            ),
            (
                r#"{"channel":"/a","data":{"data":"\"","last":true},"ext":{"binary":{}}}"#,
                false,
            ),
            (r#"{"channel":"/a","data":"0r","ext":{"binary":{}}}"#, false),
            (r#"{"channel":"/a","data":{},"ext":{"binary":{}}}"#, false),
            (r#"{"channel":"/a","data":{"data":"0r"},"ext":[]}"#, false),
        ] {
            let event = Publication::from_object(channel.clone(), object.as_bytes()).unwrap();
            assert_eq!(event.binary().is_some(), bytes, "{object}");
        }
    }
}
