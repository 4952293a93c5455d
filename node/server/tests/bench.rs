//! `halley bench` end to end: a small load over both transports, what it prints, and its exit status.

mod support;

use std::process::Output;

use halley::node::Node;
use serde_json::Value;
use support::{node, within};

async fn bench(arguments: &[&str]) -> Output {
    let output = tokio::process::Command::new(env!("CARGO_BIN_EXE_halley"))
        .arg("bench")
        .args(arguments)
        .kill_on_drop(true)
        .output();
    within("the load", output).await.expect("the binary runs")
}

fn url(node: &Node) -> String {
    format!("http://{}/cometd", node.client_address())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_small_fan_out_prints_its_figures_and_ends_well() {
    for transport in ["websocket", "long-polling"] {
        let node = node("").await;
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("result.json");
        let pid = std::process::id().to_string();
        let output = bench(&[
            "fan-out",
            "--url",
            &url(&node),
            "--transport",
            transport,
            "--server-pid",
            &pid,
            "--clients",
            "20",
            "--rooms",
            "5",
            "--rooms-per-client",
            "2",
            "--publishers",
            "2",
            "--batch",
            "2",
            "--deliveries-per-second",
            "400",
            "--warm-up",
            "0.2",
            "--duration",
            "1",
            "--json",
            file.to_str().expect("UTF-8"),
        ])
        .await;
        let text = String::from_utf8_lossy(&output.stdout);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{transport}: {text}{said}");
        for figure in ["missing deliveries", "server CPU per delivery", "p99"] {
            assert!(
                text.contains(figure),
                "{transport}: no {figure:?} in {text}"
            );
        }
        let result: Value =
            serde_json::from_str(&std::fs::read_to_string(&file).expect("a result")).expect("JSON");
        assert_eq!(result["missing"], 0, "{transport}");
        assert!(result["deliveries"].as_u64() > Some(0), "{transport}");
        assert!(
            result["latency"]["count"].as_u64() > Some(0),
            "{transport}: {result}"
        );
    }
}

/// A node that takes no frame of two publications: nothing is delivered, and the run says so.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_delivered_makes_the_run_fail() {
    let node = node("[session]\nmaxBatch = 1").await;
    let output = bench(&[
        "fan-out",
        "--url",
        &url(&node),
        "--clients",
        "3",
        "--rooms",
        "1",
        "--rooms-per-client",
        "1",
        "--publishers",
        "1",
        "--batch",
        "2",
        "--deliveries-per-second",
        "50",
        "--warm-up",
        "0",
        "--duration",
        "0.5",
        "--drain",
        "0.5",
    ])
    .await;
    assert!(!output.status.success());
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("deliveries are missing"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_sessions_and_connections_from_several_addresses() {
    let node = node("").await;
    let pid = std::process::id().to_string();
    for more in [
        &["--transport", "websocket"][..],
        &["--transport", "long-polling"],
        &["--transport", "long-polling", "--connections-only"],
    ] {
        let url = url(&node);
        let mut arguments = vec![
            "idle",
            "--url",
            &url,
            "--server-pid",
            &pid,
            "--sessions",
            "8",
            "--hold",
            "0.1",
            "--source-addresses",
            "3",
        ];
        arguments.extend_from_slice(more);
        let output = bench(&arguments).await;
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{more:?}: {text}");
        assert!(text.contains("held"), "{more:?}: {text}");
    }
}
