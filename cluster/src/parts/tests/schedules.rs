//! Any schedule of changes, joins, leaves, restarts and lost, late and doubled frames, then a quiet period.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use halley_bayeux::Millis;
use proptest::prelude::*;

use super::log_state::{Log, LogChange};
use crate::parts::{Outgoing, Output, PartLimits, Parts};
use crate::{Incarnation, NodeId, NodeName};

const NODES: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Change(usize, u8),
    /// A change that does not fit into one frame.
    LongChange(usize),
    /// Delivers the frame at this place of a pair's queue, whatever stands before it.
    Deliver(usize, usize, usize),
    Double(usize, usize, usize),
    Lose(usize, usize, usize),
    /// *left* on one side only; frames under way stay under way.
    Left(usize, usize),
    Joined(usize, usize),
    Restart(usize),
    Time(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let node = 0..NODES;
    let pair = (0..NODES, 0..NODES);
    let frame = (0..NODES, 0..NODES, 0..6_usize);
    prop_oneof![
        6 => (node.clone(), 0..200_u8).prop_map(|(node, byte)| Step::Change(node, byte)),
        1 => node.clone().prop_map(Step::LongChange),
        12 => frame.clone().prop_map(|(from, to, at)| Step::Deliver(from, to, at)),
        2 => frame.clone().prop_map(|(from, to, at)| Step::Double(from, to, at)),
        3 => frame.prop_map(|(from, to, at)| Step::Lose(from, to, at)),
        1 => pair.clone().prop_map(|(at, gone)| Step::Left(at, gone)),
        2 => pair.prop_map(|(at, new)| Step::Joined(at, new)),
        1 => node.prop_map(Step::Restart),
        3 => (1..3_000_u64).prop_map(Step::Time),
    ]
}

struct Node {
    parts: Parts<Log>,
    /// What a listener on this node holds, built from nothing but the changes it was told.
    listener: HashMap<NodeName, Vec<u8>>,
    /// The newest version this node had of each sibling's incarnation, whoever left in between.
    newest: HashMap<NodeId, u64>,
}

struct Mesh {
    now: u64,
    incarnations: u64,
    names: Vec<NodeName>,
    nodes: Vec<Node>,
    frames: BTreeMap<(usize, usize), Vec<(NodeId, Bytes)>>,
}

fn limits() -> PartLimits {
    PartLimits {
        piece_bytes: 4,
        window_pieces: 2,
        held_bytes_max: 400,
        ..PartLimits::default()
    }
}

impl Mesh {
    fn new() -> Self {
        let names = (0..NODES)
            .map(|node| NodeName::new(&format!("n{node}")).unwrap())
            .collect();
        let nodes = (0..NODES)
            .map(|node| Node {
                parts: Parts::new(Incarnation(node as u64), Log::default(), limits()).unwrap(),
                listener: HashMap::new(),
                newest: HashMap::new(),
            })
            .collect();
        Self {
            now: 0,
            incarnations: NODES as u64,
            names,
            nodes,
            frames: BTreeMap::new(),
        }
    }

    fn id(&self, node: usize) -> NodeId {
        NodeId {
            name: self.names[node].clone(),
            incarnation: self.nodes[node].parts.own().incarnation(),
        }
    }

    fn index(&self, name: &NodeName) -> usize {
        self.names.iter().position(|known| known == name).unwrap()
    }

    /// Carries out what an event on `at` led to.
    fn carry(&mut self, at: usize, out: Output<LogChange>) {
        let from = self.id(at);
        for (owner, (before, after)) in out.changes {
            let node = &mut self.nodes[at];
            let told = node.listener.remove(&owner);
            assert_eq!(
                told, before,
                "each change begins where the last one told ended"
            );
            assert_ne!(before, after, "only what changed is told");
            if let (Some(before), Some(after)) = (&before, &after) {
                assert!(after.starts_with(before), "never back");
            }
            if let Some(after) = after {
                node.listener.insert(owner, after);
            }
        }
        for send in out.sends {
            match send {
                // As the links do: what is meant for an earlier life of the sibling is not sent.
                Outgoing::To(to, bytes) => {
                    let to_index = self.index(&to.name);
                    if self.id(to_index) == to {
                        self.frames
                            .entry((at, to_index))
                            .or_default()
                            .push((from.clone(), bytes));
                    }
                }
                Outgoing::All(bytes) => {
                    let members: Vec<_> = self.nodes[at]
                        .parts
                        .replicas()
                        .map(|(name, _)| name.clone())
                        .collect();
                    for name in members {
                        let to = self.index(&name);
                        self.frames
                            .entry((at, to))
                            .or_default()
                            .push((from.clone(), bytes.clone()));
                    }
                }
            }
        }
        self.check(at);
    }

    /// A replica is a beginning of what its owner has, and what the listener was told is the replica.
    fn check(&mut self, at: usize) {
        self.check_versions(at);
        let node = &self.nodes[at];
        let mut known = 0;
        for (name, replica) in node.parts.replicas() {
            let Some(state) = replica.state() else {
                continue;
            };
            known += 1;
            assert_eq!(
                node.listener.get(name),
                Some(&state.0),
                "the listener of {at} about {name}"
            );
            let owner = &self.nodes[self.index(name)].parts;
            if owner.own().incarnation() == replica.incarnation() {
                assert!(
                    owner.own().state().0.starts_with(&state.0),
                    "{at} about {name}"
                );
            }
        }
        assert_eq!(node.listener.len(), known);
    }

