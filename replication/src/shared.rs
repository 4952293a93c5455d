//! What all kinds of objects have in common: the parts, whose they are, and who is told.

use std::any::Any;
use std::collections::HashMap;
use std::hash::Hash;
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
use crate::oort_form::{OortChange, OortForm, raw};
use crate::report::{ObjectReport, PartReport};
use crate::{CreateError, Objects, SetError};

/// Changes that are taken for the listeners under one lock.
const BATCH_MAX: usize = 256;

/// The state of a part of some kind of object. Its encoded form is the JSON of the whole value.
pub(crate) trait ObjectState: PartState<Delta: Send> + Send + Sync + 'static {
    /// What listeners are told about one by one.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// What they are told of it.
    type Seen: Clone + PartialEq + Send + Sync;
    /// Who is told.
    type Listener: ?Sized + Send + Sync;

    /// A change: of what, and what it was and is.
    fn change(change: Self::Change) -> Change<Self::Key, Self::Seen>;

    /// What there is to tell at present.
    fn seen(&self, key: &Self::Key) -> Option<Self::Seen>;

    /// Tells consecutive net changes of one part.
    fn tell(listener: &Self::Listener, batch: &Batch<Self>);

    /// A delta, as the Oort dialect has it.
    fn oort_change(delta: Self::Delta) -> Option<OortChange>;

    /// An item update of the Oort dialect, as the bytes of a delta.
    fn oort_item(kind: &str, action: &str, value: &RawValue) -> Option<Bytes>;
}

/// Of what, and what it was and is.
pub(crate) type Change<K, V> = (K, Option<V>, Option<V>);

/// Something and whose it is; none when nothing is known.
type Told<T> = Option<(Arc<Member>, T)>;

/// Net changes of one part.
pub(crate) struct Batch<S: ObjectState> {
    /// Whose part; the last one known when it is gone.
    pub(crate) member: Arc<Member>,
    /// Whether it is known now.
    pub(crate) known: bool,
    /// Of what, and what it was and is.
    pub(crate) changes: Vec<Change<S::Key, S::Seen>>,
}

pub(crate) struct Shared<S: ObjectState> {
    name: Arc<str>,
    kind: &'static str,
    objects: Objects,
    limits: PartLimits,
    state: RwLock<State<S>>,
    listeners: ArcSwap<Vec<Arc<S::Listener>>>,
}

struct State<S: ObjectState> {
    parts: Parts<S>,
    /// The members by name; each has a replica in `parts`, of the same incarnation.
    members: HashMap<NodeName, Arc<Member>>,
    /// Net changes that the listeners have not been told, with what was told last.
    waiting: NetChanges<(NodeName, S::Key), Told<S::Seen>>,
}

