//! Security over real sockets: tokens, permissions, hooks, and what refused clients are told.

mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use halley::node::Node;
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::application::{Act, Application, hook_config};
use support::{Poller, Ws, eventually, last, node, request, within};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, BufReader};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;

fn key(name: &str) -> String {
    format!("{}/tests/keys/{name}", env!("CARGO_MANIFEST_DIR"))
}

fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970")
        .as_secs()
}

fn token_by(file: &str, claims: &Value) -> String {
    let pem = std::fs::read(key(file)).expect("the key");
    let key = EncodingKey::from_ed_pem(&pem).expect("a key");
    encode(&Header::new(Algorithm::EdDSA), claims, &key).expect("a token")
}

fn token(user: &str, roles: &[&str]) -> String {
    token_by(
        "ed.pem",
        &json!({ "sub": user, "roles": roles, "exp": now_s() + 3600 }),
    )
}

fn jwt(more: &str) -> String {
    format!(
        "[security]\npolicy = \"jwt\"\n[security.jwt]\nalgorithms = [\"EdDSA\"]\npublic_key_file = {:?}\n{more}",
        key("ed.pub.pem")
    )
}

fn ext(token: &str) -> Value {
    json!({ "authentication": { "token": token } })
}

fn handshake_with(ext: &Value) -> Value {
    let mut message = json!({ "channel": "/meta/handshake", "version": "1.0",
        "supportedConnectionTypes": ["websocket"] });
    if !ext.is_null() {
        message["ext"] = ext.clone();
    }
    message
}

/// The reply to a handshake on a connection of its own.
async fn handshake(node: &Node, ext: Value) -> Value {
    let mut client = Ws::open(node.client_address()).await;
    client.exchange(handshake_with(&ext)).await
}

async fn subscribe(client: &mut Ws, channel: &str) -> Value {
    client
        .exchange(json!({ "channel": "/meta/subscribe", "subscription": channel }))
        .await
}

async fn publish(client: &mut Ws, channel: &str) -> Value {
    client
        .exchange(json!({ "channel": channel, "data": 1 }))
        .await
}

fn assert_refused(reply: &Value, error: &str) {
    assert_eq!(reply["successful"], false, "{reply}");
    assert_eq!(reply["error"], error, "{reply}");
}

async fn metric(node: &Node, name: &str) -> u64 {
    let answer = request(node.admin_address(), "GET", "/metrics", &[], b"").await;
    answer
        .text()
        .lines()
        .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
        .unwrap_or(0)
}

#[tokio::test]
async fn a_token_names_the_user() {
    let node = node(&jwt("")).await;
    let token = token("alice", &[]);
    let places = [
        ext(&token),
        json!({ "token": token }),
        json!({ "authentication": { "token": token }, "token": "ignored" }),
        json!({ "authentication": { "scheme": "x" }, "token": token }),
    ];
    for ext in places {
        let client = Ws::joined_with(node.client_address(), ext).await;
        let sessions = node.engine().sessions();
        let session = sessions
            .iter()
            .find(|session| session.id().as_str() == client.client_id);
        let user = session.and_then(|session| session.user().cloned());
        assert_eq!(user.expect("a user").as_str(), "alice");
    }
}

#[tokio::test]
async fn handshakes_without_a_valid_token_are_refused_with_the_reason() {
    let node = node(&jwt("")).await;
    let expired = token_by("ed.pem", &json!({ "sub": "alice", "exp": now_s() - 100 }));
    let foreign = token_by(
        "other.pem",
        &json!({ "sub": "alice", "exp": now_s() + 100 }),
    );
    for (ext, error) in [
        (Value::Null, "403:token_missing:handshake_denied"),
        (json!({}), "403:token_missing:handshake_denied"),
        (
            json!({ "token": null }),
            "403:token_missing:handshake_denied",
        ),
        (
            json!({ "authentication": "x" }),
            "403:token_missing:handshake_denied",
        ),
        (json!({ "token": 7 }), "403:token_invalid:handshake_denied"),
        (
            json!({ "token": "x.y.z" }),
            "403:token_invalid:handshake_denied",
        ),
        (ext(&foreign), "403:token_invalid:handshake_denied"),
        (ext(&expired), "403:token_expired:handshake_denied"),
    ] {
        let reply = handshake(&node, ext.clone()).await;
        assert_refused(&reply, error);
        assert_eq!(reply["advice"], json!({ "reconnect": "none" }), "{ext}");
        assert_eq!(reply.get("clientId"), None);
    }
    // Over HTTP the same, and no cookie.
    let mut poller = Poller::new(node.client_address()).await;
    let body = json!([{ "channel": "/meta/handshake", "ext": { "token": foreign } }]);
    let answer = poller.post("/cometd/handshake", &body).await;
    assert_eq!(answer.status, 200);
    assert_refused(&answer.json()[0], "403:token_invalid:handshake_denied");
    assert_eq!(answer.header("set-cookie"), None);
    assert_eq!(node.engine().session_count(), 0);
}

