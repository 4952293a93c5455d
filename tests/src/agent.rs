//! Scripts in `tests/js` and a program in `tests/java` that play clients, under the orders of a test.

use std::collections::HashMap;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, anyhow, ensure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio::time::timeout;

use crate::binary::repository;
use crate::patience::patience;

/// How long any order may take before the script counts as stuck. Orders that wait have shorter deadlines of their own.
const STUCK: Duration = Duration::from_secs(180);

type Waiting = Arc<Mutex<HashMap<u64, oneshot::Sender<Value>>>>;

/// A running script. Dropped, its process is killed.
#[derive(Debug)]
pub struct Agent {
    stdin: AsyncMutex<ChildStdin>,
    waiting: Waiting,
    number: AtomicU64,
    _child: Child,
}

impl Agent {
    /// One browser (cookies, source address) whose tabs are stock CometD clients.
    ///
    /// # Errors
    /// Node.js cannot be started, or `npm ci` was not run in `tests/js` (`tests/run` does it).
    pub fn browser() -> anyhow::Result<Self> {
        Self::start("agent.mjs", &[])
    }

    /// Likewise, with connections that come from this loopback address.
    ///
    /// # Errors
    /// As [`Agent::browser`].
    pub fn browser_at(source: &str) -> anyhow::Result<Self> {
        Self::start("agent.mjs", &[source])
    }

    /// One browser with CometD clients of another version: a name of `tests/js/package.json` (`cometd-7`).
    ///
    /// # Errors
    /// As [`Agent::browser`].
    pub fn browser_with(client: &str) -> anyhow::Result<Self> {
        Self::start("agent.mjs", &["127.0.0.1", client])
    }

    /// Faye clients.
    ///
    /// # Errors
    /// As [`Agent::browser`].
    pub fn faye() -> anyhow::Result<Self> {
        Self::start("faye.mjs", &[])
    }

