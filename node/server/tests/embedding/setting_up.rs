//! Configuration by code, and what does not fit.

use halley::{ApplicationError, Node, StartError};
use serde_json::json;

use crate::support::{self, Ws, eventually, request};
use crate::{builder, started};

#[tokio::test]
async fn what_does_not_fit_is_named_and_nothing_starts() {
    let ok = || builder().rpc("/service/a", |_| async { Ok(1) });
    let error = ok()
        .rpc("/service/a", |_| async { Ok(2) })
        .start()
        .await
        .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/service/a has a service already"),
        "{error}"
    );
    let error = builder()
        .rpc("/chat", |_| async { Ok(2) })
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("/chat is not one"), "{error}");
    let error = builder()
        .rpc("chat", |_| async { Ok(2) })
        .start()
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("\"chat\" is not a channel"),
        "{error}"
    );
    let error = ok()
        .config_text("[seti]\ndirect = true")
        .rpc("/service/user", |_| async { Ok(2) });
    let error = error.start().await.unwrap_err();
    assert!(
        error
            .to_string()
            .contains("/service/user has a service already"),
        "{error}"
    );

    let error = builder()
        .config_text("[session]\nmaxQueue = 0")
        .set("session.nonsense", 1)
        .set("log.level", 7)
        .start()
        .await
        .unwrap_err()
        .to_string();
    for part in [
        "session.maxQueue: 0 is out of range",
        "session.nonsense: unknown key (set in code)",
        "log.level: expected",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let error = Node::builder()
        .config(support::config(""))
        .set("node.name", "x")
        .start()
        .await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("node.name: cannot be set on top"), "{error}");
    let error = builder()
        .config_file("/nonexistent.toml")
        .start()
        .await
        .unwrap_err();
    assert!(error.to_string().contains("/nonexistent.toml"), "{error}");

    let node = started(builder()).await;
    let taken = node.client_address().to_string();
    let error = builder()
        .set("client.listen", taken)
        .start()
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            StartError::Listen {
                key: "client.listen",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn code_goes_on_top_of_the_text() {
    let node = started(
        builder()
            .config_text("[client]\nlisten = \"192.0.2.1:1\"\n[node]\nname = \"file\"\n[session]\nmaxQueue = 7")
            .set("node.name", "code"),
    )
    .await;
    assert_eq!(node.name(), "code");
    assert_eq!(node.engine().config().max_queue, 7);
    let address = node.client_address();
    node.shutdown().await;
    eventually("the port is free", async || {
        tokio::net::TcpListener::bind(address).await.ok()
    })
    .await;
}

/// A page of the application, its script and the stock client, on the listener of clients.
#[tokio::test]
async fn files_are_served_beside_the_endpoint() {
    let node = started(
        builder()
            .file(
                "/",
                "text/html; charset=utf-8",
                "<!doctype html><title>Chat</title>",
            )
            .file(
                "/chat.js",
                "text/javascript",
                "import \"/assets/cometd/cometd.js\";",
            )
            .javascript_client(),
    )
    .await;
    let address = node.client_address();
    let page = request(address, "GET", "/", &[], b"").await;
    assert_eq!(
        (page.status, page.text()),
        (200, "<!doctype html><title>Chat</title>")
    );
    for (header, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "no-cache"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(page.header(header), Some(value), "{header}");
    }
    let script = request(address, "GET", "/chat.js", &[], b"").await;
    assert_eq!(script.header("content-type"), Some("text/javascript"));
    let client = request(address, "GET", "/assets/cometd/cometd.js", &[], b"").await;
    assert!(client.text().contains("export"), "{}", client.status);
    for (method, path, status) in [("POST", "/chat.js", 405), ("GET", "/other.js", 404)] {
        let answer = request(address, method, path, &[], b"").await;
        assert_eq!(answer.status, status, "{method} {path}");
    }
    let mut client = Ws::joined(address).await;
    assert_eq!(client.publish("/a", json!(1)).await["successful"], true);
}

#[tokio::test]
async fn files_that_cannot_be_served_are_named() {
    let html = "text/html";
    for (builder, part) in [
        (builder().file("page", html, ""), "\"page\" is not a path"),
        (
            builder().file("/{name}", html, ""),
            "\"/{name}\" is not a path",
        ),
        (builder().file("/a?b", html, ""), "\"/a?b\" is not a path"),
        (builder().file("/:b", html, ""), "\"/:b\" is not a path"),
        (builder().file("/a/*b", html, ""), "\"/a/*b\" is not a path"),
        (
            builder().file("/a", html, "").file("/a", html, ""),
            "/a is taken",
        ),
        (builder().file("/cometd", html, ""), "/cometd is taken"),
        (builder().file("/cometd/x", html, ""), "/cometd/x is taken"),
        (
            builder().set("client.path", "/").file("/x", html, ""),
            "/x is taken",
        ),
        (
            builder().set("client.demo", true).file("/", html, ""),
            "/ is taken",
        ),
        (
            builder().set("client.demo", true).javascript_client(),
            "/assets/cometd/LICENSE is taken",
        ),
        (
            builder().file("/a", "a\nb", ""),
            "\"a\\nb\" is not a media type",
        ),
    ] {
        let error = builder.start().await.unwrap_err();
        let error = match &error {
            StartError::Application(ApplicationError::File(error)) => error.to_string(),
            other => panic!("{part}: {other}"),
        };
        assert!(error.contains(part), "{part}: {error}");
    }
}
