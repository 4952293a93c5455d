//! Who is in a room, told to stock clients by three real nodes.

use std::time::Duration;

use anyhow::ensure;
use halley_tests::agent::Agent;
use halley_tests::cluster_of_processes::ClusterOfProcesses;
use halley_tests::patience::eventually;
use halley_tests::turn::turn;
use serde_json::{Value, json};

const ROOM: &str = "/chat/lobby";
const PRESENCE: &str = "/halley/presence/chat/lobby";

async fn cluster(grace_ms: u64) -> anyhow::Result<ClusterOfProcesses> {
    ClusterOfProcesses::start_with(3, |node| {
        node.presence_more = "rooms = [\"/chat/*\"]".to_owned();
        node.seti_more = format!("grace_ms = {grace_ms}");
    })
    .await
}

async fn comes(browser: &Agent, client: &str, url: &str, user: &str) -> anyhow::Result<()> {
    browser
        .connect(client, url, "websocket", Some(user))
        .await?;
    browser.subscribe(client, ROOM).await
}

/// What a client was told, as `roster [...]`, `join x`, `leave x`.
async fn told(browser: &Agent, client: &str) -> anyhow::Result<Vec<String>> {
    let order = json!({"client": client, "channel": PRESENCE});
    let messages = browser.order("received", order).await?;
    let messages = messages.as_array().cloned().unwrap_or_default();
    Ok(messages
        .iter()
        .map(|message| {
            let data = &message["data"];
            match data["type"].as_str() {
                Some("roster") => {
                    let users = data["users"].as_array().into_iter().flatten();
                    let names: Vec<_> = users.filter_map(|user| user["user"].as_str()).collect();
                    format!("roster {}", names.join(" "))
                }
                kind => format!(
                    "{} {}",
                    kind.unwrap_or("?"),
                    data["user"].as_str().unwrap_or("?")
                ),
            }
        })
        .collect())
}

async fn tells(browser: &Agent, client: &str, expected: &[&str]) -> anyhow::Result<()> {
    eventually("the room's presence", Duration::from_secs(10), async || {
        let told = told(browser, client).await?;
        ensure!(told == expected, "{client} was told {told:?}");
        Ok(())
    })
    .await?;
    Ok(())
}

async fn event(browser: &Agent, client: &str, data: Value) -> anyhow::Result<()> {
    browser.message(client, PRESENCE, data).await.map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_room_tells_who_is_in_it_on_all_nodes() -> anyhow::Result<()> {
    let _turn = turn().await;
    let mut cluster = cluster(0).await?;
    let (watcher, people) = (Agent::browser()?, Agent::browser()?);
    let urls = [cluster.url(0), cluster.url(1), cluster.url(2)];
    comes(&people, "ann-1", &urls[0], "ann").await?;
    watcher
        .connect("watcher", &urls[1], "websocket", None)
        .await?;
    // A subscription that was confirmed on the first node may be told to the second one a moment later.
    watcher.subscribe("watcher", PRESENCE).await?;
    eventually("ann", Duration::from_secs(5), async || {
        let told = told(&watcher, "watcher").await?;
        let known = told == ["roster ann"] || told == ["roster ", "join ann"];
        ensure!(known, "{told:?}");
        Ok(())
    })
    .await?;
    watcher
        .order("forget", json!({"client": "watcher", "channel": PRESENCE}))
        .await?;

    // Several sessions of one user, on one node and on two: one join.
    comes(&people, "ann-2", &urls[0], "ann").await?;
    comes(&people, "ann-3", &urls[2], "ann").await?;
    comes(&people, "ben", &urls[2], "ben").await?;
    event(
        &watcher,
        "watcher",
        json!({"type": "join", "user": "ben", "room": ROOM}),
    )
    .await?;
    // Neither another room, nor a wildcard, nor a session without a user counts.
    people
        .connect("eve", &urls[0], "websocket", Some("eve"))
        .await?;
    people.subscribe("eve", "/chat/other").await?;
    people.subscribe("eve", "/chat/*").await?;
    people
        .connect("nobody", &urls[0], "websocket", None)
        .await?;
    people.subscribe("nobody", ROOM).await?;

    // One leave, when the last is gone.
    for client in ["ann-1", "ann-3"] {
        let order = json!({"client": client, "channel": ROOM});
        people.order("unsubscribe", order).await?;
    }
    people
        .order("disconnect", json!({"client": "ann-2"}))
        .await?;
    tells(&watcher, "watcher", &["join ben", "leave ann"]).await?;

    // A node that is killed takes its people along.
    cluster.nodes[2].kill().await?;
    event(&watcher, "watcher", json!({"type": "leave", "user": "ben"})).await?;
    comes(&people, "cid", &urls[0], "cid").await?;
    tells(
        &watcher,
        "watcher",
        &["join ben", "leave ann", "leave ben", "join cid"],
    )
    .await?;
    // Who comes later is told the state of that moment, here that of the node which has told the watcher.
    watcher
        .connect("late", &urls[1], "long-polling", None)
        .await?;
    watcher.subscribe("late", PRESENCE).await?;
    tells(&watcher, "late", &["roster cid"]).await?;
    // Nobody but the nodes publishes there.
    let answer = people
        .publish("cid", PRESENCE, json!({"type": "join"}))
        .await?;
    ensure!(answer["successful"] == false, "{answer}");
    Ok(())
}

/// With a grace nobody sees a user go whose node was killed and who comes back elsewhere.
#[tokio::test(flavor = "multi_thread")]
async fn a_user_of_a_killed_node_who_comes_back_in_time_was_never_away() -> anyhow::Result<()> {
    let _turn = turn().await;
    let mut cluster = cluster(60_000).await?;
    let (watcher, people) = (Agent::browser()?, Agent::browser()?);
    watcher
        .connect("watcher", &cluster.url(1), "websocket", None)
        .await?;
    watcher.subscribe("watcher", PRESENCE).await?;
    comes(&people, "ann", &cluster.url(2), "ann").await?;
    tells(&watcher, "watcher", &["roster ", "join ann"]).await?;
    cluster.nodes[2].kill().await?;
    for node in &cluster.nodes[..2] {
        halley_tests::cluster_of_processes::members(node, 2, Duration::from_secs(10)).await?;
    }
    comes(&people, "ann-again", &cluster.url(0), "ann").await?;
    comes(&people, "ben", &cluster.url(0), "ben").await?;
    tells(&watcher, "watcher", &["roster ", "join ann", "join ben"]).await?;
    // On purpose is at once.
    people
        .order("disconnect", json!({"client": "ann-again"}))
        .await?;
    tells(
        &watcher,
        "watcher",
        &["roster ", "join ann", "join ben", "leave ann"],
    )
    .await
}