    fn check_versions(&mut self, at: usize) {
        let Node { parts, newest, .. } = &mut self.nodes[at];
        for (name, replica) in parts.replicas() {
            let Some(version) = replica.version() else {
                continue;
            };
            let id = NodeId {
                name: name.clone(),
                incarnation: replica.incarnation(),
            };
            let newest = newest.entry(id).or_insert(version);
            assert!(
                version >= *newest,
                "{at} about {name} went from {newest} to {version}"
            );
            *newest = version;
        }
    }

    fn event(
        &mut self,
        at: usize,
        event: impl FnOnce(&mut Parts<Log>, Millis, &mut Output<LogChange>),
    ) {
        let mut out = Output::default();
        event(&mut self.nodes[at].parts, Millis(self.now), &mut out);
        self.carry(at, out);
    }

    fn deliver(&mut self, from: usize, to: usize, at: usize, remove: bool) {
        let Some(queue) = self.frames.get_mut(&(from, to)) else {
            return;
        };
        if at >= queue.len() {
            return;
        }
        let (sender, bytes) = if remove {
            queue.remove(at)
        } else {
            queue[at].clone()
        };
        self.event(to, |parts, now, out| {
            parts.received(&sender, bytes, now, out);
        });
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Change(node, byte) => {
                self.event(node, |parts, _, out| parts.change(vec![byte], out).unwrap())
            }
            Step::LongChange(node) => {
                self.event(node, |parts, _, out| parts.change(vec![7; 9], out).unwrap())
            }
            Step::Deliver(from, to, at) => self.deliver(from, to, at, true),
            Step::Double(from, to, at) => self.deliver(from, to, at, false),
            Step::Lose(from, to, at) => {
                if let Some(queue) = self.frames.get_mut(&(from, to))
                    && at < queue.len()
                {
                    queue.remove(at);
                }
            }
            Step::Left(at, gone) if at != gone => {
                let gone = self.id(gone);
                self.event(at, |parts, _, out| parts.left(&gone, out));
            }
            Step::Joined(at, new) if at != new => {
                let new = self.id(new);
                self.event(at, |parts, now, out| parts.joined(&new, now, out));
            }
            Step::Left(..) | Step::Joined(..) => {}
            Step::Restart(node) => {
                self.incarnations += 1;
                let incarnation = Incarnation(self.incarnations);
                self.event(node, |parts, _, out| parts.restart(incarnation, out));
            }
            Step::Time(ms) => self.time(ms),
        }
    }

    fn time(&mut self, ms: u64) {
        self.now += ms;
        for node in 0..NODES {
            self.event(node, Parts::tick);
        }
    }

    /// Everybody learns the true members; frames arrive in order and none is lost.
    fn heal(&mut self) {
        for at in 0..NODES {
            for other in (0..NODES).filter(|other| *other != at) {
                let member = self.id(other);
                let stale = self.nodes[at]
                    .parts
                    .replica(&member.name)
                    .map(|replica| NodeId {
                        name: member.name.clone(),
                        incarnation: replica.incarnation(),
                    });
                if let Some(stale) = stale.filter(|stale| *stale != member) {
                    self.event(at, |parts, _, out| parts.left(&stale, out));
                }
                if self.nodes[at].parts.replica(&member.name).is_none() {
                    self.event(at, |parts, now, out| parts.joined(&member, now, out));
                }
            }
        }
        // Five seconds: one announcement of the version and one repetition of a pull lie in them.
        for _ in 0..20 {
            self.drain();
            self.time(250);
        }
        self.drain();
    }

    fn drain(&mut self) {
        let mut frames = 0;
        while let Some(pair) = self
            .frames
            .iter()
            .find(|(_, queue)| !queue.is_empty())
            .map(|(pair, _)| *pair)
        {
            self.deliver(pair.0, pair.1, 0, true);
            frames += 1;
            assert!(frames < 10_000, "frames beget frames without end");
        }
    }

    fn expect_converged(&mut self) {
        for at in 0..NODES {
            for other in (0..NODES).filter(|other| *other != at) {
                let replica = self.nodes[at].parts.replica(&self.names[other]).unwrap();
                let own = self.nodes[other].parts.own();
                assert_eq!(replica.incarnation(), own.incarnation());
                assert_eq!(replica.version(), Some(own.version()), "{at} about {other}");
                assert_eq!(replica.state(), Some(own.state()), "{at} about {other}");
                assert!(!replica.is_behind());
            }
            self.check(at);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// Within five seconds of a quiet network all replicas are their owners' states; before that they never went back,
    /// and the listeners were told each net change.
    #[test]
    fn replicas_converge_and_never_go_back(steps in prop::collection::vec(step(), 0..150)) {
        let mut mesh = Mesh::new();
        for at in 0..NODES {
            for other in 0..NODES {
                mesh.run(Step::Joined(at, other));
            }
        }
        for step in steps {
            mesh.run(step);
        }
        mesh.heal();
        mesh.expect_converged();
    }

    /// No bytes of a sibling end the process or are taken for a state they are not.
    #[test]
    fn any_bytes_are_answered(frames in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..50)) {
        let mut mesh = Mesh::new();
        mesh.run(Step::Joined(0, 1));
        let sender = mesh.id(1);
        for mut frame in frames {
            if let Some(tag) = frame.first_mut() {
                *tag %= 5;
            }
            // Half of them in the right incarnation.
            if frame.len() > 9 && frame[9] & 1 == 0 {
                frame[1..9].copy_from_slice(&sender.incarnation.0.to_le_bytes());
            }
            let mut out = Output::default();
            mesh.nodes[0].parts.received(&sender, frame.into(), Millis(0), &mut out);
        }
    }
}
