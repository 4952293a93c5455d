//! Any schedule of changes, deliveries, cuts, crashes and suspensions, then a quiet period: maps and lists converge, no
//! entry is lost, and nothing older comes back.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../cluster/tests/memory_mesh/mod.rs"]
mod memory_mesh;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use halley_cluster::parts::PartLimits;
use halley_cluster::{Clock, Member, NodeName, StateChannel};
use halley_replication::{ListListener, MapListener, Objects, OortList, OortMap};
use memory_mesh::Mesh;
use parking_lot::Mutex;
use proptest::prelude::*;

const NAMES: [&str; 3] = ["a", "b", "c"];
/// Every change of a map puts the next number here.
const TICKS: &str = "ticks";

#[derive(Debug, Clone)]
enum Step {
    Put(usize, u8),
    Remove(usize, u8),
    Set(usize, u8),
    Add(usize, u8),
    RemoveElement(usize, u8),
    SetList(usize, u8),
    Deliver(usize, usize),
    Cut(usize, usize),
    Join(usize, usize),
    /// The process ends, and another one takes its name.
    Crash(usize),
    /// The process had been suspended.
    Restart(usize),
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 0..NAMES.len();
    let change = || (node(), 0..6_u8);
    prop_oneof![
        6 => change().prop_map(|(node, key)| Step::Put(node, key)),
        2 => change().prop_map(|(node, key)| Step::Remove(node, key)),
        1 => change().prop_map(|(node, keys)| Step::Set(node, keys)),
        5 => change().prop_map(|(node, element)| Step::Add(node, element)),
        2 => change().prop_map(|(node, element)| Step::RemoveElement(node, element)),
        1 => change().prop_map(|(node, elements)| Step::SetList(node, elements)),
        12 => (node(), 1..4_usize).prop_map(|(node, count)| Step::Deliver(node, count)),
        2 => (node(), node()).prop_map(|(a, b)| Step::Cut(a, b)),
        3 => (node(), node()).prop_map(|(a, b)| Step::Join(a, b)),
        1 => node().prop_map(Step::Crash),
        1 => node().prop_map(Step::Restart),
        1 => Just(Step::Tick),
    ]
}

/// What a listener holds, built from nothing but what it was told.
#[derive(Default)]
struct Copies {
    maps: Mutex<HashMap<NodeName, BTreeMap<String, u64>>>,
    lists: Mutex<HashMap<NodeName, Vec<u8>>>,
}

impl MapListener<String, u64> for Copies {
    fn put(&self, member: &Member, key: &String, old: Option<&Arc<u64>>, new: &Arc<u64>) {
        let mut maps = self.maps.lock();
        let told = maps
            .entry(member.name.clone())
            .or_default()
            .insert(key.clone(), **new);
        assert_eq!(
            told.as_ref(),
            old.map(|old| &**old),
            "begins where the last one ended"
        );
    }

    fn removed(&self, member: &Member, key: &String, old: &Arc<u64>) {
        let mut maps = self.maps.lock();
        let told = maps.entry(member.name.clone()).or_default().remove(key);
        assert_eq!(told, Some(**old), "begins where the last one ended");
    }
}

impl ListListener<u8> for Copies {
    fn added(&self, member: &Member, elements: &[Arc<u8>]) {
        let mut lists = self.lists.lock();
        let list = lists.entry(member.name.clone()).or_default();
        list.extend(elements.iter().map(|element| **element));
        list.sort_unstable();
    }

    fn removed(&self, member: &Member, elements: &[Arc<u8>]) {
        let mut lists = self.lists.lock();
        let list = lists.entry(member.name.clone()).or_default();
        for element in elements {
            let at = list.iter().position(|told| *told == **element);
            list.remove(at.expect("was told as added"));
        }
    }
}

struct Node {
    map: OortMap<String, u64>,
    list: OortList<u8>,
    copies: Arc<Copies>,
    /// The newest change of each process that this one had.
    newest: HashMap<Member, u64>,
}

struct World {
    mesh: Mesh,
    nodes: Vec<Node>,
    ticks: u64,
}

/// Snapshots in pieces and windows; a whole map of five entries does not travel as one change.
fn limits() -> PartLimits {
    PartLimits {
        piece_bytes: 40,
        window_pieces: 2,
        held_bytes_max: 400,
        ..PartLimits::default()
    }
}

