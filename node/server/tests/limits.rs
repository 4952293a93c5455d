//! Limits of one address, and of all clients together: what is refused, how, and that nobody else notices.

mod support;

use std::net::SocketAddr;

use halley::node::Node;
use serde_json::{Value, json};
use support::{Http, Ws, eventually, metric, metric_becomes, node, request};
use tokio::net::{TcpSocket, TcpStream};

/// A handshake over HTTP; the reply.
async fn handshake(address: SocketAddr, headers: &[(&str, &str)]) -> Value {
    let body = r#"{"channel":"/meta/handshake","version":"1.0","id":"1","supportedConnectionTypes":["long-polling"]}"#;
    let answer = request(address, "POST", "/cometd", headers, body.as_bytes()).await;
    assert_eq!(answer.status, 200);
    answer.json()[0].clone()
}

/// Whether a handshake was refused for want of a place, with advice to come back.
fn refused(reply: &Value, error: &str) -> bool {
    if reply["successful"] == json!(true) {
        return false;
    }
    assert_eq!(reply["error"], json!(error), "{reply}");
    assert_eq!(reply["advice"]["reconnect"], json!("handshake"), "{reply}");
    let interval = reply["advice"]["interval"].as_u64().expect("an interval");
    assert!((2_000..5_000).contains(&interval), "{reply}");
    true
}

async fn refusals(node: &Node, limit: &str) -> f64 {
    metric(
        node,
        &format!("halley_limit_refusals_total{{limit=\"{limit}\"}}"),
    )
    .await
}

/// A connection from another loopback address.
async fn connect_from(from: &str, to: SocketAddr) -> Http {
    let socket = TcpSocket::new_v4().expect("a socket");
    socket
        .bind(format!("{from}:0").parse().expect("an address"))
        .expect("binds");
    let stream = socket.connect(to).await.expect("connects");
    Http::over(stream, to)
}

#[tokio::test]
async fn a_handshake_flood_from_one_address_leaves_all_others_alone() {
    let node = node(
        "[client]\nhandshakes_per_second_per_address = 1\nhandshake_burst_per_address = 5\n\
         handshakes_per_second = 20\nhandshake_burst = 20",
    )
    .await;
    let address = node.client_address();
    // Two sessions that are there already, from the address that will be flooded from.
    let mut listener = Ws::joined(address).await;
    let mut writer = Ws::joined(address).await;
    listener.subscribe("/live").await;
    let flood = async {
        let mut flooder = Http::connect(address).await;
        let mut refusals = 0;
        let body = br#"{"channel":"/meta/handshake","version":"1.0","id":"1"}"#;
        for _ in 0..1_000 {
            flooder.send("POST", "/cometd", &[], body).await;
            let answer = flooder.answer().await.json();
            refusals += u32::from(refused(&answer[0], "429::too_many_handshakes"));
        }
        refusals
    };
    let live = async {
        for number in 0..200 {
            let reply = writer.publish("/live", json!(number)).await;
            assert_eq!(reply["successful"], json!(true), "{reply}");
            assert_eq!(listener.next().await["data"], json!(number));
        }
    };
    let (refusals_seen, ()) = tokio::join!(flood, live);
    assert!(refusals_seen > 900, "{refusals_seen}");
    assert_eq!(
        refusals(&node, "handshakes_per_address").await,
        f64::from(refusals_seen)
    );
    assert_eq!(refusals(&node, "handshakes").await, 0.0);
    listener.proves_itself("still here").await;
    writer.proves_itself("still here").await;
    // And whoever comes from elsewhere gets in at once.
    let mut elsewhere = connect_from("127.0.0.2", address).await;
    let body = br#"{"channel":"/meta/handshake","version":"1.0","id":"1"}"#;
    elsewhere.send("POST", "/cometd", &[], body).await;
    let reply = elsewhere.answer().await.json();
    assert_eq!(reply[0]["successful"], json!(true), "{reply}");
}

