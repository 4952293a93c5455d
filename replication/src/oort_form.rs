//! An object as nodes of the Oort dialect read and write it: for whoever translates its frames.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

pub(crate) const MAP_ENTRY: &str = "oort.map.entry";
pub(crate) const MAP_PUT: &str = "oort.map.put";
pub(crate) const MAP_PUT_ABSENT: &str = "oort.map.put.absent";
pub(crate) const MAP_REMOVE: &str = "oort.map.remove";
pub(crate) const LIST_ELEMENT: &str = "oort.list.element";
pub(crate) const LIST_ADD: &str = "oort.list.add";
pub(crate) const LIST_REMOVE: &str = "oort.list.remove";

/// The own part of an object, its changes, and the parts of others, as JSON and back.
///
/// A part is the same in both dialects: one owner, and versions that count its changes. So a whole value is a snapshot,
/// and an item update is a delta; nothing is renumbered. The bytes are what stands in
/// [`PartFrame`](halley_cluster::parts::PartFrame).
pub trait OortForm: Send + Sync {
    /// The version of the own part, and its whole value: `oort.info.object`. None when it has no JSON form.
    fn oort_own(&self) -> Option<(u64, Box<RawValue>)>;

    /// What a delta of the own part says. None when the bytes are not a delta.
    fn oort_change(&self, delta: &[u8]) -> Option<OortChange>;

    /// The bytes of the snapshot that a whole value is.
    fn oort_whole(&self, value: &RawValue) -> Option<Bytes>;

    /// The bytes of the delta that an item update is, by its `oort.info.type` and `oort.info.action`. None when this
    /// object has no such items.
    fn oort_item(&self, kind: &str, action: &str, value: &RawValue) -> Option<Bytes>;
}

/// A change, as `oort.info` tells it.
#[derive(Debug)]
pub struct OortChange {
    /// `oort.info.type` and `oort.info.action` of an item update; none for a whole value.
    pub item: Option<(&'static str, &'static str)>,
    /// `oort.info.object`.
    pub object: Box<RawValue>,
}

/// A map's item: the object of a put or a remove.
#[derive(Debug, Deserialize)]
pub(crate) struct MapItem<'a> {
    #[serde(rename = "oort.map.key", borrow)]
    pub(crate) key: &'a RawValue,
    #[serde(rename = "oort.map.value", borrow, default)]
    pub(crate) value: Option<&'a RawValue>,
}

pub(crate) fn raw(json: impl Into<Vec<u8>>) -> Option<Box<RawValue>> {
    RawValue::from_string(String::from_utf8(json.into()).ok()?).ok()
}
