//! The user directory with real engines over an in-memory mesh. The first tests are CometD's rows for `Seti`, by its names.

#![allow(clippy::unwrap_used, reason = "tests")]

mod memory_mesh;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use halley_bayeux::{
    ChannelName, DefaultPolicy, EndReason, Engine, EngineConfig, Json, LocalSession, Millis,
    Publication, UserId,
};
use halley_cluster::seti::{AssociateError, PresenceListener, Seti};
use halley_cluster::{Clock, NodeName, StateChannel, StateSender};
use memory_mesh::{Mesh, node_name};
use parking_lot::Mutex;

struct Node {
    engine: Arc<Engine>,
    seti: Seti,
    sender: Arc<dyn StateSender>,
}

/// A local session and what it was delivered.
struct Client {
    session: LocalSession,
    received: Arc<Mutex<Vec<String>>>,
}

impl Client {
    fn received(&self) -> Vec<String> {
        std::mem::take(&mut self.received.lock())
    }
}

fn user(name: &str) -> UserId {
    UserId::new(name).unwrap()
}

fn node(mesh: &Mesh, name: &str) -> Node {
    let sender = mesh.add(name);
    let engine = Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::new(true)));
    let seti = Seti::new(
        engine.clone(),
        sender.clone(),
        Clock::start(),
        Seti::default_limits(),
    );
    mesh.register(name, StateChannel::SETI, Arc::new(seti.clone()));
    mesh.register(name, StateChannel::SETI_MESSAGES, seti.message_handler());
    mesh.register(
        name,
        StateChannel::SETI_DISCONNECTS,
        seti.disconnect_handler(),
    );
    Node {
        engine,
        seti,
        sender,
    }
}

fn joined(mesh: &Mesh, names: &[&str]) -> Vec<Node> {
    let nodes: Vec<_> = names.iter().map(|name| node(mesh, name)).collect();
    for (index, name) in names.iter().enumerate() {
        for other in &names[index + 1..] {
            mesh.join(name, other);
        }
    }
    mesh.settle();
    nodes
}

impl Node {
    /// A session of nobody, or of a user that is associated by itself.
    fn client(&self, name: Option<&str>) -> Client {
        let received = Arc::new(Mutex::new(Vec::new()));
        let inbox = received.clone();
        let receiver = move |publication: &Arc<Publication>| {
            let object = publication.object();
            inbox
                .lock()
                .push(String::from_utf8(object.to_vec()).unwrap());
        };
        let session = self
            .engine
            .local_session(name.map(user), Arc::new(receiver));
        Client { session, received }
    }

    fn presence(&self, name: &str) -> Vec<String> {
        let nodes = self.seti.presence(&user(name)).into_iter();
        let mut nodes: Vec<_> = nodes.map(|node| node.to_string()).collect();
        nodes.sort();
        nodes
    }
}

fn message(text: &str) -> Arc<Publication> {
    let channel = ChannelName::parse("/service/dm").unwrap();
    Publication::new(&channel, Json::validate(text, 8).unwrap())
}

const HI: &str = r#"{"channel":"/service/dm","data":"hi"}"#;

fn hi() -> Arc<Publication> {
    message(r#""hi""#)
}

#[derive(Default)]
struct Recorder(Mutex<Vec<String>>);

impl Recorder {
    fn on(seti: &Seti) -> Arc<Self> {
        let recorder = Arc::new(Self::default());
        seti.add_listener(recorder.clone());
        recorder
    }

    fn told(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock())
    }
}

impl PresenceListener for Recorder {
    fn present(&self, user: &UserId, node: &NodeName) {
        self.0.lock().push(format!("+{user}@{node}"));
    }

    fn absent(&self, user: &UserId, node: &NodeName) {
        self.0.lock().push(format!("-{user}@{node}"));
    }
}

#[test]
fn associate_and_send_message() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b", "c"]);
    let alice = nodes[0].client(None);
    assert_eq!(
        nodes[0]
            .seti
            .associate(&user("alice"), alice.session.session()),
        Ok(true)
    );
    assert_eq!(
        nodes[0]
            .seti
            .associate(&user("alice"), alice.session.session()),
        Ok(false)
    );
    mesh.settle();
    for node in &nodes {
        assert_eq!(node.presence("alice"), ["a"]);
    }
    let outcome = nodes[1].seti.send(&user("alice"), &hi());
    assert_eq!(
        (outcome.local, &outcome.nodes[..]),
        (0, &[node_name("a")][..])
    );
    assert_eq!(mesh.frames_waiting("c", StateChannel::SETI_MESSAGES), 0);
    mesh.settle();
    assert_eq!(alice.received(), [HI]);
    let outcome = nodes[0].seti.send(&user("alice"), &hi());
    assert_eq!((outcome.local, outcome.nodes.len()), (1, 0));
    assert_eq!(alice.received(), [HI]);
}

