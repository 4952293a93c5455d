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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::{State, Transport};
    use crate::{Millis, SessionId};
    use proptest::prelude::*;

    fn session() -> Arc<Session> {
        let state = State::new(Transport::WebSocket, false);
        Session::new(SessionId::random(), 1, None, None, None, None, state)
    }

    fn fired(wheel: &Wheel, now: u64, armed: u64) -> bool {
        wheel.advance(Millis(now)).iter().any(|e| e.slot == armed)
    }

    #[test]
    fn a_later_deadline_leaves_the_entry_and_a_nearer_one_replaces_it() {
        let (wheel, session, mut armed) = (Wheel::new(), session(), 0);
        wheel.advance(Millis(1000));
        wheel.arm(&session, &mut armed, Millis(3000));
        let first = armed;
        wheel.arm(&session, &mut armed, Millis(9000));
        assert_eq!(armed, first);
        wheel.arm(&session, &mut armed, Millis(2000));
        assert!(armed < first);
        assert!(!fired(&wheel, 1990, armed));
        assert!(fired(&wheel, 2020, armed));
        let stale = wheel.advance(Millis(3100));
        assert_eq!(stale.len(), 1);
        assert_ne!(stale[0].slot, armed, "recognised as stale");
    }

    #[test]
    fn a_leap_in_time_fires_everything() {
        let (wheel, session, mut armed) = (Wheel::new(), session(), 0);
        wheel.arm(&session, &mut armed, Millis(50_000));
        assert!(fired(&wheel, 10_000_000, armed));
        let mut armed = 0;
        wheel.arm(&session, &mut armed, Millis(1));
        assert!(
            fired(&wheel, 10_000_100, armed),
            "a past deadline fires next"
        );
    }

    #[test]
    fn many_rearmings_leave_few_entries() {
        let (wheel, session, mut armed) = (Wheel::new(), session(), 0);
        for n in 0..100_000_u64 {
            wheel.arm(&session, &mut armed, Millis(100_000 - n / 10));
        }
        assert!(wheel.advance(Millis(200_000)).len() <= 100_000 / 10 / SLOT_MS as usize + 2);
    }

    proptest! {
        #[test]
        fn never_early_and_at_most_a_slot_late(start in 0_u64..1_000_000, delay in 1_u64..120_000, step in 1_u64..500) {
            let (wheel, session, mut armed) = (Wheel::new(), session(), 0);
            wheel.advance(Millis(start));
            wheel.arm(&session, &mut armed, Millis(start + delay));
            let mut now = start;
            while !fired(&wheel, now, armed) {
                now += step;
                prop_assert!(now < start + delay + SLOT_MS + step);
            }
            prop_assert!(now >= start + delay);
        }
    }
}
