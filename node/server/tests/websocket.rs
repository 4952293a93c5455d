//! WebSocket over real sockets: upgrade, delivery, coalescing, closing.

mod support;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use support::{Http, Poller, Ws, metric, metric_becomes, node, request, within};
use tokio_tungstenite::tungstenite::Message;

const KEY: (&str, &str) = ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==");
const VERSION: (&str, &str) = ("Sec-WebSocket-Version", "13");
const UPGRADE: (&str, &str) = ("Upgrade", "websocket");
const CONNECTION: (&str, &str) = ("Connection", "keep-alive, Upgrade");

#[tokio::test]
async fn handshake_connect_subscribe_publish() {
    let node = node("").await;
    let mut reader = Ws::joined(node.client_address()).await;
    let mut writer = Ws::joined(node.client_address()).await;
    reader.subscribe("/chat/*").await;
    let held = reader
        .send(json!({ "channel": "/meta/connect", "connectionType": "websocket" }))
        .await;
    let reply = writer
        .publish("/chat/room", json!({ "text": "grüße" }))
        .await;
    assert_eq!(reply["successful"], true);
    assert!(reply.get("data").is_none());
    let event = reader.next().await;
    assert_eq!(event["channel"], "/chat/room");
    assert_eq!(event["data"], json!({ "text": "grüße" }));
    assert!(event.get("id").is_none() && event.get("clientId").is_none());
    // The connect stays held; a disconnect answers it first.
    let disconnect = reader.send(json!({ "channel": "/meta/disconnect" })).await;
    let first = reader.next().await;
    let second = reader.next().await;
    assert_eq!(
        (first["id"].as_str(), second["id"].as_str()),
        (Some(held.as_str()), Some(disconnect.as_str()))
    );
}