impl<S: ObjectState> Shared<S> {
    /// Adds an object with its own part at version 0.
    pub(crate) fn create(
        objects: &Objects,
        name: &str,
        kind: &'static str,
        initial: S,
        limits: PartLimits,
    ) -> Result<Arc<Self>, CreateError> {
        let name = Arc::from(name);
        objects.add(&name, || {
            if initial.entries() > limits.entries_max {
                return Err(too_many(&limits).into());
            }
            let this_node = objects.this_node();
            let parts =
                Parts::new(this_node.incarnation, initial, limits).map_err(SetError::from)?;
            let state = State {
                parts,
                members: HashMap::new(),
                waiting: NetChanges::default(),
            };
            Ok(Arc::new(Self {
                name: name.clone(),
                kind,
                objects: objects.clone(),
                limits,
                state: RwLock::new(state),
                listeners: ArcSwap::default(),
            }))
        })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Changes the own part as `decide` says, which is called under the lock of the object, and queues the change for
    /// all members. Without a delta nothing happens.
    pub(crate) fn change<R>(
        &self,
        decide: impl FnOnce(&S) -> Result<(Option<S::Delta>, R), SetError>,
    ) -> Result<R, SetError> {
        let mut state = self.state.write();
        let own = state.parts.own().state();
        let (delta, result) = decide(own)?;
        let Some(delta) = delta else {
            return Ok(result);
        };
        if own.entries_after(&delta) > self.limits.entries_max {
            return Err(too_many(&self.limits));
        }
        self.event(&mut state, |parts, out| parts.change(delta, out))?;
        drop(state);
        self.tell();
        Ok(result)
    }

    /// Reads the own part.
    pub(crate) fn own<R>(&self, read: impl FnOnce(&S) -> R) -> R {
        read(self.state.read().parts.own().state())
    }

    /// Reads the part of a member, or of this node.
    pub(crate) fn part<R>(&self, node: &NodeName, read: impl FnOnce(&S) -> R) -> Option<R> {
        let state = self.state.read();
        if let Some(replica) = state.parts.replica(node) {
            return replica.state().map(read);
        }
        (self.objects.this_node().name == *node).then(|| read(state.parts.own().state()))
    }

    /// Reads all parts that are known: this node's first, then those of the members, by name.
    pub(crate) fn parts<R>(&self, mut read: impl FnMut(&S) -> R) -> Vec<(Member, R)> {
        let this_node = self.objects.this_node();
        let state = self.state.read();
        let mut parts = vec![(this_node, read(state.parts.own().state()))];
        parts.extend(state.members.iter().filter_map(|(name, member)| {
            let part = state.parts.replica(name)?.state()?;
            Some((Member::clone(member), read(part)))
        }));
        parts[1..].sort_unstable_by(|(a, _), (b, _)| a.name.cmp(&b.name));
        parts
    }

    /// The parts in which `look` finds something: this node's first, then those of the members, by name.
    pub(crate) fn find<R>(&self, mut look: impl FnMut(&S) -> Option<R>) -> Vec<(Member, R)> {
        let found = self.parts(|part| look(part)).into_iter();
        found
            .filter_map(|(member, found)| Some((member, found?)))
            .collect()
    }

    pub(crate) fn add_listener(&self, listener: Arc<S::Listener>) {
        self.listeners.rcu(|listeners| {
            let mut listeners = Vec::clone(listeners);
            listeners.push(listener.clone());
            listeners
        });
    }

    /// What there is to tell at present about something of a node's part.
    fn told(&self, state: &State<S>, node: &NodeName, key: &S::Key) -> Told<S::Seen> {
        if let Some(member) = state.members.get(node) {
            let seen = state.parts.replica(node)?.state()?.seen(key)?;
            return Some((member.clone(), seen));
        }
        let this_node = self.objects.this_node();
        if this_node.name != *node {
            return None;
        }
        let seen = state.parts.own().state().seen(key)?;
        Some((Arc::new(this_node), seen))
    }

    /// Runs an event of the parts, queues its frames while the state is locked, so that they leave in order, and notes
    /// what changed. A name stands for one member during an event.
    fn event<R>(
        &self,
        state: &mut State<S>,
        event: impl FnOnce(&mut Parts<S>, &mut Output<S::Change>) -> R,
    ) -> R {
        let mut out = Output::default();
        let result = event(&mut state.parts, &mut out);
        self.objects.send(&self.name, out.sends);
        if self.listeners.load().is_empty() {
            return result;
        }
        let mut note = |member: &Arc<Member>, change: S::Change| {
            let (key, before, after) = S::change(change);
            let told = |seen: Option<S::Seen>| seen.map(|seen| (member.clone(), seen));
            let (before, after) = (told(before), told(after));
            state
                .waiting
                .note((member.name.clone(), key), before, &after);
        };
        if !out.own_changes.is_empty() {
            let this_node = Arc::new(self.objects.this_node());
            for change in out.own_changes {
                note(&this_node, change);
            }
        }
        for (name, change) in out.changes {
            if let Some(member) = state.members.get(&name) {
                note(member, change);
            }
        }
        result
    }

    fn learn(&self, member: &Member, join: impl FnOnce(&mut Parts<S>, &mut Output<S::Change>)) {
        let state = &mut *self.state.write();
        let earlier = state
            .members
            .get(&member.name)
            .filter(|known| known.incarnation != member.incarnation)
            .cloned();
        if let Some(earlier) = earlier {
            self.forget(state, &earlier);
        }
        state
            .members
            .insert(member.name.clone(), Arc::new(member.clone()));
        self.event(state, join);
    }

    fn forget(&self, state: &mut State<S>, member: &Member) {
        if state
            .members
            .get(&member.name)
            .is_some_and(|known| known.incarnation == member.incarnation)
        {
            self.event(state, |parts, out| parts.left(&member.id(), out));
            state.members.remove(&member.name);
        }
    }

    /// Takes the next changes that all are of one part, with what there is to tell of them now.
    /// None inside: nobody is known to have had them. None outside: nothing waits.
    fn batch(&self) -> Option<Option<Batch<S>>> {
        let state = &mut *self.state.write();
        let (mut key, mut old) = state.waiting.take()?;
        let node = key.0.clone();
        let mut changes = Vec::new();
        let mut owner: Option<Arc<Member>> = None;
        loop {
            let new = self.told(state, &node, &key.1);
            // The newest that is known of the owner.
            let member = new.as_ref().or(old.as_ref()).map(|(member, _)| member);
            if new.is_some() || owner.is_none() {
                owner = member.cloned().or(owner);
            }
            let seen = |told: Told<S::Seen>| told.map(|(_, seen)| seen);
            changes.push((key.1, seen(old), seen(new)));
            if changes.len() == BATCH_MAX {
                break;
            }
            match state.waiting.take_if(|(next, _)| *next == node) {
                Some(next) => (key, old) = next,
                None => break,
            }
        }
        let known = match state.parts.replica(&node) {
            Some(replica) => replica.state().is_some(),
            None => self.objects.this_node().name == node,
        };
        Some(owner.map(|member| Batch {
            member,
            known,
            changes,
        }))
    }
}

fn too_many(limits: &PartLimits) -> SetError {
    SetError::TooManyEntries {
        max: limits.entries_max,
    }
}

impl<S: ObjectState> AnyObject for Shared<S> {
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
            warn!(from = %from.name, object = %self.name, "the value of a sibling cannot be read, or passes the bounds");
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

