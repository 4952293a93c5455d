//! The check finds each kind of fault, and nothing where there is none.

use super::*;

const SLACK: Duration = Duration::from_millis(400);

fn message(number: u64) -> Message {
    Message {
        publisher: 1,
        channel: 7,
        number,
    }
}

/// Publisher 1 at node 1 and subscriber 9 at node 2, ten messages half a second apart, all delivered a tenth later.
fn faultless() -> Vec<Event> {
    let mut events = vec![
        at(
            0,
            What::PublisherAt {
                publisher: 1,
                node: 1,
            },
        ),
        at(0, subscribed(2)),
    ];
    for number in 1..=10 {
        let time = number * 500;
        events.push(at(time, What::Published(message(number))));
        events.push(at(
            time + 50,
            What::Answered(message(number), Answer::Successful),
        ));
        events.push(at(time + 100, delivered(number)));
    }
    events.push(at(10_000, What::Note("the end".into())));
    events
}

fn at(millis: u64, what: What) -> Event {
    Event {
        at: Duration::from_millis(millis),
        what,
    }
}

fn subscribed(node: usize) -> What {
    What::Subscribed {
        subscriber: 9,
        node,
        channel: 7,
    }
}

fn delivered(number: u64) -> What {
    What::Delivered {
        subscriber: 9,
        message: message(number),
    }
}

fn without(mut events: Vec<Event>, what: &What) -> Vec<Event> {
    events.retain(|event| event.what != *what);
    events
}

fn with(mut events: Vec<Event>, millis: u64, what: What) -> Vec<Event> {
    events.push(at(millis, what));
    events.sort_by_key(|event| event.at);
    events
}

fn rules(events: &[Event]) -> Vec<(u64, &'static str)> {
    let faults = check(events, SLACK).err().unwrap_or_default();
    faults
        .iter()
        .map(|fault| (fault.message.number, fault.rule))
        .collect()
}

const MISSING: &str = "answered successful, and missing on an unbroken path";

#[test]
fn nothing_is_found_where_nothing_is_wrong() {
    let tally = check(&faultless(), SLACK).expect("no fault");
    assert_eq!((tally.published, tally.successful), (10, 10));
    assert_eq!((tally.delivered, tally.owed, tally.excused), (10, 10, 0));
}

#[test]
fn a_missing_message_is_found() {
    let events = without(faultless(), &delivered(4));
    assert_eq!(rules(&events), [(4, MISSING)]);
    let shown = readable(&events, check(&events, SLACK).unwrap_err().first());
    assert!(shown.contains("p1/c7#4 successful"), "{shown}");
    assert!(!shown.contains("p1/c7#9"), "{shown}");
}

#[test]
fn a_message_that_was_not_answered_successful_may_be_missing() {
    let events = without(faultless(), &delivered(4));
    let events = without(events, &What::Answered(message(4), Answer::Successful));
    assert_eq!(rules(&events), []);
    let events = with(events, 2050, What::Answered(message(4), Answer::Unknown));
    assert_eq!(check(&events, SLACK).expect("no fault").excused, 1);
}

#[test]
fn a_message_that_comes_twice_is_found() {
    let events = with(faultless(), 2600, delivered(5));
    assert_eq!(rules(&events), [(5, "delivered twice")]);
}

#[test]
fn a_message_that_comes_late_is_found() {
    let events = without(faultless(), &delivered(5));
    let events = with(events, 3200, delivered(5));
    let rule = "delivered after a later one of the same publisher and channel";
    assert_eq!(rules(&events), [(5, rule)]);
}

#[test]
fn a_message_from_nowhere_is_found() {
    let events = with(faultless(), 9000, delivered(77));
    assert_eq!(rules(&events), [(77, "delivered, and never published")]);
    let events = without(faultless(), &subscribed(2));
    assert_eq!(rules(&events).len(), 10);
}

/// Only what was under way while the path was broken may be missing, in that direction, from that node.
#[test]
fn a_broken_path_excuses_what_was_under_way() {
    let (from, to) = (1, 2);
    let cut = |events| {
        let events = with(events, 2200, What::Broken { from, to });
        with(events, 3300, What::Whole { from, to })
    };
    // 4 was answered at 2050 and is due at 2450; 6 was published at 3000; 7 after all was whole.
    for (number, excused) in [(1, false), (3, false), (4, true), (6, true), (7, false)] {
        let events = cut(without(faultless(), &delivered(number)));
        let expected = if excused {
            vec![]
        } else {
            vec![(number, MISSING)]
        };
        assert_eq!(rules(&events), expected);
    }
    let events = without(faultless(), &delivered(4));
    let events = with(events, 1000, What::Broken { from: 2, to: 1 });
    let events = with(events, 1000, What::Broken { from: 1, to: 3 });
    assert_eq!(rules(&events), [(4, MISSING)]);
}

/// A session that ended is owed nothing, and a new one what is published after it.
#[test]
fn a_lost_session_excuses_and_a_new_one_does_not() {
    let ended = |events| with(events, 2700, What::Ended { subscriber: 9 });
    let events = ended(without(faultless(), &delivered(5)));
    let events: Vec<_> = events
        .into_iter()
        .filter(
            |event| !matches!(event.what, What::Delivered { message, .. } if message.number > 5),
        )
        .collect();
    assert_eq!(rules(&events), []);
    let again = with(events, 3100, subscribed(2));
    let missing: Vec<_> = (7..=10).map(|number| (number, MISSING)).collect();
    assert_eq!(rules(&again), missing);
}

/// What was published just before the end has had no time.
#[test]
fn the_last_moment_is_not_judged() {
    let mut events = without(faultless(), &delivered(10));
    events.pop();
    assert_eq!(rules(&events), []);
}
