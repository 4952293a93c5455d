//! Lists of tables, as in `[[security.channels]]`: the columns of a row, and how rows are read and written.

use std::fmt;
use std::sync::LazyLock;

use toml::{Table, Value};

use super::field::{Field, found};
use super::load::Problem;
use super::types::{ApiToken, ChannelRule, Config, ServiceHook};

/// One list of tables: what it is called, what a row may hold, and where the rows are kept.
pub struct RowList {
    /// Section and key with dots between them, as in `security.channels`.
    pub key: &'static str,
    /// One sentence for the operator.
    pub meaning: &'static str,
    /// What a row may hold.
    pub columns: Vec<Column>,
    read: fn(&mut Config, &[Value], &mut Vec<Problem>),
    get: fn(&Config) -> Value,
}

/// One key of a row.
#[derive(Debug)]
pub struct Column {
    /// The key.
    pub name: &'static str,
    /// The type as the operator is told.
    pub kind: &'static str,
    /// Whether every row must have it.
    pub required: bool,
    /// What to show.
    pub example: &'static str,
    /// One sentence for the operator.
    pub meaning: &'static str,
}

impl fmt::Debug for RowList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RowList")
            .field("key", &self.key)
            .finish_non_exhaustive()
    }
}

impl RowList {
    /// The section it stands in.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.key.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The environment variable that replaces the whole list.
    #[must_use]
    pub fn variable(&self) -> String {
        super::options::variable(self.key)
    }

    /// The rows in a configuration.
    #[must_use]
    pub fn value(&self, config: &Config) -> Value {
        (self.get)(config)
    }

    /// Reads all rows and notes every problem with its index, as in `security.channels[2].publish`. The first row is 1.
    pub(super) fn read(&self, config: &mut Config, value: &Value, problems: &mut Vec<Problem>) {
        match value.as_array() {
            Some(rows) => (self.read)(config, rows, problems),
            None => problems.push(Problem::new(
                self.key,
                format!("expected tables [[{}]], found {}", self.key, found(value)),
            )),
        }
    }
}

/// Sets one key of a row.
type Setter<R> = fn(&mut R, &Value) -> Result<(), String>;

/// Reads rows of one type: every key must be a column, every required column must be there.
fn read_rows<R: Clone>(
    key: &str,
    columns: &[(&str, bool, Setter<R>)],
    empty: &R,
    rows: &[Value],
    problems: &mut Vec<Problem>,
) -> Vec<R> {
    let mut out = Vec::with_capacity(rows.len());
    for (at, value) in rows.iter().enumerate() {
        let place = format!("{key}[{}]", at + 1);
        let Value::Table(table) = value else {
            problems.push(Problem::new(
                place,
                format!("expected a table, found {}", found(value)),
            ));
            continue;
        };
        let mut row = empty.clone();
        for (name, value) in table {
            match columns.iter().find(|(column, ..)| column == name) {
                Some((_, _, set)) => {
                    if let Err(what) = set(&mut row, value) {
                        problems.push(Problem::new(format!("{place}.{name}"), what));
                    }
                }
                None => {
                    let known: Vec<&str> = columns.iter().map(|(column, ..)| *column).collect();
                    problems.push(Problem::new(
                        format!("{place}.{name}"),
                        format!("unknown key; known here: {}", known.join(", ")),
                    ));
                }
            }
        }
        for (name, required, _) in columns {
            if *required && !table.contains_key(*name) {
                problems.push(Problem::new(format!("{place}.{name}"), "is missing"));
            }
        }
        out.push(row);
    }
    out
}

fn kind_of<R, T: Field>(_: fn(&R) -> &T) -> &'static str {
    T::KIND
}

macro_rules! rows {
    ($key:literal, $row:ident in $($path:ident).+, $meaning:literal;
     $($name:literal, $field:ident, $required:literal, like $example:literal, $what:literal;)*) => {
        RowList {
            key: $key,
            meaning: $meaning,
            columns: vec![$(Column {
                name: $name,
                kind: kind_of(|row: &$row| &row.$field),
                required: $required,
                example: $example,
                meaning: $what,
            }),*],
            read: |config, rows, problems| {
                let columns: &[(&str, bool, Setter<$row>)] = &[$((
                    $name,
                    $required,
                    |row, value| { row.$field = Field::read(value)?; Ok(()) },
                )),*];
                config.$($path).+ = read_rows($key, columns, &$row::default(), rows, problems);
            },
            get: |config| Value::Array(config.$($path).+.iter().map(|row| {
                let mut table = Table::new();
                $(if let Some(value) = Field::write(&row.$field) {
                    table.insert($name.to_owned(), value);
                })*
                Value::Table(table)
            }).collect()),
        }
    };
}

/// Every list of tables.
pub static ROW_LISTS: LazyLock<Vec<RowList>> = LazyLock::new(|| {
    let security_channels = rows! {
        "security.channels", ChannelRule in security.channels,
            "Who may use which channels, whatever the policy. The most specific pattern that matches decides alone; without any rule every channel is open, with rules a channel that none matches is closed. A role is \"*\" (everyone), \"user\" (whoever has a user), or a role of the token or of the handshake hook.";
        "pattern", pattern, true, like "\"/chat/**\"", "The channels.";
        "subscribe", subscribe, false, like "[\"*\"]", "Roles that may subscribe; when absent: nobody.";
        "publish", publish, false, like "[\"member\"]", "Roles that may publish; when absent: nobody.";
        "create", create, false, like "[\"admin\"]", "Roles that may name a channel that does not exist yet; when absent: whoever may do what names it.";
    };
    let api_tokens = rows! {
        "api.tokens", ApiToken in api.tokens,
            "The applications that may use the HTTP API, each with a token of its own.";
        "name", name, true, like "\"shop\"", "What the application is called in the log, 1 to 64 letters, digits, -, _ and dots.";
        "token_file", token_file, true, like "\"/etc/halley/api-shop\"", "A file with its token, at least 32 visible ASCII characters. While it is replaced: one per line, at most 4; read again every 5 s and on SIGHUP.";
        "roles", roles, true, like "[\"publish\", \"call\"]", "What it may do: read (see channels, sessions, users), publish (to channels and users), call (services), manage (disconnect sessions and users).";
        "channels", channels, false, like "[\"/shop/**\", \"/service/shop/*\"]", "The channels and services that it may read, publish to and call; when absent: all.";
    };
    let services_hooks = rows! {
        "services.hooks", ServiceHook in services.hooks,
            "Which calls on service channels the application answers over HTTP. A pattern answers for what has no row of its own.";
        "pattern", pattern, true, like "\"/service/app/**\"", "The channels.";
        "url", url, true, like "\"http://127.0.0.1:9000/call\"", "The address that answers.";
    };
    vec![security_channels, services_hooks, api_tokens]
});
