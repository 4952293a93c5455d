//! A replicated object whose parts are whole values.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use halley_bayeux::Millis;
use halley_cluster::parts::{NetChanges, Outcome, Output, PartLimits, PartState, Parts};
use halley_cluster::{Member, NodeName};
use parking_lot::RwLock;
use serde_json::value::RawValue;
use tracing::warn;

use crate::objects::AnyObject;
use crate::oort::OortChange;
use crate::value::{Value, ValueChange};
use crate::{CreateError, ObjectListener, ObjectValue, Objects, SetError};

/// One value per node, shared with all members. Cheap to clone.
///
/// A node changes its own part only. It lives as long as the node: an object cannot be closed, because its versions
/// would begin again within the same incarnation.
pub struct OortObject<T> {
    inner: Arc<Inner<T>>,
}

struct Inner<T> {
    name: Arc<str>,
    objects: Objects,
    state: RwLock<State<T>>,
    listeners: ArcSwap<Vec<Arc<dyn ObjectListener<T>>>>,
}

struct State<T> {
    parts: Parts<Value<T>>,
    /// The members by name; each has a replica in `parts`, of the same incarnation.
    members: HashMap<NodeName, Member>,
    /// Net changes that the listeners have not been told, with whose value was told last.
    waiting: NetChanges<NodeName, Told<T>>,
}

/// A value and whose it is; none when nothing is known.
type Told<T> = Option<(Member, Arc<T>)>;

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
        let initial = Value::new(initial)?;
        let name = Arc::from(name);
        let inner = objects.add(&name, || {
            let this_node = objects.this_node();
            let parts =
                Parts::new(this_node.incarnation, initial, limits).map_err(SetError::from)?;
            let state = State {
                parts,
                members: HashMap::new(),
                waiting: NetChanges::default(),
            };
            Ok(Arc::new(Inner {
                name: name.clone(),
                objects: objects.clone(),
                state: RwLock::new(state),
                listeners: ArcSwap::default(),
            }))
        })?;
        Ok(Self { inner })
    }

    /// The name, the same on every node.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Replaces this node's value, queues it for all members, and returns the one before. An equal value is not sent.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn set(&self, value: T) -> Result<Arc<T>, SetError> {
        let value = Value::new(value)?;
        let mut state = self.inner.state.write();
        let old = state.parts.own().state().value.clone();
        if old == value.value {
            return Ok(old);
        }
        self.inner
            .event(&mut state, |parts, out| parts.change(value, out))?;
        drop(state);
        self.inner.tell();
        Ok(old)
    }

    /// This node's value.
    pub fn local(&self) -> Arc<T> {
        self.inner.state.read().parts.own().state().value.clone()
    }

    /// A member's value, or this node's; none when the node is no member or its value has not come yet.
    pub fn part(&self, node: &NodeName) -> Option<Arc<T>> {
        self.inner
            .told(&self.inner.state.read(), node)
            .map(|(_, value)| value)
    }

    /// All parts that are known: this node's first, then those of the members, by name.
    pub fn parts(&self) -> Vec<(Member, Arc<T>)> {
        let state = self.inner.state.read();
        let own = (
            self.inner.objects.this_node(),
            state.parts.own().state().value.clone(),
        );
        let mut others: Vec<_> = state
            .members
            .keys()
            .filter_map(|name| self.inner.told(&state, name))
            .collect();
        others.sort_unstable_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        std::iter::once(own).chain(others).collect()
    }

    /// What `strategy` makes of all parts that are known. Nothing is asked of anybody.
    pub fn merge<R>(&self, strategy: impl FnOnce(&mut dyn Iterator<Item = &T>) -> R) -> R {
        let parts = self.parts();
        strategy(&mut parts.iter().map(|(_, value)| value.as_ref()))
    }

    /// Adds a listener. It is told what changes from now on, not what is.
    pub fn add_listener(&self, listener: Arc<dyn ObjectListener<T>>) {
        self.inner.listeners.rcu(|listeners| {
            let mut listeners = Vec::clone(listeners);
            listeners.push(listener.clone());
            listeners
        });
    }
}

impl<T> Clone for OortObject<T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
        }
    }
}

impl<T> fmt::Debug for OortObject<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OortObject")
            .field("name", &self.inner.name)
            .finish_non_exhaustive()
    }
}

impl<T: ObjectValue> Inner<T> {
    /// What there is to tell about a node at present.
    fn told(&self, state: &State<T>, node: &NodeName) -> Told<T> {
        if let Some(member) = state.members.get(node) {
            let replica = state.parts.replica(node)?.state()?;
            return Some((member.clone(), replica.value.clone()));
        }
        let this_node = self.objects.this_node();
        let value = || state.parts.own().state().value.clone();
        (this_node.name == *node).then(|| (this_node, value()))
    }

