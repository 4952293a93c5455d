use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::addresses::SEED_FIRST;
use super::*;

const MS: Duration = Duration::from_millis(1);

fn address(n: u8) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, n], 7400))
}

fn member(n: u8, incarnation: u64) -> Member {
    member_at(n, incarnation, address(n))
}

fn member_at(n: u8, incarnation: u64, mesh_address: SocketAddr) -> Member {
    Member {
        name: NodeName::new(&format!("n{n}")).unwrap(),
        incarnation: Incarnation(incarnation),
        mesh_address,
        client_url: String::new(),
    }
}

fn machine() -> Membership {
    let settings = Settings {
        allow: vec!["10.0.0.0/8".parse().unwrap()],
        siblings_max: 3,
        backoff_max: Duration::from_secs(5),
    };
    Membership::new(
        member(0, 1),
        settings,
        RandomSource::seeded(1),
        Duration::ZERO,
    )
}

fn joined(commands: &[Command]) -> Vec<&Member> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::Joined { member, .. } => Some(member),
            _ => None,
        })
        .collect()
}

fn left(commands: &[Command]) -> Vec<&Member> {
    commands
        .iter()
        .filter_map(|command| match command {
            Command::Left(member) => Some(member),
            _ => None,
        })
        .collect()
}

/// Joins n1 with links 1 (out) and 2 (in).
fn join_n1(machine: &mut Membership, incarnation: u64, now: Duration) {
    machine.learn(address(1), Source::Seed, now);
    machine.tick(now);
    assert!(machine.commands().contains(&Command::Dial(address(1))));
    machine.out_up(LinkId(1), address(1), member(1, incarnation), now);
    machine
        .admit(LinkId(2), member(1, incarnation), 0, now)
        .unwrap();
    assert!(
        joined(&machine.commands()).is_empty(),
        "not before the snapshot"
    );
    machine.snapshot(LinkId(2));
    assert_eq!(joined(&machine.commands()), [&member(1, incarnation)]);
}

#[test]
fn joined_needs_both_links_and_the_snapshot_and_either_loss_is_left() {
    for lost in [1, 2] {
        let mut machine = machine();
        join_n1(&mut machine, 5, MS);
        if lost == 1 {
            machine.out_down(LinkId(1), 2 * MS);
        } else {
            machine.in_down(LinkId(2), 2 * MS);
        }
        let commands = machine.commands();
        assert_eq!(left(&commands), [&member(1, 5)]);
        assert!(commands.contains(&Command::CloseOut(LinkId(1))));
        assert!(commands.contains(&Command::CloseIn(LinkId(2))));
        // The first retry is quick.
        machine.tick(250 * MS);
        assert!(machine.commands().contains(&Command::Dial(address(1))));
    }
}

#[test]
fn a_restarted_node_supersedes_its_old_life() {
    let mut machine = machine();
    join_n1(&mut machine, 5, MS);
    machine.admit(LinkId(3), member(1, 6), 0, 2 * MS).unwrap();
    assert_eq!(left(&machine.commands()), [&member(1, 5)]);
    machine.snapshot(LinkId(3));
    // The old links end late: nobody cares.
    machine.out_down(LinkId(1), 3 * MS);
    machine.in_down(LinkId(2), 3 * MS);
    assert!(machine.commands().is_empty());
    machine.out_up(LinkId(4), address(1), member(1, 6), 4 * MS);
    assert_eq!(joined(&machine.commands()), [&member(1, 6)]);
}

/// What was wrong: each superseded the other for ever, as if they were restarts of one node.
#[test]
fn two_live_nodes_with_one_name_and_one_address_are_told_apart_from_a_restart() {
    let mut machine = machine();
    join_n1(&mut machine, 5, MS);
    machine.admit(LinkId(3), member(1, 6), 0, 2 * MS).unwrap();
    machine.commands();
    let holder = address(1);
    let refused = machine.admit(LinkId(4), member(1, 5), 0, 3 * MS);
    assert_eq!(refused, Err(Refusal::NameTaken { holder }));
    let name = member(1, 5).name;
    assert_eq!(
        machine.commands(),
        [Command::Twins(Conflict { name, holder })]
    );
    // Nor when this node dials the address and happens to reach it.
    machine.out_up(LinkId(5), holder, member(1, 5), 3 * MS);
    assert_eq!(machine.commands(), [Command::CloseOut(LinkId(5))]);
    // Once the other one is gone it is let in.
    machine.in_down(LinkId(3), 4 * MS);
    assert!(machine.admit(LinkId(6), member(1, 5), 0, 5 * MS).is_ok());
}