#[tokio::test]
async fn a_token_may_be_optional_but_a_wrong_one_is_not() {
    let node = node(&jwt("required = false")).await;
    let client = Ws::joined(node.client_address()).await;
    assert!(!client.client_id.is_empty());
    assert_eq!(node.engine().sessions()[0].user(), None);
    let reply = handshake(&node, json!({ "token": "x" })).await;
    assert_refused(&reply, "403:token_invalid:handshake_denied");
}

const RULES: &str = r#"
[[security.channels]]
pattern = "/chat/**"
subscribe = ["*"]
publish = ["member"]
[[security.channels]]
pattern = "/chat/staff/*"
subscribe = ["admin"]
publish = ["admin"]
create = ["admin"]
[[security.channels]]
pattern = "/service/echo"
publish = ["user"]
"#;

#[tokio::test]
async fn permissions_by_pattern_and_role() {
    let node = node(&jwt(&format!("required = false\n{RULES}"))).await;
    let address = node.client_address();
    let mut nobody = Ws::joined(address).await;
    let mut member = Ws::joined_with(address, ext(&token("m", &["member", "x"]))).await;
    let mut admin = Ws::joined_with(address, ext(&token("a", &["admin"]))).await;

    assert_eq!(subscribe(&mut nobody, "/chat/a").await["successful"], true);
    assert_refused(
        &publish(&mut nobody, "/chat/a").await,
        "403:denied_by_security_policy:publish_denied",
    );
    assert_eq!(publish(&mut member, "/chat/a").await["successful"], true);
    assert_eq!(nobody.next().await["channel"], "/chat/a");

    // Only an admin names channels there; once they exist the other rules count.
    for client in [&mut nobody, &mut member] {
        assert_refused(
            &subscribe(client, "/chat/staff/x").await,
            "403:denied_by_security_policy:create_denied",
        );
        assert_refused(
            &publish(client, "/chat/staff/x").await,
            "403:denied_by_security_policy:channel_create_denied",
        );
    }
    assert_eq!(
        subscribe(&mut admin, "/chat/staff/x").await["successful"],
        true
    );
    assert_refused(
        &subscribe(&mut member, "/chat/staff/x").await,
        "403:denied_by_security_policy:subscribe_denied",
    );
    assert_refused(
        &publish(&mut member, "/chat/staff/x").await,
        "403:denied_by_security_policy:publish_denied",
    );

    // A wildcard above does not look over the fence.
    for (client, allowed) in [(&mut nobody, false), (&mut member, false)] {
        let reply = subscribe(client, "/chat/**").await;
        assert_eq!(reply["successful"], allowed);
        assert_refused(&reply, "403:denied_by_security_policy:subscribe_denied");
    }
    // /chat/** is open to everyone, but not to an admin alone what is below it: that one may both.
    assert_eq!(subscribe(&mut admin, "/chat/**").await["successful"], true);

    // No rule, no access; and what is reserved stays so, whatever the rules.
    for channel in ["/other", "/**", "/halley/x"] {
        assert_eq!(
            subscribe(&mut admin, channel).await["successful"],
            false,
            "{channel}"
        );
        assert_eq!(
            publish(&mut admin, channel).await["successful"],
            false,
            "{channel}"
        );
    }
    assert_eq!(
        publish(&mut admin, "/service/echo").await["successful"],
        true
    );
    assert_refused(
        &publish(&mut nobody, "/service/echo").await,
        "403:denied_by_security_policy:publish_denied",
    );
}

#[tokio::test]
async fn what_runs_in_the_node_is_not_asked() {
    let node = node(&jwt(RULES)).await;
    let engine = node.engine();
    let local = engine.local_session(None, Arc::new(|_: &Arc<halley_bayeux::Publication>| {}));
    let channel = halley_bayeux::ChannelName::parse("/elsewhere").expect("a channel");
    let now = node.clock().now();
    local.subscribe(&channel, now).await.expect("subscribes");
    let data = halley_bayeux::Json::validate("1", 8).expect("JSON");
    local.publish(&channel, data, now).await.expect("publishes");
}

#[tokio::test]
async fn permissions_hold_without_tokens_too() {
    let node = node(&format!("[seti]\ntrust_handshake_user = true\n{RULES}")).await;
    let mut nobody = Ws::joined(node.client_address()).await;
    assert_eq!(subscribe(&mut nobody, "/chat/a").await["successful"], true);
    assert_eq!(
        publish(&mut nobody, "/service/echo").await["successful"],
        false
    );
    let bob = json!({ "halley": { "user": "bob" } });
    let mut bob = Ws::joined_with(node.client_address(), bob).await;
    assert_eq!(publish(&mut bob, "/service/echo").await["successful"], true);
    assert_eq!(publish(&mut bob, "/chat/a").await["successful"], false);
}

