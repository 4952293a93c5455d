//! Any schedule of associations, joins, leaves, partitions, restarts and slow frames over three nodes.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;
use halley_bayeux::{Millis, SessionId, UserId};
use proptest::prelude::*;

use crate::parts::Outgoing;
use crate::seti::Seti;
use crate::seti::directory::Directory;
use crate::{Incarnation, NodeId, NodeName};

const NODES: usize = 3;
const USERS: usize = 4;
const SESSIONS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    Associate {
        node: usize,
        user: usize,
        session: usize,
    },
    Disassociate {
        node: usize,
        user: usize,
        session: usize,
    },
    DisassociateAll {
        node: usize,
        user: usize,
    },
    SessionRemoved {
        node: usize,
        session: usize,
    },
    Join(usize, usize),
    Cut(usize, usize),
    /// The process had been suspended: all its sessions end and it starts over.
    Restart(usize),
    Deliver(usize, usize, usize),
    /// The listener of a node is told what waits.
    Tell(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NODES;
    let tie = || (0..NODES, 0..USERS, 0..SESSIONS);
    prop_oneof![
        8 => tie().prop_map(|(node, user, session)| Step::Associate { node, user, session }),
        5 => tie().prop_map(|(node, user, session)| Step::Disassociate { node, user, session }),
        1 => (node(), 0..USERS).prop_map(|(node, user)| Step::DisassociateAll { node, user }),
        2 => (node(), 0..SESSIONS).prop_map(|(node, session)| Step::SessionRemoved { node, session }),
        3 => (node(), node()).prop_map(|(a, b)| Step::Join(a, b)),
        2 => (node(), node()).prop_map(|(a, b)| Step::Cut(a, b)),
        1 => node().prop_map(Step::Restart),
        8 => (node(), node(), 1..5_usize).prop_map(|(from, to, count)| Step::Deliver(from, to, count)),
        3 => node().prop_map(Step::Tell),
    ]
}

struct Node {
    id: NodeId,
    directory: Directory,
    sessions: Vec<SessionId>,
    /// The model: which session stands for which user.
    tied: BTreeSet<(usize, usize)>,
    /// What the listener was told.
    told: BTreeSet<(UserId, NodeName)>,
    members: BTreeSet<usize>,
    /// Per sibling what it sent, in order.
    inbox: Vec<VecDeque<Bytes>>,
}

struct Mesh {
    users: Vec<UserId>,
    nodes: Vec<Node>,
    incarnations: u64,
}

impl Mesh {
    fn new() -> Self {
        let nodes = (0..NODES).map(|node| {
            let id = NodeId {
                name: NodeName::new(&format!("n{node}")).unwrap(),
                incarnation: Incarnation(node as u64),
            };
            let mut directory =
                Directory::new(id.name.clone(), id.incarnation, Seti::default_limits());
            directory.listen();
            Node {
                id,
                directory,
                sessions: (0..SESSIONS).map(|_| SessionId::random()).collect(),
                tied: BTreeSet::new(),
                told: BTreeSet::new(),
                members: BTreeSet::new(),
                inbox: vec![VecDeque::new(); NODES],
            }
        });
        Self {
            users: (0..USERS)
                .map(|user| UserId::new(&format!("u{user}")).unwrap())
                .collect(),
            nodes: nodes.collect(),
            incarnations: NODES as u64,
        }
    }

    fn event<R>(
        &mut self,
        at: usize,
        event: impl FnOnce(&mut Directory, &mut Vec<Outgoing>) -> R,
    ) -> R {
        let mut sends = Vec::new();
        let result = event(&mut self.nodes[at].directory, &mut sends);
        let members = self.nodes[at].members.clone();
        for send in sends {
            for to in &members {
                match &send {
                    Outgoing::All(bytes) => self.nodes[*to].inbox[at].push_back(bytes.clone()),
                    Outgoing::To(id, bytes) if *id == self.nodes[*to].id => {
                        self.nodes[*to].inbox[at].push_back(bytes.clone());
                    }
                    Outgoing::To(..) => {}
                }
            }
        }
        result
    }

    fn run(&mut self, step: Step) {
        match step {
            Step::Associate {
                node,
                user,
                session,
            } => {
                let (id, name) = (self.nodes[node].sessions[session], self.users[user].clone());
                let new = self
                    .event(node, |directory, sends| {
                        directory.associate(&name, id, sends)
                    })
                    .unwrap();
                assert_eq!(new, self.nodes[node].tied.insert((user, session)));
            }
            Step::Disassociate {
                node,
                user,
                session,
            } => {
                let (id, name) = (self.nodes[node].sessions[session], self.users[user].clone());
                let was = self.event(node, |directory, sends| {
                    directory.disassociate(&name, id, sends)
                });
                assert_eq!(was, self.nodes[node].tied.remove(&(user, session)));
            }
            Step::DisassociateAll { node, user } => {
                let name = self.users[user].clone();
                let sessions = self.event(node, |directory, sends| {
                    directory.disassociate_all(&name, sends)
                });
                let tied = &mut self.nodes[node].tied;
                let before = tied.len();
                tied.retain(|(tied, _)| *tied != user);
                assert_eq!(sessions.len(), before - tied.len());
            }
            Step::SessionRemoved { node, session } => {
                let id = self.nodes[node].sessions[session];
                self.event(node, |directory, sends| {
                    directory.session_removed(id, None, sends)
                });
                self.nodes[node].tied.retain(|(_, tied)| *tied != session);
            }
            Step::Join(a, b) => self.join(a, b),
            Step::Cut(a, b) => self.cut(a, b),
            Step::Restart(node) => self.restart(node),
            Step::Deliver(from, to, count) => {
                for _ in 0..count {
                    self.deliver(from, to);
                }
            }
            Step::Tell(node) => self.tell(node),
        }
        self.check_local();
    }

