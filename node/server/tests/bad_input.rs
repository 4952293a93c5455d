//! Whatever a client sends: it gets the documented error or close, another client does not notice, the process lives.

mod support;

use futures_util::SinkExt as _;
use halley::node::Node;
use serde_json::{Value, json};
use support::{Http, Poller, Ws, eventually, last, node, request};
use tokio_tungstenite::tungstenite::Message;

/// A node and a bystander, who proves at the end that it was not disturbed.
struct Scene {
    node: Node,
    bystander: Ws,
}

impl Scene {
    async fn new() -> Self {
        Self::with("").await
    }

    async fn with(more: &str) -> Self {
        let node = node(more).await;
        let bystander = Ws::joined(node.client_address()).await;
        Self { node, bystander }
    }

    async fn post(&self, body: &[u8]) -> u16 {
        request(self.node.client_address(), "POST", "/cometd", &[], body)
            .await
            .status
    }

    async fn end(mut self) {
        self.bystander.proves_itself("undisturbed").await;
    }
}

#[tokio::test]
async fn bodies_that_are_not_bayeux() {
    let scene = Scene::new().await;
    for body in [
        "",
        "{",
        "[",
        "[{]",
        "nonsense",
        "7",
        "\"text\"",
        "[{}] trailing",
        "[{\"channel\":\"/a\"},]",
        "[1]",
        "[]",
        "null",
        "[[]]",
    ] {
        assert_eq!(scene.post(body.as_bytes()).await, 400, "{body}");
    }
    assert_eq!(
        scene
            .post(b"[{\"channel\":\"/a\",\"data\":\"\xff\xfe\"}]")
            .await,
        400
    );
    scene.end().await;
}

#[tokio::test]
async fn frames_that_are_not_bayeux() {
    let mut scene = Scene::new().await;
    for text in ["{", "[{]", "nonsense", "7", "[]", "null", "[1]", ""] {
        let mut client = Ws::open(scene.node.client_address()).await;
        client.text(text).await;
        let code = client.close_code().await;
        assert!(
            matches!(code, 1002 | 1003 | 1007 | 1008 | 1011),
            "{text:?}: {code}"
        );
        scene.bystander.proves_itself(text).await;
    }
    scene.end().await;
}

#[tokio::test]
async fn nesting_of_100000() {
    let scene = Scene::with("[session]\nmaxMessageSize = 1000000").await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(scene.post(deep.as_bytes()).await, 400);
    let inside = format!("[{{\"channel\":\"/a\",\"data\":{deep}}}]");
    assert_eq!(scene.post(inside.as_bytes()).await, 400);
    assert_eq!(scene.post("{\"a\":".repeat(50_000).as_bytes()).await, 400);
    let mut client = Ws::open(scene.node.client_address()).await;
    client.text(inside).await;
    assert_ne!(client.close_code().await, 1000);
    scene.end().await;
}

#[tokio::test]
async fn invalid_utf8_closes_with_1007() {
    let scene = Scene::new().await;
    let mut client = Ws::open(scene.node.client_address()).await;
    // A text frame, masked with zeros, whose two bytes are not UTF-8.
    use tokio::io::AsyncWriteExt as _;
    client
        .socket
        .get_mut()
        .write_all(&[0x81, 0x82, 0, 0, 0, 0, 0xff, 0xfe])
        .await
        .expect("writes");
    assert_eq!(client.close_code().await, 1007);
    scene.end().await;
}