#[test]
fn a_user_is_disconnected_on_every_node_and_nobody_else_is() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b", "c"]);
    let here = nodes[0].client(Some("alice"));
    let there = [
        nodes[1].client(Some("alice")),
        nodes[1].client(Some("alice")),
    ];
    let bob = nodes[1].client(Some("bob"));
    mesh.settle();
    let outcome = nodes[0].seti.disconnect(&user("alice"));
    assert_eq!(
        (outcome.local, &outcome.nodes[..]),
        (1, &[node_name("b")][..])
    );
    assert_eq!(mesh.frames_waiting("c", StateChannel::SETI_DISCONNECTS), 0);
    mesh.settle();
    for client in [&here, &there[0], &there[1]] {
        assert!(!client.session.session().is_live());
    }
    assert!(bob.session.session().is_live());
    for node in &nodes {
        assert!(node.presence("alice").is_empty());
    }
    assert!(!nodes[0].seti.disconnect(&user("alice")).is_sent());
}

#[test]
fn an_unknown_user_gets_nothing_and_nothing_is_sent_on_a_guess() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    assert!(!nodes[0].seti.send(&user("nobody"), &hi()).is_sent());
    assert_eq!(mesh.frames_waiting("b", StateChannel::SETI_MESSAGES), 0);
}

#[test]
fn disassociate() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let alice = nodes[0].client(None);
    nodes[0]
        .seti
        .associate(&user("alice"), alice.session.session())
        .unwrap();
    mesh.settle();
    assert!(
        nodes[0]
            .seti
            .disassociate(&user("alice"), alice.session.session())
    );
    assert!(
        !nodes[0]
            .seti
            .disassociate(&user("alice"), alice.session.session())
    );
    mesh.settle();
    assert!(!nodes[1].seti.is_present(&user("alice")));
    assert!(!nodes[1].seti.send(&user("alice"), &hi()).is_sent());
    assert!(alice.received().is_empty());
}

#[tokio::test]
async fn automatic_association_from_the_handshake_and_disassociation_at_the_end() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let mut peer = nodes[0].engine.websocket_peer();
    let handshake = r#"[{"channel":"/meta/handshake","version":"1.0","supportedConnectionTypes":["websocket"],
        "ext":{"halley":{"user":"alice"}}}]"#;
    nodes[0]
        .engine
        .websocket_frame(&mut peer, handshake, Millis(0))
        .await
        .unwrap();
    mesh.settle();
    assert_eq!(nodes[1].presence("alice"), ["a"]);
    let session = *nodes[0].seti.sessions(&user("alice")).first().unwrap();
    nodes[0]
        .engine
        .end_session(&session, EndReason::Expired, Millis(1));
    mesh.settle();
    for node in &nodes {
        assert!(!node.seti.is_present(&user("alice")));
    }
}

#[test]
fn association_with_multiple_sessions() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let told = Recorder::on(&nodes[1].seti);
    let (one, two, three) = (
        nodes[0].client(Some("alice")),
        nodes[0].client(Some("alice")),
        nodes[1].client(Some("alice")),
    );
    mesh.settle();
    let outcome = nodes[1].seti.send(&user("alice"), &hi());
    assert_eq!((outcome.local, outcome.nodes.len()), (1, 1));
    assert_eq!(
        mesh.frames_waiting("a", StateChannel::SETI_MESSAGES),
        1,
        "one frame, two sessions"
    );
    mesh.settle();
    for client in [&one, &two, &three] {
        assert_eq!(client.received(), [HI]);
    }
    drop(one);
    mesh.settle();
    nodes[1].seti.send(&user("alice"), &hi());
    mesh.settle();
    assert_eq!((two.received().len(), three.received().len()), (1, 1));
    drop(two);
    mesh.settle();
    assert_eq!(nodes[1].presence("alice"), ["b"]);
    let mut told = told.told();
    told.sort();
    assert_eq!(told, ["+alice@a", "+alice@b", "-alice@a"]);
}

#[test]
fn is_present_when_node_joins() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let _alice = nodes[0].client(Some("alice"));
    let _bob = nodes[1].client(Some("bob"));
    mesh.settle();
    let late = node(&mesh, "c");
    let told = Recorder::on(&late.seti);
    mesh.join("a", "c");
    mesh.join("b", "c");
    mesh.settle();
    let mut users = late.seti.users();
    users.sort();
    assert_eq!(users, [user("alice"), user("bob")]);
    mesh.crash("b");
    mesh.settle();
    assert!(!late.seti.is_present(&user("bob")));
    assert_eq!(told.told().last().unwrap(), "-bob@b");
}

