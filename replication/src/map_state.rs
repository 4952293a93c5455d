//! The state of a map's part: entries and their JSON. A change is one entry.
//!
//! ```text
//! state  {"key":value,…}
//! delta  0, state              the whole
//!        1, key length u32, key, value      put
//!        2, the same                        put if absent
//!        3, key                             remove
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use halley_cluster::parts::{Malformed, PartState};
use serde::de::{Error as _, MapAccess, Visitor};
use serde::ser::SerializeMap;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::map::MapKey;
use crate::oort_form::{MAP_ENTRY, MAP_PUT, MAP_PUT_ABSENT, MAP_REMOVE, MapItem, OortChange, raw};
use crate::shared::{Batch, Change, ObjectState};
use crate::value::{faithful_json, item_json};
use crate::{MapListener, ObjectValue, SetError};

const WHOLE: u8 = 0;
const PUT: u8 = 1;
const PUT_ABSENT: u8 = 2;
const REMOVE: u8 = 3;

/// A value, and `"key":value` as it stands in the JSON of the map.
#[derive(Debug)]
pub(crate) struct Entry<V> {
    pub(crate) value: Arc<V>,
    json: Bytes,
}

impl<V> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            json: self.json.clone(),
        }
    }
}

pub(crate) type Entries<K, V> = BTreeMap<K, Entry<V>>;

#[derive(Debug)]
pub(crate) struct MapState<K, V> {
    /// Shared with who reads: a change copies the map when somebody still has it, so at most once per read of the whole.
    pub(crate) entries: Arc<Entries<K, V>>,
    /// The JSON of the entries, without what stands between them.
    bytes: usize,
}

/// An entry as it travels.
#[derive(Debug)]
pub(crate) struct Item<K, V> {
    key: K,
    key_json: Bytes,
    value_json: Bytes,
    entry: Entry<V>,
}

#[derive(Debug)]
pub(crate) enum MapDelta<K, V> {
    Whole(MapState<K, V>),
    Put(Item<K, V>),
    /// Of this node's own puts only those that change something travel; a node in Java also tells the others.
    PutAbsent(Item<K, V>),
    Remove(K, Bytes),
}

/// Of an entry; without a key, of the part itself.
pub(crate) type MapChange<K, V> = Change<Option<K>, Option<Arc<V>>>;

impl<K: MapKey, V: ObjectValue> Item<K, V> {
    /// Writes the entry, and makes sure that siblings will read the same, alone and within the map.
    pub(crate) fn new(key: K, value: V) -> Result<Self, SetError> {
        let (key_json, value_json) = (item_json(&key)?, item_json(&value)?);
        let json = member_json(&key, &value_json).map_err(SetError::NotJson)?;
        let read = serde_json::from_slice::<Keys<K>>(&json).map_err(SetError::NotJson)?;
        if read.0.as_slice() != std::slice::from_ref(&key) {
            return Err(SetError::NotFaithful);
        }
        Ok(Self {
            key,
            key_json,
            value_json,
            entry: Entry {
                value: Arc::new(value),
                json: json.slice(1..json.len() - 1),
            },
        })
    }

    fn read(key_json: Bytes, value_json: Bytes) -> Result<Self, Malformed> {
        let key: K = serde_json::from_slice(&key_json).map_err(|_| Malformed("key"))?;
        let value = Arc::new(value(&value_json).map_err(|_| Malformed("value"))?);
        let json = member_json(&key, &value_json).map_err(|_| Malformed("key"))?;
        let json = json.slice(1..json.len() - 1);
        Ok(Self {
            key,
            key_json,
            value_json,
            entry: Entry { value, json },
        })
    }

    pub(crate) fn key(&self) -> &K {
        &self.key
    }

    pub(crate) fn value(&self) -> &V {
        &self.entry.value
    }
}

/// The JSON of a key, for a removal.
pub(crate) fn key_json<K: MapKey>(key: &K) -> Result<Bytes, SetError> {
    faithful_json(key)
}

