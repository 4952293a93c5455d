//! A replicated number: one part per node, and their sum.

use std::sync::Arc;

use halley_cluster::parts::PartLimits;
use halley_cluster::{Member, NodeName};

use crate::value::Value;
use crate::{CreateError, ObjectListener, Objects, OortObject, SetError};

/// One number per node, shared with all members. Cheap to clone.
///
/// Each operation is atomic on this node's part, and wraps around at the ends as CometD's does. For siblings it is an
/// [`OortObject`] of a number. It counts what each node has; a counter of the whole cluster needs one answer for all and
/// does not belong here.
#[derive(Debug, Clone)]
pub struct OortLong {
    object: OortObject<i64>,
}

impl OortLong {
    /// Creates this node's part and asks the members for theirs.
    ///
    /// # Errors
    /// [`CreateError`] when the name is not one or is taken.
    pub fn new(objects: &Objects, name: &str, initial: i64) -> Result<Self, CreateError> {
        let limits = PartLimits::default();
        let object = OortObject::of_kind(objects, name, "long", initial, limits)?;
        Ok(Self { object })
    }

    pub(crate) fn found(objects: &Objects, name: &str) -> Option<Self> {
        let object = OortObject::found(objects, name)?;
        Some(Self { object })
    }

    /// The name, the same on every node.
    pub fn name(&self) -> &str {
        self.object.name()
    }

    /// This node's number.
    pub fn get(&self) -> i64 {
        *self.object.local()
    }

    /// Replaces this node's number and returns the one before.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn get_and_set(&self, value: i64) -> Result<i64, SetError> {
        self.update(|_| value)
    }

    /// Adds to this node's number and returns the one before.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn get_and_add(&self, delta: i64) -> Result<i64, SetError> {
        self.update(|value| value.wrapping_add(delta))
    }

    /// Adds to this node's number and returns the new one.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn add_and_get(&self, delta: i64) -> Result<i64, SetError> {
        Ok(self.get_and_add(delta)?.wrapping_add(delta))
    }

    /// Replaces this node's number if it is `expected`. False: it is another one, and stays.
    ///
    /// # Errors
    /// As [`update`](Self::update).
    pub fn compare_and_set(&self, expected: i64, value: i64) -> Result<bool, SetError> {
        let old = self.update(|old| if old == expected { value } else { old })?;
        Ok(old == expected)
    }

    /// Changes this node's number with nothing in between, and returns the one before. `update` runs under the lock of
    /// the object and must not use it.
    ///
    /// # Errors
    /// [`SetError`] when the number passes the bound of an object of this name that was made with a bound of a few bytes.
    pub fn update(&self, update: impl FnOnce(i64) -> i64) -> Result<i64, SetError> {
        self.object.shared().change(|own| {
            let (old, new) = (*own.value, update(*own.value));
            let delta = (new != old).then(|| Value::new(new)).transpose()?;
            Ok((delta, old))
        })
    }

    /// The number of a member, or this node's; none when the node is no member or its number has not come yet.
    pub fn part(&self, node: &NodeName) -> Option<i64> {
        self.object.part(node).map(|value| *value)
    }

    /// All numbers that are known: this node's first, then those of the members, by name.
    pub fn parts(&self) -> Vec<(Member, i64)> {
        let parts = self.object.parts().into_iter();
        parts.map(|(member, value)| (member, *value)).collect()
    }

    /// The sum of all numbers that are known.
    pub fn sum(&self) -> i64 {
        self.object
            .merge(|values| values.fold(0_i64, |sum, value| sum.wrapping_add(*value)))
    }

    /// Adds a listener. It is told what changes from now on, not what is.
    pub fn add_listener(&self, listener: Arc<dyn ObjectListener<i64>>) {
        self.object.add_listener(listener);
    }
}
