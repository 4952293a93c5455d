//! What publishers and subscribers saw while the network was torn, and the check of it.
//!
//! ```text
//!  publishers ─┐                            ┌─ twice, out of order, never published, not subscribed
//!  subscribers ┼──▶ History ──▶ check ──▶ ──┤
//!  faults ─────┘                            └─ answered `successful` and missing at a subscriber on an unbroken path
//! ```
//!
//! The check knows nothing of nodes, sockets or clocks: it reads a list of events, so that it is itself tested with lists
//! that are wrong.

mod check;
#[cfg(test)]
mod check_tests;

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

pub use check::{Fault, Tally, check};

/// One message: every publisher counts its own messages on each channel, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Message {
    /// Which publisher.
    pub publisher: usize,
    /// Which channel.
    pub channel: usize,
    /// Its number.
    pub number: u64,
}

/// What a publisher was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// `successful: true`.
    Successful,
    /// Refused, or nobody knows: it may arrive, once.
    Unknown,
}

/// Something that was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum What {
    /// A publisher is a client of a node.
    PublisherAt {
        /// The publisher.
        publisher: usize,
        /// Its node.
        node: usize,
    },
    /// A message was given to the publisher's node.
    Published(Message),
    /// The node answered.
    Answered(Message, Answer),
    /// A subscriber is a client of a node, and subscribed to a channel from now on.
    Subscribed {
        /// The subscriber.
        subscriber: usize,
        /// Its node.
        node: usize,
        /// The channel.
        channel: usize,
    },
    /// A subscriber lost its session, and all its subscriptions with it.
    Ended {
        /// The subscriber.
        subscriber: usize,
    },
    /// A message came to a subscriber.
    Delivered {
        /// The subscriber.
        subscriber: usize,
        /// The message.
        message: Message,
    },
    /// From now on messages from one node to another may be lost.
    Broken {
        /// Where they come from.
        from: usize,
        /// Where they go.
        to: usize,
    },
    /// From now on they may not be lost.
    Whole {
        /// Where they come from.
        from: usize,
        /// Where they go.
        to: usize,
    },
    /// What the test did, or saw.
    Note(String),
}

/// One event of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Since the history began.
    pub at: Duration,
    /// What it was.
    pub what: What,
}

impl fmt::Display for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "p{}/c{}#{}", self.publisher, self.channel, self.number)
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>9.3}s  ", self.at.as_secs_f64())?;
        match &self.what {
            What::PublisherAt { publisher, node } => {
                write!(f, "p{publisher} publishes at n{node}")
            }
            What::Published(message) => write!(f, "{message} published"),
            What::Answered(message, Answer::Successful) => write!(f, "{message} successful"),
            What::Answered(message, Answer::Unknown) => write!(f, "{message} outcome not known"),
            What::Subscribed {
                subscriber,
                node,
                channel,
            } => write!(f, "s{subscriber} at n{node} subscribed to c{channel}"),
            What::Ended { subscriber } => write!(f, "s{subscriber} lost its session"),
            What::Delivered {
                subscriber,
                message,
            } => write!(f, "s{subscriber} got {message}"),
            What::Broken { from, to } => write!(f, "-- n{from} -> n{to} may lose messages"),
            What::Whole { from, to } => write!(f, "-- n{from} -> n{to} is whole"),
            What::Note(text) => write!(f, "== {text}"),
        }
    }
}

/// A history that clients and the test write together. Clones share it.
#[derive(Clone, Debug)]
pub struct History {
    began: Instant,
    events: Arc<Mutex<Vec<Event>>>,
}

impl Default for History {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            events: Arc::default(),
        }
    }
}

impl History {
    /// Adds what has just been seen.
    pub fn add(&self, what: What) {
        let mut events = self.events.lock();
        // Taken under the lock, so that the list is in the order of time.
        let at = self.began.elapsed();
        events.push(Event { at, what });
    }

    /// Adds a line of the test.
    pub fn note(&self, text: impl Into<String>) {
        self.add(What::Note(text.into()));
    }

    /// All events so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        self.events.lock().clone()
    }

    /// The last number that a subscriber has had from a publisher on a channel.
    #[must_use]
    pub fn delivered(&self, subscriber: usize) -> usize {
        let events = self.events.lock();
        let of = |event: &&Event| matches!(event.what, What::Delivered { subscriber: at, .. } if at == subscriber);
        events.iter().filter(of).count()
    }
}

/// The history as a person reads it: what the test did, and around a fault every event of the message's publisher and
/// channel and of the subscriber's session.
#[must_use]
pub fn readable(events: &[Event], fault: Option<&Fault>) -> String {
    let concerns = |event: &Event| match &event.what {
        What::Published(message) | What::Answered(message, _) => {
            fault.is_some_and(|fault| fault.is_near(*message))
        }
        What::Delivered {
            subscriber,
            message,
        } => fault.is_some_and(|fault| fault.subscriber == *subscriber && fault.is_near(*message)),
        _ => true,
    };
    let lines = events.iter().filter(|event| concerns(event));
    lines.map(|event| format!("{event}\n")).collect()
}
