//! Nodes that exchange state in memory: what a `StateSender` and whoever calls the `StateHandler`s owe, without links.

#![allow(dead_code, reason = "each test binary uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test double")]

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use halley_cluster::{
    Incarnation, Member, NodeId, NodeName, SendError, StateChannel, StateHandler, StateSender,
};
use parking_lot::Mutex;

pub(crate) fn node_name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

#[derive(Clone, Default)]
pub(crate) struct Mesh {
    inner: Arc<Mutex<Inner>>,
    /// Held by whoever delivers, so that handlers are called one at a time.
    delivering: Arc<Mutex<()>>,
}

#[derive(Default)]
struct Inner {
    nodes: BTreeMap<NodeName, Node>,
    /// Both orders of each pair that joined.
    links: HashSet<(NodeName, NodeName)>,
    incarnations: u64,
}

struct Node {
    member: Member,
    handlers: BTreeMap<StateChannel, Arc<dyn StateHandler>>,
    inbox: VecDeque<Event>,
}

#[derive(Clone)]
enum Event {
    Joined(Member),
    Left(Member),
    Received(Member, StateChannel, Bytes),
    Restarted(Member),
    Tick,
}

/// One node's way to the others.
struct Port {
    mesh: Mesh,
    name: NodeName,
}

impl Mesh {
    /// A node that nobody is linked to yet.
    pub(crate) fn add(&self, name: &str) -> Arc<dyn StateSender> {
        let name = node_name(name);
        let mut inner = self.inner.lock();
        let member = inner.new_life(&name);
        inner.nodes.insert(
            name.clone(),
            Node {
                member,
                handlers: BTreeMap::new(),
                inbox: VecDeque::new(),
            },
        );
        Arc::new(Port {
            mesh: self.clone(),
            name,
        })
    }

    pub(crate) fn register(
        &self,
        name: &str,
        channel: StateChannel,
        handler: Arc<dyn StateHandler>,
    ) {
        self.inner
            .lock()
            .node(name)
            .handlers
            .insert(channel, handler);
    }

    pub(crate) fn join(&self, a: &str, b: &str) {
        let mut inner = self.inner.lock();
        let (a, b) = (inner.node(a).member.clone(), inner.node(b).member.clone());
        if !inner.links.insert((a.name.clone(), b.name.clone())) {
            return;
        }
        inner.links.insert((b.name.clone(), a.name.clone()));
        inner.push(&a.name, Event::Joined(b.clone()));
        inner.push(&b.name, Event::Joined(a));
    }

    /// The links between two nodes are reset: each leaves for the other, and what was under way is lost.
    pub(crate) fn cut(&self, a: &str, b: &str) {
        self.inner.lock().cut(&node_name(a), &node_name(b));
    }

    /// The process ends without a word.
    pub(crate) fn crash(&self, name: &str) {
        let mut inner = self.inner.lock();
        inner.cut_all(&node_name(name));
        inner.nodes.remove(&node_name(name));
    }

    /// The process had been suspended and starts over.
    pub(crate) fn restart(&self, name: &str) {
        let mut inner = self.inner.lock();
        let name = node_name(name);
        inner.cut_all(&name);
        let member = inner.new_life(&name);
        inner.node(name.as_str()).member = member.clone();
        inner.push(&name, Event::Restarted(member));
    }

    /// What the cluster does about every 250 ms.
    pub(crate) fn tick(&self) {
        let mut inner = self.inner.lock();
        for node in inner.nodes.values_mut() {
            node.inbox.push_back(Event::Tick);
        }
    }

    /// Delivers what waits for one node, at most `count` events. Returns how many there were.
    pub(crate) fn deliver(&self, name: &str, count: usize) -> usize {
        let _delivering = self.delivering.lock();
        for delivered in 0..count {
            let next = {
                let mut inner = self.inner.lock();
                let Some(node) = inner.nodes.get_mut(&node_name(name)) else {
                    return delivered;
                };
                node.inbox
                    .pop_front()
                    .map(|event| (event, node.handlers.clone()))
            };
            let Some((event, handlers)) = next else {
                return delivered;
            };
            for (channel, handler) in &handlers {
                match &event {
                    Event::Joined(member) => handler.joined(member),
                    Event::Left(member) => handler.left(member),
                    Event::Received(from, on, body) if on == channel => {
                        handler.received(from, body.clone())
                    }
                    Event::Received(..) => {}
                    Event::Restarted(this_node) => handler.restarted(this_node),
                    Event::Tick => handler.tick(),
                }
            }
        }
        count
    }

