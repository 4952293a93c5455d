//! Two live nodes that cannot be told apart by name and address, and a node that is stopped and goes on: what the others see,
//! and what their logs and metrics say.

use std::time::Duration;

use anyhow::{Context, ensure};
use halley_client::{Client, Events};
use halley_tests::admin;
use halley_tests::cluster_of_processes::{ClusterOfProcesses, members};
use halley_tests::node_process::{NodeProcess, NodeSettings};
use halley_tests::patience::{eventually, patience};
use halley_tests::turn::turn;
use tokio::time::{Instant, sleep_until, timeout};

/// Silence after which a node has left: the default of `mesh.detection_ms`.
const DETECTION: Duration = Duration::from_secs(4);

/// How often a node has logged that a sibling has joined, or left.
fn logged(node: &NodeProcess, event: &str, name: &str) -> usize {
    let log = node.log();
    let lines = log.lines().map(without_colours);
    lines
        .filter(|line| line.contains(&format!(" {event} ")) || line.ends_with(&format!(" {event}")))
        .filter(|line| line.contains(&format!("name={name} ")))
        .count()
}

fn without_colours(line: &str) -> String {
    let mut plain = String::new();
    let mut inside = false;
    for c in line.chars() {
        match c {
            '\u{1b}' => inside = true,
            'm' if inside => inside = false,
            _ if !inside => plain.push(c),
            _ => {}
        }
    }
    plain
}

async fn client(url: &str) -> anyhow::Result<(Client, Events)> {
    let builder = Client::builder(url).acknowledge(true);
    Ok(builder.connect().await?)
}

/// A node is copied with its whole configuration, and both run. One of them is a member, or none; the third node says who is
/// in the way, and does not see one node come and go for ever.
#[tokio::test(flavor = "multi_thread")]
async fn twins_are_named_and_do_not_flap() -> anyhow::Result<()> {
    let _turn = turn().await;
    let first = NodeSettings::new("twin");
    let mut other = NodeSettings::new("other").siblings(&[first.mesh]);
    other.session = String::new();
    let mut second = NodeSettings::new("twin").siblings(&[other.mesh]);
    second.advertise = Some(first.mesh);
    let first = first.siblings(&[other.mesh]);
    let mut other = NodeProcess::start(other)?;
    let mut first = NodeProcess::start(first)?;
    other.ready().await?;
    first.ready().await?;
    members(&other, 2, Duration::from_secs(10)).await?;

    let mut second = NodeProcess::start(second)?;
    let conflict = "halley_name_conflicts_total";
    eventually("a conflict", Duration::from_secs(15), async || {
        ensure!(other.metric(conflict).await? >= 1.0, "no conflict yet");
        Ok(())
    })
    .await?;
    // The one that was refused is not for clients, and says why.
    eventually("not ready", Duration::from_secs(15), async || {
        let (status, body) = admin::get(first.settings.admin, "/readyz").await?;
        ensure!(
            status == 503 && body.contains("name_conflict"),
            "{status} {body}"
        );
        Ok(())
    })
    .await?;
    let line = "two live nodes are called twin and give this address";
    ensure!(other.log().contains(line), "{}", other.log());
    // It has been taken for a restart once; after that nothing comes and goes.
    let before = (
        logged(&other, "joined", "twin"),
        logged(&other, "left", "twin"),
    );
    ensure!(before == (1, 1), "{before:?} in\n{}", other.log());
    sleep_until(Instant::now() + 2 * DETECTION).await;
    let after = (
        logged(&other, "joined", "twin"),
        logged(&other, "left", "twin"),
    );
    ensure!(after == before, "{after:?} after {before:?}");

    // When the copy is gone, the first one is a member again.
    second.kill().await?;
    members(&other, 2, Duration::from_secs(15)).await?;
    first.ready().await?;
    Ok(())
}

