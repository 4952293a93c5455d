//! No message is lost unless the membership says so: a loss without a *left* on either side would be a silent one.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::Fault;
use super::trace::{Entry, What};
use crate::history::{self, Answer, Event, check, readable};

/// A message may wait for the end of the detection time (4 s, and a heartbeat before it) before the loss of its link is known.
const DUE: Duration = Duration::from_secs(7);
/// Users are subscribers of their own, each to a channel of its own.
const USERS: usize = 1000;
/// Lives of one node have publishers of their own, because each counts its messages from 1.
const LIVES: usize = 1000;

/// The first message that was lost between two members while each held the other for one, if there is one.
#[must_use]
pub(super) fn silent_loss(entries: &[Entry]) -> Option<String> {
    let events = Translation::of(entries);
    let faults = check(&events, DUE).err()?;
    let first = faults.first()?;
    let story = readable(&events, Some(first));
    Some(format!(
        "{story}{} faults, the first: {first}",
        faults.len()
    ))
}

/// A trace as a history: a path is whole while both of its nodes have each other as members.
#[derive(Default)]
struct Translation {
    events: Vec<Event>,
    /// Who holds whom for a member.
    holds: BTreeSet<(usize, usize)>,
    broken: BTreeSet<(usize, usize)>,
    lives: BTreeMap<usize, usize>,
    subscribed: BTreeSet<usize>,
}

impl Translation {
    fn of(entries: &[Entry]) -> Vec<Event> {
        let nodes: BTreeSet<_> = entries
            .iter()
            .filter_map(|entry| entry.node)
            .map(|(node, _)| node)
            .collect();
        let mut translation = Self::default();
        for (from, to) in nodes.iter().flat_map(|a| nodes.iter().map(|b| (*a, *b))) {
            if from != to {
                translation.broken(Duration::ZERO, from, to);
            }
        }
        for entry in entries {
            translation.read(entry);
        }
        translation.events
    }

    fn add(&mut self, at: Duration, what: history::What) {
        self.events.push(Event { at, what });
    }

    fn broken(&mut self, at: Duration, from: usize, to: usize) {
        if self.broken.insert((from, to)) {
            self.add(at, history::What::Broken { from, to });
        }
    }

    fn read(&mut self, entry: &Entry) {
        let at = entry.at;
        let message = |message: &super::trace::Message| history::Message {
            publisher: message.publisher * LIVES + message.life,
            channel: 0,
            number: message.number,
        };
        let to_user = |sent: &super::trace::Message, node| history::Message {
            channel: USERS + node,
            ..message(sent)
        };
        match (&entry.what, entry.node) {
            (What::Fault(Fault::Crash(node) | Fault::PowerLoss(node)), _) => self.ended(at, *node),
            (What::Started, Some((node, life))) => {
                self.ended(at, node);
                self.lives.insert(node, life);
                let publisher = node * LIVES + life;
                self.add(at, history::What::PublisherAt { publisher, node });
                let what = history::What::Subscribed {
                    subscriber: USERS + node,
                    node,
                    channel: USERS + node,
                };
                self.add(at, what);
            }
            (What::Joined(id), Some((node, _))) => {
                let Some(other) = place(id) else { return };
                self.holds.insert((node, other));
                if self.holds.contains(&(other, node)) {
                    for (from, to) in [(node, other), (other, node)] {
                        self.broken.remove(&(from, to));
                        self.add(at, history::What::Whole { from, to });
                    }
                }
            }
            (What::Left(id), Some((node, _))) => {
                let Some(other) = place(id) else { return };
                self.holds.remove(&(node, other));
                self.broken(at, node, other);
                self.broken(at, other, node);
            }
            (What::Subscribed(subscribed), Some((node, _))) => {
                if *subscribed && self.subscribed.insert(node) {
                    let what = history::What::Subscribed {
                        subscriber: node,
                        node,
                        channel: 0,
                    };
                    self.add(at, what);
                } else if !*subscribed {
                    self.unsubscribed(at, node);
                }
            }
            (What::Published(published), _) => {
                self.add(at, history::What::Published(message(published)));
                self.add(
                    at,
                    history::What::Answered(message(published), Answer::Successful),
                );
            }
            (What::Delivered(delivered), Some((node, life)))
                if self.lives.get(&node) == Some(&life) =>
            {
                self.add(
                    at,
                    history::What::Delivered {
                        subscriber: node,
                        message: message(delivered),
                    },
                );
            }
            (What::Sent(sent, nodes), _) => {
                for sent in nodes.iter().map(|node| to_user(sent, *node)) {
                    self.add(at, history::What::Published(sent));
                    self.add(at, history::What::Answered(sent, Answer::Successful));
                }
            }
            // What goes to the publisher's own user is in the order of the trace, and that is all.
            (What::Taken(taken), Some((node, life)))
                if self.lives.get(&node) == Some(&life) && taken.publisher != node =>
            {
                let what = history::What::Delivered {
                    subscriber: USERS + node,
                    message: to_user(taken, node),
                };
                self.add(at, what);
            }
            _ => {}
        }
    }