    fn tell(&self) {
        if !self.state.write().waiting.begin() {
            return;
        }
        let turn = Turn(self);
        while let Some(batch) = self.batch() {
            let Some(batch) = batch else { continue };
            for listener in self.listeners.load().iter() {
                S::tell(listener, &batch);
            }
        }
        std::mem::forget(turn);
    }

    fn report(&self) -> ObjectReport {
        let this_node = self.objects.this_node().name;
        let state = self.state.read();
        let own = state.parts.own();
        let mut parts = vec![PartReport {
            node: this_node,
            entries: own.state().entries(),
            bytes: own.state().encoded_len(),
            version: own.version(),
            behind: false,
        }];
        parts.extend(state.parts.replicas().filter_map(|(name, replica)| {
            let part = replica.state()?;
            Some(PartReport {
                node: name.clone(),
                entries: part.entries(),
                bytes: part.encoded_len(),
                version: replica.version()?,
                behind: replica.is_behind(),
            })
        }));
        parts[1..].sort_unstable_by(|a, b| a.node.cmp(&b.node));
        ObjectReport {
            name: self.name.clone(),
            kind: self.kind,
            parts,
        }
    }

    fn any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<S: ObjectState> OortForm for Shared<S> {
    fn oort_own(&self) -> Option<(u64, Box<RawValue>)> {
        let state = self.state.read();
        let own = state.parts.own();
        Some((own.version(), raw(own.state().encode())?))
    }

    fn oort_change(&self, delta: &[u8]) -> Option<OortChange> {
        S::oort_change(S::decode_delta(delta).ok()?)
    }

    fn oort_whole(&self, value: &RawValue) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(value.get().as_bytes()))
    }

    fn oort_item(&self, kind: &str, action: &str, value: &RawValue) -> Option<Bytes> {
        S::oort_item(kind, action, value)
    }
}

/// Gives the turn to tell back when a listener panics, so that others are still told.
struct Turn<'a, S: ObjectState>(&'a Shared<S>);

impl<S: ObjectState> Drop for Turn<'_, S> {
    fn drop(&mut self) {
        self.0.state.write().waiting.give_up();
    }
}