#[tokio::test]
async fn an_expired_token_ends_the_session_and_a_new_one_goes_on() {
    let node = node(&jwt("leeway_s = 0")).await;
    let short = || token_by("ed.pem", &json!({ "sub": "alice", "exp": now_s() + 2 }));
    let told = |reply: &Value| {
        assert_refused(reply, "402::session_unknown");
        assert_eq!(
            reply["advice"],
            json!({ "reconnect": "handshake", "interval": 0 })
        );
    };
    let mut ws = Ws::joined_with(node.client_address(), ext(&short())).await;
    let held = ws
        .send(json!({ "channel": "/meta/connect", "connectionType": "websocket" }))
        .await;
    let mut poller = Poller::new(node.client_address()).await;
    let body = json!([{ "channel": "/meta/handshake", "id": "1", "ext": ext(&short()) }]);
    let answer = poller.post("/cometd/handshake", &body).await;
    poller.client_id = answer.json()[0]["clientId"]
        .as_str()
        .expect("an id")
        .to_owned();
    poller.cookie = answer
        .header("set-cookie")
        .and_then(|set| Some(set.split(';').next()?.to_owned()));
    poller.send_connect(json!({ "timeout": 0 })).await;
    assert_eq!(last(&poller.connect_answer().await)["successful"], true);
    poller.send_connect(Value::Null).await;

    told(&ws.reply(&held).await);
    told(last(&poller.connect_answer().await));
    assert_eq!(node.engine().session_count(), 0);
    assert_eq!(metric(&node, "halley_credentials_expired_total").await, 2);
    // The old token does not make a new session, the new one does, on the same WebSocket.
    ws.client_id.clear();
    let old = token_by("ed.pem", &json!({ "sub": "alice", "exp": now_s() - 1 }));
    let reply = ws.exchange(handshake_with(&ext(&old))).await;
    assert_refused(&reply, "403:token_expired:handshake_denied");
    let reply = ws
        .exchange(handshake_with(&ext(&token("alice", &[]))))
        .await;
    assert_eq!(reply["successful"], true, "{reply}");
    // One that ends by itself leaves nothing behind.
    ws.client_id = reply["clientId"].as_str().expect("an id").to_owned();
    let reply = ws.exchange(json!({ "channel": "/meta/disconnect" })).await;
    assert_eq!(reply["successful"], true);
    assert_eq!(metric(&node, "halley_credentials_expired_total").await, 2);
}

#[tokio::test]
async fn a_rotated_key_counts_without_a_restart() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("key.pem");
    std::fs::copy(key("ed.pub.pem"), &file).expect("copies");
    let node = node(&format!(
        "[security]\npolicy = \"jwt\"\n[security.jwt]\nalgorithms = [\"EdDSA\"]\nreload_ms = 100\npublic_key_file = {:?}",
        file.display().to_string()
    ))
    .await;
    let claims = json!({ "sub": "alice", "exp": now_s() + 3600 });
    let (old, new) = (token_by("ed.pem", &claims), token_by("other.pem", &claims));
    assert_eq!(handshake(&node, ext(&old)).await["successful"], true);
    assert_eq!(handshake(&node, ext(&new)).await["successful"], false);
    std::fs::copy(key("other.pub.pem"), &file).expect("copies");
    eventually("the new key counts", async || {
        let reply = handshake(&node, ext(&new)).await;
        (reply["successful"] == true).then_some(())
    })
    .await;
    assert_eq!(handshake(&node, ext(&old)).await["successful"], false);
}

/// The public half of an Ed25519 key as a key set.
fn key_set(file: &str) -> Value {
    let pem = std::fs::read_to_string(key(file)).expect("the key");
    let text: String = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = STANDARD.decode(text).expect("Base64");
    let x = URL_SAFE_NO_PAD.encode(&der[der.len() - 32..]);
    json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x }] })
}