fn value<V: ObjectValue>(json: &[u8]) -> Result<V, serde_json::Error> {
    if json.trim_ascii() == b"null" {
        return Err(serde_json::Error::custom("null"));
    }
    serde_json::from_slice(json)
}

/// `{"key":value}`. Numbers are written as texts there.
fn member_json<K: Serialize>(key: &K, value: &[u8]) -> Result<Bytes, serde_json::Error> {
    struct One<'a, K>(&'a K, &'a RawValue);
    impl<K: Serialize> Serialize for One<'_, K> {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            let mut map = serializer.serialize_map(Some(1))?;
            map.serialize_entry(self.0, self.1)?;
            map.end()
        }
    }
    let value: &RawValue = serde_json::from_slice(value)?;
    Ok(serde_json::to_vec(&One(key, value))?.into())
}

/// The members of a JSON object, each with its value as text.
struct Members<'de, K>(Vec<(K, &'de RawValue)>);

/// The keys of a JSON object.
struct Keys<K>(Vec<K>);

impl<'de, K: MapKey> Deserialize<'de> for Keys<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let members = Members::deserialize(deserializer)?;
        Ok(Self(members.0.into_iter().map(|(key, _)| key).collect()))
    }
}

impl<'de, K: MapKey> Deserialize<'de> for Members<'de, K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit<K>(PhantomData<K>);
        impl<'de, K: MapKey> Visitor<'de> for Visit<K> {
            type Value = Members<'de, K>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Visit(PhantomData))
    }
}

impl<K, V> Default for MapState<K, V> {
    fn default() -> Self {
        Self {
            entries: Arc::default(),
            bytes: 0,
        }
    }
}

impl<K: MapKey, V: ObjectValue> MapState<K, V> {
    /// Writes the whole map.
    pub(crate) fn new(entries: impl IntoIterator<Item = (K, V)>) -> Result<Self, SetError> {
        let mut state = Self::default();
        for (key, value) in entries {
            let item = Item::new(key, value)?;
            state.insert(item.key, item.entry);
        }
        Ok(state)
    }

    fn insert(&mut self, key: K, entry: Entry<V>) -> Option<Arc<V>> {
        self.bytes += entry.json.len();
        let old = Arc::make_mut(&mut self.entries).insert(key, entry)?;
        self.bytes -= old.json.len();
        Some(old.value)
    }

    fn remove(&mut self, key: &K) -> Option<Arc<V>> {
        if !self.entries.contains_key(key) {
            return None;
        }
        let old = Arc::make_mut(&mut self.entries).remove(key)?;
        self.bytes -= old.json.len();
        Some(old.value)
    }

    fn len_of(entries: usize, bytes: usize) -> usize {
        2 + bytes + entries.saturating_sub(1)
    }

    /// Entries and their bytes after a change.
    fn after(&self, delta: &MapDelta<K, V>) -> (usize, usize) {
        let (entries, bytes) = (self.entries.len(), self.bytes);
        match delta {
            MapDelta::Whole(state) => (state.entries.len(), state.bytes),
            MapDelta::Put(item) | MapDelta::PutAbsent(item) => match self.entries.get(&item.key) {
                Some(_) if matches!(delta, MapDelta::PutAbsent(_)) => (entries, bytes),
                Some(old) => (entries, bytes - old.json.len() + item.entry.json.len()),
                None => (entries + 1, bytes + item.entry.json.len()),
            },
            MapDelta::Remove(key, _) => match self.entries.get(key) {
                Some(old) => (entries - 1, bytes - old.json.len()),
                None => (entries, bytes),
            },
        }
    }
}

