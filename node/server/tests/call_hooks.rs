//! Calls on service channels that an application answers over HTTP: results, failures, and everything that goes wrong.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use halley::Node;
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::application::{Act, Application};
use support::{Poller, Ws, eventually, metric, node, within};
use tokio::io::AsyncReadExt as _;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

fn config(address: SocketAddr, more: &str) -> String {
    format!(
        "[node]\nname = \"n1\"\n[seti]\ntrust_handshake_user = true\n[services]\n{more}\n\
         [[services.hooks]]\npattern = \"/service/app/**\"\nurl = \"http://{address}/app\"\n\
         [[services.hooks]]\npattern = \"/service/app/quotes\"\nurl = \"http://{address}/quotes\"\n"
    )
}

/// Calls, and gives the result; the reply to the publish must be a success.
async fn call(client: &mut Ws, channel: &str, data: Value) -> Value {
    let id = client
        .send(json!({ "channel": channel, "data": data }))
        .await;
    result(client, &id).await
}

async fn result(client: &mut Ws, id: &str) -> Value {
    loop {
        let message = client.reply(id).await;
        if message.get("data").is_some() {
            return message;
        }
        assert_eq!(message["successful"], true, "{message}");
    }
}

fn assert_failed(result: &Value, code: &str) {
    assert_eq!(result["successful"], false, "{result}");
    assert_eq!(result["data"]["code"], code, "{result}");
}

async fn outcome(node: &Node, outcome: &str) -> f64 {
    metric(
        node,
        &format!("halley_service_hook_calls_total{{outcome=\"{outcome}\"}}"),
    )
    .await
}

#[tokio::test]
async fn the_application_answers() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "hook-secret\n").expect("writes");
    let application = Application::start(|path, question| {
        Act::Raw(
            200,
            match (path, question["data"].as_str()) {
                ("/quotes", _) => b"{\"result\": {\"EUR\": 1.0800} }".to_vec(),
                (_, Some("null")) => b"{\"result\":null}".to_vec(),
                (_, Some("fail")) => b"{\"failure\":{\"code\":12}}".to_vec(),
                _ => b"{\"result\":\"ok\",\"more\":1}".to_vec(),
            },
        )
    })
    .await;
    let node = node(&config(
        application.address,
        &format!("token_file = {token:?}\nheaders = [\"x-tenant\"]"),
    ))
    .await;
    let ext = json!({ "halley": { "user": "ann" } });
    let mut client = Ws::joined_with(node.client_address(), ext).await;

    let data = json!({ "pair": [12_345_678_901_234_567_890_u64, "x"] });
    let answer = call(&mut client, "/service/app/quotes", data.clone()).await;
    assert_eq!(answer["successful"], true);
    assert_eq!(answer["channel"], "/service/app/quotes");
    assert_eq!(answer["data"].to_string(), "{\"EUR\":1.08}");
    let asked = &application.calls("/quotes")[0];
    let session = node.engine().sessions()[0].key();
    assert_eq!(
        asked.body,
        json!({ "hook": "call", "node": "n1", "session": session, "user": "ann",
            "channel": "/service/app/quotes", "data": data,
            "transport": "websocket", "address": "127.0.0.1", "headers": {} })
    );
    assert_eq!(asked.authorization.as_deref(), Some("Bearer hook-secret"));

    let answer = call(&mut client, "/service/app/a/b", json!(1)).await;
    assert_eq!(
        (&answer["successful"], &answer["data"]),
        (&json!(true), &json!("ok"))
    );
    let answer = call(&mut client, "/service/app/x", json!("fail")).await;
    assert_eq!(
        (&answer["successful"], &answer["data"]),
        (&json!(false), &json!({ "code": 12 }))
    );
    let answer = call(&mut client, "/service/app/x", json!("null")).await;
    assert_eq!(
        (&answer["successful"], &answer["data"]),
        (&json!(true), &json!({}))
    );
    let id = client.send(json!({ "channel": "/service/app/x" })).await;
    assert_eq!(
        result(&mut client, &id).await["data"],
        "ok",
        "a call without data is one"
    );
    assert_eq!(application.calls("/app")[3].body["data"], Value::Null);
    assert_eq!(outcome(&node, "answered").await, 4.0);
    assert_eq!(outcome(&node, "failed").await, 1.0);
    assert_eq!(
        metric(&node, "halley_service_hook_calls_pending").await,
        0.0
    );
    assert_eq!(
        application.connections.load(Ordering::SeqCst),
        1,
        "connections are kept"
    );
}

