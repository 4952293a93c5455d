//! The state of a list's part: elements and their JSON. A change is what is added or removed.
//!
//! ```text
//! state  [element,…]
//! delta  0, state      the whole
//!        1, [element,…]    added at the end
//!        2, [element,…]    removed, wherever they stand
//! ```

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::{BufMut, Bytes, BytesMut};
use halley_cluster::parts::{Malformed, PartState};
use serde_json::value::RawValue;

use crate::list::ListElement;
use crate::oort_form::{LIST_ADD, LIST_ELEMENT, LIST_REMOVE, OortChange, raw};
use crate::shared::{Batch, Change, ObjectState};
use crate::value::item_json;
use crate::{ListListener, SetError};

const WHOLE: u8 = 0;
const ADD: u8 = 1;
const REMOVE: u8 = 2;

#[derive(Debug)]
pub(crate) struct Element<E> {
    pub(crate) value: Arc<E>,
    json: Bytes,
}

impl<E> Clone for Element<E> {
    fn clone(&self) -> Self {
        Self {
            value: self.value.clone(),
            json: self.json.clone(),
        }
    }
}

#[derive(Debug)]
pub(crate) struct ListState<E> {
    /// Shared with who reads, as the entries of a map.
    pub(crate) elements: Arc<Vec<Element<E>>>,
    /// How often each element stands in the list.
    counts: HashMap<Arc<E>, usize>,
    /// The JSON of the elements, without what stands between them.
    bytes: usize,
}

#[derive(Debug)]
pub(crate) enum ListDelta<E> {
    Whole(ListState<E>),
    Add(Vec<Element<E>>),
    Remove(Vec<Element<E>>),
}

/// Of an element, how often it stands there; without one, of the part itself.
pub(crate) type ListChange<E> = Change<Option<Arc<E>>, usize>;

/// Writes elements, and makes sure that siblings will read the same.
pub(crate) fn elements<E: ListElement>(
    values: impl IntoIterator<Item = E>,
) -> Result<Vec<Element<E>>, SetError> {
    let write = |value| {
        let json = item_json(&value)?;
        let value = Arc::new(value);
        Ok(Element { value, json })
    };
    values.into_iter().map(write).collect()
}

fn read<E: ListElement>(json: &[u8]) -> Result<Vec<Element<E>>, Malformed> {
    let texts: Vec<&RawValue> = serde_json::from_slice(json).map_err(|_| Malformed("list"))?;
    let read = |text: &RawValue| {
        let text = text.get();
        if text == "null" {
            return Err(Malformed("element"));
        }
        let value = serde_json::from_str(text).map_err(|_| Malformed("element"))?;
        Ok(Element {
            value: Arc::new(value),
            json: Bytes::copy_from_slice(text.as_bytes()),
        })
    };
    texts.into_iter().map(read).collect()
}

fn write<E>(out: &mut BytesMut, elements: &[Element<E>]) {
    out.put_u8(b'[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            out.put_u8(b',');
        }
        out.put_slice(&element.json);
    }
    out.put_u8(b']');
}

fn bytes<E>(elements: &[Element<E>]) -> usize {
    elements.iter().map(|element| element.json.len()).sum()
}

fn values<E: ListElement>(elements: &[Element<E>]) -> HashSet<&E> {
    elements.iter().map(|element| &*element.value).collect()
}

impl<E> Default for ListState<E> {
    fn default() -> Self {
        Self {
            elements: Arc::default(),
            counts: HashMap::new(),
            bytes: 0,
        }
    }
}

impl<E: ListElement> ListState<E> {
    pub(crate) fn new(elements: Vec<Element<E>>) -> Self {
        let mut state = Self::default();
        state.add(elements);
        state
    }

    pub(crate) fn contains(&self, element: &E) -> bool {
        self.counts.contains_key(element)
    }

    fn add(&mut self, elements: Vec<Element<E>>) {
        self.bytes += bytes(&elements);
        for element in &elements {
            *self.counts.entry(element.value.clone()).or_default() += 1;
        }
        Arc::make_mut(&mut self.elements).extend(elements);
    }

