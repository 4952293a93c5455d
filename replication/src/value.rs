//! A value and its JSON, as the state of a part: a change replaces the whole.

use std::sync::Arc;

use bytes::Bytes;
use halley_cluster::parts::{Malformed, PartState};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use crate::oort_form::{OortChange, raw};
use crate::shared::{Batch, ObjectState};
use crate::{ObjectListener, SetError};

/// What the value of an object must be able to do: be written as JSON and read back equal, by every node.
pub trait ObjectValue: Serialize + DeserializeOwned + PartialEq + Send + Sync + 'static {}

impl<T: Serialize + DeserializeOwned + PartialEq + Send + Sync + 'static> ObjectValue for T {}

/// The JSON of something that siblings read as equal to it.
pub(crate) fn faithful_json<T: Serialize + DeserializeOwned + PartialEq>(
    value: &T,
) -> Result<Bytes, SetError> {
    let json = serde_json::to_vec(value).map_err(SetError::NotJson)?;
    match serde_json::from_slice::<T>(&json) {
        Ok(read) if read == *value => Ok(json.into()),
        _ => Err(SetError::NotFaithful),
    }
}

/// As [`faithful_json`], of what is held in a map or a list.
pub(crate) fn item_json<T: Serialize + DeserializeOwned + PartialEq>(
    value: &T,
) -> Result<Bytes, SetError> {
    let json = faithful_json(value)?;
    if json.as_ref() == b"null" {
        return Err(SetError::Null);
    }
    Ok(json)
}

/// The value before and after.
pub(crate) type ValueChange<T> = (Option<Arc<T>>, Option<Arc<T>>);

#[derive(Debug)]
pub(crate) struct Value<T> {
    pub(crate) value: Arc<T>,
    json: Bytes,
}

impl<T: ObjectValue> Value<T> {
    /// Writes the value, and makes sure that siblings will read the same.
    pub(crate) fn new(value: T) -> Result<Self, SetError> {
        Ok(Self {
            json: faithful_json(&value)?,
            value: Arc::new(value),
        })
    }

    fn read(json: &[u8]) -> Result<Self, Malformed> {
        let value = serde_json::from_slice(json).map_err(|_| Malformed("value"))?;
        Ok(Self {
            value: Arc::new(value),
            json: Bytes::copy_from_slice(json),
        })
    }
}

impl<T: ObjectValue> PartState for Value<T> {
    type Delta = Self;
    type Change = ValueChange<T>;

    fn encode(&self) -> Bytes {
        self.json.clone()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(bytes)
    }

    fn encode_delta(delta: &Self) -> Bytes {
        delta.json.clone()
    }

    fn decode_delta(bytes: &[u8]) -> Result<Self, Malformed> {
        Self::read(bytes)
    }

    fn encoded_len(&self) -> usize {
        self.json.len()
    }

    fn encoded_len_after(&self, delta: &Self) -> usize {
        delta.json.len()
    }

    fn apply(&mut self, delta: Self, changes: &mut Vec<Self::Change>) {
        Self::differences(Some(self), Some(&delta), changes);
        *self = delta;
    }

    fn differences(before: Option<&Self>, after: Option<&Self>, changes: &mut Vec<Self::Change>) {
        let value = |state: Option<&Self>| state.map(|state| state.value.clone());
        let (before, after) = (value(before), value(after));
        if before != after {
            changes.push((before, after));
        }
    }
}

impl<T: ObjectValue> ObjectState for Value<T> {
    type Key = ();
    type Seen = Arc<T>;
    type Listener = dyn ObjectListener<T>;

    fn change((before, after): ValueChange<T>) -> ((), Option<Arc<T>>, Option<Arc<T>>) {
        ((), before, after)
    }

    fn seen(&self, (): &()) -> Option<Arc<T>> {
        Some(self.value.clone())
    }

    fn tell(listener: &Self::Listener, batch: &Batch<Self>) {
        for ((), old, new) in &batch.changes {
            match (old, new) {
                (old, Some(new)) => listener.updated(&batch.member, old.as_ref(), new),
                (Some(old), None) => listener.removed(&batch.member, old),
                (None, None) => {}
            }
        }
    }

    fn oort_change(delta: Self) -> Option<OortChange> {
        let object = raw(delta.json)?;
        Some(OortChange { item: None, object })
    }

    fn oort_item(_: &str, _: &str, _: &RawValue) -> Option<Bytes> {
        None
    }
}