#[tokio::test]
async fn keys_of_an_address_are_fetched_and_fetched_again() {
    let set = Arc::new(Mutex::new((500, String::new())));
    let application = {
        let set = Arc::clone(&set);
        Application::start(move |_, _| {
            let (status, text) = set.lock().clone();
            Act::Raw(status, text.into_bytes())
        })
        .await
    };
    let node = node(&format!(
        "[security]\npolicy = \"jwt\"\n[security.jwt]\nalgorithms = [\"EdDSA\", \"HS256\"]\njwks_refresh_ms = 1000\njwks_url = \"http://{}/keys\"",
        application.address
    ))
    .await;
    let claims = json!({ "sub": "alice", "exp": now_s() + 3600 });
    let (old, new) = (token_by("ed.pem", &claims), token_by("other.pem", &claims));
    let reply = handshake(&node, ext(&old)).await;
    assert_refused(&reply, "403:token_key_unknown:handshake_denied");
    assert_eq!(
        reply["advice"],
        json!({ "reconnect": "handshake", "interval": 2000 })
    );
    let becomes = async |token: &str, good: bool| {
        eventually("the keys are fetched", async || {
            let reply = handshake(&node, ext(token)).await;
            (reply["successful"] == good).then_some(reply)
        })
        .await
    };
    *set.lock() = (200, key_set("ed.pub.pem").to_string());
    becomes(&old, true).await;
    // What cannot be used changes nothing.
    *set.lock() = (200, "{}".to_owned());
    let before = application.calls("/keys").len();
    eventually("two more fetches", async || {
        (application.calls("/keys").len() >= before + 2).then_some(())
    })
    .await;
    assert_eq!(handshake(&node, ext(&old)).await["successful"], true);
    // Another key, and a secret, which is none when it comes over the network.
    let mut keys = key_set("other.pub.pem");
    let secret = [7; 32];
    let entry = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(secret) });
    keys["keys"].as_array_mut().expect("a list").push(entry);
    *set.lock() = (200, keys.to_string());
    becomes(&new, true).await;
    let reply = handshake(&node, ext(&old)).await;
    assert_refused(&reply, "403:token_invalid:handshake_denied");
    let key = EncodingKey::from_secret(&secret);
    let forged = encode(&Header::new(Algorithm::HS256), &claims, &key).expect("a token");
    let reply = handshake(&node, ext(&forged)).await;
    assert_refused(&reply, "403:token_invalid:handshake_denied");
}

#[tokio::test]
async fn a_token_is_in_no_log() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("halley.toml");
    let text = format!(
        "[client]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nlevel = \"trace\"\n{}",
        jwt("")
    );
    std::fs::write(&file, text).expect("writes");
    let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_halley"))
        .arg("serve")
        .arg("--config")
        .arg(&file)
        .stderr(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("halley runs");
    let mut lines = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let mut log = String::new();
    let address: SocketAddr = loop {
        let line = within("the node is ready", lines.next_line())
            .await
            .expect("reads")
            .expect("not the end");
        log += &line;
        log.push('\n');
        if line.contains("node is ready") {
            let at = line.split("client=").nth(1).expect("the address");
            break at
                .split(' ')
                .next()
                .expect("a word")
                .parse()
                .expect("an address");
        }
    };
    let good = token("alice", &["member"]);
    let bad = token_by("other.pem", &json!({ "sub": "alice", "exp": now_s() + 9 }));
    let mut client = Ws::joined_with(address, ext(&good)).await;
    assert_eq!(publish(&mut client, "/a").await["successful"], true);
    let mut other = Ws::open(address).await;
    assert_refused(
        &other.exchange(handshake_with(&ext(&bad))).await,
        "403:token_invalid:handshake_denied",
    );
    let body = json!([{ "channel": "/meta/handshake", "ext": { "token": good } }]).to_string();
    let json = [("Content-Type", "application/json")];
    let answer = request(address, "POST", "/cometd/handshake", &json, body.as_bytes()).await;
    assert_eq!(answer.json()[0]["successful"], true);
    process.start_kill().expect("kills");
    while let Ok(Some(line)) = within("the end of the log", lines.next_line()).await {
        log += &line;
        log.push('\n');
    }
    assert!(
        log.contains("a handshake was denied"),
        "the log was read: {log}"
    );
    for token in [good, bad] {
        for part in token.split('.') {
            let line = log.lines().find(|line| line.contains(part));
            assert_eq!(line, None, "a part of a token is in the log");
        }
    }
}

