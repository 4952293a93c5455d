//! Links with nodes of the Oort dialect that break, fall silent or come back, against a peer under orders; and what
//! operators see of them.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/oort_peer.rs"]
mod oort_peer;
mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use halley_client::{Client, Event, Events};
use halley_cluster::{ClusterConfig, Dialect, LinkStats, OortConfig, OortUrl, Secret};
use oort_peer::{OORT_SECRET, OortPeer};
use support::cut_proxy::CutProxy;
use support::freeze_proxy::FreezeProxy;
use support::{Node, config, eventually};
use tokio::net::TcpListener;
use tokio::time::{Instant, sleep};

/// Silence after which a node has left in these tests.
const SILENCE: Duration = Duration::from_millis(800);

fn oort_config(cloud: &[&str]) -> ClusterConfig {
    let mut config = config("n1", &[]);
    config.heartbeat_interval = Duration::from_millis(100);
    config.detection = SILENCE;
    let mut oort = OortConfig::new(Secret::new(OORT_SECRET).unwrap());
    oort.cloud = cloud.iter().map(|url| (*url).to_owned()).collect();
    oort.max_interval = SILENCE;
    config.oort = Some(oort);
    config
}

/// A node and a peer that has joined, with a proxy in front of each.
struct Pair {
    node: Node,
    peer: OortPeer,
    /// The node's link to the peer goes through this one.
    out: FreezeProxy,
    /// And the peer's link to the node through this one.
    inbound: FreezeProxy,
    link: Client,
    events: Events,
}

impl Pair {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let out = FreezeProxy::start(listener.local_addr().unwrap()).await;
        let peer = OortPeer::start_behind("peer-1", listener, out.address);
        let node = Node::start(oort_config(&[])).await;
        let inbound = FreezeProxy::start(node.address()).await;
        let (link, events) = dial(&peer, &node, &inbound).await;
        let pair = Self {
            node,
            peer,
            out,
            inbound,
            link,
            events,
        };
        pair.confirm(1).await;
        pair
    }

    /// Confirms the node's handshake number `joins`, and waits until the peer is a member.
    async fn confirm(&self, joins: usize) {
        eventually("a join message", || self.count("/service/oort") >= joins).await;
        self.peer.confirm(&self.link).await;
        eventually("a member", || self.node.cluster.members().len() == 1).await;
        // Listeners are told after the members can be asked for.
        let told = 2 * joins - 1;
        eventually("told", || self.node.events.all().len() == told).await;
    }

    /// How many messages on a channel have come to the peer.
    fn count(&self, channel: &str) -> usize {
        let received = self.peer.received();
        received
            .iter()
            .filter(|it| it["channel"] == channel)
            .count()
    }

    fn stats(&self) -> LinkStats {
        self.node.cluster.link_stats().remove(0)
    }

    /// Waits until the peer's client has got another session.
    async fn renewed(&mut self) {
        let renewed = async {
            loop {
                match self.events.next().await {
                    Some(Event::Renewed) => break,
                    Some(_) => {}
                    None => panic!("the peer's link has ended"),
                }
            }
        };
        tokio::time::timeout(support::patience(), renewed)
            .await
            .unwrap();
    }

    async fn left(&self, since: Instant) {
        eventually("left", || self.node.events.all().len() == 2).await;
        assert!(self.node.cluster.members().is_empty());
        let took = since.elapsed();
        assert!(took >= SILENCE / 2, "{took:?}: it was judged too early");
        assert!(took < SILENCE * 2, "{took:?}: it was judged too late");
    }
}

