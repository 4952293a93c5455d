//! Users, objects and members, of a node alone and of two.

use std::sync::Arc;

use halley::{Member, MembershipListener, Node, NodeBuilder, OortObject, PublishError, UserId};
use parking_lot::Mutex;
use serde_json::json;

use crate::support::{Ws, eventually, within};
use crate::{builder, started};

#[tokio::test]
async fn users_are_reached_and_watched() {
    struct Names(Mutex<Vec<String>>);
    impl halley::services::DirectoryListener for Names {
        fn joined(&self, user: &UserId, node: &str) {
            self.0.lock().push(format!("+{user}@{node}"));
        }
        fn left(&self, user: &UserId, node: &str) {
            self.0.lock().push(format!("-{user}@{node}"));
        }
    }
    struct Told(Arc<Names>);
    impl halley::services::DirectoryListener for Told {
        fn joined(&self, user: &UserId, node: &str) {
            self.0.joined(user, node);
        }
        fn left(&self, user: &UserId, node: &str) {
            self.0.left(user, node);
        }
    }
    let names = Arc::new(Names(Mutex::default()));
    let node = started(
        builder()
            .config_text("[node]\nname = \"n1\"\n[seti]\ntrust_handshake_user = true")
            .user_listener(Told(Arc::clone(&names))),
    )
    .await;
    let handle = node.handle();
    let ext = json!({ "halley": { "user": "ann" } });
    let mut ann = Ws::joined_with(node.client_address(), ext).await;
    let (bob, mut inbox) = handle.local_session_of("bob").expect("running");
    let users: Vec<String> = handle.users().iter().map(ToString::to_string).collect();
    assert_eq!(users.len(), 2, "{users:?}");
    assert_eq!(handle.nodes_of(&UserId::new("ann").unwrap()), ["n1"]);

    assert!(
        handle
            .publish_to_user("ann", "/service/mail", json!({ "new": 3 }))
            .unwrap()
    );
    let mail = ann.next().await;
    assert_eq!(
        (&mail["channel"], &mail["data"]),
        (&json!("/service/mail"), &json!({ "new": 3 }))
    );
    assert!(handle.publish_to_user("bob", "/mail", 1).unwrap());
    assert_eq!(inbox.next().await.expect("mail").channel(), "/mail");
    assert!(!handle.publish_to_user("eve", "/mail", 1).unwrap());
    drop(bob);
    assert_eq!(*names.0.lock(), ["+ann@n1", "+bob@n1", "-bob@n1"]);

    for (error, part) in [
        (
            handle.publish_to_user("", "/mail", 1).unwrap_err(),
            "a user name has",
        ),
        (
            handle
                .publish_to_user("ann", "/meta/connect", 1)
                .unwrap_err(),
            "/meta/connect",
        ),
        (handle.publish("/service/x", 1).unwrap_err(), "/service/x"),
        (handle.publish("/x/*", 1).unwrap_err(), "/x/*"),
        (handle.publish("x", 1).unwrap_err(), "is not a channel"),
        (
            handle
                .publish("/x", f64::NAN)
                .map_or_else(|e| e, |_| PublishError::NotRunning),
            "",
        ),
    ] {
        assert!(error.to_string().contains(part), "{error}");
    }
}

#[tokio::test]
async fn a_node_that_runs_alone_has_objects_and_is_its_own_member() {
    let node = started(builder().set("node.name", "solo")).await;
    let handle = node.handle();
    let members = handle.members();
    assert_eq!(members.len(), 1);
    assert_eq!(members[0].name.as_str(), "solo");
    assert_eq!(members[0].client_url, node.client_url());
    assert_eq!(
        node.client_url(),
        format!("http://{}/cometd", node.client_address())
    );
    let objects = handle.objects().expect("running");
    let object = OortObject::new(&objects, "score", 1_u64).expect("a new object");
    object.set(5).expect("sets");
    assert_eq!(object.merge(|parts| parts.sum::<u64>()), 5);
    let prices = objects.map::<u64>("prices").expect("a new map");
    prices.put("ACME".to_owned(), 100).expect("puts");
    let again = objects.map::<u64>("prices").expect("the same map");
    let (member, price) = again.find("ACME").expect("is there");
    assert_eq!((member.name.as_str(), *price), ("solo", 100));
    let served = objects.long("served").expect("a new number");
    assert_eq!(served.add_and_get(2).expect("adds"), 2);
    let rooms = objects.list::<String>("rooms").expect("a new list");
    assert!(rooms.add_all(["red".to_owned()]).expect("adds"));
}

