//! Our own client (`halley-client`) against a stock CometD server in Java, and against a real node, over both transports.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use halley_client::{
    CallError, Client, ClientBuilder, EndReason, Event, Events, RequestError, Transport,
};
use halley_tests::cable::Cable;
use halley_tests::java_server::JavaServer;
use halley_tests::node_process::{NodeProcess, NodeSettings};
use halley_tests::patience::patience;
use halley_tests::turn::turn;
use serde_json::{Value, json};
use tokio::time::timeout;

/// How long any single thing may take.
const SOON: Duration = Duration::from_secs(30);

/// Messages of the long runs.
const MANY: u64 = 10_000;

fn client(url: &str, transport: Transport) -> ClientBuilder {
    Client::builder(url)
        .transports([transport])
        .acknowledge(true)
        .backoff(Duration::from_millis(50), Duration::from_millis(500))
        .request_timeout(patience(SOON))
}

async fn next(events: &mut Events) -> anyhow::Result<Event> {
    timeout(patience(SOON), events.next())
        .await
        .context("no event came")?
        .context("the stream of events has ended")
}

async fn next_message(events: &mut Events) -> anyhow::Result<(String, Value)> {
    loop {
        if let Event::Message(message) = next(events).await? {
            return Ok((message.channel().to_owned(), message.parse()?));
        }
    }
}

/// Subscribes, publishes, gets what was published with its data as it was, and says goodbye.
async fn talk(url: &str, transport: Transport) -> anyhow::Result<()> {
    let (client, mut events) = client(url, transport).connect().await?;
    let session = client.session();
    ensure!(session.transport() == transport && !session.client_id().is_empty());
    ensure!(session.is_acknowledged() && session.handshake_ext().is_some());
    client.subscribe("/talk/*").await?;
    let data = json!({"text": "grüße, \"du\" \u{1f41f}", "list": [1, null, {"a": {}}]});
    client.publish("/talk/a", &data).await?;
    ensure!(next_message(&mut events).await? == ("/talk/a".to_owned(), data));

    let mut batch = client.batch();
    batch
        .publish("/talk/b", 1)?
        .subscribe("/other")?
        .publish("/other", 2)?;
    for outcome in batch.send().await? {
        outcome?;
    }
    ensure!(next_message(&mut events).await? == ("/talk/b".to_owned(), json!(1)));
    ensure!(next_message(&mut events).await? == ("/other".to_owned(), json!(2)));
    client.unsubscribe("/other").await?;
    client.publish("/other", 3).await?;
    client.publish("/talk/c", 4).await?;
    ensure!(next_message(&mut events).await? == ("/talk/c".to_owned(), json!(4)));
    client.disconnect().await;
    ensure!(matches!(
        next(&mut events).await?,
        Event::Ended(EndReason::Disconnected)
    ));
    Ok(())
}

/// Ten thousand messages come once and in order, although the connections are cut again and again.
async fn many_over_cuts(server: SocketAddr, transport: Transport) -> anyhow::Result<()> {
    let proxy = Cable::plugged(server).await?;
    let (reader, mut events) = client(&proxy.url(), transport).connect().await?;
    reader.subscribe("/many").await?;
    let url = format!("http://{server}/cometd");
    let (writer, _events) = client(&url, transport).connect().await?;
    let writing = tokio::spawn(async move {
        for start in (0..MANY).step_by(100) {
            let mut batch = writer.batch();
            for n in start..start + 100 {
                batch.publish("/many", n)?;
            }
            for outcome in batch.send().await? {
                outcome?;
            }
        }
        anyhow::Ok(())
    });
    let (mut expected, mut interruptions, mut cut) = (0, 0, 0);
    while expected < MANY {
        match next(&mut events).await? {
            Event::Message(message) => {
                let n: u64 = message.parse()?;
                ensure!(n == expected, "{n} came, not {expected}");
                expected += 1;
                if expected % 2000 == 1000 {
                    cut += proxy.cut();
                }
            }
            Event::Interrupted(_) => interruptions += 1,
            Event::Resumed => {}
            other => bail!("{other:?}"),
        }
    }
    writing.await??;
    ensure!(cut > 0 && interruptions > 0, "nothing was cut");
    Ok(())
}

/// A session that the server no longer knows is replaced, and subscribed as the old one was.
async fn renewed_on(client: &Client, events: &mut Events, old: &str) -> anyhow::Result<()> {
    loop {
        match next(events).await? {
            Event::Interrupted(_) => {}
            Event::Renewed => break,
            other => bail!("{other:?}"),
        }
    }
    ensure!(client.session().client_id() != old);
    client.publish("/again", "here").await?;
    ensure!(next_message(events).await? == ("/again".to_owned(), json!("here")));
    Ok(())
}

