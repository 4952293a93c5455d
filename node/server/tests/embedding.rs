//! The library as an application uses it: builder, handle, local sessions, calls.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use halley::{
    ApplicationError, Attachment, Authorization, BoxFuture, ChannelName, Decision, DefaultPolicy,
    EndReason, Extension, Flow, HandshakeVerdict, InboxEnd, LocalError, Member, MembershipListener,
    Message, MessageListener, Millis, Node, NodeBuilder, OortObject, Operation, Publication,
    PublishError, Reply, RpcError, SecurityPolicy, Service, ServiceReply, Session, StartError,
    SubscriptionListener, UserId, Verdict,
};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use support::{Ws, eventually, within};
use tokio::sync::mpsc;

/// A node on free loopback ports.
fn builder() -> NodeBuilder {
    Node::builder()
        .set("client.listen", "127.0.0.1:0")
        .set("admin.listen", "127.0.0.1:0")
}

async fn started(builder: NodeBuilder) -> Node {
    builder.start().await.expect("the node starts")
}

/// The reply to a call and its result, whichever comes first.
async fn call(client: &mut Ws, channel: &str, data: Value) -> (Value, Value) {
    let id = client
        .send(json!({ "channel": channel, "data": data }))
        .await;
    let (first, second) = (client.reply(&id).await, client.reply(&id).await);
    if first.get("data").is_some() {
        (second, first)
    } else {
        (first, second)
    }
}

#[derive(Deserialize)]
struct Question {
    name: String,
    times: usize,
}

#[derive(Serialize)]
struct Greeting {
    text: String,
}

#[tokio::test]
async fn a_closure_answers_calls_with_types() {
    let node = started(
        builder()
            .rpc("/service/greet", |call| async move {
                let question: Question = call.data()?;
                if question.times == 0 {
                    return Err("not even once?".into());
                }
                Ok(Greeting {
                    text: format!("hi {}! ", question.name).repeat(question.times),
                })
            })
            .rpc("/service/tools/*", |call| async move {
                match call.channel().as_str() {
                    "/service/tools/echo" => Ok(call.data::<Value>()?),
                    "/service/tools/whoami" => Ok(json!(call.user().map(UserId::as_str))),
                    "/service/tools/where" => Ok(json!(call.remote_address())),
                    _ => Err(RpcError::with_data(json!({ "no": "such tool" }))?),
                }
            }),
    )
    .await;
    let mut client = Ws::joined(node.client_address()).await;

    let (reply, result) = call(
        &mut client,
        "/service/greet",
        json!({ "name": "ann", "times": 2 }),
    )
    .await;
    assert_eq!(reply["successful"], true, "{reply}");
    assert_eq!(result["successful"], true, "{result}");
    assert_eq!(result["data"], json!({ "text": "hi ann! hi ann! " }));

    let (_, result) = call(
        &mut client,
        "/service/greet",
        json!({ "name": "ann", "times": 0 }),
    )
    .await;
    assert_eq!(result["successful"], false);
    assert_eq!(
        result["data"],
        json!({ "code": "failed", "message": "not even once?" })
    );

    let (_, result) = call(&mut client, "/service/greet", json!({ "name": 1 })).await;
    assert_eq!(result["successful"], false);
    assert_eq!(result["data"]["code"], "data_invalid", "{result}");

    let big = json!({ "n": 12_345_678_901_234_567_890_u64 });
    let (_, result) = call(&mut client, "/service/tools/echo", big.clone()).await;
    assert_eq!(result["data"], big);
    let (_, result) = call(&mut client, "/service/tools/whoami", json!(1)).await;
    assert_eq!(result["successful"], true, "{result}");
    let (_, result) = call(&mut client, "/service/tools/where", json!(1)).await;
    assert_eq!(result["data"], "127.0.0.1");
    let (_, result) = call(&mut client, "/service/tools/hammer", json!(1)).await;
    assert_eq!(result["data"], json!({ "no": "such tool" }));
}

