//! The HTTP API: who may do what, what arrives, pages, ending sessions, bounds, tokens that are replaced.

mod support;

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use futures_util::StreamExt as _;
use halley::Node;
use halley_bayeux::{ChannelName, Json, Message, Millis, Responder, Session};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message as Frame;

use support::{Answer, Http, Ws, eventually, metric, metric_becomes, node, request};

const ALL: &str = "all-all-all-all-all-all-all-all-";
const SHOP: &str = "shop-shop-shop-shop-shop-shop-sh";
const READER: &str = "reader-reader-reader-reader-read";
const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// Token files, and a configuration that names them.
struct Files {
    directory: tempfile::TempDir,
}

impl Files {
    fn new() -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        for (name, token) in [("all", ALL), ("shop", SHOP), ("reader", READER)] {
            put(&directory.path().join(name), token);
        }
        Self { directory }
    }

    /// With these options in `[api]`.
    fn config(&self, options: &str, more: &str) -> String {
        let file = |name: &str| self.directory.path().join(name).display().to_string();
        format!(
            "{more}\n[seti]\ntrust_handshake_user = true\n[api]\nlisten = \"127.0.0.1:0\"\n{options}\n\
             [[api.tokens]]\nname = \"all\"\ntoken_file = {:?}\nroles = [\"read\", \"publish\", \"call\", \"manage\"]\n\
             [[api.tokens]]\nname = \"shop\"\ntoken_file = {:?}\nroles = [\"publish\", \"read\", \"call\"]\n\
             channels = [\"/shop/**\", \"/service/shop/*\"]\n\
             [[api.tokens]]\nname = \"reader\"\ntoken_file = {:?}\nroles = [\"read\"]\n",
            file("all"),
            file("shop"),
            file("reader"),
        )
    }
}

/// Replaces a file whole, as operators should.
fn put(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).expect("writes");
    std::fs::rename(&next, file).expect("renames");
}

fn api(node: &Node) -> SocketAddr {
    node.api_address().expect("the API is on")
}

async fn ask(node: &Node, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let bearer = format!("Bearer {token}");
    let headers = [
        ("Authorization", bearer.as_str()),
        ("Content-Type", "application/json"),
    ];
    request(api(node), method, path, &headers, body.as_bytes()).await
}

async fn get(node: &Node, path: &str) -> Value {
    let answer = ask(node, ALL, "GET", path, "").await;
    assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    answer.json()
}

/// The status and code of a problem.
fn problem(answer: &Answer) -> (u16, String) {
    assert_eq!(
        answer.header("content-type"),
        Some("application/problem+json"),
        "{answer:?}"
    );
    let json = answer.json();
    assert_eq!(json["status"], answer.status);
    assert!(
        json["detail"]
            .as_str()
            .is_some_and(|detail| !detail.is_empty())
    );
    (
        answer.status,
        json["code"].as_str().expect("a code").to_owned(),
    )
}

async fn user(node: &Node, name: &str) -> Ws {
    Ws::joined_with(node.client_address(), json!({ "halley": { "user": name } })).await
}

/// The next text frame, as it is written.
async fn next_text(client: &mut Ws) -> String {
    loop {
        let frame = support::within("a frame", client.socket.next()).await;
        if let Frame::Text(text) = frame.expect("not the end").expect("a frame") {
            return text.as_str().to_owned();
        }
    }
}

/// The next message on a channel.
async fn on(client: &mut Ws, channel: &str) -> Value {
    loop {
        let message = client.next().await;
        if message["channel"] == channel {
            return message;
        }
    }
}

#[tokio::test]
async fn without_listen_there_is_no_api() {
    assert_eq!(node("").await.api_address(), None);
}

