//! `halley bench`: load for any Bayeux server, over WebSocket or long-polling, and figures about how it bears it.
//!
//! The generator often shares its machine with the server, so it is kept cheap: one thread by default, sessions
//! without timers or queues of their own, frames found by a byte search instead of a JSON parser. Its own CPU stands
//! beside each result.
//!
//! Each publication carries a stamp (room, publisher, sequence, instant); a receiver checks that the sequence of each
//! publisher in each of its rooms has no gap and no repetition, so a clean result means that every delivery came
//! once and in order.

mod connections;
mod fan_out;
mod floor;
mod frame;
mod http_lines;
mod idle;
mod line;
mod nats;
mod open;
mod ping_pong;
mod process;
mod report;
mod session;
mod stamp;
mod storm;
mod target;
mod wire;

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, Subcommand};

use self::{
    process::Processes,
    report::Report,
    target::{Connecting, Targets},
};

/// Puts load on a Bayeux server and measures.
#[derive(Debug, Args)]
pub struct BenchCommand {
    #[command(subcommand)]
    mode: Mode,
    #[command(flatten)]
    common: Common,
}

#[derive(Debug, Args)]
struct Common {
    /// Servers as ws://host:port/path, wss://, http:// or https://, separated by commas; clients are spread over them.
    /// The transport is chosen by --transport alone; nats://host:port puts the same load on a NATS server, to compare with.
    #[arg(
        long,
        global = true,
        value_delimiter = ',',
        default_value = "ws://127.0.0.1:8080/cometd"
    )]
    url: Vec<String>,
    #[command(flatten)]
    connecting: Connecting,
    /// A server's process on this machine, whose CPU and memory are read; may be repeated.
    #[arg(long, visible_alias = "pid", global = true)]
    server_pid: Vec<u32>,
    /// Writes the result to this file as JSON.
    #[arg(long, global = true, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Threads of the generator.
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=64))]
    threads: u8,
}

#[derive(Debug, Subcommand)]
enum Mode {
    /// Rooms full of clients, publications at a steady rate: rate, latency, losses, CPU per delivery.
    FanOut(fan_out::FanOut),
    /// Many sessions that do nothing: memory per session.
    Idle(idle::Idle),
    /// One message at a time from a publisher to a subscriber: latency without load.
    PingPong(ping_pong::PingPong),
    /// Clients that come, publish and vanish without goodbye: rates and errors.
    Storm(storm::Storm),
    /// A bare server for the fan-out load, to compare others with.
    Floor(floor::Floor),
}

impl BenchCommand {
    /// Runs the load, prints what was measured and stops by itself.
    ///
    /// # Errors
    /// When the server cannot be reached, or deliveries are missing or repeated.
    pub async fn run(self) -> anyhow::Result<()> {
        let work = move || {
            // A runtime of its own: the number of threads is part of the measurement.
            let mut builder = match self.common.threads {
                1 => tokio::runtime::Builder::new_current_thread(),
                _ => tokio::runtime::Builder::new_multi_thread(),
            };
            let runtime = builder
                .worker_threads(self.common.threads.into())
                .enable_all()
                .build()?;
            runtime.block_on(self.measure())
        };
        tokio::task::spawn_blocking(work)
            .await
            .context("the generator failed")?
    }

    async fn measure(self) -> anyhow::Result<()> {
        let targets = Targets::parse(&self.common.url, &self.common.connecting)?;
        let processes = Processes::new(self.common.server_pid);
        processes.check()?;
        let report: Report = match self.mode {
            Mode::FanOut(mode) => {
                mode.run(&targets, &processes, self.common.threads.into())
                    .await?
            }
            Mode::Idle(mode) => mode.run(&targets, &processes).await?,
            Mode::PingPong(mode) => mode.run(&targets).await?,
            Mode::Storm(mode) => mode.run(&targets, &processes).await?,
            Mode::Floor(mode) => mode.run().await?,
        };
        print!("{report}");
        if let Some(file) = &self.common.json {
            std::fs::write(file, report.json()?)
                .with_context(|| format!("cannot write {}", file.display()))?;
        }
        match report.fault() {
            Some(fault) => Err(anyhow::anyhow!("{fault}")),
            None => Ok(()),
        }
    }
}
