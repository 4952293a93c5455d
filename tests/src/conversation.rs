//! What every stock client must be able to do with a node, whoever made it.
//!
//! Two clients of one kind in processes of their own (in one, they would be tabs of one browser, which over HTTP share its
//! cookie): `alice` speaks, `bob` listens. The orders they understand are listed in `tests/js/agent.mjs`.

use std::time::Duration;

use anyhow::{Context, ensure};
use serde_json::{Value, json};

use crate::agent::Agent;
use crate::cable::Cable;
use crate::node_process::{NodeProcess, NodeSettings};
use crate::patience::eventually;

/// How long the node may take to notice what a client did.
const NOTICE: Duration = Duration::from_secs(10);

/// A kind of stock client.
#[derive(Debug, Clone, Copy)]
pub struct Kind {
    /// Starts a process with such clients.
    pub start: fn() -> anyhow::Result<Agent>,
    /// Whether it subscribes anew by itself after a new handshake, as Faye's does; with CometD's that is the application's affair.
    pub subscribes_again: bool,
}

/// Two clients on one node.
struct Pair {
    node: NodeProcess,
    cable: Cable,
    alice: Agent,
    bob: Agent,
    transport: &'static str,
    bob_id: String,
}

impl Pair {
    /// Bob's connections run through a cable.
    async fn connect(kind: Kind, transport: &'static str, session: &str) -> anyhow::Result<Self> {
        let mut settings = NodeSettings::new("n1");
        settings.session = session.to_owned();
        let mut node = NodeProcess::start(settings)?;
        node.ready().await?;
        let cable = Cable::plugged(node.settings.client).await?;
        let (alice, bob) = ((kind.start)()?, (kind.start)()?);
        connect(&alice, "alice", &node.settings.url(), transport).await?;
        let url = format!("http://{}/cometd", cable.address);
        let bob_id = connect(&bob, "bob", &url, transport).await?;
        let pair = Self {
            node,
            cable,
            alice,
            bob,
            transport,
            bob_id,
        };
        pair.settled().await?;
        Ok(pair)
    }

    /// The metric that counts what holds a client of this transport.
    fn holds(&self) -> &'static str {
        match self.transport {
            "websocket" => "halley_websockets",
            _ => "halley_held_connects",
        }
    }

    /// Waits until a metric has a value.
    async fn metric(&self, name: &str, wanted: f64) -> anyhow::Result<()> {
        eventually(name, NOTICE, async || {
            let value = self.node.metric(name).await?;
            ensure!((value - wanted).abs() < 0.5, "{value}, not {wanted}");
            Ok(())
        })
        .await
        .map(drop)
    }

    /// Waits until both clients are held by the node, over the transport they were told to use.
    async fn settled(&self) -> anyhow::Result<()> {
        self.metric(self.holds(), 2.0).await
    }

    /// Unplugs bob, and waits until the node has noticed.
    async fn unplug(&mut self) -> anyhow::Result<()> {
        self.cable.unplug().await;
        self.metric(self.holds(), 1.0).await
    }

    async fn speak(&self, channel: &str, data: Value) -> anyhow::Result<()> {
        let answer = self.alice.publish("alice", channel, data).await?;
        ensure!(answer["successful"] == true, "publish {channel}: {answer}");
        Ok(())
    }

    async fn hear(&self, pattern: &str, data: Value) -> anyhow::Result<Value> {
        self.bob.message("bob", pattern, data).await
    }

    async fn heard(&self, pattern: &str) -> anyhow::Result<Vec<Value>> {
        let order = json!({"client": "bob", "channel": pattern});
        let received = self.bob.order("received", order).await?;
        received.as_array().cloned().context("not a list")
    }
}

async fn connect(agent: &Agent, name: &str, url: &str, transport: &str) -> anyhow::Result<String> {
    let order = json!({"client": name, "url": url, "transport": transport, "user": name});
    let answer = agent.order("connect", order).await?;
    let id = answer["id"].as_str().context("no session")?;
    Ok(id.to_owned())
}

