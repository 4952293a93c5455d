//! Single steps of owner and replica.

use bytes::Bytes;
use halley_bayeux::Millis;

use super::log_state::Log;
use crate::parts::{
    Malformed, Outcome, Outgoing, Output, OwnPart, PartFrame, PartLimits, PartTooLarge, Parts,
    Replica,
};
use crate::{Incarnation, NodeId, NodeName};

const ONE: Incarnation = Incarnation(1);

fn name(name: &str) -> NodeName {
    NodeName::new(name).unwrap()
}

fn node(node: &str, incarnation: u64) -> NodeId {
    NodeId {
        name: name(node),
        incarnation: Incarnation(incarnation),
    }
}

fn limits() -> PartLimits {
    PartLimits {
        part_bytes_max: 64,
        held_bytes_max: 300,
        piece_bytes: 4,
        window_pieces: 2,
        ..PartLimits::default()
    }
}

fn owner(limits: PartLimits) -> OwnPart<Log> {
    OwnPart::new(ONE, Log::default(), limits).unwrap()
}

fn change(own: &mut OwnPart<Log>, delta: &[u8]) -> PartFrame {
    own.change(delta.to_vec(), &mut Vec::new()).unwrap()
}

fn push(own: &mut OwnPart<Log>, to: &str) -> Vec<PartFrame> {
    let mut frames = Vec::new();
    own.push(&name(to), Millis(0), &mut |frame| frames.push(frame));
    frames
}

fn answer(own: &mut OwnPart<Log>, from: &str, pull: PartFrame) -> Vec<PartFrame> {
    let PartFrame::Pull {
        incarnation,
        version,
        piece,
    } = pull
    else {
        panic!("{pull:?} is no pull")
    };
    let mut frames = Vec::new();
    own.pulled(
        &name(from),
        incarnation,
        version,
        piece,
        Millis(0),
        &mut |frame| frames.push(frame),
    );
    frames
}

/// A replica together with the frames it wants to send.
struct Seen {
    replica: Replica<Log>,
    pulls: Vec<PartFrame>,
}

impl Seen {
    fn new(limits: PartLimits) -> Self {
        Self {
            replica: Replica::new(ONE, 0, Millis(0), limits),
            pulls: Vec::new(),
        }
    }

    fn take(&mut self, frame: PartFrame, now: u64) -> Outcome {
        let (outcome, pull) = self.replica.receive(frame, Millis(now), &mut Vec::new());
        self.pulls.extend(pull);
        outcome
    }

    fn take_all(&mut self, frames: Vec<PartFrame>, now: u64) {
        for frame in frames {
            self.take(frame, now);
        }
    }

    fn log(&self) -> &[u8] {
        &self.replica.state().unwrap().0
    }
}

#[test]
fn the_first_state_has_version_0_and_each_change_the_next() {
    let mut own = owner(limits());
    assert_eq!(own.version(), 0);
    let expected = PartFrame::Delta {
        incarnation: ONE,
        version: 1,
        bytes: Bytes::from_static(b"a"),
    };
    assert_eq!(change(&mut own, b"a"), expected);
    change(&mut own, b"b");
    assert_eq!((own.version(), own.state()), (2, &Log(b"ab".to_vec())));
}

#[test]
fn an_oversized_part_is_refused_to_the_owner_and_changes_nothing() {
    let mut own = owner(limits());
    change(&mut own, &[1; 60]);
    let refused = own.change(vec![1; 5], &mut Vec::new());
    assert_eq!(refused, Err(PartTooLarge { bytes: 65, max: 64 }));
    assert_eq!((own.version(), own.state().0.len()), (1, 60));
    assert!(OwnPart::new(ONE, Log(vec![1; 65]), limits()).is_err());
}

#[test]
fn a_delta_longer_than_a_piece_is_announced_and_pulled() {
    let mut own = owner(limits());
    assert_eq!(
        change(&mut own, b"abcde"),
        PartFrame::Current {
            incarnation: ONE,
            version: 1
        }
    );
}

