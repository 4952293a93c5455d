//! A replicated object whose parts are whole values.

use std::fmt;
use std::sync::Arc;

use halley_cluster::parts::PartLimits;
use halley_cluster::{Member, NodeName};

use crate::shared::Shared;
use crate::value::Value;
use crate::{CreateError, ObjectListener, ObjectValue, Objects, SetError};

/// One value per node, shared with all members. Cheap to clone.
///
/// A node changes its own part only. It lives as long as the node: an object cannot be closed, because its versions
/// would begin again within the same incarnation.
pub struct OortObject<T: ObjectValue> {
    shared: Arc<Shared<Value<T>>>,
}

impl<T: ObjectValue> OortObject<T> {
    /// Creates this node's part, with `initial` at version 0, and asks the members for theirs.
    ///
    /// # Errors
    /// [`CreateError`] when the name is not one or is taken, or the value is refused.
    pub fn new(objects: &Objects, name: &str, initial: T) -> Result<Self, CreateError> {
        Self::with_limits(objects, name, initial, PartLimits::default())
    }

    /// As [`new`](Self::new), with other bounds. They must be the same on every node.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_limits(
        objects: &Objects,
        name: &str,
        initial: T,
        limits: PartLimits,
    ) -> Result<Self, CreateError> {
        Self::of_kind(objects, name, "object", initial, limits)
    }

    pub(crate) fn of_kind(
        objects: &Objects,
        name: &str,
        kind: &'static str,
        initial: T,
        limits: PartLimits,
    ) -> Result<Self, CreateError> {
        let initial = Value::new(initial)?;
        let shared = Shared::create(objects, name, kind, initial, limits)?;
        Ok(Self { shared })
    }

    pub(crate) fn found(objects: &Objects, name: &str) -> Option<Self> {
        let shared = objects.typed(name)?;
        Some(Self { shared })
    }

    pub(crate) fn shared(&self) -> &Shared<Value<T>> {
        &self.shared
    }

    /// The name, the same on every node.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// Replaces this node's value, queues it for all members, and returns the one before. An equal value is not sent.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn set(&self, value: T) -> Result<Arc<T>, SetError> {
        let value = Value::new(value)?;
        self.shared.change(|own| {
            let old = own.value.clone();
            let delta = (old != value.value).then_some(value);
            Ok((delta, old))
        })
    }

    /// This node's value.
    pub fn local(&self) -> Arc<T> {
        self.shared.own(|own| own.value.clone())
    }

    /// A member's value, or this node's; none when the node is no member or its value has not come yet.
    pub fn part(&self, node: &NodeName) -> Option<Arc<T>> {
        self.shared.part(node, |part| part.value.clone())
    }

    /// All parts that are known: this node's first, then those of the members, by name.
    pub fn parts(&self) -> Vec<(Member, Arc<T>)> {
        self.shared.parts(|part| part.value.clone())
    }

    /// What `strategy` makes of all parts that are known. Nothing is asked of anybody.
    pub fn merge<R>(&self, strategy: impl FnOnce(&mut dyn Iterator<Item = &T>) -> R) -> R {
        let parts = self.parts();
        strategy(&mut parts.iter().map(|(_, value)| value.as_ref()))
    }

    /// Adds a listener. It is told what changes from now on, not what is.
    pub fn add_listener(&self, listener: Arc<dyn ObjectListener<T>>) {
        self.shared.add_listener(listener);
    }
}

impl<T: ObjectValue> Clone for OortObject<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<T: ObjectValue> fmt::Debug for OortObject<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OortObject")
            .field("name", &self.shared.name())
            .finish_non_exhaustive()
    }
}
