//! Users, objects and services.

use std::sync::Arc;

use anyhow::{Context, ensure};
use bytes::Bytes;
use halley_bayeux::{ChannelName, Json, Publication, UserId};
use halley_cluster::NodeName;
use halley_cluster::service::{ForwardError, Reply};
use halley_replication::{OortList, OortMap, OortObject};
use halley_tests::java_oort::{Cometd, JavaNode};
use halley_tests::oort::HalleyNode;
use halley_tests::patience::eventually;
use serde_json::{Value, json};

use crate::DEADLINE;

pub(crate) async fn users_are_known_and_reached_both_ways(cometd: Cometd) -> anyhow::Result<()> {
    let java = JavaNode::alone(cometd, 0).await?;
    let early = json!({"user": "early"});
    java.order("associate", early.clone()).await?;
    let halley = HalleyNode::start(cometd, "h1", &[&java.url], |_| {}).await?;
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

pub(crate) async fn parts_of_objects_are_shared_both_ways(cometd: Cometd) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    // One object is there before the nodes meet, one is made after that: here first, and there first.
    java.order("object", json!({"name": "old"})).await?;
    java.order("set", json!({"name": "old", "value": "java"}))
        .await?;
    let halley = HalleyNode::start(cometd, "h1", &[&java.url], |_| {}).await?;
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

pub(crate) async fn maps_and_lists_are_shared_entry_by_entry_both_ways(
    cometd: Cometd,
) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    java.order("map", json!({"name": "rooms"})).await?;
    java.order(
        "put",
        json!({"name": "rooms", "key": "early", "value": {"n": 0}}),
    )
    .await?;
    java.order("list", json!({"name": "words"})).await?;
    let halley = HalleyNode::start(cometd, "h1", &[&java.url], |_| {}).await?;
    let rooms = OortMap::<String, Value>::new(&halley.objects, "rooms")?;
    let words = OortList::<String>::new(&halley.objects, "words")?;
    rooms.put("mine".to_owned(), json!("early"))?;
    halley.oort_members(1).await?;
    let member = halley.cluster.members().remove(0);
    let (url, node) = (halley.url()?, member.name);
    let theirs = |expected: Value| {
        let (rooms, node) = (&rooms, &node);
        async move {
            eventually("a part of the map", DEADLINE, async || {
                let part = rooms.part(node).context("no part")?;
                let part: serde_json::Map<String, Value> = part
                    .iter()
                    .map(|(key, value)| (key.clone(), Value::clone(value)))
                    .collect();
                ensure!(Value::Object(part.clone()) == expected, "{part:?}");
                Ok(())
            })
            .await
        }
    };
    let there = |name: &'static str, expected: Value| {
        let (java, url) = (&java, &url);
        async move {
            let name = json!({"name": name});
            java.until("parts", name, |parts| parts[url] == expected)
                .await
        }
    };
    theirs(json!({"early": {"n": 0}})).await?;
    there("rooms", json!({"mine": "early"})).await?;

    // Entries one by one, and every version of them: a gap would be filled by a whole value.
    for n in 0..20 {
        rooms.put(format!("h{n}"), json!({"n": n}))?;
        let put = json!({"name": "rooms", "key": format!("j{n}"), "value": {"n": n}});
        java.order("put", put).await?;
    }
    for n in 0..19 {
        rooms.remove(&format!("h{n}"))?;
        let remove = json!({"name": "rooms", "key": format!("j{n}")});
        java.order("remove", remove).await?;
    }
    rooms.put_if_absent("mine".to_owned(), json!("no"))?;
    rooms.put_if_absent("new".to_owned(), json!("yes"))?;
    theirs(json!({"early": {"n": 0}, "j19": {"n": 19}})).await?;
    there(
        "rooms",
        json!({"mine": "early", "h19": {"n": 19}, "new": "yes"}),
    )
    .await?;

    for word in ["one", "two", "two", "three"] {
        words.add(word.to_owned())?;
        java.order("add", json!({"name": "words", "value": word}))
            .await?;
    }
    words.remove("two".to_owned())?;
    java.order("drop", json!({"name": "words", "value": "two"}))
        .await?;
    there("words", json!(["one", "three"])).await?;
    eventually("a part of the list", DEADLINE, async || {
        let part = words.part(&node).context("no part")?;
        let part: Vec<&str> = part.iter().map(|word| word.as_str()).collect();
        ensure!(part == ["one", "three"], "{part:?}");
        Ok(())
    })
    .await?;
    Ok(())
}

pub(crate) async fn actions_are_forwarded_both_ways(cometd: Cometd) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    let halley = HalleyNode::start(cometd, "h1", &[&java.url], |_| {}).await?;
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