#[test]
fn presence_fires_event_locally() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let told = Recorder::on(&nodes[0].seti);
    let alice = nodes[0].client(Some("alice"));
    let bob = nodes[1].client(Some("bob"));
    mesh.settle();
    drop((alice, bob));
    mesh.settle();
    assert_eq!(told.told(), ["+alice@a", "+bob@b", "-alice@a", "-bob@b"]);
}

#[test]
fn long_half_network_disconnection_fires_net_changes_only() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let stays = nodes[1].client(Some("stays"));
    let goes = nodes[1].client(Some("goes"));
    mesh.settle();
    let told = Recorder::on(&nodes[0].seti);
    mesh.cut("a", "b");
    mesh.settle();
    let mut gone = told.told();
    gone.sort();
    assert_eq!(gone, ["-goes@b", "-stays@b"]);
    drop(goes);
    let _comes = nodes[1].client(Some("comes"));
    mesh.join("a", "b");
    mesh.settle();
    let mut back = told.told();
    back.sort();
    assert_eq!(back, ["+comes@b", "+stays@b"]);
    drop(stays);
}

#[test]
fn multiple_server_crashes() {
    let mesh = Mesh::default();
    let watcher = node(&mesh, "a");
    for _ in 0..3 {
        for name in ["b", "c"] {
            let host = node(&mesh, name);
            mesh.join("a", name);
            let alice = host.client(Some("alice"));
            mesh.settle();
            assert_eq!(watcher.presence("alice"), [name]);
            mesh.crash(name);
            mesh.settle();
            assert!(!watcher.seti.is_present(&user("alice")));
            std::mem::forget(alice);
        }
    }
}

#[test]
fn concurrent() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let told = Recorder::on(&nodes[1].seti);
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..64)
            .map(|thread| {
                let node = &nodes[0];
                scope.spawn(move || {
                    for round in 0..32 {
                        // Two threads share each user.
                        let client = node.client(Some(&format!("user-{}", thread / 2)));
                        if round == 31 && thread % 4 == 0 {
                            std::mem::forget(client);
                        }
                    }
                })
            })
            .collect();
        scope.spawn(|| {
            while !done.load(Ordering::Acquire) {
                mesh.settle();
                std::thread::yield_now();
            }
        });
        for thread in threads {
            thread.join().unwrap();
        }
        done.store(true, Ordering::Release);
    });
    mesh.tick();
    mesh.settle();
    let sorted = |seti: &Seti| {
        let mut users = seti.users();
        users.sort();
        users
    };
    let expected: Vec<_> = (0..32)
        .step_by(2)
        .map(|number| user(&format!("user-{number}")))
        .collect();
    let mut expected = expected;
    expected.sort();
    assert_eq!(sorted(&nodes[0].seti), expected);
    assert_eq!(sorted(&nodes[1].seti), expected);
    let mut known = std::collections::BTreeSet::new();
    for event in told.told() {
        let (sign, pair) = event.split_at(1);
        let changed = if sign == "+" {
            known.insert(pair.to_owned())
        } else {
            known.remove(pair)
        };
        assert!(changed, "{event} is no change");
    }
    assert_eq!(known.len(), expected.len());
}

#[test]
fn disassociate_all_sessions() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let one = nodes[0].client(Some("alice"));
    let two = nodes[0].client(Some("alice"));
    mesh.settle();
    let mut sessions = nodes[0].seti.disassociate_all(&user("alice"));
    sessions.sort();
    let mut expected = vec![*one.session.session().id(), *two.session.session().id()];
    expected.sort();
    assert_eq!(sessions, expected);
    assert!(nodes[0].seti.disassociate_all(&user("alice")).is_empty());
    mesh.settle();
    assert!(!nodes[1].seti.is_present(&user("alice")));
}

#[test]
fn a_session_may_stand_for_two_users() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let client = nodes[0].client(Some("alice"));
    nodes[0]
        .seti
        .associate(&user("bob"), client.session.session())
        .unwrap();
    assert!(
        nodes[0]
            .seti
            .disassociate(&user("alice"), client.session.session())
    );
    mesh.settle();
    assert_eq!(
        (
            nodes[1].presence("alice").len(),
            nodes[1].presence("bob").len()
        ),
        (0, 1)
    );
    drop(client);
    mesh.settle();
    assert!(nodes[1].seti.users().is_empty());
    assert_eq!(nodes[0].seti.local_user_count(), 0);
}