#[test]
fn a_second_node_with_the_same_name_is_refused() {
    let mut machine = machine();
    join_n1(&mut machine, 5, MS);
    let refused = machine.admit(LinkId(3), member_at(1, 9, address(9)), 0, 2 * MS);
    assert_eq!(refused, Err(Refusal::NameTaken { holder: address(1) }));
    // Also when this node happens to dial it.
    machine.out_up(LinkId(4), address(9), member_at(1, 9, address(9)), 2 * MS);
    assert_eq!(machine.commands(), [Command::CloseOut(LinkId(4))]);
    // Once the holder is gone, the name is free.
    machine.in_down(LinkId(2), 3 * MS);
    assert!(
        machine
            .admit(LinkId(5), member_at(1, 9, address(9)), 0, 4 * MS)
            .is_ok()
    );
}

#[test]
fn of_two_nodes_with_this_name_the_younger_is_in_conflict() {
    let mut machine = machine();
    let now = Duration::from_secs(10);
    let younger = machine.admit(LinkId(1), member_at(0, 9, address(9)), 100, now);
    assert_eq!(younger, Err(Refusal::NameTaken { holder: address(0) }));
    assert!(machine.conflicts(now).is_empty());
    let older = machine.admit(LinkId(1), member_at(0, 9, address(9)), 99_000, now);
    assert_eq!(older, Err(Refusal::YoungerTwin));
    assert_eq!(machine.conflicts(now)[0].holder, address(9));
    assert!(machine.conflicts(now + CONFLICT_TTL).is_empty());
}

#[test]
fn a_refusal_for_the_name_is_reported_and_retried() {
    let mut machine = machine();
    machine.learn(address(1), Source::Seed, MS);
    machine.tick(MS);
    machine.commands();
    machine.refused(address(1), &Refusal::NameTaken { holder: address(3) }, MS);
    assert_eq!(machine.conflicts(MS)[0].holder, address(3));
    machine.tick(200 * MS);
    assert!(machine.commands().contains(&Command::Dial(address(1))));
    machine.out_up(LinkId(1), address(1), member(1, 5), 300 * MS);
    assert!(machine.conflicts(300 * MS).is_empty());
}

#[test]
fn own_and_foreign_addresses_are_not_dialled() {
    let mut machine = machine();
    machine.learn(address(0), Source::Seed, MS);
    machine.known(
        &[
            "192.168.0.1:7400".parse().unwrap(),
            "10.0.0.9:0".parse().unwrap(),
        ],
        MS,
    );
    machine.learn(address(7), Source::Seed, MS);
    machine.tick(MS);
    assert_eq!(machine.commands(), [Command::Dial(address(7))]);
    machine.refused(address(7), &Refusal::SelfConnection, MS);
    machine.tick(Duration::from_secs(1000));
    assert!(
        machine.commands().is_empty(),
        "an alias of this node is not dialled again"
    );
    assert_eq!(
        machine.admit(
            LinkId(1),
            member_at(2, 1, "192.168.0.1:1".parse().unwrap()),
            0,
            MS
        ),
        Err(Refusal::AddressNotAllowed("192.168.0.1:1".parse().unwrap()))
    );
}

