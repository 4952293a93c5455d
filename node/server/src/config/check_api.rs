//! What must hold in `[api]` beyond types, and the files with the tokens of the applications.

use std::path::Path;

use halley_bayeux::ChannelKind;

use super::check::{Token, read_trimmed};
use super::load::Problem;
use super::types::Config;

/// The least number of characters of a token.
const TOKEN_CHARACTERS_MIN: usize = 32;

/// Most tokens of one application at one time: one that is replaced, and those that follow it.
const TOKENS_MAX: usize = 4;

/// Longest name of an application.
const NAME_CHARACTERS_MAX: usize = 64;

/// The tokens of one application.
pub(crate) type ApiKeys = Vec<Token>;

/// Checks the section, reads the tokens, and notes everything that is wrong.
pub(super) fn check(config: &mut Config, problems: &mut Vec<Problem>) {
    let api = &config.api;
    match (api.listen, api.tokens.is_empty()) {
        (Some(_), true) => problems.push(Problem::new(
            "api.tokens",
            "a token is needed, since api.listen is set: add a [[api.tokens]]",
        )),
        (None, false) => problems.push(Problem::new(
            "api.listen",
            "is needed, since api.tokens is filled in",
        )),
        _ => {}
    }
    if api.tls && config.client.tls.certificate.is_none() {
        problems.push(Problem::new(
            "api.tls",
            "needs a certificate: client.tls.certificate and client.tls.key",
        ));
    }
    let mut keys: Vec<ApiKeys> = Vec::new();
    for (at, token) in api.tokens.iter().enumerate() {
        let mut problem =
            |key: &str, what: String| problems.push(Problem::new(place(at, key), what));
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if token.name.is_empty()
            || token.name.len() > NAME_CHARACTERS_MAX
            || !token.name.bytes().all(plain)
        {
            problem(
                "name",
                format!(
                    "{:?} is not a name of 1 to {NAME_CHARACTERS_MAX} letters, digits, `-`, `_` and `.`",
                    token.name
                ),
            );
        }
        if api.tokens[..at]
            .iter()
            .any(|other| other.name == token.name)
        {
            problem("name", format!("{} has a token already", token.name));
        }
        if token.roles.is_empty() {
            problem("roles", "name at least one role".to_owned());
        }
        for channel in &token.channels {
            if channel.kind() == ChannelKind::Meta || channel.is_internal() {
                problem(
                    "channels",
                    format!("{channel} is never open to applications"),
                );
            }
        }
        let read = token.token_file.as_deref().map(read_api_keys);
        keys.push(match read {
            Some(Ok(tokens)) => tokens,
            Some(Err(what)) => {
                problem("token_file", what);
                Vec::new()
            }
            None => Vec::new(),
        });
    }
    if let Some(at) = ambiguous(&keys) {
        problems.push(Problem::new(
            place(at, "token_file"),
            "holds a token of another application: each needs its own",
        ));
    }
    config.api.keys = keys;
}

fn place(at: usize, key: &str) -> String {
    format!("api.tokens[{}].{key}", at + 1)
}

/// The first application of which a token is also one of an application before it.
pub(crate) fn ambiguous(keys: &[ApiKeys]) -> Option<usize> {
    (1..keys.len()).find(|at| {
        let before = keys[..*at].iter().flatten();
        before.clone().any(|token| keys[*at].contains(token))
    })
}

/// Reads the file of one application. The error says what to do.
pub(crate) fn read_api_keys(file: &Path) -> Result<ApiKeys, String> {
    let text = read_trimmed(file)?;
    let lines = text.split(|b| *b == b'\n').map(<[u8]>::trim_ascii);
    let mut tokens = ApiKeys::new();
    for line in lines.filter(|line| !line.is_empty()) {
        if line.len() < TOKEN_CHARACTERS_MIN || !line.iter().all(u8::is_ascii_graphic) {
            return Err(format!(
                "{} must hold one token per line, each of at least {TOKEN_CHARACTERS_MIN} visible ASCII characters",
                file.display()
            ));
        }
        tokens.push(Token::new(line.to_vec()));
    }
    match tokens.len() {
        0 => Err(format!("{} is empty", file.display())),
        1..=TOKENS_MAX => Ok(tokens),
        more => Err(format!(
            "{} holds {more} tokens, at most {TOKENS_MAX} are accepted at one time",
            file.display()
        )),
    }
}
