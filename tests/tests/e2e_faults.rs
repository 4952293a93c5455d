//! Nodes that die, come back, or freeze.

use std::time::Duration;

use anyhow::{Context, ensure};
use halley_tests::agent::Agent;
use halley_tests::cluster_of_processes::{ClusterOfProcesses, members};
use halley_tests::patience::patience;
use halley_tests::turn::turn;
use serde_json::{Value, json};
use tokio::time::Instant;

/// Siblings must know of a death within this time.
const DETECTION: Duration = Duration::from_secs(5);
/// A node that was started again must be a member within this time of being ready.
const REJOIN: Duration = Duration::from_secs(3);

async fn watcher(url: &str) -> anyhow::Result<Agent> {
    let browser = Agent::browser()?;
    browser
        .connect("watcher", url, "websocket", Some("watcher"))
        .await?;
    browser.subscribe("watcher", "/halley/presence").await?;
    browser.subscribe("watcher", "/halley/cluster").await?;
    Ok(browser)
}

fn incarnation(panel: &Value, name: &str) -> anyhow::Result<Value> {
    let nodes = panel["nodes"].as_array().context("no nodes")?;
    let node = nodes
        .iter()
        .find(|node| node["name"] == name)
        .context("not there")?;
    Ok(node["incarnation"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_node_is_forgotten_and_comes_back_as_another() -> anyhow::Result<()> {
    let _turn = turn().await;
    let mut cluster = ClusterOfProcesses::start(3).await?;
    let (on_n2, on_n3) = (
        watcher(&cluster.url(1)).await?,
        watcher(&cluster.url(2)).await?,
    );
    let victims = Agent::browser()?;
    for user in ["ann", "ben"] {
        victims
            .connect(user, &cluster.url(0), "websocket", Some(user))
            .await?;
    }
    let everybody = json!({"ann": ["n1"], "ben": ["n1"], "watcher": ["n2", "n3"]});
    for browser in [&on_n2, &on_n3] {
        browser
            .presence("watcher", everybody.clone(), Duration::from_secs(5))
            .await?;
    }
    let before = on_n2
        .nodes("watcher", &["n1", "n2", "n3"], Duration::from_secs(5))
        .await?;

    let killed = Instant::now();
    cluster.nodes[0].kill().await?;
    for browser in [&on_n2, &on_n3] {
        browser
            .presence("watcher", json!({"watcher": ["n2", "n3"]}), DETECTION)
            .await?;
        browser.nodes("watcher", &["n2", "n3"], DETECTION).await?;
    }
    for node in &cluster.nodes[1..] {
        members(node, 2, DETECTION).await?;
        ensure!(
            node.metric("halley_link_up{sibling=\"n1\"}")
                .await
                .unwrap_or(0.0)
                == 0.0,
            "the link to n1 is still up"
        );
    }
    let took = killed.elapsed();
    println!(
        "the death of n1 was known to all after {} ms",
        took.as_millis()
    );
    ensure!(
        took < patience(DETECTION),
        "detection took {} ms",
        took.as_millis()
    );

    cluster.nodes[0].start_again()?;
    cluster.nodes[0].ready().await?;
    let ready = Instant::now();
    for node in &cluster.nodes {
        members(node, 3, REJOIN).await?;
    }
    let after = on_n2.nodes("watcher", &["n1", "n2", "n3"], REJOIN).await?;
    ensure!(
        ready.elapsed() < patience(REJOIN),
        "rejoining took {} ms",
        ready.elapsed().as_millis()
    );
    ensure!(
        incarnation(&before, "n1")? != incarnation(&after, "n1")?,
        "n1 came back with its old incarnation"
    );
    ensure!(
        incarnation(&before, "n3")? == incarnation(&after, "n3")?,
        "n3 never left"
    );
    // The clients of n1 reconnect by themselves, with new sessions, and are present again.
    for browser in [&on_n2, &on_n3] {
        browser
            .presence("watcher", everybody.clone(), Duration::from_secs(15))
            .await?;
    }
    Ok(())
}

/// A node that was frozen for longer than the detection time wakes up with clients and an idea of the cluster that are
/// both of the past. It must start over: its old users do not come back as ghosts.
#[tokio::test(flavor = "multi_thread")]
async fn a_frozen_node_never_brings_back_old_state() -> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(3).await?;
    let watcher = watcher(&cluster.url(1)).await?;
    let old = Agent::browser()?;
    old.connect("old", &cluster.url(0), "websocket", Some("old"))
        .await?;
    watcher
        .presence(
            "watcher",
            json!({"old": ["n1"], "watcher": ["n2"]}),
            Duration::from_secs(5),
        )
        .await?;
    let before = watcher
        .nodes("watcher", &["n1", "n2", "n3"], Duration::from_secs(5))
        .await?;

    let frozen = Instant::now();
    cluster.nodes[0].signal("STOP").await?;
    watcher
        .presence("watcher", json!({"watcher": ["n2"]}), DETECTION)
        .await?;
    watcher.nodes("watcher", &["n2", "n3"], DETECTION).await?;
    // The user's browser is closed while the node is frozen: the node cannot notice before it wakes.
    drop(old);
    tokio::time::sleep_until(frozen + Duration::from_secs(8)).await;
    watcher
        .order(
            "forget",
            json!({"client": "watcher", "channel": "/halley/presence"}),
        )
        .await?;
    cluster.nodes[0].signal("CONT").await?;

    for node in &cluster.nodes {
        members(node, 3, Duration::from_secs(10)).await?;
    }
    let after = watcher
        .nodes("watcher", &["n1", "n2", "n3"], Duration::from_secs(10))
        .await?;
    ensure!(
        incarnation(&before, "n1")? != incarnation(&after, "n1")?,
        "n1 woke with its old incarnation"
    );
    // A user who arrives on n1 afterwards is seen; whatever n1 had to say about the past was said before.
    let new = Agent::browser()?;
    new.connect("new", &cluster.url(0), "websocket", Some("new"))
        .await?;
    watcher
        .message(
            "watcher",
            "/halley/presence",
            json!({"type": "join", "user": "new", "node": "n1"}),
        )
        .await?;
    let events = watcher
        .order(
            "received",
            json!({"client": "watcher", "channel": "/halley/presence"}),
        )
        .await?;
    ensure!(!events.to_string().contains("\"old\""), "a ghost: {events}");
    Ok(())
}

/// SIGTERM: the clients are told, the siblings know at once, the exit status is 0.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_told_to_end_says_goodbye() -> anyhow::Result<()> {
    let _turn = turn().await;
    let mut cluster = ClusterOfProcesses::start(2).await?;
    let watcher = watcher(&cluster.url(1)).await?;
    let guest = Agent::browser()?;
    guest
        .connect("guest", &cluster.url(0), "websocket", Some("guest"))
        .await?;
    watcher
        .presence(
            "watcher",
            json!({"guest": ["n1"], "watcher": ["n2"]}),
            Duration::from_secs(5),
        )
        .await?;
    cluster.nodes[0].signal("TERM").await?;
    let status = cluster.nodes[0].ended(Duration::from_secs(10)).await?;
    ensure!(
        status.success(),
        "{status}; the log:\n{}",
        cluster.nodes[0].log()
    );
    watcher
        .presence(
            "watcher",
            json!({"watcher": ["n2"]}),
            Duration::from_secs(2),
        )
        .await?;
    watcher
        .nodes("watcher", &["n2"], Duration::from_secs(2))
        .await?;
    Ok(())
}