    /// Delivers until nothing waits for anybody.
    pub(crate) fn settle(&self) {
        loop {
            let names: Vec<_> = self.inner.lock().nodes.keys().cloned().collect();
            let delivered: usize = names
                .iter()
                .map(|name| self.deliver(name.as_str(), 64))
                .sum();
            if delivered == 0 {
                return;
            }
        }
    }

    /// How many frames of one channel wait for a node.
    pub(crate) fn frames_waiting(&self, name: &str, channel: StateChannel) -> usize {
        let mut inner = self.inner.lock();
        let inbox = &inner.node(name).inbox;
        inbox
            .iter()
            .filter(|event| matches!(event, Event::Received(_, on, _) if *on == channel))
            .count()
    }

    /// Delivers a frame as if it had been under way since before `from` left, or was sent by an earlier life of it.
    pub(crate) fn inject(&self, from: Member, to: &str, channel: StateChannel, body: Bytes) {
        self.inner
            .lock()
            .push(&node_name(to), Event::Received(from, channel, body));
    }

    /// The frames that wait for a node, with their senders.
    pub(crate) fn waiting(&self, name: &str) -> Vec<(Member, StateChannel, Bytes)> {
        let mut inner = self.inner.lock();
        let frames = inner
            .node(name)
            .inbox
            .iter()
            .filter_map(|event| match event {
                Event::Received(from, on, body) => Some((from.clone(), *on, body.clone())),
                _ => None,
            });
        frames.collect()
    }
}

impl Inner {
    fn node(&mut self, name: &str) -> &mut Node {
        self.nodes.get_mut(&node_name(name)).unwrap()
    }

    fn new_life(&mut self, name: &NodeName) -> Member {
        self.incarnations += 1;
        Member {
            name: name.clone(),
            incarnation: Incarnation(self.incarnations),
            mesh_address: ([127, 0, 0, 1], 7400).into(),
            client_url: format!("ws://{name}/"),
        }
    }

    fn push(&mut self, to: &NodeName, event: Event) {
        if let Some(node) = self.nodes.get_mut(to) {
            node.inbox.push_back(event);
        }
    }

    fn cut(&mut self, a: &NodeName, b: &NodeName) {
        for (at, gone) in [(a, b), (b, a)] {
            if !self.links.remove(&(at.clone(), gone.clone())) {
                continue;
            }
            let member = self.nodes[gone].member.clone();
            if let Some(node) = self.nodes.get_mut(at) {
                node.inbox.retain(
                    |event| !matches!(event, Event::Received(from, ..) if from.name == *gone),
                );
                node.inbox.push_back(Event::Left(member));
            }
        }
    }

    fn cut_all(&mut self, name: &NodeName) {
        let others: Vec<_> = self
            .nodes
            .keys()
            .filter(|other| *other != name)
            .cloned()
            .collect();
        for other in others {
            self.cut(name, &other);
        }
    }

    fn members(&self, of: &NodeName) -> Vec<Member> {
        let linked = self
            .nodes
            .iter()
            .filter(|(name, _)| self.links.contains(&(of.clone(), (*name).clone())));
        linked.map(|(_, node)| node.member.clone()).collect()
    }
}

impl StateSender for Port {
    fn this_node(&self) -> Member {
        self.mesh
            .inner
            .lock()
            .node(self.name.as_str())
            .member
            .clone()
    }

    fn members(&self) -> Vec<Member> {
        self.mesh.inner.lock().members(&self.name)
    }

    fn send_state(&self, to: &NodeId, channel: StateChannel, body: Bytes) -> Result<(), SendError> {
        let mut inner = self.mesh.inner.lock();
        if !inner
            .members(&self.name)
            .iter()
            .any(|member| member.id() == *to)
        {
            return Err(SendError::NotMember(to.clone()));
        }
        let from = inner.node(self.name.as_str()).member.clone();
        inner.push(&to.name, Event::Received(from, channel, body));
        Ok(())
    }

    fn broadcast_state(&self, channel: StateChannel, body: Bytes) -> usize {
        let members = self.members();
        members
            .iter()
            .filter(|member| self.send_state(&member.id(), channel, body.clone()).is_ok())
            .count()
    }
}
