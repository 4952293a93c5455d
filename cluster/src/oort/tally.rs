//! What is known of the links with each Java node, for operators: both of a pair together.
//!
//! Between two Halley nodes a link has one direction of messages. Here both connections carry both, so bytes are those of
//! both; what waits and is acknowledged stands in the node's session here.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use halley_bayeux::{Publication, QueueListener, Session, Waiting, WhenFull};
use parking_lot::Mutex;

use super::event::LinkCommand;
use super::inbox::Inbox;
use crate::cluster::{Dialect, LinkStats};
use crate::forwarding::is_forwarded;
use crate::link::LinkTotals;
use crate::{Counters, NodeName};

/// The links with one node.
#[derive(Debug)]
pub(super) struct Tally {
    pub(super) totals: LinkTotals,
    counters: Arc<Counters>,
    present: Mutex<Present>,
    /// Messages delivered to its present session, or to the last one.
    sent: AtomicU64,
}

#[derive(Debug, Default)]
struct Present {
    /// The node has joined.
    up: bool,
    /// Its session here.
    session: Weak<Session>,
    /// What waits for the link to it.
    commands: Weak<Inbox<LinkCommand>>,
}

impl Tally {
    /// It has joined, or is reached in another way.
    pub(super) fn up(&self, session: &Arc<Session>, commands: Option<&Arc<Inbox<LinkCommand>>>) {
        let commands = commands.map(Arc::downgrade).unwrap_or_default();
        let session = Arc::downgrade(session);
        *self.present.lock() = Present {
            up: true,
            session,
            commands,
        };
    }

    pub(super) fn down(&self) {
        *self.present.lock() = Present::default();
    }

    fn stats(&self, sibling: &NodeName) -> LinkStats {
        let (up, session, commands) = {
            let present = self.present.lock();
            let commands = present.commands.upgrade();
            (present.up, present.session.upgrade(), commands)
        };
        let commands = commands.map_or(0, |commands| commands.bytes());
        let queue = session.as_ref().map_or(0, |session| session.queue_bytes());
        let window = session.map_or(0, |session| session.unacknowledged_bytes());
        LinkStats {
            queue_bytes: (queue.saturating_sub(window) + commands) as u64,
            window_bytes: window as u64,
            publications_sent: self.sent.load(Ordering::Relaxed),
            ..self.totals.stats(sibling, Dialect::Oort, up)
        }
    }

    fn lost(&self, publications: usize) {
        if publications > 0 {
            self.totals.lost.add(publications as u64);
            self.counters.publications_dropped.add(publications as u64);
        }
    }
}

/// Counts for one session of the node: its messages are numbered from 1.
pub(super) struct SessionTally {
    tally: Arc<Tally>,
    /// The last number that was sent.
    last: AtomicU64,
}

impl SessionTally {
    pub(super) fn new(tally: Arc<Tally>) -> Self {
        tally.sent.store(0, Ordering::Relaxed);
        let last = AtomicU64::new(0);
        Self { tally, last }
    }
}

impl QueueListener for SessionTally {
    fn full(&self, _: &mut Waiting<'_>, publication: &Arc<Publication>) -> WhenFull {
        self.tally
            .lost(usize::from(is_forwarded(publication.channel().as_str())));
        WhenFull::End
    }

    fn batch_sent(&self, batch: u64, messages: usize) {
        let before = self.last.fetch_max(batch, Ordering::Relaxed);
        let new = batch.saturating_sub(before);
        self.tally.sent.fetch_add(new, Ordering::Relaxed);
        let again = (messages as u64).saturating_sub(new);
        if again > 0 {
            self.tally.totals.frames_resent.add(again);
        }
    }

    fn thrown_away(&self, queue: &Waiting<'_>) {
        let forwarded = |it: &&Arc<Publication>| is_forwarded(it.channel().as_str());
        self.tally.lost(queue.iter().filter(forwarded).count());
    }
}

/// The tallies of all nodes, also of those that have left.
#[derive(Debug)]
pub(super) struct Tallies {
    counters: Arc<Counters>,
    nodes_max: usize,
    nodes: Mutex<BTreeMap<NodeName, Arc<Tally>>>,
}

impl Tallies {
    pub(super) fn new(counters: Arc<Counters>, nodes_max: usize) -> Self {
        Self {
            counters,
            nodes_max,
            nodes: Mutex::default(),
        }
    }

    /// That of one node.
    pub(super) fn of(&self, name: &NodeName) -> Arc<Tally> {
        let mut nodes = self.nodes.lock();
        if nodes.len() > 2 * self.nodes_max {
            // Those that nothing is left of.
            nodes.retain(|_, tally| Arc::strong_count(tally) > 1);
        }
        let tally = nodes.entry(name.clone()).or_insert_with(|| {
            Arc::new(Tally {
                totals: LinkTotals::default(),
                counters: self.counters.clone(),
                present: Mutex::default(),
                sent: AtomicU64::new(0),
            })
        });
        tally.clone()
    }

    /// By name.
    pub(super) fn stats(&self) -> Vec<LinkStats> {
        let nodes = self.nodes.lock();
        let known = nodes.iter();
        known.map(|(name, tally)| tally.stats(name)).collect()
    }
}
