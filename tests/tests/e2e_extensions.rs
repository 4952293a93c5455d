//! Stock CometD clients with their extensions.

use anyhow::ensure;
use halley_tests::agent::Agent;
use halley_tests::cable::Cable;
use halley_tests::cluster_of_processes::ClusterOfProcesses;
use halley_tests::turn::turn;
use serde_json::json;

/// Messages of each round.
const MESSAGES: u64 = 1000;

/// Rounds: in each, the subscriber's connections are cut while the messages flow.
const CUTS: u64 = 8;

/// Reference 8.1: a subscriber whose connections are cut in mid-flow, again and again, gets every message once and in order, in one
/// session.
async fn cut_in_mid_flow(transport: &str) -> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(2).await?;
    let proxy = Cable::plugged(cluster.nodes[1].settings.client).await?;
    let publisher = Agent::browser()?;
    publisher
        .connect("publisher", &cluster.url(0), "websocket", None)
        .await?;
    let subscriber = Agent::browser()?;
    let order =
        json!({"client": "subscriber", "url": proxy.url(), "transport": transport, "ack": true});
    subscriber.order("connect", order).await?;
    subscriber.subscribe("subscriber", "/flood").await?;
    halley_tests::patience::eventually("interest has spread", std::time::Duration::from_secs(5), async || {
        publisher.publish("publisher", "/flood", json!({"greeting": 1})).await?;
        subscriber.order("message", json!({"client": "subscriber", "channel": "/flood", "data": {"greeting": 1}, "ms": 100})).await
    })
    .await?;

    for round in 1..=CUTS {
        let name = format!("p{round}");
        let arrived = |count: u64| {
            subscriber.order(
                "tally_until",
                json!({"client": "subscriber", "channel": "/flood", "publisher": name, "count": count, "ms": 60_000}),
            )
        };
        let flood = publisher.order(
            "flood",
            json!({"client": "publisher", "channel": "/flood", "count": MESSAGES, "window": 20, "publisher": name}),
        );
        let cut = async {
            arrived(MESSAGES / 5).await?;
            Ok(proxy.cut())
        };
        let (answer, cut) = tokio::try_join!(flood, cut)?;
        ensure!(
            answer == json!({"answered": MESSAGES, "refused": 0}),
            "{answer}"
        );
        ensure!(cut > 0, "nothing was cut");
        arrived(MESSAGES).await?;
        let tally = subscriber
            .order(
                "tally",
                json!({"client": "subscriber", "channel": "/flood", "publisher": name, "count": MESSAGES}),
            )
            .await?;
        ensure!(
            tally == json!({"count": MESSAGES, "lost": [], "twice": 0, "disorder": 0}),
            "round {round}: {tally}"
        );
    }
    let now = subscriber
        .order(
            "handshakes",
            json!({"client": "subscriber", "handshakes": 1, "ms": 1000}),
        )
        .await?;
    ensure!(now["handshakes"] == 1, "another session: {now}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_websocket_cut_in_mid_flow() -> anyhow::Result<()> {
    cut_in_mid_flow("websocket").await
}

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_long_polling_cut_in_mid_flow() -> anyhow::Result<()> {
    cut_in_mid_flow("long-polling").await
}

/// Reference section 2: script tags instead of requests.
#[tokio::test(flavor = "multi_thread")]
async fn callback_polling() -> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(1).await?;
    let browser = Agent::browser()?;
    browser
        .connect("script", &cluster.url(0), "callback-polling", None)
        .await?;
    browser.subscribe("script", "/flood").await?;
    let answer = browser
        .publish("script", "/flood", json!({"line": "a\u{2028}b"}))
        .await?;
    ensure!(answer["successful"] == true, "{answer}");
    browser
        .message("script", "/flood", json!({"line": "a\u{2028}b"}))
        .await?;
    let order = json!({"client": "script", "channel": "/flood", "count": 200, "window": 20, "batch": 10, "publisher": "p"});
    let answer = browser.order("flood", order).await?;
    ensure!(answer == json!({"answered": 200, "refused": 0}), "{answer}");
    browser
        .order("tally_until", json!({"client": "script", "channel": "/flood", "publisher": "p", "count": 200, "ms": 20_000}))
        .await?;
    let tally = browser
        .order(
            "tally",
            json!({"client": "script", "channel": "/flood", "publisher": "p", "count": 200}),
        )
        .await?;
    ensure!(
        tally == json!({"count": 200, "lost": [], "twice": 0, "disorder": 0}),
        "{tally}"
    );
    browser
        .order("disconnect", json!({"client": "script"}))
        .await?;
    Ok(())
}
