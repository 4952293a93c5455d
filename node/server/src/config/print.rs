//! `halley config`: every option as TOML; and the effective configuration for the log.

use std::fmt::Write as _;

use super::options::{OPTIONS, Opt};
use super::rows::{ROW_LISTS, RowList};
use super::types::Config;

/// Every option with type, default and meaning, as a TOML file that means exactly the defaults.
#[must_use]
pub fn reference() -> String {
    let defaults = Config::default();
    let mut out = String::from(
        "# Every option of a Halley node with its default. An option without a default stands in a comment.\n\
         # Each can be given in the environment instead: HALLEY__ and the key, with two underscores for each dot.\n",
    );
    let mut section = "";
    for option in OPTIONS.iter() {
        if option.section() != section {
            let next = root(option.section());
            if next != root(section) {
                describe_lists(&mut out, root(section));
            }
            section = option.section();
            let _ = write!(out, "\n[{section}]\n");
        }
        describe(&mut out, option);
        match option.value(&defaults) {
            Some(value) => {
                let _ = writeln!(out, "{} = {value}", option.name());
            }
            None => {
                let _ = writeln!(
                    out,
                    "# {} = {}",
                    option.name(),
                    option.example.unwrap_or("\"\"")
                );
            }
        }
    }
    describe_lists(&mut out, root(section));
    out
}

/// The outermost section.
fn root(section: &str) -> &str {
    section.split('.').next().unwrap_or(section)
}

/// The lists of tables of an outermost section: behind its options, where TOML allows them.
fn describe_lists(out: &mut String, root_section: &str) {
    for list in ROW_LISTS.iter() {
        if root(list.section()) == root_section {
            describe_list(out, list);
        }
    }
}

fn describe_list(out: &mut String, list: &RowList) {
    let _ = write!(
        out,
        "\n# {} (list of tables; {})\n# [[{}]]\n",
        list.meaning,
        list.variable(),
        list.key
    );
    for column in &list.columns {
        let _ = writeln!(
            out,
            "# # {} ({}{})\n# {} = {}",
            column.meaning,
            column.kind,
            if column.required { ", required" } else { "" },
            column.name,
            column.example
        );
    }
}

fn describe(out: &mut String, option: &Opt) {
    let _ = write!(out, "# {} ({}", option.meaning, option.kind);
    match &option.range {
        Some(range) if *range.end() == i64::MAX => {
            let _ = write!(out, ", at least {}", range.start());
        }
        Some(range) => {
            let _ = write!(out, ", {} to {}", range.start(), range.end());
        }
        None => {}
    }
    let _ = writeln!(out, "; {})", option.variable());
}

/// The effective configuration in one line, secrets masked.
#[must_use]
pub fn effective(config: &Config) -> String {
    let mut out = String::new();
    for option in OPTIONS.iter() {
        if option.section().starts_with("mesh") && !config.clustered() {
            continue;
        }
        if let Some(value) = option.value(config) {
            let _ = write!(
                out,
                "{}{}={value}",
                if out.is_empty() { "" } else { " " },
                option.key
            );
        }
    }
    for list in ROW_LISTS.iter() {
        let value = list.value(config);
        if value.as_array().is_some_and(|rows| !rows.is_empty()) {
            let _ = write!(out, " {}={value}", list.key);
        }
    }
    out
}
