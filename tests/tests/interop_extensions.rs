//! Stock clients with their extensions, and what they do when a node refuses them, is gone for too long, or does not answer.

use std::time::Duration;

use anyhow::ensure;
use halley_tests::agent::Agent;
use halley_tests::cable::Cable;
use halley_tests::node_process::{NodeProcess, NodeSettings};
use halley_tests::patience::eventually;
use halley_tests::turn::turn;
use serde_json::{Value, json};

async fn node(settings: NodeSettings) -> anyhow::Result<NodeProcess> {
    let mut node = NodeProcess::start(settings)?;
    node.ready().await?;
    Ok(node)
}

macro_rules! over_both {
    ($($test:ident: $what:ident, $transport:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> anyhow::Result<()> {
            let _turn = turn().await;
            $what($transport).await
        }
    )*};
}

over_both! {
    a_page_is_reloaded_over_websocket: reload, "websocket";
    a_page_is_reloaded_over_long_polling: reload, "long-polling";
    a_page_is_reloaded_over_callback_polling: reload, "callback-polling";
    a_page_with_cometd_7_is_reloaded_over_websocket: reload_7, "websocket";
    a_page_with_cometd_3_is_reloaded_over_long_polling: reload_3, "long-polling";
    a_page_is_reloaded_after_a_restart_over_websocket: reload_after_restart, "websocket";
    a_page_is_reloaded_after_a_restart_over_long_polling: reload_after_restart, "long-polling";
    a_client_that_was_away_for_too_long_handshakes_over_websocket: handshake_reconnect, "websocket";
    a_client_that_was_away_for_too_long_handshakes_over_long_polling: handshake_reconnect, "long-polling";
    cometd_9_sends_bytes_over_websocket: binary, "websocket";
    cometd_9_sends_bytes_over_long_polling: binary, "long-polling";
    java_sends_bytes_over_websocket: java_binary, "websocket";
    java_sends_bytes_over_long_polling: java_binary, "long-polling";
    cometd_7_sends_bytes_over_websocket: binary_7, "websocket";
    cometd_3_sends_bytes_over_long_polling: binary_3, "long-polling";
    cometd_7_learns_the_time_over_websocket: timesync_7, "websocket";
    cometd_3_learns_the_time_over_long_polling: timesync_3, "long-polling";
    cometd_9_learns_the_time_over_websocket: timesync, "websocket";
    cometd_9_learns_the_time_over_long_polling: timesync, "long-polling";
    a_node_that_does_not_answer_in_time_over_websocket: freeze, "websocket";
    a_node_that_does_not_answer_in_time_over_long_polling: freeze, "long-polling";
    refused_publications_and_subscriptions_over_websocket: refusals, "websocket";
    refused_publications_and_subscriptions_over_long_polling: refusals, "long-polling";
    java_acknowledges_over_websocket: java_ack, "websocket";
    java_acknowledges_over_long_polling: java_ack, "long-polling";
}

/// Reference 8.6: the page after a reload goes on with the session of the page before, and misses nothing in between.
async fn reload(transport: &str) -> anyhow::Result<()> {
    reload_page(Agent::browser()?, transport).await
}

async fn reload_7(transport: &str) -> anyhow::Result<()> {
    reload_page(Agent::browser_with("cometd-7")?, transport).await
}

async fn reload_3(transport: &str) -> anyhow::Result<()> {
    reload_page(Agent::browser_with("cometd-3")?, transport).await
}

