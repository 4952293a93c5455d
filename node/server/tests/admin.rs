//! The admin listener: health, readiness, metrics, and what needs the token.

mod support;

use halley::Unready;
use support::{Ws, metric, metric_becomes, node, request};

#[tokio::test]
async fn health_and_readiness() {
    let node = node("").await;
    let admin = node.admin_address();
    assert_eq!(
        request(admin, "GET", "/healthz", &[], b"").await.status,
        200
    );
    let ready = request(admin, "GET", "/readyz", &[], b"").await;
    assert_eq!(
        (ready.status, ready.json()["ready"].as_bool()),
        (200, Some(true))
    );
    node.readiness()
        .set(Unready::NameConflict, "another node is called n1");
    let not = request(admin, "GET", "/readyz", &[], b"").await;
    assert_eq!(not.status, 503);
    assert_eq!(not.json()["reasons"][0]["reason"], "name_conflict");
    assert_eq!(
        request(admin, "GET", "/healthz", &[], b"").await.status,
        200
    );
    node.readiness().clear(Unready::NameConflict);
    assert_eq!(request(admin, "GET", "/readyz", &[], b"").await.status, 200);
    assert_eq!(request(admin, "GET", "/else", &[], b"").await.status, 404);
}

#[tokio::test]
async fn a_draining_node_is_not_ready_but_still_serves() {
    let node = node("[node]\ndrain_wait_ms = 1000").await;
    let (told, ()) = tokio::join!(
        async {
            let told = support::eventually("not ready", async || {
                let answer = request(node.admin_address(), "GET", "/readyz", &[], b"").await;
                (answer.status == 503).then(|| answer.json())
            })
            .await;
            // The load balancer has not noticed yet: a new client is still served.
            Ws::joined(node.client_address())
                .await
                .proves_itself("late")
                .await;
            told
        },
        node.drain()
    );
    assert_eq!(told["reasons"][0]["reason"], "draining");
}

#[tokio::test]
async fn the_metrics_follow_what_happens() {
    let node = node("").await;
    let text = request(node.admin_address(), "GET", "/metrics", &[], b"").await;
    assert!(
        text.header("content-type")
            .expect("a type")
            .starts_with("text/plain")
    );
    for name in [
        "halley_members 1",
        "halley_sessions 0",
        "halley_channels ",
        "halley_subscriptions 0",
        "halley_messages_received_total ",
        "halley_messages_delivered_total ",
        "halley_queue_bytes 0",
        "halley_connections 0",
        "halley_build_info{version=",
        "process_resident_memory_bytes ",
    ] {
        assert!(
            text.text().lines().any(|line| line.starts_with(name)),
            "{name} is missing in {}",
            text.text()
        );
    }
    let mut client = Ws::joined(node.client_address()).await;
    client.subscribe("/a").await;
    let received = metric(&node, "halley_messages_received_total").await;
    let delivered = metric(&node, "halley_messages_delivered_total").await;
    client.publish("/a", serde_json::json!(1)).await;
    client.next().await;
    assert!(metric(&node, "halley_messages_received_total").await > received);
    metric_becomes(&node, "halley_messages_delivered_total", delivered + 1.0).await;
    assert_eq!(metric(&node, "halley_sessions").await, 1.0);
    assert_eq!(metric(&node, "halley_subscriptions").await, 1.0);
    assert_eq!(metric(&node, "halley_websockets").await, 1.0);
}

#[tokio::test]
async fn without_a_token_file_the_admin_pages_are_closed() {
    let node = node("").await;
    for path in [
        "/admin/",
        "/admin/status",
        "/admin/config",
        "/admin/no/such",
    ] {
        let answer = request(
            node.admin_address(),
            "GET",
            path,
            &[("Authorization", "Bearer x")],
            b"",
        )
        .await;
        assert_eq!(answer.status, 403, "{path}");
        assert!(answer.text().contains("admin.token_file"));
    }
}

#[tokio::test]
async fn the_token_opens_the_admin_pages() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    std::fs::write(&file, "let-me-in\n").expect("writes");
    let node = node(&format!(
        "[admin]\ntoken_file = {:?}",
        file.display().to_string()
    ))
    .await;
    let admin = node.admin_address();
    for headers in [
        &[][..],
        &[("Authorization", "Bearer let-me-out")],
        &[("Authorization", "Basic let-me-in")],
        &[("Authorization", "Bearer let-me-in-please")],
        &[("Authorization", "")],
    ] {
        for (method, path) in [
            ("GET", "/admin/status"),
            ("GET", "/admin/config"),
            ("POST", "/admin/drain"),
            ("GET", "/admin/x"),
        ] {
            assert_eq!(
                request(admin, method, path, headers, b"").await.status,
                401,
                "{path} {headers:?}"
            );
        }
    }
    let token = [("Authorization", "Bearer let-me-in")];
    let status = request(admin, "GET", "/admin/status", &token, b"").await;
    assert_eq!(status.status, 200);
    assert_eq!(status.json()["nodes"][0]["name"], node.name());
    let config = request(admin, "GET", "/admin/config", &token, b"").await;
    assert_eq!(config.json()["session.maxInterval"], 10_000);
    assert!(!config.text().contains("let-me-in"));
    assert_eq!(
        request(admin, "GET", "/admin/x", &token, b"").await.status,
        404
    );
    assert_eq!(
        request(admin, "POST", "/admin/drain", &token, b"")
            .await
            .status,
        202
    );
    support::within("the request to drain", node.drain_requested()).await;
}
