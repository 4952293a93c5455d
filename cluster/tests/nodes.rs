//! Nodes in one process over loopback sockets: how they find each other, what travels, what happens when one goes.

mod support;

use std::time::{Duration, Instant};

use halley_cluster::{MulticastConfig, Observed};
use support::{Node, config, eventually, mesh, secret};

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_mesh_from_one_seed() {
    let nodes = mesh(&["a", "b", "c"]).await;
    assert_eq!(nodes[1].names(), ["a", "c"]);
    eventually("round trips are measured", || {
        nodes.iter().all(|n| {
            n.cluster
                .link_stats()
                .iter()
                .all(|l| l.up && l.rtt.is_some())
        })
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_clusters_merge_when_one_link_meets() {
    let left = mesh(&["a", "b"]).await;
    let right = mesh(&["c", "d"]).await;
    let bridge = Node::start(config("e", &[left[1].address(), right[1].address()])).await;
    eventually("one cluster of five", || {
        left.iter()
            .chain(&right)
            .chain([&bridge])
            .all(|node| node.names().len() == 4)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_goes_once_to_each_node_that_wants_it_and_nowhere_else() {
    let nodes = mesh(&["a", "b", "c"]).await;
    let (_b, on_b) = nodes[1]
        .subscriber(&["/chat/x", "/chat/*", "/chat/**", "/**"])
        .await;
    let (_c, on_c) = nodes[2].subscriber(&["/other"]).await;
    nodes[0].until_reached("/chat/x", &on_b).await;
    nodes[0].until_reached("/other", &on_c).await;
    for n in 0..500 {
        nodes[0].publish("/chat/x", &n.to_string());
        nodes[0].publish("/meta/private", "1");
        nodes[0].publish("/halley/presence", "1");
    }
    nodes[0].publish("/other", "\"end\"");
    let numbers =
        |data: Vec<String>| -> Vec<u32> { data.iter().filter_map(|d| d.parse().ok()).collect() };
    eventually("all on b", || on_b.data().iter().any(|d| d == "\"end\"")).await;
    eventually("the end on c", || {
        on_c.data().iter().any(|d| d == "\"end\"")
    })
    .await;
    assert_eq!(
        numbers(on_b.data()),
        (0..500).collect::<Vec<_>>(),
        "each once, in order"
    );
    assert!(
        on_c.all().iter().all(|(channel, _)| channel == "/other"),
        "{:?}",
        on_c.all()
    );
    let sent_to = |name: &str| {
        let stats = nodes[0].cluster.link_stats();
        stats
            .iter()
            .find(|link| link.sibling.as_str() == name)
            .unwrap()
            .publications_sent
    };
    assert!(
        sent_to("c") < 100,
        "nothing goes to a node that does not want it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn interest_follows_the_subscriptions() {
    let nodes = mesh(&["a", "b"]).await;
    let (session, inbox) = nodes[1].subscriber(&["/x"]).await;
    nodes[0].until_reached("/x", &inbox).await;
    session
        .unsubscribe(&support::channel("/x"), nodes[1].clock.now())
        .await
        .unwrap();
    let sent = || nodes[0].cluster.link_stats()[0].publications_sent;
    eventually("nothing is sent any more", || {
        let before = sent();
        nodes[0].publish("/x", "1");
        std::thread::sleep(Duration::from_millis(2));
        sent() == before
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fixed_channels_are_asked_for_without_subscribers() {
    let a = Node::start(config("a", &[])).await;
    let mut fixed = config("b", &[a.address()]);
    fixed.channels = Observed::Fixed(vec!["/all/**".into()]);
    let b = Node::start(fixed).await;
    eventually("joined", || a.names().len() == 1 && b.names().len() == 1).await;
    eventually("sent although nobody subscribed", || {
        a.publish("/all/x", "1");
        b.cluster.counters().publications_received.get() > 0
    })
    .await;
    let (_session, inbox) = b.subscriber(&["/elsewhere"]).await;
    let sent = || a.cluster.link_stats()[0].publications_sent;
    eventually("nothing is under way", || {
        sent() == b.cluster.counters().publications_received.get()
    })
    .await;
    let received = sent();
    a.publish("/elsewhere", "1");
    a.publish("/all/x", "1");
    eventually("one more", || {
        b.cluster.counters().publications_received.get() > received
    })
    .await;
    assert!(inbox.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_stops_has_left_and_comes_back_with_another_incarnation() {
    let a = Node::start(config("a", &[])).await;
    let b = Node::start(config("b", &[a.address()])).await;
    eventually("joined", || a.names().len() == 1 && b.names().len() == 1).await;
    let (old, address) = (b.cluster.this_node(), b.address());
    let stopped = Instant::now();
    b.stop().await;
    eventually("left", || a.names().is_empty()).await;
    assert!(stopped.elapsed() < Duration::from_secs(5));
    // It knows nobody: the other one finds it again, at its old address.
    let mut again = config("b", &[]);
    again.listen = address;
    let started = Instant::now();
    let b = Node::start(again).await;
    eventually("joined again", || {
        a.names().len() == 1 && b.names().len() == 1
    })
    .await;
    assert!(
        started.elapsed() < Duration::from_secs(3),
        "{:?}",
        started.elapsed()
    );
    let new = b.cluster.this_node();
    assert_ne!(old.incarnation, new.incarnation);
    let expected = [
        format!("+{}", old.id()),
        format!("-{}", old.id()),
        format!("+{}", new.id()),
    ];
    assert_eq!(a.events.all(), expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_on_purpose_is_seen_at_once_and_loses_nothing() {
    let nodes = mesh(&["a", "b"]).await;
    let (_session, inbox) = nodes[1].subscriber(&["/x"]).await;
    nodes[0].until_reached("/x", &inbox).await;
    for n in 0..1000 {
        nodes[0].publish("/x", &n.to_string());
    }
    let leaving = Instant::now();
    nodes[0].cluster.leave().await;
    eventually("left", || nodes[1].names().is_empty()).await;
    assert!(
        leaving.elapsed() < Duration::from_secs(1),
        "{:?}",
        leaving.elapsed()
    );
    assert_eq!(
        inbox
            .data()
            .iter()
            .filter(|data| data.parse::<u32>().is_ok())
            .count(),
        1000
    );
    assert!(nodes[0].cluster.status().leaving && !nodes[0].cluster.status().failed);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_resets_the_link_and_both_sides_join_again() {
    let mut small = config("a", &[]);
    small.limits.frame_bytes = 1 << 16;
    small.limits.message_queue_bytes = 1 << 16;
    let a = Node::start(small).await;
    let b = Node::start(config("b", &[a.address()])).await;
    let (_session, inbox) = b.subscriber(&["/x"]).await;
    a.until_reached("/x", &inbox).await;
    let large = format!("\"{}\"", "x".repeat(20_000));
    eventually("reset", || {
        for _ in 0..1000 {
            a.publish("/x", &large);
        }
        a.cluster.counters().links_reset_queue_full.get() > 0
    })
    .await;
    eventually("left and joined again", || {
        a.events.all().len() >= 3 && b.events.all().len() >= 3
    })
    .await;
    assert!(
        a.cluster.counters().publications_dropped.get() > 0,
        "the loss is counted"
    );
    eventually("it works again", || {
        a.publish("/x", "\"again\"");
        inbox.data().iter().any(|data| data == "\"again\"")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_by_multicast() {
    let group = |port| {
        let interface = [127, 0, 0, 1].into();
        let interval = Duration::from_millis(200);
        Some(MulticastConfig {
            port,
            interface,
            interval,
            ..MulticastConfig::default()
        })
    };
    let free = std::net::UdpSocket::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let (mut first, mut second) = (config("a", &[]), config("b", &[]));
    (first.multicast, second.multicast) = (group(free), group(free));
    let (a, b) = (Node::start(first).await, Node::start(second).await);
    // Garbage and forged datagrams are counted, and nothing else happens.
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    for garbage in [&b""[..], b"x", &[1; 1400], &[1; 3000]] {
        let _ = socket.send_to(garbage, ("127.0.0.1", free));
    }
    let mut stranger = config("c", &[]);
    (stranger.multicast, stranger.secrets) = (group(free), secret(2).into());
    let c = Node::start(stranger).await;
    eventually("joined", || a.names() == ["b"] && b.names() == ["a"]).await;
    eventually("foreign datagrams are counted", || {
        a.cluster.counters().datagrams_ignored.get() > 0
            && c.cluster.counters().datagrams_ignored.get() > 0
    })
    .await;
    assert!(c.names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn users_are_known_on_all_nodes_and_reached_from_anywhere() {
    use halley_bayeux::{Json, Publication, UserId};

    let nodes = mesh(&["a", "b", "c"]).await;
    let alice = UserId::new("alice").unwrap();
    let inbox = std::sync::Arc::new(support::Inbox::default());
    let session = nodes[1]
        .engine
        .local_session(Some(alice.clone()), inbox.clone());
    eventually("known everywhere", || {
        nodes
            .iter()
            .all(|node| node.cluster.seti().presence(&alice).len() == 1)
    })
    .await;
    let event = Publication::new(
        &support::channel("/for/alice"),
        Json::validate("1", 4).unwrap(),
    );
    assert!(nodes[2].cluster.seti().send(&alice, &event).is_sent());
    eventually("delivered", || inbox.all().len() == 1).await;
    // A node that comes later knows too, and when the node of the user goes, so does the user.
    let late = Node::start(config("d", &[nodes[0].address()])).await;
    eventually("known to the late one", || {
        late.cluster.seti().is_present(&alice)
    })
    .await;
    nodes[1].cluster.stop();
    eventually("gone", || {
        ![&nodes[0], &nodes[2], &late]
            .iter()
            .any(|node| node.cluster.seti().is_present(&alice))
    })
    .await;
    drop(session);
}

#[test]
fn a_suspended_process_starts_over() {
    // Each node has a runtime of its own; the second one's is stopped by a task that blocks it.
    let runtime = |threads| {
        let mut builder = match threads {
            1 => tokio::runtime::Builder::new_current_thread(),
            _ => tokio::runtime::Builder::new_multi_thread(),
        };
        builder.enable_all().build().unwrap()
    };
    let (other, suspended) = (runtime(2), runtime(1));
    let short = |name: &str, seeds: &[std::net::SocketAddr]| {
        let mut short = config(name, seeds);
        short.heartbeat_interval = Duration::from_millis(50);
        short.detection = Duration::from_millis(400);
        short
    };
    let a = other.block_on(Node::start(short("a", &[])));
    suspended.block_on(async {
        let b = Node::start(short("b", &[a.address()])).await;
        let alice = halley_bayeux::UserId::new("alice").unwrap();
        let inbox = std::sync::Arc::new(support::Inbox::default());
        let _session = b.engine.local_session(Some(alice.clone()), inbox);
        eventually("joined", || {
            a.cluster.seti().is_present(&alice) && b.names() == ["a"]
        })
        .await;
        let old = b.cluster.this_node();
        std::thread::sleep(Duration::from_millis(1200));
        eventually("another incarnation", || {
            b.cluster.this_node().incarnation != old.incarnation
        })
        .await;
        let new = b.cluster.this_node();
        eventually("joined anew", || {
            a.cluster.members() == [new.clone()] && b.names() == ["a"]
        })
        .await;
        let expected = [
            format!("+{}", old.id()),
            format!("-{}", old.id()),
            format!("+{}", new.id()),
        ];
        assert_eq!(a.events.all(), expected);
        assert_eq!(b.cluster.counters().suspensions.get(), 1);
        // The local session has survived, and its user is announced anew.
        eventually("alice is back", || a.cluster.seti().is_present(&alice)).await;
    });
}

/// A handler that takes its time, so that its node reads no faster than it handles.
#[derive(Debug, Default)]
struct Slow(std::sync::atomic::AtomicUsize);

impl halley_cluster::StateHandler for Slow {
    fn joined(&self, _: &halley_cluster::Member) {}
    fn left(&self, _: &halley_cluster::Member) {}
    fn received(&self, _: &halley_cluster::Member, _: bytes::Bytes) {
        self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        std::thread::sleep(Duration::from_micros(500));
    }
}

/// What was wrong: while the handlers of a node were at work for longer than the detection time, its links were not
/// read, pings neither; the siblings gave it up, and it gave itself up for suspended.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_node_that_is_busy_is_not_taken_for_dead() {
    use halley_cluster::{StateChannel, StateSender};

    let short = |name: &str, seeds: &[std::net::SocketAddr]| {
        let mut short = config(name, seeds);
        short.heartbeat_interval = Duration::from_millis(50);
        short.detection = Duration::from_millis(400);
        short
    };
    let a = Node::start(short("a", &[])).await;
    let b = Node::prepare(short("b", &[a.address()]));
    let slow = std::sync::Arc::new(Slow::default());
    b.cluster.register(StateChannel(200), slow.clone());
    b.cluster.open(halley_cluster::TokioNet).await.unwrap();
    eventually("joined", || a.names().len() == 1 && b.names().len() == 1).await;
    const SENT: usize = 4000;
    for _ in 0..SENT {
        a.cluster
            .send_state(
                &b.cluster.this_node().id(),
                StateChannel(200),
                bytes::Bytes::from_static(b"x"),
            )
            .unwrap();
    }
    eventually("all handled", || {
        slow.0.load(std::sync::atomic::Ordering::Relaxed) == SENT
    })
    .await;
    assert_eq!(
        (a.events.all().len(), b.events.all().len()),
        (1, 1),
        "nobody has left"
    );
    assert_eq!(b.cluster.counters().suspensions.get(), 0);
}
