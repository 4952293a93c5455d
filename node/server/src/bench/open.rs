//! Opening many sessions, some at a time.

use std::sync::Arc;

use anyhow::Context as _;
use futures_util::{StreamExt, stream};

use super::{
    process,
    session::{Reader, Session},
    target::Targets,
};

/// Sessions that are being opened at once: enough to keep a server busy, few enough for any accept backlog.
pub(super) const OPENING_MAX: usize = 64;

/// Opens `count` sessions spread over the targets; the channels of each come from `channels`, and whether it will publish from
/// `publishes`. In order of number.
///
/// # Errors
/// When any of them cannot be opened.
pub(super) async fn open_sessions(
    targets: &Targets,
    count: usize,
    channels: impl Fn(usize) -> Vec<String>,
    publishes: impl Fn(usize) -> bool,
) -> anyhow::Result<Vec<(Arc<Session>, Reader)>> {
    process::check_open_files(count)?;
    let (channels, publishes) = (&channels, &publishes);
    let mut opening = stream::iter(0..count)
        .map(|client| async move {
            Session::open(targets.of(client), &channels(client), publishes(client))
                .await
                .with_context(|| {
                    format!("session {client} of {count} at {}", targets.of(client).url)
                })
        })
        .buffered(OPENING_MAX);
    let mut sessions = Vec::with_capacity(count);
    while let Some(session) = opening.next().await {
        sessions.push(session?);
    }
    Ok(sessions)
}
