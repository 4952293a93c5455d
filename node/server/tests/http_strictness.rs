//! Requests that could be understood in two ways, and what stands around a Bayeux exchange: paths, cookie, sub-protocol.

mod support;

use std::net::SocketAddr;

use serde_json::json;
use support::{Answer, Http, node, request};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::HeaderValue;
use tokio_tungstenite::tungstenite::{Error, http};

const HANDSHAKE: &str = r#"{"channel":"/meta/handshake","version":"1.0","id":"1"}"#;

/// Sends bytes on a new connection and reads one answer.
async fn raw(address: SocketAddr, text: &str) -> (Answer, Http) {
    let mut http = Http::connect(address).await;
    http.raw(text.as_bytes()).await;
    let answer = http.answer().await;
    (answer, http)
}

#[tokio::test]
async fn a_request_without_host_is_refused() {
    let node = node("").await;
    let address = node.client_address();
    let post = |version: &str, hosts: &str| {
        let length = HANDSHAKE.len();
        format!("POST /cometd {version}\r\n{hosts}Content-Length: {length}\r\n\r\n{HANDSHAKE}")
    };
    for hosts in ["", "Host: a\r\nHost: b\r\n"] {
        let (answer, mut http) = raw(address, &post("HTTP/1.1", hosts)).await;
        assert_eq!(answer.status, 400, "{hosts:?}");
        http.closed().await;
    }
    // HTTP/1.0 knew no Host, and one that is empty is a Host.
    for (version, hosts) in [("HTTP/1.0", ""), ("HTTP/1.1", "Host:\r\n")] {
        let (answer, _) = raw(address, &post(version, hosts)).await;
        assert_eq!(answer.status, 200, "{version} {hosts:?}");
    }
}

#[tokio::test]
async fn two_lengths_of_one_body_are_refused() {
    let node = node("").await;
    let address = node.client_address();
    let chunked = format!("{:x}\r\n{HANDSHAKE}\r\n0\r\n\r\n", HANDSHAKE.len());
    // What follows would be taken for a request of its own by whoever believes the other length.
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n";
    let length = chunked.len();
    for lengths in [
        format!("Content-Length: {length}\r\nTransfer-Encoding: chunked\r\n"),
        format!("Transfer-Encoding: chunked\r\ncontent-length: {length}\r\n"),
        "Transfer-Encoding: chunked\r\nContent-Length: 0\r\n".to_owned(),
        "Content-Length: 3\r\nContent-Length: 4\r\n".to_owned(),
        "Content-Length: +3\r\n".to_owned(),
        "Transfer-Encoding: gzip\r\n".to_owned(),
    ] {
        let text = format!("POST /cometd HTTP/1.1\r\nHost: a\r\n{lengths}\r\n{chunked}{smuggled}");
        let (answer, mut http) = raw(address, &text).await;
        assert_eq!(answer.status, 400, "{lengths}");
        http.closed().await;
    }
    // A body in chunks by itself is fine, also behind a request that had a length, on one connection.
    let mut http = Http::connect(address).await;
    for _ in 0..2 {
        http.send("POST", "/cometd", &[], HANDSHAKE.as_bytes())
            .await;
        assert_eq!(http.answer().await.status, 200);
        let head = "POST /cometd HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        http.raw(format!("{head}{chunked}").as_bytes()).await;
        assert_eq!(http.answer().await.status, 200);
    }
}

#[tokio::test]
async fn a_missing_content_type_is_accepted() {
    let node = node("").await;
    // The scripted client sends none by itself.
    let answer = request(
        node.client_address(),
        "POST",
        "/cometd",
        &[],
        HANDSHAKE.as_bytes(),
    )
    .await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.json()[0]["successful"], json!(true));
}

#[tokio::test]
async fn further_paths_are_endpoints_too() {
    let node = node("[client]\nfurther_paths = [\"/bayeux\", \"/old/faye\"]").await;
    let address = node.client_address();
    for (path, status) in [
        ("/cometd", 200),
        ("/bayeux", 200),
        ("/bayeux/handshake", 200),
        ("/old/faye/", 200),
        ("/old", 404),
        ("/faye", 404),
    ] {
        let answer = request(address, "POST", path, &[], HANDSHAKE.as_bytes()).await;
        assert_eq!(answer.status, status, "{path}");
    }
    for (path, opens) in [("/cometd", true), ("/old/faye", true), ("/bayeux/", false)] {
        let request = format!("ws://{address}{path}");
        let stream = TcpStream::connect(address).await.expect("connects");
        let opened = tokio_tungstenite::client_async(request, stream).await;
        assert_eq!(opened.is_ok(), opens, "{path}");
    }
}

