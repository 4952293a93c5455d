//! The built-in services on a node that runs alone.

mod support;

use std::time::{Duration, Instant};

use halley::{EndReason, SessionId};
use serde_json::{Value, json};
use support::{Ws, node};

const ALL: &str =
    "[seti]\ntrust_handshake_user = true\ndirect = true\n[presence]\nenabled = true\nnodes = true";

async fn user(node: &halley::Node, name: &str) -> Ws {
    Ws::joined_with(node.client_address(), json!({ "halley": { "user": name } })).await
}

/// The next event on a channel that has this type; others are dropped.
async fn event(client: &mut Ws, channel: &str, kind: &str) -> Value {
    loop {
        let message = client.next().await;
        if message["channel"] == channel && message["data"]["type"] == kind {
            return message["data"].clone();
        }
    }
}

#[tokio::test]
async fn direct_messages_reach_all_sessions_of_a_user() {
    let node = node(ALL).await;
    let mut alice = user(&node, "alice").await;
    let mut bob = user(&node, "bob").await;
    let mut bob_too = user(&node, "bob").await;
    let reply = alice
        .publish(
            "/service/user",
            json!({ "to": "bob", "data": { "text": "hi", "n": 12345678901234567890_u64 } }),
        )
        .await;
    assert_eq!(reply["successful"], true, "{reply}");
    for client in [&mut bob, &mut bob_too] {
        let message = client.next().await;
        assert_eq!(message["channel"], "/service/user");
        assert_eq!(
            message["data"],
            json!({ "from": "alice", "to": "bob", "data": { "text": "hi", "n": 12345678901234567890_u64 } })
        );
    }
}

#[tokio::test]
async fn direct_messages_that_cannot_be_sent() {
    let node = node(ALL).await;
    let mut alice = user(&node, "alice").await;
    let mut nobody = Ws::joined(node.client_address()).await;
    let reply = alice
        .publish("/service/user", json!({ "to": "bob", "data": 1 }))
        .await;
    assert_eq!(
        (&reply["successful"], &reply["error"]),
        (&json!(false), &json!("404:bob:user_unknown"))
    );
    let reply = nobody
        .publish("/service/user", json!({ "to": "alice", "data": 1 }))
        .await;
    assert_eq!(reply["error"], "403::user_required");
    for data in [
        json!(null),
        json!(1),
        json!({}),
        json!({ "to": "alice" }),
        json!({ "to": 1, "data": 1 }),
        json!({ "to": "", "data": 1 }),
        json!({ "to": "a\nb", "data": 1 }),
    ] {
        let reply = alice.publish("/service/user", data.clone()).await;
        assert_eq!(reply["error"], "400::data_invalid", "{data}");
    }
}

#[tokio::test]
async fn presence_tells_the_roster_then_who_joins_and_leaves() {
    let node = node(ALL).await;
    let _alice = user(&node, "alice").await;
    let mut watcher = Ws::joined(node.client_address()).await;
    watcher.subscribe("/halley/presence").await;
    let roster = event(&mut watcher, "/halley/presence", "roster").await;
    assert_eq!(
        roster["users"],
        json!([{ "user": "alice", "nodes": [node.name()] }])
    );
    let mut bob = user(&node, "bob").await;
    let join = event(&mut watcher, "/halley/presence", "join").await;
    assert_eq!(
        join,
        json!({ "type": "join", "user": "bob", "node": node.name() })
    );
    let mut bob_too = user(&node, "bob").await;
    bob.exchange(json!({ "channel": "/meta/disconnect" })).await;
    let carol = user(&node, "carol").await;
    // Neither a second session nor its end is an event: carol is next.
    assert_eq!(
        event(&mut watcher, "/halley/presence", "join").await["user"],
        "carol"
    );
    bob_too
        .exchange(json!({ "channel": "/meta/disconnect" }))
        .await;
    assert_eq!(
        event(&mut watcher, "/halley/presence", "leave").await["user"],
        "bob"
    );
    drop(carol);
}

#[tokio::test]
async fn clients_cannot_speak_for_the_node() {
    let node = node(ALL).await;
    let mut client = user(&node, "mallory").await;
    for channel in ["/halley/presence", "/halley/cluster", "/halley/other"] {
        let reply = client
            .publish(channel, json!({ "type": "leave", "user": "alice" }))
            .await;
        assert_eq!(reply["successful"], false, "{channel}");
    }
}

