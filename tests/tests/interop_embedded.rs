//! Stock clients on a node with code of an application in it: what that code refuses, sets for a session or delivers early; and clients that
//! leave at any moment, or cannot get what they ask for.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};
use halley::{
    ChannelName, Extension, Flow, Json, Message, Millis, Node, NodeBuilder, NodeHandle,
    Publication, Reply, Session, SessionListener,
};
use halley_tests::agent::Agent;
use halley_tests::cable::Cable;
use halley_tests::patience::eventually;
use halley_tests::ports;
use halley_tests::turn::turn;
use serde_json::json;

const COMETD_9: fn() -> anyhow::Result<Agent> = Agent::browser;
const JAVA: fn() -> anyhow::Result<Agent> = Agent::java;

macro_rules! clients {
    ($($test:ident: $what:ident, $client:ident, $transport:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> anyhow::Result<()> {
            let _turn = turn().await;
            $what($client, $transport).await
        }
    )*};
}

clients! {
    cometd_9_is_told_of_vetoes_over_websocket: vetoes, COMETD_9, "websocket";
    cometd_9_is_told_of_vetoes_over_long_polling: vetoes, COMETD_9, "long-polling";
    java_is_told_of_vetoes_over_websocket: vetoes, JAVA, "websocket";
    java_is_told_of_vetoes_over_long_polling: vetoes, JAVA, "long-polling";
    cometd_9_is_greeted_during_its_handshake_over_websocket: greeting, COMETD_9, "websocket";
    cometd_9_is_greeted_during_its_handshake_over_long_polling: greeting, COMETD_9, "long-polling";
    cometd_9_does_not_hear_itself_over_websocket: own_messages, COMETD_9, "websocket";
    cometd_9_does_not_hear_itself_over_long_polling: own_messages, COMETD_9, "long-polling";
    java_does_not_hear_itself_over_websocket: own_messages, JAVA, "websocket";
    java_does_not_hear_itself_over_long_polling: own_messages, JAVA, "long-polling";
    cometd_9_gets_messages_with_connect_replies_only_over_websocket: connect_only, COMETD_9, "websocket";
    cometd_9_gets_messages_with_connect_replies_only_over_long_polling: connect_only, COMETD_9, "long-polling";
    cometd_9_leaves_at_any_moment_over_websocket: leave, COMETD_9, "websocket";
    cometd_9_leaves_at_any_moment_over_long_polling: leave, COMETD_9, "long-polling";
    cometd_9_leaves_though_it_is_not_let_go_over_websocket: not_let_go, COMETD_9, "websocket";
    cometd_9_leaves_though_it_is_not_let_go_over_long_polling: not_let_go, COMETD_9, "long-polling";
    cometd_9_sends_too_much_over_websocket: too_much, COMETD_9, "websocket";
    cometd_9_sends_too_much_over_long_polling: too_much, COMETD_9, "long-polling";
    java_sends_too_much_over_websocket: too_much, JAVA, "websocket";
    java_sends_too_much_over_long_polling: too_much, JAVA, "long-polling";
    cometd_9_talks_to_the_root_over_websocket: root, COMETD_9, "websocket";
    cometd_9_talks_to_the_root_over_long_polling: root, COMETD_9, "long-polling";
    java_talks_to_the_root_over_websocket: root, JAVA, "websocket";
    java_talks_to_the_root_over_long_polling: root, JAVA, "long-polling";
    cometd_9_talks_over_ipv6_and_websocket: ipv6, COMETD_9_IPV6, "websocket";
    cometd_9_talks_over_ipv6_and_long_polling: ipv6, COMETD_9_IPV6, "long-polling";
    java_talks_over_ipv6_and_websocket: ipv6, JAVA, "websocket";
    java_talks_over_ipv6_and_long_polling: ipv6, JAVA, "long-polling";
    cometd_9_waits_for_its_node_over_long_polling: late_node, COMETD_9, "long-polling";
    java_waits_for_its_node_over_websocket: late_node, JAVA, "websocket";
    java_waits_for_its_node_over_long_polling: late_node, JAVA, "long-polling";
}

const COMETD_9_IPV6: fn() -> anyhow::Result<Agent> = || Agent::browser_at("::1");

type Start = fn() -> anyhow::Result<Agent>;

fn builder() -> NodeBuilder {
    Node::builder()
        .set("client.listen", "127.0.0.1:0")
        .set("admin.listen", "127.0.0.1:0")
}

