//! The set of a node's users: its bytes and its differences.

use halley_bayeux::UserId;
use proptest::prelude::*;

use crate::parts::PartState;
use crate::seti::user_set::{UserChange, UserSet};

fn change(user: &str, present: bool) -> UserChange {
    UserChange {
        user: UserId::new(user).unwrap(),
        present,
    }
}

fn set(users: &[&str]) -> UserSet {
    let mut set = UserSet::default();
    for user in users {
        set.apply(change(user, true), &mut Vec::new());
    }
    set
}

fn sorted(set: &UserSet) -> Vec<String> {
    let mut users: Vec<_> = set.users().map(ToString::to_string).collect();
    users.sort();
    users
}

#[test]
fn a_replacement_tells_only_the_difference() {
    let mut changes = Vec::new();
    UserSet::differences(
        Some(&set(&["alice", "bob"])),
        Some(&set(&["bob", "carol"])),
        &mut changes,
    );
    assert_eq!(changes, [change("alice", false), change("carol", true)]);
}

#[test]
fn applying_what_is_so_already_tells_nothing() {
    let mut set = set(&["alice"]);
    let mut changes = Vec::new();
    set.apply(change("alice", true), &mut changes);
    set.apply(change("bob", false), &mut changes);
    assert!(changes.is_empty());
}

#[test]
fn broken_bytes_are_refused() {
    for bytes in [
        &b"\x05"[..],
        b"\x05\0alic",
        b"\0\0",
        b"\x01\0\n",
        b"\x01\0\xff",
        b"\x05\0alice\x01",
    ] {
        assert!(UserSet::decode(bytes).is_err(), "{bytes:?}");
    }
    for bytes in [&b""[..], b"\x01", b"\x02alice", b"\x01\xff"] {
        assert!(UserSet::decode_delta(bytes).is_err(), "{bytes:?}");
    }
}

proptest! {
    #[test]
    fn bytes_and_their_count_follow_the_set(steps in prop::collection::vec(("[a-zé]{1,3}", any::<bool>()), 0..60)) {
        let mut set = UserSet::default();
        for (user, present) in steps {
            let delta = change(&user, present);
            let expected = set.encoded_len_after(&delta);
            let travelled = UserSet::decode_delta(&UserSet::encode_delta(&delta)).unwrap();
            prop_assert_eq!(&travelled, &delta);
            set.apply(travelled, &mut Vec::new());
            prop_assert_eq!(set.contains(&delta.user), present);
            let bytes = set.encode();
            prop_assert_eq!(bytes.len(), expected);
            prop_assert_eq!(set.encoded_len(), expected);
            prop_assert_eq!(sorted(&UserSet::decode(&bytes).unwrap()), sorted(&set));
        }
    }
}