#[test]
fn a_stale_update_is_discarded() {
    let mut own = owner(limits());
    let mut seen = Seen::new(limits());
    seen.take_all(push(&mut own, "b"), 0);
    let first = change(&mut own, b"1");
    let second = change(&mut own, b"2");
    assert_eq!(seen.take(first.clone(), 0), Outcome::Applied);
    assert_eq!(seen.take(second, 0), Outcome::Applied);
    assert_eq!(seen.take(first, 0), Outcome::Stale);
    assert_eq!(seen.log(), b"12");
    assert!(seen.pulls.is_empty());
}

#[test]
fn a_gap_is_pulled_once_and_what_came_meanwhile_is_applied_after_the_snapshot() {
    let mut own = owner(limits());
    let mut seen = Seen::new(limits());
    seen.take_all(push(&mut own, "b"), 0);
    change(&mut own, b"1");
    let second = change(&mut own, b"2");
    assert_eq!(seen.take(second, 0), Outcome::Gap);
    assert_eq!(seen.pulls.len(), 1);
    let snapshot = answer(&mut own, "b", seen.pulls.remove(0));
    let third = change(&mut own, b"3");
    let fourth = change(&mut own, b"4");
    assert_eq!(seen.take(fourth, 0), Outcome::Gap);
    assert_eq!(seen.take(third, 0), Outcome::Gap);
    assert!(seen.pulls.is_empty(), "asked already");
    seen.take_all(snapshot, 0);
    assert_eq!(seen.log(), b"1234");
    assert!(!seen.replica.is_behind());
}

#[test]
fn a_pull_without_an_answer_is_repeated_by_the_timer() {
    let mut own = owner(limits());
    let mut seen = Seen::new(limits());
    seen.take_all(push(&mut own, "b"), 0);
    change(&mut own, b"1");
    assert_eq!(seen.take(own.current(), 10), Outcome::Gap);
    assert_eq!(seen.replica.tick(Millis(1_009)), None);
    for now in [1_010, 2_010, 3_010] {
        let pull = seen.replica.tick(Millis(now));
        assert_eq!(
            pull,
            Some(PartFrame::Pull {
                incarnation: ONE,
                version: 0,
                piece: 0
            }),
            "at {now}"
        );
        assert_eq!(seen.replica.tick(Millis(now + 1)), None);
    }
    seen.take_all(push(&mut own, "b"), 3_500);
    assert_eq!(seen.replica.tick(Millis(60_000)), None, "answered");
}

#[test]
fn an_owner_that_never_answered_is_asked_ever_less_until_it_is_heard() {
    let mut seen = Seen::new(limits());
    let asked: Vec<u64> = (0..100_000)
        .filter(|now| seen.replica.tick(Millis(*now)).is_some())
        .collect();
    assert_eq!(asked, [1_000, 3_000, 7_000, 15_000, 31_000, 61_000, 91_000]);
    assert_eq!(
        seen.take(
            PartFrame::Current {
                incarnation: ONE,
                version: 0
            },
            100_000
        ),
        Outcome::Gap
    );
    assert_eq!(seen.pulls.len(), 1, "at once");
}

#[test]
fn another_incarnation_is_stale_whatever_its_version() {
    let mut own = owner(limits());
    let mut seen = Seen::new(limits());
    seen.take_all(push(&mut own, "b"), 0);
    own.restart(Incarnation(2));
    for _ in 0..3 {
        let frame = change(&mut own, b"x");
        assert_eq!(seen.take(frame, 0), Outcome::Stale);
    }
    let frame = push(&mut own, "b").remove(0);
    assert_eq!(seen.take(frame, 0), Outcome::Stale);
    assert_eq!(seen.log(), b"");
}

#[test]
fn a_long_snapshot_travels_in_windows_that_the_replica_asks_for() {
    let mut own = owner(limits());
    let mut seen = Seen::new(limits());
    change(&mut own, b"0123456789abcdefghi");
    let first = push(&mut own, "b");
    assert_eq!(first.len(), 2);
    seen.take_all(first, 0);
    // The state moves on meanwhile: the pieces stay those of version 1, and the delta is held.
    let delta = change(&mut own, b"+");
    assert_eq!(seen.take(delta, 0), Outcome::Gap);
    let mut windows = 1;
    while let Some(pull) = seen.pulls.pop() {
        windows += 1;
        let frames = answer(&mut own, "b", pull);
        assert!(frames.len() <= 2);
        seen.take_all(frames, 0);
    }
    assert_eq!((windows, seen.log()), (3, &b"0123456789abcdefghi+"[..]));
}