#[tokio::test]
async fn a_handshake_hook_names_user_and_roles() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "hook-secret\n").expect("writes");
    let application = Application::start(|_, body| {
        Act::Answer(match body["ext"]["password"].as_str() {
            Some("right") => {
                json!({ "allow": true, "user": "alice", "roles": ["member", "other"] })
            }
            Some("guest") => json!({ "allow": true }),
            Some("banned") => json!({ "allow": false, "reason": "banned" }),
            Some("later") => json!({ "allow": false, "reason": "full", "retry_ms": 700 }),
            Some("odd") => json!({ "allow": false, "reason": "a:b" }),
            _ => json!({ "allow": false }),
        })
    })
    .await;
    let more = format!("token_file = {:?}\n{RULES}", file.display().to_string());
    let node = node(&application.config(&["handshake"], &more)).await;
    let password = |text: &str| json!({ "password": text });
    let mut alice = Ws::joined_with(node.client_address(), password("right")).await;
    assert_eq!(publish(&mut alice, "/chat/a").await["successful"], true);
    assert_eq!(
        publish(&mut alice, "/service/echo").await["successful"],
        true
    );
    let mut guest = Ws::joined_with(node.client_address(), password("guest")).await;
    assert_eq!(publish(&mut guest, "/chat/a").await["successful"], false);
    assert_eq!(
        publish(&mut guest, "/service/echo").await["successful"],
        false
    );
    let none = json!({ "reconnect": "none" });
    for (word, error, advice) in [
        ("banned", "403:banned:handshake_denied", none.clone()),
        (
            "later",
            "403:full:handshake_denied",
            json!({ "reconnect": "handshake", "interval": 700 }),
        ),
        ("odd", "403:denied_by_hook:handshake_denied", none.clone()),
        ("wrong", "403:denied_by_hook:handshake_denied", none),
    ] {
        let reply = handshake(&node, password(word)).await;
        assert_refused(&reply, error);
        assert_eq!(reply["advice"], advice);
    }
    let reply = handshake(&node, Value::Null).await;
    assert_refused(&reply, "403:denied_by_hook:handshake_denied");
    let calls = application.calls("/handshake");
    assert_eq!(calls.len(), 7);
    assert_eq!(
        calls[0].body,
        json!({ "hook": "handshake", "node": "n1", "ext": { "password": "right" },
            "authorization": null, "transport": "websocket", "address": "127.0.0.1" })
    );
    assert_eq!(calls[6].body["ext"], Value::Null);
    assert_eq!(
        calls[0].authorization.as_deref(),
        Some("Bearer hook-secret")
    );
    assert_eq!(
        metric(
            &node,
            "halley_hook_calls_total{hook=\"handshake\",outcome=\"denied\"}"
        )
        .await,
        5
    );
    assert_eq!(
        application.connections.load(Ordering::SeqCst),
        1,
        "the connection is kept"
    );
}

/// A handshake whose request, or whose upgrade, has this header.
async fn handshake_with_header(node: &Node, websocket: bool, value: &str, ext: &Value) -> Value {
    let address = node.client_address();
    let mut message = handshake_with(ext);
    if !websocket {
        let headers = [("Authorization", value)];
        let body = message.to_string();
        let answer = request(address, "POST", "/cometd", &headers, body.as_bytes()).await;
        return answer.json()[0].clone();
    }
    let mut upgrade = format!("ws://{address}/cometd")
        .into_client_request()
        .expect("a request");
    let value = value.parse().expect("a header");
    upgrade.headers_mut().insert("authorization", value);
    let stream = tokio::net::TcpStream::connect(address)
        .await
        .expect("connects");
    let (socket, _) = tokio_tungstenite::client_async(upgrade, stream)
        .await
        .expect("upgrades");
    message["id"] = json!("h");
    let mut client = Ws::of(socket);
    client.text(message.to_string()).await;
    client.reply("h").await
}

#[tokio::test]
async fn a_token_may_come_in_the_header_of_the_request_or_the_upgrade() {
    let node = node(&jwt("")).await;
    let header = format!("Bearer {}", token("alice", &[]));
    let user_of = |reply: &Value| {
        assert_eq!(reply["successful"], json!(true), "{reply}");
        let sessions = node.engine().sessions();
        let session = sessions
            .iter()
            .find(|session| Some(session.id().as_str()) == reply["clientId"].as_str());
        session.and_then(|session| session.user().map(|user| user.as_str().to_owned()))
    };
    for websocket in [false, true] {
        for value in [header.clone(), header.replace("Bearer", "bearer")] {
            let reply = handshake_with_header(&node, websocket, &value, &json!({})).await;
            assert_eq!(user_of(&reply).as_deref(), Some("alice"));
        }
        // What the message has comes first, even if it is wrong.
        let reply =
            handshake_with_header(&node, websocket, &header, &ext(&token("bob", &[]))).await;
        assert_eq!(user_of(&reply).as_deref(), Some("bob"));
        let reply = handshake_with_header(&node, websocket, &header, &ext("wrong")).await;
        assert_refused(&reply, "403:token_invalid:handshake_denied");
        for (value, error) in [
            ("Bearer wrong", "403:token_invalid:handshake_denied"),
            ("Basic YTpi", "403:token_missing:handshake_denied"),
            ("Bearer", "403:token_missing:handshake_denied"),
        ] {
            let reply = handshake_with_header(&node, websocket, value, &json!({})).await;
            assert_refused(&reply, error);
        }
    }
}

#[tokio::test]
async fn a_handshake_hook_sees_the_header() {
    let application = Application::start(|_, body| {
        let user = body["authorization"].as_str().unwrap_or("nobody");
        Act::Answer(json!({ "allow": user == "Basic YTpi" }))
    })
    .await;
    let node = node(&application.config(&["handshake"], "")).await;
    for websocket in [false, true] {
        let reply = handshake_with_header(&node, websocket, "Basic YTpi", &json!({})).await;
        assert_eq!(reply["successful"], json!(true), "{reply}");
    }
    let reply = handshake(&node, json!({})).await;
    assert_refused(&reply, "403:denied_by_hook:handshake_denied");
}

