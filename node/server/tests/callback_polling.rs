//! Reference section 2: callback-polling over real sockets.

mod support;

use std::net::SocketAddr;

use serde_json::{Value, json};
use support::{Answer, Http, node, request};

const ON: &str = "[client]\ncallback_polling = true";

fn encode(messages: &Value) -> String {
    messages
        .to_string()
        .bytes()
        .map(|byte| format!("%{byte:02X}"))
        .collect()
}

async fn get(address: SocketAddr, messages: &Value, headers: &[(&str, &str)]) -> Answer {
    let path = format!("/cometd/x?jsonp=cb&message={}", encode(messages));
    request(address, "GET", &path, headers, b"").await
}

/// What the function is called with.
fn called(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200);
    let text = answer.text();
    let inner = text
        .strip_prefix("/**/cb(")
        .and_then(|rest| rest.strip_suffix(')'))
        .unwrap_or_else(|| panic!("{text}"));
    serde_json::from_str(inner).expect("JSON")
}

#[tokio::test]
async fn off_unless_configured() {
    let handshake = json!([{"channel": "/meta/handshake"}]);
    let node_off = node("").await;
    let answer = get(node_off.client_address(), &handshake, &[]).await;
    assert_eq!(answer.status, 400);
    let node_on = node(ON).await;
    let answer = get(node_on.client_address(), &handshake, &[]).await;
    assert_eq!(
        called(&answer)[0]["supportedConnectionTypes"],
        json!(["websocket", "long-polling", "callback-polling"])
    );
    assert_eq!(
        answer.header("content-type"),
        Some("text/javascript;charset=UTF-8")
    );
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
}

#[tokio::test]
async fn events_travel_with_connect_replies_only() {
    let node = node(ON).await;
    let address = node.client_address();
    let answer = get(address, &json!([{"channel": "/meta/handshake"}]), &[]).await;
    let cookie = answer.header("set-cookie").expect("a cookie");
    let cookie = cookie.split(';').next().expect("a pair").to_owned();
    let headers = [("Cookie", cookie.as_str())];
    let id = called(&answer)[0]["clientId"].clone();
    let connect = json!([{"channel": "/meta/connect", "clientId": id, "id": "1"}]);
    called(&get(address, &connect, &headers).await);
    let mut held = Http::connect(address).await;
    let path = format!("/cometd/connect?jsonp=cb&message={}", encode(&connect));
    held.send("GET", &path, &headers, b"").await;
    // Several parameters, one of them a single object.
    let subscribe = json!({"channel": "/meta/subscribe", "clientId": id, "subscription": "/a"});
    let publish = json!([{"channel": "/a", "clientId": id, "data": "\u{2028}"}]);
    let path = format!(
        "/cometd/?jsonp=cb&message={}&message={}",
        encode(&subscribe),
        encode(&publish)
    );
    let replies = called(&request(address, "GET", &path, &headers, b"").await);
    assert_eq!(replies.as_array().map(Vec::len), Some(2), "{replies}");
    assert_eq!(replies[1]["successful"], true);
    let answer = held.answer().await;
    assert!(answer.text().contains("\\u2028"), "{}", answer.text());
    assert_eq!(
        called(&answer)[0],
        json!({"channel": "/a", "data": "\u{2028}"})
    );
}

#[tokio::test]
async fn what_is_refused() {
    let node = node(ON).await;
    let address = node.client_address();
    let handshake = encode(&json!([{"channel": "/meta/handshake"}]));
    for (query, status) in [
        (format!("jsonp=alert(1)&message={handshake}"), 400),
        (format!("message={handshake}"), 400),
        (format!("jsonp=a&jsonp=b&message={handshake}"), 400),
        ("jsonp=a".to_owned(), 400),
        ("jsonp=a&message=".to_owned(), 400),
        ("jsonp=a&message=[]".to_owned(), 400),
        ("jsonp=a&message=[1]".to_owned(), 400),
        ("jsonp=a&message={".to_owned(), 400),
        (
            format!("jsonp=a&message={handshake}&message={handshake}"),
            400,
        ),
    ] {
        let path = format!("/cometd?{query}");
        let answer = request(address, "GET", &path, &[], b"").await;
        assert_eq!(answer.status, status, "{query}");
    }
    // Pages elsewhere.
    let handshake = json!([{"channel": "/meta/handshake"}]);
    let own = format!("http://{address}/page");
    for (headers, status) in [
        (&[("Referer", "https://evil.example/x")][..], 403),
        (&[("Referer", "nonsense")], 403),
        (&[("Sec-Fetch-Site", "cross-site")], 403),
        (&[("Origin", "https://evil.example")], 403),
        (
            &[("Referer", own.as_str()), ("Sec-Fetch-Site", "same-origin")],
            200,
        ),
        (&[("Sec-Fetch-Site", "same-origin")], 200),
        (&[], 200),
    ] {
        let answer = get(address, &handshake, headers).await;
        assert_eq!(answer.status, status, "{headers:?}");
    }
}
