//! Messages are forwarded once, in order, and only where they are wanted.

use anyhow::ensure;
use halley_tests::agent::Agent;
use halley_tests::java_oort::{Cometd, JavaNode};
use halley_tests::node_process::{NodeProcess, NodeSettings};
use halley_tests::oort::{HalleyNode, OORT_SECRET};
use halley_tests::patience::eventually;
use serde_json::{Value, json};

use crate::DEADLINE;
use crate::traffic::{counted, flows_from, flows_to, numbers};

pub(crate) async fn messages_are_forwarded_both_ways_once_and_in_order(
    cometd: Cometd,
) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    let halley = HalleyNode::start(cometd, "h1", &[&java.url], |_| {}).await?;
    halley.oort_members(1).await?;
    let (listener, talker) = (halley.client(None), halley.client(None));
    // Overlapping patterns on both sides must not double anything.
    listener.subscribe("/chat/**").await?;
    listener.subscribe("/chat/x").await?;
    java.order("observe_channel", json!({"channel": "/chat/**"}))
        .await?;
    java.order("subscribe", json!({"user": "j", "channel": "/chat/x"}))
        .await?;
    flows_from(&java, &listener, "/chat/x").await?;
    flows_to(&java, "j", &talker, "/chat/x").await?;
    for n in 0..20 {
        talker.publish("/chat/x", json!({"n": n})).await?;
    }
    for n in 100..120 {
        let order = json!({"user": "jt", "channel": "/chat/x", "data": {"n": n}});
        java.order("publish", order).await?;
    }
    let mine = |numbers: &[Value], from: u64| -> Vec<Value> {
        let mine = numbers
            .iter()
            .filter(|n| (n.as_u64() >= Some(100)) == (from >= 100));
        mine.cloned().collect()
    };
    eventually("all at the Halley node", DEADLINE, async || {
        let there = numbers(&listener.received(), "/chat/x");
        ensure!(mine(&there, 100) == counted(100), "{there:?}");
        ensure!(mine(&there, 0) == counted(0), "{there:?}");
        Ok(())
    })
    .await?;
    let received = json!({"user": "j", "channel": "/chat/x"});
    java.until("received", received, |received| {
        let received: Vec<Value> = received
            .as_array()
            .into_iter()
            .flatten()
            .map(|data| json!(["/chat/x", data]))
            .collect();
        let there = numbers(&received, "/chat/x");
        mine(&there, 100) == counted(100) && mine(&there, 0) == counted(0)
    })
    .await?;
    Ok(())
}

pub(crate) async fn what_nobody_observes_stays_where_it_is(cometd: Cometd) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    let halley = HalleyNode::start(cometd, "h1", &[&java.url], |_| {}).await?;
    halley.oort_members(1).await?;
    let (listener, talker) = (halley.client(None), halley.client(None));
    listener.subscribe("/**").await?;
    java.order("subscribe", json!({"user": "j", "channel": "/quiet"}))
        .await?;
    java.order("subscribe", json!({"user": "j", "channel": "/loud"}))
        .await?;
    java.order("observe_channel", json!({"channel": "/loud"}))
        .await?;
    flows_to(&java, "j", &talker, "/loud").await?;
    talker.publish("/quiet", json!({"n": 1})).await?;
    talker.publish("/loud", json!({"n": 2})).await?;
    let received = json!({"user": "j", "channel": "/loud"});
    java.until("received", received, |received| {
        received
            .as_array()
            .is_some_and(|list| list.contains(&json!({"n": 2})))
    })
    .await?;
    // It would have come before the other one.
    let quiet = java
        .order("received", json!({"user": "j", "channel": "/quiet"}))
        .await?;
    assert_eq!(quiet, json!([]));
    // Nothing of the cluster's own traffic reaches a client, whatever it has subscribed to.
    flows_from(&java, &listener, "/any/thing").await?;
    let internal = |message: &Value| {
        let channel = message[0].as_str().unwrap_or_default();
        channel.starts_with("/oort") || channel.starts_with("/seti")
    };
    assert!(!listener.received().iter().any(internal));
    Ok(())
}

