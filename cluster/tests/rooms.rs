//! Users in rooms, with real engines over an in-memory mesh.

#![allow(clippy::unwrap_used, reason = "tests")]

mod memory_mesh;

use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{
    ChannelName, DefaultPolicy, EndReason, Engine, EngineConfig, Publication, Session, UserId,
};
use halley_cluster::parts::PartLimits;
use halley_cluster::seti::{Occupant, RoomListener, RoomPatterns, Rooms};
use halley_cluster::{Clock, NodeName, StateChannel};
use memory_mesh::Mesh;
use parking_lot::Mutex;

const GRACE: Duration = Duration::from_secs(3);

#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl RoomListener for Told {
    fn entered(&self, occupant: &Occupant, node: &NodeName) {
        let Occupant { room, user } = occupant;
        self.0.lock().push(format!("+{user}{room}@{node}"));
    }

    fn went(&self, occupant: &Occupant, node: &NodeName) {
        let Occupant { room, user } = occupant;
        self.0.lock().push(format!("-{user}{room}@{node}"));
    }
}

struct Node {
    engine: Arc<Engine>,
    rooms: Rooms,
    told: Told,
    clock: Clock,
}

fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

fn node(mesh: &Mesh, name: &str, grace: Duration, limits: PartLimits) -> Node {
    let engine = Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::new(true)));
    let (clock, told) = (Clock::start(), Told::default());
    let patterns = RoomPatterns::new(&[channel("/r/*"), channel("/service/*")]);
    let rooms = Rooms::new(&engine, patterns, mesh.add(name), clock, limits);
    rooms.set_grace(grace);
    rooms.add_listener(Arc::new(told.clone()));
    mesh.register(name, StateChannel::ROOMS, Arc::new(rooms.clone()));
    Node {
        engine,
        rooms,
        told,
        clock,
    }
}

fn cluster(mesh: &Mesh, grace: Duration) -> [Node; 3] {
    let nodes = ["a", "b", "c"].map(|name| node(mesh, name, grace, Rooms::default_limits()));
    for (one, other) in [("a", "b"), ("a", "c"), ("b", "c")] {
        mesh.join(one, other);
    }
    mesh.settle();
    nodes
}

impl Node {
    fn comes(&self, user: Option<&str>) -> Arc<Session> {
        let user = user.map(|user| UserId::new(user).unwrap());
        let nothing = |_: &Arc<Publication>| {};
        let session = self.engine.local_session(user, Arc::new(nothing));
        let kept = Arc::clone(session.session());
        // It ends when a test says so.
        std::mem::forget(session);
        kept
    }

    fn enters(&self, session: &Arc<Session>, room: &str) {
        self.engine
            .subscribe_session(session, &channel(room))
            .unwrap();
    }

    fn goes(&self, session: &Arc<Session>, room: &str) {
        assert!(self.engine.unsubscribe_session(session, &channel(room)));
    }

    fn ends(&self, session: &Arc<Session>, reason: EndReason) {
        self.engine
            .end_session(session.id(), reason, self.clock.now());
    }

    fn told(&self) -> Vec<String> {
        let mut told = std::mem::take(&mut *self.told.0.lock());
        told.sort();
        told
    }
}

fn all_told(nodes: &[Node], expected: &[&str]) {
    for node in nodes {
        assert_eq!(node.told(), expected);
    }
}

#[test]
fn a_user_is_in_a_room_while_any_session_on_the_node_is_subscribed_to_it() {
    let mesh = Mesh::default();
    let nodes = cluster(&mesh, Duration::ZERO);
    let (first, second) = (nodes[0].comes(Some("ann")), nodes[0].comes(Some("ann")));
    nodes[0].enters(&first, "/r/x");
    nodes[0].enters(&second, "/r/x");
    nodes[0].enters(&second, "/r/y");
    mesh.settle();
    all_told(&nodes, &["+ann/r/x@a", "+ann/r/y@a"]);
    nodes[0].goes(&first, "/r/x");
    mesh.settle();
    all_told(&nodes, &[]);
    nodes[0].ends(&second, EndReason::Disconnected);
    mesh.settle();
    all_told(&nodes, &["-ann/r/x@a", "-ann/r/y@a"]);
}