#[test]
fn a_second_address_of_a_member_is_an_alias() {
    let mut machine = machine();
    join_n1(&mut machine, 5, MS);
    machine.learn(address(8), Source::Seed, MS);
    machine.tick(2 * MS);
    assert_eq!(machine.commands(), [Command::Dial(address(8))]);
    machine.out_up(LinkId(9), address(8), member(1, 5), 3 * MS);
    assert_eq!(machine.commands(), [Command::CloseOut(LinkId(9))]);
    machine.tick(Duration::from_secs(60));
    assert!(!machine.commands().contains(&Command::Dial(address(8))));
    machine.out_down(LinkId(1), Duration::from_secs(61));
    // One after the other: the second link that is up would end the first.
    machine.tick(Duration::from_secs(62));
    let commands = machine.commands();
    assert!(
        commands.contains(&Command::Dial(address(1))),
        "{commands:?}"
    );
    assert!(!commands.contains(&Command::Dial(address(8))));
    machine.dial_failed(address(1), Duration::from_secs(63));
    machine.tick(Duration::from_secs(63));
    assert_eq!(machine.commands(), [Command::Dial(address(8))]);
}

/// What was wrong: the node was dialled at its own address as well, and took the second link for the loss of the first.
#[test]
fn a_node_that_is_reached_at_a_seed_is_not_dialled_at_its_own_address() {
    let seed = address(8);
    for (admitted_first, named_first) in [(false, false), (false, true), (true, false)] {
        let mut machine = machine();
        machine.learn(seed, Source::Seed, MS);
        machine.tick(MS);
        assert_eq!(machine.commands(), [Command::Dial(seed)]);
        if named_first {
            machine.known(&[address(1)], 2 * MS);
        }
        if admitted_first {
            machine.admit(LinkId(2), member(1, 5), 0, 2 * MS).unwrap();
        }
        machine.tick(3 * MS);
        machine.out_up(LinkId(1), seed, member(1, 5), 100 * MS);
        if !admitted_first {
            machine.admit(LinkId(2), member(1, 5), 0, 101 * MS).unwrap();
        }
        machine.snapshot(LinkId(2));
        for second in 1..60 {
            machine.tick(Duration::from_secs(second));
        }
        let commands = machine.commands();
        assert_eq!(joined(&commands).len(), 1, "{commands:?}");
        let dialled = commands.iter().filter(|it| matches!(it, Command::Dial(_)));
        assert_eq!(dialled.count(), 0, "{commands:?}");
    }
    // Where nobody answers at the seed's address the others are not held up for long.
    let mut machine = machine();
    machine.learn(seed, Source::Seed, MS);
    machine.tick(MS);
    machine.known(&[address(1)], 2 * MS);
    machine.tick(2 * MS + SEED_FIRST);
    let expected = [Command::Dial(seed), Command::Dial(address(1))];
    assert_eq!(machine.commands(), expected);
}

#[test]
fn the_number_of_siblings_is_bounded() {
    let mut machine = machine();
    for n in 1..=3 {
        assert!(machine.admit(LinkId(n.into()), member(n, 1), 0, MS).is_ok());
    }
    assert_eq!(
        machine.admit(LinkId(4), member(4, 1), 0, MS),
        Err(Refusal::TooManySiblings)
    );
}

#[test]
fn leaving_is_told_and_nobody_is_admitted_any_more() {
    let mut machine = machine();
    join_n1(&mut machine, 5, MS);
    machine.leave(2 * MS);
    assert_eq!(left(&machine.commands()), [&member(1, 5)]);
    assert_eq!(
        machine.admit(LinkId(7), member(2, 1), 0, 3 * MS),
        Err(Refusal::Leaving)
    );
}

#[test]
fn a_new_member_is_told_of_the_others_and_they_of_it() {
    let mut machine = machine();
    join_n1(&mut machine, 5, MS);
    machine.learn(address(2), Source::Hint, MS);
    machine.out_up(LinkId(3), address(2), member(2, 1), 2 * MS);
    machine.admit(LinkId(4), member(2, 1), 0, 2 * MS).unwrap();
    machine.snapshot(LinkId(4));
    let commands = machine.commands();
    assert!(commands.contains(&Command::SendKnown(LinkId(1), vec![address(2)])));
    assert!(commands.contains(&Command::SendKnown(LinkId(3), vec![address(1)])));
}

