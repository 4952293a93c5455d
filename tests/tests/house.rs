//! The rules of the house, checked: which crate may use which, what may not come in from outside, and what the top level holds.
//!
//! The table stands in ARCHITECTURE.md ("The house"); a new arrow is a design decision and changes both places.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use serde_json::Value;

/// For each of our crates, those of ours that it may use.
const ARROWS: [(&str, &[&str]); 6] = [
    ("halley-bayeux", &[]),
    ("halley-client", &["halley-bayeux"]),
    ("halley-cluster", &["halley-bayeux", "halley-client"]),
    ("halley-replication", &["halley-bayeux", "halley-cluster"]),
    (
        "halley",
        &[
            "halley-bayeux",
            "halley-client",
            "halley-cluster",
            "halley-replication",
        ],
    ),
    (
        "halley-tests",
        &[
            "halley",
            "halley-bayeux",
            "halley-client",
            "halley-cluster",
            "halley-replication",
        ],
    ),
];

/// For each of our crates, the outside crates that it must not use directly, and why.
const BANNED: [(&str, &[&str]); 4] = [
    // No sockets, no HTTP, no clock, no runtime in the engine.
    (
        "halley-bayeux",
        &[
            "tokio",
            "tokio-util",
            "hyper",
            "axum",
            "http",
            "tokio-tungstenite",
            "socket2",
            "bincode",
        ],
    ),
    // The cluster knows no HTTP server; consensus stands above it.
    (
        "halley-cluster",
        &["hyper", "axum", "prometheus", "openraft"],
    ),
    (
        "halley-replication",
        &[
            "hyper",
            "axum",
            "prometheus",
            "tokio-tungstenite",
            "socket2",
        ],
    ),
    ("halley-client", &["axum", "prometheus", "bincode"]),
];

/// Crates that must not be anywhere in the tree: a second TLS stack, or one that is known to be broken.
const BANNED_ANYWHERE: [&str; 4] = ["openssl-sys", "native-tls", "dashmap", "serde_yaml"];

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ stands in the workspace")
        .to_path_buf()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked"])
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        output.status.success(),
        "cargo metadata: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("cargo metadata prints JSON")
}

/// Name of each workspace crate, with the names of what it depends on outside its tests.
fn dependencies(metadata: &Value) -> BTreeMap<String, Vec<String>> {
    let members: Vec<&str> = array(metadata, "workspace_members")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    array(metadata, "packages")
        .iter()
        .filter(|package| members.contains(&text(package, "id")))
        .map(|package| {
            let uses = array(package, "dependencies")
                .iter()
                .filter(|dependency| dependency["kind"].is_null())
                .map(|dependency| text(dependency, "name").to_owned())
                .collect();
            (text(package, "name").to_owned(), uses)
        })
        .collect()
}

fn array<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value[key]
        .as_array()
        .unwrap_or_else(|| panic!("cargo metadata has an array {key}"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key]
        .as_str()
        .unwrap_or_else(|| panic!("cargo metadata has a text {key}"))
}

/// What breaks the table, as sentences.
fn violations(dependencies: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut found = Vec::new();
    for (name, uses) in dependencies {
        let Some((_, allowed)) = ARROWS.iter().find(|(crate_name, _)| crate_name == name) else {
            found.push(format!("{name} is not in the table of the house"));
            continue;
        };
        for used in uses {
            let ours = ARROWS.iter().any(|(crate_name, _)| crate_name == used);
            if ours && !allowed.contains(&used.as_str()) {
                found.push(format!("{name} may not use {used}"));
            }
            if BANNED
                .iter()
                .any(|(crate_name, banned)| crate_name == name && banned.contains(&used.as_str()))
            {
                found.push(format!("{name} may not use the outside crate {used}"));
            }
        }
    }
    found
}

#[test]
fn arrows_go_only_as_the_table_allows() {
    let dependencies = dependencies(&metadata());
    assert_eq!(
        dependencies.len(),
        ARROWS.len(),
        "every crate of the house is in the workspace"
    );
    assert_eq!(violations(&dependencies), Vec::<String>::new());
}

#[test]
fn a_forbidden_arrow_is_found() {
    let mut dependencies = dependencies(&metadata());
    for (name, used) in [
        ("halley-bayeux", "halley-cluster"),
        ("halley-bayeux", "tokio"),
        ("halley-cluster", "halley-replication"),
    ] {
        dependencies
            .get_mut(name)
            .expect("the crate exists")
            .push(used.to_owned());
    }
    assert_eq!(
        violations(&dependencies).len(),
        3,
        "each of the three planted arrows is reported"
    );
}

#[test]
fn no_banned_crate_is_anywhere_in_the_tree() {
    let metadata = metadata();
    for package in array(&metadata, "packages") {
        let name = text(package, "name");
        assert!(
            !BANNED_ANYWHERE.contains(&name),
            "{name} came in through some dependency: cargo tree -i {name}"
        );
        let source = package["source"].as_str();
        assert!(
            source.is_none_or(|source| source.starts_with("registry+")),
            "{name} does not come from the registry"
        );
    }
}

#[test]
fn only_the_codec_module_names_bincode() {
    // bincode is unmaintained upstream; one module keeps the way out to a twin of the same bytes open.
    let mut users = Vec::new();
    for folder in ["node", "cluster", "replication"] {
        rust_files(&root().join(folder), &mut users, "bincode::");
    }
    assert!(
        users.len() <= 1,
        "more than one file names bincode: {users:?}"
    );
}

fn rust_files(folder: &std::path::Path, found: &mut Vec<PathBuf>, word: &str) {
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        if path.is_dir() {
            if path
                .file_name()
                .is_some_and(|name| name != "target" && name != "node_modules")
            {
                rust_files(&path, found, word);
            }
        } else if path.extension().is_some_and(|end| end == "rs")
            && std::fs::read_to_string(&path)
                .expect("source is UTF-8")
                .contains(word)
        {
            found.push(path);
        }
    }
}

#[test]
fn the_top_level_holds_what_was_agreed() {
    let allowed = [
        "ARCHITECTURE.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "Cargo.lock",
        "Cargo.toml",
        "LICENSE",
        "README.md",
        "clippy.toml",
        "cluster",
        "deny.toml",
        "deploy",
        "docs",
        "node",
        "replication",
        "rust-toolchain.toml",
        "target",
        "tests",
    ];
    for entry in std::fs::read_dir(root()).expect("the top level can be listed") {
        let name = entry
            .expect("the entry can be read")
            .file_name()
            .to_string_lossy()
            .into_owned();
        assert!(
            name.starts_with('.') || allowed.contains(&name.as_str()),
            "{name} does not belong at the top level"
        );
    }
}
