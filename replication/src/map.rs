//! A replicated map: one part per node, and a change is one entry.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::hash::Hash;
use std::sync::Arc;

use halley_cluster::parts::PartLimits;
use halley_cluster::{Member, NodeName};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::map_state::{Entries, Item, MapDelta, MapState, key_json};
use crate::shared::Shared;
use crate::{CreateError, MapListener, ObjectValue, Objects, SetError};

/// What a key must be able to do. As JSON it must be a text, or a number, which stands as a text in the whole map; other
/// keys are refused when they are put.
pub trait MapKey:
    Serialize + DeserializeOwned + Ord + Hash + Clone + Send + Sync + 'static
{
}

impl<K: Serialize + DeserializeOwned + Ord + Hash + Clone + Send + Sync + 'static> MapKey for K {}

/// One map per node, shared with all members. Cheap to clone.
///
/// A node changes its own part only, and reads those of all. It lives as long as the node, as
/// [`OortObject`](crate::OortObject) does. Values are not null. Reading one entry holds the lock of the object for a
/// look-up; a whole part is handed out as it is at that moment, and the next change of it copies it if it is still held.
pub struct OortMap<K: MapKey, V: ObjectValue> {
    shared: Arc<Shared<MapState<K, V>>>,
}

/// A part of a map at one moment, in the order of the keys. Cheap to clone.
pub struct MapPart<K, V> {
    entries: Arc<Entries<K, V>>,
}

/// All parts of a map in one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergedMap<K, V> {
    /// Every key that some node has. Where several have it with different values, that of the last node by name stands.
    pub entries: BTreeMap<K, Arc<V>>,
    /// The keys with different values, and who has which: by name of the nodes.
    pub conflicts: BTreeMap<K, Vec<(Member, Arc<V>)>>,
}

impl<K: MapKey, V: ObjectValue> OortMap<K, V> {
    /// Creates this node's part, which is empty, and asks the members for theirs.
    ///
    /// # Errors
    /// [`CreateError`] when the name is not one or is taken.
    pub fn new(objects: &Objects, name: &str) -> Result<Self, CreateError> {
        Self::with_limits(objects, name, PartLimits::default())
    }

