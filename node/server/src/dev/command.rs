//! The command itself: start, report, wait, end.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::browser;
use super::node_process::{NodeProcess, how};
use super::plan::Plan;
use super::ready::ready;

/// How long a node may take to be ready.
const START: Duration = Duration::from_secs(30);
/// Lines of a log that are shown when its node does not start.
const LINES: usize = 12;

/// Start a local cluster of real node processes with the demonstration page on each; Ctrl-C ends all.
#[derive(Debug, Clone, clap::Args)]
pub struct DevCommand {
    /// How many nodes.
    #[arg(long, default_value_t = 3, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=32))]
    nodes: u16,
    /// Port for the clients of the first node; the next nodes use the ports after it.
    #[arg(long, default_value_t = 8081, value_name = "PORT")]
    client_port: u16,
    /// Open the first node's page in a browser.
    #[arg(long)]
    open: bool,
}

impl DevCommand {
    /// Runs until Ctrl-C or SIGTERM, or until no node is left.
    ///
    /// # Errors
    /// A port is in use, a node cannot be started or does not become ready.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        // Before the first node starts: a signal that comes early must end what there is.
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let stop = CancellationToken::new();
        let plan = Plan::make(self.nodes, self.client_port)?;
        say(&format!(
            "{} on this machine, logs and configuration in {}",
            nodes(self.nodes),
            plan.folder.display()
        ));

        let mut running = JoinSet::new();
        for node in &plan.nodes {
            let node = NodeProcess::start(node.clone())?;
            running.spawn(watch(node, stop.clone()));
        }
        let mut left = self.nodes;
        let mut waiting = self.nodes;
        let mut failed = false;
        let mut stopped = false;
        while left > 0 {
            let event = tokio::select! {
                event = running.join_next() => event,
                _ = interrupt.recv(), if !stopped => { stopped = true; None }
                _ = terminate.recv(), if !stopped => { stopped = true; None }
            };
            let Some(event) = event else {
                stop.cancel();
                say("Ending the nodes.");
                continue;
            };
            match event.context("a task that watches a node failed")? {
                Event::Ready(node) => {
                    say(&format!(
                        "node {} ready: {} (pid {})",
                        node.plan.name,
                        node.plan.page(),
                        node.pid().unwrap_or_default()
                    ));
                    waiting -= 1;
                    if waiting == 0 {
                        say("All nodes are ready. Open any of them; Ctrl-C ends all.");
                    }
                    if self.open && node.plan.name == "n1" {
                        let page = node.plan.page();
                        browser::open(&page).unwrap_or_else(|error| {
                            say(&format!("no browser could be started: {error}"))
                        });
                    }
                    running.spawn(until_end(node, stop.clone()));
                }
                Event::NotReady(..) if stopped => left -= 1,
                Event::NotReady(node, status) => {
                    stop.cancel();
                    let text = format!(
                        "node {} did not start ({}); {} ends with:\n{}",
                        node.plan.name,
                        status,
                        node.plan.log.display(),
                        node.last_lines(LINES)
                    );
                    while running.join_next().await.is_some() {}
                    bail!(text);
                }
                Event::Ended(name, status) => {
                    left -= 1;
                    if !stopped {
                        failed = true;
                        say(&format!("node {name} ended ({status})"));
                    }
                }
            }
        }
        if failed {
            say(&format!(
                "The files of the nodes stay in {}",
                plan.folder.display()
            ));
        } else {
            let _ = std::fs::remove_dir_all(&plan.folder);
        }
        if stopped {
            return Ok(ExitCode::SUCCESS);
        }
        say("No node is left.");
        Ok(ExitCode::FAILURE)
    }
}

enum Event {
    /// The node answers; it goes on.
    Ready(Box<NodeProcess>),
    /// The node ended or was silent before it was ready.
    NotReady(Box<NodeProcess>, String),
    /// The node ended: its name and how.
    Ended(String, String),
}

/// From the start of a node to its readiness.
async fn watch(mut node: NodeProcess, stop: CancellationToken) -> Event {
    let admin = node.plan.admin;
    tokio::select! {
        () = ready(admin) => Event::Ready(Box::new(node)),
        status = node.ended() => Event::NotReady(Box::new(node), how(&status)),
        () = tokio::time::sleep(START) => {
            let _ = node.end().await;
            Event::NotReady(Box::new(node), format!("not ready after {} s", START.as_secs()))
        }
        () = stop.cancelled() => {
            let status = node.end().await;
            Event::Ended(node.plan.name.clone(), how(&status))
        }
    }
}

/// From readiness to the end of a node.
async fn until_end(mut node: Box<NodeProcess>, stop: CancellationToken) -> Event {
    let status = tokio::select! {
        status = node.ended() => status,
        () = stop.cancelled() => node.end().await,
    };
    Event::Ended(node.plan.name.clone(), how(&status))
}

fn nodes(count: u16) -> String {
    if count == 1 {
        "1 node".into()
    } else {
        format!("{count} nodes")
    }
}

/// A line for the user. Nobody may be reading any more; that is no reason to leave nodes behind.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
