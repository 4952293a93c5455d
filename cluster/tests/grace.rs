//! Users that lose their session or their node and come back in time are never away.

#![allow(clippy::unwrap_used)]

mod memory_mesh;

use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{
    DefaultPolicy, EndReason, Engine, EngineConfig, LocalSession, Publication, UserId,
};
use halley_cluster::seti::{PresenceListener, Seti};
use halley_cluster::{Clock, NodeName, StateChannel};
use memory_mesh::Mesh;
use parking_lot::Mutex;

const GRACE: Duration = Duration::from_secs(3);

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl PresenceListener for Told {
    fn present(&self, user: &UserId, node: &NodeName) {
        self.0.lock().push(format!("+{}@{node}", user.as_str()));
    }
    fn absent(&self, user: &UserId, node: &NodeName) {
        self.0.lock().push(format!("-{}@{node}", user.as_str()));
    }
}

struct Node {
    engine: Arc<Engine>,
    seti: Seti,
    told: Told,
    clock: Clock,
}

impl Node {
    fn comes(&self, user: &str) -> LocalSession {
        let user = UserId::new(user).unwrap();
        let nothing = |_: &Arc<Publication>| {};
        self.engine.local_session(Some(user), Arc::new(nothing))
    }

    fn ends(&self, session: &LocalSession, reason: EndReason) {
        let id = session.session().id();
        self.engine.end_session(id, reason, self.clock.now());
    }
}

/// Nodes a, b and c of one cluster, in paused time.
fn cluster(mesh: &Mesh) -> Vec<Node> {
    let nodes = ["a", "b", "c"].map(|name| {
        let sender = mesh.add(name);
        let engine = Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::new(true)));
        let clock = Clock::start();
        let seti = Seti::new(engine.clone(), sender, clock, Seti::default_limits());
        seti.set_grace(GRACE);
        let told = Told::default();
        seti.add_listener(Arc::new(told.clone()));
        mesh.register(name, StateChannel::SETI, Arc::new(seti.clone()));
        Node {
            engine,
            seti,
            told,
            clock,
        }
    });
    for (one, other) in [("a", "b"), ("a", "c"), ("b", "c")] {
        mesh.join(one, other);
    }
    mesh.settle();
    nodes.into()
}

async fn pass(mesh: &Mesh, time: Duration) {
    tokio::time::advance(time).await;
    mesh.tick();
    mesh.settle();
}

fn told(nodes: &[Node]) -> Vec<Vec<String>> {
    nodes.iter().map(|node| node.told.take()).collect()
}

fn everywhere(what: &[&str]) -> Vec<Vec<String>> {
    let what: Vec<String> = what.iter().map(ToString::to_string).collect();
    vec![what; 3]
}

#[tokio::test(start_paused = true)]
async fn a_lost_session_is_followed_by_another_and_nobody_saw_the_user_leave() {
    let mesh = Mesh::default();
    let nodes = cluster(&mesh);
    let alice = UserId::new("alice").unwrap();
    let session = nodes[0].comes("alice");
    mesh.settle();
    assert_eq!(told(&nodes), everywhere(&["+alice@a"]));
    nodes[0].ends(&session, EndReason::Expired);
    pass(&mesh, GRACE / 2).await;
    assert_eq!(told(&nodes), everywhere(&[]));
    assert!(nodes.iter().all(|node| node.seti.is_present(&alice)));
    assert_eq!(nodes[2].seti.users(), std::slice::from_ref(&alice));
    // Back on the same node, for longer than the period.
    let session = nodes[0].comes("alice");
    pass(&mesh, GRACE * 2).await;
    assert_eq!(told(&nodes), everywhere(&[]));
    // Lost again, and back on another node: first there, then gone here.
    nodes[0].ends(&session, EndReason::QueueOverflow);
    let other = nodes[1].comes("alice");
    pass(&mesh, GRACE * 2).await;
    assert_eq!(told(&nodes), everywhere(&["+alice@b", "-alice@a"]));
    // Who says goodbye leaves at once.
    nodes[1].ends(&other, EndReason::Disconnected);
    mesh.settle();
    assert_eq!(told(&nodes), everywhere(&["-alice@b"]));
    assert!(!nodes.iter().any(|node| node.seti.is_present(&alice)));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_come_back_leaves_when_time_is_up() {
    let mesh = Mesh::default();
    let nodes = cluster(&mesh);
    let session = nodes[0].comes("alice");
    mesh.settle();
    told(&nodes);
    nodes[0].ends(&session, EndReason::Expired);
    pass(&mesh, GRACE - Duration::from_millis(1)).await;
    assert_eq!(told(&nodes), everywhere(&[]));
    pass(&mesh, Duration::from_millis(1)).await;
    assert_eq!(told(&nodes), everywhere(&["-alice@a"]));
    assert!(nodes.iter().all(|node| node.seti.users().is_empty()));
}

#[tokio::test(start_paused = true)]
async fn the_users_of_a_killed_node_have_the_grace_too_and_leave_no_ghost() {
    let mesh = Mesh::default();
    let mut nodes = cluster(&mesh);
    let sessions = ["alice", "bob"].map(|user| nodes[2].comes(user));
    mesh.settle();
    told(&nodes);
    mesh.crash("c");
    let _dead = nodes.pop();
    mesh.settle();
    let (alice, bob) = (UserId::new("alice").unwrap(), UserId::new("bob").unwrap());
    assert!(nodes.iter().all(|node| node.seti.is_present(&bob)));
    assert_eq!(told(&nodes), vec![Vec::<String>::new(); 2]);
    // Nothing is sent to where nobody is.
    let channel = halley_bayeux::ChannelName::parse("/x").unwrap();
    let json = halley_bayeux::Json::validate("1", 2).unwrap();
    let outcome = nodes[0].seti.send(&bob, &Publication::new(&channel, json));
    assert!(!outcome.is_sent());
    // Alice is back on another node, bob is not.
    let _alice = nodes[1].comes("alice");
    pass(&mesh, GRACE / 2).await;
    let moved = vec!["+alice@b".to_owned(), "-alice@c".to_owned()];
    assert_eq!(told(&nodes), vec![moved; 2]);
    pass(&mesh, GRACE).await;
    assert_eq!(told(&nodes), vec![vec!["-bob@c".to_owned()]; 2]);
    for node in &nodes {
        assert_eq!(node.seti.users(), std::slice::from_ref(&alice));
    }
    drop(sessions);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_away_for_a_moment_brings_its_users_back_unnoticed() {
    let mesh = Mesh::default();
    let nodes = cluster(&mesh);
    let _session = nodes[0].comes("alice");
    mesh.settle();
    told(&nodes);
    mesh.cut("a", "b");
    mesh.settle();
    pass(&mesh, GRACE / 2).await;
    mesh.join("a", "b");
    mesh.settle();
    pass(&mesh, GRACE * 2).await;
    assert_eq!(told(&nodes), everywhere(&[]));
    assert_eq!(
        nodes[1].seti.presence(&UserId::new("alice").unwrap()).len(),
        1
    );
}
