//! `halley ctl`: the binary against nodes in this process.

mod support;

use std::net::SocketAddr;
use std::path::Path;

use halley::{Node, Unready};
use serde_json::{Value, json};
use support::{Ws, eventually, metric_becomes, node, within};

const SECRET: &str = "0123456789abcdef0123456789abcdef";

/// What a command has written, and its exit status.
#[derive(Debug)]
struct Ran {
    status: i32,
    out: String,
    err: String,
}

impl Ran {
    fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

async fn run(arguments: &[&str]) -> Ran {
    let command = tokio::process::Command::new(env!("CARGO_BIN_EXE_halley"))
        .arg("ctl")
        .args(arguments)
        .kill_on_drop(true)
        .output();
    let output = within("the command ends", command).await.expect("runs");
    Ran {
        status: output.status.code().expect("a status"),
        out: String::from_utf8(output.stdout).expect("UTF-8"),
        err: String::from_utf8(output.stderr).expect("UTF-8"),
    }
}

/// Asks with the address and the token in front.
async fn ctl(admin: SocketAddr, token: &Path, arguments: &[&str]) -> Ran {
    let (admin, token) = (format!("http://{admin}"), token.display().to_string());
    run(&[&["--admin", &admin, "--token-file", &token], arguments].concat()).await
}

async fn member(name: &str, token: &Path, others: &[&Node]) -> Node {
    let siblings: Vec<String> = others
        .iter()
        .map(|node| node.mesh_address().expect("clustered").to_string())
        .collect();
    let token = token.display().to_string();
    node(&format!(
        "[node]\nname = {name:?}\n[mesh]\nlisten = \"127.0.0.1:0\"\nsecret = \"{SECRET}\"\nsiblings = {siblings:?}\n\
         join_wait_ms = 300\nheartbeat_ms = 100\ndetection_ms = 4000\n[admin]\ntoken_file = {token:?}\n\
         [seti]\ntrust_handshake_user = true\n[presence]\nnodes = true"
    ))
    .await
}

async fn user(node: &Node, name: &str) -> Ws {
    Ws::joined_with(node.client_address(), json!({ "halley": { "user": name } })).await
}

#[tokio::test(flavor = "multi_thread")]
async fn it_shows_the_cluster_and_drains_a_node() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "let-me-in\n").expect("writes");
    let one = member("one", &token, &[]).await;
    let two = member("two", &token, &[&one]).await;
    for node in [&one, &two] {
        metric_becomes(node, "halley_members", 2.0).await;
    }
    let admin = one.admin_address();
    let _alice = user(&one, "alice").await;
    let mut bob = user(&two, "bob").await;
    let _bobby = user(&two, "bobby").await;
    bob.subscribe("/chat/b").await;
    bob.subscribe("/chat/a").await;

    let members = ctl(admin, &token, &["members"]).await;
    assert_eq!(members.status, 0, "{members:?}");
    let lines: Vec<&str> = members.out.lines().collect();
    assert!(
        lines[0].starts_with("NAME") && lines.len() == 3,
        "{members:?}"
    );
    assert!(lines[1].starts_with("one *"), "{members:?}");
    assert!(lines[2].contains(&two.mesh_address().expect("clustered").to_string()));
    let members = ctl(admin, &token, &["members", "--json"]).await.json();
    assert_eq!(members["members"][1]["name"], "two");
    assert_eq!(members["conflicts"], json!([]));

    let links = ctl(admin, &token, &["--json", "links"]).await.json();
    assert_eq!(links["links"][0]["sibling"], "two");
    assert_eq!(links["links"][0]["up"], true);
    let links = ctl(admin, &token, &["links"]).await;
    assert!(links.out.contains("two      native   up"), "{links:?}");

    let users = eventually("all users are known", async || {
        let users = ctl(admin, &token, &["users", "--json"]).await.json();
        (users["count"] == 3).then_some(users)
    })
    .await;
    assert_eq!(users, json!({ "node": "one", "count": 3, "here": 1 }));
    let users = ctl(admin, &token, &["users", "--filter", "bob", "--json"]).await;
    assert_eq!(
        users.json()["users"],
        json!([{ "user": "bob", "nodes": ["two"] }, { "user": "bobby", "nodes": ["two"] }])
    );
    let users = ctl(admin, &token, &["users", "--limit", "2", "--json"])
        .await
        .json();
    assert_eq!(
        (&users["more"], &users["users"][0]["user"]),
        (&json!(true), &json!("alice"))
    );
    assert_eq!(users["users"].as_array().map(Vec::len), Some(2));
    let users = ctl(admin, &token, &["users", "--filter", "alice"]).await;
    assert!(
        users.out.ends_with("USER   NODES\nalice  one\n"),
        "{users:?}"
    );

    let interest = eventually("the interest has arrived", async || {
        let interest = ctl(admin, &token, &["interest", "--prefix", "/chat/", "--json"]).await;
        let interest = interest.json();
        (interest["siblings"][0]["channels"] == json!(["/chat/a", "/chat/b"])).then_some(interest)
    })
    .await;
    assert_eq!(interest["siblings"][0]["sibling"], "two");
    assert_eq!(interest["own"]["channels"], json!([]));
    let own = ctl(two.admin_address(), &token, &["interest", "--limit", "1"]).await;
    assert_eq!(
        own.out.lines().next(),
        Some("two * wants 2 channels"),
        "{own:?}"
    );
    assert!(own.out.ends_with("two *  /chat/a\n"), "{own:?}");

    let status = ctl(admin, &token, &["status"]).await;
    assert_eq!(status.status, 0, "{status:?}");
    assert!(status.out.contains("is ready"), "{status:?}");
    // One that the node does not take back by itself.
    one.readiness().set(Unready::Draining, "by hand");
    let status = ctl(admin, &token, &["status"]).await;
    assert_eq!(status.status, 1, "{status:?}");

    let drain = ctl(two.admin_address(), &token, &["drain"]).await;
    assert_eq!((drain.status, drain.out.as_str()), (0, "the node drains\n"));
    within("it is to drain", two.drain_requested()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_runs_alone_answers_too() {
    let directory = tempfile::tempdir().expect("a directory");
    let token = directory.path().join("token");
    std::fs::write(&token, "let-me-in").expect("writes");
    let node = node(&format!(
        "[node]\nname = \"solo\"\n[admin]\ntoken_file = {:?}",
        token.display().to_string()
    ))
    .await;
    for (question, starts) in [
        ("members", "NAME    DIALECT"),
        ("links", "SIBLING"),
        ("users", "0 users, 0 on this node"),
        ("interest", "solo * wants 0 channels"),
    ] {
        let ran = ctl(node.admin_address(), &token, &[question]).await;
        assert!(ran.status == 0 && ran.out.starts_with(starts), "{ran:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_status_tells_an_answer_from_a_question_that_could_not_be_asked() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("writes");
        path.display().to_string()
    };
    let (token, wrong, empty) = (
        file("t", "let-me-in"),
        file("w", "let-me-out"),
        file("e", "\n"),
    );
    let node = node(&format!("[admin]\ntoken_file = {token:?}")).await;
    let closed = support::node("").await;
    let admin = format!("http://{}", node.admin_address());
    let elsewhere = format!("{admin}/elsewhere");
    let secure = admin.replace("http:", "https:");
    let closed = format!("http://{}", closed.admin_address());
    // A port on which nobody listens.
    let free = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
    let nobody = format!("http://{}", free.local_addr().expect("an address"));
    drop(free);
    for (arguments, status, says) in [
        (
            &["--admin", &admin, "members"][..],
            2,
            "not allowed: a bearer token",
        ),
        (
            &["--admin", &admin, "--token-file", &wrong, "drain"],
            2,
            "not allowed",
        ),
        (
            &["--admin", &admin, "--token-file", &empty, "members"],
            2,
            "holds no token",
        ),
        (
            &["--admin", &admin, "--token-file", "/no/such", "members"],
            2,
            "--token-file: /no/such",
        ),
        (
            &["--admin", &closed, "--token-file", &token, "members"],
            2,
            "admin.token_file",
        ),
        (
            &["--admin", &nobody, "--token-file", &token, "members"],
            2,
            "cannot be reached",
        ),
        (
            &["--admin", &secure, "--token-file", &token, "members"],
            2,
            "speaks http",
        ),
        (
            &["--admin", "n1", "--token-file", &token, "members"],
            2,
            "is not an address",
        ),
        (
            &["--admin", &admin, "--token-file", &token, "dance"],
            2,
            "dance",
        ),
        (&[], 2, "Usage"),
        (
            &["--admin", &elsewhere, "--token-file", &token, "members"],
            1,
            "404",
        ),
    ] {
        let ran = run(arguments).await;
        assert_eq!(ran.status, status, "{arguments:?}: {ran:?}");
        assert!(ran.err.contains(says), "{arguments:?}: {ran:?}");
        assert!(ran.out.is_empty() && !ran.err.contains("let-me"), "{ran:?}");
    }
    assert!(!node.readiness().json().to_string().contains("draining"));
    let bad = support::request(
        node.admin_address(),
        "GET",
        "/admin/users?limit=many",
        &[("Authorization", "Bearer let-me-in")],
        b"",
    )
    .await;
    assert_eq!(bad.status, 400);
}
