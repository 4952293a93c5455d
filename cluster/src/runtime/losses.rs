//! How many publications were lost with a link: counted exactly where the sibling can still tell what had come in.
//!
//! ```text
//!  link ends ──▶ never written: lost
//!           └──▶ written, not acknowledged: open ──▶ the next link to the same life of the sibling tells
//!                                              └──▶ another life, or nobody comes back: lost, as far as one can know
//! ```

use std::collections::BTreeMap;
use std::time::Duration;

use parking_lot::Mutex;

use crate::link::Unsent;
use crate::{Incarnation, NodeId, NodeName};

/// How long a sibling may take to come back and tell.
const OPEN_MAX: Duration = Duration::from_secs(15);

/// Publications of an ended link of which this node does not know whether they came in.
#[derive(Clone, Copy, Debug)]
struct Open {
    incarnation: Incarnation,
    link: u64,
    written: u64,
    acknowledged: u64,
    since: Duration,
}

impl Open {
    fn lost(&self, received: Option<u64>) -> u64 {
        let known = received.unwrap_or(0).max(self.acknowledged);
        self.written.saturating_sub(known)
    }
}

/// The ledger of one node: at most one open entry per sibling.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<BTreeMap<NodeName, Open>>);

impl Losses {
    /// A link has ended. Returns what is known to be lost by now.
    pub(super) fn ended(&self, sibling: &NodeId, link: u64, unsent: Unsent, now: Duration) -> u64 {
        let open = Open {
            incarnation: sibling.incarnation,
            link,
            written: unsent.written,
            acknowledged: unsent.acknowledged,
            since: now,
        };
        let mut entries = self.0.lock();
        let before = if open.lost(None) > 0 {
            entries.insert(sibling.name.clone(), open)
        } else {
            None
        };
        unsent.queued + before.map_or(0, |before| before.lost(None))
    }

    /// A new link to the sibling is up, and it says how much of which link had come in. Returns what was lost with that.
    pub(super) fn told(&self, sibling: &NodeId, former: Option<(u64, u64)>) -> u64 {
        let Some(open) = self.0.lock().remove(&sibling.name) else {
            return 0;
        };
        let same = |link| link == open.link && sibling.incarnation == open.incarnation;
        let received = former.filter(|(link, _)| same(*link)).map(|(_, n)| n);
        open.lost(received)
    }

    /// Siblings that have not come back, and what is taken for lost with them.
    pub(super) fn overdue(&self, now: Duration) -> Vec<(NodeName, u64)> {
        let mut overdue = Vec::new();
        self.0.lock().retain(|name, open| {
            let waits = now.saturating_sub(open.since) < OPEN_MAX;
            if !waits {
                overdue.push((name.clone(), open.lost(None)));
            }
            waits
        });
        overdue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sibling(incarnation: u64) -> NodeId {
        NodeId {
            name: NodeName::new("b").unwrap(),
            incarnation: Incarnation(incarnation),
        }
    }

    const UNSENT: Unsent = Unsent {
        queued: 5,
        written: 100,
        acknowledged: 60,
    };
    const NOW: Duration = Duration::from_secs(1);

    #[test]
    fn the_sibling_tells_what_had_come_in() {
        let losses = Losses::default();
        assert_eq!(losses.ended(&sibling(1), 9, UNSENT, NOW), 5);
        assert_eq!(losses.told(&sibling(1), Some((9, 85))), 15);
        assert_eq!(losses.told(&sibling(1), Some((9, 85))), 0, "told once");
        // It cannot have less than it has acknowledged.
        losses.ended(&sibling(1), 9, UNSENT, NOW);
        assert_eq!(losses.told(&sibling(1), Some((9, 0))), 40);
    }

    #[test]
    fn another_life_another_link_and_nobody_are_the_worst_case() {
        let losses = Losses::default();
        for (incarnation, former) in [(2, Some((9, 85))), (1, Some((8, 85))), (1, None)] {
            losses.ended(&sibling(1), 9, UNSENT, NOW);
            assert_eq!(losses.told(&sibling(incarnation), former), 40);
        }
        losses.ended(&sibling(1), 9, UNSENT, NOW);
        assert!(losses.overdue(NOW + OPEN_MAX / 2).is_empty());
        let overdue = losses.overdue(NOW + OPEN_MAX);
        assert_eq!(overdue, [(sibling(1).name, 40)]);
        assert!(losses.overdue(NOW + OPEN_MAX).is_empty());
    }

    #[test]
    fn what_was_acknowledged_is_not_open() {
        let losses = Losses::default();
        let all = Unsent {
            queued: 0,
            written: 100,
            acknowledged: 100,
        };
        assert_eq!(losses.ended(&sibling(1), 9, all, NOW), 0);
        assert!(losses.overdue(NOW + OPEN_MAX).is_empty());
    }
}
