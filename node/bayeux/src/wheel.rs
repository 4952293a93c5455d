use crate::Millis;
use crate::session::Session;
use parking_lot::Mutex;
use std::sync::Arc;

/// Width of a slot. Deadlines fire up to this much late, never early.
const SLOT_MS: u64 = 32;

/// Slots of a revolution: 131 s. What is due later stops over in the last slot.
const SLOTS: u64 = 4096;

/// A hashed timer wheel: one entry per session, however many deadlines it has.
///
/// The entry is not moved when a deadline moves away; when it fires, the session's real deadlines are looked at and it is armed again.
/// Only a nearer deadline adds an entry, and the old one is recognised as stale by its slot: at most one entry per session and slot.
pub(crate) struct Wheel {
    inner: Mutex<Inner>,
}

struct Inner {
    /// The last slot that has fired.
    current: u64,
    slots: Vec<Vec<Entry>>,
}

/// A session in a slot. Stale unless the session's `armed` is this slot.
pub(crate) struct Entry {
    pub(crate) slot: u64,
    pub(crate) session: Arc<Session>,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            inner: Mutex::new(Inner {
                current: 0,
                slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            }),
        }
    }

    /// Makes the session fire at `deadline` or somewhat earlier. `armed` is the session's slot, under its lock.
    pub(crate) fn arm(&self, session: &Arc<Session>, armed: &mut u64, deadline: Millis) {
        if deadline == crate::session::NEVER {
            return;
        }
        let wanted = deadline.0.div_ceil(SLOT_MS);
        if *armed != 0 && *armed <= wanted {
            return;
        }
        let mut inner = self.inner.lock();
        let slot = wanted.clamp(inner.current + 1, inner.current + SLOTS - 1);
        if *armed == slot {
            return;
        }
        inner.slots[(slot % SLOTS) as usize].push(Entry {
            slot,
            session: session.clone(),
        });
        *armed = slot;
    }

    /// Takes the entries of all slots up to `now`.
    pub(crate) fn advance(&self, now: Millis) -> Vec<Entry> {
        let mut inner = self.inner.lock();
        let target = now.0 / SLOT_MS;
        let mut fired = Vec::new();
        if target <= inner.current {
            return fired;
        }
        let first = (inner.current + 1).max((target + 1).saturating_sub(SLOTS));
        for slot in first..=target {
            fired.append(&mut inner.slots[(slot % SLOTS) as usize]);
        }
        inner.current = target;
        fired
    }
}
