//! What must hold in `[services]` beyond types: patterns of service channels, each once, and addresses that can be called.

use std::collections::BTreeSet;

use halley_bayeux::ChannelKind;

use super::check_security::{header_names, token};
use super::load::Problem;
use super::types::Config;
use crate::security;
use crate::services::DIRECT_CHANNEL;

/// Checks the section, reads the token, and notes everything that is wrong.
pub(super) fn check(config: &mut Config, problems: &mut Vec<Problem>) {
    let services = &mut config.services;
    if let Some(file) = &services.token_file {
        services.token = token(file, "services.token_file", problems);
    }
    header_names(&mut services.headers, "services.headers", problems);
    let mut seen = BTreeSet::new();
    for (at, hook) in services.hooks.iter().enumerate() {
        let place = format!("services.hooks[{}]", at + 1);
        if let Some(pattern) = &hook.pattern {
            let text = pattern.as_str();
            let wrong = if pattern.kind() != ChannelKind::Service {
                Some(format!(
                    "{text} is not a service channel such as \"/service/app/**\""
                ))
            } else if text.contains(['{', '}']) {
                Some(format!(
                    "{text}: variables are not patterns, write * or ** as the last segment"
                ))
            } else if config.seti.direct && text == DIRECT_CHANNEL {
                Some(format!("{text} is answered by the node (seti.direct)"))
            } else if !seen.insert(text) {
                Some(format!("{text} has a row already"))
            } else {
                None
            };
            problems.extend(wrong.map(|what| Problem::new(format!("{place}.pattern"), what)));
        }
        if let Some(Err(what)) = hook.url.as_deref().map(security::hook_address) {
            problems.push(Problem::new(format!("{place}.url"), what));
        }
    }
}