#[tokio::test]
async fn a_request_needs_a_token_a_role_and_a_channel() {
    let files = Files::new();
    let node = node(&files.config("", "")).await;
    for (method, path) in [
        ("POST", "/v1/publish"),
        ("POST", "/v1/batch"),
        ("POST", "/v1/users/a/publish"),
        ("GET", "/v1/channels"),
        ("GET", "/v1/channels/%2Fa/subscribers"),
        ("GET", "/v1/sessions"),
        ("GET", "/v1/sessions/1"),
        ("DELETE", "/v1/sessions/1"),
        ("GET", "/v1/users/a"),
        ("DELETE", "/v1/users/a"),
        ("POST", "/v1/services/shop/price"),
    ] {
        for token in [
            "",
            "x",
            "all-all-all-all-all-all-all-all",
            "all-all-all-all-all-all-all-all-a",
        ] {
            let answer = ask(&node, token, method, path, "{}").await;
            assert_eq!(problem(&answer), (401, "token_needed".into()), "{path}");
            assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
        }
        let read = method == "GET";
        let answer = ask(&node, READER, method, path, "{}").await;
        assert_eq!(
            answer.status == 403,
            !read,
            "{method} {path}: {}",
            answer.text()
        );
    }
    // What needs no token, and what is not there.
    for path in ["/v1/health", "/v1/openapi.json"] {
        assert_eq!(request(api(&node), "GET", path, &[], b"").await.status, 200);
    }
    let answer = request(api(&node), "GET", "/v1/nothing", &[], b"").await;
    assert_eq!(problem(&answer), (404, "path_unknown".into()));
    let answer = request(api(&node), "PUT", "/v1/sessions/1", &[], b"").await;
    assert_eq!(problem(&answer), (405, "method_not_allowed".into()));
    assert_eq!(answer.header("allow"), Some("GET, DELETE, HEAD"));

    // Channels of others are not used, and not seen.
    let mut client = Ws::joined(node.client_address()).await;
    for channel in ["/shop/a", "/chat/a", "/**"] {
        client.subscribe(channel).await;
    }
    let event = |channel: &str| json!({ "channel": channel, "data": 1 }).to_string();
    for (path, channel, status) in [
        ("/v1/publish", "/shop/a", 200),
        ("/v1/publish", "/chat/a", 403),
        ("/v1/publish", "/shop", 403),
        ("/v1/users/a/publish", "/service/shop/a", 200),
        ("/v1/users/a/publish", "/service/chat/a", 403),
    ] {
        let answer = ask(&node, SHOP, "POST", path, &event(channel)).await;
        assert_eq!(answer.status, status, "{path} {channel}");
    }
    let answer = ask(&node, SHOP, "GET", "/v1/channels", "").await;
    assert_eq!(
        answer.json()["channels"],
        json!([{ "channel": "/shop/a", "sessions": 1 }])
    );
    let answer = ask(
        &node,
        SHOP,
        "GET",
        "/v1/channels/%2Fchat%2Fa/subscribers",
        "",
    )
    .await;
    assert_eq!(problem(&answer), (403, "channel_denied".into()));
    let number =
        get(&node, "/v1/channels/%2Fchat%2Fa/subscribers").await["sessions"][0]["session"].clone();
    let answer = ask(&node, SHOP, "GET", &format!("/v1/sessions/{number}"), "").await;
    assert_eq!(answer.json()["subscriptions"], json!(["/shop/a"]));
    let answer = ask(&node, SHOP, "POST", "/v1/services/chat/x", "{\"data\":1}").await;
    assert_eq!(problem(&answer), (403, "channel_denied".into()));
}

#[tokio::test]
async fn nobody_publishes_on_channels_that_are_reserved() {
    let files = Files::new();
    let node = node(&files.config("", "")).await;
    let mut client = user(&node, "alice").await;
    for (channel, code) in [
        ("/meta/connect", "channel_reserved"),
        ("/oort/a", "channel_reserved"),
        ("/seti", "channel_reserved"),
        ("/halley/presence", "channel_reserved"),
        ("/halley", "channel_reserved"),
        ("/chat/*", "channel_is_pattern"),
        ("/chat/**", "channel_is_pattern"),
        ("/chat//a", "channel_invalid"),
        ("/chat/a/", "channel_invalid"),
        ("chat", "channel_invalid"),
        ("", "channel_invalid"),
    ] {
        let event = json!({ "channel": channel, "data": 1 });
        for path in ["/v1/publish", "/v1/users/alice/publish"] {
            let answer = ask(&node, ALL, "POST", path, &event.to_string()).await;
            assert_eq!(problem(&answer).1, code, "{channel}");
        }
        let batch = json!({ "messages": [event] }).to_string();
        let answer = ask(&node, ALL, "POST", "/v1/batch", &batch).await;
        assert_eq!(answer.json()["results"][0]["code"], code, "{channel}");
    }
    let answer = ask(
        &node,
        ALL,
        "POST",
        "/v1/publish",
        r#"{"channel":"/service/a","data":1}"#,
    )
    .await;
    assert_eq!(problem(&answer), (403, "channel_is_service".into()));
    // None of them has reached anybody.
    client.subscribe("/proof").await;
    client.publish("/proof", json!(1)).await;
    assert_eq!(client.next().await["channel"], "/proof");
    assert_eq!(
        metric(&node, "halley_api_publications_total{to=\"channel\"}").await,
        0.0
    );
}