    /// Runs an event of the parts, queues its frames while the state is locked, so that they leave in order, and notes
    /// what changed. A name stands for one member during an event.
    fn event<R>(
        &self,
        state: &mut State<T>,
        event: impl FnOnce(&mut Parts<Value<T>>, &mut Output<ValueChange<T>>) -> R,
    ) -> R {
        let mut out = Output::default();
        let result = event(&mut state.parts, &mut out);
        self.objects.send(&self.name, out.sends);
        let own = out
            .own_changes
            .into_iter()
            .map(|change| (self.objects.this_node(), change));
        let others = out
            .changes
            .into_iter()
            .filter_map(|(name, change)| Some((state.members.get(&name)?.clone(), change)));
        for (member, (before, after)) in own.chain(others) {
            let name = member.name.clone();
            let told = |value: Option<Arc<T>>| value.map(|value| (member.clone(), value));
            state.waiting.note(name, told(before), &told(after));
        }
        result
    }

    fn learn(
        &self,
        member: &Member,
        join: impl FnOnce(&mut Parts<Value<T>>, &mut Output<ValueChange<T>>),
    ) {
        let state = &mut *self.state.write();
        let earlier = state
            .members
            .get(&member.name)
            .filter(|known| known.incarnation != member.incarnation)
            .cloned();
        if let Some(earlier) = earlier {
            self.forget(state, &earlier);
        }
        state.members.insert(member.name.clone(), member.clone());
        self.event(state, join);
    }

    fn forget(&self, state: &mut State<T>, member: &Member) {
        if state
            .members
            .get(&member.name)
            .is_some_and(|known| known.incarnation == member.incarnation)
        {
            self.event(state, |parts, out| parts.left(&member.id(), out));
            state.members.remove(&member.name);
        }
    }
}

impl<T: ObjectValue> AnyObject for Inner<T> {
    fn joined(&self, member: &Member, now: Millis) {
        self.learn(member, |parts, out| parts.joined(&member.id(), now, out));
    }

    fn already_joined(&self, member: &Member, now: Millis) {
        self.learn(member, |parts, out| {
            parts.already_joined(&member.id(), now, out)
        });
    }

    fn left(&self, member: &Member) {
        self.forget(&mut self.state.write(), member);
    }

    fn received(&self, from: &Member, frame: Bytes, now: Millis) {
        let mut state = self.state.write();
        let outcome = self.event(&mut state, |parts, out| {
            parts.received(&from.id(), frame, now, out)
        });
        if outcome == Outcome::Malformed {
            warn!(from = %from.name, object = %self.name, "the value of a sibling cannot be read");
        }
    }

    fn tick(&self, now: Millis) {
        let mut state = self.state.write();
        self.event(&mut state, |parts, out| parts.tick(now, out));
    }

    fn restarted(&self, this_node: &Member) {
        let state = &mut *self.state.write();
        let members: Vec<_> = state.members.values().cloned().collect();
        for member in members {
            self.forget(state, &member);
        }
        self.event(state, |parts, out| {
            parts.restart(this_node.incarnation, out)
        });
    }

    fn oort_own(&self) -> Option<(u64, Box<RawValue>)> {
        let state = self.state.read();
        let own = state.parts.own();
        Some((own.version(), raw(&own.state().encode())?))
    }

    fn oort_change(&self, delta: &[u8]) -> Option<OortChange> {
        let object = raw(delta)?;
        Some(OortChange { item: None, object })
    }

    fn oort_whole(&self, value: &RawValue) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(value.get().as_bytes()))
    }

    fn oort_item(&self, _: &str, _: &str, _: &RawValue) -> Option<Bytes> {
        None
    }

    fn tell(&self) {
        if !self.state.write().waiting.begin() {
            return;
        }
        let turn = Turn(self);
        loop {
            let (old, new) = {
                let mut state = self.state.write();
                let Some((name, old)) = state.waiting.take() else {
                    break;
                };
                (old, self.told(&state, &name))
            };
            for listener in self.listeners.load().iter() {
                match (&old, &new) {
                    (_, Some((member, new))) => {
                        listener.updated(member, old.as_ref().map(|(_, old)| old), new);
                    }
                    (Some((member, old)), None) => listener.removed(member, old),
                    (None, None) => {}
                }
            }
        }
        std::mem::forget(turn);
    }
}

fn raw(json: &[u8]) -> Option<Box<RawValue>> {
    let text = std::str::from_utf8(json).ok()?;
    RawValue::from_string(text.to_owned()).ok()
}

/// Gives the turn to tell back when a listener panics, so that others are still told.
struct Turn<'a, T: ObjectValue>(&'a Inner<T>);

impl<T: ObjectValue> Drop for Turn<'_, T> {
    fn drop(&mut self) {
        self.0.state.write().waiting.give_up();
    }
}
