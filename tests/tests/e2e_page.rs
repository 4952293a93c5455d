//! The demonstration page in headless Chromium, on a real cluster started by `halley dev`.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use halley_tests::agent::Agent;
use halley_tests::binary::repository;
use halley_tests::dev_cluster::DevCluster;
use halley_tests::turn::turn;
use serde_json::{Value, json};

/// Where screenshots are kept for people to look at.
fn artifact(name: &str) -> anyhow::Result<PathBuf> {
    let folder = repository().join("tests/artifacts");
    std::fs::create_dir_all(&folder)?;
    Ok(folder.join(name))
}

async fn screenshot(browser: &Agent, page: &str, name: &str) -> anyhow::Result<()> {
    let file = artifact(name)?;
    browser
        .order("screenshot", json!({"page": page, "file": file}))
        .await
        .map(drop)
}

async fn no_errors(browser: &Agent, page: &str) -> anyhow::Result<()> {
    let errors = browser.order("errors", json!({"page": page})).await?;
    ensure!(errors == json!([]), "{page}: {errors}");
    Ok(())
}

async fn sees(browser: &Agent, page: &str, text: &str) -> anyhow::Result<()> {
    browser
        .order("sees", json!({"page": page, "text": text, "ms": 10_000}))
        .await
        .map(drop)
}

async fn say(browser: &Agent, page: &str, text: &str) -> anyhow::Result<()> {
    browser
        .order("say", json!({"page": page, "text": text}))
        .await
        .map(drop)
}

async fn people(browser: &Agent, page: &str, people: Value, ms: u64) -> anyhow::Result<()> {
    browser
        .order("people", json!({"page": page, "people": people, "ms": ms}))
        .await
        .map(drop)
}

