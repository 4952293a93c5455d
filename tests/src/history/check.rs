//! The rules that every history keeps.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use super::{Answer, Event, Message, What};

/// A rule that was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// At which subscriber.
    pub subscriber: usize,
    /// By which message.
    pub message: Message,
    /// Which rule.
    pub rule: &'static str,
}

/// How many messages on each side of one at fault are shown.
const NEAR: u64 = 3;

impl Fault {
    pub(super) fn is_near(&self, message: Message) -> bool {
        message.publisher == self.message.publisher
            && message.channel == self.message.channel
            && message.number.abs_diff(self.message.number) <= NEAR
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at s{}: {}", self.message, self.subscriber, self.rule)
    }
}

/// What a history without a fault amounts to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Messages published.
    pub published: usize,
    /// Of them, answered successful.
    pub successful: usize,
    /// Deliveries.
    pub delivered: usize,
    /// Deliveries that had to come, and did.
    pub owed: usize,
    /// Deliveries that did not come and need not: the path was broken, or the outcome of the publish is not known.
    pub excused: usize,
}

/// One session of a subscriber on one channel.
#[derive(Debug)]
struct Stay {
    node: usize,
    channel: usize,
    from: Duration,
    to: Duration,
    got: BTreeSet<Message>,
}

#[derive(Debug)]
struct Sent {
    node: usize,
    at: Duration,
    answered: Option<(Duration, Answer)>,
}

/// Reads a history and gives every fault in it.
///
/// - A subscriber gets a message at most once in a session, and only what was published, on channels it subscribed to.
/// - The messages of one publisher on one channel come in the order in which they were published.
/// - A message that was answered successful comes to every subscriber that was subscribed `slack` before it was published (its
///   node has told the others by then) and kept its session until `slack` after the answer, unless the path from the publisher's
///   node was broken at some time from its publication to `slack` after the answer.
///
/// Messages of the last moment need time too: stop publishing before the history ends.
///
/// # Errors
/// The faults, in the order of time; missing messages after all others.
pub fn check(events: &[Event], slack: Duration) -> Result<Tally, Vec<Fault>> {
    let mut book = Book::default();
    for event in events {
        book.read(event);
    }
    let end = events.last().map_or(Duration::ZERO, |event| event.at);
    book.owed(end, slack);
    if book.faults.is_empty() {
        Ok(book.tally)
    } else {
        Err(book.faults)
    }
}

#[derive(Debug, Default)]
struct Book {
    /// Where each publisher is.
    publishers: BTreeMap<usize, usize>,
    sent: BTreeMap<Message, Sent>,
    stays: BTreeMap<usize, Vec<Stay>>,
    /// Of each subscriber, publisher and channel: the last number.
    last: BTreeMap<(usize, usize, usize), u64>,
    /// When the path from one node to another was broken.
    broken: BTreeMap<(usize, usize), Vec<(Duration, Duration)>>,
    faults: Vec<Fault>,
    tally: Tally,
}

impl Book {
    fn read(&mut self, event: &Event) {
        match event.what {
            What::PublisherAt { publisher, node } => {
                self.publishers.insert(publisher, node);
            }
            What::Published(message) => {
                let node = self.publishers.get(&message.publisher).copied();
                let sent = Sent {
                    node: node.unwrap_or_default(),
                    at: event.at,
                    answered: None,
                };
                self.sent.insert(message, sent);
                self.tally.published += 1;
            }
            What::Answered(message, answer) => {
                if let Some(sent) = self.sent.get_mut(&message) {
                    sent.answered = Some((event.at, answer));
                }
                self.tally.successful += usize::from(answer == Answer::Successful);
            }
            What::Subscribed {
                subscriber,
                node,
                channel,
            } => self.stays.entry(subscriber).or_default().push(Stay {
                node,
                channel,
                from: event.at,
                to: Duration::MAX,
                got: BTreeSet::new(),
            }),
            What::Ended { subscriber } => {
                for stay in self.stays.entry(subscriber).or_default() {
                    stay.to = stay.to.min(event.at);
                }
            }
            What::Delivered {
                subscriber,
                message,
            } => self.delivered(subscriber, message),
            What::Broken { from, to } => {
                let intervals = self.broken.entry((from, to)).or_default();
                if intervals.last().is_none_or(|last| last.1 < Duration::MAX) {
                    intervals.push((event.at, Duration::MAX));
                }
            }
            What::Whole { from, to } => {
                if let Some(last) = self.broken.entry((from, to)).or_default().last_mut() {
                    last.1 = last.1.min(event.at);
                }
            }
            What::Note(_) => {}
        }
    }

    fn delivered(&mut self, subscriber: usize, message: Message) {
        self.tally.delivered += 1;
        let mut fault = |rule| {
            self.faults.push(Fault {
                subscriber,
                message,
                rule,
            });
        };
        if !self.sent.contains_key(&message) {
            fault("delivered, and never published");
        }
        let stays = self.stays.entry(subscriber).or_default();
        let stay = stays
            .iter_mut()
            .rfind(|stay| stay.channel == message.channel && stay.to == Duration::MAX);
        let Some(stay) = stay else {
            return fault("delivered to a subscriber that was not subscribed");
        };
        if !stay.got.insert(message) {
            return fault("delivered twice");
        }
        let key = (subscriber, message.publisher, message.channel);
        let last = self.last.entry(key).or_default();
        if *last >= message.number {
            fault("delivered after a later one of the same publisher and channel");
        }
        *last = message.number.max(*last);
    }

    /// Looks for what should have come.
    fn owed(&mut self, end: Duration, slack: Duration) {
        for (subscriber, stays) in &self.stays {
            for stay in stays {
                for (message, sent) in &self.sent {
                    if message.channel != stay.channel
                        || sent.at < stay.from + slack
                        || sent.at >= stay.to
                    {
                        continue;
                    }
                    if stay.got.contains(message) {
                        self.tally.owed += 1;
                        continue;
                    }
                    let due = match sent.answered {
                        Some((at, Answer::Successful)) => at + slack,
                        _ => Duration::MAX,
                    };
                    let stayed = stay.to == Duration::MAX || stay.to >= due;
                    let broken = self.broken.get(&(sent.node, stay.node));
                    let unbroken = broken.is_none_or(|intervals| {
                        intervals
                            // What is sent in the instant of the mending may have been sent before it.
                            .iter()
                            .all(|(from, to)| *to < sent.at || *from >= due)
                    });
                    if due < Duration::MAX && stayed && unbroken && end >= due {
                        self.faults.push(Fault {
                            subscriber: *subscriber,
                            message: *message,
                            rule: "answered successful, and missing on an unbroken path",
                        });
                    } else {
                        self.tally.excused += 1;
                    }
                }
            }
        }
    }
}
