//! A service that clients call: types in, types out. Server and caller in one program.
//!
//! ```sh
//! cargo run -p halley --example rpc -- serve
//! cargo run -p halley --example rpc -- call http://127.0.0.1:8080/cometd /service/sum '[1, 2, 3]'
//! ```
//!
//! A stock CometD client calls the same with `cometd.remoteCall("sum", [1, 2, 3], callback)`.

use std::collections::BTreeMap;
use std::error::Error;
use std::time::Duration;

use halley::{Node, RpcError};
use halley_client::Client;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// What `/service/divide` takes…
#[derive(Deserialize)]
struct Division {
    dividend: i64,
    divisor: i64,
}

/// …and what it answers.
#[derive(Serialize)]
struct Quotient {
    quotient: i64,
    remainder: i64,
}

async fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    let node = Node::builder()
        .set("client.listen", address)
        .set("admin.listen", "127.0.0.1:0")
        // A client may have this many calls under way; one more is refused.
        .set("session.maxCallsPerSession", 20)
        .rpc("/service/sum", |call| async move {
            // `?` tells a client that sent something else that its data is not valid.
            let numbers: Vec<i64> = call.data()?;
            Ok(numbers.iter().sum::<i64>())
        })
        .rpc("/service/divide", |call| async move {
            let Division { dividend, divisor } = call.data()?;
            match (dividend.checked_div(divisor), dividend.checked_rem(divisor)) {
                (Some(quotient), Some(remainder)) => Ok(Quotient {
                    quotient,
                    remainder,
                }),
                _ => Err(RpcError::new("no_quotient", "there is no such number")),
            }
        })
        // A pattern: one closure for many channels. What takes long may wait here, but must not block: the node's threads are shared.
        .rpc("/service/after/*", |call| async move {
            let ms = call
                .channel()
                .as_str()
                .rsplit('/')
                .next()
                .unwrap_or_default();
            let ms: u64 = ms.parse().map_err(|_| "/service/after/<milliseconds>")?;
            tokio::time::sleep(Duration::from_millis(ms.min(10_000))).await;
            Ok(BTreeMap::from([("slept_ms", ms)]))
        })
        .start()
        .await?;

    // The node's own code calls the same services, without a socket.
    let (session, _inbox) = node.handle().local_session()?;
    let sum: i64 = session.call("/service/sum", [40, 2]).await?;
    println!("sum {sum}");

    println!("listening {}", node.client_url());
    tokio::signal::ctrl_c().await?;
    node.drain().await;
    Ok(())
}

async fn call(url: &str, channel: &str, json: &str) -> Result<(), Box<dyn Error>> {
    let data: Box<RawValue> = serde_json::from_str(json)?;
    let (client, _events) = Client::builder(url).connect().await?;
    match client.call(channel, data, Duration::from_secs(15)).await {
        Ok(result) => println!("{result}"),
        // What the service says of it, or why no result came.
        Err(error) => println!("no result: {error}"),
    }
    client.disconnect().await;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        [] | ["serve"] => serve("127.0.0.1:8080").await,
        ["serve", address] => serve(address).await,
        ["call", url, channel, json] => call(url, channel, json).await,
        _ => Err("usage: rpc serve [ADDRESS] | rpc call URL CHANNEL JSON".into()),
    }
}