#[tokio::test]
async fn a_poller_is_answered_too_and_code_of_the_node() {
    let application = Application::start(|_, _| Act::Answer(json!({ "result": [1] }))).await;
    let node = node(&config(application.address, "")).await;
    let mut client = Poller::joined(node.client_address()).await;
    client.send_connect(Value::Null).await;
    client.publish("/service/app/a", json!(1)).await;
    let answer = client.connect_answer().await;
    assert!(
        answer.iter().any(|message| message["data"] == json!([1])),
        "{answer:?}"
    );
    let (session, _inbox) = node.handle().local_session().expect("running");
    let answer: Vec<u8> = session.call("/service/app/a", 1).await.expect("an answer");
    assert_eq!(answer, [1]);
}

#[tokio::test]
async fn a_slow_application_holds_nothing_up_and_fails_in_time() {
    let gate = Arc::new(Semaphore::new(0));
    let application = {
        let gate = Arc::clone(&gate);
        Application::start(move |path, _| match path {
            "/quotes" => Act::Answer(json!({ "result": "quick" })),
            _ => Act::Wait(Arc::clone(&gate), json!({ "result": "slow" })),
        })
        .await
    };
    let slow = node(&config(application.address, "timeout_ms = 60000")).await;
    let mut client = Ws::joined(slow.client_address()).await;
    let id = client
        .send(json!({ "channel": "/service/app/a", "data": 1 }))
        .await;
    eventually("the application is asked", async || {
        (application.calls("/app").len() == 1).then_some(())
    })
    .await;
    assert_eq!(
        metric(&slow, "halley_service_hook_calls_pending").await,
        1.0
    );
    let answer = call(&mut client, "/service/app/quotes", json!(1)).await;
    assert_eq!(answer["data"], "quick");
    client.proves_itself("meanwhile").await;
    gate.add_permits(1);
    assert_eq!(result(&mut client, &id).await["data"], "slow");

    let hasty = node(&config(application.address, "timeout_ms = 100")).await;
    let mut client = Ws::joined(hasty.client_address()).await;
    let answer = call(&mut client, "/service/app/a", json!(1)).await;
    assert_failed(&answer, "hook_timeout");
    assert_eq!(outcome(&hasty, "timeout").await, 1.0);
}

#[tokio::test]
async fn no_more_calls_than_may_are_under_way_and_waiting() {
    let gate = Arc::new(Semaphore::new(0));
    let application = {
        let gate = Arc::clone(&gate);
        Application::start(move |_, _| Act::Wait(Arc::clone(&gate), json!({ "result": 1 }))).await
    };
    let limits = "max_concurrent = 2\nmax_waiting = 1\ntimeout_ms = 60000";
    let node = node(&config(application.address, limits)).await;
    let mut client = Ws::joined(node.client_address()).await;
    let mut ids = Vec::new();
    for n in 0..3 {
        ids.push(
            client
                .send(json!({ "channel": "/service/app/a", "data": n }))
                .await,
        );
    }
    let answer = call(&mut client, "/service/app/a", json!(3)).await;
    assert_failed(&answer, "hook_busy");
    assert_eq!(outcome(&node, "busy").await, 1.0);
    gate.add_permits(3);
    for id in &ids {
        assert_eq!(result(&mut client, id).await["data"], 1);
    }
    assert_eq!(application.in_flight_max.load(Ordering::SeqCst), 2);
    gate.add_permits(1);
    let answer = call(&mut client, "/service/app/a", json!(4)).await;
    assert_eq!(answer["successful"], true, "there is room again");
}

