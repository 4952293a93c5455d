//! What is published at one node until it has arrived at another.

use anyhow::ensure;
use halley_tests::java_oort::JavaNode;
use halley_tests::oort::HalleyClient;
use halley_tests::patience::eventually;
use serde_json::{Value, json};

use crate::DEADLINE;

/// What has come of the messages `{"n": ...}` on a channel, without what was sent to see whether anything comes at all.
pub(crate) fn numbers(received: &[Value], channel: &str) -> Vec<Value> {
    let on_channel = received.iter().filter(|message| message[0] == channel);
    on_channel
        .map(|message| message[1]["n"].clone())
        .filter(|n| !n.is_null())
        .collect()
}

/// Publishes at one side until the other has something: then the interest has arrived.
pub(crate) async fn flows(
    mut publish: impl AsyncFnMut() -> anyhow::Result<()>,
    mut arrived: impl AsyncFnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    eventually("a first message", DEADLINE, async || {
        publish().await?;
        ensure!(arrived().await?, "nothing has come");
        Ok(())
    })
    .await
    .map(drop)
}

/// Publishes at a Java node until a client of a Halley node has something.
pub(crate) async fn flows_from(
    java: &JavaNode,
    client: &HalleyClient,
    channel: &str,
) -> anyhow::Result<()> {
    let probe = json!({"user": "probe", "channel": channel, "data": {"probe": true}});
    flows(
        async || java.order("publish", probe.clone()).await.map(drop),
        async || {
            Ok(client
                .received()
                .iter()
                .any(|message| message[0] == channel))
        },
    )
    .await
}

/// Publishes at a Halley node until a client of a Java node has something.
pub(crate) async fn flows_to(
    java: &JavaNode,
    user: &str,
    from: &HalleyClient,
    channel: &str,
) -> anyhow::Result<()> {
    let received = json!({"user": user, "channel": channel});
    flows(
        async || from.publish(channel, json!({"probe": true})).await,
        async || {
            let received = java.order("received", received.clone()).await?;
            Ok(received.as_array().is_some_and(|list| !list.is_empty()))
        },
    )
    .await
}

pub(crate) fn counted(from: u32) -> Vec<Value> {
    (from..from + 20).map(|n| json!(n)).collect()
}
