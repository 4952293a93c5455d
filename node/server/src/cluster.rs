//! Joins the cluster, and puts the user directory and the replicated list of nodes behind the services.
//!
//! ```text
//! halley_cluster::Cluster ──members, links──> metrics, readiness, log
//!   ├─ Seti ─────────────────> Directory ──> direct messages, presence
//!   ├─ Rooms ────────────────> presence per room
//!   └─ Objects: "nodes" ─────> Nodes ──────> /halley/cluster
//! ```
//!
//! A node that runs alone has its own directory and itself as the only node.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_bayeux::{Engine, Millis, Publication, SessionId, UserId};
use halley_cluster::seti::{PresenceListener, RoomPatterns, Rooms, SendOutcome, Seti};
use halley_cluster::{
    Cluster, ClusterConfig, Counters, DnsConfig, Incarnation, InvalidNodeName, InvalidOortUrl,
    InvalidSecret, InvalidSecrets, LinkStats, Member, MulticastConfig, NodeId, NodeName, Observed,
    OortConfig, OortUrl, RandomSource, Secrets, SendError, StateChannel, StateHandler, StateSender,
    TokioNet,
};
use halley_replication::{CreateError, Objects, OortObject, OortObjects};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::clock::Clock;
use crate::config::{Config, Discovery, OortDigest};
use crate::readiness::{Readiness, Unready};
use crate::services::{
    Directory, DirectoryListener, LocalNodes, NodeInfo, NodeLoad, Nodes, Reached,
};
use crate::tls::MeshFiles;

/// The replicated object with what each node tells about itself.
const NODES_OBJECT: &str = "nodes";

/// Time between two looks at whether siblings have joined.
const JOIN_LOOK: Duration = Duration::from_millis(10);