    fn join(&mut self, a: usize, b: usize) {
        if a == b || !self.nodes[a].members.insert(b) {
            return;
        }
        self.nodes[b].members.insert(a);
        for (at, other) in [(a, b), (b, a)] {
            let id = self.nodes[other].id.clone();
            self.event(at, |directory, sends| {
                directory.joined(&id, Millis(0), sends)
            });
        }
    }

    fn cut(&mut self, a: usize, b: usize) {
        if !self.nodes[a].members.remove(&b) {
            return;
        }
        self.nodes[b].members.remove(&a);
        for (at, other) in [(a, b), (b, a)] {
            self.nodes[at].inbox[other].clear();
            let id = self.nodes[other].id.clone();
            self.event(at, |directory, sends| directory.left(&id, Millis(0), sends));
        }
    }

    fn restart(&mut self, node: usize) {
        for other in 0..NODES {
            self.cut(node, other);
        }
        for session in self.nodes[node].sessions.clone() {
            self.event(node, |directory, sends| {
                directory.session_removed(session, None, sends)
            });
        }
        self.nodes[node].tied.clear();
        self.incarnations += 1;
        let incarnation = Incarnation(self.incarnations);
        self.nodes[node].id.incarnation = incarnation;
        self.event(node, |directory, sends| {
            directory.restarted(incarnation, Millis(0), sends)
        });
    }

    fn deliver(&mut self, from: usize, to: usize) -> bool {
        let Some(bytes) = self.nodes[to].inbox[from].pop_front() else {
            return false;
        };
        let id = self.nodes[from].id.clone();
        self.event(to, |directory, sends| {
            directory.received(&id, bytes, Millis(0), sends)
        });
        true
    }

    fn tell(&mut self, node: usize) {
        let Node {
            directory, told, ..
        } = &mut self.nodes[node];
        while let Some(((user, at), before)) = directory.waiting().take() {
            let present = directory.is_present_at(&user, &at);
            assert_ne!(before, present, "a net change");
            let pair = (user, at);
            assert_eq!(told.contains(&pair), before);
            if present {
                told.insert(pair);
            } else {
                told.remove(&pair);
            }
        }
    }

    fn present(&self, node: usize, user: usize) -> bool {
        self.nodes[node].tied.iter().any(|(tied, _)| *tied == user)
    }

    fn check_local(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            for (user, name) in self.users.iter().enumerate() {
                assert_eq!(
                    node.directory.is_present_at(name, &node.id.name),
                    self.present(index, user)
                );
            }
        }
    }

    fn heal(&mut self) {
        for a in 0..NODES {
            for b in 0..a {
                self.join(a, b);
            }
        }
        let pairs: Vec<_> = (0..NODES)
            .flat_map(|from| (0..NODES).map(move |to| (from, to)))
            .collect();
        while pairs
            .iter()
            .filter(|(from, to)| self.deliver(*from, *to))
            .count()
            > 0
        {}
        for node in 0..NODES {
            self.tell(node);
        }
    }

    fn expect_converged(&self) {
        for (index, node) in self.nodes.iter().enumerate() {
            let mut everybody = BTreeSet::new();
            for (user, name) in self.users.iter().enumerate() {
                let nodes = (0..NODES).filter(|other| self.present(*other, user));
                let expected: BTreeSet<_> = nodes
                    .map(|other| self.nodes[other].id.name.clone())
                    .collect();
                let presence = node.directory.presence(name);
                assert_eq!(presence.len(), expected.len(), "each node once");
                assert_eq!(
                    presence.into_iter().collect::<BTreeSet<_>>(),
                    expected,
                    "{index} about {name}"
                );
                assert_eq!(node.directory.is_present(name), !expected.is_empty());
                everybody.extend(expected.into_iter().map(|at| (name.clone(), at)));
            }
            let users: Vec<_> = node.directory.users().cloned().collect();
            let distinct: BTreeSet<_> = everybody.iter().map(|(user, _)| user.clone()).collect();
            assert_eq!(users.len(), distinct.len(), "every user once");
            assert_eq!(
                node.told, everybody,
                "what the listener of {index} was told"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    /// After the network is whole, no ghost, no missing user, and listeners know exactly what is.
    #[test]
    fn directories_converge(steps in prop::collection::vec(step(), 0..200)) {
        let mut mesh = Mesh::new();
        for step in steps {
            mesh.run(step);
        }
        mesh.heal();
        mesh.expect_converged();
    }
}
