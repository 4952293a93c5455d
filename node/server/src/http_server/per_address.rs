//! How many connections one address has.

use std::collections::HashMap;
use std::sync::Arc;

use halley_bayeux::AddressGroup;
use parking_lot::Mutex;

/// Connections by address. As many entries as there are connections, at most.
#[derive(Debug)]
pub(crate) struct PerAddress {
    counts: Mutex<HashMap<AddressGroup, usize, ahash::RandomState>>,
    max: usize,
}

/// The place of one connection.
#[derive(Debug)]
pub(crate) struct Place {
    all: Arc<PerAddress>,
    address: AddressGroup,
}

impl PerAddress {
    pub(super) fn new(max: usize) -> Arc<Self> {
        Arc::new(Self {
            counts: Mutex::default(),
            max,
        })
    }

    /// One more connection; `None` when the address has all it may have.
    pub(super) fn take(self: &Arc<Self>, address: AddressGroup) -> Option<Place> {
        let mut counts = self.counts.lock();
        let count = counts.entry(address).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place {
            all: Arc::clone(self),
            address,
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut counts = self.all.counts.lock();
        if let Some(count) = counts.get_mut(&self.address) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&self.address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_given_back() {
        let all = PerAddress::new(2);
        let [one, other] =
            [[10, 0, 0, 1], [10, 0, 0, 2]].map(|bytes| AddressGroup::of(bytes.into()));
        let first = all.take(one).expect("a place");
        let _second = all.take(one).expect("a place");
        assert!(all.take(one).is_none());
        assert!(all.take(other).is_some());
        drop(first);
        assert!(all.take(one).is_some());
        assert_eq!(all.counts.lock().len(), 1);
    }
}