fn node(mesh: &Mesh, name: &str) -> Node {
    let objects = Objects::new(mesh.add(name), Clock::start());
    mesh.register(name, StateChannel::OBJECTS, Arc::new(objects.clone()));
    let map = OortMap::with_limits(&objects, "map", limits()).unwrap();
    let list = OortList::with_limits(&objects, "list", limits()).unwrap();
    let copies = Arc::new(Copies::default());
    map.add_listener(copies.clone());
    list.add_listener(copies.clone());
    Node {
        map,
        list,
        copies,
        newest: HashMap::new(),
    }
}

impl World {
    fn new() -> Self {
        let mesh = Mesh::default();
        let nodes = NAMES.iter().map(|name| node(&mesh, name)).collect();
        Self {
            mesh,
            nodes,
            ticks: 0,
        }
    }

    fn run(&mut self, step: Step) {
        let key = |key: u8| format!("key {key}");
        match step {
            Step::Put(at, name) => self.change(at, |map, tick| {
                map.put(key(name), tick).unwrap();
            }),
            Step::Remove(at, name) => self.change(at, |map, _| {
                map.remove(&key(name)).unwrap();
            }),
            Step::Set(at, names) => {
                self.ticks += 1;
                let entries = (0..names).map(|name| (key(name), self.ticks));
                let ticks = std::iter::once((TICKS.to_owned(), self.ticks));
                self.nodes[at].map.set(entries.chain(ticks)).unwrap();
            }
            Step::Add(at, element) => self.nodes[at]
                .list
                .add_all([element, element])
                .unwrap_or(false)
                .then_some(())
                .unwrap(),
            Step::RemoveElement(at, element) => {
                self.nodes[at].list.remove(element).unwrap();
            }
            Step::SetList(at, elements) => {
                self.nodes[at].list.set(0..elements * 4).unwrap();
            }
            Step::Deliver(at, count) => {
                self.mesh.deliver(NAMES[at], count);
            }
            Step::Cut(a, b) if a != b => self.mesh.cut(NAMES[a], NAMES[b]),
            Step::Join(a, b) if a != b => self.mesh.join(NAMES[a], NAMES[b]),
            Step::Cut(..) | Step::Join(..) => {}
            Step::Crash(at) => {
                self.mesh.crash(NAMES[at]);
                self.nodes[at] = node(&self.mesh, NAMES[at]);
            }
            Step::Restart(at) => self.mesh.restart(NAMES[at]),
            Step::Tick => self.mesh.tick(),
        }
        self.check_order();
    }

    fn change(&mut self, at: usize, change: impl FnOnce(&OortMap<String, u64>, u64)) {
        self.ticks += 1;
        let map = &self.nodes[at].map;
        change(map, self.ticks);
        map.put(TICKS.to_owned(), self.ticks).unwrap();
    }

    /// What a node has of a process never goes back.
    fn check_order(&mut self) {
        for node in &mut self.nodes {
            for (member, part) in node.map.parts() {
                let tick = part.get(TICKS).map_or(0, |tick| **tick);
                let newest = node.newest.entry(member).or_insert(tick);
                assert!(tick >= *newest, "from {newest} back to {tick}");
                *newest = tick;
            }
        }
    }

    fn heal(&mut self) {
        for (index, name) in NAMES.iter().enumerate() {
            for other in &NAMES[index + 1..] {
                self.mesh.join(name, other);
            }
        }
        self.mesh.settle();
    }

    fn expect_converged(&self) {
        for (at, node) in self.nodes.iter().enumerate() {
            for (name, owner) in NAMES.iter().zip(&self.nodes) {
                let name = NodeName::new(name).unwrap();
                let (map, list) = (owner.map.local(), owner.list.local());
                assert_eq!(node.map.part(&name), Some(map.clone()), "{at} about {name}");
                assert_eq!(
                    node.list.part(&name),
                    Some(list.clone()),
                    "{at} about {name}"
                );
                let map: BTreeMap<_, _> = map
                    .iter()
                    .map(|(key, value)| (key.clone(), **value))
                    .collect();
                let mut list: Vec<_> = list.iter().map(|element| **element).collect();
                list.sort_unstable();
                let copy = node
                    .copies
                    .maps
                    .lock()
                    .get(&name)
                    .cloned()
                    .unwrap_or_default();
                assert_eq!(copy, map, "what {at} was told about {name}");
                let copy = node
                    .copies
                    .lists
                    .lock()
                    .get(&name)
                    .cloned()
                    .unwrap_or_default();
                assert_eq!(copy, list, "what {at} was told about {name}");
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn maps_and_lists_converge_and_never_go_back(steps in prop::collection::vec(step(), 0..120)) {
        let mut world = World::new();
        world.heal();
        for step in steps {
            world.run(step);
        }
        world.heal();
        world.check_order();
        world.expect_converged();
    }
}
