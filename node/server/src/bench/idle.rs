//! The idle load: sessions that do nothing, and what each costs the server in memory.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::Context as _;
use clap::Args;
use parking_lot::Mutex;
use tokio::time::sleep;

use super::{
    connections,
    open::open_sessions,
    process::{Processes, own_usage},
    report::Report,
    stamp::{Stamp, StampFinder},
    target::Targets,
};

/// How long the memory of the server is given to settle before it is read.
const SETTLING: Duration = Duration::from_secs(2);

/// The options of the idle load.
#[derive(Debug, Args)]
pub(super) struct Idle {
    /// Number of sessions, each with one subscription.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    sessions: u32,
    /// Seconds for which they are held.
    #[arg(long, default_value_t = 20.0)]
    hold: f64,
    /// Gives each session a channel of its own instead of one for all.
    #[arg(long)]
    distinct_channels: bool,
    /// Opens connections instead that have asked once and are in no session: what a connection of a long-polling client costs alone.
    #[arg(long, conflicts_with = "distinct_channels")]
    connections_only: bool,
    /// Longest wait for the sign of life of all sessions at the end, in seconds.
    #[arg(long, default_value_t = 30.0)]
    patience: f64,
}

impl Idle {
    fn channel(&self, session: usize) -> String {
        if self.distinct_channels {
            format!("/bench/idle/{session}")
        } else {
            "/bench/idle".to_owned()
        }
    }

    pub(super) async fn run(
        self,
        targets: &Targets,
        servers: &Processes,
    ) -> anyhow::Result<Report> {
        let count = self.sessions as usize;
        if self.connections_only {
            let hold = Duration::from_secs_f64(self.hold.clamp(0.0, 86_400.0));
            return connections::run(targets, servers, count, hold).await;
        }
        let empty = servers
            .usage()?
            .context("the idle load needs --server-pid")?;
        eprintln!("opening {count} sessions ...");
        let opening = Instant::now();
        // One publishes for all: with long-polling that takes a connection more.
        let publications = if self.distinct_channels { count } else { 1 };
        let opened = open_sessions(
            targets,
            count,
            |session| vec![self.channel(session)],
            |session| session < publications,
        )
        .await?;
        let opening = opening.elapsed();

        let alive = Arc::new(AtomicU64::new(0));
        let broken = Arc::new(Mutex::new(Vec::new()));
        let mut sessions = Vec::with_capacity(count);
        for (session, reader) in opened {
            sessions.push(session);
            let (alive, broken) = (alive.clone(), broken.clone());
            tokio::spawn(async move {
                let finder = StampFinder::new();
                let mut seen = false;
                let error = reader
                    .run(|text| {
                        if let Some(text) = text {
                            finder.each(text, |_| {
                                if !std::mem::replace(&mut seen, true) {
                                    alive.fetch_add(1, Ordering::Relaxed);
                                }
                            });
                        }
                    })
                    .await;
                broken.lock().push(error.to_string());
            });
        }
        sleep(SETTLING).await;
        let opened = servers.usage()?.unwrap_or_default();
        eprintln!("holding them for {} s ...", self.hold);
        let (held_from, own) = (Instant::now(), own_usage()?);
        sleep(Duration::from_secs_f64(self.hold.clamp(0.0, 86_400.0))).await;
        let held = servers.usage()?.unwrap_or_default();
        let (elapsed, own) = (held_from.elapsed(), (own, own_usage()?));

        for (number, session) in sessions.iter().enumerate().take(publications) {
            let stamp = Stamp {
                room: 0,
                publisher: 0,
                sequence: 1,
                micros: 0,
            };
            let mut batch = Vec::new();
            session.push_publication(&mut batch, &self.channel(number), &stamp, 0);
            session.publish(&mut batch);
        }
        let deadline = Instant::now() + Duration::from_secs_f64(self.patience.clamp(0.0, 86_400.0));
        while alive.load(Ordering::Relaxed) < count as u64 && Instant::now() < deadline {
            sleep(Duration::from_millis(20)).await;
        }
        let alive = alive.load(Ordering::Relaxed);
        let spoken = servers.usage()?.unwrap_or_default();
        let broken = broken.lock().clone();
        for session in &sessions {
            session.say_goodbye();
        }

        let per_session = |usage: super::process::Usage| {
            (usage.resident_bytes as f64 - empty.resident_bytes as f64) / count as f64
        };
        let mut report = Report::new("idle");
        report.count("sessions", "sessions", count as u64);
        report.figure(
            "sessions_per_second",
            "sessions opened",
            count as f64 / opening.as_secs_f64(),
            "/s",
        );
        report.figure(
            "empty_resident_bytes",
            "server memory before",
            empty.resident_bytes as f64,
            "bytes",
        );
        report.figure(
            "bytes_per_session",
            "memory per session, opened",
            per_session(opened),
            "bytes",
        );
        report.figure(
            "held_bytes_per_session",
            "memory per session, held",
            per_session(held),
            "bytes",
        );
        report.figure(
            "spoken_bytes_per_session",
            "memory per session, after use",
            per_session(spoken),
            "bytes",
        );
        let share = |used: Duration| 100.0 * used.as_secs_f64() / elapsed.as_secs_f64().max(1e-9);
        report.figure(
            "server_cpu_percent",
            "server CPU while held",
            share(held.cpu - opened.cpu),
            "% of one core",
        );
        report.figure(
            "generator_cpu_percent",
            "generator CPU while held",
            share(own.1.cpu - own.0.cpu),
            "% of one core",
        );
        report.count("alive", "sessions alive at the end", alive);
        if alive < count as u64 {
            report.fail(format!(
                "{} sessions gave no sign of life",
                count as u64 - alive
            ));
        }
        if let Some(first) = broken.first() {
            report.fail(format!(
                "{} sessions broke, the first with: {first}",
                broken.len()
            ));
        }
        Ok(report)
    }
}