#[test]
fn a_lost_piece_is_asked_for_again_even_when_the_owner_has_dropped_the_transfer() {
    for moved_on in [false, true] {
        let mut own = owner(limits());
        let mut seen = Seen::new(limits());
        change(&mut own, b"0123456789abcdefghi");
        let lost = push(&mut own, "b").pop();
        assert!(lost.is_some());
        seen.take(push(&mut own, "b").remove(0), 0);
        own.tick(Millis(10_000));
        if moved_on {
            change(&mut own, b"+");
        }
        let mut pull = seen.replica.tick(Millis(10_000));
        while let Some(next) = pull {
            seen.take_all(answer(&mut own, "b", next), 10_000);
            pull = seen.pulls.pop();
        }
        assert_eq!(seen.log(), own.state().0, "moved on: {moved_on}");
    }
}

#[test]
fn held_deltas_are_bounded_and_dropping_them_costs_only_another_pull() {
    let mut own = owner(limits());
    let mut seen = Seen::new(limits());
    seen.take_all(push(&mut own, "b"), 0);
    change(&mut own, b"0");
    let held: Vec<_> = (1..=9).map(|delta| change(&mut own, &[delta])).collect();
    for frame in held {
        assert_eq!(seen.take(frame, 0), Outcome::Gap);
    }
    let mut rounds = 0;
    while let Some(pull) = seen.pulls.pop() {
        rounds += 1;
        seen.take_all(answer(&mut own, "b", pull), 0);
    }
    assert!(rounds <= 4, "{rounds}");
    assert_eq!(seen.log(), own.state().0);
}

#[test]
fn malformed_bytes_of_an_owner_are_pulled_again_and_never_applied() {
    let mut own = owner(limits());
    let mut seen = Seen::new(limits());
    seen.take_all(push(&mut own, "b"), 0);
    change(&mut own, b"1");
    let bad = PartFrame::Delta {
        incarnation: ONE,
        version: 1,
        bytes: Bytes::from_static(b"\xff"),
    };
    assert_eq!(seen.take(bad, 0), Outcome::Malformed);
    let (version, piece, pieces) = (1, 0, 1);
    let bytes = Bytes::from_static(b"\xff");
    let bad = PartFrame::Snapshot {
        incarnation: ONE,
        version,
        piece,
        pieces,
        bytes,
    };
    assert_eq!(seen.take(bad, 0), Outcome::Malformed);
    assert_eq!(seen.log(), b"");
    assert_eq!(seen.pulls.len(), 1);
    let frames = answer(&mut own, "b", seen.pulls.remove(0));
    seen.take_all(frames, 0);
    assert_eq!(seen.log(), b"1");
}

#[test]
fn a_snapshot_longer_than_the_bound_is_dropped() {
    let mut seen = Seen::new(limits());
    let pieces = 100;
    for piece in 0..pieces {
        let bytes = Bytes::from_static(b"0123");
        seen.take(
            PartFrame::Snapshot {
                incarnation: ONE,
                version: 1,
                piece,
                pieces,
                bytes,
            },
            0,
        );
    }
    assert_eq!(seen.replica.state(), None);
}

#[test]
fn frames_keep_their_meaning_and_broken_ones_are_refused() {
    let bytes = Bytes::from_static(b"payload");
    let frames = [
        PartFrame::Delta {
            incarnation: ONE,
            version: u64::MAX,
            bytes: bytes.clone(),
        },
        PartFrame::Snapshot {
            incarnation: ONE,
            version: 7,
            piece: 2,
            pieces: 3,
            bytes,
        },
        PartFrame::Pull {
            incarnation: ONE,
            version: 7,
            piece: 2,
        },
        PartFrame::Current {
            incarnation: Incarnation(u64::MAX),
            version: 0,
        },
    ];
    for frame in frames {
        let encoded = frame.encode();
        assert_eq!(PartFrame::decode(encoded.clone()), Ok(frame));
        for len in 0..17 {
            assert_eq!(
                PartFrame::decode(encoded.slice(..len)),
                Err(Malformed("part frame"))
            );
        }
    }
    let none = PartFrame::Snapshot {
        incarnation: ONE,
        version: 7,
        piece: 3,
        pieces: 3,
        bytes: Bytes::new(),
    };
    assert!(PartFrame::decode(none.encode()).is_err());
}

