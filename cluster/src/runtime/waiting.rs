//! The accepted connections that have not proved themselves yet: bounded, and never so that a newcomer finds no room.
//!
//! A handshake takes milliseconds. So when there are too many, one that waits for long is in the way: of the address with
//! the most of them, the oldest goes. An address where a sibling or a seed is loses a connection only if no other can.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

#[derive(Debug)]
struct Entry {
    from: IpAddr,
    evict: CancellationToken,
}

#[derive(Debug, Default)]
struct Inner {
    /// By age.
    entries: BTreeMap<u64, Entry>,
    next: u64,
}

/// The connections that are not authenticated yet.
#[derive(Clone, Debug)]
pub(super) struct Waiting {
    max: usize,
    inner: Arc<Mutex<Inner>>,
}

/// A connection's place; dropped when it has proved itself or ended.
#[derive(Debug)]
pub(super) struct Place {
    number: u64,
    inner: Arc<Mutex<Inner>>,
    /// Cancelled when the connection has to go.
    pub(super) evicted: CancellationToken,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.inner.lock().entries.remove(&self.number);
    }
}

impl Waiting {
    pub(super) fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            inner: Arc::default(),
        }
    }

    /// Takes a connection in, and returns from where the one is that had to go for it.
    pub(super) fn enter(&self, from: IpAddr, known: &BTreeSet<IpAddr>) -> (Place, Option<IpAddr>) {
        let (from, evict) = (from.to_canonical(), CancellationToken::new());
        let mut inner = self.inner.lock();
        let victim = (inner.entries.len() >= self.max)
            .then(|| inner.victim(known))
            .flatten();
        let gone = victim.and_then(|number| inner.entries.remove(&number));
        if let Some(entry) = &gone {
            entry.evict.cancel();
        }
        let number = inner.next;
        inner.next += 1;
        let entry = Entry {
            from,
            evict: evict.clone(),
        };
        inner.entries.insert(number, entry);
        let place = Place {
            number,
            inner: self.inner.clone(),
            evicted: evict,
        };
        (place, gone.map(|entry| entry.from))
    }
}

impl Inner {
    fn victim(&self, known: &BTreeSet<IpAddr>) -> Option<u64> {
        let mut count: BTreeMap<IpAddr, usize> = BTreeMap::new();
        for entry in self.entries.values() {
            *count.entry(entry.from).or_default() += 1;
        }
        let from = count
            .into_iter()
            .max_by_key(|(ip, n)| (!known.contains(ip), *n))?
            .0;
        let oldest = self.entries.iter().find(|(_, entry)| entry.from == from);
        oldest.map(|(number, _)| *number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(n: u8) -> IpAddr {
        [10, 0, 0, n].into()
    }

    #[test]
    fn the_oldest_of_the_greatest_crowd_goes_and_known_ones_last() {
        let waiting = Waiting::new(4);
        let known = BTreeSet::from([ip(1)]);
        let enter = |n| waiting.enter(ip(n), &known);
        let (known_1, known_2, known_3) = (enter(1).0, enter(1).0, enter(1).0);
        let (stranger, none) = enter(2);
        assert_eq!(none, None);
        // Known addresses have more connections, and still the stranger goes.
        let (crowd_1, gone) = enter(3);
        assert!(gone == Some(ip(2)) && stranger.evicted.is_cancelled());
        drop(known_1);
        let (crowd_2, none) = enter(3);
        assert_eq!(none, None);
        let (lonely, gone) = enter(4);
        assert!(gone == Some(ip(3)) && crowd_1.evicted.is_cancelled());
        drop((known_2, known_3));
        let (crowd_3, _) = enter(3);
        let (_, none) = enter(1);
        assert_eq!(none, None, "a place is free again when it is dropped");
        let (known_4, _) = enter(1);
        assert!(!known_4.evicted.is_cancelled());
        let (_known_5, gone) = enter(1);
        assert!(gone == Some(ip(3)) && crowd_2.evicted.is_cancelled());
        assert!(!lonely.evicted.is_cancelled() && !crowd_3.evicted.is_cancelled());
    }
}
