//! What happened, in order, and the checks that hold for every trace.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use super::Fault;

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// The node joined or came back, for its `life`-th time.
    Started,
    /// A sibling joined, with its incarnation.
    Joined(String),
    /// A sibling left.
    Left(String),
    /// A fault was made, or healed.
    Fault(Fault),
    /// A message was published: publisher, its life, number.
    Published(Message),
    /// A subscriber got a message.
    Delivered(Message),
    /// A message was sent to all users, numbered with those that are published, and queued for these siblings.
    Sent(Message, Vec<usize>),
    /// A user got a message.
    Taken(Message),
    /// The node's subscriber matches the channel from now on, or no longer.
    Subscribed(bool),
    /// A user is known to be present, or absent, at a node.
    Presence(String),
}

/// A message of the simulation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Message {
    /// The node that published it.
    pub publisher: usize,
    /// Which life of that node.
    pub life: usize,
    /// Its number among those that this life published.
    pub number: u64,
}

/// One line of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Virtual time.
    pub at: Duration,
    /// The node, if it is about one, and its life.
    pub node: Option<(usize, usize)>,
    /// What happened.
    pub what: What,
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3}s ", self.at.as_secs_f64())?;
        match self.node {
            Some((node, life)) => write!(f, "n{node}/{life} ")?,
            None => f.write_str("--   ")?,
        }
        write!(f, "{:?}", self.what)
    }
}

/// A trace that the hosts and the world write together.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Mutex<Lines>>);

#[derive(Debug, Default)]
struct Lines {
    entries: Vec<Entry>,
    /// The lives that are over.
    over: BTreeSet<(usize, usize)>,
}

impl Trace {
    /// Adds an entry.
    pub fn add(&self, at: Duration, node: Option<(usize, usize)>, what: What) {
        let mut lines = self.0.lock();
        if node.is_none_or(|node| !lines.over.contains(&node)) {
            lines.entries.push(Entry { at, node, what });
        }
    }

    /// This life of a node has nothing more to say: what its pieces do while they are dropped, nobody sees, and no virtual time runs
    /// for them.
    pub(super) fn is_over(&self, node: (usize, usize)) {
        self.0.lock().over.insert(node);
    }

    /// All entries so far.
    #[must_use]
    pub fn entries(&self) -> Vec<Entry> {
        self.0.lock().entries.clone()
    }
}

/// What must never be in a trace, whatever the faults: the first breach, if there is one.
///
/// - No subscriber gets a message twice, and each publisher's messages, to the channel and to users, come in the order of publishing.
/// - Joined and left alternate per name, beginning with joined.
#[must_use]
pub(super) fn breach(entries: &[Entry]) -> Option<String> {
    let mut last: BTreeMap<(usize, usize, usize), (usize, u64)> = BTreeMap::new();
    let mut members: BTreeMap<(usize, usize, String), String> = BTreeMap::new();
    for entry in entries {
        let Some((node, life)) = entry.node else {
            continue;
        };
        match &entry.what {
            What::Delivered(message) | What::Taken(message) => {
                let now = (message.life, message.number);
                let before = last.insert((node, life, message.publisher), now);
                if before.is_some_and(|before| before >= now) {
                    return Some(format!("twice or out of order, after {before:?}: {entry}"));
                }
            }
            What::Joined(id) => {
                let name = id.split('#').next().unwrap_or_default().to_owned();
                if members.insert((node, life, name), id.clone()).is_some() {
                    return Some(format!("joined twice: {entry}"));
                }
            }
            What::Left(id) => {
                let name = id.split('#').next().unwrap_or_default().to_owned();
                if members.remove(&(node, life, name)).as_ref() != Some(id) {
                    return Some(format!("left without having joined: {entry}"));
                }
            }
            _ => {}
        }
    }
    None
}

/// The detection time and what it takes to tell.
const NOTICED_WITHIN: Duration = Duration::from_secs(5);