#[test]
fn nothing_of_a_node_that_left_or_is_no_member_is_taken() {
    let mut parts = Parts::new(ONE, Log::default(), limits()).unwrap();
    let mut out = Output::default();
    let mut sibling = OwnPart::new(Incarnation(9), Log(b"x".to_vec()), limits()).unwrap();
    let late = push(&mut sibling, "a").remove(0).encode();
    assert_eq!(
        parts.received(&node("b", 9), late.clone(), Millis(0), &mut out),
        Outcome::Stale
    );
    parts.joined(&node("b", 9), Millis(0), &mut out);
    assert_eq!(
        parts.received(&node("b", 9), late.clone(), Millis(0), &mut out),
        Outcome::Applied
    );
    parts.left(&node("b", 8), &mut out);
    assert!(
        parts.replica(&name("b")).is_some(),
        "a late left of an earlier life"
    );
    parts.left(&node("b", 9), &mut out);
    assert_eq!(
        parts.received(&node("b", 9), late.clone(), Millis(0), &mut out),
        Outcome::Stale
    );
    parts.joined(&node("b", 10), Millis(0), &mut out);
    assert_eq!(
        parts.received(&node("b", 9), late.clone(), Millis(0), &mut out),
        Outcome::Stale
    );
    assert_eq!(
        parts.received(&node("b", 10), late, Millis(0), &mut out),
        Outcome::Stale
    );
    assert_eq!(parts.replica(&name("b")).unwrap().state(), None);
    assert_eq!(
        out.changes.len(),
        2,
        "came and went once: {:?}",
        out.changes
    );
}

#[test]
fn a_node_that_comes_again_in_the_same_incarnation_does_not_come_with_an_older_state() {
    let mut parts = Parts::new(ONE, Log::default(), limits()).unwrap();
    let mut out = Output::default();
    let mut sibling = owner(limits());
    sibling.restart(Incarnation(9));
    let older = push(&mut sibling, "a").remove(0).encode();
    change(&mut sibling, b"x");
    let newer = push(&mut sibling, "a").remove(0).encode();
    parts.joined(&node("b", 9), Millis(0), &mut out);
    parts.received(&node("b", 9), newer.clone(), Millis(0), &mut out);
    // Twice: the second time nothing came before it left again.
    for _ in 0..2 {
        parts.left(&node("b", 9), &mut out);
        parts.joined(&node("b", 9), Millis(0), &mut out);
    }
    assert_eq!(
        parts.received(&node("b", 9), older, Millis(0), &mut out),
        Outcome::Stale
    );
    assert_eq!(
        parts.received(&node("b", 9), newer, Millis(0), &mut out),
        Outcome::Applied
    );
}

#[test]
fn the_own_part_is_pushed_on_joined_and_again_after_a_restart_at_version_0() {
    let mut parts = Parts::new(ONE, Log::default(), limits()).unwrap();
    let mut out = Output::default();
    parts.change(b"1".to_vec(), &mut out).unwrap();
    assert!(out.sends.is_empty(), "nobody is there");
    parts.joined(&node("b", 9), Millis(0), &mut out);
    parts.restart(Incarnation(2), &mut out);
    parts.joined(&node("b", 9), Millis(0), &mut out);
    let pushed: Vec<_> = out
        .sends
        .iter()
        .map(|send| {
            let Outgoing::To(to, bytes) = send else {
                panic!("{send:?}")
            };
            assert_eq!(to, &node("b", 9));
            PartFrame::decode(bytes.clone()).unwrap()
        })
        .collect();
    let bytes = Bytes::from_static(b"1");
    let snapshot = |incarnation, version| PartFrame::Snapshot {
        incarnation,
        version,
        piece: 0,
        pieces: 1,
        bytes: bytes.clone(),
    };
    assert_eq!(pushed, [snapshot(ONE, 1), snapshot(Incarnation(2), 0)]);
}
