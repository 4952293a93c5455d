//! The network between a Java and a Halley node is cut, and the links are what they were, or lost and made anew.

use anyhow::{Context, ensure};
use halley_bayeux::UserId;
use halley_cluster::OortUrl;
use halley_replication::OortObject;
use halley_tests::cable::Cable;
use halley_tests::java_oort::{Cometd, JavaNode};
use halley_tests::oort::{HalleyClient, HalleyNode};
use halley_tests::patience::eventually;
use halley_tests::ports::free_address;
use serde_json::{Value, json};

use crate::DEADLINE;
use crate::traffic::{counted, flows_from, flows_to, numbers};

const CHANNEL: &str = "/cut";

/// A Java and a Halley node that reach each other through cables only: the URLs of both are those of the cables.
struct Pair {
    java: JavaNode,
    halley: HalleyNode,
    cables: [Cable; 2],
    listener: HalleyClient,
    talker: HalleyClient,
}

impl Pair {
    /// They are members, and messages flow both ways.
    async fn start(cometd: Cometd) -> anyhow::Result<Self> {
        let (at_java, at_halley) = (free_address(), free_address());
        let cables = [
            Cable::plugged(at_java).await?,
            Cable::plugged(at_halley).await?,
        ];
        let [to_java, to_halley] = cables
            .each_ref()
            .map(|cable| format!("http://{}/cometd", cable.address));
        let fields = json!({"port": at_java.port(), "url": to_java});
        let java = JavaNode::start(cometd, fields).await?;
        let url = OortUrl::parse(&to_halley)?;
        let halley = HalleyNode::start(cometd, "h1", &[&to_java], |config| {
            config.listen = at_halley;
            if let Some(oort) = &mut config.oort {
                oort.url = Some(url);
            }
        })
        .await?;
        halley.oort_members(1).await?;
        java.event(&format!("joined {to_halley}")).await?;
        let (listener, talker) = (halley.client(Some("hanna")), halley.client(None));
        listener.subscribe(CHANNEL).await?;
        let channel = json!({"channel": CHANNEL});
        java.order("observe_channel", channel).await?;
        let subscribe = json!({"user": "jakob", "channel": CHANNEL});
        java.order("subscribe", subscribe).await?;
        let pair = Self {
            java,
            halley,
            cables,
            listener,
            talker,
        };
        pair.flow().await?;
        Ok(pair)
    }

    async fn flow(&self) -> anyhow::Result<()> {
        flows_from(&self.java, &self.listener, CHANNEL).await?;
        flows_to(&self.java, "jakob", &self.talker, CHANNEL).await
    }

    async fn unplug(&mut self) {
        for cable in &mut self.cables {
            cable.unplug().await;
        }
    }

    async fn plug(&mut self) -> anyhow::Result<()> {
        for cable in &mut self.cables {
            cable.plug().await?;
        }
        Ok(())
    }

    /// Twenty messages from 0 of the Halley node and twenty from 100 of the Java node.
    async fn publish(&self) -> anyhow::Result<()> {
        for n in 0..20 {
            self.talker.publish(CHANNEL, json!({"n": n})).await?;
            let order = json!({"user": "talker", "channel": CHANNEL, "data": {"n": 100 + n}});
            self.java.order("publish", order).await?;
        }
        Ok(())
    }

    /// Both have all of these once and in order.
    async fn published(&self) -> anyhow::Result<()> {
        let right = |received: &[Value]| {
            let (theirs, mine): (Vec<Value>, Vec<Value>) = numbers(received, CHANNEL)
                .into_iter()
                .partition(|n| n.as_u64() >= Some(100));
            (theirs == counted(100) && mine == counted(0)).then_some(())
        };
        eventually("all at the Halley node", DEADLINE, async || {
            let received = self.listener.received();
            right(&received).with_context(|| format!("{received:?}"))
        })
        .await?;
        let received = json!({"user": "jakob", "channel": CHANNEL});
        self.java
            .until("received", received, |received| {
                let received = received.as_array().into_iter().flatten();
                let received: Vec<Value> = received.map(|it| json!([CHANNEL, it])).collect();
                right(&received).is_some()
            })
            .await
            .map(drop)
    }