#[tokio::test]
async fn the_node_takes_so_many_handshakes_a_second() {
    let node = node("[client]\nhandshakes_per_second = 1\nhandshake_burst = 3").await;
    let address = node.client_address();
    let mut ws = Ws::open(address).await;
    let message = json!({"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["websocket"]});
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        let reply = ws.exchange(message.clone()).await;
        outcomes.push(refused(&reply, "429::too_many_handshakes"));
    }
    assert_eq!(outcomes[..3], [false; 3]);
    assert!(outcomes.contains(&true));
    let refused = outcomes.iter().filter(|refused| **refused).count();
    assert_eq!(refusals(&node, "handshakes").await, refused as f64);
}

#[tokio::test]
async fn sessions_of_one_address_as_trusted_proxies_tell_it() {
    let node = node(
        "[client]\nmax_sessions_per_address = 2\ntrusted_proxies = [\"127.0.0.1/32\"]\n[session]\nmaxInterval = 300",
    )
    .await;
    let address = node.client_address();
    let from = async |client: &str| {
        let reply = handshake(address, &[("X-Forwarded-For", client)]).await;
        !refused(&reply, "429::too_many_sessions")
    };
    assert!(from("198.51.100.7").await);
    // What the client claims about itself stands in front.
    assert!(from("203.0.113.1, 198.51.100.7").await);
    assert!(!from("203.0.113.2, 198.51.100.7").await);
    assert!(from("198.51.100.8").await);
    assert!(from("2001:db8::1").await);
    assert!(from("2001:db8::2").await);
    assert!(!from("2001:db8::ffff:3").await, "one /64 is one address");
    assert!(from("2001:db8:0:1::1").await);
    assert_eq!(refusals(&node, "sessions_per_address").await, 2.0);
    // Ended sessions make room.
    metric_becomes(&node, "halley_sessions", 0.0).await;
    assert!(from("198.51.100.7").await);
    // An untrusted one may claim what it likes.
    for (number, granted) in [(0, true), (1, true), (2, false)] {
        let mut http = connect_from("127.0.0.2", address).await;
        let body = br#"{"channel":"/meta/handshake","version":"1.0","id":"1"}"#;
        let claim = format!("203.0.113.{number}");
        http.send("POST", "/cometd", &[("X-Forwarded-For", &claim)], body)
            .await;
        let reply = http.answer().await.json();
        assert_eq!(reply[0]["successful"], json!(granted), "{number}: {reply}");
    }
}

#[tokio::test]
async fn a_disconnect_makes_room_for_a_session_over_websocket() {
    let node = node("[client]\nmax_sessions_per_address = 1").await;
    let address = node.client_address();
    let mut first = Ws::joined(address).await;
    let mut second = Ws::open(address).await;
    let message = json!({"channel": "/meta/handshake", "version": "1.0", "supportedConnectionTypes": ["websocket"]});
    let reply = second.exchange(message.clone()).await;
    assert!(refused(&reply, "429::too_many_sessions"));
    first.exchange(json!({"channel": "/meta/disconnect"})).await;
    let reply = second.exchange(message).await;
    assert_eq!(reply["successful"], json!(true), "{reply}");
}

#[tokio::test]
async fn connections_of_one_address() {
    let node = node("[client]\nmax_connections_per_address = 2").await;
    let address = node.client_address();
    let mut one = Ws::joined(address).await;
    let two = Ws::joined(address).await;
    let mut third = Http::connect(address).await;
    third.closed().await;
    assert_eq!(refusals(&node, "connections_per_address").await, 1.0);
    let mut elsewhere = connect_from("127.0.0.2", address).await;
    elsewhere.send("OPTIONS", "/cometd", &[], b"").await;
    assert_eq!(elsewhere.answer().await.status, 200);
    drop(two);
    metric_becomes(&node, "halley_connections", 2.0).await;
    Ws::joined(address).await;
    one.proves_itself("unharmed").await;
}

#[tokio::test]
async fn connections_of_trusted_proxies_are_not_counted_by_address() {
    let node =
        node("[client]\nmax_connections_per_address = 1\ntrusted_proxies = [\"127.0.0.1/32\"]")
            .await;
    let mut all = Vec::new();
    for _ in 0..5 {
        all.push(Ws::joined(node.client_address()).await);
    }
    for ws in &mut all {
        ws.proves_itself("served").await;
    }
}

/// How many bytes one unfinished message of these tests has.
const HALF: usize = 40_000;

#[tokio::test]
async fn half_sent_bodies_are_bounded_all_together() {
    let node = node("[client]\nmax_unfinished_bytes = 131072").await;
    let address = node.client_address();
    let mut bystander = Ws::joined(address).await;
    let head = format!(
        "POST /cometd HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        HALF + 1
    );
    let half = [head.as_bytes(), &[b' '; HALF]].concat();
    let mut senders: Vec<Http> = Vec::new();
    // The node counts as it reads: send on until it has had enough.
    let refused = eventually("a refusal", async || {
        if senders.len() < 20 {
            let mut sender = Http::connect(address).await;
            sender.raw(&half).await;
            senders.push(sender);
        }
        (refusals(&node, "unfinished_bytes").await > 0.0).then_some(())
    });
    refused.await;
    assert!(senders.len() >= 2, "a few are let in: {}", senders.len());
    bystander.proves_itself("undisturbed").await;
    let reply = handshake(address, &[]).await;
    assert_eq!(
        reply["successful"],
        json!(true),
        "a whole body needs no place"
    );
    // Those who go give back what they had.
    drop(senders);
    metric_becomes(&node, "halley_connections", 1.0).await;
    let before = refusals(&node, "unfinished_bytes").await;
    let mut sender = Http::connect(address).await;
    sender.raw(&half).await;
    bystander.proves_itself("undisturbed").await;
    sender.raw(b" ").await;
    assert_eq!(
        sender.answer().await.status,
        400,
        "white space is no message"
    );
    assert_eq!(refusals(&node, "unfinished_bytes").await, before);
}

/// Upgrades, then sends the first half of a text frame.
async fn half_a_frame(address: SocketAddr) -> TcpStream {
    let mut http = Http::connect(address).await;
    let upgrade = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    http.send("GET", "/cometd", &upgrade, b"").await;
    assert_eq!(http.answer().await.status, 101);
    // A final text frame of twice that length, masked with zeros.
    let mut frame = vec![0x81, 0xFE];
    frame.extend((u16::try_from(HALF + 1).expect("fits")).to_be_bytes());
    frame.extend([0; 4]);
    frame.extend([b' '; HALF]);
    http.raw(&frame).await;
    http.stream
}

#[tokio::test]
async fn half_sent_websocket_messages_are_bounded_all_together() {
    let node = node("[client]\nmax_unfinished_bytes = 131072").await;
    let address = node.client_address();
    let mut bystander = Ws::joined(address).await;
    let mut senders = Vec::new();
    eventually("a refusal", async || {
        if senders.len() < 20 {
            senders.push(half_a_frame(address).await);
        }
        (refusals(&node, "unfinished_bytes").await > 0.0).then_some(())
    })
    .await;
    assert!(senders.len() >= 3, "a few are let in: {}", senders.len());
    bystander.proves_itself("undisturbed").await;
    drop(senders);
    metric_becomes(&node, "halley_websockets", 1.0).await;
    // A client that only pings has nothing unfinished, however long it does so.
    for round in 0..200 {
        bystander.ping(&[round; 100]).await;
    }
    bystander.proves_itself("undisturbed").await;
    let before = refusals(&node, "unfinished_bytes").await;
    let _one = half_a_frame(address).await;
    bystander.proves_itself("undisturbed").await;
    assert_eq!(refusals(&node, "unfinished_bytes").await, before);
}