#[tokio::test]
async fn a_client_that_goes_gives_its_place_back() {
    let gate = Arc::new(Semaphore::new(0));
    let application = {
        let gate = Arc::clone(&gate);
        Application::start(move |_, _| Act::Wait(Arc::clone(&gate), json!({ "result": 1 }))).await
    };
    let limits = "max_concurrent = 1\nmax_waiting = 0\ntimeout_ms = 60000";
    let node = node(&config(application.address, limits)).await;
    let mut gone = Ws::joined(node.client_address()).await;
    gone.send(json!({ "channel": "/service/app/a", "data": 1 }))
        .await;
    eventually("the application is asked", async || {
        (application.calls("/app").len() == 1).then_some(())
    })
    .await;
    drop(gone);
    gate.add_permits(2);
    let mut client = Ws::joined(node.client_address()).await;
    eventually("the place is free", async || {
        (call(&mut client, "/service/app/a", json!(2)).await["successful"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_dead_application_and_one_that_breaks_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let dead = node(&config(address, "")).await;
    let mut client = Ws::joined(dead.client_address()).await;
    let answer = call(&mut client, "/service/app/a", json!(1)).await;
    assert_failed(&answer, "hook_unreachable");
    assert!(
        !answer.to_string().contains("127.0.0.1"),
        "no address is told: {answer}"
    );
    assert_eq!(outcome(&dead, "unreachable").await, 1.0);

    let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
    let address = listener.local_addr().expect("an address");
    let accepted = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&accepted);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut block = [0; 1024];
            let _ = stream.read(&mut block).await;
        }
    });
    let broken = node(&config(address, "retries = 5")).await;
    let mut client = Ws::joined(broken.client_address()).await;
    let answer = call(&mut client, "/service/app/a", json!(1)).await;
    assert_failed(&answer, "hook_unreachable");
    assert_eq!(
        accepted.load(Ordering::SeqCst),
        1,
        "what was sent is not sent again"
    );
}

#[tokio::test]
async fn an_application_that_was_not_there_is_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let node = node(&config(address, "retries = 10\ntimeout_ms = 60000")).await;
    let mut client = Ws::joined(node.client_address()).await;
    let id = client
        .send(json!({ "channel": "/service/app/a", "data": 1 }))
        .await;
    assert_eq!(client.reply(&id).await["successful"], true);
    // Not synchronisation: the first attempt should meet nobody, and the test holds if it does not.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let listener = TcpListener::bind(address).await.expect("binds again");
    let application = Application::on(listener, |_, _| Act::Answer(json!({ "result": 7 })));
    assert_eq!(result(&mut client, &id).await["data"], 7);
    assert_eq!(application.calls("/app").len(), 1);
}

#[tokio::test]
async fn answers_that_cannot_be_used_fail_the_call() {
    let next = Arc::new(Mutex::new((200_u16, Vec::new())));
    let application = {
        let next = Arc::clone(&next);
        Application::start(move |_, _| {
            let (status, body) = next.lock().clone();
            Act::Raw(status, body)
        })
        .await
    };
    let node = node(&config(application.address, "max_answer_bytes = 2000")).await;
    let mut client = Ws::joined(node.client_address()).await;
    let huge = format!("{{\"result\":\"{}\"}}", "x".repeat(2000));
    let enormous = format!("{{\"result\":\"{}\"}}", "x".repeat(20 << 20));
    let deep = format!("{{\"result\":{}{}}}", "[".repeat(100), "]".repeat(100));
    let mut bad = 0.0;
    for (status, body) in [
        (500, "{\"result\":1}"),
        (204, ""),
        (302, "{\"result\":1}"),
        (200, ""),
        (200, "{}"),
        (200, "[1]"),
        (200, "7"),
        (200, "{\"result\":1"),
        (200, "{\"result\":1} x"),
        (200, "{\"result\":1,\"failure\":2}"),
        (200, "{\"result\":1,\"result\":2}"),
        (200, "\u{0}"),
        (200, huge.as_str()),
        (200, enormous.as_str()),
        (200, deep.as_str()),
    ] {
        *next.lock() = (status, body.as_bytes().to_vec());
        let answer = call(&mut client, "/service/app/a", json!(1)).await;
        let what = &body[..body.len().min(40)];
        assert_eq!(
            answer["data"]["code"], "hook_answer_invalid",
            "{status} {what}"
        );
        assert_eq!(answer["successful"], false, "{status} {what}");
        bad += 1.0;
    }
    *next.lock() = (200, b"{\"result\":\"\xff\"}".to_vec());
    assert_failed(
        &call(&mut client, "/service/app/a", json!(1)).await,
        "hook_answer_invalid",
    );
    assert_eq!(outcome(&node, "invalid").await, bad + 1.0);
    *next.lock() = (200, b" { \"result\" : { } } ".to_vec());
    let answer = call(&mut client, "/service/app/a", json!(1)).await;
    assert_eq!(
        (&answer["successful"], &answer["data"]),
        (&json!(true), &json!({}))
    );
}