#[tokio::test]
async fn hooks_are_told_who_asks_and_the_headers_that_are_configured() {
    let application = Application::start(|_, _| Act::Answer(json!({ "allow": true }))).await;
    let hooks = ["handshake", "subscribe", "publish"];
    let more = "headers = [\"X-Tenant\", \"x-absent\"]";
    let node = node(&application.config(&hooks, more)).await;
    let mut request = format!("ws://{}/cometd", node.client_address())
        .into_client_request()
        .expect("a request");
    request
        .headers_mut()
        .insert("x-tenant", "red".parse().expect("a value"));
    request
        .headers_mut()
        .insert("x-other", "hidden".parse().expect("a value"));
    let stream = tokio::net::TcpStream::connect(node.client_address())
        .await
        .expect("connects");
    let (socket, _) = tokio_tungstenite::client_async(request, stream)
        .await
        .expect("upgrades");
    let mut client = Ws::of(socket);
    let mut message = handshake_with(&json!({}));
    message["id"] = json!("h");
    client.text(message.to_string()).await;
    let reply = client.reply("h").await;
    client.client_id = reply["clientId"].as_str().expect("an id").to_owned();
    assert_eq!(subscribe(&mut client, "/a").await["successful"], true);
    assert_eq!(publish(&mut client, "/b").await["successful"], true);
    for hook in hooks {
        let calls = application.calls(&format!("/{hook}"));
        let body = &calls[0].body;
        assert_eq!(
            (&body["transport"], &body["address"], &body["headers"]),
            (
                &json!("websocket"),
                &json!("127.0.0.1"),
                &json!({ "x-tenant": "red" })
            ),
            "{hook}"
        );
    }
    handshake_with_header(&node, false, "Basic YTpi", &json!({})).await;
    let calls = application.calls("/handshake");
    assert_eq!(calls[1].body["transport"], "long-polling");
    assert_eq!(calls[1].body["headers"], json!({}));
}

#[tokio::test]
async fn a_hook_may_limit_a_session_in_time() {
    let application =
        Application::start(|_, _| Act::Answer(json!({ "allow": true, "expires_in_ms": 300 })))
            .await;
    let node = node(&application.config(&["handshake"], "")).await;
    let mut client = Ws::joined(node.client_address()).await;
    let held = client
        .send(json!({ "channel": "/meta/connect", "connectionType": "websocket" }))
        .await;
    assert_refused(&client.reply(&held).await, "402::session_unknown");
}

#[tokio::test]
async fn hooks_decide_on_channels_after_the_permissions() {
    let application = Application::start(|_, body| {
        let allow = body["channel"] != "/chat/closed";
        Act::Answer(json!({ "allow": allow, "reason": "closed" }))
    })
    .await;
    let rules =
        "[[security.channels]]\npattern = \"/chat/*\"\nsubscribe = [\"*\"]\npublish = [\"*\"]";
    let node = node(&application.config(&["subscribe", "publish"], rules)).await;
    let mut client = Ws::joined(node.client_address()).await;
    assert_eq!(
        subscribe(&mut client, "/chat/open").await["successful"],
        true
    );
    assert_eq!(publish(&mut client, "/chat/open").await["successful"], true);
    assert_refused(
        &subscribe(&mut client, "/chat/closed").await,
        "403:closed:subscribe_denied",
    );
    assert_refused(
        &publish(&mut client, "/chat/closed").await,
        "403:closed:publish_denied",
    );
    assert_refused(
        &publish(&mut client, "/elsewhere").await,
        "403:denied_by_security_policy:channel_create_denied",
    );
    let (subscribes, publishes) = (
        application.calls("/subscribe"),
        application.calls("/publish"),
    );
    assert_eq!(
        (subscribes.len(), publishes.len()),
        (2, 2),
        "not asked where permissions refuse"
    );
    let session = &subscribes[0].body["session"];
    assert!(session.is_u64());
    assert_eq!(
        publishes[1].body,
        json!({ "hook": "publish", "node": "n1", "session": session, "user": null, "channel": "/chat/closed",
            "transport": "websocket", "address": "127.0.0.1" })
    );
    assert!(
        !subscribes[0].body.to_string().contains(&client.client_id),
        "a session id is a credential"
    );
}

#[tokio::test]
async fn answers_are_kept_per_session_channel_and_operation() {
    let application =
        Application::start(|_, body| Act::Answer(json!({ "allow": body["channel"] == "/a" })))
            .await;
    let config = application.config(&["subscribe", "publish"], "cache_ms = 3600000");
    let node = node(&config).await;
    let mut client = Ws::joined(node.client_address()).await;
    for _ in 0..3 {
        assert_eq!(publish(&mut client, "/a").await["successful"], true);
        assert_refused(
            &publish(&mut client, "/b").await,
            "403:denied_by_hook:publish_denied",
        );
    }
    assert_eq!(application.calls("/publish").len(), 2);
    assert_eq!(subscribe(&mut client, "/a").await["successful"], true);
    assert_eq!(application.calls("/subscribe").len(), 1);
    let mut other = Ws::joined(node.client_address()).await;
    assert_eq!(publish(&mut other, "/a").await["successful"], true);
    assert_eq!(
        application.calls("/publish").len(),
        3,
        "another session is asked about"
    );
}

