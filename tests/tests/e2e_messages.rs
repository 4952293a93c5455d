//! Stock CometD clients, publishing and receiving across the nodes of a real cluster and through HAProxy.

use std::time::Duration;

use anyhow::{Context, ensure};
use halley_tests::agent::Agent;
use halley_tests::cluster_of_processes::ClusterOfProcesses;
use halley_tests::load_balancer::LoadBalancer;
use halley_tests::turn::turn;
use serde_json::json;

const MESSAGES: u64 = 10_000;

/// A publisher on the first node, subscribers on the two others and through the load balancer: 10,000 messages arrive
/// at each, none lost, none twice, in the publisher's order.
async fn ten_thousand(transport: &str, batch: u64) -> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(3).await?;
    let balancer = LoadBalancer::start(&cluster.nodes).await?;
    let publisher = Agent::browser()?;
    publisher
        .connect("publisher", &cluster.url(0), transport, None)
        .await?;
    let places = [
        ("on n2", cluster.url(1), "127.0.0.12"),
        ("on n3", cluster.url(2), "127.0.0.13"),
        ("through the load balancer", balancer.url(), "127.0.0.14"),
        (
            "also through the load balancer",
            balancer.url(),
            "127.0.0.15",
        ),
        (
            "also through the load balancer, a third",
            balancer.url(),
            "127.0.0.16",
        ),
    ];
    let mut subscribers = Vec::new();
    for (name, url, source) in &places {
        let browser = Agent::browser_at(source)?;
        browser.connect(name, url, transport, None).await?;
        browser.subscribe(name, "/flood").await?;
        subscribers.push((name, browser));
    }
    // Interest travels between the nodes: the flood begins when everybody has been reached once.
    for (name, browser) in &subscribers {
        halley_tests::patience::eventually("interest has spread", Duration::from_secs(5), async || {
            publisher.publish("publisher", "/flood", json!({"greeting": name})).await?;
            browser.order("message", json!({"client": name, "channel": "/flood", "data": {"greeting": name}, "ms": 100})).await
        })
        .await?;
    }
    for (name, browser) in &subscribers {
        browser
            .order("forget", json!({"client": name, "channel": "/flood"}))
            .await?;
    }

    let order = json!({"client": "publisher", "channel": "/flood", "count": MESSAGES, "window": 500, "batch": batch, "publisher": "p"});
    let answer = publisher.order("flood", order).await?;
    ensure!(
        answer == json!({"answered": MESSAGES, "refused": 0}),
        "{answer}"
    );
    for (name, browser) in &subscribers {
        browser
            .order("tally_until", json!({"client": name, "channel": "/flood", "publisher": "p", "count": MESSAGES, "ms": 60_000}))
            .await?;
        let tally = browser
            .order(
                "tally",
                json!({"client": name, "channel": "/flood", "publisher": "p", "count": MESSAGES}),
            )
            .await?;
        ensure!(
            tally == json!({"count": MESSAGES, "lost": [], "twice": 0, "disorder": 0}),
            "{name}: {tally}"
        );
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_over_websocket() -> anyhow::Result<()> {
    ten_thousand("websocket", 1).await
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_messages_over_long_polling() -> anyhow::Result<()> {
    ten_thousand("long-polling", 50).await
}

/// Three publishers on three nodes to one subscriber: each publisher's own order is kept.
#[tokio::test(flavor = "multi_thread")]
async fn order_holds_per_publisher() -> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(3).await?;
    let reader = Agent::browser()?;
    reader
        .connect("reader", &cluster.url(2), "websocket", None)
        .await?;
    reader.subscribe("reader", "/orders/**").await?;
    // A second pattern that also matches must not double anything.
    reader.subscribe("reader", "/orders/*").await?;
    let writers = Agent::browser()?;
    let names = ["first", "second", "third"];
    for (place, name) in names.iter().enumerate() {
        writers
            .connect(name, &cluster.url(place), "websocket", None)
            .await?;
        halley_tests::patience::eventually("interest has spread", Duration::from_secs(5), async || {
            writers.publish(name, "/orders/new", json!({"greeting": name})).await?;
            reader.order("message", json!({"client": "reader", "channel": "/orders/*", "data": {"greeting": name}, "ms": 100})).await
        })
        .await?;
    }
    let flood = |name: &'static str| {
        writers.order("flood", json!({"client": name, "channel": "/orders/new", "count": 1000, "window": 100, "publisher": name}))
    };
    let (a, b, c) = tokio::try_join!(flood(names[0]), flood(names[1]), flood(names[2]))?;
    for answer in [a, b, c] {
        ensure!(
            answer == json!({"answered": 1000, "refused": 0}),
            "{answer}"
        );
    }
    for channel in ["/orders/**", "/orders/*"] {
        for name in names {
            reader
                .order("tally_until", json!({"client": "reader", "channel": channel, "publisher": name, "count": 1000, "ms": 30_000}))
                .await?;
            let tally = reader.order("tally", json!({"client": "reader", "channel": channel, "publisher": name, "count": 1000})).await?;
            ensure!(
                tally == json!({"count": 1000, "lost": [], "twice": 0, "disorder": 0}),
                "{channel} {name}: {tally}"
            );
        }
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn direct_messages_find_a_user_on_any_node() -> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(3).await?;
    let (alice, bob) = (Agent::browser()?, Agent::browser()?);
    alice
        .connect("alice", &cluster.url(0), "websocket", Some("alice"))
        .await?;
    alice.subscribe("alice", "/halley/presence").await?;
    // Bob is on two nodes at once, over both transports.
    bob.connect("desk", &cluster.url(1), "websocket", Some("bob"))
        .await?;
    bob.connect("phone", &cluster.url(2), "long-polling", Some("bob"))
        .await?;
    alice
        .presence(
            "alice",
            json!({"alice": ["n1"], "bob": ["n2", "n3"]}),
            Duration::from_secs(5),
        )
        .await?;

    let answer = alice
        .publish(
            "alice",
            "/service/user",
            json!({"to": "bob", "data": {"text": "hello bob"}}),
        )
        .await?;
    ensure!(answer["successful"] == true, "{answer}");
    for tab in ["desk", "phone"] {
        let message = bob
            .message(
                tab,
                "/service/user",
                json!({"from": "alice", "to": "bob", "data": {"text": "hello bob"}}),
            )
            .await?;
        ensure!(message["channel"] == "/service/user", "{message}");
    }
    // And back, from the node that alice is not on.
    let answer = bob
        .publish(
            "phone",
            "/service/user",
            json!({"to": "alice", "data": [1, 2, 3]}),
        )
        .await?;
    ensure!(answer["successful"] == true, "{answer}");
    alice
        .message("alice", "/service/user", json!({"from": "bob"}))
        .await?;

    let answer = alice
        .publish("alice", "/service/user", json!({"to": "nobody", "data": 1}))
        .await?;
    ensure!(
        answer == json!({"successful": false, "error": "404:nobody:user_unknown"}),
        "{answer}"
    );

    let stranger = Agent::browser()?;
    stranger
        .connect("stranger", &cluster.url(0), "websocket", None)
        .await?;
    let answer = stranger
        .publish("stranger", "/service/user", json!({"to": "bob", "data": 1}))
        .await?;
    ensure!(
        answer == json!({"successful": false, "error": "403::user_required"}),
        "{answer}"
    );
    // Nobody heard of it.
    let heard = bob
        .order(
            "received",
            json!({"client": "desk", "channel": "/service/user"}),
        )
        .await?;
    ensure!(
        heard.as_array().is_some_and(|messages| messages.len() == 1),
        "{heard}"
    );
    Ok(())
}

/// Two tabs of one browser share its cookie: over long-polling the node holds one poll and tells the other tab to poll
/// at intervals. Presence counts users, not tabs.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_tab_of_one_user() -> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(2).await?;
    let (watcher, browser) = (Agent::browser()?, Agent::browser()?);
    watcher
        .connect("watcher", &cluster.url(1), "websocket", None)
        .await?;
    watcher.subscribe("watcher", "/halley/presence").await?;
    browser
        .connect("tab 1", &cluster.url(0), "long-polling", Some("carol"))
        .await?;
    browser.subscribe("tab 1", "/news").await?;
    browser
        .connect("tab 2", &cluster.url(0), "long-polling", Some("carol"))
        .await?;
    browser.subscribe("tab 2", "/news").await?;
    browser
        .order("multiple", json!({"client": "tab 2", "ms": 10_000}))
        .await?;

    halley_tests::patience::eventually("interest has spread", Duration::from_secs(5), async || {
        watcher.publish("watcher", "/news", json!({"text": "to both tabs"})).await?;
        browser.order("message", json!({"client": "tab 1", "channel": "/news", "data": {"text": "to both tabs"}, "ms": 200})).await
    })
    .await?;
    browser
        .message("tab 2", "/news", json!({"text": "to both tabs"}))
        .await?;

    watcher
        .presence("watcher", json!({"carol": ["n1"]}), Duration::from_secs(5))
        .await?;
    browser
        .order("disconnect", json!({"client": "tab 1"}))
        .await?;
    // The first tab's leaving is in the past when a message sent after it has arrived, and carol has not left.
    watcher
        .publish("watcher", "/news", json!({"text": "after"}))
        .await?;
    browser
        .message("tab 2", "/news", json!({"text": "after"}))
        .await?;
    let events = watcher
        .order(
            "received",
            json!({"client": "watcher", "channel": "/halley/presence"}),
        )
        .await?;
    ensure!(!events.to_string().contains("leave"), "{events}");
    browser
        .order("disconnect", json!({"client": "tab 2"}))
        .await?;
    watcher
        .presence("watcher", json!({}), Duration::from_secs(5))
        .await?;
    Ok(())
}