    /// CometD's Java clients.
    ///
    /// # Errors
    /// Java cannot be started, or `tests/java` was not built (`tests/run` does it).
    pub fn java() -> anyhow::Result<Self> {
        let folder = repository().join("tests/java/target");
        ensure!(
            folder.join("classes/org/halley/Agent.class").is_file(),
            "the Java clients are missing: run tests/run, or mvn compile in tests/java"
        );
        let mut java = Command::new("java");
        java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx256m"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error"])
            .args(["-cp", "classes:lib/*", "org.halley.Agent"])
            .current_dir(folder);
        Self::launch(java)
    }

    /// A JVM for CometD nodes with Oort. `class_path` is in the working directory `tests/java`.
    ///
    /// # Errors
    /// Java cannot be started.
    pub fn oort(class_path: &str) -> anyhow::Result<Self> {
        let mut java = Command::new("java");
        java.args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx384m"])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=error"])
            .args(["-cp", class_path, "org.halley.OortNodes"])
            .current_dir(repository().join("tests/java"));
        Self::launch(java)
    }

    /// Headless Chromium with the demonstration page.
    ///
    /// # Errors
    /// As [`Agent::browser`].
    pub fn chromium() -> anyhow::Result<Self> {
        Self::start("chromium.mjs", &[])
    }

    fn start(script: &str, arguments: &[&str]) -> anyhow::Result<Self> {
        let folder = repository().join("tests/js");
        ensure!(
            folder.join("node_modules/cometd").is_dir(),
            "the JavaScript clients are missing: run tests/run, or npm ci in tests/js"
        );
        let mut node = Command::new("node");
        node.arg(script).args(arguments).current_dir(folder);
        Self::launch(node)
    }

    fn launch(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {:?}", command.as_std().get_program()))?;
        let stdin = child.stdin.take().context("no standard input")?;
        let stdout = child.stdout.take().context("no standard output")?;
        let waiting = Waiting::default();
        let answers = Arc::clone(&waiting);
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            while let Ok(Some(line)) = lines.next_line().await {
                let Ok(answer) = serde_json::from_str::<Value>(&line) else {
                    continue;
                };
                let order = answer["re"]
                    .as_u64()
                    .and_then(|number| answers.lock().remove(&number));
                if let Some(order) = order {
                    let _ = order.send(answer);
                }
            }
            // Whoever still waits learns that the script has ended.
            answers.lock().clear();
        });
        Ok(Self {
            stdin: AsyncMutex::new(stdin),
            waiting,
            number: AtomicU64::new(0),
            _child: child,
        })
    }

    /// Gives an order and waits for its answer. Several may be under way at a time.
    ///
    /// # Errors
    /// The script says why.
    pub async fn order(&self, order: &str, mut fields: Value) -> anyhow::Result<Value> {
        let number = self.number.fetch_add(1, Ordering::Relaxed);
        fields["order"] = json!(order);
        fields["number"] = json!(number);
        if let Some(ms) = fields.get("ms").and_then(Value::as_u64) {
            fields["ms"] = json!(patience(Duration::from_millis(ms)).as_millis() as u64);
        }
        let (answered, answer) = oneshot::channel();
        self.waiting.lock().insert(number, answered);
        self.stdin
            .lock()
            .await
            .write_all(format!("{fields}\n").as_bytes())
            .await
            .context("the script has ended")?;
        let mut answer = timeout(patience(STUCK), answer)
            .await
            .with_context(|| format!("no answer to {fields}"))?
            .context("the script has ended")?;
        match answer.get("error").and_then(Value::as_str) {
            Some(error) => Err(anyhow!("{error}")),
            None => Ok(answer["ok"].take()),
        }
    }

    /// Connects a client in a new tab; returns its session's id.
    ///
    /// # Errors
    /// It does not connect.
    pub async fn connect(
        &self,
        client: &str,
        url: &str,
        transport: &str,
        user: Option<&str>,
    ) -> anyhow::Result<String> {
        let mut order = json!({"client": client, "url": url, "transport": transport});
        if let Some(user) = user {
            order["user"] = json!(user);
        }
        let answer = self.order("connect", order).await?;
        ensure!(
            answer["transport"] == transport,
            "connected over {}",
            answer["transport"]
        );
        Ok(answer["id"].as_str().unwrap_or_default().to_owned())
    }

    /// Subscribes a client.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn subscribe(&self, client: &str, channel: &str) -> anyhow::Result<()> {
        let answer = self
            .order("subscribe", json!({"client": client, "channel": channel}))
            .await?;
        ensure!(
            answer["successful"] == true,
            "{client} subscribe {channel}: {answer}"
        );
        Ok(())
    }

    /// Publishes; the answer is `{"successful", "error"}`.
    ///
    /// # Errors
    /// The script has ended.
    pub async fn publish(&self, client: &str, channel: &str, data: Value) -> anyhow::Result<Value> {
        self.order(
            "publish",
            json!({"client": client, "channel": channel, "data": data}),
        )
        .await
    }

    /// Waits until a message arrives whose data holds all of these fields; the message is the answer.
    ///
    /// # Errors
    /// None within ten seconds.
    pub async fn message(&self, client: &str, channel: &str, data: Value) -> anyhow::Result<Value> {
        self.order(
            "message",
            json!({"client": client, "channel": channel, "data": data, "ms": 10_000}),
        )
        .await
    }

    /// Waits until exactly these users are present on exactly these nodes, for a client subscribed to `/halley/presence`.
    ///
    /// # Errors
    /// Not within the deadline.
    pub async fn presence(
        &self,
        client: &str,
        presence: Value,
        deadline: Duration,
    ) -> anyhow::Result<()> {
        let ms = deadline.as_millis() as u64;
        self.order(
            "presence",
            json!({"client": client, "presence": presence, "ms": ms}),
        )
        .await
        .map(drop)
    }

    /// Waits until `/halley/cluster` names exactly these nodes, for a client subscribed to it; its data is the answer.
    ///
    /// # Errors
    /// Not within the deadline.
    pub async fn nodes(
        &self,
        client: &str,
        names: &[&str],
        deadline: Duration,
    ) -> anyhow::Result<Value> {
        let ms = deadline.as_millis() as u64;
        self.order("nodes", json!({"client": client, "names": names, "ms": ms}))
            .await
    }
}