/// As odd as JSON can be: what it is must arrive to the letter.
const ODD: &str =
    r#"{ "a" : 1.0e+2, "b":[ ] ,"a":-0, "c":"\u00e9\/é", "d":123456789012345678901234567890 }"#;

#[tokio::test]
async fn data_arrives_to_the_letter() {
    let files = Files::new();
    let node = node(&files.config("", "")).await;
    let mut client = user(&node, "alice").await;
    client.subscribe("/chat/a").await;
    let body = format!("{{ \"data\": {ODD},\n\"channel\": \"\\/chat/a\" }}");
    let answer = ask(&node, ALL, "POST", "/v1/publish", &body).await;
    assert_eq!(
        answer.json(),
        json!({ "channel": "/chat/a", "node": node.name(), "here": 1 })
    );
    let text = next_text(&mut client).await;
    assert!(text.contains(&format!("\"data\":{ODD}}}")), "{text}");
    let body = format!("{{\"channel\":\"/service/inbox\",\"data\":{ODD}}}");
    let answer = ask(&node, ALL, "POST", "/v1/users/alice/publish", &body).await;
    assert_eq!(answer.json()["known"], true);
    let text = next_text(&mut client).await;
    assert!(text.contains(&format!("\"data\":{ODD}}}")), "{text}");
    let answer = ask(&node, ALL, "POST", "/v1/users/nobody/publish", &body).await;
    assert_eq!(
        (answer.status, answer.json()["known"].as_bool()),
        (200, Some(false))
    );
}

#[tokio::test]
async fn a_batch_keeps_its_order_and_each_message_has_its_result() {
    let files = Files::new();
    let node = node(&files.config("max_batch = 60", "")).await;
    let mut client = user(&node, "alice").await;
    client.subscribe("/chat/**").await;
    let mut messages: Vec<Value> = (0..57)
        .map(|n| json!({ "channel": "/chat/a", "data": n }))
        .collect();
    messages[5] = json!({ "channel": "/meta/x", "data": 5 });
    messages[6] = json!({ "channel": "/chat/inbox", "data": 6, "user": "alice" });
    messages[7] = json!({ "channel": "/chat/inbox", "data": 7, "user": "nobody" });
    messages[8] = json!(["/chat/a", 8]);
    messages[9] = json!({ "channel": "/chat/a" });
    let batch = json!({ "messages": messages }).to_string();
    let answer = ask(&node, ALL, "POST", "/v1/batch", &batch).await;
    assert_eq!(answer.status, 200);
    let results = answer.json()["results"]
        .as_array()
        .expect("results")
        .clone();
    let status: Vec<_> = results[4..11]
        .iter()
        .map(|result| &result["status"])
        .collect();
    assert_eq!(status, [200, 403, 200, 200, 400, 400, 200]);
    assert_eq!(
        (results.len(), &results[6]["known"], &results[7]["known"]),
        (57, &json!(true), &json!(false))
    );
    for n in (0..57).filter(|n| ![5, 7, 8, 9].contains(n)) {
        assert_eq!(client.next().await["data"], n);
    }
    let batch = json!({ "messages": vec![&messages[0]; 61] }).to_string();
    let answer = ask(&node, ALL, "POST", "/v1/batch", &batch).await;
    assert_eq!(problem(&answer), (400, "batch_too_long".into()));
    let answer = ask(&node, ALL, "POST", "/v1/batch", "{\"messages\":[]}").await;
    assert_eq!(problem(&answer), (400, "batch_empty".into()));
    assert_eq!(
        metric(&node, "halley_api_publications_total{to=\"channel\"}").await,
        52.0
    );
    assert_eq!(
        metric(&node, "halley_api_publications_total{to=\"user\"}").await,
        2.0
    );
}

