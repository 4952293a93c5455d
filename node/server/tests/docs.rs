//! The pages for operators say what the program says.

mod support;

use std::{path::Path, process::Command};

use support::{node, request};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../docs")
        .join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn configuration_page_holds_what_halley_config_prints() {
    let output = Command::new(env!("CARGO_BIN_EXE_halley"))
        .arg("config")
        .output()
        .expect("halley runs");
    let printed = String::from_utf8(output.stdout).expect("it prints UTF-8");
    assert!(
        page("configuration.md").contains(printed.trim_end()),
        "docs/configuration.md is stale: put the output of `halley config` into its TOML block"
    );
}

#[test]
fn security_page_names_every_refusal() {
    let security = page("security.md");
    for error in [
        "403:token_missing:handshake_denied",
        "403:token_invalid:handshake_denied",
        "403:token_expired:handshake_denied",
        "403:token_key_unknown:handshake_denied",
        "hook_unreachable",
        "hook_timeout",
        "hook_answer_invalid",
        "denied_by_hook",
        "403:denied_by_security_policy:create_denied",
        "403:denied_by_security_policy:channel_create_denied",
        "403:denied_by_security_policy:subscribe_denied",
        "403:denied_by_security_policy:publish_denied",
        "402::session_unknown",
    ] {
        assert!(
            security.contains(error),
            "docs/security.md does not explain {error}"
        );
    }
}

#[tokio::test]
async fn operations_page_names_every_metric() {
    let node = node("").await;
    let text = request(node.admin_address(), "GET", "/metrics", &[], b"").await;
    let text = String::from_utf8(text.body).expect("metrics are UTF-8");
    let operations = page("operations.md");
    let names: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE halley_"))
        .filter_map(|line| line.split(' ').next())
        .collect();
    assert!(names.len() > 10, "the metrics were read");
    for name in names {
        assert!(
            operations.contains(&format!("`halley_{name}")),
            "docs/operations.md does not explain halley_{name}"
        );
    }
}