#[tokio::test]
async fn calls_run_beside_each_other_and_a_panic_fails_one_alone() {
    let (open, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = Arc::new(tokio::sync::Mutex::new(Some(gate)));
    let node = started(builder().rpc("/service/wait", move |call| {
        let gate = Arc::clone(&gate);
        assert_ne!(call.json(), "\"at once\"", "on purpose");
        async move {
            match call.data::<String>()?.as_str() {
                "wait" => {
                    let gate = gate.lock().await.take().ok_or("twice")?;
                    let _ = gate.await;
                }
                "later" => panic!("on purpose"),
                _ => {}
            }
            Ok("done")
        }
    }))
    .await;
    let mut client = Ws::joined(node.client_address()).await;
    let slow = client
        .send(json!({ "channel": "/service/wait", "data": "wait" }))
        .await;
    assert_eq!(client.reply(&slow).await["successful"], true);
    let (_, result) = call(&mut client, "/service/wait", json!("go")).await;
    assert_eq!(result["data"], "done", "the slow call holds nothing up");
    for panics in ["at once", "later"] {
        let (_, result) = call(&mut client, "/service/wait", json!(panics)).await;
        assert_eq!(
            (&result["successful"], &result["data"]["code"]),
            (&json!(false), &json!("unanswered"))
        );
    }
    open.send(()).expect("the call waits");
    assert_eq!(client.reply(&slow).await["data"], "done");
}

#[tokio::test]
async fn a_drain_lets_calls_finish() {
    let (begun, mut begins) = mpsc::channel(1);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let node = started(builder().rpc("/service/slow", move |_| {
        let (begun, gate) = (begun.clone(), Arc::clone(&gate));
        async move {
            let _ = begun.send(()).await;
            let _ = gate.acquire().await;
            Ok("finished")
        }
    }))
    .await;
    let mut client = Ws::joined(node.client_address()).await;
    let id = client.send(json!({ "channel": "/service/slow" })).await;
    assert_eq!(client.reply(&id).await["successful"], true);
    within("the call begins", begins.recv()).await;
    let address = node.client_address();
    let opens = async {
        eventually("no new connections", async || {
            tokio::net::TcpStream::connect(address).await.err()
        })
        .await;
        opened.add_permits(1);
        client.reply(&id).await
    };
    let ((), result) = tokio::join!(node.drain(), opens);
    assert_eq!(result["data"], "finished");
}

#[tokio::test]
async fn a_local_session_subscribes_publishes_and_calls() {
    let node = started(builder().rpc("/service/double", |call| async move {
        Ok(call.data::<i64>()? * 2)
    }))
    .await;
    let handle = node.handle();
    let (session, mut inbox) = handle.local_session().expect("a running node");
    session.subscribe("/chat/*").await.expect("subscribes");
    let mut client = Ws::joined(node.client_address()).await;
    client.subscribe("/chat/b").await;

    client.publish("/chat/a", json!({ "n": 1 })).await;
    let received = within("a message", inbox.next()).await.expect("one");
    assert_eq!(received.channel(), "/chat/a");
    assert_eq!(received.data(), r#"{"n":1}"#);

    session
        .publish("/chat/b", ["to the client"])
        .await
        .expect("publishes");
    assert_eq!(client.next().await["data"], json!(["to the client"]));
    assert_eq!(
        inbox
            .next()
            .await
            .expect("its own")
            .parse::<Vec<String>>()
            .unwrap()
            .len(),
        1
    );

    assert_eq!(
        session.call::<i64>("/service/double", 21).await.unwrap(),
        42
    );
    let error = session
        .call::<i64>("/service/double", "x")
        .await
        .unwrap_err();
    assert!(matches!(&error, LocalError::Call(_)), "{error}");
    assert!(error.to_string().contains("data_invalid"), "{error}");
    let error = session
        .call::<String>("/service/double", 21)
        .await
        .unwrap_err();
    assert!(matches!(error, LocalError::Result(_)), "{error}");
    let error = session.call::<i64>("/service/none", 21).await.unwrap_err();
    assert!(matches!(error, LocalError::Call(_)), "{error}");

    session.unsubscribe("/chat/*").await.expect("unsubscribes");
    assert!(matches!(
        session.subscribe("nonsense").await,
        Err(LocalError::Invalid(_))
    ));
    assert!(matches!(
        session.subscribe("/meta/connect").await,
        Err(LocalError::Refused(_))
    ));
    assert_eq!(handle.publish("/chat/b", 1).expect("publishes"), 1);
    assert_eq!(inbox.try_next().map(|one| one.is_some()), Ok(false));
    session.disconnect();
    assert_eq!(
        within("its end", inbox.next()).await.unwrap_err(),
        InboxEnd::Ended
    );
}

#[tokio::test]
async fn an_inbox_that_is_not_read_ends_its_session_and_keeps_what_came_before() {
    let node = started(builder().set("session.maxQueue", 3)).await;
    let handle = node.handle();
    let (session, mut inbox) = handle.local_session().expect("a running node");
    session.subscribe("/a").await.expect("subscribes");
    for n in 0..10 {
        handle.publish("/a", n).expect("publishes");
    }
    for n in 0..3 {
        assert_eq!(
            inbox
                .next()
                .await
                .expect("in order")
                .parse::<u32>()
                .unwrap(),
            n
        );
    }
    assert_eq!(inbox.next().await.unwrap_err(), InboxEnd::Overflow);
    eventually("the session has ended", async || {
        (!session.session().is_live()).then_some(())
    })
    .await;
    assert!(session.publish("/a", 1).await.is_err());

    let (session, mut inbox) = handle.local_session().expect("another");
    let many = "x".repeat(node.engine().config().max_queue_bytes);
    session.subscribe("/b").await.expect("subscribes");
    handle.publish("/b", &many).expect("publishes");
    handle.publish("/b", 2).expect("publishes");
    assert!(
        inbox.next().await.is_ok(),
        "a single message passes any bound in bytes"
    );
    assert_eq!(inbox.next().await.unwrap_err(), InboxEnd::Overflow);
}

#[tokio::test]
async fn an_inbox_learns_of_every_end() {
    let node = started(builder()).await;
    let handle = node.handle().clone();
    let (by_node, mut first) = handle.local_session().expect("running");
    let (by_other, mut second) = handle.local_session().expect("running");
    let engine = Arc::clone(node.engine());
    assert!(engine.end_session(
        by_other.session().id(),
        EndReason::Server,
        node.clock().now()
    ));
    assert_eq!(
        within("the end", second.next()).await.unwrap_err(),
        InboxEnd::Ended
    );
    let waits = tokio::spawn(async move { first.next().await.map(|_| ()) });
    node.drain().await;
    assert_eq!(
        within("the end", waits).await.unwrap(),
        Err(InboxEnd::Ended)
    );
    assert!(!handle.is_running());
    assert!(matches!(
        handle.publish("/a", 1),
        Err(PublishError::NotRunning)
    ));
    assert!(matches!(
        handle.local_session(),
        Err(PublishError::NotRunning)
    ));
    drop(by_node);
}

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

/// Knows its users by a password, and lets nobody but the chief publish news.
struct Passwords {
    base: DefaultPolicy,
}

impl SecurityPolicy for Passwords {
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
        let password = message.ext_field("password").unwrap_or("null").to_owned();
        let later: BoxFuture<HandshakeVerdict> = Box::pin(async move {
            tokio::task::yield_now().await;
            match password.as_str() {
                "\"open\"" => HandshakeVerdict::Grant {
                    user: UserId::new("ann").ok(),
                    attachment: Some(Attachment::new("member")),
                },
                _ => HandshakeVerdict::Deny {
                    reason: "wrong_password".into(),
                    advice: None,
                },
            }
        });
        Decision::Later(later)
    }

    fn can_create(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        self.base.can_create(session, channel, message)
    }

    fn can_subscribe(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        self.base.can_subscribe(session, channel, message)
    }

    fn can_publish(
        &self,
        session: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        if channel.as_str() == "/news" && session.attachment::<&str>() != Some(&"chief") {
            return Decision::Now(Verdict::Deny("not_the_chief".into()));
        }
        self.base.can_publish(session, channel, message)
    }
}

#[tokio::test]
async fn an_own_policy_decides_in_place_of_the_configured_one() {
    let policy = || Passwords {
        base: DefaultPolicy::new(false),
    };
    let node = started(builder().policy(policy())).await;
    let mut client = Ws::open(node.client_address()).await;
    let reply = client
        .exchange(json!({ "channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["websocket"], "ext": { "password": "shut" } }))
        .await;
    assert_eq!(reply["error"], "403:wrong_password:handshake_denied");
    let mut client = Ws::joined_with(node.client_address(), json!({ "password": "open" })).await;
    assert_eq!(node.handle().users()[0].as_str(), "ann");
    let reply = client.publish("/news", json!(1)).await;
    assert_eq!(reply["error"], "403:not_the_chief:publish_denied");
    let reply = client.publish("/talk", json!(1)).await;
    assert_eq!(reply["successful"], true);

    for (text, key) in [
        (
            "[seti]\ntrust_handshake_user = true",
            "seti.trust_handshake_user",
        ),
        (
            "[[security.channels]]\npattern = \"/a\"",
            "security.channels",
        ),
    ] {
        let error = builder()
            .config_text(text)
            .policy(policy())
            .start()
            .await
            .unwrap_err();
        assert!(
            matches!(&error, StartError::Application(ApplicationError::TwoPolicies(named)) if *named == key),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_policy_around_the_configured_one_may_ask_it() {
    struct Quiet(Arc<dyn SecurityPolicy>);
    impl SecurityPolicy for Quiet {
        fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
            self.0.can_handshake(message)
        }
        fn can_create(
            &self,
            s: &Arc<Session>,
            c: &ChannelName,
            m: &Message<'_>,
        ) -> Decision<Verdict> {
            self.0.can_create(s, c, m)
        }
        fn can_subscribe(
            &self,
            s: &Arc<Session>,
            c: &ChannelName,
            m: &Message<'_>,
        ) -> Decision<Verdict> {
            self.0.can_subscribe(s, c, m)
        }
        fn can_publish(
            &self,
            s: &Arc<Session>,
            c: &ChannelName,
            m: &Message<'_>,
        ) -> Decision<Verdict> {
            if m.data() == Some("\"loud\"") {
                return Decision::Now(Verdict::Deny("too_loud".into()));
            }
            self.0.can_publish(s, c, m)
        }
    }
    let rules =
        "[[security.channels]]\npattern = \"/open\"\nsubscribe = [\"*\"]\npublish = [\"*\"]";
    let node = started(builder().config_text(rules).wrap_policy(Quiet)).await;
    let mut client = Ws::joined(node.client_address()).await;
    assert_eq!(
        client.publish("/open", json!("calm")).await["successful"],
        true
    );
    assert_eq!(
        client.publish("/open", json!("loud")).await["error"],
        "403:too_loud:publish_denied"
    );
    assert_eq!(
        client.publish("/closed", json!("calm")).await["error"],
        "403:denied_by_security_policy:channel_create_denied"
    );
}

#[tokio::test]
async fn services_listeners_extensions_and_authorizers_are_put_in() {
    struct Post(halley::NodeHandle);
    impl Service for Post {
        fn message(&self, _: &Arc<Session>, message: &Message<'_>, _: Millis) -> ServiceReply {
            match message.data() {
                Some(data) => {
                    let data: Value = serde_json::from_str(data).unwrap_or_default();
                    match self.0.publish("/posted", data) {
                        Ok(_) => ServiceReply::Accepted,
                        Err(error) => ServiceReply::Refused(format!("500::{error}")),
                    }
                }
                None => ServiceReply::Refused("400::nothing_to_post".into()),
            }
        }
    }
    struct NoSwearing;
    impl Extension for NoSwearing {
        fn incoming(
            &self,
            _: Option<&Arc<Session>>,
            message: &Message<'_>,
            _: &mut Reply<'_>,
            _: Millis,
        ) -> Flow {
            if message.data() == Some("\"damn\"") {
                Flow::Stop
            } else {
                Flow::Continue
            }
        }
    }
    struct Counts(Arc<AtomicUsize>);
    impl SubscriptionListener for Counts {
        fn subscribed(&self, _: &Arc<Session>, _: &ChannelName) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    struct Nothing;
    impl MessageListener for Nothing {
        fn publication(&self, publication: &Arc<Publication>, _: Millis) -> Flow {
            if publication.data() == Some("\"stop\"") {
                Flow::Stop
            } else {
                Flow::Continue
            }
        }
    }
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let subscriptions = Arc::new(AtomicUsize::new(0));
    let (came, went) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let builder = builder();
    let handle = builder.handle();
    assert!(matches!(
        handle.publish("/posted", 1),
        Err(PublishError::NotRunning)
    ));
    let node = started(
        builder
            .service("/service/post", Post(handle))
            .extension(NoSwearing)
            .subscription_listener(Counts(Arc::clone(&subscriptions)))
            .on_session_added({
                let came = Arc::clone(&came);
                move |_| {
                    came.fetch_add(1, Ordering::Relaxed);
                }
            })
            .on_session_removed({
                let went = Arc::clone(&went);
                move |_, _| {
                    went.fetch_add(1, Ordering::Relaxed);
                }
            })
            .on_message("/posted", {
                let seen = Arc::clone(&seen);
                move |session, message| {
                    seen.lock().push(format!("{:?}", message.data()));
                    if session.is_some() && message.data() == Some("7") {
                        Flow::Stop
                    } else {
                        Flow::Continue
                    }
                }
            })
            .channel_listener("/posted", Nothing)
            .authorize("/locked/**", |operation, _, _, _| match operation {
                Operation::Subscribe => Authorization::Grant,
                _ => Authorization::Deny("locked".into()),
            }),
    )
    .await;
    let mut client = Ws::joined(node.client_address()).await;
    client.subscribe("/posted").await;
    let reply = client.publish("/service/post", json!("hello")).await;
    assert_eq!(reply["successful"], true, "{reply}");
    assert_eq!(client.next().await["data"], "hello");
    let reply = client.exchange(json!({ "channel": "/service/post" })).await;
    assert_eq!(reply["error"], "400::nothing_to_post");
    let reply = client.publish("/service/post", json!("damn")).await;
    assert_eq!(reply["error"], "404::message_deleted");
    let reply = client.publish("/posted", json!(7)).await;
    assert_eq!(reply["error"], "404::message_deleted");
    assert_eq!(*seen.lock(), ["Some(\"7\")"]);
    assert_eq!(
        node.handle().publish("/posted", "stop").expect("publishes"),
        0
    );
    let reply = client.publish("/locked/a", json!(1)).await;
    assert_eq!(reply["error"], "403:locked:channel_create_denied");
    assert_eq!(subscriptions.load(Ordering::Relaxed), 1);
    assert_eq!(came.load(Ordering::Relaxed), 1);
    node.drain().await;
    assert_eq!(went.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn what_does_not_fit_is_named_and_nothing_starts() {
    let ok = || builder().rpc("/service/a", |_| async { Ok(1) });
    let error = ok()
        .rpc("/service/a", |_| async { Ok(2) })
        .start()
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/service/a has a service already"),
        "{error}"
    );
    let error = builder()
        .rpc("/chat", |_| async { Ok(2) })
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("/chat is not one"), "{error}");
    let error = builder()
        .rpc("chat", |_| async { Ok(2) })
        .start()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("\"chat\" is not a channel"),
        "{error}"
    );
    let error = ok()
        .config_text("[seti]\ndirect = true")
        .rpc("/service/user", |_| async { Ok(2) });
    let error = error.start().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/service/user has a service already"),
        "{error}"
    );

    let error = builder()
        .config_text("[session]\nmaxQueue = 0")
        .set("session.nonsense", 1)
        .set("log.level", 7)
        .start()
        .await
        .unwrap_err()
        .to_string();
    for part in [
        "session.maxQueue: 0 is out of range",
        "session.nonsense: unknown key (set in code)",
        "log.level: expected",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = Node::builder()
        .config(support::config(""))
        .set("node.name", "x")
        .start()
        .await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("node.name: cannot be set on top"), "{error}");
    let error = builder()
        .config_file("/nonexistent.toml")
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("/nonexistent.toml"), "{error}");

    let node = started(builder()).await;
    let taken = node.client_address().to_string();
    let error = builder()
        .set("client.listen", taken)
        .start()
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StartError::Listen {
                key: "client.listen",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn code_goes_on_top_of_the_text() {
    let node = started(
        builder()
            .config_text("[client]\nlisten = \"192.0.2.1:1\"\n[node]\nname = \"file\"\n[session]\nmaxQueue = 7")
            .set("node.name", "code"),
    )
    .await;
    assert_eq!(node.name(), "code");
    assert_eq!(node.engine().config().max_queue, 7);
    let address = node.client_address();
    node.shutdown().await;
    eventually("the port is free", async || {
        tokio::net::TcpListener::bind(address).await.ok()
    })
    .await;
}
