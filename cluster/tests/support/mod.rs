//! A node of the cluster layer in this process: a real engine, real sockets on loopback, port 0.

#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

pub mod cut_proxy;
pub mod freeze_proxy;
pub mod name_server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{
    ChannelName, DefaultPolicy, Engine, EngineConfig, Json, LocalReceiver, LocalSession,
    Publication,
};
use halley_cluster::{
    Clock, Cluster, ClusterConfig, Member, MembershipListener, NodeName, RandomSource, Secret,
    TokioNet,
};
use parking_lot::Mutex;

/// The deadline of every wait; `HALLEY_TEST_PATIENCE` multiplies it.
pub fn patience() -> Duration {
    let factor = std::env::var("HALLEY_TEST_PATIENCE")
        .ok()
        .and_then(|text| text.parse().ok());
    Duration::from_secs(30) * factor.unwrap_or(1)
}

/// Waits until the condition holds.
pub async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = tokio::time::Instant::now() + patience();
    while !condition() {
        assert!(
            tokio::time::Instant::now() < deadline,
            "not in time: {what}"
        );
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn channel(name: &str) -> ChannelName {
    ChannelName::parse(name).unwrap()
}

pub fn secret(byte: u8) -> Secret {
    Secret::new(&[byte; 32]).unwrap()
}

/// A configuration on loopback with short times.
pub fn config(name: &str, seeds: &[SocketAddr]) -> ClusterConfig {
    let name = NodeName::new(name).unwrap();
    let mut config = ClusterConfig::new(name, "127.0.0.1:0".parse().unwrap(), secret(1));
    config.siblings = seeds.iter().map(ToString::to_string).collect();
    config
}

/// Remembers what a session received.
#[derive(Debug, Default)]
pub struct Inbox(Mutex<Vec<(String, String)>>);

impl Inbox {
    pub fn all(&self) -> Vec<(String, String)> {
        self.0.lock().clone()
    }
    pub fn data(&self) -> Vec<String> {
        self.0.lock().iter().map(|(_, data)| data.clone()).collect()
    }
}

impl LocalReceiver for Inbox {
    fn publication(&self, publication: &Arc<Publication>) {
        let data = publication.data().unwrap_or_default().to_owned();
        self.0
            .lock()
            .push((publication.channel().as_str().to_owned(), data));
    }
}

/// Remembers who joined and left, as `+name#incarnation` and `-name#incarnation`.
#[derive(Debug, Default)]
pub struct Events(Mutex<Vec<String>>);

impl Events {
    pub fn all(&self) -> Vec<String> {
        self.0.lock().clone()
    }
}

impl MembershipListener for Events {
    fn joined(&self, member: &Member) {
        self.0.lock().push(format!("+{}", member.id()));
    }
    fn left(&self, member: &Member) {
        self.0.lock().push(format!("-{}", member.id()));
    }
}

#[derive(Debug)]
pub struct Node {
    pub engine: Arc<Engine>,
    pub cluster: Cluster,
    pub events: Arc<Events>,
    pub clock: Clock,
}

impl Node {
    pub async fn start(config: ClusterConfig) -> Self {
        let node = Self::prepare(config);
        node.cluster.open(TokioNet).await.unwrap();
        node
    }

    pub fn prepare(config: ClusterConfig) -> Self {
        let policy = Arc::new(DefaultPolicy::default());
        let engine = Engine::new(EngineConfig::default(), policy);
        let clock = Clock::start();
        let random = RandomSource::system();
        let cluster = Cluster::new(config, engine.clone(), clock, random).unwrap();
        let events = Arc::new(Events::default());
        cluster.add_membership_listener(events.clone());
        Self {
            engine,
            cluster,
            events,
            clock,
        }
    }

    pub fn address(&self) -> SocketAddr {
        self.cluster.this_node().mesh_address
    }

    pub fn names(&self) -> Vec<String> {
        self.cluster
            .members()
            .iter()
            .map(|member| member.name.to_string())
            .collect()
    }

    /// A session that is subscribed.
    pub async fn subscriber(&self, patterns: &[&str]) -> (LocalSession, Arc<Inbox>) {
        let inbox = Arc::new(Inbox::default());
        let session = self.engine.local_session(None, inbox.clone());
        for pattern in patterns {
            session
                .subscribe(&channel(pattern), self.clock.now())
                .await
                .unwrap();
        }
        (session, inbox)
    }

    pub fn publish(&self, name: &str, data: &str) {
        let publication = Publication::new(&channel(name), Json::validate(data, 16).unwrap());
        self.engine.publish(&publication, self.clock.now());
    }

    /// Publishes a probe again and again until it arrives there: then the interest is known here.
    pub async fn until_reached(&self, name: &str, inbox: &Inbox) {
        let deadline = tokio::time::Instant::now() + patience();
        while !inbox.data().iter().any(|data| data == "\"probe\"") {
            assert!(
                tokio::time::Instant::now() < deadline,
                "{name} is not reached"
            );
            self.publish(name, "\"probe\"");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub async fn stop(self) {
        self.cluster.stop();
        self.cluster.leave().await;
    }
}

/// Nodes of which each knows the first one only.
pub async fn mesh(names: &[&str]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for name in names {
        let seeds: Vec<SocketAddr> = nodes.first().map(Node::address).into_iter().collect();
        nodes.push(Node::start(config(name, &seeds)).await);
    }
    eventually("full mesh", || {
        nodes
            .iter()
            .all(|node| node.names().len() == names.len() - 1)
    })
    .await;
    nodes
}