async fn reload_page(page: Agent, transport: &str) -> anyhow::Result<()> {
    let mut settings = NodeSettings::new("n1");
    settings.session = "[extensions]\ntimestamp = true".to_owned();
    let node = node(settings).await?;
    let url = node.settings.url();
    let publisher = Agent::browser()?;
    publisher
        .connect("publisher", &url, "websocket", None)
        .await?;
    let mut order = json!({"client": "page", "url": url, "transport": transport, "ack": true,
        "extensions": ["Reload", "TimeStamp"]});
    let before = page.order("connect", order.clone()).await?;
    ensure!(before["reloaded"] == false, "{before}");
    page.subscribe("page", "/r").await?;
    publisher
        .publish("publisher", "/r", json!({"n": 1}))
        .await?;
    page.message("page", "/r", json!({"n": 1})).await?;

    page.order("reload", json!({"client": "page"})).await?;
    publisher
        .publish("publisher", "/r", json!({"n": 2}))
        .await?;
    order["subscribe"] = json!(["/r"]);
    let after = page.order("connect", order).await?;
    ensure!(after["reloaded"] == true, "{after}");
    ensure!(after["id"] == before["id"], "another session: {after}");
    ensure!(after["transport"] == transport, "{after}");
    page.message("page", "/r", json!({"n": 2})).await?;
    publisher
        .publish("publisher", "/r", json!({"n": 3}))
        .await?;
    page.message("page", "/r", json!({"n": 3})).await?;
    let received = page
        .order("received", json!({"client": "page", "channel": "/r"}))
        .await?;
    // The page before may have gone before it could acknowledge the first.
    let numbers: Vec<u64> = (received.as_array().into_iter().flatten())
        .filter_map(|message| message["data"]["n"].as_u64())
        .filter(|n| *n > 1)
        .collect();
    ensure!(numbers == [2, 3], "{received}");
    let handshakes = node.metric("halley_handshakes_total").await?;
    ensure!(handshakes == 2.0, "{handshakes} handshakes");
    Ok(())
}

/// The node was started again between the page before and the page after: that one begins anew, by itself.
async fn reload_after_restart(transport: &str) -> anyhow::Result<()> {
    let mut node = node(NodeSettings::new("n1")).await?;
    let page = Agent::browser()?;
    let order = json!({"client": "page", "url": node.settings.url(), "transport": transport, "extensions": ["Reload"]});
    let before = page.order("connect", order.clone()).await?;
    page.order("reload", json!({"client": "page"})).await?;
    node.kill().await?;
    node.start_again()?;
    node.ready().await?;
    let after = page.order("connect", order).await?;
    ensure!(after["id"] != before["id"], "the session is gone: {after}");
    page.subscribe("page", "/r").await?;
    page.publish("page", "/r", json!({"n": 1})).await?;
    page.message("page", "/r", json!({"n": 1})).await?;
    Ok(())
}

/// With `maxInterval` in the advice a client knows that its session has expired, and does not ask for it first.
async fn handshake_reconnect(transport: &str) -> anyhow::Result<()> {
    let mut settings = NodeSettings::new("n1");
    settings.session = "handshakeReconnect = true\ntimeout = 500\nmaxInterval = 1000".to_owned();
    let node = node(settings).await?;
    let mut cable = Cable::plugged(node.settings.client).await?;
    let client = Agent::browser()?;
    let url = format!("http://{}/cometd", cable.address);
    client.connect("client", &url, transport, None).await?;
    cable.unplug().await;
    client
        .order(
            "failed_handshake",
            json!({"client": "client", "ms": 30_000}),
        )
        .await?;
    cable.plug().await?;
    let order = json!({"client": "client", "handshakes": 2, "ms": 30_000});
    client.order("handshakes", order).await?;
    let connects = client
        .order("connects", json!({"client": "client"}))
        .await?;
    let unknown = (connects.as_array().into_iter().flatten())
        .any(|connect| *connect == json!("402::session_unknown"));
    ensure!(!unknown, "it has asked for the expired session: {connects}");
    Ok(())
}

const BYTES: [u8; 6] = [0, 1, 2, 127, 128, 255];

async fn bytes_travel(start: fn() -> anyhow::Result<Agent>, transport: &str) -> anyhow::Result<()> {
    let node = node(NodeSettings::new("n1")).await?;
    let agents = [start()?, start()?];
    for (agent, name) in agents.iter().zip(["alice", "bob"]) {
        let order = json!({"client": name, "url": node.settings.url(), "transport": transport, "extensions": ["Binary"]});
        agent.order("connect", order).await?;
    }
    let [alice, bob] = &agents;
    bob.subscribe("bob", "/pictures").await?;
    let order = json!({"client": "alice", "channel": "/pictures", "bytes": BYTES});
    let answer = alice.order("publish_binary", order).await?;
    ensure!(answer["successful"] == true, "{answer}");
    let order = json!({"client": "bob", "channel": "/pictures", "ms": 10_000});
    let arrived = bob.order("bytes", order).await?;
    ensure!(
        arrived == json!({"bytes": BYTES, "last": true, "meta": {"name": "picture"}}),
        "{arrived}"
    );
    Ok(())
}