impl<K: MapKey, V: ObjectValue> PartState for MapState<K, V> {
    type Delta = MapDelta<K, V>;
    type Change = MapChange<K, V>;

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        out.put_u8(b'{');
        for (index, entry) in self.entries.values().enumerate() {
            if index > 0 {
                out.put_u8(b',');
            }
            out.put_slice(&entry.json);
        }
        out.put_u8(b'}');
        out.freeze()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let members: Members<'_, K> =
            serde_json::from_slice(bytes).map_err(|_| Malformed("map"))?;
        let mut state = Self::default();
        for (key, json) in members.0 {
            let value = Arc::new(value(json.get().as_bytes()).map_err(|_| Malformed("value"))?);
            let json = member_json(&key, json.get().as_bytes()).map_err(|_| Malformed("key"))?;
            let json = json.slice(1..json.len() - 1);
            state.insert(key, Entry { value, json });
        }
        Ok(state)
    }

    fn encode_delta(delta: &MapDelta<K, V>) -> Bytes {
        let mut out = BytesMut::new();
        let (tag, item) = match delta {
            MapDelta::Whole(state) => {
                out.put_u8(WHOLE);
                out.put_slice(&state.encode());
                return out.freeze();
            }
            MapDelta::Remove(_, key) => {
                out.put_u8(REMOVE);
                out.put_slice(key);
                return out.freeze();
            }
            MapDelta::Put(item) => (PUT, item),
            MapDelta::PutAbsent(item) => (PUT_ABSENT, item),
        };
        item_delta(tag, &item.key_json, &item.value_json)
    }

    fn decode_delta(bytes: &[u8]) -> Result<MapDelta<K, V>, Malformed> {
        let mut bytes = Bytes::copy_from_slice(bytes);
        let tag = bytes.try_get_u8().map_err(|_| Malformed("map delta"))?;
        match tag {
            WHOLE => Ok(MapDelta::Whole(Self::decode(&bytes)?)),
            PUT | PUT_ABSENT => {
                let length = bytes.try_get_u32_le().map_err(|_| Malformed("map delta"))?;
                let length = usize::try_from(length).unwrap_or(usize::MAX);
                if length > bytes.len() {
                    return Err(Malformed("map delta"));
                }
                let key = bytes.split_to(length);
                let item = Item::read(key, bytes)?;
                Ok(match tag {
                    PUT => MapDelta::Put(item),
                    _ => MapDelta::PutAbsent(item),
                })
            }
            REMOVE => {
                let key = serde_json::from_slice(&bytes).map_err(|_| Malformed("key"))?;
                Ok(MapDelta::Remove(key, bytes))
            }
            _ => Err(Malformed("map delta")),
        }
    }

    fn encoded_len(&self) -> usize {
        Self::len_of(self.entries.len(), self.bytes)
    }

    fn encoded_len_after(&self, delta: &MapDelta<K, V>) -> usize {
        let (entries, bytes) = self.after(delta);
        Self::len_of(entries, bytes)
    }

    fn entries(&self) -> usize {
        self.entries.len()
    }

    fn entries_after(&self, delta: &MapDelta<K, V>) -> usize {
        self.after(delta).0
    }

    fn apply(&mut self, delta: MapDelta<K, V>, changes: &mut Vec<Self::Change>) {
        let (key, old, new) = match delta {
            MapDelta::Whole(state) => {
                Self::differences(Some(self), Some(&state), changes);
                *self = state;
                return;
            }
            MapDelta::PutAbsent(item) if self.entries.contains_key(&item.key) => return,
            MapDelta::Put(item) | MapDelta::PutAbsent(item) => {
                let new = item.entry.value.clone();
                let old = self.insert(item.key.clone(), item.entry);
                (item.key, old, Some(new))
            }
            MapDelta::Remove(key, _) => {
                let old = self.remove(&key);
                (key, old, None)
            }
        };
        if old != new {
            changes.push((Some(key), old.map(Some), new.map(Some)));
        }
    }

    fn differences(before: Option<&Self>, after: Option<&Self>, changes: &mut Vec<Self::Change>) {
        let empty = Entries::new();
        let entries = |state: Option<&'_ Self>| state.map(|state| state.entries.clone());
        let (old, new) = (entries(before), entries(after));
        let old = old.as_deref().unwrap_or(&empty);
        let new = new.as_deref().unwrap_or(&empty);
        if before.is_none() && after.is_some() {
            changes.push((None, None, Some(None)));
        }
        for (key, entry) in old {
            if !new.contains_key(key) {
                changes.push((Some(key.clone()), Some(Some(entry.value.clone())), None));
            }
        }
        for (key, entry) in new {
            let before = old.get(key).map(|entry| entry.value.clone());
            if before.as_ref() != Some(&entry.value) {
                let after = Some(Some(entry.value.clone()));
                changes.push((Some(key.clone()), before.map(Some), after));
            }
        }
        if before.is_some() && after.is_none() {
            changes.push((None, Some(None), None));
        }
    }
}