/// A node is stopped for longer than its siblings wait before they try another connection, and for less than they wait before
/// they give it up.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_within_the_window_loses_nothing_and_nobody_leaves()
-> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(2).await?;
    let (publisher, _) = client(&cluster.url(0)).await?;
    let (subscriber, mut events) = client(&cluster.url(1)).await?;
    subscriber.subscribe("/numbers").await?;
    until_reached(&publisher, &mut events).await?;

    let stopped = Instant::now();
    cluster.nodes[1].signal("STOP").await?;
    for n in 0..500 {
        publisher.publish("/numbers", n).await?;
        if n % 100 == 0 {
            sleep_until(stopped + DETECTION * (n / 100) / 8).await;
        }
    }
    sleep_until(stopped + DETECTION * 5 / 8).await;
    cluster.nodes[1].signal("CONT").await?;
    for n in 0..500 {
        let message = timeout(patience(Duration::from_secs(15)), events.next_message()).await;
        let message = message.context(n)?.context("the client has ended")?;
        ensure!(
            message.data() == n.to_string(),
            "{} instead of {n}",
            message.data()
        );
    }
    for (node, sibling) in [(0, "n2"), (1, "n1")] {
        let left = logged(&cluster.nodes[node], "left", sibling);
        ensure!(left == 0, "{sibling} left: {}", cluster.nodes[node].log());
    }
    let lost = "halley_link_publications_lost_total{sibling=\"n2\"}";
    ensure!(cluster.nodes[0].metric(lost).await? == 0.0);
    Ok(())
}

/// A node is stopped for longer: what was under way is lost, counted, and logged with the node's name and the reason.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_stopped_for_longer_has_left_and_the_loss_is_counted() -> anyhow::Result<()>
{
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(2).await?;
    let (publisher, _) = client(&cluster.url(0)).await?;
    let (subscriber, mut events) = client(&cluster.url(1)).await?;
    subscriber.subscribe("/numbers").await?;
    until_reached(&publisher, &mut events).await?;

    // What has come in and is not acknowledged when its life ends counts as lost, too.
    let window = "halley_link_window_bytes{sibling=\"n2\"}";
    eventually("all acknowledged", Duration::from_secs(10), async || {
        let bytes = cluster.nodes[0].metric(window).await?;
        ensure!(bytes == 0.0, "{bytes} bytes are not");
        Ok(())
    })
    .await?;
    let stopped = Instant::now();
    cluster.nodes[1].signal("STOP").await?;
    for n in 0..50 {
        publisher.publish("/numbers", n).await?;
    }
    members(&cluster.nodes[0], 1, DETECTION + Duration::from_secs(1)).await?;
    sleep_until(stopped + DETECTION * 3 / 2).await;
    cluster.nodes[1].signal("CONT").await?;
    for node in &cluster.nodes {
        members(node, 2, Duration::from_secs(15)).await?;
    }
    let lost = "halley_link_publications_lost_total{sibling=\"n2\"}";
    // Those of the life that is over count when nobody can tell any more what came in.
    eventually("the loss is counted", Duration::from_secs(25), async || {
        let lost = cluster.nodes[0].metric(lost).await?;
        ensure!(lost == 50.0, "{lost}");
        Ok(())
    })
    .await?;
    let node = &cluster.nodes[0];
    ensure!(logged(node, "left", "n2") == 1, "{}", node.log());
    ensure!(logged(node, "joined", "n2") == 2, "{}", node.log());
    let plain: String = node
        .log()
        .lines()
        .map(|line| without_colours(line) + "\n")
        .collect();
    let left = plain
        .lines()
        .find(|line| line.contains(" left ") && line.contains("name=n2 "));
    let left = left.context("not logged")?;
    ensure!(
        left.contains("because=\"the ") && left.contains("silent"),
        "{left}"
    );
    let loss = plain
        .lines()
        .find(|line| line.contains("publications for a sibling are lost"));
    ensure!(
        loss.is_some_and(|loss| loss.contains("name=n2 lost=50")),
        "{loss:?}"
    );
    Ok(())
}

/// The subscriber's channel is known where the publisher is; nothing of that waits any more.
async fn until_reached(publisher: &Client, events: &mut Events) -> anyhow::Result<()> {
    let mut sent = 0;
    loop {
        publisher.publish("/numbers", "probe").await?;
        sent += 1;
        ensure!(sent < 1000, "the subscriber is not reached");
        if timeout(Duration::from_millis(20), events.next_message())
            .await
            .is_ok()
        {
            break;
        }
    }
    publisher.publish("/numbers", "last").await?;
    loop {
        let message = timeout(patience(Duration::from_secs(5)), events.next_message()).await?;
        if message.context("the client has ended")?.data() == "\"last\"" {
            return Ok(());
        }
    }
}
