//! The directory as a state machine: associations, members and frames in, frames to send and net changes out.

use std::collections::HashMap;

use ahash::RandomState;
use bytes::Bytes;
#[cfg(test)]
use halley_bayeux::UserId;
use halley_bayeux::{Millis, SessionId};
use smallvec::SmallVec;

use super::few::Few;
use super::grace::Grace;
use super::user_set::{Key, KeyChange, KeySet};
use crate::parts::{NetChanges, Outcome, Outgoing, Output, PartLimits, PartTooLarge, Parts};
use crate::{Incarnation, NodeId, NodeName};

type Map<K, V> = HashMap<K, V, RandomState>;

/// Nearly every session stands for one user, and nearly every user has one session on a node.
type Ties<T> = SmallVec<[T; 1]>;

/// The users of the cluster.
#[cfg(test)]
pub(super) type Directory = DirectoryOf<UserId>;

/// Everything one node knows of users, or of whatever else sessions stand for.
#[derive(Debug)]
pub(super) struct DirectoryOf<K> {
    this_node: NodeName,
    parts: Parts<KeySet<K>>,
    /// The local sessions of each user that is present here.
    sessions: Map<K, Ties<SessionId>>,
    /// The users that each associated session stands for.
    users_of: Map<SessionId, Ties<K>>,
    /// The siblings on which each user is present. The names share their text with the replicas' sets.
    remote: Map<K, Few<NodeName>>,
    /// Net changes that the listeners have not been told.
    waiting: NetChanges<(K, NodeName), bool>,
    /// Whether there is a listener; without one nothing is noted.
    listening: bool,
    /// Who may come back.
    grace: Grace<K>,
    /// Set while users of a lost sibling are dropped.
    losing: Option<Millis>,
}

impl<K: Key> DirectoryOf<K> {
    pub(super) fn new(this_node: NodeName, incarnation: Incarnation, limits: PartLimits) -> Self {
        let parts =
            Parts::new(incarnation, KeySet::default(), limits).expect("an empty set has no bytes");
        Self {
            this_node,
            parts,
            sessions: Map::default(),
            users_of: Map::default(),
            remote: Map::default(),
            waiting: NetChanges::default(),
            listening: false,
            grace: Grace::default(),
            losing: None,
        }
    }

    /// How long users are kept whose sessions or nodes were lost. For what is lost from now on.
    pub(super) fn set_grace(&mut self, period_ms: u64) {
        self.grace.set_period(period_ms);
    }

    /// Ties a user to a local session. Returns false when it was tied already.
    pub(super) fn associate(
        &mut self,
        user: &K,
        session: SessionId,
        sends: &mut Vec<Outgoing>,
    ) -> Result<bool, PartTooLarge> {
        match self.sessions.get_mut(user) {
            Some(sessions) if sessions.contains(&session) => return Ok(false),
            Some(sessions) => sessions.push(session),
            None => {
                if !self.grace.stops_fading(user) {
                    self.change(
                        KeyChange {
                            user: user.clone(),
                            present: true,
                        },
                        sends,
                    )?;
                }
                self.sessions
                    .insert(user.clone(), Ties::from_elem(session, 1));
            }
        }
        self.users_of.entry(session).or_default().push(user.clone());
        Ok(true)
    }

    /// Unties a user from a local session. Returns false when it was not tied.
    pub(super) fn disassociate(
        &mut self,
        user: &K,
        session: SessionId,
        sends: &mut Vec<Outgoing>,
    ) -> bool {
        let Some(users) = self.users_of.get_mut(&session) else {
            return false;
        };
        let Some(at) = users.iter().position(|tied| tied == user) else {
            return false;
        };
        users.swap_remove(at);
        if users.is_empty() {
            self.users_of.remove(&session);
        }
        self.untie(user, session, None, sends);
        true
    }

