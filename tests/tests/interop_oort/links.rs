//! Nodes find each other, are refused, are lost, and come back.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::ensure;
use halley_cluster::{MulticastConfig, NodeName, Secret};
use halley_tests::java_oort::{Cometd, JavaNode};
use halley_tests::oort::HalleyNode;
use halley_tests::patience::eventually;
use serde_json::json;

use crate::DEADLINE;

pub(crate) async fn a_halley_node_dials_a_java_node(cometd: Cometd) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    let halley = HalleyNode::start(cometd, "h1", &[&java.url], |_| {}).await?;
    halley.oort_members(1).await?;
    java.knows(&[&halley.url()?]).await?;
    java.event(&format!("joined {}", halley.url()?)).await?;
    let member = halley.cluster.members().remove(0);
    assert_eq!(member.client_url, java.url);
    Ok(())
}

pub(crate) async fn a_java_node_dials_a_halley_node(cometd: Cometd) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    let halley = HalleyNode::start(cometd, "h1", &[], |_| {}).await?;
    java.order("observe", json!({"url": halley.url()?})).await?;
    halley.oort_members(1).await?;
    java.event(&format!("joined {}", halley.url()?)).await?;
    Ok(())
}

pub(crate) async fn nodes_find_each_other_by_multicast(cometd: Cometd) -> anyhow::Result<()> {
    let port = halley_tests::ports::free_address().port();
    let group = Ipv4Addr::new(239, 255, 77, 7);
    let multicast = json!({"multicast": {"group": group.to_string(), "port": port}});
    let java = JavaNode::start(cometd, multicast).await?;
    let halley = HalleyNode::start(cometd, "h1", &[], |config| {
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

pub(crate) async fn a_node_with_another_secret_stays_outside(cometd: Cometd) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    let stranger = HalleyNode::start(cometd, "h1", &[&java.url], |config| {
        let secret = Secret::new(b"quite another secret of more than thirty-two bytes");
        if let (Some(oort), Ok(secret)) = (&mut config.oort, secret) {
            oort.secret = secret;
        }
    })
    .await?;
    let halley = HalleyNode::start(cometd, "h2", &[&java.url], |_| {}).await?;
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
    java.event(&format!("joined {}", halley.url()?)).await?;
    // Oort of CometD 3.1 knows even those who have refused it.
    if cometd != Cometd::V3_1 {
        java.knows(&[&halley.url()?]).await?;
    }
    let events = java.order("events", json!({})).await?;
    let joined = json!(format!("joined {}", stranger.url()?));
    ensure!(
        events.as_array().is_some_and(|it| !it.contains(&joined)),
        "{events}"
    );
    assert!(halley.cluster.dialect(&NodeName::new("h1")?).is_none());
    Ok(())
}

pub(crate) async fn a_java_node_that_crashes_has_left_and_comes_back(
    cometd: Cometd,
) -> anyhow::Result<()> {
    let java = JavaNode::alone(cometd, 0).await?;
    let (port, url) = (java.port(), java.url.clone());
    let halley = HalleyNode::start(cometd, "h1", &[&url], |_| {}).await?;
    halley.oort_members(1).await?;
    let first = halley.cluster.members().remove(0);
    drop(java);
    halley.oort_members(0).await?;
    let java = JavaNode::alone(cometd, port).await?;
    assert_eq!(java.url, url);
    halley.oort_members(1).await?;
    let second = halley.cluster.members().remove(0);
    assert_eq!(first.name, second.name);
    assert_ne!(first.incarnation, second.incarnation);
    java.knows(&[&halley.url()?]).await?;
    Ok(())
}

pub(crate) async fn a_halley_node_that_leaves_or_crashes_has_left(
    cometd: Cometd,
) -> anyhow::Result<()> {
    let java = JavaNode::start(cometd, json!({})).await?;
    let leaver = HalleyNode::start(cometd, "h1", &[&java.url], |_| {}).await?;
    let url = leaver.url()?;
    leaver.oort_members(1).await?;
    leaver.cluster.leave().await;
    java.event(&format!("left {url}")).await?;
    let crasher = HalleyNode::start(cometd, "h2", &[&java.url], |_| {}).await?;
    let url = crasher.url()?;
    crasher.oort_members(1).await?;
    drop(crasher);
    java.event(&format!("left {url}")).await?;
    java.knows(&[]).await?;
    Ok(())
}