#[tokio::test]
async fn bodies_that_are_too_large() {
    let scene = Scene::with("[session]\nmaxMessageSize = 1000").await;
    // As declared, without a byte of it.
    let mut http = Http::connect(scene.node.client_address()).await;
    http.raw(b"POST /cometd HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
        .await;
    assert_eq!(http.answer().await.status, 413);
    // As sent, with no length declared.
    let mut http = Http::connect(scene.node.client_address()).await;
    http.raw(b"POST /cometd HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    for _ in 0..30 {
        http.raw(format!("64\r\n{}\r\n", "x".repeat(100)).as_bytes())
            .await;
    }
    http.raw(b"0\r\n\r\n").await;
    assert_eq!(http.answer().await.status, 413);
    // One byte over, and exactly at the limit.
    assert_eq!(scene.post(" ".repeat(1001).as_bytes()).await, 413);
    assert_eq!(scene.post(" ".repeat(1000).as_bytes()).await, 400);
    scene.end().await;
}

#[tokio::test]
async fn frames_that_are_too_large() {
    let scene = Scene::with("[session]\nmaxMessageSize = 1000").await;
    let address = scene.node.client_address();
    let mut sent = Ws::open(address).await;
    sent.text("x".repeat(1001)).await;
    assert_eq!(sent.close_code().await, 1009);
    // As declared: the head of a frame of a terabyte, and nothing behind it.
    use tokio::io::AsyncWriteExt as _;
    let mut declared = Ws::open(address).await;
    declared
        .socket
        .get_mut()
        .write_all(&[0x81, 0xff, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])
        .await
        .expect("writes");
    assert_eq!(declared.close_code().await, 1009);
    // In pieces, each of them small enough.
    let mut pieces = Ws::open(address).await;
    for n in 0..3_u8 {
        let mut piece = vec![if n == 0 { 0x01 } else { 0x00 }, 0x80 | 126];
        piece.extend(500_u16.to_be_bytes());
        piece.extend([0; 4]);
        piece.extend([b' '; 500]);
        pieces
            .socket
            .get_mut()
            .write_all(&piece)
            .await
            .expect("writes");
    }
    assert_eq!(pieces.close_code().await, 1009);
    scene.end().await;
}

#[tokio::test]
async fn frames_against_the_protocol_of_websocket() {
    let scene = Scene::new().await;
    use tokio::io::AsyncWriteExt as _;
    // Unmasked; a reserved opcode; a reserved bit; a ping of 126 bytes; a continuation of nothing.
    let long_ping = [&[0x89, 0xfe, 0, 126, 0, 0, 0, 0][..], &[b'x'; 126]].concat();
    let frames: [&[u8]; 5] = [
        &[0x81, 0x01, b'x'],
        &[0x83, 0x80, 0, 0, 0, 0],
        &[0xc1, 0x80, 0, 0, 0, 0],
        &long_ping,
        &[0x80, 0x80, 0, 0, 0, 0],
    ];
    for frame in frames {
        let mut client = Ws::open(scene.node.client_address()).await;
        client
            .socket
            .get_mut()
            .write_all(frame)
            .await
            .expect("writes");
        assert_eq!(client.close_code().await, 1002, "{frame:x?}");
    }
    scene.end().await;
}

#[tokio::test]
async fn sessions_that_do_not_exist() {
    let scene = Scene::new().await;
    let mut poller = Poller::joined(scene.node.client_address()).await;
    for id in [
        "",
        "x",
        "no-such-session",
        &"a".repeat(5000),
        "../../etc",
        "é",
    ] {
        poller.client_id = id.to_owned();
        let replies = poller.publish("/a", json!(1)).await;
        assert_eq!(last(&replies)["successful"], false, "{id}");
        assert_eq!(last(&replies)["error"], "402::session_unknown", "{id}");
    }
    let mut ws = Ws::open(scene.node.client_address()).await;
    ws.client_id = "nosuchsession".to_owned();
    let reply = ws
        .exchange(json!({ "channel": "/meta/connect", "connectionType": "websocket" }))
        .await;
    assert_eq!(reply["error"], "402::session_unknown");
    assert_eq!(reply["advice"]["reconnect"], "handshake");
    scene.end().await;
}

/// Values of every type.
fn values() -> Vec<Value> {
    vec![
        json!(null),
        json!(true),
        json!(0),
        json!(-1.5e300),
        json!(""),
        json!("x"),
        json!([]),
        json!([[1]]),
        json!({}),
        json!({"a": {"b": 1}}),
    ]
}

#[tokio::test]
async fn wrong_types_in_every_field_over_http() {
    let scene = Scene::new().await;
    let client = Poller::joined(scene.node.client_address()).await;
    for channel in [
        "/meta/handshake",
        "/meta/connect",
        "/meta/subscribe",
        "/meta/unsubscribe",
        "/a",
        "/service/x",
    ] {
        for field in [
            "channel",
            "id",
            "clientId",
            "data",
            "subscription",
            "advice",
            "ext",
            "version",
            "supportedConnectionTypes",
            "connectionType",
            "timestamp",
            "unheard",
        ] {
            for value in values() {
                // A timeout of 0, or a good connect would be held.
                let mut message = json!({ "channel": channel, "id": "1", "clientId": client.client_id,
                    "subscription": "/a", "advice": { "timeout": 0 } });
                if channel == "/a" {
                    message["data"] = json!(1);
                }
                message[field] = value;
                let mut cookie = vec![];
                if let Some(value) = &client.cookie {
                    cookie.push(("Cookie", value.as_str()));
                }
                let body = json!([message]).to_string();
                let mut http = Http::connect(scene.node.client_address()).await;
                http.send("POST", "/cometd", &cookie, body.as_bytes()).await;
                if channel == "/meta/connect" && (field == "advice" || field == "channel") {
                    // May be held, which is as good; the answer of the next one shows that the node lives.
                    continue;
                }
                let answer = http.answer().await;
                assert!(matches!(answer.status, 200 | 400), "{body}: {answer:?}");
                if answer.status == 200 {
                    let replies = answer.json();
                    let reply = last(replies.as_array().expect("an array"));
                    assert!(reply["successful"].is_boolean(), "{body}: {reply}");
                }
            }
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn wrong_types_in_every_field_over_websocket() {
    let scene = Scene::new().await;
    for channel in ["/meta/subscribe", "/a", "/meta/connect"] {
        for field in [
            "channel",
            "id",
            "clientId",
            "data",
            "subscription",
            "advice",
            "ext",
        ] {
            let mut client = Ws::joined(scene.node.client_address()).await;
            for value in values() {
                let mut message = json!({ "channel": channel, "id": "1", "clientId": client.client_id, "subscription": "/a" });
                message[field] = value;
                if client
                    .socket
                    .send(Message::text(json!([message]).to_string()))
                    .await
                    .is_err()
                {
                    client = Ws::joined(scene.node.client_address()).await;
                }
            }
        }
    }
    scene.end().await;
}

#[tokio::test]
async fn channels_that_clients_may_not_use() {
    let scene = Scene::new().await;
    let mut client = Poller::joined(scene.node.client_address()).await;
    for channel in [
        "/meta/x",
        "/meta",
        "/oort/cloud",
        "/oort",
        "/seti/all",
        "/halley/presence",
        "a",
        "",
        "/",
        "/a//b",
        "/a b\n",
        "/ä",
        "/a/*/b",
    ] {
        let replies = client.publish(channel, json!(1)).await;
        // What only looks like a meta channel is an ordinary one.
        if channel != "/meta" {
            assert_eq!(
                last(&replies)["successful"],
                false,
                "publish {channel}: {replies:?}"
            );
        }
    }
    for channel in [
        "/meta/*",
        "/meta/**",
        "/meta/connect",
        "/oort/cloud",
        "/oort/**",
        "/seti/*",
        "/a//b",
        "x",
        "",
    ] {
        let replies = client
            .exchange(json!({ "channel": "/meta/subscribe", "subscription": channel }))
            .await;
        assert_eq!(
            last(&replies)["successful"],
            false,
            "subscribe {channel}: {replies:?}"
        );
    }
    scene.end().await;
}

#[tokio::test]
async fn garbage_instead_of_http() {
    let scene = Scene::new().await;
    let inputs: Vec<Vec<u8>> = vec![
        b"\x00\x01\x02\x03\xff\xfe\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03hello\r\n\r\n".to_vec(),
        b"PRI * HTTP/2.0\r\n\r\nnot HTTP/2".to_vec(),
        b"POST /cometd\r\n\r\n".to_vec(),
        b"POST /cometd HTTP/1.1\r\nContent-Length: many\r\n\r\n".to_vec(),
        b"POST /cometd HTTP/1.1\r\nContent-Length: -1\r\n\r\n".to_vec(),
        b"POST /cometd HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n".to_vec(),
        b"POST /cometd HTTP/1.1\r\nbroken header\r\n\r\n".to_vec(),
        vec![b'A'; 100_000],
    ];
    for input in inputs {
        let mut http = Http::connect(scene.node.client_address()).await;
        // The node may close before everything is written.
        use tokio::io::AsyncWriteExt as _;
        let _ = http.stream.write_all(&input).await;
        if let Some(answer) = http.try_answer().await {
            assert!((400..600).contains(&answer.status), "{answer:?}");
        }
        http.closed().await;
    }
    scene.end().await;
}

#[tokio::test]
async fn a_huge_header() {
    let scene = Scene::with("[client]\nmax_header_bytes = 8192").await;
    for head in [
        format!("X-Long: {}\r\n", "x".repeat(200_000)),
        "X-Many: x\r\n".repeat(5000),
    ] {
        let mut http = Http::connect(scene.node.client_address()).await;
        use tokio::io::AsyncWriteExt as _;
        let _ = http
            .stream
            .write_all(format!("POST /cometd HTTP/1.1\r\nHost: h\r\n{head}\r\n").as_bytes())
            .await;
        if let Some(answer) = http.try_answer().await {
            assert!(matches!(answer.status, 400 | 431), "{answer:?}");
        }
        http.closed().await;
    }
    scene.end().await;
}

#[tokio::test]
async fn heads_and_bodies_that_never_end() {
    let scene = Scene::with("[client]\nheader_timeout_ms = 300\nbody_timeout_ms = 300").await;
    // A head that stops.
    let mut half = Http::connect(scene.node.client_address()).await;
    half.raw(b"POST /cometd HT").await;
    half.closed().await;
    // A head that comes a byte at a time.
    let mut slow = Http::connect(scene.node.client_address()).await;
    slow.raw(b"POST /cometd HTTP/1.1\r\nX: ").await;
    eventually("the node gives up on a slow head", async || {
        use tokio::io::AsyncWriteExt as _;
        slow.stream.write_all(b"x").await.err()
    })
    .await;
    // A body that stops.
    let mut body = Http::connect(scene.node.client_address()).await;
    body.raw(b"POST /cometd HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n[{")
        .await;
    assert_eq!(body.answer().await.status, 408);
    body.closed().await;
    // Nothing at all.
    let mut nothing = Http::connect(scene.node.client_address()).await;
    nothing.closed().await;
    scene.end().await;
}

#[tokio::test]
async fn a_charset_that_is_not_utf8() {
    let scene = Scene::new().await;
    let body = json!([{ "channel": "/meta/handshake", "id": "1", "version": "1.0" }]).to_string();
    for (kind, status) in [
        ("application/json;charset=ISO-8859-7", 415),
        ("text/plain; charset=\"latin1\"", 415),
        ("application/json;charset=UTF-8", 200),
        ("application/json; charset=\"utf-8\"", 200),
        ("text/plain", 200),
        ("nonsense", 200),
    ] {
        let answer = request(
            scene.node.client_address(),
            "POST",
            "/cometd",
            &[("Content-Type", kind)],
            body.as_bytes(),
        )
        .await;
        assert_eq!(answer.status, status, "{kind}");
    }
    scene.end().await;
}