async fn binary(transport: &str) -> anyhow::Result<()> {
    bytes_travel(Agent::browser, transport).await
}

async fn binary_7(transport: &str) -> anyhow::Result<()> {
    bytes_travel(|| Agent::browser_with("cometd-7"), transport).await
}

async fn binary_3(transport: &str) -> anyhow::Result<()> {
    bytes_travel(|| Agent::browser_with("cometd-3"), transport).await
}

async fn java_binary(transport: &str) -> anyhow::Result<()> {
    bytes_travel(Agent::java, transport).await
}

/// Both have the same clock here.
async fn timesync(transport: &str) -> anyhow::Result<()> {
    learn_the_time(Agent::browser()?, transport).await
}

async fn timesync_7(transport: &str) -> anyhow::Result<()> {
    learn_the_time(Agent::browser_with("cometd-7")?, transport).await
}

async fn timesync_3(transport: &str) -> anyhow::Result<()> {
    learn_the_time(Agent::browser_with("cometd-3")?, transport).await
}

async fn learn_the_time(client: Agent, transport: &str) -> anyhow::Result<()> {
    let node = node(NodeSettings::new("n1")).await?;
    let order = json!({"client": "client", "url": node.settings.url(), "transport": transport, "extensions": ["TimeSync"]});
    client.order("connect", order).await?;
    client.subscribe("client", "/a").await?;
    let clock = client.order("clock", json!({"client": "client"})).await?;
    let figure = |name: &str| clock[name].as_f64().unwrap_or(f64::NAN);
    let answered = |name: &str| clock["answer"][name].is_number();
    ensure!(answered("tc") && answered("ts") && answered("p"), "{clock}");
    ensure!(figure("offset").abs() < 1_000.0, "{clock}");
    ensure!((0.0..1_000.0).contains(&figure("lag")), "{clock}");
    Ok(())
}

/// What is not answered within `maxNetworkDelay` fails, and the client goes on in its session when the node answers again.
async fn freeze(transport: &str) -> anyhow::Result<()> {
    let mut settings = NodeSettings::new("n1");
    // A node that was suspended for longer than this begins anew, and ends its sessions. On a busy machine the client's second takes several.
    settings.discovery = Some("discovery = [\"static\"]\ndetection_ms = 60000\n".to_owned());
    let node = node(settings).await?;
    let client = Agent::browser()?;
    let order = json!({"client": "client", "url": node.settings.url(), "transport": transport, "maxNetworkDelay": 1000});
    client.order("connect", order).await?;
    client.subscribe("client", "/a").await?;
    node.signal("STOP").await?;
    let answer = client.publish("client", "/a", json!({"n": 1})).await;
    node.signal("CONT").await?;
    let answer = answer?;
    ensure!(answer["successful"] == false, "{answer}");
    eventually(
        "a publication succeeds",
        Duration::from_secs(20),
        async || {
            let answer = client.publish("client", "/a", json!({"n": 2})).await?;
            ensure!(answer["successful"] == true, "{answer}");
            Ok(())
        },
    )
    .await?;
    client.message("client", "/a", json!({"n": 2})).await?;
    let order = json!({"client": "client", "handshakes": 1, "ms": 1000});
    let now = client.order("handshakes", order).await?;
    ensure!(now["handshakes"] == 1, "another session: {now}");
    Ok(())
}