#[tokio::test]
async fn without_cache_time_every_message_is_asked_about() {
    let application = Application::start(|_, _| Act::Answer(json!({ "allow": true }))).await;
    let node = node(&application.config(&["publish"], "")).await;
    let mut client = Ws::joined(node.client_address()).await;
    for _ in 0..3 {
        assert_eq!(publish(&mut client, "/a").await["successful"], true);
    }
    assert_eq!(application.calls("/publish").len(), 3);
}

#[tokio::test]
async fn a_slow_hook_refuses_in_time_and_holds_up_nobody_else() {
    let gate = Arc::new(Semaphore::new(0));
    let application = {
        let gate = Arc::clone(&gate);
        Application::start(move |path, _| match path {
            "/publish" => Act::Wait(Arc::clone(&gate), json!({ "allow": true })),
            _ => Act::Answer(json!({ "allow": true })),
        })
        .await
    };
    let config = application.config(&["subscribe", "publish"], "timeout_ms = 60000");
    let patient = node(&config).await;
    let mut client = Ws::joined(patient.client_address()).await;
    let ids = [
        client.send(json!({ "channel": "/a", "data": 1 })).await,
        client.send(json!({ "channel": "/a", "data": 2 })).await,
    ];
    eventually("the hook is asked", async || {
        (!application.calls("/publish").is_empty()).then_some(())
    })
    .await;
    // Another session goes on meanwhile; the first one's next message is not even asked about.
    let mut other = Ws::joined(patient.client_address()).await;
    assert_eq!(subscribe(&mut other, "/a").await["successful"], true);
    assert_eq!(application.calls("/publish").len(), 1, "back-pressure");
    gate.add_permits(2);
    for id in &ids {
        assert_eq!(client.reply(id).await["successful"], true);
    }
    let impatient = node(&application.config(&["handshake", "publish"], "timeout_ms = 100")).await;
    let mut client = Ws::joined(impatient.client_address()).await;
    assert_refused(
        &publish(&mut client, "/a").await,
        "403:hook_timeout:publish_denied",
    );
    // A failure is not kept as an answer.
    gate.add_permits(100);
    assert_eq!(publish(&mut client, "/a").await["successful"], true);
    assert_eq!(
        metric(
            &impatient,
            "halley_hook_calls_total{hook=\"publish\",outcome=\"timeout\"}"
        )
        .await,
        1
    );
}

#[tokio::test]
async fn a_slow_handshake_hook_asks_to_try_again() {
    let application =
        Application::start(|_, _| Act::Wait(Arc::new(Semaphore::new(0)), Value::Null)).await;
    let node = node(&application.config(&["handshake"], "timeout_ms = 100")).await;
    let reply = handshake(&node, Value::Null).await;
    assert_refused(&reply, "403:hook_timeout:handshake_denied");
    assert_eq!(
        reply["advice"],
        json!({ "reconnect": "handshake", "interval": 2000 })
    );
}

#[tokio::test]
async fn calls_wait_for_a_place() {
    let gate = Arc::new(Semaphore::new(0));
    let application = {
        let gate = Arc::clone(&gate);
        Application::start(move |_, _| Act::Wait(Arc::clone(&gate), json!({ "allow": true }))).await
    };
    let config = application.config(&["publish"], "max_concurrent = 2\ntimeout_ms = 60000");
    let node = node(&config).await;
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut client = Ws::joined(node.client_address()).await;
        let id = client.send(json!({ "channel": "/a", "data": 1 })).await;
        clients.push((client, id));
    }
    eventually("both places are taken", async || {
        (application.calls("/publish").len() == 2).then_some(())
    })
    .await;
    gate.add_permits(6);
    for (client, id) in &mut clients {
        assert_eq!(client.reply(id).await["successful"], true);
    }
    assert_eq!(application.in_flight_max.load(Ordering::SeqCst), 2);
    assert_eq!(application.calls("/publish").len(), 6);
}