/// The load balancer's cookie brings a browser back to its node, over long-polling and after a dropped connection.
#[tokio::test(flavor = "multi_thread")]
async fn the_load_balancer_is_sticky_by_cookie() -> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(3).await?;
    let balancer = LoadBalancer::start(&cluster.nodes).await?;
    for transport in ["websocket", "long-polling"] {
        let browser = Agent::browser()?;
        browser
            .connect("tab", &balancer.url(), transport, Some("dora"))
            .await?;
        let cookie = browser
            .order(
                "cookie",
                json!({"host": "127.0.0.1", "name": "HALLEY_NODE"}),
            )
            .await?;
        browser.subscribe("tab", "/halley/cluster").await?;
        let panel = browser
            .nodes("tab", &["n1", "n2", "n3"], Duration::from_secs(5))
            .await?;
        ensure!(
            cookie["value"] == panel["self"],
            "{transport}: the cookie says {cookie}, the node says {}",
            panel["self"]
        );
        // A second tab follows the cookie, whatever the balance would say.
        browser
            .connect("second tab", &balancer.url(), transport, Some("dora"))
            .await?;
        browser.subscribe("second tab", "/halley/cluster").await?;
        let second = browser
            .nodes("second tab", &["n1", "n2", "n3"], Duration::from_secs(5))
            .await?;
        ensure!(second["self"] == panel["self"], "{transport}: {second}");
    }
    Ok(())
}