    fn remove(&mut self, elements: &[Element<E>]) {
        let gone = values(elements);
        let mut removed = false;
        for element in &gone {
            removed |= self.counts.remove(*element).is_some();
        }
        if removed {
            Arc::make_mut(&mut self.elements).retain(|element| !gone.contains(&*element.value));
            self.bytes = bytes(&self.elements);
        }
    }

    fn len_of(elements: usize, bytes: usize) -> usize {
        2 + bytes + elements.saturating_sub(1)
    }

    /// Elements and their bytes after a change.
    fn after(&self, delta: &ListDelta<E>) -> (usize, usize) {
        let (count, sum) = (self.elements.len(), self.bytes);
        match delta {
            ListDelta::Whole(state) => (state.elements.len(), state.bytes),
            ListDelta::Add(elements) => (count + elements.len(), sum + bytes(elements)),
            ListDelta::Remove(elements) => {
                let gone = values(elements);
                let gone = self
                    .elements
                    .iter()
                    .filter(|element| gone.contains(&*element.value));
                gone.fold((count, sum), |(count, sum), element| {
                    (count - 1, sum - element.json.len())
                })
            }
        }
    }
}

impl<E: ListElement> PartState for ListState<E> {
    type Delta = ListDelta<E>;
    type Change = ListChange<E>;

    fn encode(&self) -> Bytes {
        let mut out = BytesMut::with_capacity(self.encoded_len());
        write(&mut out, &self.elements);
        out.freeze()
    }

    fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        Ok(Self::new(read(bytes)?))
    }

    fn encode_delta(delta: &ListDelta<E>) -> Bytes {
        let (tag, elements) = match delta {
            ListDelta::Whole(state) => (WHOLE, state.elements.as_slice()),
            ListDelta::Add(elements) => (ADD, elements.as_slice()),
            ListDelta::Remove(elements) => (REMOVE, elements.as_slice()),
        };
        let mut out = BytesMut::new();
        out.put_u8(tag);
        write(&mut out, elements);
        out.freeze()
    }

    fn decode_delta(bytes: &[u8]) -> Result<ListDelta<E>, Malformed> {
        let (tag, json) = bytes.split_first().ok_or(Malformed("list delta"))?;
        match *tag {
            WHOLE => Ok(ListDelta::Whole(Self::decode(json)?)),
            ADD => Ok(ListDelta::Add(read(json)?)),
            REMOVE => Ok(ListDelta::Remove(read(json)?)),
            _ => Err(Malformed("list delta")),
        }
    }

    fn encoded_len(&self) -> usize {
        Self::len_of(self.elements.len(), self.bytes)
    }

    fn encoded_len_after(&self, delta: &ListDelta<E>) -> usize {
        let (elements, bytes) = self.after(delta);
        Self::len_of(elements, bytes)
    }

    fn entries(&self) -> usize {
        self.elements.len()
    }

    fn entries_after(&self, delta: &ListDelta<E>) -> usize {
        match delta {
            // What a removal leaves is no more than there is, and need not be counted.
            ListDelta::Remove(_) => self.elements.len(),
            _ => self.after(delta).0,
        }
    }

    fn apply(&mut self, delta: ListDelta<E>, changes: &mut Vec<Self::Change>) {
        match delta {
            ListDelta::Whole(state) => {
                Self::differences(Some(self), Some(&state), changes);
                *self = state;
            }
            ListDelta::Add(elements) => {
                let touched = touched(&elements);
                let before: Vec<_> = touched
                    .iter()
                    .map(|element| self.counts.get(element).copied())
                    .collect();
                self.add(elements);
                for (element, before) in touched.into_iter().zip(before) {
                    let after = self.counts.get(&element).copied();
                    changes.push((Some(element), before, after));
                }
            }
            ListDelta::Remove(elements) => {
                for element in touched(&elements) {
                    if let Some(before) = self.counts.get(&element).copied() {
                        changes.push((Some(element), Some(before), None));
                    }
                }
                self.remove(&elements);
            }
        }
    }

    fn differences(before: Option<&Self>, after: Option<&Self>, changes: &mut Vec<Self::Change>) {
        if before.is_none() && after.is_some() {
            changes.push((None, None, Some(0)));
        }
        let count = |state: Option<&Self>, element: &Arc<E>| state?.counts.get(element).copied();
        if let Some(before) = before {
            for element in touched(&before.elements) {
                if count(after, &element).is_none() {
                    let old = count(Some(before), &element);
                    changes.push((Some(element), old, None));
                }
            }
        }
        if let Some(after) = after {
            for element in touched(&after.elements) {
                let (old, new) = (count(before, &element), count(Some(after), &element));
                if old != new {
                    changes.push((Some(element), old, new));
                }
            }
        }
        if before.is_some() && after.is_none() {
            changes.push((None, Some(0), None));
        }
    }
}

