use super::*;
use crate::session::{State, Transport};
use crate::{Publication, SessionId, Tap};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).unwrap()
}

fn session(key: u64) -> Arc<Session> {
    Session::new(
        SessionId::random(),
        key,
        None,
        None,
        None,
        None,
        State::new(Transport::WebSocket, false),
    )
}

fn tree() -> ChannelTree {
    ChannelTree::new(Limits {
        channels: 1000,
        channels_per_session: 100,
    })
}

fn receivers(tree: &ChannelTree, channel: &str) -> Vec<u64> {
    let mut keys = Vec::new();
    tree.for_each_receiver(&name(channel), |subscriber| keys.push(subscriber.key));
    keys.sort_unstable();
    keys
}

struct Deaf;
impl Tap for Deaf {
    fn publication(&self, _: &Arc<Publication>) {}
}

fn tap(key: u64) -> Subscriber {
    Subscriber {
        key,
        receiver: Receiver::Tap(Arc::new(Deaf)),
    }
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl SubscriptionListener for Log {
    fn first(&self, channel: &ChannelName) {
        self.0.lock().push(format!("first {channel}"));
    }
    fn last(&self, channel: &ChannelName) {
        self.0.lock().push(format!("last {channel}"));
    }
}

#[test]
fn one_call_per_receiver_under_overlapping_patterns() {
    let tree = tree();
    let a = session(1);
    for pattern in ["/foo/bar", "/foo/*", "/foo/**", "/**"] {
        tree.subscribe(&name(pattern), Subscriber::session(&a), &[])
            .unwrap();
        tree.subscribe(&name(pattern), tap(9), &[]).unwrap();
    }
    let c = session(3);
    tree.subscribe(&name("/foo/*"), Subscriber::session(&c), &[])
        .unwrap();
    assert_eq!(receivers(&tree, "/foo/bar"), [1, 3, 9]);
    assert_eq!(receivers(&tree, "/foo/bar/baz"), [1, 9]);
    assert_eq!(receivers(&tree, "/foo"), [1, 9]);
}

#[test]
fn first_and_last_count_sessions_only() {
    let tree = tree();
    let log = Arc::new(Log::default());
    let listeners: Vec<Arc<dyn SubscriptionListener>> = vec![log.clone()];
    let channel = name("/a");
    tree.subscribe(&channel, tap(9), &listeners).unwrap();
    assert!(log.0.lock().is_empty() && tree.subscribed().is_empty());
    let (one, two) = (session(1), session(2));
    assert!(
        tree.subscribe(&channel, Subscriber::session(&one), &listeners)
            .unwrap()
    );
    assert!(
        !tree
            .subscribe(&channel, Subscriber::session(&one), &listeners)
            .unwrap()
    );
    assert!(
        tree.subscribe(&channel, Subscriber::session(&two), &listeners)
            .unwrap()
    );
    assert_eq!(
        (tree.subscribed(), tree.subscription_count()),
        (vec![channel.clone()], 2)
    );
    assert!(tree.unsubscribe(&channel, 1, &listeners));
    assert!(!tree.unsubscribe(&channel, 1, &listeners));
    assert!(tree.unsubscribe(&channel, 2, &listeners));
    assert!(tree.unsubscribe(&channel, 9, &listeners));
    assert_eq!(*log.0.lock(), ["first /a", "last /a"]);
    assert_eq!(tree.subscription_count(), 0);
}

#[test]
fn section_6_2_channels_go_after_three_sweeps_without_subscribers() {
    let tree = tree();
    let one = session(1);
    tree.create(&name("/a"), Some(&one)).unwrap();
    tree.sweep();
    tree.sweep();
    assert!(tree.contains(&name("/a")));
    tree.subscribe(&name("/a"), Subscriber::session(&one), &[])
        .unwrap();
    tree.unsubscribe(&name("/a"), 1, &[]);
    tree.sweep();
    tree.sweep();
    assert!(tree.contains(&name("/a")), "subscribing resets the count");
    assert_eq!(one.channels_created.load(Ordering::Relaxed), 1);
    tree.sweep();
    assert!(!tree.contains(&name("/a")));
    assert_eq!(
        (
            tree.channel_count(),
            one.channels_created.load(Ordering::Relaxed)
        ),
        (0, 0)
    );
}

#[test]
fn channels_per_session_and_in_all_are_bounded() {
    let tree = ChannelTree::new(Limits {
        channels: 4,
        channels_per_session: 3,
    });
    let (one, two) = (session(1), session(2));
    for channel in ["/a", "/b", "/c"] {
        tree.create(&name(channel), Some(&one)).unwrap();
    }
    assert_eq!(
        tree.create(&name("/d"), Some(&one)).err(),
        Some(LimitReached)
    );
    assert!(tree.create(&name("/c"), Some(&one)).is_ok(), "it exists");
    tree.create(&name("/d"), Some(&two)).unwrap();
    assert_eq!(
        tree.create(&name("/e"), Some(&two)).err(),
        Some(LimitReached)
    );
    for _ in 0..3 {
        tree.sweep();
    }
    assert!(
        tree.create(&name("/d"), Some(&one)).is_ok(),
        "swept channels no longer count"
    );
}

#[test]
fn a_subscription_copies_one_chunk_of_many() {
    let mut snapshot = Snapshot::default();
    for key in 0..100_000 {
        snapshot = snapshot.with(&tap(key)).unwrap();
        if key == 50_000 {
            assert!(
                snapshot.chunks() <= 50_001 / 256 + 1,
                "keys that grow fill their chunks"
            );
        }
    }
    let before = snapshot.clone();
    let after = snapshot.with(&tap(1_000_000)).unwrap();
    assert_eq!(
        before.shared_chunks(&after),
        before.chunks() - usize::from(after.chunks() == before.chunks())
    );
    let (after, _) = snapshot.without(777).unwrap();
    assert_eq!(before.shared_chunks(&after), before.chunks() - 1);
    assert_eq!(before.iter().count(), 100_000);
}

#[test]
fn clients_do_not_see_internal_channels_through_wildcards() {
    let tree = tree();
    let client = session(1);
    for pattern in ["/**", "/*"] {
        tree.subscribe(&name(pattern), Subscriber::session(&client), &[])
            .unwrap();
        tree.subscribe(&name(pattern), tap(9), &[]).unwrap();
    }
    for channel in ["/oort", "/oort/cloud", "/seti/all"] {
        assert_eq!(receivers(&tree, channel), [9], "{channel}");
    }
    assert_eq!(receivers(&tree, "/oortx"), [1, 9]);
}

#[derive(Clone, Debug)]
enum Op {
    Subscribe(u64, &'static str),
    Unsubscribe(u64, &'static str),
    Publish(&'static str),
    Sweep,
}

fn any_op() -> impl Strategy<Value = Op> {
    let patterns = vec![
        "/a", "/a/b", "/a/b/c", "/*", "/**", "/a/*", "/a/**", "/a/b/*", "/a/b/**", "/c",
    ];
    let channel = prop::sample::select(patterns);
    // More keys than a chunk holds, close together, so that chunks split and merge.
    let key = 0_u64..700;
    prop_oneof![
        6 => (key.clone(), channel.clone()).prop_map(|(k, c)| Op::Subscribe(k, c)),
        3 => (key, channel.clone()).prop_map(|(k, c)| Op::Unsubscribe(k, c)),
        2 => channel.prop_map(Op::Publish),
        1 => Just(Op::Sweep),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn agrees_with_a_naive_matcher(ops in prop::collection::vec(any_op(), 1..3000)) {
        let tree = tree();
        let mut model: BTreeMap<&str, BTreeSet<u64>> = BTreeMap::new();
        for op in ops {
            match op {
                Op::Subscribe(key, channel) => {
                    let new = tree.subscribe(&name(channel), tap(key), &[]).unwrap();
                    prop_assert_eq!(new, model.entry(channel).or_default().insert(key));
                }
                Op::Unsubscribe(key, channel) => {
                    let had = tree.unsubscribe(&name(channel), key, &[]);
                    prop_assert_eq!(had, model.entry(channel).or_default().remove(&key));
                }
                Op::Publish(channel) => {
                    let expected: BTreeSet<u64> = model.iter()
                        .filter(|(pattern, _)| name(pattern).matches(&name(channel)))
                        .flat_map(|(_, keys)| keys.iter().copied())
                        .collect();
                    prop_assert_eq!(receivers(&tree, channel), expected.into_iter().collect::<Vec<_>>());
                }
                Op::Sweep => tree.sweep(),
            }
        }
    }

    #[test]
    fn snapshots_stay_sorted_and_chunked(ops in prop::collection::vec((any::<bool>(), 0_u64..2000), 1..3000)) {
        let mut snapshot = Snapshot::default();
        let mut model = BTreeSet::new();
        for (add, key) in ops {
            if add {
                let next = snapshot.with(&tap(key));
                prop_assert_eq!(next.is_some(), model.insert(key));
                snapshot = next.unwrap_or(snapshot);
            } else {
                let next = snapshot.without(key);
                prop_assert_eq!(next.is_some(), model.remove(&key));
                snapshot = next.map_or(snapshot, |(next, _)| next);
            }
            prop_assert_eq!(snapshot.contains(key), model.contains(&key));
        }
        let keys: Vec<_> = snapshot.iter().map(|s| s.key).collect();
        prop_assert_eq!(keys, model.into_iter().collect::<Vec<_>>());
    }
}