#[derive(Clone, Debug)]
enum Step {
    Learn(u8),
    Tick(u16),
    OutUp {
        node: u8,
        incarnation: u64,
        elsewhere: bool,
    },
    Admit {
        node: u8,
        incarnation: u64,
        elsewhere: bool,
    },
    Snapshot(u64),
    OutDown(u64),
    InDown(u64),
    Leaves(u64),
    Failed(u8),
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let who = || (0u8..6, 1u64..3, proptest::bool::weighted(0.2));
    let step = prop_oneof![
        (0u8..8).prop_map(Step::Learn),
        (1u16..3000).prop_map(Step::Tick),
        who().prop_map(|(node, incarnation, elsewhere)| Step::OutUp {
            node,
            incarnation,
            elsewhere
        }),
        who().prop_map(|(node, incarnation, elsewhere)| Step::Admit {
            node,
            incarnation,
            elsewhere
        }),
        (0u64..40).prop_map(Step::Snapshot),
        (0u64..40).prop_map(Step::Snapshot),
        (0u64..40).prop_map(Step::OutDown),
        (0u64..40).prop_map(Step::InDown),
        (0u64..40).prop_map(Step::Leaves),
        (0u8..8).prop_map(Step::Failed),
        Just(Step::Restart),
    ];
    proptest::collection::vec(step, 1..120)
}

proptest! {
    /// Events in any order, lost, doubled and late, do not break the invariants of the module comment.
    #[test]
    fn invariants_hold_under_any_sequence_of_events(steps in steps()) {
        let mut machine = machine();
        let mut now = Duration::ZERO;
        let mut next_link = 0u64;
        let mut members: BTreeMap<NodeName, (Incarnation, LinkId, LinkId)> = BTreeMap::new();
        let mut closed: BTreeSet<LinkId> = BTreeSet::new();
        for step in steps {
            match step {
                Step::Learn(n) => machine.learn(address(n), Source::Hint, now),
                Step::Tick(ms) => {
                    now += Duration::from_millis(ms.into());
                    machine.tick(now);
                }
                Step::OutUp { node, incarnation, elsewhere } => {
                    let at = address(if elsewhere { node + 100 } else { node });
                    machine.out_up(LinkId(next_link), at, member_at(node, incarnation, at), now);
                    next_link += 1;
                }
                Step::Admit { node, incarnation, elsewhere } => {
                    let at = address(if elsewhere { node + 100 } else { node });
                    let _ = machine.admit(LinkId(next_link), member_at(node, incarnation, at), 0, now);
                    next_link += 1;
                }
                Step::Snapshot(link) => machine.snapshot(LinkId(link % next_link.max(1))),
                Step::OutDown(link) => machine.out_down(LinkId(link), now),
                Step::InDown(link) => machine.in_down(LinkId(link), now),
                Step::Leaves(link) => machine.sibling_leaves(LinkId(link), now),
                Step::Failed(n) => machine.dial_failed(address(n), now),
                Step::Restart => machine.restart(Incarnation(next_link + 100), now),
            }
            for command in machine.commands() {
                match command {
                    Command::Dial(to) => prop_assert!(to != address(0)),
                    Command::CloseOut(link) | Command::CloseIn(link) => {
                        closed.insert(link);
                    }
                    Command::Joined { member, out, inbound } => {
                        prop_assert!(member.name != machine.me().name);
                        let before = members.insert(member.name, (member.incarnation, out, inbound));
                        prop_assert!(before.is_none(), "joined twice");
                    }
                    Command::Left(member) => {
                        let before = members.remove(&member.name);
                        prop_assert_eq!(before.map(|(incarnation, ..)| incarnation), Some(member.incarnation));
                    }
                    Command::Twins(_) => {}
                    Command::SendKnown(link, _) => prop_assert!(!closed.contains(&link)),
                }
            }
            for (out, inbound) in members.values().map(|(_, out, inbound)| (out, inbound)) {
                let alive = |link: &LinkId| {
                    machine.siblings.values().any(|s| s.out == Some(*link) || s.inbound == Some(*link))
                };
                prop_assert!(alive(out) && alive(inbound), "a joined sibling has both links");
            }
            prop_assert!(machine.siblings.len() <= 3);
        }
    }
}