fn item_delta(tag: u8, key: &[u8], value: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + 4 + key.len() + value.len());
    out.put_u8(tag);
    // A part is never as long.
    out.put_u32_le(u32::try_from(key.len()).unwrap_or(u32::MAX));
    out.put_slice(key);
    out.put_slice(value);
    out.freeze()
}

impl<K: MapKey, V: ObjectValue> ObjectState for MapState<K, V> {
    type Key = Option<K>;
    type Seen = Option<Arc<V>>;
    type Listener = dyn MapListener<K, V>;

    fn change(change: Self::Change) -> MapChange<K, V> {
        change
    }

    fn seen(&self, key: &Option<K>) -> Option<Option<Arc<V>>> {
        match key {
            None => Some(None),
            Some(key) => Some(Some(self.entries.get(key)?.value.clone())),
        }
    }

    fn tell(listener: &Self::Listener, batch: &Batch<Self>) {
        let member = &batch.member;
        for (key, old, new) in &batch.changes {
            let Some(key) = key else { continue };
            match (
                old.as_ref().and_then(Option::as_ref),
                new.as_ref().and_then(Option::as_ref),
            ) {
                (Some(old), Some(new)) if old == new => {}
                (old, Some(new)) => listener.put(member, key, old, new),
                (Some(old), None) => listener.removed(member, key, old),
                (None, None) => {}
            }
        }
        if batch.known {
            listener.part_changed(member);
        } else if batch.changes.iter().any(|(key, ..)| key.is_none()) {
            listener.part_removed(member);
        }
    }

    fn oort_change(delta: MapDelta<K, V>) -> Option<OortChange> {
        let (action, key, value) = match &delta {
            MapDelta::Whole(state) => {
                let object = raw(state.encode())?;
                return Some(OortChange { item: None, object });
            }
            MapDelta::Put(item) => (MAP_PUT, &item.key_json, Some(&item.value_json)),
            MapDelta::PutAbsent(item) => (MAP_PUT_ABSENT, &item.key_json, Some(&item.value_json)),
            MapDelta::Remove(_, key) => (MAP_REMOVE, key, None),
        };
        let mut object = br#"{"oort.map.key":"#.to_vec();
        object.extend_from_slice(key);
        if let Some(value) = value {
            object.extend_from_slice(br#","oort.map.value":"#);
            object.extend_from_slice(value);
        }
        object.push(b'}');
        let object = raw(object)?;
        let item = Some((MAP_ENTRY, action));
        Some(OortChange { item, object })
    }

    fn oort_item(kind: &str, action: &str, value: &RawValue) -> Option<Bytes> {
        let item: MapItem<'_> = serde_json::from_str(value.get()).ok()?;
        let key = item.key.get().as_bytes();
        let put = |tag| Some(item_delta(tag, key, item.value?.get().as_bytes()));
        match (kind, action) {
            (MAP_ENTRY, MAP_PUT) => put(PUT),
            (MAP_ENTRY, MAP_PUT_ABSENT) => put(PUT_ABSENT),
            (MAP_ENTRY, MAP_REMOVE) => {
                let mut out = BytesMut::with_capacity(1 + key.len());
                out.put_u8(REMOVE);
                out.put_slice(key);
                Some(out.freeze())
            }
            _ => None,
        }
    }
}
