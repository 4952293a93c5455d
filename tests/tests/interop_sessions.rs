//! Sessions of stock clients that the application ends, that a restart ends, or that cannot begin.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, ensure};
use halley_tests::admin;
use halley_tests::agent::Agent;
use halley_tests::node_process::{NodeProcess, NodeSettings};
use halley_tests::patience::eventually;
use halley_tests::ports;
use halley_tests::turn::turn;
use serde_json::{Value, json};
use tempfile::NamedTempFile;

const TOKEN: &str = "a-token-for-tests-longer-than-thirty-two-bytes";

macro_rules! clients {
    ($($test:ident: $what:ident, $client:expr, $transport:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> anyhow::Result<()> {
            let _turn = turn().await;
            $what($client?, $transport).await
        }
    )*};
}

clients! {
    cometd_9_is_disconnected_by_the_application_over_websocket: disconnected, Agent::browser(), "websocket";
    cometd_9_is_disconnected_by_the_application_over_long_polling: disconnected, Agent::browser(), "long-polling";
    cometd_9_outlives_a_restart_over_websocket: restart, Agent::browser(), "websocket";
    cometd_9_outlives_a_restart_over_long_polling: restart, Agent::browser(), "long-polling";
    java_outlives_a_restart_over_websocket: restart, Agent::java(), "websocket";
    java_outlives_a_restart_over_long_polling: restart, Agent::java(), "long-polling";
    cometd_9_sends_falsy_data_over_websocket: falsy, Agent::browser(), "websocket";
    cometd_9_sends_falsy_data_over_long_polling: falsy, Agent::browser(), "long-polling";
}

async fn node(settings: NodeSettings) -> anyhow::Result<NodeProcess> {
    let mut node = NodeProcess::start(settings)?;
    node.ready().await?;
    Ok(node)
}

/// `DELETE /v1/sessions/{session}`: the client is told to stay away, and does.
async fn disconnected(client: Agent, transport: &str) -> anyhow::Result<()> {
    let mut settings = NodeSettings::new("n1");
    let (api, mut token) = (ports::free_address(), NamedTempFile::new()?);
    token.write_all(TOKEN.as_bytes())?;
    let file = token.path().display();
    settings.session = format!(
        "[api]\nlisten = \"{api}\"\n[[api.tokens]]\nname = \"shop\"\ntoken_file = \"{file}\"\nroles = [\"read\", \"manage\"]\n"
    );
    let node = node(settings).await?;
    let url = node.settings.url();
    client.connect("client", &url, transport, None).await?;
    let (status, sessions) = admin::ask(api, "GET", "/v1/sessions", TOKEN).await?;
    ensure!(status == 200, "{status} {sessions}");
    let sessions: Value = serde_json::from_str(&sessions)?;
    // The node has sessions of its own, with a transport of their own.
    let listed = sessions["sessions"].as_array();
    let id = (listed.into_iter().flatten())
        .find(|session| session["transport"] == transport)
        .and_then(|session| session["session"].as_u64())
        .with_context(|| format!("no session in {sessions}"))?;
    // Over HTTP a client can only be told while its connect is held: in between it finds its session unknown, and makes a new one.
    if transport == "long-polling" {
        eventually("a held connect", Duration::from_secs(10), async || {
            let held = node.metric("halley_held_connects").await?;
            ensure!(held == 1.0, "{held} are held");
            Ok(())
        })
        .await?;
    }
    let path = format!("/v1/sessions/{id}");
    let (status, answer) = admin::ask(api, "DELETE", &path, TOKEN).await?;
    ensure!((200..300).contains(&status), "{status} {answer}");
    let order = json!({"client": "client", "ms": 10_000});
    let end = client.order("disconnected", order).await?;
    ensure!(end["handshakes"] == 1, "it has come back: {end}");
    let (status, answer) = admin::ask(api, "GET", &path, TOKEN).await?;
    ensure!(status == 404, "{status} {answer}");
    Ok(())
}

/// The node is killed and started again: the client makes a new session there, by itself.
async fn restart(client: Agent, transport: &str) -> anyhow::Result<()> {
    let mut node = node(NodeSettings::new("n1")).await?;
    let url = node.settings.url();
    client.connect("client", &url, transport, None).await?;
    node.kill().await?;
    node.start_again()?;
    node.ready().await?;
    let order = json!({"client": "client", "handshakes": 2, "ms": 30_000});
    client.order("handshakes", order).await?;
    client.subscribe("client", "/a").await?;
    let answer = client.publish("client", "/a", json!({"n": 1})).await?;
    ensure!(answer["successful"] == true, "{answer}");
    client.message("client", "/a", json!({"n": 1})).await?;
    Ok(())
}

/// Data that counts as false in JavaScript arrives like any other.
async fn falsy(client: Agent, transport: &str) -> anyhow::Result<()> {
    let node = node(NodeSettings::new("n1")).await?;
    let url = node.settings.url();
    client.connect("client", &url, transport, None).await?;
    client.subscribe("client", "/a").await?;
    let all = [json!(0), json!(false), json!(""), Value::Null, json!({})];
    for data in &all {
        let answer = client.publish("client", "/a", data.clone()).await?;
        ensure!(answer["successful"] == true, "{data}: {answer}");
    }
    client.message("client", "/a", json!({})).await?;
    let order = json!({"client": "client", "channel": "/a"});
    let received = client.order("received", order).await?;
    let data: Vec<&Value> = (received.as_array().into_iter().flatten())
        .map(|message| &message["data"])
        .collect();
    ensure!(data == all.iter().collect::<Vec<_>>(), "{received}");
    Ok(())
}

/// A client that offers no transport the node has is refused, learns what the node has, and does not try again.
#[tokio::test(flavor = "multi_thread")]
async fn cometd_9_without_a_common_transport_gives_up() -> anyhow::Result<()> {
    let _turn = turn().await;
    let mut settings = NodeSettings::new("n1");
    settings.session = "timeout = 500\nmaxInterval = 1000".to_owned();
    let node = node(settings).await?;
    let client = Agent::browser()?;
    let order = json!({"client": "client", "url": node.settings.url()});
    let refusal = client.order("pigeon", order).await?;
    ensure!(refusal["successful"] == false, "{refusal}");
    let reason = refusal["reason"].as_str().unwrap_or_default();
    ensure!(
        reason.starts_with("Could not negotiate transport, client=[pigeon], server=[websocket,"),
        "{refusal}"
    );
    let order = json!({"client": "client", "ms": 10_000});
    let end = client.order("disconnected", order).await?;
    ensure!(end["handshakes"] == 0, "{end}");
    // As CometD does, the node leaves the choice to the client; a session that nobody uses expires.
    eventually("no session", Duration::from_secs(10), async || {
        let sessions = node.metric("halley_sessions").await?;
        ensure!(sessions == 0.0, "{sessions} sessions");
        Ok(())
    })
    .await?;
    Ok(())
}
