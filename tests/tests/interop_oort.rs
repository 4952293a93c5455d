//! CometD's Oort in real JVMs, and Halley nodes, form one cluster.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use bytes::Bytes;
use halley_bayeux::{ChannelName, Json, Publication, UserId};
use halley_cluster::service::{ForwardError, Reply};
use halley_cluster::{MulticastConfig, NodeName, Secret};
use halley_replication::OortObject;
use halley_tests::oort::{HalleyClient, HalleyNode, JavaNode};
use halley_tests::patience::eventually;
use halley_tests::turn::turn;
use serde_json::{Value, json};

const DEADLINE: Duration = Duration::from_secs(30);

/// A Java node, or the end of the test where CometD's Oort library is not to be had.
macro_rules! java {
    () => {
        java!(0, json!({}))
    };
    ($port:expr, $fields:expr) => {
        match JavaNode::start($port, $fields).await? {
            Some(node) => node,
            None => {
                eprintln!("left out: CometD's Oort library is missing, see tests/run");
                return Ok(());
            }
        }
    };
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halley_node_dials_a_java_node() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    let halley = HalleyNode::start("h1", &[&java.url], |_| {}).await?;
    halley.oort_members(1).await?;
    java.knows(&[&halley.url()?]).await?;
    java.event(&format!("joined {}", halley.url()?)).await?;
    let member = halley.cluster.members().remove(0);
    assert_eq!(member.client_url, java.url);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_java_node_dials_a_halley_node() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    let halley = HalleyNode::start("h1", &[], |_| {}).await?;
    java.order("observe", json!({"url": halley.url()?})).await?;
    halley.oort_members(1).await?;
    java.event(&format!("joined {}", halley.url()?)).await?;
    Ok(())
}

/// What has come of the messages `{"n": ...}` on a channel, without what was sent to see whether anything comes at all.
fn numbers(received: &[Value], channel: &str) -> Vec<Value> {
    let on_channel = received.iter().filter(|message| message[0] == channel);
    on_channel
        .map(|message| message[1]["n"].clone())
        .filter(|n| !n.is_null())
        .collect()
}

