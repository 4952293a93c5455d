//! The origin of a request is checked before anything else, and CORS headers go with it.

mod support;

use serde_json::json;
use support::{Answer, node, request};

async fn post(node: &halley::Node, headers: &[(&str, &str)]) -> Answer {
    let body = json!([{ "channel": "/meta/handshake", "id": "1", "version": "1.0" }]).to_string();
    request(
        node.client_address(),
        "POST",
        "/cometd/handshake",
        headers,
        body.as_bytes(),
    )
    .await
}

async fn upgrade(node: &halley::Node, origin: &str) -> u16 {
    let headers = [
        ("Origin", origin),
        ("Upgrade", "websocket"),
        ("Connection", "Upgrade"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    request(node.client_address(), "GET", "/cometd", &headers, b"")
        .await
        .status
}

#[tokio::test]
async fn listed_origins_pass_and_are_echoed() {
    let node = node("[client]\nallowed_origins = [\"https://app.example\"]").await;
    let answer = post(&node, &[("Origin", "https://app.example")]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
    assert_eq!(answer.header("vary"), Some("Origin"));
    assert_eq!(upgrade(&node, "https://app.example").await, 101);
}

#[tokio::test]
async fn other_origins_are_refused_before_anything_happens() {
    let node = node("[client]\nallowed_origins = [\"https://app.example\"]").await;
    for origin in [
        "https://evil.example",
        "http://app.example",
        "https://app.example.evil",
        "null",
        "https://app.example:444",
    ] {
        let answer = post(&node, &[("Origin", origin)]).await;
        assert_eq!(answer.status, 403, "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), None);
        assert_eq!(answer.header("set-cookie"), None);
        assert_eq!(upgrade(&node, origin).await, 403, "{origin}");
    }
    assert_eq!(node.engine().session_count(), 0);
}

#[tokio::test]
async fn without_a_list_the_same_host_passes() {
    let node = node("").await;
    let own = format!("http://{}", node.client_address());
    assert_eq!(post(&node, &[("Origin", &own)]).await.status, 200);
    assert_eq!(upgrade(&node, &own).await, 101);
    assert_eq!(
        post(&node, &[("Origin", "http://evil.example")])
            .await
            .status,
        403
    );
    assert_eq!(upgrade(&node, "http://evil.example").await, 403);
}

#[tokio::test]
async fn requests_without_origin_pass() {
    let node = node("[client]\nallowed_origins = [\"https://app.example\"]").await;
    let answer = post(&node, &[]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}

#[tokio::test]
async fn a_preflight_allows_what_stock_clients_send() {
    let node = node("[client]\nallowed_origins = [\"https://app.example\"]").await;
    let asked = [
        ("Access-Control-Request-Method", "POST"),
        ("Access-Control-Request-Headers", "content-type"),
    ];
    let headers = [&[("Origin", "https://app.example")], &asked[..]].concat();
    let answer = request(
        node.client_address(),
        "OPTIONS",
        "/cometd/connect",
        &headers,
        b"",
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(
        answer.header("access-control-allow-origin"),
        Some("https://app.example")
    );
    assert_eq!(
        answer.header("access-control-allow-credentials"),
        Some("true")
    );
    assert!(
        answer
            .header("access-control-allow-methods")
            .expect("methods")
            .contains("POST")
    );
    assert!(
        answer
            .header("access-control-allow-headers")
            .expect("headers")
            .contains("Content-Type")
    );
    let headers = [&[("Origin", "https://evil.example")], &asked[..]].concat();
    let answer = request(
        node.client_address(),
        "OPTIONS",
        "/cometd/connect",
        &headers,
        b"",
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.header("access-control-allow-origin"), None);
}