#[test]
fn a_session_that_has_ended_is_not_associated() {
    let mesh = Mesh::default();
    let node = node(&mesh, "a");
    let client = node.client(None);
    let session = client.session.session().clone();
    drop(client);
    assert_eq!(
        node.seti.associate(&user("alice"), &session),
        Err(AssociateError::SessionEnded)
    );
    assert!(!node.seti.is_present(&user("alice")));
}

#[test]
fn a_message_is_never_forwarded() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b", "c"]);
    let alice = nodes[1].client(Some("alice"));
    mesh.settle();
    nodes[0].seti.send(&user("alice"), &hi());
    // She moves while the message is under way.
    drop(alice);
    let moved = nodes[2].client(Some("alice"));
    mesh.settle();
    assert!(moved.received().is_empty());
}

#[test]
fn what_a_node_said_before_it_left_does_not_bring_its_users_back() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let _alice = nodes[1].client(Some("alice"));
    let (from, channel, announcement) = mesh.waiting("a").remove(0);
    mesh.settle();
    mesh.crash("b");
    mesh.inject(from.clone(), "a", channel, announcement.clone());
    mesh.settle();
    assert!(!nodes[0].seti.is_present(&user("alice")));
    let _again = node(&mesh, "b");
    mesh.join("a", "b");
    mesh.inject(from, "a", channel, announcement);
    mesh.settle();
    assert!(!nodes[0].seti.is_present(&user("alice")));
}

#[test]
fn a_suspended_node_starts_over_without_its_users() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let alice = nodes[1].client(Some("alice"));
    let _carol = nodes[0].client(Some("carol"));
    mesh.settle();
    drop(alice);
    mesh.restart("b");
    mesh.settle();
    assert!(nodes[1].seti.users().is_empty());
    assert!(!nodes[0].seti.is_present(&user("alice")));
    mesh.join("a", "b");
    let _bob = nodes[1].client(Some("bob"));
    mesh.settle();
    assert_eq!(
        (
            nodes[0].presence("bob").len(),
            nodes[1].presence("carol").len()
        ),
        (1, 1)
    );
}

#[test]
fn a_node_that_cannot_be_reached_is_named() {
    let mesh = Mesh::default();
    let nodes = joined(&mesh, &["a", "b"]);
    let _alice = nodes[1].client(Some("alice"));
    mesh.settle();
    mesh.cut("a", "b");
    // A has not been told yet.
    let outcome = nodes[0].seti.send(&user("alice"), &hi());
    assert_eq!(
        (outcome.is_sent(), &outcome.refused[..]),
        (false, &[node_name("b")][..])
    );
    assert_eq!(nodes[0].sender.members(), []);
}

/// A sibling that joins with many users does not stop the cluster's task while a listener takes its time.
#[test]
fn a_slow_listener_is_told_in_several_goes() {
    struct Slow(Mutex<usize>);
    impl PresenceListener for Slow {
        fn present(&self, _: &UserId, _: &NodeName) {
            // Busy, as a listener that publishes to many sessions is.
            let begun = std::time::Instant::now();
            while begun.elapsed().as_micros() < 500 {
                std::hint::spin_loop();
            }
            *self.0.lock() += 1;
        }
        fn absent(&self, _: &UserId, _: &NodeName) {}
    }
    const USERS: usize = 1_000;
    let mesh = Mesh::default();
    let (a, b) = (node(&mesh, "a"), node(&mesh, "b"));
    let client = a.client(None);
    for number in 0..USERS {
        let user = user(&format!("user-{number}"));
        a.seti.associate(&user, client.session.session()).unwrap();
    }
    let slow = Arc::new(Slow(Mutex::new(0)));
    b.seti.add_listener(slow.clone());
    mesh.join("a", "b");
    mesh.settle();
    assert_eq!(b.seti.users().len(), USERS, "the directory does not wait");
    let told = *slow.0.lock();
    assert!((256..USERS).contains(&told), "{told}");
    for _ in 0..4 {
        mesh.tick();
        mesh.settle();
    }
    assert_eq!(*slow.0.lock(), USERS);
}

#[test]
fn a_listener_may_ask_the_directory() {
    struct Asks(Seti, Arc<Mutex<Vec<bool>>>);
    impl PresenceListener for Asks {
        fn present(&self, user: &UserId, _: &NodeName) {
            self.1.lock().push(self.0.is_present(user));
        }
        fn absent(&self, user: &UserId, _: &NodeName) {
            self.1.lock().push(self.0.is_present(user));
        }
    }
    let mesh = Mesh::default();
    let node = node(&mesh, "a");
    let told = Arc::new(Mutex::new(Vec::new()));
    node.seti
        .add_listener(Arc::new(Asks(node.seti.clone(), told.clone())));
    drop(node.client(Some("alice")));
    assert_eq!(*told.lock(), [true, false]);
}