#[test]
fn wildcards_other_channels_and_sessions_without_a_user_do_not_count() {
    let mesh = Mesh::default();
    let nodes = cluster(&mesh, Duration::ZERO);
    let ann = nodes[0].comes(Some("ann"));
    for other in ["/r/*", "/r/**", "/**", "/r", "/r/x/y", "/other/x"] {
        nodes[0].enters(&ann, other);
    }
    let nobody = nodes[0].comes(None);
    nodes[0].enters(&nobody, "/r/x");
    mesh.settle();
    all_told(&nodes, &[]);
}

#[test]
fn who_joins_learns_what_is_and_a_lost_node_takes_its_users_along() {
    let mesh = Mesh::default();
    let nodes = cluster(&mesh, Duration::ZERO);
    for node in &nodes {
        let ann = node.comes(Some("ann"));
        node.enters(&ann, "/r/x");
    }
    mesh.settle();
    all_told(&nodes, &["+ann/r/x@a", "+ann/r/x@b", "+ann/r/x@c"]);
    let late = node(&mesh, "d", Duration::ZERO, Rooms::default_limits());
    mesh.join("a", "d");
    mesh.join("c", "d");
    mesh.settle();
    assert_eq!(late.told(), ["+ann/r/x@a", "+ann/r/x@c"]);
    mesh.crash("c");
    mesh.settle();
    assert_eq!(nodes[0].told(), ["-ann/r/x@c"]);
    assert_eq!(late.told(), ["-ann/r/x@c"]);
    let ann = Occupant {
        room: channel("/r/x"),
        user: UserId::new("ann").unwrap(),
    };
    assert_eq!(late.rooms.nodes_of(&ann).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn within_the_grace_a_lost_session_is_followed_by_another() {
    let mesh = Mesh::default();
    let nodes = cluster(&mesh, GRACE);
    let ann = nodes[0].comes(Some("ann"));
    nodes[0].enters(&ann, "/r/x");
    nodes[0].enters(&ann, "/r/y");
    mesh.settle();
    all_told(&nodes, &["+ann/r/x@a", "+ann/r/y@a"]);
    nodes[0].ends(&ann, EndReason::Expired);
    let again = nodes[0].comes(Some("ann"));
    nodes[0].enters(&again, "/r/x");
    mesh.settle();
    all_told(&nodes, &[]);
    // The room to which nobody came back.
    tokio::time::advance(GRACE + Duration::from_millis(1)).await;
    mesh.tick();
    mesh.settle();
    all_told(&nodes, &["-ann/r/y@a"]);
    // Leaving a room is on purpose.
    nodes[0].goes(&again, "/r/x");
    mesh.settle();
    all_told(&nodes, &["-ann/r/x@a"]);
}

#[test]
fn a_user_without_a_place_is_not_announced_and_the_others_are() {
    let mesh = Mesh::default();
    let limits = PartLimits {
        // One of `/r/x` with a name of three letters: two lengths and seven bytes.
        part_bytes_max: 11,
        ..Rooms::default_limits()
    };
    let only = node(&mesh, "a", Duration::ZERO, limits);
    let (ann, ben) = (only.comes(Some("ann")), only.comes(Some("ben")));
    only.enters(&ann, "/r/x");
    only.enters(&ben, "/r/x");
    assert_eq!(only.told(), ["+ann/r/x@a"]);
    only.goes(&ben, "/r/x");
    assert_eq!(only.told(), [""; 0]);
    only.goes(&ann, "/r/x");
    only.enters(&ben, "/r/x");
    assert_eq!(only.told(), ["+ben/r/x@a", "-ann/r/x@a"]);
}

#[test]
fn what_a_sibling_sends_is_read_or_refused_without_harm() {
    let mesh = Mesh::default();
    let nodes = cluster(&mesh, Duration::ZERO);
    let ann = nodes[0].comes(Some("ann"));
    nodes[0].enters(&ann, "/r/x");
    let frames: Vec<_> = mesh.waiting("b");
    mesh.settle();
    all_told(&nodes, &["+ann/r/x@a"]);
    for (from, channel, body) in frames {
        for length in 0..body.len() {
            mesh.inject(from.clone(), "b", channel, body.slice(..length));
        }
        mesh.settle();
    }
    assert_eq!(nodes[1].told(), [""; 0]);
}