mod java {
    use super::*;

    async fn server() -> anyhow::Result<JavaServer> {
        JavaServer::start(0, &["--ack"]).await
    }

    async fn comes_back_after_a_restart(transport: Transport) -> anyhow::Result<()> {
        let first = server().await?;
        let port = first.address.port();
        let (client, mut events) = client(&first.url(), transport).connect().await?;
        client.subscribe("/again").await?;
        let old = client.session().client_id().to_owned();
        first.kill().await?;
        let _second = JavaServer::start(port, &["--ack"]).await?;
        renewed_on(&client, &mut events, &old).await
    }

    async fn calls(transport: Transport) -> anyhow::Result<()> {
        let server = server().await?;
        let (client, mut events) = client(&server.url(), transport).connect().await?;
        let soon = patience(SOON);
        let sum = client
            .call("/service/sum", json!({"numbers": [1, 2, 39]}), soon)
            .await?;
        ensure!(sum.parse::<Value>()? == json!({"sum": 42}));
        match client.call("sum", json!({"numbers": "none"}), soon).await {
            Err(CallError::Failed(why)) => {
                ensure!(why.parse::<Value>()?["reason"] == "numbers expected")
            }
            other => bail!("{other:?}"),
        }
        let mute = client.call("mute", 1, Duration::from_millis(300)).await;
        ensure!(
            matches!(mute, Err(CallError::Request(RequestError::TimedOut))),
            "{mute:?}"
        );
        // What a service sends of its own accord is a message.
        client.publish("/service/echo", "hey").await?;
        ensure!(next_message(&mut events).await? == ("/service/echo".to_owned(), json!("hey")));
        // The server ends the session.
        // The server may close the connection before it has answered the very message that makes it do so.
        match client.publish("/service/end", 1).await {
            Ok(()) | Err(RequestError::Interrupted) => {}
            Err(error) => return Err(error.into()),
        }
        loop {
            match next(&mut events).await? {
                Event::Ended(EndReason::ByServer) => return Ok(()),
                Event::Message(_) => {}
                other => bail!("{other:?}"),
            }
        }
    }

    macro_rules! conversations {
        ($($module:ident: $transport:expr;)*) => {$(
            mod $module {
                use super::*;

                #[tokio::test(flavor = "multi_thread")]
                async fn talks() -> anyhow::Result<()> {
                    let _turn = turn().await;
                    let server = server().await?;
                    talk(&server.url(), $transport).await
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn many_messages_come_once_and_in_order_over_cuts() -> anyhow::Result<()> {
                    let _turn = turn().await;
                    let server = server().await?;
                    many_over_cuts(server.address, $transport).await
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn comes_back_after_a_restart() -> anyhow::Result<()> {
                    let _turn = turn().await;
                    super::comes_back_after_a_restart($transport).await
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn calls_services_and_is_ended_by_the_server() -> anyhow::Result<()> {
                    let _turn = turn().await;
                    calls($transport).await
                }
            }
        )*};
    }

    conversations! {
        websocket: Transport::WebSocket;
        long_polling: Transport::LongPolling;
    }
}

mod halley {
    use super::*;

    async fn node() -> anyhow::Result<NodeProcess> {
        let mut node = NodeProcess::start(NodeSettings::new("n1"))?;
        node.ready().await?;
        Ok(node)
    }

    async fn comes_back_after_a_restart(transport: Transport) -> anyhow::Result<()> {
        let mut node = node().await?;
        let (client, mut events) = client(&node.settings.url(), transport).connect().await?;
        client.subscribe("/again").await?;
        let old = client.session().client_id().to_owned();
        node.kill().await?;
        node.start_again()?;
        node.ready().await?;
        renewed_on(&client, &mut events, &old).await
    }

    macro_rules! conversations {
        ($($module:ident: $transport:expr;)*) => {$(
            mod $module {
                use super::*;

                #[tokio::test(flavor = "multi_thread")]
                async fn talks() -> anyhow::Result<()> {
                    let _turn = turn().await;
                    let node = node().await?;
                    talk(&node.settings.url(), $transport).await
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn many_messages_come_once_and_in_order_over_cuts() -> anyhow::Result<()> {
                    let _turn = turn().await;
                    let node = node().await?;
                    many_over_cuts(node.settings.client, $transport).await
                }

                #[tokio::test(flavor = "multi_thread")]
                async fn comes_back_after_a_restart() -> anyhow::Result<()> {
                    let _turn = turn().await;
                    super::comes_back_after_a_restart($transport).await
                }
            }
        )*};
    }

    conversations! {
        websocket: Transport::WebSocket;
        long_polling: Transport::LongPolling;
    }
}
