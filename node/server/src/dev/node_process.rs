//! One node as a process of its own.

use std::fs::File;
use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::Context;
use tokio::process::{Child, ChildStdin, Command};
use tokio::time::timeout;

use super::plan::NodePlan;

/// How long a node may take to drain after it was told to end; its configured drain is shorter.
const END: Duration = Duration::from_secs(8);

/// A running node. Dropped, it is killed.
#[derive(Debug)]
pub(super) struct NodeProcess {
    pub(super) plan: NodePlan,
    child: Child,
    /// Closed to tell the node to end; closed by the system when this process goes.
    stdin: Option<ChildStdin>,
}

impl NodeProcess {
    /// Starts the node; its output goes to its log file.
    ///
    /// # Errors
    /// The process could not be started.
    pub(super) fn start(plan: NodePlan) -> anyhow::Result<Self> {
        let log = File::create(&plan.log)
            .with_context(|| format!("cannot write {}", plan.log.display()))?;
        let program = std::env::current_exe().context("cannot tell where this program is")?;
        let mut child = Command::new(&program)
            .arg("serve")
            .arg("--config")
            .arg(&plan.config)
            .arg("--until-stdin-closes")
            .stdin(Stdio::piped())
            .stdout(log.try_clone()?)
            .stderr(log)
            // A group of its own: Ctrl-C reaches this process alone, which then ends the nodes in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let stdin = child.stdin.take();
        Ok(Self { plan, child, stdin })
    }

    pub(super) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Resolves when the process has ended by itself. Cancel-safe.
    pub(super) async fn ended(&mut self) -> std::io::Result<ExitStatus> {
        self.child.wait().await
    }

    /// Tells the node to drain and to end, and waits for it; one that does not in time is killed.
    pub(super) async fn end(&mut self) -> std::io::Result<ExitStatus> {
        self.stdin = None;
        match timeout(END, self.child.wait()).await {
            Ok(status) => status,
            Err(_) => {
                self.child.start_kill()?;
                self.child.wait().await
            }
        }
    }

    /// The end of the log, for an error message.
    pub(super) fn last_lines(&self, count: usize) -> String {
        let text = std::fs::read(&self.plan.log).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        let lines: Vec<_> = text.lines().collect();
        lines[lines.len().saturating_sub(count)..].join("\n")
    }
}

/// "signal 9", "status 2".
pub(super) fn how(status: &std::io::Result<ExitStatus>) -> String {
    match status {
        Ok(status) => match (status.signal(), status.code()) {
            (Some(signal), _) => format!("signal {signal}"),
            (None, code) => format!("status {}", code.unwrap_or_default()),
        },
        Err(error) => error.to_string(),
    }
}