    /// Unties a user from all its local sessions and returns them.
    pub(super) fn disassociate_all(
        &mut self,
        user: &K,
        sends: &mut Vec<Outgoing>,
    ) -> Vec<SessionId> {
        let sessions = self.local(user).to_vec();
        for session in &sessions {
            self.disassociate(user, *session, sends);
        }
        sessions
    }

    /// A session is gone: every user it stood for is untied. With `lost`, when it was lost and may be followed by another
    /// one.
    pub(super) fn session_removed(
        &mut self,
        session: SessionId,
        lost: Option<Millis>,
        sends: &mut Vec<Outgoing>,
    ) {
        for user in self.users_of.remove(&session).unwrap_or_default() {
            self.untie(&user, session, lost, sends);
        }
    }

    fn untie(
        &mut self,
        user: &K,
        session: SessionId,
        lost: Option<Millis>,
        sends: &mut Vec<Outgoing>,
    ) {
        let Some(sessions) = self.sessions.get_mut(user) else {
            return;
        };
        sessions.retain(|tied| *tied != session);
        if !sessions.is_empty() {
            return;
        }
        self.sessions.remove(user);
        match lost {
            Some(now) if self.grace.is_given() => self.grace.fade(user, now),
            _ => self.retract(user, sends),
        }
    }

    fn retract(&mut self, user: &K, sends: &mut Vec<Outgoing>) {
        let retracted = self.change(
            KeyChange {
                user: user.clone(),
                present: false,
            },
            sends,
        );
        debug_assert!(retracted.is_ok(), "a smaller part fits");
    }

    pub(super) fn joined(&mut self, node: &NodeId, now: Millis, sends: &mut Vec<Outgoing>) {
        self.event(sends, |parts, out| parts.joined(node, now, out));
    }

    pub(super) fn left(&mut self, node: &NodeId, now: Millis, sends: &mut Vec<Outgoing>) {
        self.losing = self.grace.is_given().then_some(now);
        self.event(sends, |parts, out| parts.left(node, out));
        self.losing = None;
    }

    pub(super) fn received(
        &mut self,
        from: &NodeId,
        bytes: Bytes,
        now: Millis,
        sends: &mut Vec<Outgoing>,
    ) -> Outcome {
        self.event(sends, |parts, out| parts.received(from, bytes, now, out))
    }

    pub(super) fn tick(&mut self, now: Millis, sends: &mut Vec<Outgoing>) {
        self.event(sends, |parts, out| parts.tick(now, out));
        while let Some((user, node)) = self.grace.next_due(now) {
            match node {
                None => self.retract(&user, sends),
                Some(node) => self.note(user, node, false),
            }
        }
    }

    pub(super) fn restarted(
        &mut self,
        incarnation: Incarnation,
        now: Millis,
        sends: &mut Vec<Outgoing>,
    ) {
        self.losing = self.grace.is_given().then_some(now);
        self.event(sends, |parts, out| parts.restart(incarnation, out));
        self.losing = None;
    }

    /// The local sessions of a user.
    pub(super) fn local(&self, user: &K) -> &[SessionId] {
        self.sessions.get(user).map_or(&[], |sessions| sessions)
    }

    /// The siblings on which a user is present.
    pub(super) fn remote(&self, user: &K) -> impl Iterator<Item = NodeId> {
        self.siblings(user).iter().filter_map(|name| {
            let incarnation = self.parts.replica(name)?.incarnation();
            Some(NodeId {
                name: name.clone(),
                incarnation,
            })
        })
    }

    fn siblings(&self, user: &K) -> &[NodeName] {
        self.remote.get(user).map_or(&[], Few::as_slice)
    }

    pub(super) fn is_present_at(&self, user: &K, node: &NodeName) -> bool {
        if *node == self.this_node {
            self.is_here(user)
        } else {
            self.siblings(user).contains(node) || self.grace.lost_at(user).any(|lost| lost == node)
        }
    }

    /// Whether the user has a session on this node, or had one just now.
    fn is_here(&self, user: &K) -> bool {
        self.parts.own().state().contains(user)
    }

