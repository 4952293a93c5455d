//! The command line of the binary.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::bench::BenchCommand;
use crate::config::{self, Config};
use crate::ctl::CtlCommand;
use crate::dev::{DevCommand, stdin_closed};
use crate::logs;
use crate::node::Node;
use crate::ws_echo::WsEchoCommand;

/// Exit status for a configuration that cannot be used.
const STATUS_CONFIGURATION: u8 = 2;

/// A clustered Bayeux messaging node.
#[derive(Debug, Parser)]
#[command(name = "halley", version, about)]
pub struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts a local cluster with the demonstration page on each node; Ctrl-C ends all.
    Dev(DevCommand),
    /// Puts load on any Bayeux server and measures.
    Bench(Box<BenchCommand>),
    /// Echoes WebSocket messages with the node's own WebSocket stack, for conformance suites.
    WsEcho(WsEchoCommand),
    /// Asks a running node on its admin address: 0 done, 1 the node says no, 2 it could not be asked.
    Ctl(CtlCommand),
    /// Runs one node.
    Serve {
        /// The configuration, TOML. Without it: defaults and the environment.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Drains, as on SIGTERM, when standard input reaches its end: for whoever starts nodes and must not outlive them.
        #[arg(long, hide = true)]
        until_stdin_closes: bool,
    },
    /// Prints every option with its default, or checks a file.
    Config {
        /// Checks this file, with the environment on top, instead of printing.
        #[arg(long, value_name = "FILE")]
        check: Option<PathBuf>,
    },
}

/// Runs the command; the status is 0, 2 for a configuration error, or 1 for anything else.
#[must_use]
pub fn run(line: CommandLine) -> ExitCode {
    match line.command {
        Command::Dev(dev) => with_runtime(dev.run()),
        Command::Bench(bench) => with_runtime(async move {
            bench.run().await?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::WsEcho(echo) => with_runtime(async move {
            echo.run().await?;
            Ok(ExitCode::SUCCESS)
        }),
        Command::Ctl(ctl) => with_runtime(async move { Ok(ctl.run().await) }),
        Command::Serve {
            config,
            until_stdin_closes,
        } => serve(config.as_deref(), until_stdin_closes),
        Command::Config { check: Some(file) } => match load(Some(&file)) {
            Ok(_) => {
                println!("{}: valid", file.display());
                ExitCode::SUCCESS
            }
            Err(status) => status,
        },
        Command::Config { check: None } => {
            print!("{}", config::reference());
            ExitCode::SUCCESS
        }
    }
}

/// Reads the configuration; on failure writes every error to standard error.
fn load(file: Option<&Path>) -> Result<Config, ExitCode> {
    let environment = config::environment();
    let config = match file {
        Some(file) => Config::from_file(file, environment),
        None => Config::from_text("", environment),
    };
    config.map_err(|error| {
        match file {
            Some(file) => eprintln!("configuration error in {}:\n{error}", file.display()),
            None => eprintln!("configuration error:\n{error}"),
        }
        ExitCode::from(STATUS_CONFIGURATION)
    })
}

fn serve(file: Option<&Path>, until_stdin_closes: bool) -> ExitCode {
    let config = match load(file) {
        Ok(config) => config,
        Err(status) => return status,
    };
    logs::start(&config.log);
    with_runtime(async move {
        match serve_until_told(config, until_stdin_closes).await {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(error) => {
                // Told in the log, in its format.
                error!("{error:#}");
                Ok(ExitCode::FAILURE)
            }
        }
    })
}

/// Runs a command to its end; its error is written to standard error.
fn with_runtime(command: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("cannot start the runtime: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(command);
    // Whatever a drain had to leave behind ends with the process.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        eprintln!("halley: {error:#}");
        ExitCode::FAILURE
    })
}

async fn serve_until_told(config: Config, until_stdin_closes: bool) -> anyhow::Result<()> {
    // Before the node is up, so that a signal during the start is not lost.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let node = Node::builder().config(config).start().await?;
    let mut closed = std::pin::pin!(stdin_closed());
    let why = loop {
        tokio::select! {
            _ = terminate.recv() => break "SIGTERM",
            _ = interrupt.recv() => break "SIGINT",
            () = node.drain_requested() => break "the admin address",
            closed = closed.as_mut(), if until_stdin_closes => { closed?; break "the end of standard input" }
            _ = hangup.recv() => {
                info!("SIGHUP: files are read again");
                node.reload().await;
            }
        }
    };
    info!(by = why, "drain begins");
    tokio::select! {
        () = node.drain() => Ok(()),
        // A second signal means now.
        _ = terminate.recv() => Err(anyhow::anyhow!("a second SIGTERM cut the drain short")),
        _ = interrupt.recv() => Err(anyhow::anyhow!("a second SIGINT cut the drain short")),
    }
}