/// A node of the cluster.
fn member(name: &str) -> NodeBuilder {
    builder()
        .set("node.name", name)
        .set("mesh.listen", "127.0.0.1:0")
        .set("mesh.secret", "a secret of more than 32 bytes for the test")
        .set("seti.trust_handshake_user", true)
}

/// Two nodes of one cluster, on loopback.
async fn pair() -> [Node; 2] {
    let first = started(member("n1")).await;
    let address = first.mesh_address().expect("clustered").to_string();
    let second = started(member("n2").set("mesh.siblings", vec![address])).await;
    for node in [&first, &second] {
        eventually("both are members", async || {
            (node.handle().members().len() == 2).then_some(())
        })
        .await;
    }
    [first, second]
}

/// Greets every sibling, once, at the moment it joins.
struct Greeter {
    name: &'static str,
    handle: halley::NodeHandle,
}

impl MembershipListener for Greeter {
    fn joined(&self, member: &Member) {
        let greeting = [self.name, member.name.as_str()];
        self.handle.publish("/greetings", greeting).expect("sent");
    }
    fn left(&self, _: &Member) {}
}

/// The row testPublishDuringCometJoined, for code inside a node: on a node that starts, and on nodes that run and meet.
#[tokio::test]
async fn what_a_listener_publishes_when_a_sibling_joins_reaches_it() {
    let greeting = |name: &'static str| {
        let builder = member(name);
        let handle = builder.handle();
        builder.membership_listener(Greeter { name, handle })
    };
    let (first, second) = (started(greeting("n1")).await, started(greeting("n2")).await);
    let mut inboxes = Vec::new();
    for node in [&first, &second] {
        let (session, inbox) = node.handle().local_session().expect("a session");
        session.subscribe("/greetings").await.expect("subscribes");
        inboxes.push((node.name().to_owned(), session, inbox));
    }
    // They do not know each other, and learn of each other by the third.
    let addresses = [&first, &second].map(|node| node.mesh_address().expect("clustered"));
    let seeds = addresses.map(|address| address.to_string()).to_vec();
    let _third = started(greeting("n3").set("mesh.siblings", seeds)).await;
    for (name, _session, inbox) in &mut inboxes {
        let mut greeted_by = Vec::new();
        while greeted_by.len() < 2 {
            let greeting = within("a greeting", inbox.next()).await.expect("goes on");
            let [from, to] = greeting.parse::<[String; 2]>().expect("a greeting");
            if to == *name {
                greeted_by.push(from);
            }
        }
        greeted_by.sort();
        let other = if name == "n1" { "n2" } else { "n1" };
        assert_eq!(greeted_by, [other, "n3"], "{name}");
    }
}

#[tokio::test]
async fn users_objects_and_publications_reach_siblings() {
    let [first, second] = pair().await;
    let names: Vec<String> = second
        .handle()
        .members()
        .iter()
        .map(|member| member.name.to_string())
        .collect();
    assert_eq!(names, ["n2", "n1"], "this node first");

    let ext = json!({ "halley": { "user": "ann" } });
    let mut ann = Ws::joined_with(first.client_address(), ext).await;
    ann.subscribe("/news").await;
    let user = UserId::new("ann").unwrap();
    let handle = second.handle();
    eventually("ann is known", async || {
        (handle.nodes_of(&user) == ["n1"]).then_some(())
    })
    .await;
    assert!(handle.publish_to_user("ann", "/mail", 1).unwrap());
    assert_eq!(ann.next().await["channel"], "/mail");
    // What n1 wants is told to n2 before or after this: it is published until it arrives.
    let publishes = async {
        loop {
            handle.publish("/news", "here").expect("publishes");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    let arrives = async { while ann.next().await["channel"] != "/news" {} };
    tokio::select! {
        () = publishes => {}
        () = within("the news", arrives) => {}
    }

    let object = |node: &Node, value: u64| {
        OortObject::new(&node.handle().objects().expect("running"), "score", value).expect("new")
    };
    let (here, _there) = (object(&first, 2), object(&second, 3));
    eventually("both parts are here", async || {
        (here.merge(|parts| parts.sum::<u64>()) == 5).then_some(())
    })
    .await;
}
