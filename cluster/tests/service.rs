//! Actions are forwarded to the node that owns the data: from services in Rust and from clients, over real links.

#![allow(clippy::unwrap_used)]

mod support;

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use halley_bayeux::{CallError, Json};
use halley_cluster::NodeName;
use halley_cluster::service::{Action, ForwardError, OortService, Reply};
use support::{Node, channel, eventually, mesh};

/// Says who it is. `"wait"` is never answered.
struct Desk(&'static str, parking_lot::Mutex<Vec<Reply>>);

impl Action for Desk {
    fn perform(&self, parameter: Bytes, asked_by: &NodeName, reply: Reply) {
        match parameter.as_ref() {
            b"\"wait\"" => self.1.lock().push(reply),
            b"\"no\"" => reply.fail(Bytes::from_static(b"\"never\"")),
            _ => reply.succeed(format!("[\"{}\",\"{asked_by}\"]", self.0).into()),
        }
    }
}

fn offer(node: &Node, on: &'static str) -> OortService {
    let owner = |_: &[u8]| NodeName::new("b").ok();
    let desk = Desk(on, parking_lot::Mutex::default());
    node.cluster
        .services()
        .offer("desk", Arc::new(owner), Arc::new(desk))
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_reach_the_owner_and_a_lost_owner_is_told_at_once() {
    let mut nodes = mesh(&["a", "b", "c"]).await;
    let on_a = offer(&nodes[0], "a");
    let _on_b = offer(&nodes[1], "b");
    let on_c = offer(&nodes[2], "c");
    for (service, from) in [(&on_a, "a"), (&on_c, "c")] {
        let result = service.forward(Bytes::from_static(b"1")).await.unwrap();
        assert_eq!(result, format!("[\"b\",\"{from}\"]"));
        let failed = service.forward(Bytes::from_static(b"\"no\"")).await;
        assert!(matches!(failed, Err(ForwardError::Failed(why)) if why == "\"never\""));
    }
    // Clients: what they publish on the channel is the parameter, and the answer has the owner's result.
    let desk = channel("/service/desk");
    nodes[0]
        .engine
        .add_remote_call(desk.clone(), on_a.for_clients());
    let session = nodes[0]
        .engine
        .local_session(None, Arc::new(support::Inbox::default()));
    let call = |data| {
        session.call(
            &desk,
            Json::validate(data, 4).unwrap(),
            nodes[0].clock.now(),
        )
    };
    assert_eq!(call("{}").await.unwrap(), "[\"b\",\"a\"]");
    assert!(matches!(call("\"no\"").await, Err(CallError::Failed(why)) if why == "\"never\""));
    // The owner is lost while it is at work.
    let waits = on_c.clone();
    let waiting = tokio::spawn(async move { waits.forward(Bytes::from_static(b"\"wait\"")).await });
    let on_client = call("\"wait\"");
    eventually("asked", || nodes[2].cluster.services().asked() == 1).await;
    let began = Instant::now();
    let b = nodes.remove(1);
    let stops = async {
        eventually("asked by the client too", || {
            nodes[0].cluster.services().asked() == 1
        })
        .await;
        b.stop().await;
    };
    let (answer, ()) = tokio::join!(on_client, stops);
    assert!(matches!(answer, Err(CallError::Failed(why)) if why.contains("owner_left")));
    let owner = NodeName::new("b").unwrap();
    assert_eq!(waiting.await.unwrap(), Err(ForwardError::OwnerLeft(owner)));
    assert!(
        began.elapsed() < Duration::from_secs(4),
        "before time is up"
    );
}
