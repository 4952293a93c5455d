//! The timesync extension (reference 8.5): what a client needs to know the node's time.

use crate::message::member;
use crate::reply::Reply;
use std::fmt::Write as _;

/// A client whose clock is off by less is told nothing.
const ACCURACY_MS: i64 = 25;

const FIELD: &str = "timesync";

/// Notes in `reply` what the client asked for, if it asked; `unix_ms` is the present time. The last part is added by [`complete`].
pub(crate) fn begin(ext: Option<&str>, reply: &mut Reply<'_>, unix_ms: u64) {
    let Some(asked) = ext
        .and_then(|ext| member(ext, FIELD))
        .filter(|raw| raw.starts_with('{'))
    else {
        return;
    };
    let number = |name| {
        let raw: &str = member(asked, name)?;
        Some((raw, raw.parse::<f64>().ok()? as i64))
    };
    let Some((raw, client_ms)) = number("tc") else {
        return;
    };
    let mut text = format!("{{\"tc\":{raw},\"ts\":{unix_ms}");
    if let Some((_, lag)) = number("l") {
        let Some((_, offset)) = number("o") else {
            return;
        };
        let ours = i64::try_from(unix_ms).unwrap_or(i64::MAX);
        let accuracy = client_ms
            .saturating_add(offset)
            .saturating_add(lag)
            .saturating_sub(ours);
        if lag != 0 && accuracy.saturating_abs() < ACCURACY_MS {
            return;
        }
        // Writing to a String does not fail.
        let _ = write!(text, ",\"a\":{accuracy}");
    }
    reply.set_ext_raw(FIELD, text);
}

/// Adds how long the node had the message.
pub(crate) fn complete(reply: &mut Reply<'_>, processed_ms: u64) {
    if let Some((_, value)) = reply
        .ext
        .iter_mut()
        .find(|(name, value)| &**name == FIELD && !value.ends_with('}'))
    {
        *value = format!("{value},\"p\":{processed_ms}}}").into();
    }
}