#[tokio::test]
async fn the_nodes_are_told_at_subscription_and_when_they_change() {
    let node = node(ALL).await;
    let mut client = user(&node, "alice").await;
    client.subscribe("/halley/cluster").await;
    let first = event(&mut client, "/halley/cluster", "nodes").await;
    assert_eq!(first["self"], node.name());
    assert_eq!(first["nodes"][0]["name"], node.name());
    assert_eq!(
        first["nodes"][0]["url"],
        format!("http://{}/cometd", node.client_address())
    );
    let mut more = Vec::new();
    for name in ["bob", "carol", "carol"] {
        more.push(user(&node, name).await);
    }
    loop {
        let nodes = event(&mut client, "/halley/cluster", "nodes").await;
        if nodes["nodes"][0]["sessions"] == 4 {
            assert_eq!(nodes["nodes"][0]["users"], 3);
            break;
        }
    }
}

#[tokio::test]
async fn services_are_off_unless_configured() {
    let node = node("").await;
    let mut client = user(&node, "alice").await;
    client.subscribe("/halley/presence").await;
    // A user is not taken from a handshake that nobody trusts, and there is no service: the message goes nowhere.
    client
        .publish("/service/user", json!({ "to": "alice", "data": 1 }))
        .await;
    client.proves_itself("nothing came before").await;
    assert!(client.waiting.is_empty(), "{:?}", client.waiting);
}

/// The session of a client is lost, as if nothing had come from it for too long.
fn loses(node: &halley::Node, client: &Ws) {
    let id = SessionId::parse(&client.client_id).expect("a session id");
    let now = node.clock().now();
    assert!(node.engine().end_session(&id, EndReason::Expired, now));
}

/// Of the next messages with news of users and rooms, who comes and goes, as `+room ann`, `-user ann`.
async fn news(watcher: &mut Ws, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    while told.len() < count {
        let data = watcher.next().await["data"].clone();
        let sign = match data["type"].as_str() {
            Some("join") => '+',
            Some("leave") => '-',
            _ => continue,
        };
        let what = if data["room"].is_null() {
            "user"
        } else {
            "room"
        };
        told.push(format!(
            "{sign}{what} {}",
            data["user"].as_str().expect("a user")
        ));
    }
    told.sort();
    told
}

/// A node with that grace, a watcher of its users and of the room `/lobby`, and alice in it.
async fn with_grace(grace_ms: u64) -> (halley::Node, Ws, Ws) {
    let node = node(&format!(
        "[seti]\ntrust_handshake_user = true\ngrace_ms = {grace_ms}\n\
         [presence]\nenabled = true\nrooms = [\"/lobby\"]"
    ))
    .await;
    let mut watcher = Ws::joined(node.client_address()).await;
    watcher.subscribe("/halley/presence").await;
    watcher.subscribe("/halley/presence/lobby").await;
    let alice = in_lobby(&node, "alice").await;
    assert_eq!(news(&mut watcher, 2).await, ["+room alice", "+user alice"]);
    (node, watcher, alice)
}

async fn in_lobby(node: &halley::Node, name: &str) -> Ws {
    let mut client = user(node, name).await;
    client.subscribe("/lobby").await;
    client
}

/// What was wrong: a node that runs alone knew no grace, and users that lost their session were seen to go and come.
#[tokio::test]
async fn who_comes_back_in_time_was_never_away_on_a_node_that_runs_alone_either() {
    let (node, mut watcher, alice) = with_grace(600_000).await;
    loses(&node, &alice);
    let handle = node.handle();
    let id = halley::UserId::new("alice").expect("a user");
    assert_eq!(handle.nodes_of(&id), [node.name()], "still present");
    let mut alice = in_lobby(&node, "alice").await;
    let _bob = in_lobby(&node, "bob").await;
    assert_eq!(news(&mut watcher, 2).await, ["+room bob", "+user bob"]);
    // Who leaves on purpose leaves at once.
    alice
        .exchange(json!({ "channel": "/meta/disconnect" }))
        .await;
    assert_eq!(news(&mut watcher, 2).await, ["-room alice", "-user alice"]);
}

#[tokio::test]
async fn who_does_not_come_back_leaves_when_the_grace_is_over_on_a_node_that_runs_alone() {
    const GRACE_MS: u64 = 300;
    let (node, mut watcher, alice) = with_grace(GRACE_MS).await;
    let lost = Instant::now();
    loses(&node, &alice);
    assert_eq!(news(&mut watcher, 2).await, ["-room alice", "-user alice"]);
    assert!(lost.elapsed() >= Duration::from_millis(GRACE_MS));
    let _alice = in_lobby(&node, "alice").await;
    assert_eq!(news(&mut watcher, 2).await, ["+room alice", "+user alice"]);
}
