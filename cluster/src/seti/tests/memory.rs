//! What a remote user costs, counted from the sizes and capacities of the structures.

use bytes::Bytes;
use halley_bayeux::{Millis, UserId};

use crate::parts::{OwnPart, PartFrame, PartState};
use crate::seti::Seti;
use crate::seti::directory::Directory;
use crate::seti::user_set::{UserChange, UserSet};
use crate::{Incarnation, NodeId, NodeName};

const BYTES_PER_USER_MAX: usize = 200;

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

/// The bytes that a table of the standard library takes: a power of two of slots that are at most 7/8 full, each with
/// a control byte.
fn table_bytes(capacity: usize, entry: usize) -> usize {
    let slots = (capacity * 8).div_ceil(7).next_power_of_two();
    slots * (entry + 1) + 16
}

/// A shared text: two counters and the text, rounded as allocators do, and their own word.
fn text_bytes(user: &UserId) -> usize {
    (16 + user.as_str().len() + 8).next_multiple_of(16)
}

fn bytes_per_user(users: usize) -> usize {
    let mut directory = Directory::new(name("a"), Incarnation(1), Seti::default_limits());
    let sibling = NodeId {
        name: name("b"),
        incarnation: Incarnation(2),
    };
    directory.joined(&sibling, Millis(0), &mut Vec::new());
    let mut own = OwnPart::new(
        sibling.incarnation,
        UserSet::default(),
        Seti::default_limits(),
    )
    .unwrap();
    let mut text = 0;
    let mut frames = vec![own.current()];
    own.push(&name("a"), Millis(0), &mut |frame| frames.push(frame));
    for user in 0..users {
        let user = UserId::new(&format!("user-{user:08}@example.com")).unwrap();
        text += text_bytes(&user);
        frames.push(
            own.change(
                UserChange {
                    user,
                    present: true,
                },
                &mut Vec::new(),
            )
            .unwrap(),
        );
    }
    for frame in frames {
        directory.received(&sibling, frame.encode(), Millis(0), &mut Vec::new());
    }
    let set = directory
        .parts()
        .replica(&sibling.name)
        .unwrap()
        .state()
        .unwrap();
    assert_eq!(set.len(), users);
    let set = table_bytes(set.capacity(), size_of::<UserId>());
    let index = table_bytes(directory.remote_capacity(), Directory::REMOTE_ENTRY_BYTES);
    let per_user = (set + index + text).div_ceil(users);
    println!("{users} remote users: {per_user} bytes each (set {set}, index {index}, text {text})");
    per_user
}

#[test]
fn a_remote_user_takes_at_most_200_bytes() {
    assert!(bytes_per_user(100_000) <= BYTES_PER_USER_MAX);
    // One more than the tables hold before they double.
    assert!(bytes_per_user(114_689) <= BYTES_PER_USER_MAX);
}

#[test]
fn the_index_shares_the_text_with_the_set() {
    let mut directory = Directory::new(name("a"), Incarnation(1), Seti::default_limits());
    let sibling = NodeId {
        name: name("b"),
        incarnation: Incarnation(2),
    };
    directory.joined(&sibling, Millis(0), &mut Vec::new());
    let mut set = UserSet::default();
    let user = UserId::new("alice").unwrap();
    set.apply(
        UserChange {
            user,
            present: true,
        },
        &mut Vec::new(),
    );
    let (version, piece, pieces) = (1, 0, 1);
    let bytes: Bytes = set.encode();
    let snapshot = PartFrame::Snapshot {
        incarnation: sibling.incarnation,
        version,
        piece,
        pieces,
        bytes,
    };
    directory.received(&sibling, snapshot.encode(), Millis(0), &mut Vec::new());
    let indexed = directory.users().next().unwrap().as_str().as_ptr();
    let replica = directory
        .parts()
        .replica(&sibling.name)
        .unwrap()
        .state()
        .unwrap();
    assert_eq!(replica.users().next().unwrap().as_str().as_ptr(), indexed);
}