/// It publishes and hears itself.
async fn talks(client: &Agent, channel: &str) -> anyhow::Result<()> {
    client.subscribe("client", channel).await?;
    let answer = client.publish("client", channel, json!({"n": 1})).await?;
    ensure!(answer["successful"] == true, "{answer}");
    let message = client.message("client", channel, json!({"n": 1})).await?;
    ensure!(message["channel"] == channel, "{message}");
    Ok(())
}

/// What arrived on a channel, as the numbers in it.
async fn numbers(client: &Agent, name: &str, channel: &str) -> anyhow::Result<Vec<u64>> {
    let order = json!({"client": name, "channel": channel});
    let received = client.order("received", order).await?;
    Ok((received.as_array().into_iter().flatten())
        .filter_map(|message| message["data"]["n"].as_u64())
        .collect())
}

async fn sessions(node: &Node, wanted: usize) -> anyhow::Result<()> {
    let what = format!("{wanted} sessions");
    eventually(&what, Duration::from_secs(20), async || {
        let sessions = node.engine().session_count();
        ensure!(sessions == wanted, "there are {sessions}");
        Ok(())
    })
    .await
    .map(drop)
}

/// Stops some messages, and everything that is about `/vetoed`.
struct Veto(&'static [&'static str]);

impl Extension for Veto {
    fn incoming(
        &self,
        _: Option<&Arc<Session>>,
        message: &Message<'_>,
        _: &mut Reply<'_>,
        _: Millis,
    ) -> Flow {
        let channel = message.channel().as_str();
        let about = message.field("subscription") == Some("\"/vetoed\"");
        if about || channel == "/vetoed" || self.0.contains(&channel) {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
}

/// What an extension of the node stops has failed for the client, which goes on as before.
async fn vetoes(start: Start, transport: &str) -> anyhow::Result<()> {
    let node = builder().extension(Veto(&["/meta/unsubscribe"]));
    let node = node.start().await?;
    let client = start()?;
    client
        .connect("client", node.client_url(), transport, None)
        .await?;
    let deleted = json!({"successful": false, "error": "404::message_deleted"});
    let about = |channel: &str| json!({"client": "client", "channel": channel});
    let answer = client.order("subscribe", about("/vetoed")).await?;
    ensure!(answer == deleted, "subscribe: {answer}");
    let answer = client.publish("client", "/vetoed", json!({"n": 1})).await?;
    ensure!(answer == deleted, "publish: {answer}");
    client.subscribe("client", "/a").await?;
    let answer = client.order("unsubscribe", about("/a")).await?;
    ensure!(answer == deleted, "unsubscribe: {answer}");
    talks(&client, "/b").await?;
    let order = json!({"client": "client", "handshakes": 1, "ms": 1000});
    let now = client.order("handshakes", order).await?;
    ensure!(now["handshakes"] == 1, "another session: {now}");
    Ok(())
}

/// Delivers to every session as it begins.
struct Greeter(NodeHandle);

impl SessionListener for Greeter {
    fn added(&self, session: &Arc<Session>) {
        let (Some(engine), Ok(channel)) = (self.0.engine(), ChannelName::parse("/service/user"))
        else {
            return;
        };
        for text in [r#"{"n":1}"#, r#"{"n":2}"#] {
            if let Ok(data) = Json::validate(text, 8) {
                engine.deliver_to(session, &Publication::new(&channel, data));
            }
        }
    }
}

/// Reference 5.5 `x-messages`: what is delivered while a client shakes hands arrives, once and in order, before its first connect. (Not for Java's client:
/// it counts the messages only once the thread that has sent the handshake is done with it, and where the reply is faster it waits for ever.)
async fn greeting(start: Start, transport: &str) -> anyhow::Result<()> {
    let builder = builder().set("session.allowMessageDeliveryDuringHandshake", true);
    let greeter = Greeter(builder.handle());
    let node = builder.session_listener(greeter).start().await?;
    let client = start()?;
    for (name, extensions) in [("plain", json!([])), ("acknowledging", json!(["Ack"]))] {
        let order = json!({"client": name, "url": node.client_url(), "transport": transport, "extensions": extensions});
        client.order("connect", order).await?;
        client
            .message(name, "/service/user", json!({"n": 2}))
            .await?;
        // Something behind it, so that a repetition would be here as well.
        client.subscribe(name, "/a").await?;
        client.publish(name, "/a", json!({"n": 3})).await?;
        client.message(name, "/a", json!({"n": 3})).await?;
        let greeted = numbers(&client, name, "/service/user").await?;
        ensure!(greeted == [1, 2], "{name}: {greeted:?}");
    }
    Ok(())
}

/// `broadcastToPublisher` of one session: it gets what others publish, and not what it publishes itself.
async fn own_messages(start: Start, transport: &str) -> anyhow::Result<()> {
    let begun = AtomicUsize::new(0);
    let builder = builder();
    let handle = builder.handle();
    let node = builder
        .on_session_added(move |session| {
            if let (0, Some(engine)) = (begun.fetch_add(1, Ordering::Relaxed), handle.engine()) {
                engine.set_session_broadcast_to_publisher(session, Some(false));
            }
        })
        .start()
        .await?;
    // Over HTTP, clients in one process would be tabs of one browser.
    let (quiet, other) = (start()?, start()?);
    for (client, name) in [(&quiet, "quiet"), (&other, "other")] {
        client
            .connect(name, node.client_url(), transport, None)
            .await?;
        client.subscribe(name, "/a").await?;
    }
    for (client, name, n) in [(&quiet, "quiet", 1), (&other, "other", 2)] {
        let answer = client.publish(name, "/a", json!({"n": n})).await?;
        ensure!(answer["successful"] == true, "{answer}");
    }
    for (client, name, expected) in [(&quiet, "quiet", &[2][..]), (&other, "other", &[1, 2])] {
        client.message(name, "/a", json!({"n": 2})).await?;
        let received = numbers(client, name, "/a").await?;
        ensure!(received == expected, "{name}: {received:?}");
    }
    Ok(())
}

/// `metaConnectDeliverOnly` of one session: its messages come together with the reply to a connect, where another gets its own with the reply to
/// its publish.
async fn connect_only(start: Start, transport: &str) -> anyhow::Result<()> {
    let begun = AtomicUsize::new(0);
    let node = builder()
        .on_session_added(move |session| {
            if begun.fetch_add(1, Ordering::Relaxed) == 0 {
                session.set_meta_connect_deliver_only(true);
            }
        })
        .start()
        .await?;
    let (only, other) = (start()?, start()?);
    for (client, name, set) in [(&only, "only", true), (&other, "other", false)] {
        client
            .connect(name, node.client_url(), transport, None)
            .await?;
        client.subscribe(name, "/a").await?;
        for n in 0..3 {
            let answer = client.publish(name, "/a", json!({"n": n})).await?;
            ensure!(answer["successful"] == true, "{answer}");
        }
        client.message(name, "/a", json!({"n": 2})).await?;
        let frames: Vec<Vec<String>> =
            serde_json::from_value(client.order("frames", json!({})).await?)?;
        let with_events: Vec<_> = (frames.iter())
            .filter(|frame| frame.iter().any(|entry| entry == "event /a"))
            .collect();
        ensure!(!with_events.is_empty(), "{name}: {frames:?}");
        for frame in with_events {
            let with_connect = frame.iter().any(|entry| entry == "/meta/connect");
            ensure!(with_connect == set, "{name}: {frames:?}");
        }
    }
    Ok(())
}

/// A client that disconnects in the middle of something is disconnected, stays away, and leaves nothing behind.
async fn leave(start: Start, transport: &str) -> anyhow::Result<()> {
    let node = builder()
        .set("session.timeout", 2000)
        .set("session.maxInterval", 1000)
        .start()
        .await?;
    let client = start()?;
    for moment in ["at once", "handshake", "connect", "subscribed", "message"] {
        let order = json!({"client": moment, "url": node.client_url(), "transport": transport, "moment": moment, "ms": 20_000});
        let end = client
            .order("leave", order)
            .await
            .with_context(|| moment.to_owned())?;
        ensure!(end["status"] == "disconnected", "{moment}: {end}");
        // One that left before it knew its session cannot name it: that one expires.
        sessions(&node, 0)
            .await
            .with_context(|| moment.to_owned())?;
        let order = json!({"client": moment, "ms": 1000});
        let still = client.order("disconnected", order).await?;
        let handshakes = still["handshakes"].as_u64();
        ensure!(handshakes <= Some(1), "{moment}: it came back: {still}");
    }
    Ok(())
}

/// The node refuses the disconnect, or cannot be reached any more: the client is told of the failure and has left all the same.
async fn not_let_go(start: Start, transport: &str) -> anyhow::Result<()> {
    let node = builder()
        .set("session.timeout", 2000)
        .set("session.maxInterval", 1000)
        .extension(Veto(&["/meta/disconnect"]))
        .start()
        .await?;
    let mut cable = Cable::plugged(node.client_address()).await?;
    let client = start()?;
    for (name, reached) in [("refused", true), ("cut off", false)] {
        client.connect(name, &cable.url(), transport, None).await?;
        if !reached {
            cable.unplug().await;
        }
        let answer = client.order("disconnect", json!({"client": name})).await?;
        ensure!(answer["successful"] == false, "{name}: {answer}");
        let order = json!({"client": name, "ms": 10_000});
        client.order("disconnected", order).await?;
        sessions(&node, 0).await?;
    }
    Ok(())
}

/// A publication beyond `session.maxMessageSize` fails (413, or close 1009); the client goes on, over WebSocket after connecting again.
async fn too_much(start: Start, transport: &str) -> anyhow::Result<()> {
    let node = builder()
        .set("session.maxMessageSize", 4000)
        .start()
        .await?;
    let client = start()?;
    client
        .connect("client", node.client_url(), transport, None)
        .await?;
    let data = json!({"text": "x".repeat(10_000)});
    let answer = client.publish("client", "/a", data).await?;
    ensure!(answer["successful"] == false, "{answer}");
    eventually("it goes on", Duration::from_secs(20), async || {
        let answer = client.publish("client", "/a", json!({"n": 1})).await?;
        ensure!(answer["successful"] == true, "{answer}");
        Ok(())
    })
    .await?;
    talks(&client, "/b").await?;
    let order = json!({"client": "client", "handshakes": 1, "ms": 1000});
    let now = client.order("handshakes", order).await?;
    ensure!(now["handshakes"] == 1, "another session: {now}");
    Ok(())
}

/// The Bayeux endpoint is the root, and over HTTP what a client appends to it.
async fn root(start: Start, transport: &str) -> anyhow::Result<()> {
    let node = builder().set("client.path", "/").start().await?;
    let client = start()?;
    let url = node.client_url();
    ensure!(
        url.ends_with(&format!("{}/", node.client_address())),
        "{url}"
    );
    client.connect("client", url, transport, None).await?;
    talks(&client, "/a").await
}

async fn ipv6(start: Start, transport: &str) -> anyhow::Result<()> {
    let node = builder().set("client.listen", "[::1]:0").start().await?;
    let client = start()?;
    let url = node.client_url();
    ensure!(url.starts_with("http://[::1]:"), "{url}");
    client.connect("client", url, transport, None).await?;
    talks(&client, "/a").await
}

/// A client that is there before its node tries until it finds it. (The JavaScript client without a second transport gives up.)
async fn late_node(start: Start, transport: &str) -> anyhow::Result<()> {
    let address: SocketAddr = ports::free_address();
    let client = start()?;
    let url = format!("http://{address}/cometd");
    let node = async {
        // Its process may not have made it yet.
        eventually("a vain attempt", Duration::from_secs(20), async || {
            let failed = json!({"client": "client", "ms": 20_000});
            client.order("failed_handshake", failed).await
        })
        .await?;
        let node = builder().set("client.listen", address.to_string());
        anyhow::Ok(node.start().await?)
    };
    let connected = client.connect("client", &url, transport, None);
    let (id, _node) = tokio::try_join!(connected, node)?;
    ensure!(!id.is_empty(), "no session");
    talks(&client, "/a").await
}

/// The type of the message in the path, as `CometD` appends it, and a path without.
#[tokio::test(flavor = "multi_thread")]
async fn cometd_9_with_and_without_the_type_in_its_path() -> anyhow::Result<()> {
    let _turn = turn().await;
    let node = builder().start().await?;
    let client = Agent::browser()?;
    for (type_in_path, path) in [(true, "/cometd/connect"), (false, "/cometd")] {
        let order = json!({"client": "client", "url": node.client_url(), "transport": "long-polling", "typeInPath": type_in_path});
        client.order("connect", order).await?;
        talks(&client, &format!("/{type_in_path}")).await?;
        client
            .order("disconnect", json!({"client": "client"}))
            .await?;
        let paths: Vec<String> = serde_json::from_value(client.order("paths", json!({})).await?)?;
        let seen = |wanted: &str| paths.iter().any(|path| path == wanted);
        ensure!(
            seen(path) && seen("/cometd/connect") == type_in_path,
            "{type_in_path}: {paths:?}"
        );
    }
    Ok(())
}