    fn unsubscribed(&mut self, at: Duration, node: usize) {
        if self.subscribed.remove(&node) {
            self.add(at, history::What::Ended { subscriber: node });
        }
    }

    /// The node is nobody's member any more.
    fn ended(&mut self, at: Duration, node: usize) {
        self.unsubscribed(at, node);
        if self.lives.contains_key(&node) {
            let subscriber = USERS + node;
            self.add(at, history::What::Ended { subscriber });
        }
        self.holds.retain(|(a, b)| *a != node && *b != node);
        for other in self
            .lives
            .keys()
            .copied()
            .filter(|other| *other != node)
            .collect::<Vec<_>>()
        {
            self.broken(at, node, other);
            self.broken(at, other, node);
        }
    }
}

/// The node of `n1#...`.
fn place(id: &str) -> Option<usize> {
    id.strip_prefix('n')?.split('#').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::super::trace::Message;
    use super::*;

    /// Two nodes that are members of each other; node 0 publishes number 1 at 20 s.
    fn trace(delivered: bool, left: bool) -> Vec<Entry> {
        let entry = |seconds, node, what| Entry {
            at: Duration::from_secs(seconds),
            node: Some((node, 1)),
            what,
        };
        let message = Message {
            publisher: 0,
            life: 1,
            number: 1,
        };
        let mut entries = vec![
            entry(0, 0, What::Started),
            entry(0, 1, What::Started),
            entry(1, 1, What::Subscribed(true)),
            entry(1, 0, What::Joined("n1#5".into())),
            entry(1, 1, What::Joined("n0#4".into())),
            entry(20, 0, What::Published(message)),
        ];
        if delivered {
            entries.push(entry(21, 1, What::Delivered(message)));
        }
        if left {
            entries.push(entry(25, 1, What::Left("n0#4".into())));
        }
        entries.push(entry(30, 1, What::Presence(String::new())));
        entries.push(entry(30, 1, What::Subscribed(false)));
        entries
    }

    #[test]
    fn a_loss_without_a_left_is_silent() {
        assert_eq!(silent_loss(&trace(true, false)), None);
        assert_eq!(silent_loss(&trace(false, true)), None);
        let found = silent_loss(&trace(false, false)).expect("it is silent");
        assert!(found.contains("missing on an unbroken path"), "{found}");
    }

    #[test]
    fn a_message_to_a_user_that_was_queued_is_not_lost_in_silence_either() {
        let to_user = |entry: Entry| {
            let what = match entry.what {
                What::Published(message) => What::Sent(message, vec![1]),
                What::Delivered(message) => What::Taken(message),
                what => what,
            };
            Entry { what, ..entry }
        };
        let trace = |delivered, left| trace(delivered, left).into_iter().map(to_user);
        assert_eq!(silent_loss(&trace(true, false).collect::<Vec<_>>()), None);
        assert_eq!(silent_loss(&trace(false, true).collect::<Vec<_>>()), None);
        let found = silent_loss(&trace(false, false).collect::<Vec<_>>());
        assert!(found.is_some_and(|found| found.contains("missing on an unbroken path")));
    }
}