#[tokio::test]
async fn a_client_that_has_gone_keeps_its_place_no_longer_than_the_timeout() {
    let first = AtomicUsize::new(0);
    let application = Application::start(move |_, _| {
        if first.fetch_add(1, Ordering::SeqCst) == 0 {
            Act::Wait(Arc::new(Semaphore::new(0)), Value::Null)
        } else {
            Act::Answer(json!({ "allow": true }))
        }
    })
    .await;
    let config = application.config(&["publish"], "max_concurrent = 1\ntimeout_ms = 300");
    let node = node(&config).await;
    let mut gone = Ws::joined(node.client_address()).await;
    gone.send(json!({ "channel": "/a", "data": 1 })).await;
    eventually("the hook is asked", async || {
        (application.calls("/publish").len() == 1).then_some(())
    })
    .await;
    drop(gone);
    let mut client = Ws::joined(node.client_address()).await;
    eventually("the place is free again", async || {
        (publish(&mut client, "/a").await["successful"] == true).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_dead_hook_refuses() {
    let address = TcpListener::bind("127.0.0.1:0")
        .await
        .expect("binds")
        .local_addr()
        .expect("an address");
    let node = node(&hook_config(address, &["handshake"], "")).await;
    let reply = handshake(&node, Value::Null).await;
    assert_refused(&reply, "403:hook_unreachable:handshake_denied");
    assert_eq!(
        reply["advice"],
        json!({ "reconnect": "handshake", "interval": 2000 })
    );
    let node = support::node(&hook_config(address, &["subscribe", "publish"], "")).await;
    let mut client = Ws::joined(node.client_address()).await;
    assert_refused(
        &subscribe(&mut client, "/a").await,
        "403:hook_unreachable:subscribe_denied",
    );
    assert_refused(
        &publish(&mut client, "/a").await,
        "403:hook_unreachable:publish_denied",
    );
}

#[tokio::test]
async fn a_hook_that_was_not_there_is_tried_again() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let address = listener.local_addr().expect("an address");
    drop(listener);
    let node = node(&hook_config(
        address,
        &["publish"],
        "retries = 10\ntimeout_ms = 60000",
    ))
    .await;
    let mut client = Ws::joined(node.client_address()).await;
    let id = client.send(json!({ "channel": "/a", "data": 1 })).await;
    // Not synchronisation: the first attempt should meet nobody, and the test holds if it does not.
    tokio::time::sleep(Duration::from_millis(100)).await;
    let listener = TcpListener::bind(address).await.expect("binds again");
    let application = Application::on(listener, |_, _| Act::Answer(json!({ "allow": true })));
    assert_eq!(client.reply(&id).await["successful"], true);
    assert_eq!(application.calls("/publish").len(), 1);
}

#[tokio::test]
async fn a_hook_that_breaks_off_is_not_asked_twice() {
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
    let node = node(&hook_config(address, &["publish"], "retries = 5")).await;
    let mut client = Ws::joined(node.client_address()).await;
    assert_refused(
        &publish(&mut client, "/a").await,
        "403:hook_unreachable:publish_denied",
    );
    assert_eq!(accepted.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn a_lying_hook_refuses() {
    let lies = Arc::new(Mutex::new((200, Vec::new())));
    let application = {
        let lies = Arc::clone(&lies);
        Application::start(move |_, _| {
            let (status, body) = lies.lock().clone();
            Act::Raw(status, body)
        })
        .await
    };
    let node = node(&application.config(&["handshake", "publish"], "cache_ms = 60000")).await;
    *lies.lock() = (200, b"{\"allow\":true}".to_vec());
    let mut client = Ws::joined(node.client_address()).await;
    let huge = format!("{{\"allow\":true,\"x\":\"{}\"}}", "x".repeat(100_000));
    for (status, body) in [
        (500, "{\"allow\":true}"),
        (204, ""),
        (302, "{\"allow\":true}"),
        (403, "{\"allow\":true}"),
        (200, ""),
        (200, "true"),
        (200, "[]"),
        (200, "[true]"),
        (200, "[true,null]"),
        (200, "{}"),
        (200, "{\"allow\":\"true\"}"),
        (200, "{\"allow\":1}"),
        (200, "{\"allow\":null}"),
        (200, "{\"allow\":true"),
        (200, "{\"allow\":true,\"allow\":false}"),
        (200, "{\"allow\":true,\"reason\":7}"),
        (200, huge.as_str()),
    ] {
        *lies.lock() = (status, body.as_bytes().to_vec());
        let what = &body[..body.len().min(40)];
        let reply = publish(&mut client, "/a").await;
        assert_eq!(
            reply["error"], "403:hook_answer_invalid:publish_denied",
            "{status} {what}"
        );
    }
    for body in [
        "{\"allow\":true,\"user\":\"\"}",
        "{\"allow\":true,\"user\":7}",
        "{\"allow\":true,\"user\":\"a\\u0000\"}",
        "{\"allow\":true,\"roles\":\"admin\"}",
        "{\"allow\":true,\"roles\":[1]}",
        "{\"allow\":true,\"expires_in_ms\":-1}",
    ] {
        *lies.lock() = (200, body.as_bytes().to_vec());
        let reply = handshake(&node, Value::Null).await;
        assert_refused(&reply, "403:hook_answer_invalid:handshake_denied");
        assert_eq!(reply["advice"]["reconnect"], "handshake", "{body}");
    }
    *lies.lock() = (200, b"{\"allow\":true}".to_vec());
    assert_eq!(
        publish(&mut client, "/a").await["successful"],
        true,
        "no failure was kept"
    );
}