async fn refusals(transport: &str) -> anyhow::Result<()> {
    let mut settings = NodeSettings::new("n1");
    settings.session =
        "[[security.channels]]\npattern = \"/open/**\"\nsubscribe = [\"*\"]\npublish = [\"*\"]\n\
        [[security.channels]]\npattern = \"/read/*\"\nsubscribe = [\"*\"]\n"
            .to_owned();
    let node = node(settings).await?;
    let client = Agent::browser()?;
    client
        .connect("client", &node.settings.url(), transport, None)
        .await?;
    let refused = |answer: &Value, what: &str| {
        answer["successful"] == false
            && answer["error"] == format!("403:denied_by_security_policy:{what}_denied")
    };
    let order = json!({"client": "client", "channel": "/closed"});
    let answer = client.order("subscribe", order).await?;
    ensure!(refused(&answer, "create"), "{answer}");
    client.subscribe("client", "/read/a").await?;
    let answer = client.publish("client", "/read/a", json!({"n": 1})).await?;
    ensure!(refused(&answer, "publish"), "{answer}");
    // It is as well as before.
    client.subscribe("client", "/open/a").await?;
    let answer = client.publish("client", "/open/a", json!({"n": 2})).await?;
    ensure!(answer["successful"] == true, "{answer}");
    client.message("client", "/open/a", json!({"n": 2})).await?;
    let order = json!({"client": "client", "channel": "/read/a"});
    let answer = client.order("unsubscribe", order).await?;
    ensure!(answer["successful"] == true, "{answer}");
    Ok(())
}

/// Java's client with its ack extension: nothing is lost when its connections are cut.
async fn java_ack(transport: &str) -> anyhow::Result<()> {
    let node = node(NodeSettings::new("n1")).await?;
    let mut cable = Cable::plugged(node.settings.client).await?;
    let (alice, bob) = (Agent::java()?, Agent::java()?);
    let url = node.settings.url();
    alice.connect("alice", &url, transport, None).await?;
    let url = format!("http://{}/cometd", cable.address);
    let order = json!({"client": "bob", "url": url, "transport": transport, "extensions": ["Ack"]});
    bob.order("connect", order).await?;
    bob.subscribe("bob", "/a").await?;
    let mut expected = Vec::new();
    for round in 0..5 {
        for number in 0..10 {
            let n = round * 10 + number;
            expected.push(n);
            // In the middle of a round, and unnoticed by the node at first.
            if number == 5 {
                cable.unplug().await;
            }
            let answer = alice.publish("alice", "/a", json!({"n": n})).await?;
            ensure!(answer["successful"] == true, "{answer}");
        }
        cable.plug().await?;
        let last = json!({"n": round * 10 + 9});
        bob.message("bob", "/a", last).await?;
    }
    let order = json!({"client": "bob", "channel": "/a"});
    let received = bob.order("received", order).await?;
    let numbers: Vec<u64> = (received.as_array().into_iter().flatten())
        .filter_map(|message| message["data"]["n"].as_u64())
        .collect();
    ensure!(numbers == expected, "{numbers:?}");
    let order = json!({"client": "bob", "handshakes": 1, "ms": 1000});
    let now = bob.order("handshakes", order).await?;
    ensure!(now["handshakes"] == 1, "another session: {now}");
    Ok(())
}

/// Reference 3.1 with the real client: it gets a WebSocket by the right sub-protocol, and falls back to long-polling without.
#[tokio::test(flavor = "multi_thread")]
async fn cometd_9_falls_back_where_its_websocket_is_refused() -> anyhow::Result<()> {
    let _turn = turn().await;
    let mut settings = NodeSettings::new("n1");
    settings.client_more = "subprotocol = \"bayeux\"".to_owned();
    let node = node(settings).await?;
    for (protocol, transport) in [
        (json!("bayeux"), "websocket"),
        (Value::Null, "long-polling"),
        (json!("another"), "long-polling"),
    ] {
        let client = Agent::browser()?;
        let order = json!({"client": "client", "url": node.settings.url(), "transports": ["websocket", "long-polling"], "protocol": protocol});
        let connected = client.order("connect", order).await?;
        ensure!(
            connected["transport"] == transport,
            "{protocol}: {connected}"
        );
        client.subscribe("client", "/a").await?;
        client.publish("client", "/a", json!({"n": 1})).await?;
        client.message("client", "/a", json!({"n": 1})).await?;
    }
    Ok(())
}
