//! `docs/conformance.md` names only tests that exist, and says of every line what it is.

use std::collections::BTreeSet;
use std::path::Path;

use halley_tests::binary::repository;

const STATES: [&str; 5] = ["tested", "partly", "not yet", "differs", "not applicable"];

/// The names of all tests in the sources: functions under a test attribute, and those that the interoperability tests' table makes.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for folder in ["node", "cluster", "replication", "tests"] {
        collect(&repository().join(folder), &mut found);
    }
    found
}

fn collect(folder: &Path, found: &mut BTreeSet<String>) {
    for entry in std::fs::read_dir(folder).expect("the folder can be listed") {
        let path = entry.expect("the entry can be read").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if !["target", "node_modules", "fuzz"].contains(&&*name) {
                collect(&path, found);
            }
        } else if name.ends_with(".rs") {
            let source = std::fs::read_to_string(&path).expect("source is UTF-8");
            names(&source, name.starts_with("interop_"), found);
        }
    }
}

fn names(source: &str, table: bool, found: &mut BTreeSet<String>) {
    let mut attribute = false;
    for line in source.lines().map(str::trim) {
        if line.starts_with("#[test]") || line.starts_with("#[tokio::test") {
            attribute = true;
        } else if let Some((before, after)) = line.split_once("fn ") {
            if attribute && ["", "async ", "pub ", "pub async "].contains(&before) {
                let name = after.split(['(', '<']).next().unwrap_or_default();
                found.insert(name.to_owned());
            }
            attribute = false;
        } else if let Some((name, _)) = line.split_once(": ").filter(|_| table)
            && line.ends_with(';')
        {
            found.insert(name.to_owned());
        }
    }
}

/// The cells of every line of the page's tables, without their heads.
fn rows(page: &str) -> Vec<Vec<&str>> {
    page.lines()
        .filter_map(|line| line.strip_prefix("| ")?.strip_suffix(" |"))
        .map(|line| line.split(" | ").collect::<Vec<_>>())
        .filter(|cells| cells.get(1) != Some(&"state"))
        .collect()
}

/// What is wrong with the page, as sentences.
fn faults(page: &str, tests: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    for cells in rows(page) {
        let [class, state, text] = cells[..] else {
            faults.push(format!("{}: not three cells", cells[0]));
            continue;
        };
        if !STATES.contains(&state) {
            faults.push(format!("{class}: no such state: {state}"));
        }
        let named: Vec<_> = text.split('`').skip(1).step_by(2).collect();
        for name in &named {
            if !tests.contains(*name) {
                faults.push(format!("{class}: no test {name}"));
            }
        }
        if named.is_empty() && ["tested", "partly", "differs"].contains(&state) {
            faults.push(format!("{class}: {state}, but names no test"));
        }
        if text.is_empty() {
            faults.push(format!("{class}: says nothing"));
        }
    }
    faults
}

#[test]
fn every_test_of_the_conformance_page_exists() {
    let path = repository().join("docs/conformance.md");
    let page = std::fs::read_to_string(path).expect("the page can be read");
    assert!(rows(&page).len() > 100, "the page has its tables");
    assert_eq!(faults(&page, &tests()), Vec::<String>::new());
}

#[test]
fn a_wrong_line_is_found() {
    let tests = BTreeSet::from(["a_test".to_owned()]);
    let page = "| A | tested | `a_test` |\n| B | tested | `no_test` |\n| C | tested | |\n| D | surely | `a_test` |\n| E | partly | some |";
    let expected = [
        "B: no test no_test",
        "C: not three cells",
        "D: no such state: surely",
        "E: partly, but names no test",
    ];
    assert_eq!(faults(page, &tests), expected);
}
