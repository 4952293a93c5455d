//! Nodes that form a cluster over loopback, each with its own sockets, in one process.

mod support;

use halley::Node;
use serde_json::{Value, json};
use support::{Poller, Ws, eventually, metric_becomes, node, request};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// A node of the cluster that the others, if any, belong to.
async fn member(name: &str, others: &[&Node]) -> Node {
    let siblings: Vec<String> = others
        .iter()
        .map(|node| node.mesh_address().expect("clustered").to_string())
        .collect();
    node(&format!(
        "[node]\nname = {name:?}\n[mesh]\nlisten = \"127.0.0.1:0\"\nsecret = \"{SECRET}\"\nsiblings = {siblings:?}\n\
         join_wait_ms = 300\nheartbeat_ms = 100\ndetection_ms = 1000\n\
         [seti]\ntrust_handshake_user = true\ndirect = true\n[presence]\nenabled = true\nnodes = true"
    ))
    .await
}

async fn user(node: &Node, name: &str) -> Ws {
    Ws::joined_with(node.client_address(), json!({ "halley": { "user": name } })).await
}

async fn event(client: &mut Ws, channel: &str, kind: &str) -> Value {
    loop {
        let message = client.next().await;
        if message["channel"] == channel && message["data"]["type"] == kind {
            return message["data"].clone();
        }
    }
}

/// Publishes until the reader gets it: interest travels between nodes, and nothing says when it has arrived.
async fn reaches(writer: &mut Ws, reader: &mut Ws, channel: &str) {
    let mut n = 0;
    loop {
        n += 1;
        writer.publish(channel, json!(n)).await;
        let waited = std::time::Duration::from_millis(100);
        if let Ok(message) = tokio::time::timeout(waited, reader.next()).await
            && message["channel"] == channel
        {
            return;
        }
        assert!(n < 200, "nothing reaches the other node");
    }
}

#[tokio::test]
async fn two_nodes_are_one_service() {
    let one = member("one", &[]).await;
    let two = member("two", &[&one]).await;
    metric_becomes(&one, "halley_members", 2.0).await;
    metric_becomes(&two, "halley_members", 2.0).await;
    metric_becomes(&one, "halley_link_up{sibling=\"two\"}", 1.0).await;

    let mut alice = user(&one, "alice").await;
    let mut bob = user(&two, "bob").await;
    bob.subscribe("/chat/**").await;
    reaches(&mut alice, &mut bob, "/chat/room").await;

    // Direct messages, as soon as the directory knows.
    eventually("alice's node knows where bob is", async || {
        let reply = alice
            .publish("/service/user", json!({ "to": "bob", "data": "psst" }))
            .await;
        (reply["successful"] == true).then_some(())
    })
    .await;
    loop {
        let message = bob.next().await;
        if message["channel"] == "/service/user" {
            assert_eq!(
                message["data"],
                json!({ "from": "alice", "to": "bob", "data": "psst" })
            );
            break;
        }
    }

    // Presence and nodes.
    alice.subscribe("/halley/presence").await;
    let roster = event(&mut alice, "/halley/presence", "roster").await;
    assert_eq!(
        roster["users"],
        json!([{ "user": "alice", "nodes": ["one"] }, { "user": "bob", "nodes": ["two"] }])
    );
    alice.subscribe("/halley/cluster").await;
    loop {
        let nodes = event(&mut alice, "/halley/cluster", "nodes").await;
        let names: Vec<_> = nodes["nodes"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|node| &node["name"])
            .collect();
        if names == ["one", "two"] && nodes["nodes"][1]["users"] == 1 {
            assert_eq!(
                nodes["nodes"][1]["url"],
                format!("http://{}/cometd", two.client_address())
            );
            break;
        }
    }

    // A drain tells everybody: the sessions, and the sibling.
    let (code, ()) = tokio::join!(bob.close_code(), two.drain());
    assert_eq!(code, 1001);
    let left = event(&mut alice, "/halley/presence", "leave").await;
    assert_eq!(
        left,
        json!({ "type": "leave", "user": "bob", "node": "two" })
    );
    metric_becomes(&one, "halley_members", 1.0).await;
    alice.proves_itself("alone again").await;
}

#[tokio::test]
async fn a_publish_is_delivered_once_whatever_the_subscriptions() {
    let one = member("one", &[]).await;
    let two = member("two", &[&one]).await;
    let three = member("three", &[&one, &two]).await;
    for node in [&one, &two, &three] {
        metric_becomes(node, "halley_members", 3.0).await;
    }
    let mut reader = Ws::joined(three.client_address()).await;
    for pattern in ["/a/b", "/a/*", "/a/**", "/**"] {
        reader.subscribe(pattern).await;
    }
    let mut writer = Poller::joined(one.client_address()).await;
    let mut ws = Ws::joined(one.client_address()).await;
    reaches(&mut ws, &mut reader, "/a/b").await;
    for n in 0..50 {
        writer.publish("/a/b", json!({ "n": n })).await;
    }
    let mut expected = 0;
    while expected < 50 {
        let message = reader.next().await;
        if let Some(n) = message["data"].get("n") {
            assert_eq!(*n, expected, "once, and in order");
            expected += 1;
        }
    }
}

#[tokio::test]
async fn a_second_node_of_one_name_is_not_ready() {
    let one = member("same", &[]).await;
    let two = member("same", &[&one]).await;
    eventually("a name conflict", async || {
        for node in [&one, &two] {
            let answer = request(node.admin_address(), "GET", "/readyz", &[], b"").await;
            if answer.status == 503 {
                assert_eq!(answer.json()["reasons"][0]["reason"], "name_conflict");
                return Some(());
            }
        }
        None
    })
    .await;
}

#[tokio::test]
async fn a_node_that_runs_alone_is_its_only_member() {
    let node = node("").await;
    assert_eq!(node.mesh_address(), None);
    metric_becomes(&node, "halley_members", 1.0).await;
}
