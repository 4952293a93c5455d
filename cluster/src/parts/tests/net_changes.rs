//! The queue of what listeners have not been told.

use crate::parts::NetChanges;

#[test]
fn each_net_change_is_told_once_and_in_order() {
    let mut changes = NetChanges::default();
    changes.note("alice", false, &true);
    changes.note("bob", false, &true);
    changes.note("carol", true, &false);
    changes.note("bob", true, &false);
    assert_eq!(changes.len(), 2, "bob is back at what was told");
    assert!(changes.begin());
    assert!(!changes.begin(), "one caller tells");
    assert_eq!(changes.take(), Some(("alice", false)));
    changes.note("alice", true, &false);
    assert_eq!(changes.take(), Some(("carol", true)));
    assert_eq!(changes.take(), Some(("alice", true)));
    assert_eq!(changes.take(), None);
    assert!(!changes.begin(), "nothing waits");
}

#[test]
fn churn_behind_a_slow_listener_does_not_grow_the_queue() {
    let mut changes = NetChanges::default();
    for round in 0..10_000_u32 {
        changes.note(round, false, &true);
        changes.note(round, true, &false);
        changes.note(u32::MAX, round > 0, &true);
    }
    assert_eq!(changes.len(), 1);
    assert_eq!(
        changes.take(),
        Some((u32::MAX, false)),
        "what was told, not what came between"
    );
}

#[test]
fn what_is_unchanged_is_not_noted() {
    let mut changes = NetChanges::default();
    changes.note((), 1, &1);
    assert!(changes.is_empty());
}
