//! The storm: clients that come, publish and vanish without goodbye, over and over.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use clap::Args;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::time::{sleep, timeout};

use super::{
    process::{self, Processes, own_usage},
    report::{self, Report},
    session::{Sent, Session},
    stamp::{Stamp, StampFinder},
    target::{Target, Targets},
};

/// How long one life may take before it counts as an error.
const LIFE_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause after an error, so that a dead server is not hammered.
const ERROR_PAUSE: Duration = Duration::from_millis(200);

/// Different error texts that are kept apart.
const ERRORS_MAX: usize = 20;

/// The options of the storm.
#[derive(Debug, Args)]
pub(super) struct Storm {
    /// Clients at once.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..))]
    clients: u32,
    /// Messages that each publishes, and waits to receive, before it vanishes.
    #[arg(long, default_value_t = 3)]
    messages: u32,
    /// Seconds of storm.
    #[arg(long, default_value_t = 20.0)]
    duration: f64,
    /// Seconds to wait afterwards before the server's memory is read: longer than its sessions live unattended.
    #[arg(long, default_value_t = 15.0)]
    settle: f64,
}

#[derive(Debug, Default)]
struct Tally {
    over: AtomicBool,
    lives: AtomicU64,
    received: AtomicU64,
    errors: Mutex<BTreeMap<String, u64>>,
}

impl Tally {
    fn error(&self, text: String) {
        let mut errors = self.errors.lock();
        let kept = errors.len() < ERRORS_MAX || errors.contains_key(&text);
        *errors
            .entry(if kept {
                text
            } else {
                "other errors".to_owned()
            })
            .or_default() += 1;
    }
}

impl Storm {
    pub(super) async fn run(
        self,
        targets: &Targets,
        servers: &Processes,
    ) -> anyhow::Result<Report> {
        process::check_open_files(self.clients as usize)?;
        let tally = Arc::new(Tally::default());
        let opening = Arc::new(Mutex::new(report::histogram()));
        let before = (Instant::now(), servers.usage()?, own_usage()?);
        let tasks: Vec<_> = (0..self.clients)
            .map(|client| {
                let target = targets.of(client as usize).clone();
                tokio::spawn(lives(
                    client,
                    target,
                    self.messages,
                    tally.clone(),
                    opening.clone(),
                ))
            })
            .collect();
        eprintln!(
            "storm of {} clients for {} s ...",
            self.clients, self.duration
        );
        sleep(Duration::from_secs_f64(self.duration.clamp(0.0, 86_400.0))).await;
        tally.over.store(true, Ordering::Relaxed);
        let elapsed = before.0.elapsed();
        let (lives, received) = (
            tally.lives.load(Ordering::Relaxed),
            tally.received.load(Ordering::Relaxed),
        );
        let after = (servers.usage()?, own_usage()?);
        for task in tasks {
            // A panic in there is a defect of this tool and was printed.
            let _ = task.await;
        }
        if !servers.is_empty() {
            eprintln!("letting the server settle for {} s ...", self.settle);
            sleep(Duration::from_secs_f64(self.settle.clamp(0.0, 86_400.0))).await;
        }
        let settled = servers.usage()?;

        let mut report = Report::new("storm");
        report.count("clients", "clients at once", self.clients.into());
        report.count("lives", "sessions", lives);
        report.figure(
            "lives_per_second",
            "sessions",
            lives as f64 / elapsed.as_secs_f64(),
            "/s",
        );
        report.figure(
            "messages_per_second",
            "messages",
            received as f64 / elapsed.as_secs_f64(),
            "/s",
        );
        if let (Some(before), Some(settled)) = (before.1, settled) {
            report.figure(
                "resident_bytes_before",
                "server memory before",
                before.resident_bytes as f64,
                "bytes",
            );
            report.figure(
                "resident_bytes_settled",
                "server memory, settled",
                settled.resident_bytes as f64,
                "bytes",
            );
        }
        report.cpu(
            before.1.zip(after.0),
            (before.2, after.1),
            elapsed,
            received,
        );
        report.latency("time to a session", opening.lock().clone());
        let errors = tally.errors.lock();
        report.count("errors", "errors", errors.values().sum());
        for (error, count) in errors.iter() {
            report.fail(format!("{count} times: {error}"));
        }
        Ok(report)
    }
}

async fn lives(
    client: u32,
    target: Target,
    messages: u32,
    tally: Arc<Tally>,
    opening: Arc<Mutex<Histogram<u64>>>,
) {
    let mut number = 0_u32;
    while !tally.over.load(Ordering::Relaxed) {
        let life = life(client, number, &target, messages, &tally, &opening);
        let outcome = match timeout(LIFE_TIMEOUT, life).await {
            Ok(outcome) => outcome,
            Err(_elapsed) => Err(anyhow::anyhow!(
                "a life took longer than {} s",
                LIFE_TIMEOUT.as_secs()
            )),
        };
        match outcome {
            Ok(()) => {
                tally.lives.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                tally.error(format!("{error:#}"));
                sleep(ERROR_PAUSE).await;
            }
        }
        number = number.wrapping_add(1);
    }
}

/// Comes, subscribes, publishes to itself, and vanishes: every other time with a reset.
async fn life(
    client: u32,
    number: u32,
    target: &Target,
    messages: u32,
    tally: &Tally,
    opening: &Mutex<Histogram<u64>>,
) -> anyhow::Result<()> {
    let channel = format!("/bench/storm/{client}");
    let start = Instant::now();
    let (session, reader) = Session::open(target, std::slice::from_ref(&channel), true).await?;
    opening
        .lock()
        .saturating_record(start.elapsed().as_micros().max(1) as u64);
    if number % 2 == 1 {
        session.reset_on_drop();
    }
    for sequence in 1..=messages {
        let stamp = Stamp {
            room: 0,
            publisher: 0,
            sequence: number.wrapping_add(sequence),
            micros: 0,
        };
        let mut batch = Vec::new();
        session.push_publication(&mut batch, &channel, &stamp, 50);
        if session.publish(&mut batch) == Sent::Stalled {
            anyhow::bail!("the server takes no bytes");
        }
    }
    if messages == 0 {
        return Ok(());
    }
    let finder = StampFinder::new();
    let (done, all) = tokio::sync::oneshot::channel();
    let mut done = Some(done);
    let mut seen = 0;
    let reading = reader.run(|text| {
        if let Some(text) = text {
            finder.each(text, |_| seen += 1);
        }
        if seen >= messages
            && let Some(done) = done.take()
        {
            let _ = done.send(seen);
        }
    });
    tokio::select! {
        error = reading => Err(error),
        seen = all => {
            tally.received.fetch_add(seen.unwrap_or(0).into(), Ordering::Relaxed);
            Ok(())
        }
    }
}
