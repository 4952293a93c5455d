//! What a cluster costs each of its members by its size alone.

use std::fmt;
use std::time::{Duration, Instant};

use halley_cluster::Cluster;

use super::world::World;

/// For how long an idle cluster is measured.
const IDLE: Duration = Duration::from_secs(20);
/// All that a cluster may take to become whole.
const LIMIT: Duration = Duration::from_secs(120);
/// How often it is looked whether it is whole.
const LOOK: Duration = Duration::from_millis(100);

/// The cost of a cluster of one size.
#[derive(Clone, Copy, Debug)]
pub struct Size {
    /// Its members.
    pub nodes: usize,
    /// Virtual time from the start of all nodes until each has each other one as a member, with its user and its part of an object.
    pub whole_after: Duration,
    /// Bytes of frames that a member had sent by then, on average.
    pub sent_until_whole: f64,
    /// Bytes of frames that a member sends in each second to all siblings when nothing happens.
    pub sent_per_second: f64,
    /// The same to one sibling.
    pub sent_per_sibling: f64,
    /// Time of this machine for one second of one idle member, the simulation included.
    pub machine_time: Duration,
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} members: whole after {:.2} s and {:.0} bytes sent by each; idle, each sends {:.0} bytes/s, {:.1} to each sibling, and \
             takes {:.2} ms of this machine per second",
            self.nodes,
            self.whole_after.as_secs_f64(),
            self.sent_until_whole,
            self.sent_per_second,
            self.sent_per_sibling,
            self.machine_time.as_secs_f64() * 1000.0
        )
    }
}

/// Starts so many nodes at once, which know one of them, and measures.
///
/// # Errors
/// They do not become one full mesh, or do not stay one.
pub fn form(seed: u64, nodes: usize) -> Result<Size, String> {
    let mut world = World::new(seed, nodes);
    while !world.whole() {
        if world.sim.elapsed() > LIMIT {
            return Err(format!("not whole: {}", world.members()));
        }
        world.step_for(LOOK)?;
    }
    let whole_after = world.sim.elapsed();
    let sent_until_whole = sent(&world) / nodes as f64;
    // What is told at the start has been told.
    world.step_for(Duration::from_secs(5))?;
    let sent_before = sent(&world) / nodes as f64;
    let began = Instant::now();
    world.step_for(IDLE)?;
    let machine_time = began.elapsed();
    if !world.whole() {
        return Err(format!("no longer whole: {}", world.members()));
    }
    let sent = sent(&world) / nodes as f64 - sent_before;
    let sent_per_second = sent / IDLE.as_secs_f64();
    Ok(Size {
        nodes,
        whole_after,
        sent_until_whole,
        sent_per_second,
        sent_per_sibling: sent_per_second / (nodes - 1).max(1) as f64,
        machine_time: machine_time.div_f64(nodes as f64 * IDLE.as_secs_f64()),
    })
}

/// Bytes of frames that all nodes have sent.
fn sent(world: &World<'_>) -> f64 {
    let of = |cluster: Cluster| {
        let links = cluster.link_stats();
        links.iter().map(|link| link.bytes_sent).sum::<u64>() as f64
    };
    let slots = world.slots.iter();
    slots
        .filter_map(|slot| slot.lock().cluster.clone())
        .map(of)
        .sum()
}
