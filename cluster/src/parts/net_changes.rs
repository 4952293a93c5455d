//! What listeners have not been told yet, one entry per net change.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;

/// Changes that wait for the listeners, oldest first; per key only what was told last is kept, and a key that is back
/// at what was told is dropped. So the queue holds at most one entry per key that differs from what the listeners
/// know: it is bounded by the state itself, however slow a listener is.
///
/// Listeners are called without any lock held and one change at a time: who finds nobody telling takes the turn
/// ([`begin`](Self::begin)) and tells until nothing waits; others only note their change and go on. So a listener may
/// change the state again, and one that blocks delays other listeners but neither siblings nor callers.
#[derive(Debug)]
pub struct NetChanges<K, V> {
    keys: BTreeMap<u64, K>,
    told: HashMap<K, (u64, V)>,
    next: u64,
    telling: bool,
}

impl<K, V> Default for NetChanges<K, V> {
    fn default() -> Self {
        Self {
            keys: BTreeMap::new(),
            told: HashMap::new(),
            next: 0,
            telling: false,
        }
    }
}

impl<K: Clone + Eq + Hash, V: PartialEq> NetChanges<K, V> {
    /// The value of `key` went from `before` to `after`.
    pub fn note(&mut self, key: K, before: V, after: &V) {
        if let Some((order, told)) = self.told.get(&key) {
            if told == after {
                self.keys.remove(order);
                self.told.remove(&key);
            }
        } else if before != *after {
            self.keys.insert(self.next, key.clone());
            self.told.insert(key, (self.next, before));
            self.next += 1;
        }
    }

    /// Takes the turn to tell. Returns false when nothing waits or another caller has the turn; then that caller will
    /// tell what was noted.
    pub fn begin(&mut self) -> bool {
        let begins = !self.telling && !self.keys.is_empty();
        self.telling |= begins;
        begins
    }

    /// The next key and what was told about it last; what to tell now is its present value. Gives the turn back when
    /// nothing waits.
    pub fn take(&mut self) -> Option<(K, V)> {
        let next = self.keys.pop_first().and_then(|(_, key)| {
            let (_, told) = self.told.remove(&key)?;
            Some((key, told))
        });
        self.telling = next.is_some();
        next
    }

    /// The next key if it is `wanted`, as [`take`](Self::take); otherwise it stays. The turn is kept.
    pub fn take_if(&mut self, wanted: impl FnOnce(&K) -> bool) -> Option<(K, V)> {
        let next = self.keys.first_entry().filter(|next| wanted(next.get()))?;
        let key = next.remove();
        let (_, told) = self.told.remove(&key)?;
        Some((key, told))
    }

    /// Gives the turn back although changes may wait: the caller that had it cannot go on.
    pub fn give_up(&mut self) {
        self.telling = false;
    }

    /// How many net changes wait.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
