//! Reads the file and the environment, and gathers every error before failing.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::check;
use super::field::Shape;
use super::options::{OPTIONS, Opt};
use super::rows::{ROW_LISTS, RowList};
use super::types::Config;

/// One thing that is wrong with one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The key, as in `session.maxInterval`, or the variable it came from.
    pub key: String,
    /// What is wrong.
    pub what: String,
}

impl Problem {
    pub(crate) fn new(key: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            what: what.into(),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// Why there is no configuration to start with.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {error}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The file is not TOML.
    #[error("not valid TOML: {0}")]
    Syntax(Box<toml::de::Error>),
    /// Keys are unknown or have wrong values: all of them.
    #[error("{}", lines(.0))]
    Invalid(Vec<Problem>),
}

/// The variables of the process that are text by name.
pub(crate) fn environment() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, value)| {
        Some((
            name.into_string().ok()?,
            value.to_string_lossy().into_owned(),
        ))
    })
}

fn lines(problems: &[Problem]) -> String {
    problems
        .iter()
        .map(Problem::to_string)
        .collect::<Vec<_>>()
        .join("\n")
}

impl Config {
    /// Reads a file and puts the environment on top of it.
    ///
    /// # Errors
    /// The file cannot be read, is not TOML, or has unknown keys or wrong values.
    pub fn from_file(
        file: &Path,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let text = std::fs::read_to_string(file).map_err(|error| ConfigError::Unreadable {
            file: file.to_owned(),
            error,
        })?;
        Self::from_text(&text, environment)
    }

    /// Reads TOML text and puts the environment on top of it. Variables that do not begin with `HALLEY__` are not
    /// looked at.
    ///
    /// # Errors
    /// As [`Config::from_file`].
    pub fn from_text(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        Self::from_layers(text, environment, [])
    }

    /// Reads TOML text, puts the environment on top of it, and on top of that what code has set.
    ///
    /// # Errors
    /// As [`Config::from_file`].
    pub(crate) fn from_layers(
        text: &str,
        environment: impl IntoIterator<Item = (String, String)>,
        set: impl IntoIterator<Item = (String, Value)>,
    ) -> Result<Self, ConfigError> {
        let table: Table = text
            .parse()
            .map_err(|error| ConfigError::Syntax(Box::new(error)))?;
        let mut problems = Vec::new();
        let mut values = BTreeMap::new();
        // A section that is there but empty counts as written: `[mesh]` alone asks for a cluster.
        let mut mesh = table.contains_key("mesh");
        flatten("", table, &mut values, &mut problems);
        for (variable, text) in environment {
            if variable.starts_with("HALLEY__") {
                from_environment(&variable, &text, &mut values, &mut problems);
            }
        }
        for (key, value) in set {
            match known(&key) {
                Some(known) => {
                    values.insert(known, value);
                }
                None => problems.push(Problem::new(key, "unknown key (set in code)")),
            }
        }
        mesh |= values.keys().any(|key| key.starts_with("mesh."));
        let discovery = values.contains_key("mesh.discovery");
        let mut config = Self::default();
        for (key, value) in &values {
            if let Some(option) = find(key)
                && let Err(what) = option.read(&mut config, value)
            {
                problems.push(Problem::new(*key, what));
            }
            if let Some(list) = find_list(key) {
                list.read(&mut config, value, &mut problems);
            }
        }
        check::check(&mut config, mesh, discovery, &mut problems);
        if problems.is_empty() {
            Ok(config)
        } else {
            Err(ConfigError::Invalid(problems))
        }
    }
}

fn find(key: &str) -> Option<&'static Opt> {
    OPTIONS.iter().find(|option| option.key == key)
}

fn find_list(key: &str) -> Option<&'static RowList> {
    ROW_LISTS.iter().find(|list| list.key == key)
}

/// The key as the tables hold it, if it is one.
fn known(key: &str) -> Option<&'static str> {
    find(key)
        .map(|option| option.key)
        .or_else(|| find_list(key).map(|list| list.key))
}

fn is_section(key: &str) -> bool {
    OPTIONS.iter().any(|option| {
        option.section() == key
            || option
                .section()
                .strip_prefix(key)
                .is_some_and(|rest| rest.starts_with('.'))
    })
}

fn flatten(
    above: &str,
    table: Table,
    values: &mut BTreeMap<&'static str, Value>,
    problems: &mut Vec<Problem>,
) {
    for (name, value) in table {
        let key = if above.is_empty() {
            name
        } else {
            format!("{above}.{name}")
        };
        match (known(&key), value) {
            (Some(key), value) => {
                values.insert(key, value);
            }
            (None, Value::Table(table)) if is_section(&key) => {
                flatten(&key, table, values, problems)
            }
            (None, _) if is_section(&key) => {
                problems.push(Problem::new(key, "is a section, not a value"))
            }
            (None, _) => problems.push(unknown(key, above)),
        }
    }
}

fn unknown(key: String, section: &str) -> Problem {
    let known: Vec<&str> = if section.is_empty() {
        let mut sections: Vec<&str> = OPTIONS
            .iter()
            .map(|option| option.section().split('.').next().unwrap_or(""))
            .collect();
        sections.dedup();
        sections
    } else {
        OPTIONS
            .iter()
            .filter(|option| option.section() == section)
            .map(Opt::name)
            .chain(
                ROW_LISTS
                    .iter()
                    .filter(|list| list.section() == section)
                    .filter_map(|list| list.key.rsplit('.').next()),
            )
            .collect()
    };
    Problem::new(
        key,
        format!("unknown key; known here: {}", known.join(", ")),
    )
}

fn from_environment(
    variable: &str,
    text: &str,
    values: &mut BTreeMap<&'static str, Value>,
    problems: &mut Vec<Problem>,
) {
    if let Some(list) = ROW_LISTS
        .iter()
        .find(|list| list.variable().eq_ignore_ascii_case(variable))
    {
        match literal(text) {
            Ok(value) => {
                values.insert(list.key, value);
            }
            Err(()) => problems.push(Problem::new(
                list.key,
                format!("the text in {variable} is not a TOML list of tables"),
            )),
        }
        return;
    }
    let Some(option) = OPTIONS
        .iter()
        .find(|option| option.variable().eq_ignore_ascii_case(variable))
    else {
        problems.push(Problem::new(variable, "unknown key (from the environment)"));
        return;
    };
    let value = match option.shape {
        Shape::Text => Ok(Value::String(text.to_owned())),
        Shape::Literal => literal(text),
        Shape::List if text.trim_start().starts_with('[') => literal(text),
        Shape::List => Ok(Value::Array(
            text.split(',')
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(|word| Value::String(word.to_owned()))
                .collect(),
        )),
    };
    match value {
        Ok(value) => {
            values.insert(option.key, value);
        }
        Err(()) => {
            problems.push(Problem::new(
                option.key,
                format!("{text:?} in {variable} is not a valid {}", option.kind),
            ));
        }
    }
}

fn literal(text: &str) -> Result<Value, ()> {
    let table: Table = format!("value = {}", text.trim()).parse().map_err(|_| ())?;
    if table.len() != 1 {
        return Err(());
    }
    table.into_iter().next().map(|(_, value)| value).ok_or(())
}
