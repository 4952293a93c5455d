//! CometD's Oort in real JVMs, and Halley nodes, form one cluster.

use halley_tests::oort::{HalleyNode, JavaNode};
use halley_tests::turn::turn;
use serde_json::json;

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