pub(crate) async fn two_of_each_become_one_mesh(cometd: Cometd) -> anyhow::Result<()> {
    let (j1, j2) = (
        JavaNode::start(cometd, json!({})).await?,
        JavaNode::start(cometd, json!({})).await?,
    );
    let h1 = HalleyNode::start(cometd, "h1", &[&j1.url], |_| {}).await?;
    let mesh = h1.cluster.this_node().mesh_address.to_string();
    // The second of each knows only its own kind.
    let h2 = HalleyNode::start(cometd, "h2", &[], |config| config.siblings = vec![mesh]).await?;
    j2.order("observe", json!({"url": j1.url})).await?;
    let (u1, u2) = (h1.url()?, h2.url()?);
    j1.knows(&[&j2.url, &u1, &u2]).await?;
    j2.knows(&[&j1.url, &u1, &u2]).await?;
    for halley in [&h1, &h2] {
        halley.oort_members(2).await?;
        assert_eq!(halley.cluster.members().len(), 3);
    }
    let (c1, c2) = (h1.client(None), h2.client(None));
    c1.subscribe("/all").await?;
    c2.subscribe("/all").await?;
    for java in [&j1, &j2] {
        java.order("observe_channel", json!({"channel": "/all"}))
            .await?;
        java.order("subscribe", json!({"user": "j", "channel": "/all"}))
            .await?;
    }
    for java in [&j1, &j2] {
        for client in [&c1, &c2] {
            flows_from(java, client, "/all").await?;
            flows_to(java, "j", client, "/all").await?;
        }
    }
    c2.publish("/all", json!({"n": 1})).await?;
    let order = json!({"user": "jt", "channel": "/all", "data": {"n": 2}});
    j2.order("publish", order).await?;
    for client in [&c1, &c2] {
        eventually("both messages", DEADLINE, async || {
            let mut there = numbers(&client.received(), "/all");
            there.sort_by_key(Value::as_u64);
            ensure!(there == [json!(1), json!(2)], "{there:?}");
            Ok(())
        })
        .await?;
    }
    for java in [&j1, &j2] {
        let received = json!({"user": "j", "channel": "/all"});
        java.until("received", received, |received| {
            let received = received.as_array().into_iter().flatten();
            let mut there: Vec<_> = received.filter_map(|data| data["n"].as_u64()).collect();
            there.sort_unstable();
            there == [1, 2]
        })
        .await?;
    }
    Ok(())
}

/// A stock client at each of two nodes: what either publishes as bytes arrives as bytes at the other.
pub(crate) async fn bytes_travel_from_client_to_client_both_ways(
    cometd: Cometd,
) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    java.order("observe_channel", json!({"channel": "/pictures/*"}))
        .await?;
    let digest = if cometd.shows_sha1() {
        "sha-1"
    } else {
        "sha-512"
    };
    let mut settings = NodeSettings::new("h1");
    settings.discovery = Some(format!(
        "[mesh.oort]\nenabled = true\nsecret = \"{OORT_SECRET}\"\ndigest = \"{digest}\"\ncloud = [\"{}\"]\n",
        java.url
    ));
    let oort = format!("http://{}/cometd", settings.mesh);
    let mut halley = NodeProcess::start(settings)?;
    halley.ready().await?;
    java.event(&format!("joined {oort}")).await?;
    let agent = Agent::java()?;
    for (client, url) in [("j", java.url.clone()), ("h", halley.settings.url())] {
        let order = json!({"client": client, "url": url, "transport": "websocket", "extensions": ["Binary"]});
        agent.order("connect", order).await?;
        let channel = format!("/pictures/for-{client}");
        agent.subscribe(client, &channel).await?;
    }
    for (from, to, bytes) in [
        ("j", "h", [0, 1, 2, 127, 128, 255]),
        ("h", "j", [9, 8, 7, 255, 0, 0]),
    ] {
        // Until the interest has arrived nothing comes.
        let channel = format!("/pictures/for-{to}");
        let expected = json!({"bytes": bytes, "last": true, "meta": {"name": "picture"}});
        let publish = json!({"client": from, "channel": channel, "bytes": bytes});
        eventually("the bytes", DEADLINE, async || {
            let answer = agent.order("publish_binary", publish.clone()).await?;
            ensure!(answer["successful"] == true, "{answer}");
            let order = json!({"client": to, "channel": channel, "ms": 250});
            let arrived = agent.order("bytes", order).await?;
            ensure!(arrived == expected, "{arrived}");
            Ok(())
        })
        .await?;
    }
    Ok(())
}

pub(crate) async fn what_is_too_long_for_a_java_node_is_not_sent_and_nothing_else_is_lost(
    cometd: Cometd,
) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    let limit = cometd.takes_bytes();
    let halley = HalleyNode::start(cometd, "h1", &[&java.url], |config| {
        if let Some(oort) = &mut config.oort {
            oort.max_message_bytes = limit;
        }
    })
    .await?;
    halley.oort_members(1).await?;
    let url = halley.url()?;
    let talker = halley.client(None);
    java.order("observe_channel", json!({"channel": "/long"}))
        .await?;
    java.order("subscribe", json!({"user": "j", "channel": "/long"}))
        .await?;
    flows_to(&java, "j", &talker, "/long").await?;
    let links = java.order("links", json!({"url": url})).await?;
    // Those that wait together must not become one frame that is too long either.
    let (just, more) = (limit - 2_000, limit + 2_000);
    let lengths = [10, just, more, just, just, 10];
    for (n, length) in lengths.into_iter().enumerate() {
        let data = json!({"n": n, "text": "x".repeat(length)});
        talker.publish("/long", data).await?;
    }
    let received = json!({"user": "j", "channel": "/long"});
    java.until("received", received, |received| {
        let received = received.as_array().into_iter().flatten();
        let there: Vec<_> = received.filter_map(|data| data["n"].as_u64()).collect();
        there == [0, 1, 3, 4, 5]
    })
    .await?;
    ensure!(java.order("links", json!({"url": url})).await? == links);
    Ok(())
}
