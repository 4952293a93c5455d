//! One node's view of all parts: its own and a replica per member.

use std::collections::HashMap;
use std::fmt;

use bytes::Bytes;
use halley_bayeux::Millis;

use super::{Outcome, OwnPart, PartFrame, PartLimits, PartState, PartTooLarge, Replica};
use crate::{Incarnation, NodeId, NodeName};

/// How many departed nodes are remembered. Links deliver nothing from before a *left*, so this is a second fence; at the
/// bound it is forgotten, not kept for ever for names that never come again.
const GONE_MAX: usize = 4_096;

/// A frame to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outgoing {
    /// To one sibling.
    To(NodeId, Bytes),
    /// To every member.
    All(Bytes),
}

/// What an event led to: frames to send in this order, and changes to tell. One is made by the caller and may be used
/// for several events.
pub struct Output<C> {
    /// Frames to send.
    pub sends: Vec<Outgoing>,
    /// What changed in the part of a sibling.
    pub changes: Vec<(NodeName, C)>,
    /// What changed in the own part.
    pub own_changes: Vec<C>,
}

impl<C> Default for Output<C> {
    fn default() -> Self {
        Self {
            sends: Vec::new(),
            changes: Vec::new(),
            own_changes: Vec::new(),
        }
    }
}

impl<C> fmt::Debug for Output<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("sends", &self.sends.len())
            .field("changes", &self.changes.len())
            .field("own_changes", &self.own_changes.len())
            .finish()
    }
}

/// The parts of one state: the node's own, and a replica of each member's.
#[derive(Debug)]
pub struct Parts<S> {
    own: OwnPart<S>,
    siblings: HashMap<NodeName, Replica<S>>,
    /// What this node had of nodes that left, so that a late frame cannot take it back when they come again.
    gone: HashMap<NodeName, (Incarnation, u64)>,
    limits: PartLimits,
    announce_at: Millis,
}

impl<S: PartState> Parts<S> {
    /// Only the own part, at version 0.
    ///
    /// # Errors
    /// [`PartTooLarge`] when the first state is longer than its bound.
    pub fn new(incarnation: Incarnation, own: S, limits: PartLimits) -> Result<Self, PartTooLarge> {
        let own = OwnPart::new(incarnation, own, limits)?;
        Ok(Self {
            own,
            siblings: HashMap::new(),
            gone: HashMap::new(),
            limits,
            announce_at: Millis(0),
        })
    }

    /// The own part.
    pub fn own(&self) -> &OwnPart<S> {
        &self.own
    }

    /// The replica of a member's part.
    pub fn replica(&self, node: &NodeName) -> Option<&Replica<S>> {
        self.siblings.get(node)
    }

    /// The replicas of all members' parts, also those of which nothing is known yet.
    pub fn replicas(&self) -> impl Iterator<Item = (&NodeName, &Replica<S>)> {
        self.siblings.iter()
    }

    /// Changes the own part.
    ///
    /// # Errors
    /// [`PartTooLarge`] when the part would pass its bound; then nothing has changed.
    pub fn change(
        &mut self,
        delta: S::Delta,
        out: &mut Output<S::Change>,
    ) -> Result<(), PartTooLarge> {
        let frame = self.own.change(delta, &mut out.own_changes)?;
        if !self.siblings.is_empty() {
            out.sends.push(Outgoing::All(frame.encode()));
        }
        Ok(())
    }

    /// A sibling is a member now: it gets the own part, and its frames are accepted from here on.
    pub fn joined(&mut self, node: &NodeId, now: Millis, out: &mut Output<S::Change>) {
        let known = self.siblings.get(&node.name).map(Replica::incarnation);
        if known != Some(node.incarnation) {
            self.drop_replica(&node.name, out);
            let floor = match self.gone.remove(&node.name) {
                Some((incarnation, version)) if incarnation == node.incarnation => version,
                _ => 0,
            };
            self.siblings.insert(
                node.name.clone(),
                Replica::new(node.incarnation, floor, now, self.limits),
            );
        }
        self.push(node, now, out);
    }

