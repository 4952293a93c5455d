//! The faults of a run, drawn from its seed.

use std::fmt;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Something that goes wrong, or is done, or is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing passes between two nodes.
    Cut(usize, usize),
    /// Nothing passes from the first to the second.
    CutOneWay(usize, usize),
    /// Everything passes again.
    Mend(usize, usize),
    /// The process of a node ends: its sockets are closed.
    Crash(usize),
    /// A node ends without a word.
    PowerLoss(usize),
    /// Nothing passes between a node and the others until it thaws, and then all of it does: late, and in order. A process that is
    /// stopped looks like this to the others.
    Freeze(usize),
    /// What was held passes.
    Thaw(usize),
    /// A crashed node starts again.
    Restart(usize),
    /// A node subscribes to, or no longer to, a pattern.
    Toggle(usize, usize),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Cut(a, b) => write!(f, "cut n{a} | n{b}"),
            Fault::CutOneWay(a, b) => write!(f, "cut n{a} -> n{b}"),
            Fault::Mend(a, b) => write!(f, "mend n{a} - n{b}"),
            Fault::Crash(a) => write!(f, "crash n{a}"),
            Fault::PowerLoss(a) => write!(f, "power loss of n{a}"),
            Fault::Freeze(a) => write!(f, "freeze n{a}"),
            Fault::Thaw(a) => write!(f, "thaw n{a}"),
            Fault::Restart(a) => write!(f, "restart n{a}"),
            Fault::Toggle(a, pattern) => write!(f, "toggle pattern {pattern} on n{a}"),
        }
    }
}

/// What happens when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Instants from the beginning, in order.
    pub faults: Vec<(Duration, Fault)>,
    /// When everything is mended and everybody runs.
    pub healed: Duration,
}

impl Schedule {
    /// Draws a schedule for a number of nodes.
    #[must_use]
    pub fn draw(seed: u64, nodes: usize, patterns: usize, faulty: Duration) -> Self {
        let mut random = StdRng::seed_from_u64(seed ^ 0x5eed_5ced);
        let mut faults = Vec::new();
        let mut down = vec![false; nodes];
        let mut at = Duration::from_millis(random.random_range(500..3000));
        while at < faulty {
            let node = random.random_range(0..nodes);
            let other = (node + random.random_range(1..nodes)) % nodes;
            let fault = match random.random_range(0..14) {
                0 | 1 => Fault::Cut(node, other),
                2 => Fault::CutOneWay(node, other),
                3 | 4 => Fault::Mend(node, other),
                5 | 6 => {
                    // Mostly shorter than the detection time, so that links go on without loss.
                    let mended = at + Duration::from_millis(random.random_range(20..5000));
                    faults.push((mended.min(faulty), Fault::Mend(node, other)));
                    match random.random() {
                        true => Fault::Cut(node, other),
                        false => Fault::CutOneWay(node, other),
                    }
                }
                7 => {
                    let thawed = at + Duration::from_millis(random.random_range(20..9000));
                    faults.push((thawed.min(faulty), Fault::Thaw(node)));
                    Fault::Freeze(node)
                }
                8 | 9 => {
                    down[node] = !down[node];
                    match (down[node], random.random()) {
                        (true, true) => Fault::Crash(node),
                        (true, false) => Fault::PowerLoss(node),
                        (false, _) => Fault::Restart(node),
                    }
                }
                _ => Fault::Toggle(node, random.random_range(0..patterns)),
            };
            faults.push((at, fault));
            at += Duration::from_millis(random.random_range(50..4000));
        }
        faults.sort_by_key(|(at, _)| *at);
        for (node, down) in down.into_iter().enumerate() {
            faults.push((faulty, Fault::Thaw(node)));
            if down {
                faults.push((faulty, Fault::Restart(node)));
            }
            faults.extend((0..node).map(|other| (faulty, Fault::Mend(node, other))));
        }
        Self {
            faults,
            healed: faulty,
        }
    }
}