#[tokio::test(flavor = "multi_thread")]
async fn people_chat_across_nodes_and_a_page_outlives_its_node() -> anyhow::Result<()> {
    let _turn = turn().await;
    let dev = DevCluster::start(3).await?;
    let browser = Agent::chromium()?;
    browser
        .order(
            "open",
            json!({"page": "desk", "url": dev.page(0), "user": "Amira Haddad"}),
        )
        .await?;
    browser
        .order(
            "open",
            json!({"page": "dark", "url": dev.page(1), "user": "Jonas", "dark": true}),
        )
        .await?;
    browser.order("open", json!({"page": "phone", "url": dev.page(2), "user": "Mei Tanaka", "width": 390, "height": 844})).await?;
    for page in ["desk", "dark", "phone"] {
        browser
            .order(
                "nodes",
                json!({"page": page, "names": ["n1", "n2", "n3"], "ms": 10_000}),
            )
            .await?;
        people(
            &browser,
            page,
            json!({"Amira Haddad": ["n1"], "Jonas": ["n2"], "Mei Tanaka": ["n3"]}),
            10_000,
        )
        .await?;
    }

    for (page, text) in [
        ("desk", "Good morning! I am on the first node."),
        ("dark", "Morning. Second node here."),
        ("phone", "And the third, from a phone."),
        (
            "desk",
            "Markup is text: <img src=x onerror=alert(1)> & <b>bold</b>",
        ),
    ] {
        say(&browser, page, text).await?;
        for reader in ["desk", "dark", "phone"] {
            sees(&browser, reader, text).await?;
        }
    }
    browser
        .order("direct", json!({"page": "desk", "user": "Jonas"}))
        .await?;
    say(&browser, "desk", "Only for you.").await?;
    sees(&browser, "desk", "Only for you.").await?;
    browser
        .order("direct", json!({"page": "dark", "user": "Amira Haddad"}))
        .await?;
    sees(&browser, "dark", "Only for you.").await?;
    screenshot(&browser, "dark", "page-direct-dark.png").await?;
    browser.order("lobby", json!({"page": "desk"})).await?;
    browser.order("lobby", json!({"page": "dark"})).await?;
    screenshot(&browser, "desk", "page-desk.png").await?;
    for view in ["chat", "people", "cluster"] {
        browser
            .order("view", json!({"page": "phone", "view": view}))
            .await?;
        screenshot(&browser, "phone", &format!("page-phone-{view}.png")).await?;
        let overflow = browser.order("overflow", json!({"page": "phone"})).await?;
        ensure!(
            overflow == json!({"overflow": false}),
            "the {view} view is wider than the phone"
        );
    }
    browser
        .order("view", json!({"page": "phone", "view": "chat"}))
        .await?;

    // The first node dies. What is written meanwhile waits, and is sent when another node is reached.
    dev.kill_node(0).await?;
    say(&browser, "desk", "Written while my node was dying.").await?;
    let moved = browser
        .order(
            "elsewhere",
            json!({"page": "desk", "not": "n1", "ms": 15_000}),
        )
        .await?;
    let node = moved["node"].as_str().context("no node")?.to_owned();
    let banner = moved["banner"].as_str().unwrap_or_default();
    ensure!(
        banner.contains("n1 stopped answering") && banner.contains(&node),
        "the page says: {banner}"
    );
    screenshot(&browser, "desk", "page-moved.png").await?;
    for reader in ["desk", "dark", "phone"] {
        sees(&browser, reader, "Written while my node was dying.").await?;
        browser
            .order(
                "nodes",
                json!({"page": reader, "names": ["n2", "n3"], "ms": 10_000}),
            )
            .await?;
        people(
            &browser,
            reader,
            json!({"Amira Haddad": [node], "Jonas": ["n2"], "Mei Tanaka": ["n3"]}),
            10_000,
        )
        .await?;
    }
    say(&browser, "dark", "Welcome over here.").await?;
    sees(&browser, "desk", "Welcome over here.").await?;
    for page in ["desk", "dark", "phone"] {
        no_errors(&browser, page).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_changes_transport_and_node_on_request() -> anyhow::Result<()> {
    let _turn = turn().await;
    let dev = DevCluster::start(2).await?;
    let browser = Agent::chromium()?;
    browser
        .order(
            "open",
            json!({"page": "one", "url": dev.page(0), "user": "Ines"}),
        )
        .await?;
    browser
        .order(
            "open",
            json!({"page": "two", "url": dev.page(1), "user": "Omar"}),
        )
        .await?;
    people(
        &browser,
        "two",
        json!({"Ines": ["n1"], "Omar": ["n2"]}),
        10_000,
    )
    .await?;
    browser
        .order(
            "transport",
            json!({"page": "one", "transport": "long-polling"}),
        )
        .await?;
    browser
        .order(
            "where",
            json!({"page": "one", "text": "Long-polling", "ms": 10_000}),
        )
        .await?;
    say(&browser, "one", "Over long-polling now.").await?;
    sees(&browser, "two", "Over long-polling now.").await?;
    say(&browser, "two", "It reads the same.").await?;
    sees(&browser, "one", "It reads the same.").await?;
    // To another node, of another origin, over long-polling.
    browser
        .order("move", json!({"page": "one", "node": "n2"}))
        .await?;
    browser
        .order(
            "elsewhere",
            json!({"page": "one", "not": "n1", "ms": 10_000}),
        )
        .await?;
    people(
        &browser,
        "two",
        json!({"Ines": ["n2"], "Omar": ["n2"]}),
        10_000,
    )
    .await?;
    say(&browser, "one", "On the other node.").await?;
    sees(&browser, "two", "On the other node.").await?;
    sees(&browser, "one", "On the other node.").await?;
    // A page that is closed is gone at once, also over long-polling.
    browser.order("close", json!({"page": "one"})).await?;
    people(&browser, "two", json!({"Omar": ["n2"]}), 5000).await?;
    no_errors(&browser, "two").await?;
    Ok(())
}

/// When no node is left the page says so, and finds the first one that comes back.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_says_when_no_node_answers() -> anyhow::Result<()> {
    let _turn = turn().await;
    let dev = DevCluster::start(2).await?;
    let browser = Agent::chromium()?;
    let open = json!({"page": "one", "url": dev.page(0), "user": "Ines"});
    browser.order("open", open).await?;
    let both = json!({"page": "one", "names": ["n1", "n2"], "ms": 10_000});
    browser.order("nodes", both).await?;
    dev.signal_node(1, "KILL").await?;
    dev.signal_node(0, "KILL").await?;
    let order = |text: &str| json!({"page": "one", "text": text, "ms": 30_000});
    browser.order("where", order("No node answers")).await?;
    browser.order("banner", order("No node answers")).await?;
    say(&browser, "one", "Kept until somebody is there.").await?;
    screenshot(&browser, "one", "page-no-node.png").await?;
    no_errors(&browser, "one").await
}

/// A reload keeps the transport that was chosen, and what one tab writes to somebody stands in the writer's other tabs too.
#[tokio::test(flavor = "multi_thread")]
async fn tabs_of_one_user_and_a_reload() -> anyhow::Result<()> {
    let _turn = turn().await;
    let dev = DevCluster::start(2).await?;
    let browser = Agent::chromium()?;
    for (page, node, user) in [
        ("first", 0, "Ines"),
        ("second", 1, "Ines"),
        ("other", 1, "Omar"),
    ] {
        let open = json!({"page": page, "url": dev.page(node), "user": user});
        browser.order("open", open).await?;
    }
    let everybody = json!({"Ines": ["n1", "n2"], "Omar": ["n2"]});
    for page in ["first", "second", "other"] {
        people(&browser, page, everybody.clone(), 10_000).await?;
    }
    for page in ["first", "second"] {
        let direct = json!({"page": page, "user": "Omar"});
        browser.order("direct", direct).await?;
    }
    let direct = json!({"page": "other", "user": "Ines"});
    browser.order("direct", direct).await?;
    say(&browser, "first", "From my first tab.").await?;
    for page in ["first", "second", "other"] {
        sees(&browser, page, "From my first tab.").await?;
    }
    say(&browser, "other", "To both of you.").await?;
    for page in ["first", "second", "other"] {
        sees(&browser, page, "To both of you.").await?;
    }
    screenshot(&browser, "second", "page-second-tab.png").await?;

    let choose = json!({"page": "first", "transport": "long-polling"});
    browser.order("transport", choose).await?;
    let long_polling = json!({"page": "first", "text": "Long-polling", "ms": 10_000});
    browser.order("where", long_polling.clone()).await?;
    browser.order("reload", json!({"page": "first"})).await?;
    browser.order("where", long_polling).await?;
    for page in ["first", "second", "other"] {
        no_errors(&browser, page).await?;
    }
    Ok(())
}

/// A node that is frozen keeps its connections open and says nothing. The page does not wait for it for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_page_leaves_a_node_that_freezes() -> anyhow::Result<()> {
    let _turn = turn().await;
    let dev = DevCluster::start(2).await?;
    let browser = Agent::chromium()?;
    browser
        .order(
            "open",
            json!({"page": "one", "url": dev.page(0), "user": "Ines"}),
        )
        .await?;
    browser
        .order(
            "nodes",
            json!({"page": "one", "names": ["n1", "n2"], "ms": 10_000}),
        )
        .await?;
    dev.signal_node(0, "STOP").await?;
    say(&browser, "one", "Is anybody there?").await?;
    let moved = browser
        .order(
            "elsewhere",
            json!({"page": "one", "not": "n1", "ms": 30_000}),
        )
        .await?;
    ensure!(moved["node"] == "n2", "{moved}");
    sees(&browser, "one", "Is anybody there?").await?;
    dev.signal_node(0, "CONT").await?;
    // The node that wakes up has nothing to say about the past: Ines is on n2 alone.
    browser
        .order(
            "nodes",
            json!({"page": "one", "names": ["n1", "n2"], "ms": 15_000}),
        )
        .await?;
    people(&browser, "one", json!({"Ines": ["n2"]}), 10_000).await?;
    no_errors(&browser, "one").await?;
    Ok(())
}

/// What is served is what npm has released.
#[test]
fn the_vendored_client_is_the_released_one() -> anyhow::Result<()> {
    let vendored = repository().join("node/server/pages/cometd");
    let released = repository().join("tests/js/node_modules/cometd");
    let mut compared = 0;
    for entry in std::fs::read_dir(&released).context("run tests/run, or npm ci in tests/js")? {
        let name = entry?.file_name();
        let is_code = name.to_string_lossy().ends_with(".js") || name == "LICENSE";
        if is_code {
            let same = std::fs::read(vendored.join(&name))? == std::fs::read(released.join(&name))?;
            ensure!(same, "{} differs", name.to_string_lossy());
            compared += 1;
        }
    }
    ensure!(compared > 10, "only {compared} files");
    let package: Value = serde_json::from_slice(&std::fs::read(released.join("package.json"))?)?;
    let readme = std::fs::read_to_string(vendored.join("README.md"))?;
    ensure!(
        readme.contains(package["version"].as_str().context("no version")?),
        "the README names another version"
    );
    Ok(())
}