    /// As [`joined`](Self::joined) for a node that was a member before this state existed: it sent its part when
    /// nobody here could take it, so it is asked at once.
    pub fn already_joined(&mut self, node: &NodeId, now: Millis, out: &mut Output<S::Change>) {
        self.joined(node, now, out);
        if let Some(replica) = self.siblings.get_mut(&node.name)
            && replica.state().is_none()
        {
            out.sends
                .push(Outgoing::To(node.clone(), replica.pull(now).encode()));
        }
    }

    /// A sibling is no member any more: its part is dropped. A *left* of another incarnation than the member's is
    /// late and changes nothing.
    pub fn left(&mut self, node: &NodeId, out: &mut Output<S::Change>) {
        if self
            .siblings
            .get(&node.name)
            .is_some_and(|replica| replica.incarnation() == node.incarnation)
        {
            self.drop_replica(&node.name, out);
        }
    }

    fn drop_replica(&mut self, node: &NodeName, out: &mut Output<S::Change>) {
        self.own.left(node);
        let Some(replica) = self.siblings.remove(node) else {
            return;
        };
        if self.gone.len() >= GONE_MAX {
            self.gone.clear();
        }
        self.gone
            .insert(node.clone(), (replica.incarnation(), replica.floor()));
        let mut changes = Vec::new();
        S::differences(replica.state(), None, &mut changes);
        out.changes
            .extend(changes.into_iter().map(|change| (node.clone(), change)));
    }

    /// A frame came from a sibling. Frames of a node that is no member are ignored.
    pub fn received(
        &mut self,
        from: &NodeId,
        bytes: Bytes,
        now: Millis,
        out: &mut Output<S::Change>,
    ) -> Outcome {
        let Some(replica) = self.siblings.get_mut(&from.name) else {
            return Outcome::Stale;
        };
        if replica.incarnation() != from.incarnation {
            return Outcome::Stale;
        }
        match PartFrame::decode(bytes) {
            Err(_) => Outcome::Malformed,
            Ok(PartFrame::Pull {
                incarnation,
                version,
                piece,
            }) => {
                let sends = &mut out.sends;
                self.own
                    .pulled(&from.name, incarnation, version, piece, now, &mut |frame| {
                        sends.push(Outgoing::To(from.clone(), frame.encode()));
                    });
                Outcome::Applied
            }
            Ok(frame) => {
                let mut changes = Vec::new();
                let (outcome, pull) = replica.receive(frame, now, &mut changes);
                out.changes.extend(
                    changes
                        .into_iter()
                        .map(|change| (from.name.clone(), change)),
                );
                out.sends
                    .extend(pull.map(|pull| Outgoing::To(from.clone(), pull.encode())));
                outcome
            }
        }
    }

    /// Repeats pulls that were not answered, and tells the own version now and then. To be called several times per
    /// [`PartLimits::pull_interval_ms`].
    pub fn tick(&mut self, now: Millis, out: &mut Output<S::Change>) {
        self.own.tick(now);
        for (name, replica) in &mut self.siblings {
            if let Some(pull) = replica.tick(now) {
                let node = NodeId {
                    name: name.clone(),
                    incarnation: replica.incarnation(),
                };
                out.sends.push(Outgoing::To(node, pull.encode()));
            }
        }
        if now >= self.announce_at {
            self.announce_at = now.after(self.limits.announce_interval_ms);
            if !self.siblings.is_empty() {
                out.sends.push(Outgoing::All(self.own.current().encode()));
            }
        }
    }

    /// The node starts over in a new incarnation: the own state stays, at version 0, and everything known of siblings
    /// is dropped.
    pub fn restart(&mut self, incarnation: Incarnation, out: &mut Output<S::Change>) {
        let nodes: Vec<_> = self.siblings.keys().cloned().collect();
        for node in nodes {
            self.drop_replica(&node, out);
        }
        self.own.restart(incarnation);
    }

    fn push(&mut self, node: &NodeId, now: Millis, out: &mut Output<S::Change>) {
        let sends = &mut out.sends;
        self.own.push(&node.name, now, &mut |frame| {
            sends.push(Outgoing::To(node.clone(), frame.encode()))
        });
    }
}
