//! The command line of `halley ctl`.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};
use http::Method;
use serde_json::Value;

use super::ask::{Admin, AskError};
use super::show;

/// Exit status when the question could not be asked.
const STATUS_NOT_ASKED: u8 = 2;

/// Asks a running node on its admin address.
#[derive(Debug, Args)]
pub(crate) struct CtlCommand {
    /// The admin address of the node.
    #[arg(
        long,
        global = true,
        value_name = "URL",
        default_value = "http://127.0.0.1:9400"
    )]
    admin: String,
    /// A file with the token: that of admin.token_file.
    #[arg(long, global = true, value_name = "FILE")]
    token_file: Option<PathBuf>,
    /// Prints the answer as the node gave it, in JSON.
    #[arg(long, global = true)]
    json: bool,
    /// How long the node may take.
    #[arg(long, global = true, value_name = "MS", default_value_t = 10_000)]
    timeout_ms: u64,
    #[command(subcommand)]
    question: Question,
}

#[derive(Debug, Subcommand)]
enum Question {
    /// The members of the cluster, as this node sees it.
    Members,
    /// The links of this node to its siblings.
    Links,
    /// How many users are present; with --filter or --limit also who, and where.
    Users {
        /// Only users whose names contain this.
        #[arg(long, value_name = "TEXT")]
        filter: Option<String>,
        /// So many at most, by name; 100 with --filter alone.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
    },
    /// The channels that this node and each of its siblings want.
    Interest {
        /// Only channels that begin so.
        #[arg(long, value_name = "TEXT")]
        prefix: Option<String>,
        /// So many per node at most, by name.
        #[arg(long, value_name = "N", default_value_t = 100)]
        limit: usize,
    },
    /// The replicated objects, and what this node has of every node's part.
    Objects,
    /// Readiness and figures of the node; status 1 when it is not ready.
    Status,
    /// Ends the node in order, as SIGTERM does.
    Drain,
}

impl Question {
    fn request(&self) -> (Method, String) {
        let (path, query) = match self {
            Self::Members => ("members", String::new()),
            Self::Links => ("links", String::new()),
            Self::Users { filter, limit } => (
                "users",
                query(&[
                    ("filter", filter.clone()),
                    ("limit", limit.map(|limit| limit.to_string())),
                ]),
            ),
            Self::Interest { prefix, limit } => (
                "interest",
                query(&[
                    ("prefix", prefix.clone()),
                    ("limit", Some(limit.to_string())),
                ]),
            ),
            Self::Objects => ("objects", String::new()),
            Self::Status => ("status", String::new()),
            Self::Drain => return (Method::POST, "/admin/drain".to_owned()),
        };
        (Method::GET, format!("/admin/{path}{query}"))
    }

    fn table(&self, answer: &Value) -> String {
        match self {
            Self::Members => show::members(answer),
            Self::Links => show::links(answer),
            Self::Users { .. } => show::users(answer),
            Self::Interest { .. } => show::interest(answer),
            Self::Objects => show::objects(answer),
            Self::Status => show::status(answer),
            Self::Drain => "the node drains\n".to_owned(),
        }
    }

    /// Whether the answer is what one hopes for.
    fn is_good(&self, answer: &Value) -> bool {
        !matches!(self, Self::Status) || answer["readiness"]["ready"] == true
    }
}

/// The query of a URL, with everything encoded that is not a letter or digit.
fn query(pairs: &[(&str, Option<String>)]) -> String {
    let mut out = String::new();
    for (key, value) in pairs {
        let Some(value) = value else { continue };
        out.push(if out.is_empty() { '?' } else { '&' });
        out += key;
        out.push('=');
        for byte in value.bytes() {
            if byte.is_ascii_alphanumeric() {
                out.push(char::from(byte));
            } else {
                out += &format!("%{byte:02X}");
            }
        }
    }
    out
}

impl CtlCommand {
    /// Asks, shows, and says how it went.
    pub(crate) async fn run(self) -> ExitCode {
        let (method, path) = self.question.request();
        let asked = async {
            let admin = Admin::new(&self.admin, self.token_file.as_deref())?;
            let timeout = Duration::from_millis(self.timeout_ms);
            admin.ask(method, &path, timeout).await
        };
        match asked.await {
            Ok(answer) => {
                let text = if self.json {
                    format!("{answer}\n")
                } else {
                    self.question.table(&answer)
                };
                // Nobody may be reading any more, as behind `head`.
                let _ = std::io::stdout().write_all(text.as_bytes());
                ExitCode::from(u8::from(!self.question.is_good(&answer)))
            }
            Err(error) => {
                eprintln!("halley ctl: {error}");
                ExitCode::from(match error {
                    AskError::Answer { .. } | AskError::Unreadable(_) => 1,
                    _ => STATUS_NOT_ASKED,
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_become_paths() {
        let users = Question::Users {
            filter: Some("a&b ü".into()),
            limit: Some(5),
        };
        assert_eq!(
            users.request().1,
            "/admin/users?filter=a%26b%20%C3%BC&limit=5"
        );
        let all = Question::Users {
            filter: None,
            limit: None,
        };
        assert_eq!(all.request().1, "/admin/users");
        assert_eq!(Question::Drain.request().0, Method::POST);
    }
}
