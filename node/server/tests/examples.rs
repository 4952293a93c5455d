//! The examples are run, each as a process, and do what their first lines say.

mod support;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use halley_client::{Client, ConnectError, RequestError};
use jsonwebtoken::{EncodingKey, Header, encode};
use serde_json::{Value, json};
use support::{Ws, within};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// The binary of an example. `cargo test` builds them all; a run of this file alone does not, so that it is asked to when the
/// binary is missing or older than its source.
async fn binary(name: &str) -> PathBuf {
    let own = std::env::current_exe().expect("a test binary");
    // <profile>/deps/<test>
    let profile = own.ancestors().nth(2).expect("the folder of the profile");
    let path = profile.join("examples").join(name);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let source = folder.join("examples").join(format!("{name}.rs"));
    let changed = |path: &Path| path.metadata().and_then(|data| data.modified()).ok();
    if changed(&path) < changed(&source) {
        let mut cargo = Command::new(env!("CARGO"));
        cargo
            .args(["build", "--quiet", "--locked", "--example", name])
            .current_dir(folder)
            .arg("--target-dir")
            .arg(profile.parent().expect("the target folder"));
        if profile.ends_with("release") {
            cargo.arg("--release");
        }
        assert!(cargo.status().await.expect("cargo runs").success());
    }
    path
}