#[tokio::test]
async fn the_policy_decides_before_the_application_is_asked() {
    let application = Application::start(|_, _| Act::Answer(json!({ "result": 1 }))).await;
    let rules = "[[security.channels]]\npattern = \"/service/app/*\"\npublish = [\"user\"]\n";
    let node = node(&format!("{}{rules}", config(application.address, ""))).await;
    let mut nobody = Ws::joined(node.client_address()).await;
    let reply = nobody.publish("/service/app/a", json!(1)).await;
    assert_eq!(
        reply["error"],
        "403:denied_by_security_policy:publish_denied"
    );
    let ext = json!({ "halley": { "user": "ann" } });
    let mut ann = Ws::joined_with(node.client_address(), ext).await;
    assert_eq!(call(&mut ann, "/service/app/a", json!(1)).await["data"], 1);
    assert_eq!(application.calls("/app").len(), 1);
}

#[tokio::test]
async fn a_node_that_ends_does_not_wait_for_the_application() {
    let gate = Arc::new(Semaphore::new(0));
    let application =
        Application::start(move |_, _| Act::Wait(Arc::clone(&gate), json!({ "result": 1 }))).await;
    let node = node(&config(application.address, "timeout_ms = 600000")).await;
    let mut client = Ws::joined(node.client_address()).await;
    client
        .send(json!({ "channel": "/service/app/a", "data": 1 }))
        .await;
    eventually("the application is asked", async || {
        (application.calls("/app").len() == 1).then_some(())
    })
    .await;
    within("the end of the node", node.drain()).await;
}

#[test]
fn rows_are_checked() {
    let row = |row: &str| format!("[[services.hooks]]\n{row}");
    let good = "pattern = \"/service/a\"\nurl = \"http://127.0.0.1:1/a\"";
    for (text, told) in [
        (
            row("pattern = \"/chat\"\nurl = \"http://h/\""),
            "services.hooks[1].pattern: /chat is not a service channel",
        ),
        (
            row("pattern = \"/service/{x}\"\nurl = \"http://h/\""),
            "variables are not patterns",
        ),
        (
            row("pattern = \"/service/a\"\nurl = \"https://h/\""),
            "services.hooks[1].url: https is not spoken",
        ),
        (
            row("pattern = \"/service/a\"\nurl = \"\""),
            "services.hooks[1].url",
        ),
        (
            row("pattern = \"/service/a\""),
            "services.hooks[1].url: is missing",
        ),
        (
            row("url = \"http://h/\""),
            "services.hooks[1].pattern: is missing",
        ),
        (
            format!("{}\n{}", row(good), row(good)),
            "services.hooks[2].pattern: /service/a has a row already",
        ),
        (
            format!(
                "[seti]\ndirect = true\n{}",
                row("pattern = \"/service/user\"\nurl = \"http://h/\"")
            ),
            "/service/user is answered by the node",
        ),
        (
            "[services]\ntoken_file = \"/nonexistent\"".into(),
            "services.token_file: cannot read",
        ),
        (
            "[services]\ntimeout_ms = 1".into(),
            "services.timeout_ms: 1 is out of range",
        ),
    ] {
        let error = halley::config::Config::from_text(&text, [])
            .unwrap_err()
            .to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
    halley::config::Config::from_text(&row(good), []).expect("valid");
}
