//! A cluster as `halley dev` starts it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::binary;
use crate::patience::patience;
use crate::ports::free_address;

/// How long the command may take to print a line that is waited for.
const LINE: Duration = Duration::from_secs(40);

/// A running `halley dev`. Dropped, it is killed, its nodes end with it, and its files are removed.
#[derive(Debug)]
pub struct DevCluster {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
    folder: PathBuf,
    nodes: Vec<(SocketAddr, u32)>,
}

impl DevCluster {
    /// Starts it and waits until it has said of each node that it is ready.
    ///
    /// # Errors
    /// It ends, or says something else.
    pub async fn start(nodes: usize) -> anyhow::Result<Self> {
        let binary = binary::halley()?;
        // The ports after the first must be free as well; if they are not, the command says so and others are tried.
        let mut last = None;
        for _ in 0..5 {
            match Self::try_start(&binary, nodes, free_address().port()).await {
                Ok(dev) => return Ok(dev),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("never started")?)
    }

    async fn try_start(binary: &Path, nodes: usize, port: u16) -> anyhow::Result<Self> {
        let mut child = Command::new(binary)
            .args([
                "dev",
                "--nodes",
                &nodes.to_string(),
                "--client-port",
                &port.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut dev = Self {
            child,
            lines: BufReader::new(stdout).lines(),
            folder: PathBuf::new(),
            nodes: Vec::new(),
        };
        let first = dev.line(" in /").await?;
        dev.folder = first
            .rsplit_once(" in ")
            .map(|(_, path)| path.into())
            .context("no folder")?;
        let mut found = Vec::new();
        while found.len() < nodes {
            // node n1 ready: http://127.0.0.1:8081/ (pid 123)
            let line = dev.line(" ready: ").await?;
            let name = line.split(' ').nth(1).unwrap_or_default().to_owned();
            let address = line
                .split("http://")
                .nth(1)
                .and_then(|rest| rest.split('/').next())
                .context("no address")?;
            let pid = line
                .rsplit_once("(pid ")
                .map(|(_, pid)| pid.trim_end_matches(')'))
                .context("no pid")?;
            found.push((name, address.parse()?, pid.parse()?));
        }
        found.sort();
        dev.nodes = found
            .into_iter()
            .map(|(_, address, pid)| (address, pid))
            .collect();
        Ok(dev)
    }

    /// Reads lines until one contains this text.
    ///
    /// # Errors
    /// It does not come in time, or the command ends.
    pub async fn line(&mut self, text: &str) -> anyhow::Result<String> {
        let read = async {
            while let Some(line) = self.lines.next_line().await? {
                if line.contains(text) {
                    return Ok(line);
                }
            }
            bail!("halley dev ended before it said {text:?}")
        };
        timeout(patience(LINE), read)
            .await
            .with_context(|| format!("halley dev never said {text:?}"))?
    }

    /// The folder with the nodes' files.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The client address of a node by its place.
    #[must_use]
    pub fn address(&self, place: usize) -> SocketAddr {
        self.nodes[place].0
    }

    /// The page of a node by its place.
    #[must_use]
    pub fn page(&self, place: usize) -> String {
        format!("http://{}/", self.address(place))
    }

    /// Whether the process of a node still exists.
    #[must_use]
    pub fn is_running(&self, place: usize) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.nodes[place].1))
            .unwrap_or_default();
        // A process that has ended and waits for its parent is not running.
        stat.rsplit_once(") ")
            .is_some_and(|(_, rest)| !rest.starts_with('Z'))
    }

    /// `kill -9` of a node.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub async fn kill_node(&self, place: usize) -> anyhow::Result<()> {
        self.signal_node(place, "KILL").await
    }

    /// Sends a node a signal by name.
    ///
    /// # Errors
    /// The signal could not be sent.
    pub async fn signal_node(&self, place: usize, signal: &str) -> anyhow::Result<()> {
        kill(signal, self.nodes[place].1).await
    }

    /// Sends a signal to the command and waits for its end.
    ///
    /// # Errors
    /// It does not end.
    pub async fn end(&mut self, signal: &str) -> anyhow::Result<ExitStatus> {
        kill(signal, self.child.id().context("not running")?).await?;
        Ok(
            timeout(patience(Duration::from_secs(20)), self.child.wait())
                .await
                .context("halley dev does not end")??,
        )
    }
}

impl Drop for DevCluster {
    fn drop(&mut self) {
        // A command that is killed leaves its files behind, for whoever wants to know why.
        if !self.folder.as_os_str().is_empty() {
            let _ = std::fs::remove_dir_all(&self.folder);
        }
    }
}

async fn kill(signal: &str, pid: u32) -> anyhow::Result<()> {
    let status = Command::new("kill")
        .arg(format!("-{signal}"))
        .arg(pid.to_string())
        .status()
        .await?;
    ensure!(status.success(), "kill -{signal} {pid} failed");
    Ok(())
}