    pub(super) fn is_present(&self, user: &K) -> bool {
        self.is_here(user)
            || self.remote.contains_key(user)
            || self.grace.lost_at(user).next().is_some()
    }

    pub(super) fn presence(&self, user: &K) -> Vec<NodeName> {
        let here = self.is_here(user).then(|| self.this_node.clone());
        here.into_iter()
            .chain(self.siblings(user).iter().cloned())
            .chain(self.grace.lost_at(user).cloned())
            .collect()
    }

    /// Every user once, local ones first.
    pub(super) fn users(&self) -> impl Iterator<Item = &K> {
        let own = self.parts.own().state();
        let elsewhere = self.remote.keys().filter(|user| !own.contains(user));
        let lost = self.grace.lost_users();
        let lost = lost.filter(|user| !own.contains(user) && !self.remote.contains_key(*user));
        own.users().chain(elsewhere).chain(lost)
    }

    /// The users that this node tells others of, also those whose session was lost a moment ago.
    pub(super) fn local_users(&self) -> impl Iterator<Item = &K> {
        self.parts.own().state().users()
    }

    pub(super) fn local_user_count(&self) -> usize {
        self.parts.own().state().len()
    }

    /// From now on net changes are noted.
    pub(super) fn listen(&mut self) {
        self.listening = true;
    }

    pub(super) fn waiting(&mut self) -> &mut NetChanges<(K, NodeName), bool> {
        &mut self.waiting
    }

    /// What one entry of the index of remote users takes.
    #[cfg(test)]
    pub(super) const REMOTE_ENTRY_BYTES: usize = size_of::<(K, Few<NodeName>)>();

    #[cfg(test)]
    pub(super) fn parts(&self) -> &Parts<KeySet<K>> {
        &self.parts
    }

    #[cfg(test)]
    pub(super) fn remote_capacity(&self) -> usize {
        self.remote.capacity()
    }

    fn change(
        &mut self,
        change: KeyChange<K>,
        sends: &mut Vec<Outgoing>,
    ) -> Result<(), PartTooLarge> {
        self.event(sends, |parts, out| parts.change(change, out))
    }

    fn event<R>(
        &mut self,
        sends: &mut Vec<Outgoing>,
        event: impl FnOnce(&mut Parts<KeySet<K>>, &mut Output<KeyChange<K>>) -> R,
    ) -> R {
        let mut out = Output::default();
        let result = event(&mut self.parts, &mut out);
        sends.append(&mut out.sends);
        for KeyChange { user, present } in out.own_changes {
            self.changed(user, self.this_node.clone(), present);
        }
        for (node, KeyChange { user, present }) in out.changes {
            self.index(&user, &node, present);
            match self.losing {
                Some(now) if !present => self.grace.lose(&user, &node, now),
                _ if present && self.grace.is_back(&user, &node) => {}
                _ => self.changed(user, node, present),
            }
        }
        result
    }

    /// Notes a change; a user that comes is not waited for elsewhere any more.
    fn changed(&mut self, user: K, node: NodeName, present: bool) {
        let moved = match present {
            true => self.grace.moved(&user),
            false => SmallVec::new(),
        };
        self.note(user.clone(), node, present);
        for node in moved {
            self.note(user.clone(), node, false);
        }
    }

    fn index(&mut self, user: &K, node: &NodeName, present: bool) {
        // The name is kept as it was when it stays: one text per user.
        let (user, nodes) = match self.remote.remove_entry(user) {
            Some((user, nodes)) => (user, Some(nodes)),
            None => (user.clone(), None),
        };
        let nodes = match (nodes, present) {
            (Some(nodes), true) => Some(nodes.with(node.clone())),
            (Some(nodes), false) => nodes.without(node),
            (None, true) => Some(Few::One(node.clone())),
            (None, false) => None,
        };
        if let Some(nodes) = nodes {
            self.remote.insert(user, nodes);
        }
    }

    fn note(&mut self, user: K, node: NodeName, present: bool) {
        if self.listening {
            self.waiting.note((user, node), !present, &present);
        }
    }
}
