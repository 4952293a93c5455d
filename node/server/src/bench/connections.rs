//! Connections that have asked once and are in no session: what a connection costs alone, beside what a held connect adds to it.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;

use super::{
    http_lines,
    line::Line,
    open::OPENING_MAX,
    process::{self, Processes},
    report::Report,
    target::{Protocol, Target, Targets},
};

/// A connect of a session that does not exist: the server answers it at once and remembers nothing.
const QUESTION: &[u8] =
    br#"[{"channel":"/meta/connect","id":"1","clientId":"nobody","connectionType":"long-polling"}]"#;

/// Opens `count` connections, holds them for `hold` and measures the server's memory.
pub(super) async fn run(
    targets: &Targets,
    servers: &Processes,
    count: usize,
    hold: Duration,
) -> anyhow::Result<Report> {
    process::check_open_files(count)?;
    let empty = servers
        .usage()?
        .context("the idle load needs --server-pid")?;
    eprintln!("opening {count} connections ...");
    let mut opening = stream::iter(0..count)
        .map(|number| open(targets.of(number)))
        .buffer_unordered(OPENING_MAX);
    let mut lines = Vec::with_capacity(count);
    while let Some(line) = opening.next().await {
        lines.push(line?);
    }
    sleep(hold).await;
    let held = servers.usage()?.unwrap_or_default();
    let mut report = Report::new("idle connections");
    report.count("connections", "connections", lines.len() as u64);
    report.figure(
        "held_bytes_per_session",
        "memory per connection, held",
        (held.resident_bytes as f64 - empty.resident_bytes as f64) / count as f64,
        "bytes",
    );
    Ok(report)
}

/// A connection on which one request has been answered.
async fn open(target: &Target) -> anyhow::Result<Line> {
    ensure!(
        target.protocol == Protocol::LongPolling,
        "--connections-only goes with --transport long-polling"
    );
    let line = Line::new(target.connect().await?);
    let mut request = Vec::new();
    let head = http_lines::post_head(&target.path, &target.authority, None);
    http_lines::push_post(&mut request, &head, QUESTION);
    line.send_now(&request).await?;
    let (mut decoder, mut answered) = (http_lines::Decoder::default(), false);
    while !answered {
        line.read(|bytes| decoder.feed(bytes, |_| answered = true))
            .await?;
    }
    Ok(line)
}