/// A node that lost its power and was still held for a member five seconds later, if there is one.
#[must_use]
pub(super) fn unnoticed(entries: &[Entry]) -> Option<String> {
    let mut members: BTreeMap<(usize, String), String> = BTreeMap::new();
    let mut lost: Vec<(Duration, usize, String)> = Vec::new();
    for entry in entries {
        if let Some((at, node, id)) = lost.iter().find(|(at, ..)| entry.at > *at + NOTICED_WITHIN) {
            return Some(format!(
                "n{node} still held {id} for a member at {:?}, lost at {at:?}",
                entry.at
            ));
        }
        match (&entry.what, entry.node) {
            (What::Started, Some((node, _))) => {
                members.retain(|(at, _), _| *at != node);
                lost.retain(|(_, at, _)| *at != node);
            }
            (What::Joined(id), Some((node, _))) => {
                let name = id.split('#').next().unwrap_or_default().to_owned();
                members.insert((node, name), id.clone());
            }
            (What::Left(id), Some((node, _))) => {
                members.retain(|(at, _), member| *at != node || member != id);
                lost.retain(|(_, at, member)| *at != node || member != id);
            }
            (What::Fault(Fault::Crash(ended)), _) => lost.retain(|(_, at, _)| at != ended),
            (What::Fault(Fault::PowerLoss(ended)), _) => {
                lost.retain(|(_, at, _)| at != ended);
                members.retain(|(at, _), _| at != ended);
                let holders = members
                    .iter()
                    .filter(|((_, name), _)| *name == format!("n{ended}"));
                lost.extend(holders.map(|((at, _), id)| (entry.at, *at, id.clone())));
            }
            _ => {}
        }
        if let What::Fault(Fault::Crash(ended)) = entry.what {
            members.retain(|(at, _), _| *at != ended);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(what: What) -> Entry {
        Entry {
            at: Duration::ZERO,
            node: Some((0, 1)),
            what,
        }
    }

    fn delivered(life: usize, number: u64) -> Entry {
        entry(What::Delivered(Message {
            publisher: 1,
            life,
            number,
        }))
    }

    /// The checks fire on made-up breaches.
    #[test]
    fn breaches_are_found() {
        assert_eq!(
            breach(&[delivered(1, 1), delivered(1, 3), delivered(2, 0)]),
            None
        );
        assert!(breach(&[delivered(1, 1), delivered(1, 1)]).is_some());
        assert!(breach(&[delivered(1, 2), delivered(1, 1)]).is_some());
        assert!(breach(&[delivered(2, 0), delivered(1, 9)]).is_some());
        let taken = |number| {
            entry(What::Taken(Message {
                publisher: 1,
                life: 1,
                number,
            }))
        };
        assert_eq!(breach(&[delivered(1, 1), taken(2), delivered(1, 3)]), None);
        assert!(breach(&[delivered(1, 2), taken(1)]).is_some());
        assert!(breach(&[taken(2), delivered(1, 1)]).is_some());
        let (joined, left) = (
            |id: &str| entry(What::Joined(id.into())),
            |id: &str| entry(What::Left(id.into())),
        );
        assert_eq!(breach(&[joined("a#1"), left("a#1"), joined("a#2")]), None);
        assert!(breach(&[joined("a#1"), joined("a#2")]).is_some());
        assert!(breach(&[left("a#1")]).is_some());
    }

    #[test]
    fn a_loss_that_nobody_notices_is_found() {
        let at = |seconds, what| Entry {
            at: Duration::from_secs(seconds),
            node: Some((0, 1)),
            what,
        };
        let mut entries = vec![
            at(1, What::Joined("n1#1".into())),
            at(2, What::Fault(Fault::PowerLoss(1))),
            at(6, What::Left("n1#1".into())),
            at(9, What::Started),
        ];
        assert_eq!(unnoticed(&entries), None);
        entries.remove(2);
        assert!(unnoticed(&entries).is_some());
    }
}
