//! Halley nodes in this process, for the tests of the Oort dialect.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use halley_bayeux::{
    ChannelName, DefaultPolicy, Engine, EngineConfig, Json, LocalSession, Publication, UserId,
};
use halley_cluster::{
    Clock, Cluster, ClusterConfig, NodeName, Observed, OortConfig, RandomSource, Secret,
    StateChannel, TokioNet,
};
use halley_replication::{Objects, OortObjects};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::java_oort::Cometd;
use crate::patience::eventually;

/// The secret of the Oort nodes of a test.
pub const OORT_SECRET: &str = "a secret for Oort nodes, longer than thirty-two bytes";

/// How long anything may take: several JVMs start at the same time.
const DEADLINE: Duration = Duration::from_secs(30);

/// A Halley node in this process: everything but the client listener.
#[derive(Debug)]
pub struct HalleyNode {
    /// Its engine.
    pub engine: Arc<Engine>,
    /// Its cluster layer.
    pub cluster: Cluster,
    /// Its replicated objects.
    pub objects: Objects,
    clock: Clock,
    ticks: tokio::task::JoinHandle<()>,
}

impl Drop for HalleyNode {
    fn drop(&mut self) {
        self.ticks.abort();
        self.cluster.stop();
    }
}

impl HalleyNode {
    /// Starts one that dials these Oort nodes, and shows the digest that this version of CometD shows.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(
        cometd: Cometd,
        name: &str,
        cloud: &[&str],
        change: impl FnOnce(&mut ClusterConfig),
    ) -> anyhow::Result<Self> {
        let listen = "127.0.0.1:0".parse()?;
        let secret = Secret::new(crate::node_process::SECRET.as_bytes())?;
        let mut config = ClusterConfig::new(NodeName::new(name)?, listen, secret);
        let mut oort = OortConfig::new(Secret::new(OORT_SECRET.as_bytes())?);
        oort.cloud = cloud.iter().map(|url| (*url).to_owned()).collect();
        oort.accept_sha1 = cometd.shows_sha1();
        oort.show_sha1 = cometd.shows_sha1();
        config.oort = Some(oort);
        config.channels = Observed::FollowSubscriptions;
        change(&mut config);
        let clock = Clock::start();
        let engine = Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::new(false)));
        let cluster = Cluster::new(config, engine.clone(), clock, RandomSource::system())?;
        let objects = Objects::new(cluster.state_sender(), clock);
        cluster.register(StateChannel::OBJECTS, Arc::new(objects.clone()));
        cluster.register_oort(Arc::new(OortObjects::new(objects.clone())));
        cluster.open(TokioNet).await?;
        let ticking = engine.clone();
        let ticks = tokio::spawn(async move {
            loop {
                ticking.tick(clock.now());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        });
        Ok(Self {
            engine,
            cluster,
            objects,
            clock,
            ticks,
        })
    }

    /// Its Oort URL.
    ///
    /// # Errors
    /// It does not speak that dialect.
    pub fn url(&self) -> anyhow::Result<String> {
        let url = self.cluster.oort_url().context("no Oort")?;
        Ok(url.as_str().to_owned())
    }

    /// Waits until exactly this many members of the Oort dialect are there.
    ///
    /// # Errors
    /// Not within the deadline.
    pub async fn oort_members(&self, count: usize) -> anyhow::Result<()> {
        let what = format!("{count} Oort members");
        eventually(&what, DEADLINE, async || {
            let members = self.cluster.members();
            let oort = members.iter().filter(|member| {
                self.cluster.dialect(&member.name).map(|it| it.as_str()) == Some("oort")
            });
            let found = oort.count();
            ensure!(found == count, "there are {found} of {members:?}");
            Ok(())
        })
        .await
        .map(drop)
    }

    /// A client of this node.
    #[must_use]
    pub fn client(&self, user: Option<&str>) -> HalleyClient {
        let received: Arc<Mutex<Vec<Value>>> = Arc::default();
        let noted = Arc::clone(&received);
        let receiver = move |publication: &Arc<Publication>| {
            let data = publication.data().unwrap_or("null");
            let data = serde_json::from_str::<Value>(data).unwrap_or_default();
            noted
                .lock()
                .push(json!([publication.channel().as_str(), data]));
        };
        let user = user.and_then(|user| UserId::new(user).ok());
        HalleyClient {
            session: self.engine.local_session(user, Arc::new(receiver)),
            received,
            clock: self.clock,
        }
    }
}

/// A client of a Halley node.
#[derive(Debug)]
pub struct HalleyClient {
    session: LocalSession,
    received: Arc<Mutex<Vec<Value>>>,
    clock: Clock,
}

impl HalleyClient {
    /// Subscribes.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn subscribe(&self, channel: &str) -> anyhow::Result<()> {
        let channel = ChannelName::parse(channel)?;
        Ok(self.session.subscribe(&channel, self.clock.now()).await?)
    }

    /// Publishes.
    ///
    /// # Errors
    /// The node refuses.
    pub async fn publish(&self, channel: &str, data: Value) -> anyhow::Result<()> {
        let channel = ChannelName::parse(channel)?;
        let data = data.to_string();
        let data = Json::validate(&data, 64)?;
        Ok(self
            .session
            .publish(&channel, data, self.clock.now())
            .await?)
    }

    /// Everything that has come, as channel and data.
    #[must_use]
    pub fn received(&self) -> Vec<Value> {
        self.received.lock().clone()
    }

    /// Waits until exactly this has come, in this order.
    ///
    /// # Errors
    /// Not within the deadline.
    pub async fn has(&self, expected: &[Value]) -> anyhow::Result<()> {
        eventually("messages", DEADLINE, async || {
            let received = self.received();
            ensure!(received == expected, "{received:?}");
            Ok(())
        })
        .await
        .map(drop)
    }
}