#[tokio::test]
async fn the_root_can_be_the_endpoint() {
    let node = node("[client]\npath = \"/\"").await;
    let address = node.client_address();
    assert_eq!(node.client_url(), format!("http://{address}/"));
    for path in ["/", "/handshake", "/a/b"] {
        let answer = request(address, "POST", path, &[], HANDSHAKE.as_bytes()).await;
        assert_eq!(answer.status, 200, "{path}");
        assert_eq!(answer.json()[0]["successful"], json!(true), "{path}");
    }
    for (path, opens) in [("/", true), ("", true), ("/a", false)] {
        let request = format!("ws://{address}{path}");
        let stream = TcpStream::connect(address).await.expect("connects");
        let opened = tokio_tungstenite::client_async(request, stream).await;
        assert_eq!(opened.is_ok(), opens, "{path}");
    }
}

#[tokio::test]
async fn the_browser_cookie_has_the_configured_attributes() {
    let node = node(
        "[session]\nbrowserCookieName = \"B\"\nbrowserCookieDomain = \"example.com\"\nbrowserCookiePath = \"/cometd\"\n\
         browserCookieMaxAge = 60\nbrowserCookieSameSite = \"None\"\nbrowserCookiePartitioned = true\n\
         [client]\ntrusted_proxies = [\"127.0.0.0/8\"]",
    )
    .await;
    for (forwarded, rest) in [
        (
            "https",
            "; Domain=example.com; Path=/cometd; Max-Age=60; HttpOnly; Secure; SameSite=None; Partitioned",
        ),
        (
            "http",
            "; Domain=example.com; Path=/cometd; Max-Age=60; HttpOnly; SameSite=None",
        ),
    ] {
        let answer = request(
            node.client_address(),
            "POST",
            "/cometd",
            &[("X-Forwarded-Proto", forwarded)],
            HANDSHAKE.as_bytes(),
        )
        .await;
        let cookie = answer.header("set-cookie").expect("a cookie");
        assert!(cookie.starts_with("B="), "{cookie}");
        assert!(cookie.ends_with(rest), "{cookie}");
    }
}

/// The sub-protocol that was agreed to, or the status of the refusal.
async fn agreed(address: SocketAddr, offers: &[&str]) -> Result<Option<HeaderValue>, u16> {
    let mut request = format!("ws://{address}/cometd")
        .into_client_request()
        .expect("a request");
    for offer in offers {
        let offer = HeaderValue::from_str(offer).expect("a header");
        request
            .headers_mut()
            .append(http::header::SEC_WEBSOCKET_PROTOCOL, offer);
    }
    let stream = TcpStream::connect(address).await.expect("connects");
    match tokio_tungstenite::client_async(request, stream).await {
        Ok((_, answer)) => Ok(answer
            .headers()
            .get(http::header::SEC_WEBSOCKET_PROTOCOL)
            .cloned()),
        Err(Error::Http(answer)) => Err(answer.status().as_u16()),
        // The scripted client takes it for a fault when what it offered is not answered, as browsers do.
        Err(Error::Protocol(_)) => Ok(None),
        Err(error) => panic!("{error}"),
    }
}

#[tokio::test]
async fn section_3_1_sub_protocols() {
    let without = node("").await;
    for offers in [&[][..], &["bayeux"]] {
        assert_eq!(agreed(without.client_address(), offers).await, Ok(None));
    }
    let with = node("[client]\nsubprotocol = \"bayeux\"").await;
    let bayeux = Ok(Some(HeaderValue::from_static("bayeux")));
    for (offers, outcome) in [
        (&["bayeux"][..], &bayeux),
        (&["chat, bayeux"], &bayeux),
        (&["bayeux , chat"], &bayeux),
        (&[], &Err(400)),
        (&["Bayeux"], &Err(400)),
        (&["bayeux2"], &Err(400)),
    ] {
        assert_eq!(
            agreed(with.client_address(), offers).await,
            *outcome,
            "{offers:?}"
        );
    }
}
