//! Runs a schedule against simulated nodes and checks what came of it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::UserId;
use parking_lot::Mutex;

use super::host::{Host, Order, PATTERNS, Slot};
use super::loss::silent_loss;
use super::schedule::{Fault, Schedule};
use super::trace::{Entry, Message, Trace, What, breach, unnoticed};

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of nodes.
    pub nodes: usize,
    /// For how long faults are made.
    pub faulty: Duration,
    /// Within which time the cluster must be whole, once all losses have been detected.
    pub converge: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 3,
            faulty: Duration::from_secs(60),
            // At most one back-off of 5 s and handshakes.
            converge: Duration::from_secs(10),
        }
    }
}

/// What came of a run.
#[derive(Clone, Debug)]
pub struct Report {
    /// Everything that happened.
    pub trace: Vec<Entry>,
    /// What was wrong, if anything was.
    pub problem: Option<String>,
}

/// How often the world looks at the nodes and makes them publish.
const PUBLISH_INTERVAL: Duration = Duration::from_millis(50);
/// Time for what was published last to arrive, and for interest to be told.
const SETTLE: Duration = Duration::from_secs(1);
/// Time for the tasks of a node to end.
const STOP: Duration = Duration::from_millis(30);
/// The default detection time, and a second for what it starts.
const DETECTION: Duration = Duration::from_secs(5);
/// Messages per node after convergence: each must arrive.
const FINAL_MESSAGES: usize = 100;

pub(super) struct World<'a> {
    pub(super) sim: turmoil::Sim<'a>,
    pub(super) slots: Vec<Arc<Mutex<Slot>>>,
    trace: Trace,
    /// Directions in which nothing passes.
    cuts: BTreeSet<(usize, usize)>,
    /// Nodes from and to which everything is held up.
    frozen: BTreeSet<usize>,
}

fn name(node: usize) -> String {
    format!("n{node}")
}

/// One run. The same seed gives the same trace.
#[must_use]
pub fn run(seed: u64, settings: Settings) -> Report {
    let mut world = World::new(seed, settings.nodes);
    let problem = world.play(seed, settings).err();
    let trace = world.trace.entries();
    let problem = breach(&trace)
        .or_else(|| unnoticed(&trace))
        .or_else(|| silent_loss(&trace))
        .or(problem);
    Report { trace, problem }
}

