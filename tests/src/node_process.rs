//! One real node: the built binary with a configuration of its own, in a process of its own.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::timeout;

use crate::{admin, binary, patience, ports};

/// The secret that nodes of a test share.
pub const SECRET: &str = "a secret for tests, longer than thirty-two bytes";

/// What a node is started with.
#[derive(Debug, Clone)]
pub struct NodeSettings {
    /// `[node] name`
    pub name: String,
    /// `[client] listen`
    pub client: SocketAddr,
    /// `[mesh] listen`
    pub mesh: SocketAddr,
    /// `[mesh] advertise`; `None`: as `mesh`.
    pub advertise: Option<SocketAddr>,
    /// `[admin] listen`
    pub admin: SocketAddr,
    /// `[mesh] secret`
    pub secret: String,
    /// `[mesh] siblings`; with none, static discovery is still on.
    pub siblings: Vec<SocketAddr>,
    /// Lines for the `[mesh]` section that take the place of `discovery` and `siblings`, and may open further sections.
    pub discovery: Option<String>,
    /// Further lines of the `[client]` section.
    pub client_more: String,
    /// Further lines of the `[seti]` section.
    pub seti_more: String,
    /// Further lines of the `[presence]` section.
    pub presence_more: String,
    /// Further lines of the `[session]` section, which may open further sections.
    pub session: String,
    /// The network namespace to run in.
    pub namespace: Option<String>,
}

impl NodeSettings {
    /// A node on free loopback ports that knows no sibling.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            client: ports::free_address(),
            mesh: ports::free_address(),
            advertise: None,
            admin: ports::free_address(),
            secret: SECRET.to_owned(),
            siblings: Vec::new(),
            discovery: None,
            client_more: String::new(),
            seti_more: String::new(),
            presence_more: String::new(),
            session: String::new(),
            namespace: None,
        }
    }

    /// With these siblings.
    #[must_use]
    pub fn siblings(mut self, siblings: &[SocketAddr]) -> Self {
        self.siblings = siblings.to_vec();
        self
    }

    /// The Bayeux URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/cometd", self.client)
    }

    fn config(&self) -> String {
        let siblings = self
            .siblings
            .iter()
            .map(|address| format!("\"{address}\""))
            .collect::<Vec<_>>()
            .join(", ");
        let discovery = self
            .discovery
            .clone()
            .unwrap_or_else(|| format!("discovery = [\"static\"]\nsiblings = [{siblings}]\n"));
        format!(
            r#"
[node]
name = "{name}"
drain_timeout_ms = 2000

[client]
listen = "{client}"
url = "{url}"
demo = true
callback_polling = true
{client_more}

[admin]
listen = "{admin}"

[seti]
trust_handshake_user = true
direct = true
{seti_more}

[presence]
enabled = true
nodes = true
{presence_more}

[session]
maxQueue = 50000
maxQueueBytes = 67108864
{session}

[mesh]
listen = "{mesh}"
advertise = "{advertise}"
secret = "{secret}"
{discovery}
"#,
            name = self.name,
            client = self.client,
            url = self.url(),
            admin = self.admin,
            mesh = self.mesh,
            advertise = self.advertise.unwrap_or(self.mesh),
            secret = self.secret,
            client_more = self.client_more,
            seti_more = self.seti_more,
            presence_more = self.presence_more,
            session = self.session,
        )
    }
}

/// A node process. Dropped, it is killed, and no other process is.
#[derive(Debug)]
pub struct NodeProcess {
    /// What it was started with.
    pub settings: NodeSettings,
    folder: TempDir,
    child: Option<Child>,
    starts: u32,
}

impl NodeProcess {
    /// Starts a node; it need not be ready yet.
    ///
    /// # Errors
    /// The binary cannot be built or started.
    pub fn start(settings: NodeSettings) -> anyhow::Result<Self> {
        let mut node = Self {
            settings,
            folder: TempDir::new()?,
            child: None,
            starts: 0,
        };
        node.start_again()?;
        Ok(node)
    }

    /// Starts the node anew with the same settings, after it has ended.
    ///
    /// # Errors
    /// It is still running, or cannot be started.
    pub fn start_again(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.is_none(), "{} is running", self.settings.name);
        let config = self.folder.path().join("halley.toml");
        std::fs::write(&config, self.settings.config())?;
        self.starts += 1;
        let log = File::create(self.log_file())?;
        let binary = binary::halley()?;
        let mut command = match &self.settings.namespace {
            None => Command::new(binary),
            Some(namespace) => {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", namespace]).arg(binary);
                command
            }
        };
        command.arg("serve").arg("--config").arg(&config);
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true);
        self.child = Some(
            command
                .spawn()
                .with_context(|| format!("cannot start {}", self.settings.name))?,
        );
        Ok(())
    }

    fn log_file(&self) -> PathBuf {
        Path::new(self.folder.path()).join(format!("{}-{}.log", self.settings.name, self.starts))
    }

    /// What the process has written since its last start.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read(self.log_file())
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until `/readyz` is answered with 200.
    ///
    /// # Errors
    /// It is not ready within 15 seconds, or the process ended; the error holds the log.
    pub async fn ready(&mut self) -> anyhow::Result<Duration> {
        let admin = self.settings.admin;
        let ready = patience::eventually("ready", Duration::from_secs(15), async || {
            let (status, body) = admin::get(admin, "/readyz").await?;
            ensure!(status == 200, "{status} {body}");
            Ok(())
        });
        let child = self.child.as_mut().context("not started")?;
        let outcome = tokio::select! {
            ready = ready => ready.map(|((), took)| took),
            status = child.wait() => Err(anyhow::anyhow!("the process ended: {}", status?)),
        };
        outcome.with_context(|| {
            format!(
                "node {} is not ready; its log:\n{}",
                self.settings.name,
                self.log()
            )
        })
    }

    /// The value of a metric.
    ///
    /// # Errors
    /// The node does not answer or does not have the metric.
    pub async fn metric(&self, name: &str) -> anyhow::Result<f64> {
        admin::metric(self.settings.admin, name).await
    }

    /// `kill -9`, and waits for the end.
    ///
    /// # Errors
    /// It was not running.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        let mut child = self.child.take().context("not running")?;
        child.start_kill()?;
        child.wait().await?;
        Ok(())
    }

    /// Sends a signal by name ("STOP", "CONT", "TERM").
    ///
    /// # Errors
    /// It is not running, or the signal could not be sent.
    pub async fn signal(&self, name: &str) -> anyhow::Result<()> {
        let pid = self
            .child
            .as_ref()
            .and_then(Child::id)
            .context("not running")?;
        let status = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(pid.to_string())
            .status()
            .await?;
        ensure!(status.success(), "kill -{name} {pid} failed");
        Ok(())
    }

    /// Waits for the process to end by itself.
    ///
    /// # Errors
    /// It does not end in time.
    pub async fn ended(&mut self, deadline: Duration) -> anyhow::Result<ExitStatus> {
        let child = self.child.as_mut().context("not running")?;
        let status = timeout(patience::patience(deadline), child.wait())
            .await
            .with_context(|| format!("node {} did not end in time", self.settings.name))??;
        self.child = None;
        Ok(status)
    }
}