/// Why a node cannot take part in its cluster.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The name is not one.
    #[error("node.name: {0}")]
    Name(#[from] InvalidNodeName),
    /// The secret is too short.
    #[error("mesh.secret: {0}")]
    Secret(#[from] InvalidSecret),
    /// The secrets of the file cannot be used.
    #[error("mesh.secret_file: {0}")]
    Secrets(#[from] InvalidSecrets),
    /// This node's URL for Java nodes is none.
    #[error("mesh.oort.url: {0}")]
    OortUrl(#[from] InvalidOortUrl),
    /// There is no secret.
    #[error("mesh.secret_file: a clustered node needs a secret")]
    NoSecret,
    /// The TLS files of the mesh cannot be used.
    #[error("{0}")]
    Tls(String),
    /// The cluster layer does not start.
    #[error(transparent)]
    Start(#[from] halley_cluster::StartError),
    /// A replicated object cannot be made.
    #[error("object {NODES_OBJECT}: {0}")]
    Object(#[from] CreateError),
}

/// What stands behind users and nodes, whether the node runs alone or in a cluster.
pub(crate) struct ClusterParts {
    pub(crate) directory: Arc<dyn Directory>,
    pub(crate) nodes: Arc<dyn Nodes>,
    /// Of a node that runs alone they have one part.
    pub(crate) objects: Objects,
    /// `None` when no channel is a room.
    pub(crate) rooms: Option<Rooms>,
    /// Of a node that runs alone.
    alone: Option<Lonely>,
    /// `None` when the node runs alone.
    cluster: Option<Cluster>,
}

/// A node that runs alone.
struct Lonely {
    this_node: Member,
    /// In a cluster it is the cluster layer's.
    seti: Seti,
}

/// The cluster layer's configuration out of the node's.
pub(crate) fn cluster_config(
    config: &Config,
    client_url: &str,
) -> Result<ClusterConfig, ClusterError> {
    let mesh = &config.mesh;
    let secret = mesh.secret.as_ref().ok_or(ClusterError::NoSecret)?;
    let secrets = if mesh.secret_file.is_some() {
        Secrets::from_lines(secret.bytes())?
    } else {
        halley_cluster::Secret::new(secret.bytes())?.into()
    };
    let mut cluster = ClusterConfig::new(NodeName::new(&config.node_name())?, mesh.listen, secrets);
    client_url.clone_into(&mut cluster.client_url);
    cluster.advertise = mesh.advertise;
    if let Some(files) = MeshFiles::of(&mesh.tls) {
        let tls = files.load();
        cluster.tls = Some(tls.map_err(|problem| ClusterError::Tls(problem.to_string()))?);
    }
    cluster.allow.clone_from(&mesh.allow);
    cluster.channels = match &mesh.channels {
        None => Observed::FollowSubscriptions,
        Some(channels) => Observed::Fixed(
            channels
                .iter()
                .map(|channel| channel.as_str().to_owned())
                .collect(),
        ),
    };
    if mesh.discovery.contains(&Discovery::Static) {
        cluster.siblings.clone_from(&mesh.siblings);
    }
    if mesh.discovery.contains(&Discovery::Multicast) {
        let multicast = &mesh.multicast;
        cluster.multicast = Some(MulticastConfig {
            group: multicast.group,
            port: multicast.port,
            interface: multicast.interface,
            ttl: multicast.ttl,
            interval: Duration::from_millis(multicast.interval_ms),
        });
    }
    if mesh.discovery.contains(&Discovery::Dns) {
        cluster.dns = Some(DnsConfig {
            name: mesh.dns.name.clone().unwrap_or_default(),
            port: mesh.dns.port,
            interval: Duration::from_millis(mesh.dns.interval_ms),
            servers: mesh.dns.servers.clone(),
        });
    }
    if mesh.oort.enabled {
        cluster.oort = Some(oort_config(config)?);
    }
    cluster.heartbeat_interval = Duration::from_millis(mesh.heartbeat_ms);
    cluster.detection = Duration::from_millis(mesh.detection_ms);
    cluster.presence_grace = Duration::from_millis(config.seti.grace_ms);
    cluster.limits.message_queue_bytes = mesh.link_queue_bytes;
    Ok(cluster)
}

/// What `[mesh.oort]` says, which the checks have found right.
fn oort_config(config: &Config) -> Result<OortConfig, ClusterError> {
    let mesh = &config.mesh;
    let oort = &mesh.oort;
    let secret = oort.secret.as_ref().ok_or(ClusterError::NoSecret)?;
    let mut settings = OortConfig::new(halley_cluster::Secret::new(secret.bytes())?);
    settings.url = oort.url.as_deref().map(OortUrl::parse).transpose()?;
    settings.aliases.clone_from(&oort.aliases);
    settings.cloud.clone_from(&oort.cloud);
    let sha1 = oort.digest == OortDigest::Sha1;
    (settings.accept_sha1, settings.show_sha1) = (sha1, sha1);
    settings.channels_max = oort.channels_max;
    settings.max_message_bytes = oort.max_message_bytes;
    settings.ack = oort.ack;
    settings.timeout = Duration::from_millis(oort.timeout_ms);
    settings.max_interval = Duration::from_millis(oort.max_interval_ms);
    settings.multicast = match oort.multicast {
        Some(SocketAddr::V4(group)) => Some(MulticastConfig {
            group: *group.ip(),
            port: group.port(),
            interface: mesh.multicast.interface,
            ttl: mesh.multicast.ttl,
            interval: Duration::from_millis(mesh.multicast.interval_ms),
        }),
        _ => None,
    };
    Ok(settings)
}

impl ClusterParts {
    /// Prepares everything and does no IO yet: [`ClusterParts::join`] does.
    pub(crate) fn prepare(
        config: &Config,
        url: &str,
        engine: &Arc<Engine>,
        clock: Clock,
    ) -> Result<Self, ClusterError> {
        if !config.clustered() {
            let this = Member {
                name: NodeName::new(&config.node_name())?,
                incarnation: Incarnation(rand::random()),
                mesh_address: SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0),
                client_url: url.to_owned(),
            };
            let info = NodeInfo {
                name: config.node_name(),
                url: url.to_owned(),
                incarnation: this.incarnation.0,
                load: NodeLoad::default(),
            };
            let sender: Arc<dyn StateSender> = Arc::new(Alone(this.clone()));
            let objects = Objects::new(Arc::clone(&sender), clock.cluster());
            let (to_nobody, limits) = (Arc::clone(&sender), Seti::default_limits());
            let seti = Seti::new(Arc::clone(engine), to_nobody, clock.cluster(), limits);
            seti.set_grace(Duration::from_millis(config.seti.grace_ms));
            return Ok(Self {
                directory: Arc::new(SetiDirectory(seti.clone())),
                nodes: Arc::new(LocalNodes::new(info)),
                objects,
                rooms: rooms(config, engine, sender, clock),
                alone: Some(Lonely {
                    this_node: this,
                    seti,
                }),
                cluster: None,
            });
        }
        let settings = cluster_config(config, url)?;
        let cluster = Cluster::new(
            settings,
            Arc::clone(engine),
            clock.cluster(),
            RandomSource::system(),
        )?;
        let objects = Objects::new(cluster.state_sender(), clock.cluster());
        cluster.register(StateChannel::OBJECTS, Arc::new(objects.clone()));
        cluster.register_oort(Arc::new(OortObjects::new(objects.clone())));
        let nodes = OortObject::new(&objects, NODES_OBJECT, NodeLoad::default())?;
        let rooms = rooms(config, engine, cluster.state_sender(), clock);
        if let Some(rooms) = &rooms {
            cluster.register(StateChannel::ROOMS, Arc::new(rooms.clone()));
        }
        Ok(Self {
            directory: Arc::new(SetiDirectory(cluster.seti().clone())),
            nodes: Arc::new(OortNodes(nodes)),
            objects,
            rooms,
            alone: None,
            cluster: Some(cluster),
        })
    }

    /// Listens for siblings and begins to look for them, then waits for those that are known, at most `wait`: a client
    /// that is served before would miss what is published elsewhere.
    pub(crate) async fn join(&self, wait: Duration) -> Result<(), ClusterError> {
        let Some(cluster) = &self.cluster else {
            return Ok(());
        };
        cluster.open(TokioNet).await?;
        let tls = cluster.has_tls();
        info!(mesh = %cluster.this_node().mesh_address, tls, "mesh listener is open");
        let deadline = Instant::now() + wait;
        while Instant::now() < deadline {
            let status = cluster.status();
            if status.members > 0 && status.members >= status.addresses {
                break;
            }
            tokio::time::sleep(JOIN_LOOK).await;
        }
        Ok(())
    }

    /// Says goodbye to the siblings.
    pub(crate) async fn leave(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.leave().await;
        }
    }

    /// Cuts the links, as a crash would.
    pub(crate) fn stop(&self) {
        if let Some(cluster) = &self.cluster {
            cluster.stop();
        }
    }

    /// This node as siblings see it.
    pub(crate) fn this_node(&self) -> Option<Member> {
        self.cluster.as_ref().map(Cluster::this_node)
    }

    /// Members of the cluster, this node included.
    pub(crate) fn member_count(&self) -> usize {
        1 + self
            .cluster
            .as_ref()
            .map_or(0, |cluster| cluster.members().len())
    }

    /// This node, then its siblings in the order of their names.
    pub(crate) fn members(&self) -> Vec<Member> {
        let Some(cluster) = &self.cluster else {
            let alone = self.alone.iter();
            return alone.map(|alone| alone.this_node.clone()).collect();
        };
        let mut siblings = cluster.members();
        siblings.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let mut members = vec![cluster.this_node()];
        members.append(&mut siblings);
        members
    }

    pub(crate) fn links(&self) -> Vec<LinkStats> {
        self.cluster
            .as_ref()
            .map(Cluster::link_stats)
            .unwrap_or_default()
    }

    /// The cluster layer; `None` when the node runs alone.
    pub(crate) fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_ref()
    }

    /// What the cluster layer has counted; `None` when the node runs alone.
    pub(crate) fn counters(&self) -> Option<Arc<Counters>> {
        self.cluster.as_ref().map(Cluster::counters)
    }

    /// To be called from time to time: whose grace is over leaves. In a cluster, the cluster layer does it.
    pub(crate) fn tick(&self) {
        if let Some(alone) = &self.alone {
            alone.seti.tick();
            if let Some(rooms) = &self.rooms {
                rooms.tick();
            }
        }
    }

    /// Brings readiness in line with the state of the cluster layer.
    pub(crate) fn judge(&self, readiness: &Readiness) {
        let Some(cluster) = &self.cluster else { return };
        let status = cluster.status();
        match status.conflicts.first() {
            Some(conflict) => {
                let detail = format!("{} is also called {}", conflict.holder, conflict.name);
                if readiness.set(Unready::NameConflict, detail.as_str()) {
                    warn!(
                        detail,
                        "name conflict: this node is no member of the cluster"
                    );
                }
            }
            None => readiness.clear(Unready::NameConflict),
        }
        if status.failed
            && readiness.set(
                Unready::ClusterFailed,
                "the cluster layer has ended by a fault",
            )
        {
            warn!("the cluster layer has ended by a fault: this node must be restarted");
        }
    }
}

/// Who is in which room, when there are rooms.
fn rooms(
    config: &Config,
    engine: &Arc<Engine>,
    sender: Arc<dyn StateSender>,
    clock: Clock,
) -> Option<Rooms> {
    let patterns = &config.presence.rooms;
    let rooms = || {
        let rooms = Rooms::new(
            engine,
            RoomPatterns::new(patterns),
            sender,
            clock.cluster(),
            Rooms::default_limits(),
        );
        rooms.set_grace(Duration::from_millis(config.seti.grace_ms));
        rooms
    };
    (!patterns.is_empty()).then(rooms)
}

/// The siblings of a node that has none.
struct Alone(Member);

impl StateSender for Alone {
    fn this_node(&self) -> Member {
        self.0.clone()
    }

    fn members(&self) -> Vec<Member> {
        Vec::new()
    }

    fn send_state(&self, to: &NodeId, _: StateChannel, _: Bytes) -> Result<(), SendError> {
        Err(SendError::NotMember(to.clone()))
    }

    fn broadcast_state(&self, _: StateChannel, _: Bytes) -> usize {
        0
    }
}

/// Seti, as the services see it.
struct SetiDirectory(Seti);

impl Directory for SetiDirectory {
    fn users(&self) -> Vec<UserId> {
        self.0.users()
    }

    fn user_count(&self) -> usize {
        self.0.user_count()
    }

    fn find_users(&self, text: &str, limit: usize) -> Vec<UserId> {
        self.0.find_users(text, limit)
    }

    fn users_here(&self) -> usize {
        self.0.local_user_count()
    }

    fn nodes_of(&self, user: &UserId) -> Vec<String> {
        self.0
            .presence(user)
            .iter()
            .map(|node| node.as_str().to_owned())
            .collect()
    }

    fn sessions_here(&self, user: &UserId) -> Vec<SessionId> {
        self.0.sessions(user)
    }

    fn send(&self, user: &UserId, publication: &Arc<Publication>, _now: Millis) -> Reached {
        reached(self.0.send(user, publication))
    }

    fn disconnect(&self, user: &UserId, _now: Millis) -> Reached {
        reached(self.0.disconnect(user))
    }

    fn add_listener(&self, listener: Arc<dyn DirectoryListener>) {
        self.0.add_listener(Arc::new(Told(listener)));
    }
}

fn reached(outcome: SendOutcome) -> Reached {
    let names = |nodes: Vec<NodeName>| nodes.iter().map(|node| node.as_str().to_owned()).collect();
    Reached {
        here: outcome.local,
        nodes: names(outcome.nodes),
        refused: names(outcome.refused),
    }
}

/// Passes on what Seti tells.
struct Told(Arc<dyn DirectoryListener>);

impl PresenceListener for Told {
    fn present(&self, user: &UserId, node: &NodeName) {
        self.0.joined(user, node.as_str());
    }

    fn absent(&self, user: &UserId, node: &NodeName) {
        self.0.left(user, node.as_str());
    }
}

/// The replicated object, as the services see it.
struct OortNodes(OortObject<NodeLoad>);

impl Nodes for OortNodes {
    fn update(&self, load: NodeLoad) {
        if let Err(error) = self.0.set(load) {
            warn!(%error, "cannot tell the siblings about this node");
        }
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        let parts = self.0.parts().into_iter();
        let mut nodes: Vec<NodeInfo> = parts
            .map(|(member, load)| NodeInfo {
                name: member.name.as_str().to_owned(),
                url: member.client_url,
                incarnation: member.incarnation.0,
                load: *load,
            })
            .collect();
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }
}
