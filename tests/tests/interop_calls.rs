//! Remote calls of stock clients, answered by an application behind `[[services.hooks]]`.

use std::sync::Arc;

use anyhow::{Context, ensure};
use halley_tests::agent::Agent;
use halley_tests::hook_server::HookServer;
use halley_tests::node_process::{NodeProcess, NodeSettings};
use halley_tests::turn::turn;
use serde_json::{Value, json};
use tokio::sync::Notify;

const COMETD_9: fn() -> anyhow::Result<Agent> = || Agent::browser_with("cometd");
const COMETD_7: fn() -> anyhow::Result<Agent> = || Agent::browser_with("cometd-7");
const COMETD_3: fn() -> anyhow::Result<Agent> = || Agent::browser_with("cometd-3");
const JAVA: fn() -> anyhow::Result<Agent> = Agent::java;

macro_rules! calls {
    ($($test:ident: $client:ident, $transport:literal;)*) => {$(
        #[tokio::test(flavor = "multi_thread")]
        async fn $test() -> anyhow::Result<()> {
            let _turn = turn().await;
            calls($client()?, $transport).await
        }
    )*};
}

calls! {
    cometd_9_calls_over_websocket: COMETD_9, "websocket";
    cometd_9_calls_over_long_polling: COMETD_9, "long-polling";
    cometd_9_calls_over_callback_polling: COMETD_9, "callback-polling";
    cometd_7_calls_over_websocket: COMETD_7, "websocket";
    cometd_7_calls_over_long_polling: COMETD_7, "long-polling";
    cometd_3_calls_over_websocket: COMETD_3, "websocket";
    cometd_3_calls_over_long_polling: COMETD_3, "long-polling";
    java_calls_over_websocket: JAVA, "websocket";
    java_calls_over_long_polling: JAVA, "long-polling";
}

/// The application: it adds up, refuses, says who asks, answers `first` only after `second` was asked, and `mute` never.
async fn application() -> anyhow::Result<HookServer> {
    let second = Arc::new(Notify::new());
    HookServer::start(move |question: Value| {
        let second = Arc::clone(&second);
        async move {
            match question["channel"].as_str() {
                Some("/service/desk/sum") => match question["data"]["numbers"].as_array() {
                    Some(numbers) => {
                        let sum: u64 = numbers.iter().filter_map(Value::as_u64).sum();
                        json!({"result": {"sum": sum}})
                    }
                    None => json!({"failure": {"reason": "numbers expected"}}),
                },
                Some("/service/desk/who") => json!({"result": question["user"]}),
                Some("/service/desk/first") => {
                    second.notified().await;
                    json!({"result": "first"})
                }
                Some("/service/desk/second") => {
                    second.notify_one();
                    json!({"result": "second"})
                }
                _ => std::future::pending().await,
            }
        }
    })
    .await
}

async fn calls(client: Agent, transport: &str) -> anyhow::Result<()> {
    let application = application().await?;
    let mut settings = NodeSettings::new("n1");
    settings.session = application.rows("/service/desk/*", 2_000);
    let mut node = NodeProcess::start(settings)?;
    node.ready().await?;
    client
        .connect("client", &node.settings.url(), transport, Some("alice"))
        .await?;
    let call = async |target: &str, data: Value| {
        let target = format!("desk/{target}");
        let order = json!({"client": "client", "target": &target, "data": data});
        let answer = client.order("call", order).await;
        answer.with_context(|| format!("the call of {target}"))
    };

    let answer = call("sum", json!({"numbers": [1, 2, 3]})).await?;
    ensure!(answer["successful"] == true, "{answer}");
    ensure!(answer["data"] == json!({"sum": 6}), "{answer}");

    let answer = call("sum", json!({"numbers": "none"})).await?;
    ensure!(answer["successful"] == false, "{answer}");
    let expected = json!({"reason": "numbers expected"});
    ensure!(answer["data"] == expected, "{answer}");

    let answer = call("who", json!({})).await?;
    ensure!(answer["data"] == "alice", "{answer}");

    // The answers come in the order in which the application gives them, and each goes to its own call.
    let (first, second) = tokio::try_join!(call("first", json!({})), call("second", json!({})))?;
    ensure!(first["data"] == "first", "{first}");
    ensure!(second["data"] == "second", "{second}");

    let answer = call("mute", json!({})).await?;
    ensure!(answer["successful"] == false, "{answer}");
    ensure!(answer["data"]["code"] == "hook_timeout", "{answer}");
    Ok(())
}

/// The client's own patience may be shorter than the node's; a result that comes later finds nobody.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_waits_no_longer_is_not_disturbed_by_the_result() -> anyhow::Result<()> {
    let _turn = turn().await;
    let asked = Arc::new(Notify::new());
    let release = Arc::new(Notify::new());
    let (ask, go) = (Arc::clone(&asked), Arc::clone(&release));
    let application = HookServer::start(move |question: Value| {
        let (ask, go) = (Arc::clone(&ask), Arc::clone(&go));
        async move {
            if question["data"] == "late" {
                ask.notify_one();
                go.notified().await;
            }
            json!({"result": question["data"]})
        }
    })
    .await?;
    let mut settings = NodeSettings::new("n1");
    settings.session = application.rows("/service/desk/*", 60_000);
    let mut node = NodeProcess::start(settings)?;
    node.ready().await?;
    let client = Agent::browser()?;
    client
        .connect("client", &node.settings.url(), "websocket", None)
        .await?;
    let order = json!({"client": "client", "target": "desk/echo", "data": "late", "timeout": 300});
    let (answer, ()) = tokio::join!(client.order("call", order), asked.notified());
    let answer = answer?;
    ensure!(answer["successful"] == false, "{answer}");
    ensure!(answer["error"] == "406::timeout", "{answer}");
    release.notify_one();
    let order = json!({"client": "client", "target": "desk/echo", "data": "next"});
    let answer = client.order("call", order).await?;
    ensure!(answer["successful"] == true, "{answer}");
    ensure!(answer["data"] == "next", "{answer}");
    Ok(())
}