/// A browser that loses the load balancer's cookie in the middle of its session still reaches its node, by its address.
#[tokio::test(flavor = "multi_thread")]
async fn the_load_balancer_falls_back_to_the_source_address() -> anyhow::Result<()> {
    let _turn = turn().await;
    let cluster = ClusterOfProcesses::start(3).await?;
    let balancer = LoadBalancer::start(&cluster.nodes).await?;
    let browser = Agent::browser_at("127.0.0.21")?;
    browser
        .connect("tab", &balancer.url(), "long-polling", None)
        .await?;
    browser.subscribe("tab", "/fallback").await?;
    for number in 0..10 {
        browser
            .order(
                "drop_cookie",
                json!({"host": "127.0.0.1", "name": "HALLEY_NODE"}),
            )
            .await?;
        let answer = browser
            .publish("tab", "/fallback", json!({"number": number}))
            .await?;
        ensure!(answer["successful"] == true, "{answer}");
        browser
            .message("tab", "/fallback", json!({"number": number}))
            .await?;
    }
    let session = browser
        .order(
            "handshakes",
            json!({"client": "tab", "handshakes": 1, "ms": 100}),
        )
        .await?;
    ensure!(
        session["handshakes"] == 1,
        "the session was lost: {session}"
    );
    Ok(())
}

/// A node that is told to end hands its clients over: through the load balancer they find another node by themselves.
#[tokio::test(flavor = "multi_thread")]
async fn the_load_balancer_leads_clients_away_from_a_draining_node() -> anyhow::Result<()> {
    let _turn = turn().await;
    for transport in ["websocket", "long-polling"] {
        let mut cluster = ClusterOfProcesses::start(3).await?;
        let balancer = LoadBalancer::start(&cluster.nodes).await?;
        let browser = Agent::browser()?;
        browser
            .connect("tab", &balancer.url(), transport, Some("erin"))
            .await?;
        browser.subscribe("tab", "/halley/cluster").await?;
        let panel = browser
            .nodes("tab", &["n1", "n2", "n3"], Duration::from_secs(5))
            .await?;
        let place = ["n1", "n2", "n3"]
            .iter()
            .position(|name| panel["self"] == *name)
            .context("no such node")?;
        cluster.nodes[place].signal("TERM").await?;
        let status = cluster.nodes[place].ended(Duration::from_secs(10)).await?;
        ensure!(status.success(), "{transport}: {status}");
        // The stock client comes back by itself, with a new session on another node; its subscriptions are its own affair.
        browser
            .order(
                "handshakes",
                json!({"client": "tab", "handshakes": 2, "ms": 15_000}),
            )
            .await?;
        browser
            .order(
                "forget",
                json!({"client": "tab", "channel": "/halley/cluster"}),
            )
            .await?;
        browser.subscribe("tab", "/halley/cluster").await?;
        let left: Vec<_> = ["n1", "n2", "n3"]
            .into_iter()
            .filter(|name| panel["self"] != **name)
            .collect();
        browser.nodes("tab", &left, Duration::from_secs(5)).await?;
    }
    Ok(())
}