async fn dial(peer: &OortPeer, node: &Node, via: &FreezeProxy) -> (Client, Events) {
    let url = node.cluster.oort_url().unwrap();
    peer.dial(via.address, peer.ext(url.as_str()))
        .await
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_silent_both_ways_has_left_and_joins_again() {
    let mut pair = Pair::start().await;
    // It is not silent when nothing is published.
    sleep(SILENCE * 3).await;
    assert_eq!(pair.node.events.all().len(), 1);
    let since = Instant::now();
    pair.out.freeze();
    pair.inbound.freeze();
    pair.left(since).await;
    assert!(!pair.stats().up);
    pair.out.thaw();
    pair.inbound.thaw();
    // Its session here has expired, so it shakes hands again; and it hears the goodbye of this node's link, which begins
    // anew.
    pair.renewed().await;
    pair.confirm(2).await;
    assert_eq!(pair.node.events.all().len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_own_link_is_silent_is_told_goodbye_on_the_other_one() {
    let mut pair = Pair::start().await;
    let since = Instant::now();
    pair.inbound.freeze();
    pair.left(since).await;
    // The peer sees the end of the session that this node had there, and a new one.
    eventually("a goodbye", || pair.count("/meta/disconnect") == 1).await;
    eventually("a handshake", || pair.count("/meta/handshake") == 2).await;
    let channels: Vec<_> = pair.peer.received();
    let place = |channel: &str| channels.iter().rposition(|it| it["channel"] == channel);
    assert!(
        place("/meta/disconnect") < place("/meta/handshake"),
        "{channels:?}"
    );
    // It joins only when its own link works again.
    sleep(SILENCE).await;
    assert!(pair.node.cluster.members().is_empty());
    pair.inbound.thaw();
    pair.renewed().await;
    pair.confirm(2).await;
    assert_eq!(pair.node.events.all().len(), 3);
}

/// What was wrong: the next link was opened while the goodbye was under way, and could overtake it.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_new_link_waits_for_the_answer_to_the_goodbye_of_the_old_one() {
    let pair = Pair::start().await;
    let held = pair.peer.hold_goodbye();
    pair.inbound.freeze();
    eventually("a goodbye", || pair.count("/meta/disconnect") == 1).await;
    // Shorter than the second for which the answer is waited for.
    sleep(Duration::from_millis(300)).await;
    assert_eq!(pair.count("/meta/handshake"), 1);
    drop(held);
    eventually("a handshake", || pair.count("/meta/handshake") == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_cannot_be_reached_shakes_hands_again_and_is_told_goodbye_when_it_can() {
    let mut pair = Pair::start().await;
    let since = Instant::now();
    pair.out.freeze();
    pair.left(since).await;
    // The peer's session here is gone, and it is advised to handshake.
    pair.renewed().await;
    pair.peer.confirm(&pair.link).await;
    assert!(pair.node.cluster.members().is_empty(), "not reached");
    pair.out.thaw();
    eventually("a goodbye", || pair.count("/meta/disconnect") == 1).await;
    eventually("joined", || pair.node.events.all().len() == 3).await;
    assert_eq!(pair.count("/meta/handshake"), 2);
    assert_eq!(pair.node.cluster.members().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_short_cut_of_both_links_loses_and_doubles_nothing_and_nobody_leaves() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let out = CutProxy::start(listener.local_addr().unwrap()).await;
    let peer = OortPeer::start_behind("peer-1", listener, out.address);
    let mut config = oort_config(&[]);
    config.oort.as_mut().unwrap().max_interval = support::patience();
    let node = Node::start(config).await;
    let (_session, inbox) = node.subscriber(&["/to/node"]).await;
    let inbound = CutProxy::start(node.address()).await;
    let url = node.cluster.oort_url().unwrap();
    let (link, mut events) = peer
        .dial(inbound.address, peer.ext(url.as_str()))
        .await
        .unwrap();
    eventually("a join message", || {
        !peer.published("/service/oort").is_empty()
    })
    .await;
    peer.confirm(&link).await;
    eventually("a member", || node.cluster.members().len() == 1).await;
    link.subscribe("/to/peer").await.unwrap();
    eventually("interest", || {
        peer.publish("/to/node", &serde_json::json!("probe")) == 1
    })
    .await;
    for n in 0..200 {
        if n % 50 == 25 {
            out.cut();
            inbound.cut();
        }
        node.publish("/to/peer", &n.to_string());
        peer.publish("/to/node", &serde_json::json!(n));
        if n % 50 == 30 {
            out.mend();
            inbound.mend();
        }
    }
    for n in 0..200 {
        let message = events.next_message().await.unwrap();
        assert_eq!(message.data(), n.to_string());
    }
    eventually("all there", || inbox.data().len() >= 201).await;
    let expected: Vec<String> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(inbox.data()[1..], expected);
    assert_eq!(node.events.all().len(), 1);
    let link = node.cluster.link_stats().remove(0);
    assert!(link.resumed > 0 && link.publications_lost == 0, "{link:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn links_have_a_row_with_bytes_round_trips_and_losses() {
    let mut pair = Pair::start().await;
    pair.link.subscribe("/chat/x").await.unwrap();
    for n in 0..10 {
        pair.node.publish("/chat/x", &n.to_string());
    }
    for n in 0..10 {
        let message = pair.events.next_message().await.unwrap();
        assert_eq!(message.data(), n.to_string());
    }
    let name = pair.node.cluster.members().remove(0).name;
    eventually("all acknowledged and measured", || {
        let link = pair.stats();
        let measured = link.rtt.is_some() && link.rtt_of_sibling.is_some();
        measured && link.publications_sent == 10 && link.window_bytes + link.queue_bytes == 0
    })
    .await;
    let link = pair.stats();
    assert_eq!((&link.sibling, link.dialect), (&name, Dialect::Oort));
    assert!(link.up && link.publications_lost == 0);
    assert!(
        link.bytes_sent > 1000 && link.bytes_received > 1000,
        "{link:?}"
    );
    assert_eq!(pair.node.cluster.link_stats().len(), 1);
    // What it has not acknowledged when it has left is lost, and counted.
    pair.out.freeze();
    pair.inbound.freeze();
    for n in 10..17 {
        pair.node.publish("/chat/x", &n.to_string());
    }
    let link = pair.stats();
    assert!(link.window_bytes + link.queue_bytes > 0);
    eventually("left", || pair.node.events.all().len() == 2).await;
    let link = pair.stats();
    assert_eq!((link.up, link.publications_lost), (false, 7));
    assert_eq!(pair.node.cluster.counters().publications_dropped.get(), 7);
}

/// Counts connections, and closes them.
async fn refusing() -> (OortUrl, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/cometd", listener.local_addr().unwrap());
    let count: Arc<AtomicUsize> = Arc::default();
    let counted = count.clone();
    tokio::spawn(async move {
        loop {
            let _ = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::Relaxed);
        }
    });
    (OortUrl::parse(&url).unwrap(), count)
}

#[tokio::test(start_paused = true)]
async fn a_url_that_gives_no_session_is_forgotten_after_30_seconds_and_a_seed_never() {
    let ((url, attempts), (seed, of_seed)) = (refusing().await, refusing().await);
    let node = Node::start(oort_config(&[seed.as_str()])).await;
    let tried = || attempts.load(Ordering::Relaxed);
    node.cluster.observe_oort(&url);
    sleep(Duration::from_secs(29)).await;
    let before = tried();
    assert!(before >= 5, "{before}");
    sleep(Duration::from_secs(8)).await;
    let (at_end, seed_at_end) = (tried(), of_seed.load(Ordering::Relaxed));
    sleep(Duration::from_secs(120)).await;
    assert_eq!(tried(), at_end, "it is tried for ever");
    assert!(of_seed.load(Ordering::Relaxed) >= seed_at_end + 10);
    // When somebody names it again it is tried again.
    node.cluster.observe_oort(&url);
    sleep(Duration::from_secs(5)).await;
    assert!(tried() > at_end);
}