/// A running example, ended when it is dropped.
struct Example {
    process: Child,
    input: Option<ChildStdin>,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Example {
    async fn start(name: &str, arguments: &[&str]) -> Self {
        let mut process = Command::new(binary(name).await)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the example starts");
        let lines = BufReader::new(process.stdout.take().expect("piped")).lines();
        Self {
            input: process.stdin.take(),
            process,
            lines,
        }
    }

    async fn line(&mut self) -> String {
        let line = within("a line", self.lines.next_line()).await;
        let line = line.expect("it can be read").expect("not the end");
        // Shown with a failure.
        println!("{:?}: {line}", self.process.id());
        line
    }

    /// Reads until there is this line.
    async fn says(&mut self, expected: &str) {
        let mut before = Vec::new();
        loop {
            let line = self.line().await;
            if line == expected {
                return;
            }
            before.push(line);
            assert!(before.len() < 100, "{expected:?} did not come: {before:?}");
        }
    }

    /// The address of a server that has said that it listens.
    async fn url(&mut self) -> String {
        loop {
            if let Some(url) = self.line().await.strip_prefix("listening ") {
                return url.to_owned();
            }
        }
    }

    async fn write(&mut self, line: &str) {
        let input = self.input.as_mut().expect("still open");
        input
            .write_all(format!("{line}\n").as_bytes())
            .await
            .expect("writes");
    }

    /// Ends it as Ctrl-C would, and waits for a proper end.
    async fn interrupt(mut self) {
        let id = self.process.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-INT", &id]).status().await;
        assert!(sent.expect("kill runs").success());
        let status = within("the end", self.process.wait()).await;
        assert!(status.expect("it has ended").success());
    }
}

fn address(url: &str) -> SocketAddr {
    url.strip_prefix("http://")
        .and_then(|rest| rest.strip_suffix("/cometd"))
        .and_then(|address| address.parse().ok())
        .unwrap_or_else(|| panic!("an address: {url}"))
}

/// Calls, and gives the result.
async fn call(client: &mut Ws, channel: &str, data: Value) -> Value {
    let id = client
        .send(json!({ "channel": channel, "data": data }))
        .await;
    loop {
        let message = client.reply(&id).await;
        if message.get("data").is_some() {
            return message;
        }
        assert_eq!(message["successful"], true, "{message}");
    }
}

#[tokio::test]
async fn chat() {
    let mut server = Example::start("chat", &["serve", "127.0.0.1:0"]).await;
    let url = server.url().await;
    let mut ann = Example::start("chat", &["join", &url, "ann"]).await;
    ann.says("you are ann").await;
    let mut bob = Example::start("chat", &["join", &url, "bob"]).await;
    bob.says("you are bob").await;
    ann.says("doorman: bob has come").await;

    bob.write("hello all").await;
    ann.says("bob: hello all").await;
    bob.says("bob: hello all").await;
    ann.write("/w bob a secret").await;
    bob.says("ann whispers: a secret").await;
    ann.says("\"whispered\"").await;
    ann.write("/w eve a secret").await;
    ann.says("the service failed: {\"code\":\"not_here\",\"message\":\"eve is not here\"}")
        .await;
    ann.write("/who").await;
    ann.says("[\"ann\",\"bob\"]").await;

    // The end of its input ends a client.
    bob.input = None;
    let status = within("the end of bob", bob.process.wait()).await;
    assert!(status.expect("bob has ended").success());
    ann.says("doorman: bob has gone").await;
    server.interrupt().await;
}

#[tokio::test]
async fn rpc() {
    let mut server = Example::start("rpc", &["serve", "127.0.0.1:0"]).await;
    server.says("sum 42").await;
    let url = server.url().await;
    for (channel, data, result) in [
        ("/service/sum", "[1,2,3]", "6"),
        (
            "/service/divide",
            r#"{"dividend":17,"divisor":5}"#,
            r#"{"quotient":3,"remainder":2}"#,
        ),
        (
            "/service/divide",
            r#"{"dividend":17,"divisor":0}"#,
            r#"no result: the service failed: {"code":"no_quotient","message":"there is no such number"}"#,
        ),
        ("/service/after/5", "null", r#"{"slept_ms":5}"#),
    ] {
        let mut caller = Example::start("rpc", &["call", &url, channel, data]).await;
        assert_eq!(caller.line().await, result, "{channel} {data}");
        let status = within("its end", caller.process.wait()).await;
        assert!(status.expect("it has ended").success());
    }
    let mut client = Ws::joined(address(&url)).await;
    let result = call(&mut client, "/service/sum", json!("x")).await;
    assert_eq!(
        (&result["successful"], &result["data"]["code"]),
        (&json!(false), &json!("data_invalid"))
    );
    server.interrupt().await;
}

#[tokio::test]
async fn authenticated() {
    let mut server = Example::start("authenticated", &["127.0.0.1:0"]).await;
    let url = server.url().await;
    let login = |name: &str, password: &str| {
        Client::builder(&url).ext("login", json!({ "name": name, "password": password }))
    };
    for builder in [
        login("ann", "guess"),
        login("eve", ""),
        Client::builder(&url),
    ] {
        let error = builder.connect().await.expect_err("no session");
        assert!(
            matches!(&error, ConnectError::Refused(refusal) if refusal.to_string().contains("login_wrong")),
            "{error}"
        );
    }
    let (ann, mut anns) = login("ann", "wonderland").connect().await.expect("ann");
    let (bob, mut bobs) = login("bob", "builder").connect().await.expect("bob");

    bob.subscribe("/news/**").await.expect("bob reads");
    ann.publish("/news/sport", "a goal")
        .await
        .expect("ann writes");
    let news = within("news", bobs.next_message()).await.expect("news");
    assert_eq!(news.data(), "\"a goal\"");
    let refused = |outcome: Result<(), RequestError>, reason: &str| {
        let error = outcome.expect_err("refused");
        assert!(error.to_string().contains(reason), "{error}");
    };
    refused(bob.publish("/news/sport", "no").await, "editors_only");
    refused(bob.subscribe("/inbox/ann").await, "not_your_inbox");
    refused(bob.subscribe("/inbox/*").await, "no_wildcards");
    refused(bob.subscribe("/**").await, "no_wildcards");
    ann.subscribe("/inbox/ann").await.expect("her own");
    bob.publish("/inbox/ann", "hello")
        .await
        .expect("everybody writes");
    let mail = within("mail", anns.next_message()).await.expect("mail");
    assert_eq!(mail.data(), "\"hello\"");
    let patience = Duration::from_secs(20);
    let result = ann.call("whoami", (), patience).await.expect("a result");
    assert_eq!(result.as_str(), "\"ann\"");
    server.interrupt().await;
}

#[tokio::test]
async fn jwt() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secret");
    let secret = "a secret of more than 32 bytes for the test";
    std::fs::write(&file, secret).expect("writes");
    let file = file.to_str().expect("UTF-8");
    let mut server = Example::start("jwt", &[file, "127.0.0.1:0"]).await;
    let address = address(&server.url().await);
    let expires = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    let token = |secret: &str, roles: &[&str]| {
        let claims = json!({ "sub": "ann", "aud": "chat", "roles": roles,
            "exp": expires.as_secs() + 3600 });
        let key = EncodingKey::from_secret(secret.as_bytes());
        let token = encode(&Header::default(), &claims, &key).expect("a token");
        json!({ "authentication": { "token": token } })
    };
    let mut stranger = Ws::open(address).await;
    let reply = stranger
        .exchange(json!({ "channel": "/meta/handshake", "version": "1.0",
            "supportedConnectionTypes": ["websocket"],
            "ext": token("another secret of more than 32 bytes, too", &["member"]) }))
        .await;
    assert_eq!(reply["error"], "403:token_invalid:handshake_denied");

    let mut ann = Ws::joined_with(address, token(secret, &["member"])).await;
    ann.subscribe("/chat/a").await;
    assert_eq!(ann.publish("/chat/a", json!(1)).await["successful"], true);
    let result = call(&mut ann, "/service/whoami", Value::Null).await;
    assert_eq!(result["data"]["user"], "ann");
    let reply = ann.publish("/elsewhere", json!(1)).await;
    assert_eq!(reply["successful"], false, "what no rule matches is closed");
    let mut guest = Ws::joined_with(address, token(secret, &[])).await;
    guest.subscribe("/chat/a").await;
    let reply = guest.publish("/chat/a", json!(1)).await;
    assert_eq!(
        reply["error"],
        "403:denied_by_security_policy:publish_denied"
    );
    server.interrupt().await;
}

#[tokio::test]
async fn without_arguments_that_make_sense_they_say_what_they_take() {
    for (name, arguments) in [
        ("chat", &["nonsense"][..]),
        ("rpc", &["call"]),
        ("jwt", &[]),
    ] {
        let output = Command::new(binary(name).await).args(arguments).output();
        let output = within("its end", output).await.expect("it runs");
        assert!(!output.status.success(), "{name}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(said.contains(&format!("usage: {name} ")), "{said}");
    }
}
