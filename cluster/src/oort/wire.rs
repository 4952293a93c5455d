//! The messages of the Oort dialect: `ext` of handshakes, and the `data` of the internal channels.
//!
//! Reading is lenient: a message that lacks what it needs is no message, whatever else stands in it.

use halley_bayeux::{ChannelName, Json, Publication};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::sync::Arc;

/// The member of a handshake's `ext`.
pub(super) const EXT: &str = "org.cometd.oort";
/// Where a node tells which others it has links to.
pub(super) const CLOUD: &str = "/oort/cloud";
/// Where a node confirms that it has taken the handshake's reply.
pub(super) const JOIN: &str = "/service/oort";
/// Where presence is told to every node.
pub(super) const SETI_ALL: &str = "/seti/all";

/// What the dialler says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct HandshakeExt {
    #[serde(rename = "oortURL")]
    pub(super) oort_url: String,
    pub(super) oort_id: String,
    pub(super) oort_secret: String,
    /// The URL that was dialled.
    #[serde(rename = "cometURL")]
    pub(super) comet_url: String,
    /// Only when another node's handshake caused this one: the URL that it dialled.
    #[serde(
        rename = "oortAliasURL",
        skip_serializing_if = "Option::is_none",
        default
    )]
    pub(super) oort_alias_url: Option<String>,
    /// Only of Halley nodes: their name. They have links of their own dialect.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) halley: Option<String>,
}

/// What the acceptor says of itself.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ReplyExt {
    #[serde(rename = "oortURL")]
    pub(super) oort_url: String,
    pub(super) oort_id: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) halley: Option<String>,
}

/// The `data` of a join message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Join {
    pub(super) oort_id: String,
    #[serde(rename = "oortURL")]
    pub(super) oort_url: String,
}

/// The `data` of a presence message.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Presence {
    pub(super) user_ids: Vec<String>,
    #[serde(rename = "oortURL")]
    pub(super) oort_url: String,
    pub(super) presence: bool,
    #[serde(default)]
    pub(super) replace: bool,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub(super) alive: Option<bool>,
}

/// The `data` of a message to a user.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Directed<'a> {
    pub(super) user_id: String,
    pub(super) channel: String,
    #[serde(default)]
    pub(super) seti_id: String,
    #[serde(borrow)]
    pub(super) data: &'a RawValue,
}

/// The reply's `ext`, out of the whole `ext` of a handshake reply.
pub(super) fn reply_ext(ext: &str) -> Option<ReplyExt> {
    #[derive(Deserialize)]
    struct Whole {
        #[serde(rename = "org.cometd.oort")]
        oort: ReplyExt,
    }
    serde_json::from_str::<Whole>(ext)
        .ok()
        .map(|whole| whole.oort)
}

/// JSON text of something that can always be written.
pub(super) fn json(value: &impl Serialize) -> Box<RawValue> {
    serde_json::value::to_raw_value(value).unwrap_or_else(|_| RawValue::NULL.to_owned())
}

/// An event for the sessions of other nodes.
pub(super) fn publication(channel: &str, data: &RawValue) -> Option<Arc<Publication>> {
    let channel = ChannelName::parse(channel).ok()?;
    let data = Json::validate(data.get(), halley_bayeux::DEPTH_MAX).ok()?;
    Some(Publication::new(&channel, data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_have_the_fields_of_java() {
        let ext = HandshakeExt {
            oort_url: "http://a/c".into(),
            oort_id: "1".into(),
            oort_secret: "s".into(),
            comet_url: "http://b/c".into(),
            oort_alias_url: None,
            halley: None,
        };
        assert_eq!(
            json(&ext).get(),
            r#"{"oortURL":"http://a/c","oortId":"1","oortSecret":"s","cometURL":"http://b/c"}"#
        );
        let presence: Presence = serde_json::from_str(
            r#"{"userIds":["a"],"oortURL":"u","presence":true,"replace":true,"alive":true,"x":1}"#,
        )
        .unwrap();
        assert!(presence.replace && presence.alive == Some(true));
        let directed =
            r#"{"userId":"bob","channel":"/service/dm","setiId":"x","data":{"text":1.50}}"#;
        let directed: Directed<'_> = serde_json::from_str(directed).unwrap();
        assert_eq!(directed.data.get(), r#"{"text":1.50}"#);
        let reply = r#"{"ack":true,"org.cometd.oort":{"oortURL":"u","oortId":"i"}}"#;
        assert_eq!(reply_ext(reply).unwrap().oort_id, "i");
        assert!(reply_ext(r#"{"ack":true}"#).is_none());
    }
}
