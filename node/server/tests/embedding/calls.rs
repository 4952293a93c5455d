//! Calls that async closures answer.

use std::sync::Arc;

use halley::{RpcError, UserId};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::support::{Ws, eventually, within};
use crate::{builder, call, started};

#[derive(Deserialize)]
struct Question {
    name: String,
    times: usize,
}

#[derive(Serialize)]
struct Greeting {
    text: String,
}

#[tokio::test]
async fn a_closure_answers_calls_with_types() {
    let node = started(
        builder()
            .rpc("/service/greet", |call| async move {
                let question: Question = call.data()?;
                if question.times == 0 {
                    return Err("not even once?".into());
                }
                Ok(Greeting {
                    text: format!("hi {}! ", question.name).repeat(question.times),
                })
            })
            .rpc("/service/tools/*", |call| async move {
                match call.channel().as_str() {
                    "/service/tools/echo" => Ok(call.data::<Value>()?),
                    "/service/tools/whoami" => Ok(json!(call.user().map(UserId::as_str))),
                    "/service/tools/where" => Ok(json!(call.remote_address())),
                    _ => Err(RpcError::with_data(json!({ "no": "such tool" }))?),
                }
            }),
    )
    .await;
    let mut client = Ws::joined(node.client_address()).await;

    let (reply, result) = call(
        &mut client,
        "/service/greet",
        json!({ "name": "ann", "times": 2 }),
    )
    .await;
    assert_eq!(reply["successful"], true, "{reply}");
    assert_eq!(result["successful"], true, "{result}");
    assert_eq!(result["data"], json!({ "text": "hi ann! hi ann! " }));

    let (_, result) = call(
        &mut client,
        "/service/greet",
        json!({ "name": "ann", "times": 0 }),
    )
    .await;
    assert_eq!(result["successful"], false);
    assert_eq!(
        result["data"],
        json!({ "code": "failed", "message": "not even once?" })
    );

    let (_, result) = call(&mut client, "/service/greet", json!({ "name": 1 })).await;
    assert_eq!(result["successful"], false);
    assert_eq!(result["data"]["code"], "data_invalid", "{result}");

    let big = json!({ "n": 12_345_678_901_234_567_890_u64 });
    let (_, result) = call(&mut client, "/service/tools/echo", big.clone()).await;
    assert_eq!(result["data"], big);
    let (_, result) = call(&mut client, "/service/tools/whoami", json!(1)).await;
    assert_eq!(result["successful"], true, "{result}");
    let (_, result) = call(&mut client, "/service/tools/where", json!(1)).await;
    assert_eq!(result["data"], "127.0.0.1");
    let (_, result) = call(&mut client, "/service/tools/hammer", json!(1)).await;
    assert_eq!(result["data"], json!({ "no": "such tool" }));
}

#[tokio::test]
async fn calls_run_beside_each_other_and_a_panic_fails_one_alone() {
    let (open, gate) = tokio::sync::oneshot::channel::<()>();
    let gate = Arc::new(tokio::sync::Mutex::new(Some(gate)));
    let node = started(builder().rpc("/service/wait", move |call| {
        let gate = Arc::clone(&gate);
        assert_ne!(call.json(), "\"at once\"", "on purpose");
        async move {
            match call.data::<String>()?.as_str() {
                "wait" => {
                    let gate = gate.lock().await.take().ok_or("twice")?;
                    let _ = gate.await;
                }
                "later" => panic!("on purpose"),
                _ => {}
            }
            Ok("done")
        }
    }))
    .await;
    let mut client = Ws::joined(node.client_address()).await;
    let slow = client
        .send(json!({ "channel": "/service/wait", "data": "wait" }))
        .await;
    assert_eq!(client.reply(&slow).await["successful"], true);
    let (_, result) = call(&mut client, "/service/wait", json!("go")).await;
    assert_eq!(result["data"], "done", "the slow call holds nothing up");
    for panics in ["at once", "later"] {
        let (_, result) = call(&mut client, "/service/wait", json!(panics)).await;
        assert_eq!(
            (&result["successful"], &result["data"]["code"]),
            (&json!(false), &json!("unanswered"))
        );
    }
    open.send(()).expect("the call waits");
    assert_eq!(client.reply(&slow).await["data"], "done");
}

#[tokio::test]
async fn a_drain_lets_calls_finish() {
    let (begun, mut begins) = mpsc::channel(1);
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let node = started(builder().rpc("/service/slow", move |_| {
        let (begun, gate) = (begun.clone(), Arc::clone(&gate));
        async move {
            let _ = begun.send(()).await;
            let _ = gate.acquire().await;
            Ok("finished")
        }
    }))
    .await;
    let mut client = Ws::joined(node.client_address()).await;
    let id = client.send(json!({ "channel": "/service/slow" })).await;
    assert_eq!(client.reply(&id).await["successful"], true);
    within("the call begins", begins.recv()).await;
    let address = node.client_address();
    let opens = async {
        eventually("no new connections", async || {
            tokio::net::TcpStream::connect(address).await.err()
        })
        .await;
        opened.add_permits(1);
        client.reply(&id).await
    };
    let ((), result) = tokio::join!(node.drain(), opens);
    assert_eq!(result["data"], "finished");
}
