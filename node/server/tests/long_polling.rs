//! Long-polling over real sockets: cookies, held connects, order, expiry.

mod support;

use serde_json::{Value, json};
use support::{Http, Poller, Ws, eventually, last, metric_becomes, node, request};

#[tokio::test]
async fn the_handshake_sets_the_browser_cookie_once() {
    let node = node("").await;
    let mut client = Poller::new(node.client_address()).await;
    let answer = client.handshake().await;
    let set = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(set.starts_with("BAYEUX_BROWSER="), "{set}");
    assert!(set.ends_with("; Path=/; HttpOnly; SameSite=Lax"), "{set}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    // A client that brings a cookie keeps it.
    let again = client.handshake().await;
    assert_eq!(again.header("set-cookie"), None);
}

#[tokio::test]
async fn the_cookie_is_secure_behind_a_trusted_proxy_only() {
    for (trusted, proto, secure) in [
        ("[\"127.0.0.0/8\"]", "https", true),
        ("[\"127.0.0.0/8\"]", "https, http", true),
        ("[\"127.0.0.0/8\"]", "http", false),
        ("[\"10.0.0.0/8\"]", "https", false),
        ("[]", "https", false),
    ] {
        let node = node(&format!("[client]\ntrusted_proxies = {trusted}")).await;
        let body = json!([{ "channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["long-polling"] }]);
        let answer = request(
            node.client_address(),
            "POST",
            "/cometd",
            &[("X-Forwarded-Proto", proto)],
            body.to_string().as_bytes(),
        )
        .await;
        let set = answer.header("set-cookie").expect("a cookie");
        assert_eq!(set.contains("; Secure"), secure, "{trusted} {proto}: {set}");
    }
}

/// Cookies know no ports: nodes at one host name must be able to keep their cookies apart.
#[tokio::test]
async fn the_browser_cookie_has_the_configured_name() {
    let node = node("[session]\nbrowserCookieName = \"BAYEUX_BROWSER_n1\"").await;
    let mut client = Poller::new(node.client_address()).await;
    let answer = client.handshake().await;
    let set = answer.header("set-cookie").expect("a cookie").to_owned();
    assert!(set.starts_with("BAYEUX_BROWSER_n1="), "{set}");
    let own = client.cookie.clone().expect("a cookie");
    client.cookie = Some(format!("BAYEUX_BROWSER_n2=other; {own}"));
    let replies = client.exchange(json!({ "channel": "/a", "data": 1 })).await;
    assert_eq!(last(&replies)["successful"], true);
}

#[tokio::test]
async fn cookies_are_read_tolerantly() {
    let node = node("").await;
    let mut client = Poller::joined(node.client_address()).await;
    let good = client.cookie.clone().expect("a cookie");
    let value = good.split_once('=').expect("a pair").1.to_owned();
    for cookie in [
        good.clone(),
        format!("a=b;{good}"),
        format!("a=b; BAYEUX_BROWSER=\"{value}\"; c"),
    ] {
        client.cookie = Some(cookie.clone());
        let replies = client.exchange(json!({ "channel": "/a", "data": 1 })).await;
        assert_eq!(last(&replies)["successful"], true, "{cookie}");
    }
    for cookie in [
        None,
        Some(String::new()),
        Some("BAYEUX_BROWSER=other".to_owned()),
    ] {
        client.cookie = cookie.clone();
        let replies = client.exchange(json!({ "channel": "/a", "data": 1 })).await;
        assert_eq!(
            last(&replies)["error"],
            "402::session_unknown",
            "{cookie:?}"
        );
    }
}

#[tokio::test]
async fn an_empty_cookie_header_does_not_disturb_the_handshake() {
    let node = node("").await;
    let mut client = Poller::new(node.client_address()).await;
    client.cookie = Some(String::new());
    let answer = client.handshake().await;
    assert!(answer.header("set-cookie").is_some());
}

#[tokio::test]
async fn a_held_connect_is_released_by_a_message() {
    let node = node("").await;
    let mut reader = Poller::joined(node.client_address()).await;
    let mut writer = Poller::joined(node.client_address()).await;
    reader.subscribe("/chat/room").await;
    reader.send_connect(Value::Null).await;
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    let replies = writer.publish("/chat/room", json!({ "text": "hi" })).await;
    assert_eq!(last(&replies)["successful"], true);
    assert!(last(&replies).get("data").is_none());
    let released = reader.connect_answer().await;
    assert_eq!(released[0]["channel"], "/chat/room");
    assert_eq!(released[0]["data"], json!({ "text": "hi" }));
    assert!(released[0].get("id").is_none() && released[0].get("clientId").is_none());
    assert_eq!(last(&released)["channel"], "/meta/connect");
    assert_eq!(last(&released)["successful"], true);
    metric_becomes(&node, "halley_held_connects", 0.0).await;
}

#[tokio::test]
async fn a_held_connect_ends_with_its_timeout() {
    let node = node("[session]\ntimeout = 150").await;
    let mut client = Poller::joined(node.client_address()).await;
    client.send_connect(Value::Null).await;
    let replies = client.connect_answer().await;
    assert_eq!(replies.len(), 1);
    assert_eq!(replies[0]["successful"], true);
}

#[tokio::test]
async fn events_of_a_batch_come_before_its_replies_and_in_order() {
    let node = node("").await;
    let mut client = Poller::joined(node.client_address()).await;
    let id = client.client_id.clone();
    let mut batch = vec![
        json!({ "channel": "/meta/subscribe", "id": "s", "clientId": id, "subscription": "/room" }),
    ];
    for n in 0..50 {
        batch.push(json!({ "channel": "/room", "id": format!("p{n}"), "clientId": id, "data": n }));
    }
    let replies = client.post("/cometd/", &json!(batch)).await.json();
    let replies = replies.as_array().expect("an array");
    assert_eq!(replies.len(), 101);
    for n in 0..50 {
        assert_eq!(replies[n]["data"], n);
        assert_eq!(replies[51 + n]["id"], format!("p{n}"));
        assert_eq!(replies[51 + n]["successful"], true);
    }
    assert_eq!(replies[50]["id"], "s");
}

#[tokio::test]
async fn messages_arrive_in_order_across_connects() {
    let node = node("").await;
    let mut reader = Poller::joined(node.client_address()).await;
    reader.subscribe("/numbers").await;
    let address = node.client_address();
    let writing = tokio::spawn(async move {
        let mut writer = Ws::joined(address).await;
        for n in 0..200 {
            let reply = writer.publish("/numbers", json!(n)).await;
            assert_eq!(reply["successful"], true);
        }
    });
    let mut expected = 0;
    while expected < 200 {
        reader.send_connect(Value::Null).await;
        for message in reader.connect_answer().await {
            if message["channel"] == "/numbers" {
                assert_eq!(message["data"], expected);
                expected += 1;
            }
        }
    }
    writing.await.expect("the writer ends");
}

#[tokio::test]
async fn a_newer_connect_displaces_the_held_one() {
    let node = node("[session]\ntimeout = 20000").await;
    let mut client = Poller::joined(node.client_address()).await;
    client.send_connect(Value::Null).await;
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    let mut older = std::mem::replace(
        &mut client.connect_line,
        Http::connect(node.client_address()).await,
    );
    client.send_connect(json!({ "timeout": 0 })).await;
    assert_eq!(older.answer().await.status, 500);
    assert_eq!(last(&client.connect_answer().await)["successful"], true);
}

#[tokio::test]
async fn a_second_session_of_one_browser_is_advised_to_poll() {
    let node = node("").await;
    let mut first = Poller::joined(node.client_address()).await;
    first.send_connect(Value::Null).await;
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    let mut second = Poller::new(node.client_address()).await;
    second.cookie = first.cookie.clone();
    second.handshake().await;
    second.send_connect(Value::Null).await;
    let advised = second.connect_answer().await;
    assert_eq!(last(&advised)["successful"], true);
    let advice = &last(&advised)["advice"];
    assert_eq!(advice["multiple-clients"], true, "{advice}");
    assert_eq!(advice["reconnect"], "retry");
    assert_eq!(advice["interval"], 2000);
    // Another browser is not concerned.
    let mut third = Poller::joined(node.client_address()).await;
    third.send_connect(Value::Null).await;
    metric_becomes(&node, "halley_held_connects", 2.0).await;
}

#[tokio::test]
async fn a_client_that_goes_away_frees_its_place() {
    let node = node("[session]\ntimeout = 60000").await;
    let mut client = Poller::joined(node.client_address()).await;
    client.send_connect(Value::Null).await;
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    client.connect_line = Http::connect(node.client_address()).await;
    metric_becomes(&node, "halley_held_connects", 0.0).await;
    // The place under the browser's limit is free too: the next connect is held, not advised away.
    client.send_connect(Value::Null).await;
    metric_becomes(&node, "halley_held_connects", 1.0).await;
}

/// A browser whose connect is answered sends the next one at once, on the same connection or another one: it is held again.
#[tokio::test]
async fn the_next_connect_finds_the_place_free() {
    let node = node("").await;
    let mut client = Poller::joined(node.client_address()).await;
    client.subscribe("/a").await;
    for n in 0..100 {
        client.send_connect(Value::Null).await;
        node.handle().publish("/a", n).expect("publishes");
        let replies = client.connect_answer().await;
        assert_eq!(replies[0]["data"], n, "{replies:?}");
        let advice = &last(&replies)["advice"];
        assert_eq!(advice["multiple-clients"], Value::Null, "{n}: {replies:?}");
        let (one, other) = (&mut client.line, &mut client.connect_line);
        std::mem::swap(one, other);
    }
}

#[tokio::test]
async fn a_session_without_connects_expires() {
    let node = node("[session]\nmaxInterval = 200").await;
    let mut client = Poller::joined(node.client_address()).await;
    metric_becomes(&node, "halley_sessions", 1.0).await;
    metric_becomes(&node, "halley_sessions", 0.0).await;
    client.send_connect(Value::Null).await;
    let replies = client.connect_answer().await;
    assert_eq!(replies[0]["successful"], false);
    assert_eq!(replies[0]["error"], "402::session_unknown");
    assert_eq!(replies[0]["advice"]["reconnect"], "handshake");
}

#[tokio::test]
async fn a_held_connect_keeps_its_session() {
    let node = node("[session]\nmaxInterval = 100\ntimeout = 700").await;
    let mut client = Poller::joined(node.client_address()).await;
    client.send_connect(Value::Null).await;
    let replies = client.connect_answer().await;
    assert_eq!(
        replies[0]["successful"], true,
        "held far longer than maxInterval: {replies:?}"
    );
}

#[tokio::test]
async fn disconnect_releases_the_held_connect() {
    let node = node("").await;
    let mut client = Poller::joined(node.client_address()).await;
    client.send_connect(Value::Null).await;
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    let replies = client
        .exchange(json!({ "channel": "/meta/disconnect" }))
        .await;
    assert_eq!(last(&replies)["successful"], true);
    let released = client.connect_answer().await;
    assert_eq!(last(&released)["advice"]["reconnect"], "none");
    metric_becomes(&node, "halley_sessions", 0.0).await;
}

#[tokio::test]
async fn a_session_made_over_websocket_is_unknown_over_http() {
    let node = node("").await;
    let ws = Ws::joined(node.client_address()).await;
    let mut client = Poller::joined(node.client_address()).await;
    client.client_id = ws.client_id.clone();
    let replies = client.publish("/a", json!(1)).await;
    assert_eq!(last(&replies)["error"], "402::session_unknown");
}

#[tokio::test]
async fn the_path_below_the_endpoint_does_not_matter() {
    let node = node("").await;
    let body = json!([{ "channel": "/meta/handshake", "id": "1", "version": "1.0" }]).to_string();
    for path in [
        "/cometd",
        "/cometd/",
        "/cometd/handshake",
        "/cometd/any/thing?x=y",
    ] {
        let answer = request(node.client_address(), "POST", path, &[], body.as_bytes()).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json()[0]["successful"], true, "{path}");
    }
    assert_eq!(
        request(
            node.client_address(),
            "POST",
            "/other",
            &[],
            body.as_bytes()
        )
        .await
        .status,
        404
    );
    assert_eq!(
        request(
            node.client_address(),
            "POST",
            "/cometdx",
            &[],
            body.as_bytes()
        )
        .await
        .status,
        404
    );
}

#[tokio::test]
async fn a_configured_path_is_the_endpoint() {
    let node = node("[client]\npath = \"/b/ayeux\"").await;
    let body = json!({ "channel": "/meta/handshake", "id": "1", "version": "1.0" }).to_string();
    assert_eq!(
        request(
            node.client_address(),
            "POST",
            "/b/ayeux/handshake",
            &[],
            body.as_bytes()
        )
        .await
        .status,
        200
    );
    assert_eq!(
        request(
            node.client_address(),
            "POST",
            "/cometd",
            &[],
            body.as_bytes()
        )
        .await
        .status,
        404
    );
}

#[tokio::test]
async fn methods_choose_the_transport() {
    let node = node("").await;
    let address = node.client_address();
    assert_eq!(
        request(address, "OPTIONS", "/cometd/handshake", &[], b"")
            .await
            .status,
        200
    );
    for method in ["GET", "PUT", "DELETE"] {
        let answer = request(address, method, "/cometd", &[], b"").await;
        assert_eq!(answer.status, 400, "{method}");
        assert_eq!(answer.text(), "Unknown Bayeux Transport");
    }
}

#[tokio::test]
async fn a_chunked_body_is_understood() {
    let node = node("").await;
    let mut http = Http::connect(node.client_address()).await;
    let body = json!([{ "channel": "/meta/handshake", "id": "1", "version": "1.0" }]).to_string();
    let (one, two) = body.split_at(10);
    http.raw(b"POST /cometd HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        .await;
    http.raw(format!("{:x}\r\n{one}\r\n", one.len()).as_bytes())
        .await;
    http.raw(format!("{:x}\r\n{two}\r\n0\r\n\r\n", two.len()).as_bytes())
        .await;
    assert_eq!(http.answer().await.json()[0]["successful"], true);
}

#[tokio::test]
async fn a_drain_releases_held_connects_and_ends() {
    let node = node("").await;
    let mut client = Poller::joined(node.client_address()).await;
    client.send_connect(Value::Null).await;
    metric_becomes(&node, "halley_held_connects", 1.0).await;
    // A body that never arrives whole does not hold the drain up.
    let mut half = Http::connect(node.client_address()).await;
    half.raw(b"POST /cometd HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n[{")
        .await;
    let started = std::time::Instant::now();
    let (answer, ()) = tokio::join!(client.connect_line.try_answer(), node.drain());
    assert!(
        started.elapsed() < std::time::Duration::from_secs(5),
        "half of drain_timeout_ms"
    );
    // The client makes a new session at once, and a load balancer sends it elsewhere.
    let answer = answer.expect("the held connect is answered");
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()[0]["error"], "402::session_unknown");
    assert_eq!(answer.json()[0]["advice"]["reconnect"], "handshake");
    client.line.closed().await;
    eventually("nobody listens", async || {
        tokio::net::TcpStream::connect(node.client_address())
            .await
            .err()
    })
    .await;
}