#[tokio::test]
async fn the_answer_to_an_upgrade() {
    let node = node("").await;
    let answer = request(
        node.client_address(),
        "GET",
        "/cometd",
        &[KEY, VERSION, UPGRADE, CONNECTION],
        b"",
    )
    .await;
    assert_eq!(answer.status, 101);
    assert_eq!(
        answer.header("sec-websocket-accept"),
        Some("s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
    );
    assert_eq!(answer.header("sec-websocket-extensions"), None);
}

#[tokio::test]
async fn upgrades_that_cannot_be() {
    let node = node("").await;
    let address = node.client_address();
    let old = ("Sec-WebSocket-Version", "8");
    let answer = request(
        address,
        "GET",
        "/cometd",
        &[KEY, old, UPGRADE, CONNECTION],
        b"",
    )
    .await;
    assert_eq!(
        (answer.status, answer.header("sec-websocket-version")),
        (426, Some("13"))
    );
    for key in ["", "c2hvcnQ=", "%%%%"] {
        let key = ("Sec-WebSocket-Key", key);
        let answer = request(
            address,
            "GET",
            "/cometd",
            &[key, VERSION, UPGRADE, CONNECTION],
            b"",
        )
        .await;
        assert_eq!(answer.status, 400, "{key:?}");
    }
    assert_eq!(
        request(
            address,
            "GET",
            "/cometd",
            &[VERSION, UPGRADE, CONNECTION],
            b""
        )
        .await
        .status,
        400
    );
    // The endpoint is matched exactly.
    for path in ["/cometd/", "/cometd/handshake"] {
        let answer = request(
            address,
            "GET",
            path,
            &[KEY, VERSION, UPGRADE, CONNECTION],
            b"",
        )
        .await;
        assert_eq!(
            (answer.status, answer.text()),
            (400, "Unknown Bayeux Transport"),
            "{path}"
        );
    }
}

/// A masked text frame as a client sends it, mask zero.
fn frame(text: &str) -> Vec<u8> {
    let mut bytes = vec![0x81];
    match u16::try_from(text.len()).expect("short") {
        length @ 0..=125 => bytes.push(0x80 | length as u8),
        length => {
            bytes.push(0x80 | 126);
            bytes.extend(length.to_be_bytes());
        }
    }
    bytes.extend([0; 4]);
    bytes.extend(text.as_bytes());
    bytes
}

#[tokio::test]
async fn a_frame_sent_together_with_the_upgrade_is_not_lost() {
    let node = node("").await;
    let mut http = Http::connect(node.client_address()).await;
    let mut bytes =
        b"GET /cometd HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
            .to_vec();
    bytes.extend(frame(
        r#"[{"channel":"/meta/handshake","id":"1","version":"1.0"}]"#,
    ));
    http.raw(&bytes).await;
    assert_eq!(http.answer().await.status, 101);
    let role = tokio_tungstenite::tungstenite::protocol::Role::Client;
    let mut socket = tokio_tungstenite::WebSocketStream::from_partially_read(
        http.stream,
        http.buffer,
        role,
        None,
    )
    .await;
    let text = within("the reply", socket.next())
        .await
        .expect("a frame")
        .expect("a frame");
    assert!(text.to_text().expect("text").contains("/meta/handshake"));
}

#[tokio::test]
async fn messages_arrive_in_order_and_none_is_missing() {
    let node = node("[session]\nmaxQueue = 10000\nmaxQueueBytes = 10000000").await;
    let mut reader = Ws::joined(node.client_address()).await;
    reader.subscribe("/numbers").await;
    let address = node.client_address();
    let writing = tokio::spawn(async move {
        let mut writer = Ws::joined(address).await;
        for round in 0..50 {
            let batch: Vec<Value> = (0..40)
                .map(|n| json!({ "channel": "/numbers", "id": format!("{}", round * 40 + n), "clientId": writer.client_id, "data": round * 40 + n }))
                .collect();
            writer.text(json!(batch).to_string()).await;
        }
        writer
    });
    for expected in 0..2000 {
        let event = reader.next().await;
        assert_eq!(event["data"], expected);
    }
    drop(writing.await.expect("the writer ends"));
}

#[tokio::test]
async fn an_http_session_continues_on_a_websocket() {
    let node = node("").await;
    let poller = Poller::joined(node.client_address()).await;
    let mut ws = Ws::open(node.client_address()).await;
    ws.client_id = poller.client_id.clone();
    let reply = ws
        .exchange(json!({ "channel": "/meta/connect", "connectionType": "websocket", "advice": { "timeout": 0 } }))
        .await;
    assert_eq!(reply["successful"], true);
    assert_eq!(
        reply["advice"]["reconnect"], "retry",
        "the transport changed, so the advice is full: {reply}"
    );
}

#[tokio::test]
async fn a_session_survives_its_connection() {
    let node = node("").await;
    let mut first = Ws::joined(node.client_address()).await;
    first.subscribe("/a").await;
    let id = first.client_id.clone();
    drop(first);
    metric_becomes(&node, "halley_websockets", 0.0).await;
    let mut second = Ws::open(node.client_address()).await;
    second.client_id = id;
    let connect = json!({ "channel": "/meta/connect", "connectionType": "websocket", "advice": { "timeout": 0 } });
    assert_eq!(second.exchange(connect).await["successful"], true);
    second.publish("/a", json!(1)).await;
    let event = second.next().await;
    assert_eq!(
        (event["channel"].as_str(), &event["data"]),
        (Some("/a"), &json!(1))
    );
}

#[tokio::test]
async fn pings_are_answered_and_binary_frames_ignored() {
    let node = node("").await;
    let mut client = Ws::joined(node.client_address()).await;
    client
        .socket
        .send(Message::binary(vec![1, 2, 3]))
        .await
        .expect("sends");
    client
        .socket
        .send(Message::Ping(b"beat".to_vec().into()))
        .await
        .expect("sends");
    let pong = within("a pong", client.socket.next())
        .await
        .expect("not the end")
        .expect("a frame");
    assert_eq!(pong, Message::Pong(b"beat".to_vec().into()));
    client.proves_itself("after").await;
}

#[tokio::test]
async fn a_close_is_answered() {
    let node = node("").await;
    let mut client = Ws::joined(node.client_address()).await;
    client.socket.close(None).await.expect("closes");
    let end = within("the end", async {
        while let Some(Ok(_)) = client.socket.next().await {}
    })
    .await;
    assert_eq!(end, ());
    metric_becomes(&node, "halley_websockets", 0.0).await;
    metric_becomes(&node, "halley_connections", 0.0).await;
}

#[tokio::test]
async fn an_idle_connection_is_closed_but_not_one_that_waits() {
    let node =
        node("[client]\nidle_timeout_ms = 300\n[session]\ntimeout = 1500\nmaxInterval = 1000")
            .await;
    let mut idle = Ws::joined(node.client_address()).await;
    let mut waiting = Ws::joined(node.client_address()).await;
    let held = waiting
        .send(json!({ "channel": "/meta/connect", "connectionType": "websocket" }))
        .await;
    assert_eq!(idle.close_code().await, 1001);
    let reply = waiting.reply(&held).await;
    assert_eq!(
        reply["successful"], true,
        "held for five times the idle timeout"
    );
}

#[tokio::test]
async fn a_drain_closes_with_1001() {
    let node = node("").await;
    let mut client = Ws::joined(node.client_address()).await;
    let (code, ()) = tokio::join!(client.close_code(), node.drain());
    assert_eq!(code, 1001);
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_and_nobody_else_notices() {
    let node = node(
        "[client]\nwrite_timeout_ms = 300\n[session]\nmaxQueue = 100000\nmaxQueueBytes = 100000000",
    )
    .await;
    let mut deaf = Ws::joined(node.client_address()).await;
    deaf.subscribe("/flood").await;
    let mut writer = Ws::joined(node.client_address()).await;
    let data = "x".repeat(50_000);
    let mut rounds = 0;
    while metric(&node, "halley_slow_clients_total").await == 0.0 {
        let reply = writer.publish("/flood", json!(data)).await;
        assert_eq!(reply["successful"], true);
        rounds += 1;
        assert!(rounds < 20_000, "the slow client is never cut off");
    }
    writer.proves_itself("still here").await;
}

/// With acknowledgements: the connection is cut, the session stays, and who comes back gets everything, once and in order. Who does not, expires.
#[tokio::test]
async fn a_client_that_takes_nothing_gets_it_all_when_it_comes_back() {
    const MESSAGES: usize = 40;
    let node = node(
        "[client]\nwrite_timeout_ms = 300\n[session]\nmaxInterval = 6000\nmaxQueue = 100000\nmaxQueueBytes = 100000000",
    )
    .await;
    let address = node.client_address();
    let mut deaf = Ws::joined_with(address, json!({ "ack": true })).await;
    deaf.subscribe("/flood").await;
    let data = "x".repeat(50_000);
    for n in 0..MESSAGES {
        let data = json!({ "n": n, "fill": data });
        node.handle().publish("/flood", data).expect("publishes");
    }
    // It asks again and again for what it has not acknowledged, and reads no answer.
    let mut asked = 0;
    while metric(&node, "halley_slow_clients_total").await == 0.0 {
        let connect = json!([{ "channel": "/meta/connect", "id": asked.to_string(), "clientId": deaf.client_id,
            "connectionType": "websocket", "ext": { "ack": 0 }, "advice": { "timeout": 0 } }]);
        // The last of them come too late.
        let _ = deaf.socket.send(Message::text(connect.to_string())).await;
        asked += 1;
        assert!(asked < 5_000, "the slow client is never cut off");
    }
    assert_eq!(metric(&node, "halley_sessions").await, 1.0);

    let mut back = Ws::open(address).await;
    back.client_id = deaf.client_id.clone();
    let (mut ack, mut seen) = (json!(0), Vec::new());
    while seen.len() < MESSAGES {
        let connect = json!({ "channel": "/meta/connect", "connectionType": "websocket",
            "ext": { "ack": ack }, "advice": { "timeout": 0 } });
        let id = back.send(connect).await;
        loop {
            let message = back.next().await;
            if message["id"] == id.as_str() {
                assert_eq!(message["successful"], true, "{message}");
                ack = message["ext"]["ack"].clone();
                break;
            }
            seen.push(message["data"]["n"].as_u64().expect("a number") as usize);
        }
    }
    assert!(seen.iter().copied().eq(0..MESSAGES), "{seen:?}");
    drop((deaf, back));
    metric_becomes(&node, "halley_sessions", 0.0).await;
}

#[tokio::test]
async fn a_queue_over_its_bound_ends_the_session_of_the_slow_client_only() {
    let node = node("[session]\nmaxQueue = 100").await;
    let mut deaf = Ws::joined(node.client_address()).await;
    deaf.subscribe("/flood").await;
    let mut writer = Ws::joined(node.client_address()).await;
    metric_becomes(&node, "halley_sessions", 2.0).await;
    let data = "x".repeat(50_000);
    let mut rounds = 0;
    while metric(&node, "halley_sessions").await == 2.0 {
        writer.publish("/flood", json!(data)).await;
        rounds += 1;
        assert!(rounds < 20_000, "the queue has no bound");
    }
    writer.proves_itself("still here").await;
}

#[tokio::test]
async fn connections_beyond_the_limit_are_closed_at_once() {
    let node = node("[client]\nmax_connections = 2").await;
    let mut one = Ws::joined(node.client_address()).await;
    let two = Ws::joined(node.client_address()).await;
    let mut third = Http::connect(node.client_address()).await;
    third.closed().await;
    assert_eq!(metric(&node, "halley_connections_refused_total").await, 1.0);
    drop(two);
    metric_becomes(&node, "halley_connections", 1.0).await;
    Ws::joined(node.client_address()).await;
    one.proves_itself("unharmed").await;
}