    /// As [`new`](Self::new), with other bounds. They must be the same on every node.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_limits(
        objects: &Objects,
        name: &str,
        limits: PartLimits,
    ) -> Result<Self, CreateError> {
        let shared = Shared::create(objects, name, "map", MapState::default(), limits)?;
        Ok(Self { shared })
    }

    pub(crate) fn found(objects: &Objects, name: &str) -> Option<Self> {
        let shared = objects.typed(name)?;
        Some(Self { shared })
    }

    /// The name, the same on every node.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// Puts an entry into this node's part, queues it for all members, and returns the value before. An equal value is
    /// not sent.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn put(&self, key: K, value: V) -> Result<Option<Arc<V>>, SetError> {
        let item = Item::new(key, value)?;
        self.shared.change(|own| {
            let old = own.entries.get(item.key()).map(|entry| entry.value.clone());
            let delta = (old.as_deref() != Some(item.value())).then_some(MapDelta::Put(item));
            Ok((delta, old))
        })
    }

    /// As [`put`](Self::put), unless this node's part has the key: then nothing changes, and its value is returned.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    pub fn put_if_absent(&self, key: K, value: V) -> Result<Option<Arc<V>>, SetError> {
        let item = Item::new(key, value)?;
        self.shared.change(|own| {
            let old = own.entries.get(item.key()).map(|entry| entry.value.clone());
            let delta = old.is_none().then_some(MapDelta::Put(item));
            Ok((delta, old))
        })
    }

    /// Removes a key from this node's part, and returns its value.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn remove(&self, key: &K) -> Result<Option<Arc<V>>, SetError> {
        let json = key_json(key)?;
        self.shared.change(|own| {
            let old = own.entries.get(key).map(|entry| entry.value.clone());
            let delta = old.is_some().then(|| MapDelta::Remove(key.clone(), json));
            Ok((delta, old))
        })
    }

    /// Changes one entry of this node's part with nothing in between: `update` is given the value and returns the new
    /// one; none is no entry. Returns the value before. `update` runs under the lock of the object and must not use it.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn update(
        &self,
        key: &K,
        update: impl FnOnce(Option<&V>) -> Option<V>,
    ) -> Result<Option<Arc<V>>, SetError> {
        self.shared.change(|own| {
            let old = own.entries.get(key).map(|entry| entry.value.clone());
            let delta = match (&old, update(old.as_deref())) {
                (Some(old), Some(new)) if **old == new => None,
                (_, Some(new)) => Some(MapDelta::Put(Item::new(key.clone(), new)?)),
                (Some(_), None) => Some(MapDelta::Remove(key.clone(), key_json(key)?)),
                (None, None) => None,
            };
            Ok((delta, old))
        })
    }

    /// Replaces this node's part as a whole, and returns the part before. It travels as one change, or is pulled when it
    /// is long; listeners are told the entries that differ. An equal map is not sent.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn set(
        &self,
        entries: impl IntoIterator<Item = (K, V)>,
    ) -> Result<MapPart<K, V>, SetError> {
        let new = MapState::new(entries)?;
        self.shared.change(|own| {
            let old = part(own);
            let equal = old == part(&new);
            Ok(((!equal).then_some(MapDelta::Whole(new)), old))
        })
    }

    /// The value in this node's part.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.shared
            .own(|own| own.entries.get(key).map(|entry| entry.value.clone()))
    }

    /// The first value in any part, and whose it is: this node's, then those of the members by name.
    pub fn find<Q: Ord + ?Sized>(&self, key: &Q) -> Option<(Member, Arc<V>)>
    where
        K: Borrow<Q>,
    {
        self.find_all(key).into_iter().next()
    }

    /// The values in all parts that have the key, in the order of [`parts`](Self::parts).
    pub fn find_all<Q: Ord + ?Sized>(&self, key: &Q) -> Vec<(Member, Arc<V>)>
    where
        K: Borrow<Q>,
    {
        self.shared
            .find(|part| part.entries.get(key).map(|entry| entry.value.clone()))
    }

    /// This node's part.
    pub fn local(&self) -> MapPart<K, V> {
        self.shared.own(part)
    }

    /// The part of a member, or this node's; none when the node is no member or its part has not come yet.
    pub fn part(&self, node: &NodeName) -> Option<MapPart<K, V>> {
        self.shared.part(node, part)
    }

    /// All parts that are known: this node's first, then those of the members, by name.
    pub fn parts(&self) -> Vec<(Member, MapPart<K, V>)> {
        self.shared.parts(part)
    }

    /// The union of all parts that are known. It is the same on all nodes that know the same parts.
    pub fn merged(&self) -> MergedMap<K, V> {
        let mut parts = self.parts();
        parts.sort_unstable_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        let mut all: BTreeMap<K, Vec<(usize, Arc<V>)>> = BTreeMap::new();
        for (owner, (_, part)) in parts.iter().enumerate() {
            for (key, value) in part.iter() {
                let values = all.entry(key.clone()).or_default();
                values.push((owner, value.clone()));
            }
        }
        let mut merged = MergedMap {
            entries: BTreeMap::new(),
            conflicts: BTreeMap::new(),
        };
        for (key, values) in all {
            if values.windows(2).any(|pair| pair[0].1 != pair[1].1) {
                let whose = values
                    .iter()
                    .map(|(owner, value)| (parts[*owner].0.clone(), value.clone()));
                merged.conflicts.insert(key.clone(), whose.collect());
            }
            if let Some((_, value)) = values.into_iter().next_back() {
                merged.entries.insert(key, value);
            }
        }
        merged
    }

    /// Adds a listener. It is told what changes from now on, not what is.
    pub fn add_listener(&self, listener: Arc<dyn MapListener<K, V>>) {
        self.shared.add_listener(listener);
    }
}

fn part<K: MapKey, V: ObjectValue>(state: &MapState<K, V>) -> MapPart<K, V> {
    MapPart {
        entries: state.entries.clone(),
    }
}

impl<K: Ord, V> MapPart<K, V> {
    /// The value of a key.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Arc<V>>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).map(|entry| &entry.value)
    }

    /// The entries, in the order of the keys.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &Arc<V>)> + ExactSizeIterator {
        self.entries.iter().map(|(key, entry)| (key, &entry.value))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl<K, V> Clone for MapPart<K, V> {
    fn clone(&self) -> Self {
        Self {
            entries: self.entries.clone(),
        }
    }
}

impl<K: Ord, V: PartialEq> PartialEq for MapPart<K, V> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.entries, &other.entries) || self.iter().eq(other.iter())
    }
}

impl<K: Ord + fmt::Debug, V: fmt::Debug> fmt::Debug for MapPart<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: MapKey, V: ObjectValue> Clone for OortMap<K, V> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<K: MapKey, V: ObjectValue> fmt::Debug for OortMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OortMap")
            .field("name", &self.shared.name())
            .finish_non_exhaustive()
    }
}