/// Follows `next` through all pages and gathers the list.
async fn pages(node: &Node, path: &str, list: &str) -> Vec<Value> {
    let mut all = Vec::new();
    let mut after = String::new();
    loop {
        let page = get(node, &format!("{path}limit=2{after}")).await;
        assert_eq!(
            (&page["scope"], &page["node"]),
            (&json!("node"), &json!(node.name()))
        );
        let entries = page[list].as_array().expect("a list");
        assert!(entries.len() <= 2);
        all.extend(entries.clone());
        match &page["next"] {
            Value::Null => return all,
            Value::String(next) => after = format!("&after={next}"),
            next => after = format!("&after={next}"),
        }
    }
}

#[tokio::test]
async fn lists_come_in_pages() {
    let files = Files::new();
    let node = node(&files.config("", "")).await;
    let mut clients = Vec::new();
    for n in 0..5 {
        let mut client = user(&node, &format!("user{n}")).await;
        client.subscribe("/chat/room").await;
        client.subscribe(&format!("/chat/{n}")).await;
        clients.push(client);
    }
    clients[0].subscribe("/other").await;
    let channels = pages(&node, "/v1/channels?prefix=/chat/&", "channels").await;
    let names: Vec<_> = channels
        .iter()
        .map(|one| one["channel"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        [
            "/chat/0",
            "/chat/1",
            "/chat/2",
            "/chat/3",
            "/chat/4",
            "/chat/room"
        ]
    );
    assert_eq!(
        (&channels[0]["sessions"], &channels[5]["sessions"]),
        (&json!(1), &json!(5))
    );
    let subscribers = pages(
        &node,
        "/v1/channels/%2Fchat%2Froom/subscribers?",
        "sessions",
    )
    .await;
    let users: Vec<_> = subscribers
        .iter()
        .map(|one| one["user"].as_str().expect("a user"))
        .collect();
    assert_eq!(users, ["user0", "user1", "user2", "user3", "user4"]);
    assert_eq!(subscribers[0]["transport"], "websocket");
    let sessions = pages(&node, "/v1/sessions?", "sessions").await;
    let of_clients: Vec<_> = sessions
        .iter()
        .filter(|one| one["transport"] != "local")
        .cloned()
        .collect();
    assert_eq!(of_clients, subscribers);
    assert!(sessions.is_sorted_by_key(|one| one["session"].as_u64()));

    for (path, status, code) in [
        ("/v1/channels?limit=0", 400, "query_invalid"),
        ("/v1/channels?limit=1001", 400, "query_invalid"),
        ("/v1/channels?limit=x", 400, "query_invalid"),
        ("/v1/channels?what=1", 400, "query_invalid"),
        ("/v1/sessions/0", 400, "session_invalid"),
        ("/v1/sessions/x", 400, "session_invalid"),
        ("/v1/sessions/999999", 404, "session_unknown"),
        ("/v1/channels/%2Fnobody/subscribers", 404, "channel_unknown"),
        ("/v1/channels/nobody/subscribers", 400, "channel_invalid"),
        (
            "/v1/sessions?after=9223372036854775808",
            400,
            "query_invalid",
        ),
        ("/v1/users/nobody", 404, "user_unknown"),
        ("/v1/users/%0A", 400, "user_invalid"),
        ("/v1/users/%FF", 400, "path_invalid"),
    ] {
        let answer = ask(&node, ALL, "GET", path, "").await;
        assert_eq!(problem(&answer), (status, code.into()), "{path}");
    }
}

#[tokio::test]
async fn a_session_is_shown_by_its_number_and_disconnected() {
    let files = Files::new();
    let node = node(&files.config("", "")).await;
    let mut alice = user(&node, "alice").await;
    alice.subscribe("/chat/room").await;
    let shown = get(&node, "/v1/users/alice").await;
    assert_eq!(shown["nodes"], json!([node.name()]));
    let path = format!("/v1/sessions/{}", shown["sessions_here"][0]);
    let answer = ask(&node, ALL, "GET", &path, "").await;
    let session = answer.json();
    assert_eq!(session["user"], "alice");
    assert_eq!(session["subscriptions"], json!(["/chat/room"]));
    // The id is the credential of the client.
    assert!(!answer.text().contains(&alice.client_id));
    let answer = ask(&node, ALL, "DELETE", &format!("{path}?reason=banned"), "").await;
    assert_eq!(
        (answer.status, answer.json()["ended"].as_bool()),
        (200, Some(true))
    );
    let farewell = on(&mut alice, "/meta/disconnect").await;
    assert_ne!(farewell["successful"], false);
    let answer = ask(&node, ALL, "DELETE", &path, "").await;
    assert_eq!(problem(&answer), (404, "session_unknown".into()));
    for method in ["GET", "DELETE"] {
        let answer = ask(&node, ALL, method, "/v1/users/alice", "").await;
        assert_eq!(problem(&answer), (404, "user_unknown".into()));
    }
    // The API's own session is none of a client.
    let sessions = get(&node, "/v1/sessions").await["sessions"].clone();
    let own = format!("/v1/sessions/{}", sessions[0]["session"]);
    assert_eq!(sessions[0]["transport"], "local");
    let answer = ask(&node, ALL, "DELETE", &own, "").await;
    assert_eq!(problem(&answer), (409, "session_of_node".into()));
    for reason in ["x".repeat(257), "%0A".to_owned()] {
        let answer = ask(&node, ALL, "DELETE", &format!("{own}?reason={reason}"), "").await;
        assert_eq!(problem(&answer), (400, "query_invalid".into()));
    }
}

#[tokio::test]
async fn a_user_is_reached_and_disconnected_on_both_nodes() {
    let (files, more) = (Files::new(), |name: &str, siblings: &[String]| {
        format!(
            "[node]\nname = {name:?}\n[mesh]\nlisten = \"127.0.0.1:0\"\nsecret = \"{SECRET}\"\nsiblings = {siblings:?}\n\
             join_wait_ms = 300\nheartbeat_ms = 100\ndetection_ms = 4000"
        )
    });
    let one = node(&files.config("", &more("one", &[]))).await;
    let sibling = one.mesh_address().expect("clustered").to_string();
    let two = node(&files.config("", &more("two", &[sibling]))).await;
    metric_becomes(&one, "halley_members", 2.0).await;
    let mut here = user(&one, "alice").await;
    let mut there = user(&two, "alice").await;
    let mut bob = user(&two, "bob").await;
    eventually("one knows where alice is", async || {
        let shown = ask(&one, ALL, "GET", "/v1/users/alice", "").await.json();
        (shown["nodes"] == json!(["one", "two"])).then_some(())
    })
    .await;
    eventually("one knows where bob is", async || {
        let answer = ask(&one, ALL, "GET", "/v1/users/bob", "").await;
        (answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(
        get(&one, "/v1/users/bob").await,
        json!({ "user": "bob", "node": "one", "nodes": ["two"], "sessions_here": [] })
    );
    let event = r#"{"channel":"/service/inbox","data":"hello"}"#;
    let answer = ask(&one, ALL, "POST", "/v1/users/alice/publish", event)
        .await
        .json();
    assert_eq!(
        (&answer["here"], &answer["nodes"]),
        (&json!(1), &json!(["two"]))
    );
    for client in [&mut here, &mut there] {
        assert_eq!(on(client, "/service/inbox").await["data"], "hello");
    }
    let answer = ask(&one, ALL, "DELETE", "/v1/users/alice", "").await.json();
    assert_eq!(
        answer,
        json!({ "user": "alice", "node": "one", "known": true, "here": 1, "nodes": ["two"], "refused": [] })
    );
    for client in [&mut here, &mut there] {
        on(client, "/meta/disconnect").await;
    }
    bob.proves_itself("still here").await;
    eventually("alice is nowhere", async || {
        let answer = ask(&one, ALL, "GET", "/v1/users/alice", "").await;
        (answer.status == 404).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_service_answers_a_call() {
    let files = Files::new();
    let node = node(&files.config("call_timeout_ms = 200", "")).await;
    let answers = |_: &Arc<Session>, message: &Message<'_>, responder: Responder, _: Millis| {
        match message.data() {
            Some("1") => drop(responder),
            Some("2") => responder.fail(Json::validate("{\"class\": \"two\"}", 9).expect("JSON")),
            // Held for ever.
            Some("3") => std::mem::forget(responder),
            data => responder.succeed(Json::validate(data.unwrap_or("null"), 9).expect("JSON")),
        }
    };
    let channel = ChannelName::parse("/service/shop/price").expect("a channel");
    node.engine().add_remote_call(channel, Arc::new(answers));
    let call = async |data: &str| {
        let body = format!("{{\"data\":{data}}}");
        ask(&node, SHOP, "POST", "/v1/services/shop/price", &body).await
    };
    let answer = call(ODD).await;
    assert_eq!(
        (answer.status, answer.text()),
        (200, format!("{{\"result\":{ODD}}}").as_str())
    );
    assert_eq!(problem(&call("1").await), (422, "call_failed".into()));
    let answer = call("2").await;
    assert_eq!(problem(&answer), (422, "call_failed".into()));
    assert_eq!(answer.json()["failure"], json!({ "class": "two" }));
    assert_eq!(problem(&call("3").await), (504, "call_timeout".into()));
    let answer = ask(
        &node,
        SHOP,
        "POST",
        "/v1/services/shop%2Fprice",
        "{\"data\":4}",
    )
    .await;
    assert_eq!(answer.text(), "{\"result\":4}");
    let answer = ask(
        &node,
        SHOP,
        "POST",
        "/v1/services/shop/other",
        "{\"data\":4}",
    )
    .await;
    assert_eq!(problem(&answer), (404, "service_unknown".into()));
}

#[tokio::test]
async fn bodies_and_requests_are_bounded() {
    let files = Files::new();
    let node = node(&files.config("max_body_bytes = 300\nmax_requests = 1", "")).await;
    let long = json!({ "channel": "/a", "data": "x".repeat(300) }).to_string();
    let answer = ask(&node, ALL, "POST", "/v1/publish", &long).await;
    assert_eq!(problem(&answer), (413, "body_too_large".into()));
    let deep = format!(
        "{{\"channel\":\"/a\",\"data\":{}{}}}",
        "[".repeat(80),
        "]".repeat(80)
    );
    let answer = ask(&node, ALL, "POST", "/v1/publish", &deep).await;
    assert_eq!(problem(&answer), (400, "data_too_deep".into()));
    for body in [
        "",
        "{",
        "[\"/a\",1]",
        "{\"channel\":\"/a\"}",
        "{\"channel\":\"/a\",\"data\":1,\"more\":1}",
        "{\"channel\":\"/a\",\"channel\":\"/b\",\"data\":1}",
        "{\"channel\":\"/a\",\"data\":\"\\ud80x\"}",
        "{\"channel\":1,\"data\":1}",
    ] {
        let answer = ask(&node, ALL, "POST", "/v1/publish", body).await;
        assert_eq!(answer.status, 400, "{body}");
        problem(&answer);
    }
    let bearer = format!("Bearer {ALL}");
    for kind in [
        "text/plain",
        "application/json; charset=latin1",
        "application/jsonp",
    ] {
        let headers = [("Authorization", bearer.as_str()), ("Content-Type", kind)];
        let answer = request(
            api(&node),
            "POST",
            "/v1/publish",
            &headers,
            b"{\"channel\":\"/a\",\"data\":1}",
        )
        .await;
        assert_eq!(
            problem(&answer),
            (415, "content_type_unsupported".into()),
            "{kind}"
        );
    }
    // A request whose body does not come to its end takes the only place; one that shows no token takes none.
    let mut slow = Http::connect(api(&node)).await;
    slow.raw(format!("POST /v1/publish HTTP/1.1\r\nHost: x\r\nAuthorization: {bearer}\r\nContent-Type: application/json\r\nContent-Length: 30\r\n\r\n{{").as_bytes()).await;
    let answer = eventually("the place is taken", async || {
        let answer = ask(&node, ALL, "GET", "/v1/sessions", "").await;
        (answer.status != 200).then_some(answer)
    })
    .await;
    assert_eq!(problem(&answer), (429, "too_many_requests".into()));
    assert_eq!(answer.header("retry-after"), Some("1"));
    let answer = ask(&node, "nobody", "GET", "/v1/sessions", "").await;
    assert_eq!(answer.status, 401);
    slow.raw(b"\"channel\":\"/a\",\"data\":1   }  ").await;
    assert_eq!(slow.answer().await.status, 200);
    assert_eq!(ask(&node, ALL, "GET", "/v1/sessions", "").await.status, 200);
    let counted = "halley_api_requests_total{method=\"GET\",path=\"/v1/sessions\",status=\"401\"}";
    assert_eq!(metric(&node, counted).await, 1.0);
}

#[tokio::test]
async fn tokens_are_replaced_without_a_restart() {
    let files = Files::new();
    let node = node(&files.config("", "")).await;
    let file = files.directory.path().join("reader");
    let new = "new-reader-new-reader-new-reader";
    let status = async |token: &str| ask(&node, token, "GET", "/v1/sessions", "").await.status;
    const CHANGED: &str = "halley_api_token_reloads_total{result=\"changed\"}";
    const FAILED: &str = "halley_api_token_reloads_total{result=\"failed\"}";
    assert_eq!((status(READER).await, status(new).await), (200, 401));
    put(&file, &format!("{READER}\n{new}\n"));
    // This step waits for the timer.
    metric_becomes(&node, CHANGED, 1.0).await;
    assert_eq!((status(READER).await, status(new).await), (200, 200));
    put(&file, new);
    node.reload().await;
    metric_becomes(&node, CHANGED, 2.0).await;
    assert_eq!((status(READER).await, status(new).await), (401, 200));
    for (n, text) in [
        "",
        "short",
        ALL,
        &"many-many-many-many-many-many-many\n".repeat(5),
    ]
    .iter()
    .enumerate()
    {
        put(&file, text);
        node.reload().await;
        metric_becomes(&node, FAILED, (n + 1) as f64).await;
        assert_eq!((status(new).await, status(ALL).await), (200, 200));
    }
    // A file that fails does not hold up those of others.
    let other = "other-other-other-other-other-ot";
    put(&files.directory.path().join("shop"), other);
    node.reload().await;
    metric_becomes(&node, CHANGED, 3.0).await;
    assert_eq!((status(SHOP).await, status(other).await), (401, 200));
}

#[test]
fn the_description_has_every_path_and_no_other() {
    let document: Value = serde_json::from_str(halley::api::OPENAPI).expect("JSON");
    assert_eq!(document["info"]["version"], env!("CARGO_PKG_VERSION"));
    let paths = document["paths"].as_object().expect("paths");
    let mut described: Vec<(String, String)> = Vec::new();
    for (path, operations) in paths {
        let operations = operations.as_object().expect("operations");
        described.extend(
            operations
                .keys()
                .map(|method| (path.clone(), method.clone())),
        );
    }
    let mut routed: Vec<(String, String)> = halley::api::routes()
        .flat_map(|(path, methods)| {
            let methods = methods.into_iter();
            methods.map(move |method| (path.clone(), method.to_owned()))
        })
        .collect();
    described.sort();
    routed.sort();
    assert_eq!(described, routed);
}

#[tokio::test]
async fn the_api_is_served_over_tls_with_the_certificate_of_the_clients() {
    let (files, authority) = (Files::new(), support::tls::Authority::new());
    let node = node(&files.config("tls = true", &authority.toml(""))).await;
    let stream = authority.connect(api(&node), &["http/1.1"]).await;
    let headers = [("Authorization", format!("Bearer {ALL}"))];
    let headers = [(headers[0].0, headers[0].1.as_str())];
    let mut line = Http::over(stream, api(&node));
    let answer = line.request("GET", "/v1/sessions", &headers, b"").await;
    assert_eq!(answer.status, 200);
    // Clear text is not understood.
    let mut clear = Http::connect(api(&node)).await;
    clear.send("GET", "/v1/health", &[], b"").await;
    assert!(clear.try_answer().await.is_none());
}

#[tokio::test]
async fn what_is_accepted_while_the_node_drains_is_served() {
    let files = Files::new();
    let node = node(&files.config("", "[node]\ndrain_wait_ms = 500")).await;
    let mut client = user(&node, "alice").await;
    client.subscribe("/chat/a").await;
    let ((), ()) = tokio::join!(node.drain(), async {
        eventually("not ready", async || {
            let health = request(api(&node), "GET", "/v1/health", &[], b"").await;
            (health.status == 503).then_some(())
        })
        .await;
        let event = r#"{"channel":"/chat/a","data":"late"}"#;
        let answer = ask(&node, ALL, "POST", "/v1/publish", event).await;
        assert_eq!(answer.json()["here"], 1);
        assert_eq!(on(&mut client, "/chat/a").await["data"], "late");
    });
}
