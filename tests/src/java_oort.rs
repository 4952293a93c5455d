//! CometD nodes with Oort, of several versions of CometD: `tests/java/oort`.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::{Context, ensure};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::agent::Agent;
use crate::binary::repository;
use crate::oort::OORT_SECRET;
use crate::patience::eventually;

/// How long anything may take: several JVMs start at the same time.
const DEADLINE: Duration = Duration::from_secs(30);

/// A version of CometD.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cometd {
    /// 3.1
    V3_1,
    /// 4.0
    V4_0,
    /// 6.0
    V6_0,
    /// 8.0, where its library was given to `tests/run`
    V8_0,
}

impl Cometd {
    /// As its folder in `tests/java/oort` is named.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::V3_1 => "3.1",
            Self::V4_0 => "4.0",
            Self::V6_0 => "6.0",
            Self::V8_0 => "8.0",
        }
    }

    /// Whether it was built here.
    #[must_use]
    pub fn is_here(self) -> bool {
        let classes = format!("tests/java/oort/{}/target/classes", self.name());
        let classes = repository().join(classes);
        classes.join("org/halley/OortNodes.class").is_file()
    }

    /// Whether its nodes show the SHA-1 digest of their secret.
    #[must_use]
    pub const fn shows_sha1(self) -> bool {
        matches!(self, Self::V3_1)
    }

    /// The longest message that its links take unless `ws.maxMessageSize` says otherwise.
    #[must_use]
    pub const fn takes_bytes(self) -> usize {
        match self {
            Self::V3_1 | Self::V4_0 => 32_768,
            Self::V6_0 | Self::V8_0 => 65_536,
        }
    }

    fn jvm(self) -> anyhow::Result<Agent> {
        let name = self.name();
        let mut class_path = format!("oort/{name}/target/classes:oort/{name}/target/lib/*");
        if self == Self::V8_0 {
            class_path.push_str(":target/lib/*");
        }
        Agent::oort(&class_path)
    }

    /// The JVM in which nodes of this version live that nobody kills. It ends with this process, when its standard input does.
    fn shared_jvm(self) -> anyhow::Result<Arc<Agent>> {
        static JVMS: Mutex<Option<HashMap<Cometd, Arc<Agent>>>> = Mutex::new(None);
        let mut jvms = JVMS.lock();
        let jvms = jvms.get_or_insert_default();
        if let Some(jvm) = jvms.get(&self) {
            return Ok(Arc::clone(jvm));
        }
        let _guard = of_the_process()?.enter();
        let jvm = Arc::new(self.jvm()?);
        jvms.insert(self, Arc::clone(&jvm));
        Ok(jvm)
    }
}

/// A runtime that outlives those of the tests.
fn of_the_process() -> anyhow::Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| {
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        runtime.worker_threads(1).enable_all().build()
    });
    runtime.as_ref().context("no runtime")
}

/// A Java node. Dropped, it stops; one that is alone in its JVM is killed.
#[derive(Debug)]
pub struct JavaNode {
    agent: Arc<Agent>,
    node: String,
    alone: bool,
    /// Its Oort URL.
    pub url: String,
}

impl Drop for JavaNode {
    fn drop(&mut self) {
        if let (false, Ok(runtime)) = (self.alone, of_the_process()) {
            let (agent, node) = (Arc::clone(&self.agent), self.node.clone());
            runtime.spawn(async move { agent.order("stop", json!({"node": node})).await });
        }
    }
}

impl JavaNode {
    /// Starts one on any port, in a JVM with others.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(cometd: Cometd, fields: Value) -> anyhow::Result<Self> {
        Self::start_in(cometd.shared_jvm()?, false, 0, fields).await
    }

    /// Starts one on this port (0: any) that is killed when it is dropped.
    ///
    /// # Errors
    /// It does not start.
    pub async fn alone(cometd: Cometd, port: u16) -> anyhow::Result<Self> {
        Self::start_in(Arc::new(cometd.jvm()?), true, port, json!({})).await
    }

    async fn start_in(
        agent: Arc<Agent>,
        alone: bool,
        port: u16,
        mut fields: Value,
    ) -> anyhow::Result<Self> {
        static NODES: AtomicU64 = AtomicU64::new(0);
        let node = NODES.fetch_add(1, Ordering::Relaxed).to_string();
        fields["node"] = json!(node);
        fields["secret"] = json!(OORT_SECRET);
        if fields.get("port").is_none() {
            fields["port"] = json!(port);
        }
        let url = agent.order("start", fields).await?;
        let url = url.as_str().context("no URL")?.to_owned();
        Ok(Self {
            agent,
            node,
            alone,
            url,
        })
    }

    /// The port in its URL.
    #[must_use]
    pub fn port(&self) -> u16 {
        let port = self.url.rsplit_once(':').map_or("", |(_, rest)| rest);
        port.trim_end_matches("/cometd").parse().unwrap_or(0)
    }

    /// Gives an order.
    ///
    /// # Errors
    /// It is not carried out.
    pub async fn order(&self, order: &str, mut fields: Value) -> anyhow::Result<Value> {
        fields["node"] = json!(self.node);
        self.agent.order(order, fields).await
    }

    /// Waits until an order is answered with a value of which this holds.
    ///
    /// # Errors
    /// Not within the deadline.
    pub async fn until(
        &self,
        order: &str,
        fields: Value,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let what = format!("{order} {fields} at {}", self.url);
        let (value, _) = eventually(&what, DEADLINE, async || {
            let value = self.order(order, fields.clone()).await?;
            ensure!(holds(&value), "it is {value}");
            Ok(value)
        })
        .await?;
        Ok(value)
    }

    /// Waits until it knows exactly these nodes.
    ///
    /// # Errors
    /// Not within the deadline.
    pub async fn knows(&self, urls: &[&str]) -> anyhow::Result<()> {
        self.until("known", json!({}), |known| same(known, urls))
            .await
            .map(drop)
    }

    /// Waits until its listener has been told this.
    ///
    /// # Errors
    /// Not within the deadline.
    pub async fn event(&self, event: &str) -> anyhow::Result<()> {
        let event = json!(event);
        self.until("events", json!({}), |events| {
            events
                .as_array()
                .is_some_and(|events| events.contains(&event))
        })
        .await
        .map(drop)
    }
}

/// Whether an array holds exactly these texts, in any order.
#[must_use]
pub fn same(array: &Value, texts: &[&str]) -> bool {
    let mut there: Vec<&str> = array
        .as_array()
        .map(|array| array.iter().filter_map(Value::as_str).collect())
        .unwrap_or_default();
    let mut texts = texts.to_vec();
    there.sort_unstable();
    texts.sort_unstable();
    there == texts
}
