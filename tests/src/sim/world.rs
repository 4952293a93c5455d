//! Runs a schedule against simulated nodes and checks what came of it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::host::{Host, Order, PATTERNS, Slot};
use super::schedule::{Fault, Schedule};
use super::trace::{Entry, Message, Trace, What, breach};

/// What is simulated.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Number of nodes.
    pub nodes: usize,
    /// For how long faults are made.
    pub faulty: Duration,
    /// Within which time after the last fault the cluster must be whole.
    pub converge: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            nodes: 3,
            faulty: Duration::from_secs(60),
            // Detection 4 s, then at most one back-off of 5 s and a handshake.
            converge: Duration::from_secs(15),
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
/// Messages per node after convergence: each must arrive.
const FINAL_MESSAGES: usize = 100;

struct World<'a> {
    sim: turmoil::Sim<'a>,
    slots: Vec<Arc<Mutex<Slot>>>,
    trace: Trace,
}

/// One run. The same seed gives the same trace.
#[must_use]
pub fn run(seed: u64, settings: Settings) -> Report {
    let mut sim = turmoil::Builder::new()
        .rng_seed(seed)
        .simulation_duration(Duration::from_secs(100_000))
        .tick_duration(Duration::from_millis(1))
        .min_message_latency(Duration::from_micros(200))
        .max_message_latency(Duration::from_millis(20))
        .tcp_capacity(4096)
        .build();
    let trace = Trace::default();
    let mut slots = Vec::new();
    for index in 0..settings.nodes {
        let slot = Arc::new(Mutex::new(Slot::default()));
        slot.lock().subscribed[index % PATTERNS.len()] = true;
        let host = Host {
            index,
            nodes: settings.nodes,
            seed,
            slot: slot.clone(),
            trace: trace.clone(),
        };
        sim.host(format!("n{index}"), move || host.clone().run());
        slots.push(slot);
    }
    let mut world = World { sim, slots, trace };
    let problem = world.play(seed, settings).err();
    let trace = world.trace.entries();
    let problem = breach(&trace).or(problem);
    Report { trace, problem }
}

impl World<'_> {
    fn play(&mut self, seed: u64, settings: Settings) -> Result<(), String> {
        let schedule = Schedule::draw(seed, settings.nodes, PATTERNS.len(), settings.faulty);
        for (at, fault) in &schedule.faults {
            while self.sim.elapsed() < *at {
                self.publish_and_step()?;
            }
            self.make(*fault);
        }
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

    fn make(&mut self, fault: Fault) {
        self.trace
            .add(self.sim.elapsed(), None, What::Fault(fault.to_string()));
        let name = |node: usize| format!("n{node}");
        match fault {
            Fault::Cut(a, b) => self.sim.partition(name(a), name(b)),
            Fault::CutOneWay(a, b) => self.sim.partition_oneway(name(a), name(b)),
            Fault::Mend(a, b) => self.sim.repair(name(a), name(b)),
            Fault::Crash(a) => {
                self.sim.crash(name(a));
                self.slots[a].lock().cluster = None;
            }
            Fault::Restart(a) => self.sim.bounce(name(a)),
            Fault::Toggle(a, pattern) => {
                self.slots[a]
                    .lock()
                    .orders
                    .push_back(Order::Toggle(pattern));
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

    fn step_for(&mut self, time: Duration) -> Result<(), String> {
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

    fn whole(&self) -> bool {
        let clusters: Vec<_> = self
            .slots
            .iter()
            .filter_map(|slot| slot.lock().cluster.clone())
            .collect();
        let ids: Vec<_> = clusters
            .iter()
            .map(|cluster| cluster.this_node().id())
            .collect();
        clusters.len() == self.slots.len()
            && clusters.iter().all(|cluster| {
                let mut seen: Vec<_> = cluster.members().iter().map(|m| m.id()).collect();
                seen.push(cluster.this_node().id());
                seen.sort();
                let users = cluster.seti().users().len();
                seen == ids && users == ids.len()
            })
    }

    fn members(&self) -> String {
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
                What::Published(message) => Some(message),
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
            let got: std::collections::BTreeSet<Message> = entries[from..]
                .iter()
                .filter(|entry| entry.node.is_some_and(|(at, _)| at == node))
                .filter_map(|entry| match entry.what {
                    What::Delivered(message) => Some(message),
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