/// Publishes at one side until the other has something: then the interest has arrived.
async fn flows(
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
async fn flows_from(java: &JavaNode, client: &HalleyClient, channel: &str) -> anyhow::Result<()> {
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
async fn flows_to(
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

fn counted(from: u32) -> Vec<Value> {
    (from..from + 20).map(|n| json!(n)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_are_forwarded_both_ways_once_and_in_order() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    let halley = HalleyNode::start("h1", &[&java.url], |_| {}).await?;
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

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_observes_stays_where_it_is() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    let halley = HalleyNode::start("h1", &[&java.url], |_| {}).await?;
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

#[tokio::test(flavor = "multi_thread")]
async fn users_are_known_and_reached_both_ways() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    let early = json!({"user": "early"});
    java.order("associate", early.clone()).await?;
    let halley = HalleyNode::start("h1", &[&java.url], |_| {}).await?;
    let hanna = halley.client(Some("hanna"));
    halley.oort_members(1).await?;
    let seti = halley.cluster.seti();
    let here = |user: &str, expected: bool| {
        let user = UserId::new(user).expect("a user");
        async move {
            eventually("presence", DEADLINE, async || {
                let found = seti.is_present(&user);
                ensure!(found == expected, "{user}: {found}");
                Ok(())
            })
            .await
            .map(drop)
        }
    };
    // Those from before the nodes met, and those that come later.
    here("early", true).await?;
    java.until("present", json!({"user": "hanna"}), |it| it == true)
        .await?;
    java.order("associate", json!({"user": "jakob"})).await?;
    here("jakob", true).await?;
    let heidi = halley.client(Some("heidi"));
    java.until("present", json!({"user": "heidi"}), |it| it == true)
        .await?;

    let send =
        json!({"user": "hanna", "channel": "/service/dm", "data": {"text": "hi", "n": 1.50}});
    java.order("send", send).await?;
    hanna
        .has(&[json!(["/service/dm", {"text": "hi", "n": 1.50}])])
        .await?;
    let channel = ChannelName::parse("/service/dm")?;
    let data = Json::validate(r#"{"text":"back"}"#, 8)?;
    let jakob = UserId::new("jakob")?;
    let outcome = seti.send(&jakob, &Publication::new(&channel, data));
    assert_eq!((outcome.local, outcome.nodes.len()), (0, 1));
    let received = json!({"user": "jakob", "channel": "/service/dm"});
    java.until("received", received, |it| *it == json!([{"text": "back"}]))
        .await?;

    drop(heidi);
    java.until("present", json!({"user": "heidi"}), |it| it == false)
        .await?;
    java.order("disassociate", json!({"user": "jakob"})).await?;
    here("jakob", false).await?;
    here("early", true).await?;
    drop(java);
    here("early", false).await
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_objects_are_shared_both_ways() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    // One object is there before the nodes meet, one is made after that: here first, and there first.
    java.order("object", json!({"name": "old"})).await?;
    java.order("set", json!({"name": "old", "value": "java"}))
        .await?;
    let halley = HalleyNode::start("h1", &[&java.url], |_| {}).await?;
    let old = OortObject::new(&halley.objects, "old", "halley".to_owned())?;
    halley.oort_members(1).await?;
    let member = halley.cluster.members().remove(0);
    let (url, node) = (halley.url()?, member.name);
    let part = async |object: &OortObject<String>, value: &str| {
        eventually("a part", DEADLINE, async || {
            let found = object.part(&node);
            ensure!(found.as_ref().is_some_and(|it| **it == value), "{found:?}");
            Ok(())
        })
        .await
    };
    let parts = |name: &str, mine: &str, theirs: &str| {
        let expected = json!({&java.url: mine, &url: theirs});
        let name = json!({"name": name});
        let java = &java;
        async move { java.until("parts", name, |parts| *parts == expected).await }
    };
    part(&old, "java").await?;
    parts("old", "java", "halley").await?;
    let here = OortObject::new(&halley.objects, "here", "h0".to_owned())?;
    java.order("object", json!({"name": "here"})).await?;
    parts("here", "none", "h0").await?;
    part(&here, "none").await?;
    java.order("object", json!({"name": "there"})).await?;
    let there = OortObject::new(&halley.objects, "there", "t0".to_owned())?;
    part(&there, "none").await?;
    parts("there", "none", "t0").await?;
    for n in 0..50 {
        old.set(format!("halley {n}"))?;
        let order = json!({"name": "old", "value": format!("java {n}")});
        java.order("set", order).await?;
    }
    part(&old, "java 49").await?;
    parts("old", "java 49", "halley 49").await?;
    // A part goes with its owner, on both sides.
    halley.cluster.leave().await;
    let expected = json!({&java.url: "java 49"});
    java.until("parts", json!({"name": "old"}), |parts| *parts == expected)
        .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_java_node_that_crashes_has_left_and_comes_back() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    let (port, url) = (java.port(), java.url.clone());
    let halley = HalleyNode::start("h1", &[&url], |_| {}).await?;
    halley.oort_members(1).await?;
    let first = halley.cluster.members().remove(0);
    drop(java);
    halley.oort_members(0).await?;
    let java = java!(port, json!({}));
    assert_eq!(java.url, url);
    halley.oort_members(1).await?;
    let second = halley.cluster.members().remove(0);
    assert_eq!(first.name, second.name);
    assert_ne!(first.incarnation, second.incarnation);
    java.knows(&[&halley.url()?]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_halley_node_that_leaves_or_crashes_has_left() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    let leaver = HalleyNode::start("h1", &[&java.url], |_| {}).await?;
    let url = leaver.url()?;
    leaver.oort_members(1).await?;
    leaver.cluster.leave().await;
    java.event(&format!("left {url}")).await?;
    let crasher = HalleyNode::start("h2", &[&java.url], |_| {}).await?;
    let url = crasher.url()?;
    crasher.oort_members(1).await?;
    drop(crasher);
    java.event(&format!("left {url}")).await?;
    java.knows(&[]).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn two_of_each_become_one_mesh() -> anyhow::Result<()> {
    let _turn = turn().await;
    let (j1, j2) = (java!(), java!());
    let h1 = HalleyNode::start("h1", &[&j1.url], |_| {}).await?;
    let mesh = h1.cluster.this_node().mesh_address.to_string();
    // The second of each knows only its own kind.
    let h2 = HalleyNode::start("h2", &[], |config| config.siblings = vec![mesh]).await?;
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

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_secret_stays_outside() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    let stranger = HalleyNode::start("h1", &[&java.url], |config| {
        let secret = Secret::new(b"quite another secret of more than thirty-two bytes");
        if let (Some(oort), Ok(secret)) = (&mut config.oort, secret) {
            oort.secret = secret;
        }
    })
    .await?;
    let halley = HalleyNode::start("h2", &[&java.url], |_| {}).await?;
    halley.oort_members(1).await?;
    // It has tried as long as the other one, and is tried by the Java node.
    java.order("observe", json!({"url": stranger.url()?}))
        .await?;
    eventually("a refusal", DEADLINE, async || {
        let refused = stranger.cluster.counters().oort_refused.get();
        ensure!(refused > 0, "{refused}");
        Ok(())
    })
    .await?;
    stranger.oort_members(0).await?;
    java.knows(&[&halley.url()?]).await?;
    assert!(halley.cluster.dialect(&NodeName::new("h1")?).is_none());
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn actions_are_forwarded_both_ways() -> anyhow::Result<()> {
    let _turn = turn().await;
    let java = java!();
    let halley = HalleyNode::start("h1", &[&java.url], |_| {}).await?;
    halley.oort_members(1).await?;
    let node = halley.cluster.members().remove(0).name;
    let owner = node.clone();
    let services = halley.cluster.services();
    let action = |parameter: Bytes, asked_by: &NodeName, reply: Reply| {
        let text = String::from_utf8_lossy(&parameter).into_owned();
        let answer = json!(["halley", text, asked_by.as_str()]).to_string();
        if text.contains("fail") {
            reply.fail(answer.into());
        } else {
            reply.succeed(answer.into());
        }
    };
    let edit = services.offer(
        "edit",
        Arc::new(move |_: &[u8]| Some(owner.clone())),
        Arc::new(action),
    )?;
    let lost = services.offer(
        "lost",
        Arc::new({
            let node = node.clone();
            move |_: &[u8]| Some(node.clone())
        }),
        Arc::new(action),
    )?;
    java.order("service", json!({"name": "edit"})).await?;

    let answer = edit
        .forward(Bytes::from_static(br#"{"op":"rename"}"#))
        .await;
    let answer: Value = serde_json::from_slice(&answer.context("no answer")?)?;
    assert_eq!(answer, json!(["java", {"op": "rename"}]));
    let failed = edit.forward(Bytes::from_static(br#""fail""#)).await;
    assert_eq!(
        failed,
        Err(ForwardError::Failed(Bytes::from_static(br#""asked to""#)))
    );
    let silent = lost.forward(Bytes::from_static(b"1"));
    assert!(matches!(silent.await, Err(ForwardError::Timeout(_))));

    let url = halley.url()?;
    for (context, url, parameter) in [
        ("directed", json!(url), json!({"op": 1})),
        ("to all", Value::Null, json!("ignore")),
        ("failing", json!(url), json!("fail")),
    ] {
        let order = json!({"name": "edit", "url": url, "context": context, "parameter": parameter});
        assert_eq!(
            java.order("forward", order).await?,
            json!(true),
            "{context}"
        );
    }
    let text = |parameter: &str| json!(["halley", parameter, node.as_str()]);
    let expected = [
        json!(["directed", true, text(r#"{"op":1}"#)]),
        json!(["to all", true, text(r#""ignore""#)]),
        json!(["failing", false, text(r#""fail""#)]),
    ];
    java.until("results", json!({"name": "edit"}), |results| {
        let there = results.as_array().map_or(&[][..], Vec::as_slice);
        there.len() == 3 && expected.iter().all(|result| there.contains(result))
    })
    .await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_find_each_other_by_multicast() -> anyhow::Result<()> {
    let _turn = turn().await;
    let port = halley_tests::ports::free_address().port();
    let group = Ipv4Addr::new(239, 255, 77, 7);
    let multicast = json!({"multicast": {"group": group.to_string(), "port": port}});
    let java = java!(0, multicast);
    let halley = HalleyNode::start("h1", &[], |config| {
        if let Some(oort) = &mut config.oort {
            oort.multicast = Some(MulticastConfig {
                group,
                port,
                interval: Duration::from_millis(500),
                ..MulticastConfig::default()
            });
        }
    })
    .await?;
    halley.oort_members(1).await?;
    java.event(&format!("joined {}", halley.url()?)).await?;
    Ok(())
}