impl World<'_> {
    pub(super) fn new(seed: u64, nodes: usize) -> Self {
        let mut sim = turmoil::Builder::new()
            .rng_seed(seed)
            .simulation_duration(Duration::from_secs(100_000))
            .tick_duration(Duration::from_millis(2))
            .min_message_latency(Duration::from_micros(200))
            .max_message_latency(Duration::from_millis(20))
            .tcp_capacity(4096)
            .build();
        let trace = Trace::default();
        let mut slots = Vec::new();
        for index in 0..nodes {
            let slot = Arc::new(Mutex::new(Slot::default()));
            slot.lock().subscribed[index % PATTERNS.len()] = true;
            let host = Host {
                index,
                nodes,
                seed,
                slot: slot.clone(),
                trace: trace.clone(),
            };
            sim.host(name(index), move || host.clone().run());
            slots.push(slot);
        }
        Self {
            sim,
            slots,
            trace,
            cuts: BTreeSet::new(),
            frozen: BTreeSet::new(),
        }
    }

    fn play(&mut self, seed: u64, settings: Settings) -> Result<(), String> {
        let schedule = Schedule::draw(seed, settings.nodes, PATTERNS.len(), settings.faulty);
        for (at, fault) in &schedule.faults {
            while self.sim.elapsed() < *at {
                self.publish_and_step()?;
            }
            self.make(*fault)?;
        }
        // The simulated TCP does not repeat what a cut has swallowed: such a link is found out by its silence only.
        self.step_for(DETECTION)?;
        self.converge(settings)?;
        // Whoever has not subscribed to anything subscribes now.
        for slot in &self.slots {
            let mut slot = slot.lock();
            if !slot.subscribed.contains(&true) {
                slot.orders.push_back(Order::Toggle(0));
            }
        }
        self.step_for(SETTLE)?;
        let from = self.trace.entries().len();
        for _ in 0..FINAL_MESSAGES {
            self.publish_and_step()?;
        }
        self.step_for(SETTLE)?;
        self.all_arrived(from)
    }

    fn make(&mut self, fault: Fault) -> Result<(), String> {
        self.trace.add(self.sim.elapsed(), None, What::Fault(fault));
        match fault {
            Fault::Cut(a, b) => {
                self.cuts.extend([(a, b), (b, a)]);
                self.cut_or_mend(a, b);
            }
            Fault::CutOneWay(a, b) => {
                self.cuts.insert((a, b));
                self.cut_or_mend(a, b);
            }
            Fault::Mend(a, b) => {
                self.cuts.remove(&(a, b));
                self.cuts.remove(&(b, a));
                self.cut_or_mend(a, b);
            }
            Fault::Crash(a) => {
                // The sockets are closed by the node's tasks, in an order that the seed decides. When the simulation
                // drops them, the order depends on how many tasks the process has ever had.
                self.slots[a].lock().orders.push_back(Order::Stop);
                self.step_for(STOP)?;
                self.end(a);
            }
            Fault::PowerLoss(a) => {
                // Its last words go nowhere.
                for other in (0..self.slots.len()).filter(|other| *other != a) {
                    self.sim.partition(name(a), name(other));
                }
                self.end(a);
                self.cut_or_mend_all(a);
            }
            Fault::Freeze(a) => {
                self.frozen.insert(a);
                self.cut_or_mend_all(a);
            }
            Fault::Thaw(a) => {
                self.frozen.remove(&a);
                self.cut_or_mend_all(a);
            }
            Fault::Restart(a) => self.sim.bounce(name(a)),
            Fault::Toggle(a, pattern) => {
                let mut slot = self.slots[a].lock();
                slot.orders.push_back(Order::Toggle(pattern));
            }
        }
        Ok(())
    }

    fn end(&mut self, node: usize) {
        let life = self.slots[node].lock().life;
        self.trace.is_over((node, life));
        self.sim.crash(name(node));
        let mut slot = self.slots[node].lock();
        slot.cluster = None;
        slot.object = None;
    }

    fn cut_or_mend_all(&mut self, node: usize) {
        for other in (0..self.slots.len()).filter(|other| *other != node) {
            self.cut_or_mend(node, other);
        }
    }

    /// Brings the network between two nodes into the state that the faults so far have left.
    fn cut_or_mend(&mut self, a: usize, b: usize) {
        let cut = self.cuts.contains(&(a, b)) || self.cuts.contains(&(b, a));
        if !cut && (self.frozen.contains(&a) || self.frozen.contains(&b)) {
            return self.sim.hold(name(a), name(b));
        }
        self.sim.release(name(a), name(b));
        for (from, to) in [(a, b), (b, a)] {
            if self.cuts.contains(&(from, to)) {
                self.sim.partition_oneway(name(from), name(to));
            }
        }
    }

    /// Lets every node that runs publish one message, and time pass.
    fn publish_and_step(&mut self) -> Result<(), String> {
        for slot in &self.slots {
            let mut slot = slot.lock();
            if slot.cluster.is_some() {
                slot.orders.push_back(Order::Publish);
            }
        }
        self.step_for(PUBLISH_INTERVAL)
    }

    pub(super) fn step_for(&mut self, time: Duration) -> Result<(), String> {
        let until = self.sim.elapsed() + time;
        while self.sim.elapsed() < until {
            self.sim
                .step()
                .map_err(|error| format!("a node has ended: {error}"))?;
        }
        Ok(())
    }

    /// Waits until every node has every other one as a member, in its present life, with its user.
    fn converge(&mut self, settings: Settings) -> Result<(), String> {
        let deadline = self.sim.elapsed() + settings.converge;
        while !self.whole() {
            if self.sim.elapsed() > deadline {
                return Err(format!("not whole in time: {}", self.members()));
            }
            self.publish_and_step()?;
        }
        Ok(())
    }

    pub(super) fn whole(&self) -> bool {
        let clusters: Vec<_> = self
            .slots
            .iter()
            .filter_map(|slot| slot.lock().cluster.clone())
            .collect();
        let ids: Vec<_> = clusters
            .iter()
            .map(|cluster| cluster.this_node().id())
            .collect();
        // By name, and so not in the order of the slots from ten on.
        let mut all = ids.clone();
        all.sort();
        clusters.len() == self.slots.len()
            && clusters.iter().all(|cluster| {
                let mut seen: Vec<_> = cluster.members().iter().map(|m| m.id()).collect();
                seen.push(cluster.this_node().id());
                seen.sort();
                let seti = cluster.seti();
                let present = (0..ids.len()).all(|node| {
                    UserId::new(&format!("user{node}"))
                        .is_ok_and(|user| seti.presence(&user) == [ids[node].name.clone()])
                });
                seen == all && present && seti.users().len() == ids.len()
            })
            && self.same_objects()
    }

    /// Every node has every node's part as its owner has it.
    fn same_objects(&self) -> bool {
        let slots = self.slots.iter().filter_map(|slot| {
            let slot = slot.lock();
            Some((
                slot.cluster.as_ref()?.this_node().id(),
                slot.object.clone()?,
            ))
        });
        let mut objects: Vec<_> = slots.collect();
        objects.sort_by(|(a, _), (b, _)| a.cmp(b));
        let own: Vec<_> = objects
            .iter()
            .map(|(owner, object)| (owner.clone(), *object.local()))
            .collect();
        objects.iter().all(|(_, object)| {
            let parts = object.parts();
            let mut parts: Vec<_> = parts
                .iter()
                .map(|(member, value)| (member.id(), **value))
                .collect();
            parts.sort();
            parts == own
        })
    }

    pub(super) fn members(&self) -> String {
        let clusters = self
            .slots
            .iter()
            .filter_map(|slot| slot.lock().cluster.clone());
        let lines = clusters.map(|cluster| {
            let members: Vec<_> = cluster
                .members()
                .iter()
                .map(|m| m.id().to_string())
                .collect();
            format!("{} sees {members:?}", cluster.this_node().id())
        });
        lines.collect::<Vec<_>>().join("; ")
    }

    /// Every message published since that entry has arrived at every node.
    fn all_arrived(&self, from: usize) -> Result<(), String> {
        let entries = self.trace.entries();
        let published: Vec<Message> = entries[from..]
            .iter()
            .filter_map(|entry| match entry.what {
                What::Published(message) | What::Sent(message, _) => Some(message),
                _ => None,
            })
            .collect();
        if published.len() < self.slots.len() * FINAL_MESSAGES {
            return Err(format!(
                "only {} messages were published at the end",
                published.len()
            ));
        }
        for node in 0..self.slots.len() {
            let got: BTreeSet<Message> = entries[from..]
                .iter()
                .filter(|entry| entry.node.is_some_and(|(at, _)| at == node))
                .filter_map(|entry| match entry.what {
                    What::Delivered(message) | What::Taken(message) => Some(message),
                    _ => None,
                })
                .collect();
            if let Some(missing) = published.iter().find(|message| !got.contains(message)) {
                return Err(format!("{missing:?} did not arrive at n{node}"));
            }
        }
        Ok(())
    }
}
