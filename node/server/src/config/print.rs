//! `halley config`: every option as TOML; and the effective configuration for the log.

use std::fmt::Write as _;

use super::options::{OPTIONS, Opt};
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
    out
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
    out
}