    /// The sessions of both links, as the Java node has them.
    async fn links(&self) -> anyhow::Result<Value> {
        let url = json!({"url": self.halley.url()?});
        let links = self.java.order("links", url).await?;
        ensure!(links.as_array().is_some_and(|it| it.len() == 2), "{links}");
        Ok(links)
    }
}

/// The events that a Java node has been told of. Oort of CometD 3.1 tells of *joined* again when the join message is repeated, as it is
/// when a link works again.
fn told(cometd: Cometd, events: &Value) -> Vec<&str> {
    let events = events.as_array().into_iter().flatten();
    let mut events: Vec<&str> = events.filter_map(Value::as_str).collect();
    if cometd == Cometd::V3_1 {
        events.dedup();
    }
    events
}

pub(crate) async fn a_cut_shorter_than_the_interval_loses_and_doubles_nothing(
    cometd: Cometd,
) -> anyhow::Result<()> {
    let mut pair = Pair::start(cometd).await?;
    pair.java.order("object", json!({"name": "state"})).await?;
    let state = OortObject::new(&pair.halley.objects, "state", "before".to_owned())?;
    let (here, there) = (pair.halley.url()?, pair.java.url.clone());
    let parts = json!({&there: "none", &here: "before"});
    let name = json!({"name": "state"});
    pair.java
        .until("parts", name.clone(), |it| *it == parts)
        .await?;
    let links = pair.links().await?;
    let member = pair.halley.cluster.members().remove(0);

    pair.unplug().await;
    pair.publish().await?;
    state.set("after".to_owned())?;
    let set = json!({"name": "state", "value": "changed"});
    pair.java.order("set", set).await?;
    pair.java
        .order("associate", json!({"user": "late"}))
        .await?;
    let hugo = pair.halley.client(Some("hugo"));
    pair.plug().await?;

    pair.published().await?;
    let parts = json!({&there: "changed", &here: "after"});
    pair.java.until("parts", name, |it| *it == parts).await?;
    let present = json!({"user": "hugo"});
    pair.java
        .until("present", present, |it| *it == true)
        .await?;
    drop(hugo);
    let late = UserId::new("late")?;
    eventually("what has changed", DEADLINE, async || {
        let part = state.part(&member.name);
        ensure!(
            part.as_ref().is_some_and(|it| **it == "changed"),
            "{part:?}"
        );
        ensure!(pair.halley.cluster.seti().is_present(&late), "no user");
        Ok(())
    })
    .await?;
    // Nobody has left, and the sessions are those from before.
    ensure!(pair.links().await? == links, "other sessions");
    let events = pair.java.order("events", json!({})).await?;
    let expected = [format!("joined {here}")];
    ensure!(told(cometd, &events) == expected, "{events}");
    let members = pair.halley.cluster.members();
    ensure!(members == [member], "{members:?}");
    Ok(())
}

pub(crate) async fn a_cut_longer_than_the_interval_is_a_loss_on_both_sides(
    cometd: Cometd,
) -> anyhow::Result<()> {
    let mut pair = Pair::start(cometd).await?;
    let url = pair.halley.url()?;
    let jakob = json!({"user": "jakob"});
    pair.java.order("associate", jakob).await?;
    let jakob = UserId::new("jakob")?;
    let present = async |pair: &Pair, expected: bool| {
        let hanna = json!({"user": "hanna"});
        pair.java
            .until("present", hanna, |it| *it == expected)
            .await?;
        eventually("the user there", DEADLINE, async || {
            let found = pair.halley.cluster.seti().is_present(&jakob);
            ensure!(found == expected, "{found}");
            Ok(())
        })
        .await
    };
    present(&pair, true).await?;
    let links = pair.links().await?;

    pair.unplug().await;
    pair.java.event(&format!("left {url}")).await?;
    pair.halley.oort_members(0).await?;
    present(&pair, false).await?;

    pair.plug().await?;
    pair.halley.oort_members(1).await?;
    let expected = ["joined", "left", "joined"].map(|what| format!("{what} {url}"));
    pair.java
        .until("events", json!({}), |it| told(cometd, it) == expected)
        .await?;
    present(&pair, true).await?;
    let now = pair.links().await?;
    ensure!(now[0] != links[0] && now[1] != links[1], "{links} {now}");
    pair.flow().await?;
    pair.publish().await?;
    pair.published().await
}
