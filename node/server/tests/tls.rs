//! TLS on the client listener: both transports, the cookie, new certificates while running, and what goes wrong.

mod support;

use std::process::{Command, Stdio};

use serde_json::{Value, json};
use support::tls::Authority;
use support::{Http, Ws, eventually, metric, metric_becomes, node, within};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::TcpStream;

#[tokio::test]
async fn a_websocket_over_tls() {
    let authority = Authority::new();
    let node = node(&authority.toml("")).await;
    let address = node.client_address();
    let stream = authority.connect(address, &["http/1.1"]).await;
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut client = Ws::over(stream, address).await;
    client.join(Value::Null).await;
    client.proves_itself("over TLS").await;
    // A message over the size of a TLS record, and of every buffer.
    client.subscribe("/large").await;
    let large = "x".repeat(50_000);
    client.publish("/large", json!(large)).await;
    while client.next().await["data"] != large.as_str() {}
    client.text("{").await;
    assert_eq!(
        client.close_code().await,
        1007,
        "the end is told over TLS too"
    );
}

#[tokio::test]
async fn long_polling_over_tls_with_a_secure_cookie() {
    let authority = Authority::new();
    let node = node(&authority.toml("")).await;
    let address = node.client_address();
    // Without ALPN it is HTTP/1.1.
    let stream = authority.connect(address, &[]).await;
    let mut line = Http::over(stream, address);
    let body = json!([{ "channel": "/meta/handshake", "version": "1.0",
        "supportedConnectionTypes": ["long-polling"] }]);
    let answer = line
        .request("POST", "/cometd", &[], body.to_string().as_bytes())
        .await;
    assert_eq!(answer.json()[0]["successful"], true);
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(
        cookie.ends_with("; HttpOnly; Secure; SameSite=Lax"),
        "{cookie}"
    );
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_bad_one_is_not() {
    let mut authority = Authority::new();
    let node = node(&authority.toml("reload_interval_ms = 20")).await;
    let address = node.client_address();
    assert_eq!(
        metric(&node, "halley_tls_certificate_expiry_seconds").await,
        4_102_444_800.0
    );
    let mut old = Ws::over(authority.connect(address, &[]).await, address).await;
    old.join(Value::Null).await;
    let first = authority.served(address).await;

    let second = authority.renew(2090);
    metric_becomes(&node, "halley_tls_reloads_total", 1.0).await;
    assert_ne!(first, second);
    assert_eq!(authority.served(address).await, second);
    assert_eq!(
        metric(&node, "halley_tls_certificate_expiry_seconds").await,
        3_786_912_000.0
    );
    old.proves_itself("the connection from before lives on")
        .await;

    authority.put("nonsense", "nonsense");
    metric_becomes(&node, "halley_tls_reload_failures_total", 1.0).await;
    assert_eq!(authority.served(address).await, second);
    std::fs::remove_file(authority.key()).expect("removes");
    eventually("a file that is gone counts too", async || {
        (metric(&node, "halley_tls_reload_failures_total").await > 1.0).then_some(())
    })
    .await;
    assert_eq!(authority.served(address).await, second);

    std::os::unix::fs::symlink("..data/tls.key", authority.key()).expect("links");
    let third = authority.renew(2091);
    metric_becomes(&node, "halley_tls_reloads_total", 2.0).await;
    assert_eq!(authority.served(address).await, third);
}

#[tokio::test]
async fn whoever_does_not_shake_hands_is_let_go() {
    let authority = Authority::new();
    let node = node(&authority.toml("handshake_timeout_ms = 100")).await;
    let address = node.client_address();
    let mut silent = Http::connect(address).await;
    silent.closed().await;
    metric_becomes(&node, "halley_tls_handshake_failures_total", 1.0).await;
    let mut clear = TcpStream::connect(address).await.expect("connects");
    clear
        .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        .await
        .expect("writes");
    let mut rest = Vec::new();
    let _ = within("the end", clear.read_to_end(&mut rest)).await;
    assert!(!rest.starts_with(b"HTTP/"), "nothing is said in clear text");
    metric_becomes(&node, "halley_tls_handshake_failures_total", 2.0).await;
    metric_becomes(&node, "halley_connections", 0.0).await;
    authority.served(address).await;
}

#[tokio::test]
async fn a_client_that_takes_nothing_is_cut_off_over_tls_too() {
    let authority = Authority::new();
    let bounds =
        "[client]\nwrite_timeout_ms = 300\n[session]\nmaxQueue = 100000\nmaxQueueBytes = 100000000";
    let node = node(&(authority.toml("") + bounds)).await;
    let address = node.client_address();
    let mut deaf = Ws::over(authority.connect(address, &[]).await, address).await;
    deaf.join(Value::Null).await;
    deaf.subscribe("/flood").await;
    let mut writer = Ws::over(authority.connect(address, &[]).await, address).await;
    writer.join(Value::Null).await;
    let data = "x".repeat(50_000);
    let mut rounds = 0;
    while metric(&node, "halley_slow_clients_total").await == 0.0 {
        let reply = writer.publish("/flood", json!(data)).await;
        assert_eq!(reply["successful"], true);
        rounds += 1;
        assert!(rounds < 5_000, "the slow client is never cut off");
    }
    writer.proves_itself("still here").await;
}

#[tokio::test]
async fn a_drain_ends_connections_over_tls() {
    let authority = Authority::new();
    let node = node(&authority.toml("")).await;
    let address = node.client_address();
    let mut client = Ws::over(authority.connect(address, &[]).await, address).await;
    client.join(Value::Null).await;
    let (code, ()) = tokio::join!(client.close_code(), node.drain());
    assert_eq!(code, 1001);
}

#[tokio::test]
async fn sighup_reloads() {
    let mut authority = Authority::new();
    let file = tempfile::NamedTempFile::new().expect("a file");
    let text = format!(
        "{}[client]\nlisten = \"127.0.0.1:0\"\n[admin]\nlisten = \"127.0.0.1:0\"\n[log]\nformat = \"json\"",
        authority.toml("reload_interval_ms = 0")
    );
    std::fs::write(file.path(), text).expect("writes");
    let mut process = tokio::process::Command::new(env!("CARGO_BIN_EXE_halley"))
        .args(["serve", "--config"])
        .arg(file.path())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .expect("halley runs");
    let mut log = BufReader::new(process.stderr.take().expect("a pipe")).lines();
    let address = loop {
        let line = within("the node gets ready", log.next_line()).await;
        let line = line.expect("UTF-8").expect("a line");
        let line: Value = serde_json::from_str(&line).expect("JSON");
        // With the fields of an event in an object of their own, or not.
        let fields = line.get("fields").unwrap_or(&line);
        if fields["message"] == "node is ready" {
            let url = fields["url"].as_str().expect("a URL");
            assert!(url.starts_with("https://"), "{line}");
            let client = fields["client"].as_str().expect("an address");
            break client.parse().expect("an address");
        }
    };
    let renewed = authority.renew(2095);
    assert_ne!(authority.served(address).await, renewed);
    let status = Command::new("kill")
        .args(["-HUP", &process.id().expect("it lives").to_string()])
        .status()
        .expect("kill runs");
    assert!(status.success());
    eventually("the new certificate", async || {
        (authority.served(address).await == renewed).then_some(())
    })
    .await;
}

#[test]
fn files_that_cannot_serve_are_a_configuration_error() {
    let mut authority = Authority::new();
    let other = Authority::new();
    let missing = format!("{}-missing", authority.key());
    let run = |certificate: Option<&str>, key: Option<&str>| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halley"));
        command
            .arg("serve")
            .env("HALLEY__CLIENT__LISTEN", "127.0.0.1:0");
        command.env("HALLEY__ADMIN__LISTEN", "127.0.0.1:0");
        for (name, value) in [("CERTIFICATE", certificate), ("KEY", key)] {
            if let Some(value) = value {
                command.env(format!("HALLEY__CLIENT__TLS__{name}"), value);
            }
        }
        let output = command.output().expect("halley runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).expect("UTF-8")
    };
    let (certificate, key) = (authority.certificate(), authority.key());
    let told = run(Some(&certificate), None);
    assert!(told.contains("client.tls.key: is needed"), "{told}");
    let told = run(None, Some(&key));
    assert!(told.contains("client.tls.certificate: is needed"), "{told}");
    let told = run(Some(&certificate), Some(&missing));
    assert!(told.contains("client.tls.key: cannot read"), "{told}");
    let told = run(Some(&missing), Some(&key));
    assert!(
        told.contains("client.tls.certificate: cannot read"),
        "{told}"
    );
    let told = run(Some(&certificate), Some(&other.key()));
    assert!(
        told.contains("client.tls.key: ") && told.contains("does not go with"),
        "{told}"
    );
    let told = run(Some(&certificate), Some(&certificate));
    assert!(
        told.contains("client.tls.key: ") && told.contains("no private key"),
        "{told}"
    );
    let told = run(Some(&key), Some(&key));
    assert!(
        told.contains("client.tls.certificate: ") && told.contains("no certificate"),
        "{told}"
    );
    authority.put(
        "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "",
    );
    let told = run(Some(&certificate), Some(&other.key()));
    assert!(
        told.contains("client.tls.certificate: ") && told.contains("not an X.509"),
        "{told}"
    );
}
