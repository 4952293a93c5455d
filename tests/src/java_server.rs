//! A stock CometD server in Java: `tests/java/src/main/java/org/halley/CometdServer.java`, in a process of its own.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::binary::repository;
use crate::patience::patience;

/// How long Java may take to start.
const START: Duration = Duration::from_secs(60);

/// A running server. Dropped, it is killed, and no other process is.
#[derive(Debug)]
pub struct JavaServer {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
}

impl JavaServer {
    /// Starts one on this loopback port, 0 for any, and waits until it takes connections.
    ///
    /// # Errors
    /// Java cannot be started, or `tests/java` was not built (`tests/run` does it).
    pub async fn start(port: u16, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = repository().join("tests/java/target");
        ensure!(
            folder
                .join("classes/org/halley/CometdServer.class")
                .is_file(),
            "the Java server is missing: run tests/run, or mvn compile in tests/java"
        );
        let mut child = Command::new("java")
            .args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error"])
            .args(["-cp", "classes:lib/*", "org.halley.CometdServer"])
            .args(["--port", &port.to_string()])
            .args(arguments)
            .current_dir(folder)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .context("cannot start java")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let mut lines = BufReader::new(stdout).lines();
        let line = timeout(patience(START), lines.next_line())
            .await
            .context("the Java server is not ready")??
            .context("the Java server has ended")?;
        let address = line
            .strip_prefix("READY http://")
            .and_then(|rest| rest.strip_suffix("/cometd"))
            .with_context(|| format!("not what a ready server says: {line}"))?
            .parse()?;
        Ok(Self { address, child })
    }

    /// The Bayeux URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/cometd", self.address)
    }

    /// Kills it and waits for its end.
    ///
    /// # Errors
    /// The system does not let us.
    pub async fn kill(mut self) -> anyhow::Result<()> {
        Ok(self.child.kill().await?)
    }
}
