//! The secret file of running nodes is changed: what they make of it.

mod support;

use std::path::{Path, PathBuf};

use halley::Node;
use support::{metric, metric_becomes, node};

const OLD: &str = "old-old-old-old-old-old-old-old-";
const NEW: &str = "new-new-new-new-new-new-new-new-";

async fn member(name: &str, secret: &Path, others: &[&Node]) -> Node {
    let siblings: Vec<String> = others
        .iter()
        .map(|node| node.mesh_address().expect("clustered").to_string())
        .collect();
    let secret = secret.display().to_string();
    node(&format!(
        "[node]\nname = {name:?}\n[mesh]\nlisten = \"127.0.0.1:0\"\nsecret_file = {secret:?}\nsiblings = {siblings:?}\n\
         join_wait_ms = 300\nheartbeat_ms = 100\ndetection_ms = 4000"
    ))
    .await
}

/// Replaces a file whole, as operators should.
fn put(file: &Path, text: &str) {
    let next = file.with_extension("next");
    std::fs::write(&next, text).expect("writes");
    std::fs::rename(&next, file).expect("renames");
}

const CHANGED: &str = "halley_mesh_secret_reloads_total{result=\"changed\"}";
const FAILED: &str = "halley_mesh_secret_reloads_total{result=\"failed\"}";

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_change_their_secret_file_by_file() {
    let directory = tempfile::tempdir().expect("a directory");
    let files: Vec<PathBuf> = (0..3)
        .map(|n| directory.path().join(format!("secret{n}")))
        .collect();
    for file in &files {
        put(file, OLD);
    }
    let one = member("one", &files[0], &[]).await;
    let two = member("two", &files[1], &[&one]).await;
    let three = member("three", &files[2], &[&one, &two]).await;
    let nodes = [&one, &two, &three];
    for node in nodes {
        metric_becomes(node, "halley_members", 3.0).await;
        assert_eq!(metric(node, "halley_mesh_secrets").await, 1.0);
    }
    let steps = [
        (format!("{OLD}\n{NEW}\n"), 2.0),
        (format!("{NEW}\n{OLD}\n"), 2.0),
        (format!("{NEW}\n"), 1.0),
    ];
    for (step, (text, secrets)) in steps.iter().enumerate() {
        for (file, node) in files.iter().zip(nodes) {
            put(file, text);
            // The first step waits for the timer.
            if step > 0 {
                node.reload().await;
            }
            metric_becomes(node, CHANGED, (step + 1) as f64).await;
            metric_becomes(node, "halley_mesh_secrets", *secrets).await;
            for node in nodes {
                assert_eq!(metric(node, "halley_members").await, 3.0);
            }
        }
    }
    // Who comes with the old one is a stranger, who comes with the new one is not.
    let (late, stranger) = (
        directory.path().join("late"),
        directory.path().join("stranger"),
    );
    put(&late, NEW);
    put(&stranger, OLD);
    let stranger = member("stranger", &stranger, &[&one]).await;
    let late = member("late", &late, &[&one]).await;
    for node in [&one, &late] {
        metric_becomes(node, "halley_members", 4.0).await;
    }
    assert_eq!(metric(&stranger, "halley_members").await, 1.0);
    for node in nodes {
        assert_eq!(metric(node, FAILED).await, 0.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_cannot_be_used_changes_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("secret");
    put(&file, OLD);
    let one = member("one", &file, &[]).await;
    for (n, text) in [
        format!("{NEW}\nshort"),
        String::new(),
        format!("{NEW}\n").repeat(5),
    ]
    .iter()
    .enumerate()
    {
        put(&file, text);
        one.reload().await;
        metric_becomes(&one, FAILED, (n + 1) as f64).await;
        assert_eq!(metric(&one, "halley_mesh_secrets").await, 1.0);
    }
    std::fs::remove_file(&file).expect("removes");
    one.reload().await;
    metric_becomes(&one, FAILED, 4.0).await;
    // It goes by the old one still.
    put(&file, OLD);
    let two = member("two", &file, &[&one]).await;
    metric_becomes(&two, "halley_members", 2.0).await;
    assert_eq!(metric(&one, CHANGED).await, 0.0);
}
