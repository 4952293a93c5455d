//! What must hold in `[security]` beyond types: one way to recognise clients, keys that can be used, patterns that mean something.

use std::collections::BTreeSet;
use std::path::Path;

use halley_bayeux::ChannelKind;

use super::check::{Secret, read_trimmed};
use super::load::Problem;
use super::types::{Config, PolicyKind, TokenAlgorithm};
use crate::security;

/// Checks the section, reads the hooks' token, and notes everything that is wrong.
pub(super) fn check(config: &mut Config, problems: &mut Vec<Problem>) {
    let policy = config.security.policy;
    if policy != PolicyKind::Anonymous && config.seti.trust_handshake_user {
        problems.push(Problem::new(
            "seti.trust_handshake_user",
            "is on, but users are recognised by security.policy",
        ));
    }
    jwt(config, problems);
    hooks(config, problems);
    channels(config, problems);
}

fn jwt(config: &Config, problems: &mut Vec<Problem>) {
    let jwt = &config.security.jwt;
    let files = [&jwt.secret_file, &jwt.public_key_file, &jwt.jwks_file];
    let has_key = files.iter().any(|file| file.is_some()) || jwt.jwks_url.is_some();
    if config.security.policy != PolicyKind::Jwt {
        if has_key || !jwt.algorithms.is_empty() {
            problems.push(Problem::new(
                "security.policy",
                "must be \"jwt\", since security.jwt is filled in",
            ));
        }
        return;
    }
    for (key, claim) in [
        ("security.jwt.user_claim", &jwt.user_claim),
        ("security.jwt.roles_claim", &jwt.roles_claim),
    ] {
        if claim.is_empty() {
            problems.push(Problem::new(key, "must not be empty"));
        }
    }
    if jwt.algorithms.is_empty() {
        // Unless what was named is wrong, which has been told.
        if problems
            .iter()
            .all(|problem| problem.key != "security.jwt.algorithms")
        {
            problems.push(Problem::new(
                "security.jwt.algorithms",
                "name the algorithms that tokens are signed with: the token alone does not decide",
            ));
        }
        return;
    }
    if !has_key {
        problems.push(Problem::new(
            "security.jwt",
            "a key is needed: secret_file, public_key_file, jwks_file or jwks_url",
        ));
        return;
    }
    if jwt.secret_file.is_some() && !jwt.algorithms.contains(&TokenAlgorithm::Hs256) {
        problems.push(Problem::new(
            "security.jwt.secret_file",
            "is for HS256, which security.jwt.algorithms does not name",
        ));
        return;
    }
    if let Some(Err(what)) = jwt.jwks_url.as_deref().map(security::hook_address) {
        problems.push(Problem::new("security.jwt.jwks_url", what));
    }
    if let Err(faults) = security::load_keys(jwt) {
        problems.extend(
            faults
                .into_iter()
                .map(|fault| Problem::new(fault.key, fault.what)),
        );
    }
}

fn hooks(config: &mut Config, problems: &mut Vec<Problem>) {
    let policy = config.security.policy;
    let hooks = &mut config.security.hooks;
    let mut any = false;
    for (key, address) in hooks.addresses() {
        let Some(address) = address else { continue };
        any = true;
        if let Err(what) = security::hook_address(address) {
            problems.push(Problem::new(key, what));
        }
    }
    match policy {
        PolicyKind::Hooks if !any => problems.push(Problem::new(
            "security.hooks",
            "an address is needed: handshake, subscribe or publish",
        )),
        PolicyKind::Anonymous | PolicyKind::Jwt if any => problems.push(Problem::new(
            "security.policy",
            "must be \"hooks\", since security.hooks has addresses",
        )),
        _ => {}
    }
    header_names(&mut hooks.headers, "security.hooks.headers", problems);
    if let Some(file) = &hooks.token_file {
        hooks.token = token(file, "security.hooks.token_file", problems);
    }
}

/// Writes the names in lower case, each once.
pub(super) fn header_names(
    names: &mut Vec<String>,
    key: &'static str,
    problems: &mut Vec<Problem>,
) {
    for name in names.iter_mut() {
        match http::HeaderName::from_bytes(name.as_bytes()) {
            Ok(known) => known.as_str().clone_into(name),
            Err(_) => problems.push(Problem::new(
                key,
                format!("{name:?} is not the name of a header"),
            )),
        }
    }
    names.sort_unstable();
    names.dedup();
}

/// The token that a node shows to hooks.
pub(super) fn token(file: &Path, key: &'static str, problems: &mut Vec<Problem>) -> Option<Secret> {
    match read_trimmed(file) {
        Ok(token) if token.is_empty() || !token.iter().all(u8::is_ascii_graphic) => {
            problems.push(Problem::new(
                key,
                "the file must hold one line of visible ASCII characters",
            ));
            None
        }
        Ok(token) => Some(Secret::new(token)),
        Err(error) => {
            problems.push(Problem::new(key, error));
            None
        }
    }
}

fn channels(config: &Config, problems: &mut Vec<Problem>) {
    let mut seen = BTreeSet::new();
    for (at, rule) in config.security.channels.iter().enumerate() {
        let place = format!("security.channels[{}]", at + 1);
        if let Some(pattern) = &rule.pattern {
            let text = pattern.as_str();
            if pattern.kind() == ChannelKind::Meta || pattern.is_internal() {
                problems.push(Problem::new(
                    format!("{place}.pattern"),
                    format!("{text} is never open to clients"),
                ));
            } else if text.contains(['{', '}']) {
                problems.push(Problem::new(
                    format!("{place}.pattern"),
                    format!(
                        "{text}: variables are not patterns, write * or ** as the last segment"
                    ),
                ));
            } else if !seen.insert(text) {
                problems.push(Problem::new(
                    format!("{place}.pattern"),
                    format!("{text} has a rule already"),
                ));
            }
        }
        let lists = [
            ("subscribe", Some(&rule.subscribe)),
            ("publish", Some(&rule.publish)),
            ("create", rule.create.as_ref()),
        ];
        for (name, roles) in lists {
            if roles.is_some_and(|roles| roles.iter().any(String::is_empty)) {
                problems.push(Problem::new(
                    format!("{place}.{name}"),
                    "a role must not be empty",
                ));
            }
        }
    }
}