/// Handshake, subscriptions of each form, publications of each form, a service, and the end of all of it.
///
/// # Errors
/// What went otherwise.
pub async fn talk(kind: Kind, transport: &'static str) -> anyhow::Result<()> {
    let pair = Pair::connect(kind, transport, "").await?;
    let bob = &pair.bob;

    bob.subscribe("bob", "/talk/single").await?;
    let data = json!({"text": "grüße, 世界 \u{1f680} \"quoted\"\\", "zero": 0, "empty": "", "none": null, "deep": {"list": {"n": 1}}});
    pair.speak("/talk/single", data.clone()).await?;
    let message = pair.hear("/talk/single", data.clone()).await?;
    ensure!(message["channel"] == "/talk/single", "{message}");
    ensure!(message["data"] == data, "{message}");

    let order = json!({"client": "bob", "channels": ["/talk/a", "/talk/b"]});
    let answer = bob.order("subscribe_many", order).await?;
    ensure!(answer["successful"] == true, "array: {answer}");
    for channel in ["/talk/a", "/talk/b"] {
        pair.speak(channel, json!({"to": channel})).await?;
        pair.hear(channel, json!({"to": channel})).await?;
    }

    bob.subscribe("bob", "/talk/wild/*").await?;
    bob.subscribe("bob", "/talk/deep/**").await?;
    pair.speak("/talk/wild/one/two", json!({"n": 1})).await?;
    pair.speak("/talk/wild/one", json!({"n": 2})).await?;
    pair.speak("/talk/deep/one/two", json!({"n": 3})).await?;
    let deep = pair.hear("/talk/deep/**", json!({"n": 3})).await?;
    ensure!(deep["channel"] == "/talk/deep/one/two", "{deep}");
    let wild = pair.heard("/talk/wild/*").await?;
    ensure!(
        wild == [json!({"channel": "/talk/wild/one", "data": {"n": 2}})],
        "{wild:?}"
    );

    batch(&pair).await?;
    service(&pair).await?;

    let order = json!({"client": "bob", "channel": "/talk/single"});
    let answer = bob.order("unsubscribe", order).await?;
    ensure!(answer["successful"] == true, "unsubscribe: {answer}");
    pair.speak("/talk/single", json!({"late": true})).await?;
    pair.speak("/talk/a", json!({"late": true})).await?;
    pair.hear("/talk/a", json!({"late": true})).await?;
    let single = pair.heard("/talk/single").await?;
    ensure!(single.len() == 1, "after unsubscribe: {single:?}");

    for (agent, name, left) in [(bob, "bob", 1.0), (&pair.alice, "alice", 0.0)] {
        // The connect after the last message may still be on its way. Where it comes after the disconnect it is refused, and CometD's clients
        // then break off the disconnect that they wait for.
        pair.metric(pair.holds(), left + 1.0).await?;
        let answer = agent.order("disconnect", json!({"client": name})).await?;
        ensure!(answer["successful"] == true, "disconnect: {answer}");
        pair.metric("halley_sessions", left).await?;
        pair.metric(pair.holds(), left).await?;
    }
    Ok(())
}

/// Messages of one batch are all answered, and arrive in their order.
async fn batch(pair: &Pair) -> anyhow::Result<()> {
    pair.bob.subscribe("bob", "/talk/batch/*").await?;
    let messages: Vec<_> = (0..20)
        .map(|n| json!({"channel": format!("/talk/batch/{}", n % 3), "data": {"n": n}}))
        .collect();
    let order = json!({"client": "alice", "messages": messages.clone()});
    let answer = pair.alice.order("batch", order).await?;
    let outcomes = answer.as_array().context("not a list")?;
    ensure!(
        outcomes.len() == 20 && outcomes.iter().all(|one| one["successful"] == true),
        "{answer}"
    );
    pair.hear("/talk/batch/*", json!({"n": 19})).await?;
    let heard = pair.heard("/talk/batch/*").await?;
    ensure!(heard == messages, "{heard:?}");
    Ok(())
}

/// A service channel's answer comes to whom it concerns; its refusal comes with the reply.
async fn service(pair: &Pair) -> anyhow::Result<()> {
    let data = json!({"to": "bob", "data": {"text": "psst"}});
    pair.speak("/service/user", data).await?;
    let wanted = json!({"from": "alice", "to": "bob", "data": {"text": "psst"}});
    pair.hear("/service/user", wanted).await?;
    let data = json!({"to": "nobody", "data": 1});
    let answer = pair.alice.publish("alice", "/service/user", data).await?;
    ensure!(
        answer == json!({"successful": false, "error": "404:nobody:user_unknown"}),
        "{answer}"
    );
    Ok(())
}

/// A client whose connections are cut goes on with its session, and gets what was published meanwhile.
///
/// # Errors
/// What went otherwise.
pub async fn go_on_after_a_cut(kind: Kind, transport: &'static str) -> anyhow::Result<()> {
    let mut pair = Pair::connect(kind, transport, "maxInterval = 60000").await?;
    pair.bob.subscribe("bob", "/cut").await?;
    for round in 0..3 {
        pair.settled().await?;
        pair.unplug().await?;
        pair.speak("/cut", json!({"round": round})).await?;
        pair.cable.plug().await?;
        pair.hear("/cut", json!({"round": round})).await?;
    }
    let order = json!({"client": "bob", "handshakes": 1, "ms": 10_000});
    let session = pair.bob.order("handshakes", order).await?;
    ensure!(
        session == json!({"handshakes": 1, "id": pair.bob_id}),
        "another session than {}: {session}",
        pair.bob_id
    );
    let heard = pair.heard("/cut").await?;
    ensure!(heard.len() == 3, "lost or doubled: {heard:?}");
    Ok(())
}

/// A client that stayed away for too long makes a new session by itself.
///
/// # Errors
/// What went otherwise.
pub async fn come_back_after_expiry(kind: Kind, transport: &'static str) -> anyhow::Result<()> {
    let mut pair = Pair::connect(kind, transport, "maxInterval = 1000").await?;
    pair.bob.subscribe("bob", "/back").await?;
    pair.settled().await?;
    pair.unplug().await?;
    pair.metric("halley_sessions_expired_total", 1.0).await?;
    pair.cable.plug().await?;
    let order = json!({"client": "bob", "handshakes": 2, "ms": 20_000});
    let session = pair.bob.order("handshakes", order).await?;
    ensure!(
        session["handshakes"] == 2 && session["id"] != pair.bob_id.as_str(),
        "not a second session: {session}"
    );
    if kind.subscribes_again {
        pair.metric("halley_subscriptions", 1.0).await?;
    } else {
        pair.bob.subscribe("bob", "/back").await?;
    }
    pair.speak("/back", json!({"again": true})).await?;
    pair.hear("/back", json!({"again": true})).await?;
    Ok(())
}