/// Each element once, in order.
fn touched<E: ListElement>(elements: &[Element<E>]) -> Vec<Arc<E>> {
    let mut seen = HashSet::new();
    let new = elements
        .iter()
        .filter(|element| seen.insert(&*element.value));
    new.map(|element| element.value.clone()).collect()
}

impl<E: ListElement> ObjectState for ListState<E> {
    type Key = Option<Arc<E>>;
    type Seen = usize;
    type Listener = dyn ListListener<E>;

    fn change(change: Self::Change) -> ListChange<E> {
        change
    }

    fn seen(&self, key: &Option<Arc<E>>) -> Option<usize> {
        match key {
            None => Some(0),
            Some(element) => self.counts.get(element).copied(),
        }
    }

    fn tell(listener: &Self::Listener, batch: &Batch<Self>) {
        let member = &batch.member;
        // What was added or removed together is told together.
        let mut run: (bool, Vec<Arc<E>>) = (true, Vec::new());
        let flush = |(added, elements): &mut (bool, Vec<Arc<E>>)| {
            match (*added, elements.is_empty()) {
                (_, true) => {}
                (true, false) => listener.added(member, elements),
                (false, false) => listener.removed(member, elements),
            }
            elements.clear();
        };
        for (element, old, new) in &batch.changes {
            let Some(element) = element else { continue };
            let (old, new) = (old.unwrap_or(0), new.unwrap_or(0));
            if old == new {
                continue;
            }
            if run.0 != (new > old) {
                flush(&mut run);
                run.0 = new > old;
            }
            run.1
                .extend(std::iter::repeat_n(element.clone(), new.abs_diff(old)));
        }
        flush(&mut run);
        if batch.known {
            listener.part_changed(member);
        } else if batch.changes.iter().any(|(key, ..)| key.is_none()) {
            listener.part_removed(member);
        }
    }

    fn oort_change(delta: ListDelta<E>) -> Option<OortChange> {
        let (action, elements) = match &delta {
            ListDelta::Whole(state) => {
                let object = raw(state.encode())?;
                return Some(OortChange { item: None, object });
            }
            ListDelta::Add(elements) => (LIST_ADD, elements),
            ListDelta::Remove(elements) => (LIST_REMOVE, elements),
        };
        let mut json = BytesMut::new();
        write(&mut json, elements);
        let object = raw(json)?;
        let item = Some((LIST_ELEMENT, action));
        Some(OortChange { item, object })
    }

    fn oort_item(kind: &str, action: &str, value: &RawValue) -> Option<Bytes> {
        let tag = match (kind, action) {
            (LIST_ELEMENT, LIST_ADD) => ADD,
            (LIST_ELEMENT, LIST_REMOVE) => REMOVE,
            _ => return None,
        };
        let mut out = BytesMut::with_capacity(1 + value.get().len());
        out.put_u8(tag);
        out.put_slice(value.get().as_bytes());
        Some(out.freeze())
    }
}
