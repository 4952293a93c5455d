use super::*;

fn node(id: &str, url: &str) -> OortNode {
    OortNode {
        id: id.to_owned(),
        url: url.to_owned(),
    }
}

fn machine() -> OortMembership {
    OortMembership::new(node("me", "http://me/c"), 4)
}

const A: &str = "http://a/c";

/// Dials a node that answers, and returns the link.
fn dialled(machine: &mut OortMembership, url: &str, of: &OortNode) -> OutId {
    assert!(machine.observe(url, None));
    let Some(Command::Dial { link, .. }) = machine.commands().pop() else {
        panic!("it is not dialled");
    };
    machine.out_handshaken(link, url, of.clone());
    link
}

#[test]
fn a_node_has_joined_when_the_last_of_three_facts_is_here() {
    let a = node("1", A);
    // The order of the three facts: reply, handshake, join; in CometD any but a join before its handshake.
    for order in [[0, 1, 2], [1, 0, 2], [1, 2, 0]] {
        let mut machine = machine();
        machine.observe(A, None);
        let mut joined = 0;
        for fact in order {
            match fact {
                0 => machine.out_handshaken(OutId(1), A, a.clone()),
                1 => machine.session_added(7, a.clone(), "http://me/c", Some(A)),
                _ => machine.join(&a),
            }
            let commands = machine.commands();
            let events = commands
                .iter()
                .filter(|it| matches!(it, Command::Joined { .. }));
            joined += events.count();
            assert_eq!(joined, usize::from(fact == order[2]), "{order:?} {fact}");
        }
        machine.join(&a);
        assert!(machine.commands().is_empty(), "once");
    }
}

#[test]
fn a_node_that_dials_by_itself_is_dialled_back_with_the_alias() {
    let mut machine = machine();
    machine.session_added(7, node("1", A), "http://alias/c", None);
    assert_eq!(
        machine.commands(),
        [Command::Dial {
            link: OutId(1),
            url: A.to_owned(),
            alias: Some("http://alias/c".to_owned())
        }]
    );
    // And a second handshake, of the same node, finds the link.
    machine.session_added(8, node("1", A), "http://me/c", None);
    assert_eq!(machine.commands(), [Command::EndSession(7)]);
}

#[test]
fn aliases_are_one_node_and_the_newest_link_stays() {
    let (mut machine, a) = (machine(), node("1", A));
    let first = dialled(&mut machine, A, &a);
    machine.commands();
    let second = dialled(&mut machine, "http://alias/c", &a);
    assert_eq!(machine.commands(), [Command::CloseOut(first)]);
    assert!(!machine.observe(A, None) && !machine.observe("http://alias/c", None));
    assert_eq!(machine.known(), [A]);
    machine.deobserve("http://alias/c");
    assert_eq!(machine.commands(), [Command::CloseOut(second)]);
}

#[test]
fn a_node_that_was_started_anew_leaves_before_it_joins() {
    let (mut machine, old, new) = (machine(), node("1", A), node("2", A));
    let link = dialled(&mut machine, A, &old);
    machine.session_added(7, old.clone(), "http://me/c", Some(A));
    machine.join(&old);
    machine.commands();
    // Its link here has got a session of the new process, which dials back and confirms.
    machine.out_handshaken(link, A, new.clone());
    machine.session_added(8, new.clone(), "http://me/c", Some(A));
    machine.join(&new);
    let commands = machine.commands();
    let place = |wanted: &Command| commands.iter().position(|it| it == wanted);
    let left = place(&Command::Left(old));
    let joined = place(&Command::Joined {
        node: new,
        out: link,
        session: 8,
    });
    assert!(left.is_some() && left < joined, "{commands:?}");
    assert!(!commands.contains(&Command::CloseOut(link)));
    machine.session_removed(7, true);
    assert!(machine.commands().is_empty(), "it has been forgotten");
}

#[test]
fn an_expired_session_renews_the_link_and_a_farewell_ends_it() {
    let a = node("1", A);
    for expired in [true, false] {
        let mut machine = machine();
        let link = joined(&mut machine, &a);
        machine.session_removed(7, expired);
        let first = if expired {
            Command::Renew(link)
        } else {
            Command::CloseOut(link)
        };
        assert_eq!(machine.commands(), [first, Command::Left(a.clone())]);
        assert_eq!(machine.is_observed(A), expired);
    }
}

/// A node that has joined with session 7, and the link to it.
fn joined(machine: &mut OortMembership, node: &OortNode) -> OutId {
    let link = dialled(machine, &node.url, node);
    machine.session_added(7, node.clone(), "http://me/c", Some(&node.url));
    machine.join(node);
    machine.commands();
    link
}

#[test]
fn a_lost_link_is_a_lost_node_and_its_own_farewell_does_not_stop_the_new_one() {
    let (mut machine, a) = (machine(), node("1", A));
    let link = joined(&mut machine, &a);
    machine.out_lost(link);
    let left = Command::Left(a.clone());
    let expected = [Command::ExpireSession(7), left, Command::Renew(link)];
    assert_eq!(machine.commands(), expected);
    machine.out_lost(link);
    assert!(machine.commands().is_empty(), "once");
    // It shakes hands again and confirms, but cannot be reached: it has not joined.
    machine.session_added(8, a.clone(), "http://me/c", Some(A));
    machine.join(&a);
    assert!(machine.commands().is_empty());
    // The link works for a moment and says goodbye; the node answers with its own.
    machine.out_ended(link);
    assert!(machine.observe(A, None));
    machine.session_removed(8, false);
    assert!(machine.is_observed(A));
    let commands = machine.commands();
    let Some(Command::Dial { link, .. }) = commands.first() else {
        panic!("{commands:?}");
    };
    // Both begin anew.
    machine.session_added(9, a.clone(), "http://me/c", None);
    machine.out_handshaken(*link, A, a.clone());
    machine.join(&a);
    let joined = machine.commands();
    let count = joined
        .iter()
        .filter(|it| matches!(it, Command::Joined { .. }));
    assert_eq!(count.count(), 1, "{joined:?}");
    // A farewell is one again.
    machine.session_removed(9, false);
    assert!(!machine.is_observed(A));
}

#[test]
fn a_link_to_oneself_is_closed_and_there_is_a_bound() {
    let mut machine = machine();
    assert!(!machine.observe("http://me/c", None));
    let link = dialled(
        &mut machine,
        "http://alias-of-me/c",
        &node("me", "http://me/c"),
    );
    assert_eq!(machine.commands(), [Command::CloseOut(link)]);
    for n in 0..4 {
        assert!(machine.observe(&format!("http://{n}/c"), None));
    }
    assert!(!machine.observe("http://one-too-many/c", None));
}
