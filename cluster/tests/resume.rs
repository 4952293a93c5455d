//! What a cut of a link costs: nothing, when it is short; a counted loss, when it is long.

#![allow(clippy::unwrap_used)]

#[path = "support/log.rs"]
mod log;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halley_cluster::{LinkStats, Versions};
use support::cut_proxy::CutProxy;
use support::{Inbox, Node, config, eventually};

/// Node `b` is reached through the proxy only; the link from `b` to `a` is never cut.
async fn behind_a_proxy(b_versions: Versions) -> (Node, Node, CutProxy) {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen: SocketAddr = free.local_addr().unwrap();
    drop(free);
    let proxy = CutProxy::start(listen).await;
    let a = Node::start(short("a", &[])).await;
    let mut b = short("b", &[a.address()]);
    (b.listen, b.advertise, b.versions) = (listen, Some(proxy.address), b_versions);
    let b = Node::start(b).await;
    eventually("joined", || a.names() == ["b"] && b.names() == ["a"]).await;
    (a, b, proxy)
}

fn short(name: &str, seeds: &[SocketAddr]) -> halley_cluster::ClusterConfig {
    let mut short = config(name, seeds);
    short.heartbeat_interval = Duration::from_millis(100);
    short.detection = Duration::from_secs(2);
    short
}

fn link(node: &Node) -> LinkStats {
    node.cluster.link_stats().remove(0)
}

fn numbers(inbox: &Inbox) -> Vec<usize> {
    let data = inbox.data();
    data.iter().filter_map(|data| data.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_cut_loses_and_doubles_nothing_and_nobody_leaves() {
    let (a, b, proxy) = behind_a_proxy(Versions::ALL).await;
    let (_session, inbox) = b.subscriber(&["/x"]).await;
    a.until_reached("/x", &inbox).await;
    let mut published = 0;
    for round in 0..10 {
        for n in 0..500 {
            a.publish("/x", &published.to_string());
            published += 1;
            if n == 250 + round {
                proxy.cut();
            }
        }
        if round % 2 == 0 {
            // Dark for a part of the detection time: published meanwhile as well.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        proxy.mend();
        eventually("the link goes on", || link(&a).resumed > round as u64).await;
    }
    eventually("all there", || numbers(&inbox).len() >= published).await;
    assert_eq!(numbers(&inbox), (0..published).collect::<Vec<_>>());
    assert_eq!((a.events.all().len(), b.events.all().len()), (1, 1));
    let link = link(&a);
    assert!(link.up && link.frames_resent > 0 && link.publications_lost == 0);
    assert_eq!(a.cluster.counters().publications_dropped.get(), 0);
    eventually("everything is acknowledged", || {
        self::link(&a).window_bytes == 0
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_cut_is_a_loss_that_is_counted_exactly_and_named() {
    let log = log::capture();
    let (a, b, proxy) = behind_a_proxy(Versions::ALL).await;
    let (_session, inbox) = b.subscriber(&["/x"]).await;
    a.until_reached("/x", &inbox).await;
    let mut published = 0;
    let mut publish = |count| {
        for _ in 0..count {
            a.publish("/x", &published.to_string());
            published += 1;
        }
    };
    publish(2000);
    proxy.cut();
    publish(2000);
    eventually("left", || a.names().is_empty() && b.names().is_empty()).await;
    proxy.mend();
    eventually("joined again", || a.names() == ["b"] && b.names() == ["a"]).await;
    let received = numbers(&inbox);
    assert!(
        received.iter().copied().eq(0..received.len()),
        "a prefix, nothing missing before the cut"
    );
    let lost = (4000 - received.len()) as u64;
    assert!(lost >= 2000, "{lost}");
    eventually("counted", || link(&a).publications_lost == lost).await;
    assert_eq!(a.cluster.counters().publications_dropped.get(), lost);
    assert!(log.contains("left name=b") && log.contains("because=\"the outbound link has ended"));
    assert!(log.contains("publications for a sibling are lost") && log.contains("name=b"));
    a.until_reached("/x", &inbox).await;
    assert_eq!(a.events.all().len(), 3, "{:?}", a.events.all());
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_node_of_version_1_a_cut_is_the_end_of_the_link() {
    let lowest = Versions {
        min: Versions::ALL.min,
        max: Versions::ALL.min,
    };
    let (a, b, proxy) = behind_a_proxy(lowest).await;
    let (_session, inbox) = b.subscriber(&["/x"]).await;
    a.until_reached("/x", &inbox).await;
    proxy.cut();
    eventually("left", || a.names().is_empty() && b.names().is_empty()).await;
    proxy.mend();
    eventually("joined again", || a.names() == ["b"] && b.names() == ["a"]).await;
    a.until_reached("/x", &inbox).await;
    assert_eq!((link(&a).resumed, link(&a).window_bytes), (0, 0));
}

/// What clients of other crates' state rely on: a short cut is no reason to exchange everything again.
#[tokio::test(flavor = "multi_thread")]
async fn users_are_not_gone_for_a_moment_by_a_short_cut() {
    let (a, b, proxy) = behind_a_proxy(Versions::ALL).await;
    let alice = halley_bayeux::UserId::new("alice").unwrap();
    let _session = a
        .engine
        .local_session(Some(alice.clone()), Arc::new(Inbox::default()));
    eventually("known", || b.cluster.seti().is_present(&alice)).await;
    proxy.cut();
    let bob = halley_bayeux::UserId::new("bob").unwrap();
    let _other = a
        .engine
        .local_session(Some(bob.clone()), Arc::new(Inbox::default()));
    proxy.mend();
    eventually("told after the cut", || b.cluster.seti().is_present(&bob)).await;
    assert_eq!((a.events.all().len(), b.events.all().len()), (1, 1));
    assert!(link(&a).resumed > 0);
}
