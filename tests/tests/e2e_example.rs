//! The chat example of node/server in headless Chromium: a page that an application serves from its own node.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use halley_tests::agent::Agent;
use halley_tests::binary::{example, repository};
use halley_tests::patience::patience;
use halley_tests::turn::turn;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

/// The running example and its address; killed when it is dropped.
async fn chat() -> anyhow::Result<(Child, String)> {
    let mut chat = Command::new(example("chat")?)
        .args(["serve", "127.0.0.1:0"])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut lines = BufReader::new(chat.stdout.take().context("no output")?).lines();
    let line = timeout(patience(Duration::from_secs(40)), lines.next_line()).await??;
    let url = line
        .as_deref()
        .and_then(|line| line.strip_prefix("listening ")?.strip_suffix("cometd"))
        .with_context(|| format!("it says {line:?}"))?
        .to_owned();
    Ok((chat, url))
}

struct Browser(Agent);

impl Browser {
    async fn order(&self, order: &str, page: &str, mut fields: Value) -> anyhow::Result<Value> {
        fields["page"] = json!(page);
        self.0.order(order, fields).await
    }

    async fn come_in(&self, page: &str, mut visit: Value) -> anyhow::Result<()> {
        visit["page"] = json!(page);
        self.0.order("visit", visit).await?;
        let name = json!({"selector": "#name", "text": page});
        self.order("enter", page, name).await?;
        self.shows(page, "#state", &[&format!("You are {page}")])
            .await
    }

    async fn say(&self, page: &str, text: &str) -> anyhow::Result<()> {
        let order = json!({"selector": "#text", "text": text});
        self.order("enter", page, order).await.map(drop)
    }

    async fn shows(&self, page: &str, selector: &str, texts: &[&str]) -> anyhow::Result<()> {
        let order = json!({"selector": selector, "texts": texts, "ms": 20_000});
        self.order("shows", page, order).await.map(drop)
    }

    async fn screenshot(&self, page: &str, name: &str) -> anyhow::Result<()> {
        let folder = repository().join("tests/artifacts");
        std::fs::create_dir_all(&folder)?;
        let order = json!({"file": folder.join(name)});
        self.order("screenshot", page, order).await.map(drop)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_chat_example_has_a_page() -> anyhow::Result<()> {
    let _turn = turn().await;
    let (_chat, url) = chat().await?;
    let browser = Browser(Agent::chromium()?);
    browser.come_in("ann", json!({"url": url})).await?;
    let phone = json!({"url": url, "width": 390, "height": 844, "dark": true});
    browser.come_in("bob", phone).await?;
    browser
        .shows("ann", "#people li", &["everybody", "bob"])
        .await?;
    browser
        .shows("bob", "#people li", &["everybody", "ann"])
        .await?;
    browser.say("bob", "Hello all").await?;
    let markup = "<img src=x onerror=alert(1)> is text";
    browser.say("ann", markup).await?;
    for page in ["ann", "bob"] {
        browser
            .shows(page, "#log .said span", &["Hello all", markup])
            .await?;
    }
    // A whisper comes to one, and the writer sees that it has come.
    let click = json!({"selector": "#people button", "name": "bob"});
    browser.order("click", "ann", click).await?;
    browser.shows("ann", "#to", &["bob"]).await?;
    browser.say("ann", "A secret").await?;
    for (page, from) in [("ann", "you to bob"), ("bob", "ann")] {
        browser.shows(page, "#log .whisper b", &[from]).await?;
        browser
            .shows(page, "#log .whisper span", &["A secret"])
            .await?;
    }
    browser.screenshot("ann", "chat-example.png").await?;
    browser
        .screenshot("bob", "chat-example-phone-dark.png")
        .await?;
    let overflow = browser.order("overflow", "bob", json!({})).await?;
    ensure!(
        overflow == json!({"overflow": false}),
        "wider than the phone"
    );
    for page in ["ann", "bob"] {
        let errors = browser.order("errors", page, json!({})).await?;
        ensure!(errors == json!([]), "{page}: {errors}");
    }
    browser.order("close", "bob", json!({})).await?;
    browser.shows("ann", "#people li", &["everybody"]).await?;
    // Nobody hears what is whispered to somebody who has gone, and the writer is told.
    browser.say("ann", "Are you there?").await?;
    browser
        .shows(
            "ann",
            "#log .failed span",
            &["Are you there? (bob is not here)"],
        )
        .await
}
