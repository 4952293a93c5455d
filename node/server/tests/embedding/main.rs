//! The library as an application uses it: builder, handle, local sessions, calls.

#[path = "../support/mod.rs"]
mod support;

mod calls;
mod cluster;
mod hooks;
mod local_sessions;
mod policies;
mod setting_up;

use halley::{Node, NodeBuilder};
use serde_json::{Value, json};
use support::Ws;

/// A node on free loopback ports.
pub fn builder() -> NodeBuilder {
    Node::builder()
        .set("client.listen", "127.0.0.1:0")
        .set("admin.listen", "127.0.0.1:0")
}

/// A node that serves.
pub async fn started(builder: NodeBuilder) -> Node {
    builder.start().await.expect("the node starts")
}

/// The reply to a call and its result, whichever comes first.
pub async fn call(client: &mut Ws, channel: &str, data: Value) -> (Value, Value) {
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
