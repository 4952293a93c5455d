//! One simulated node: a real engine and a real cluster layer, with local sessions as publisher, subscriber and user.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{
    ChannelName, DefaultPolicy, Engine, EngineConfig, Json, LocalSession, Publication, UserId,
};
use halley_cluster::seti::PresenceListener;
use halley_cluster::{
    Clock, Cluster, ClusterConfig, Member, MembershipListener, NodeName, RandomSource, Secret,
    StateChannel,
};
use halley_replication::{Objects, OortObject};
use parking_lot::Mutex;

use super::SimNet;
use super::trace::{Message, Trace, What};

/// Port of the mesh listener.
pub(super) const PORT: u16 = 7400;
/// Where the publishers publish.
pub(super) const CHANNEL: &str = "/sim/events";
/// Where users are sent messages: nobody is subscribed to it.
const DIRECT: &str = "/direct/user";
/// One in so many messages is sent to users.
const DIRECT_EVERY: u64 = 4;
/// What nodes subscribe to: all match [`CHANNEL`], so that overlaps are tried too.
pub(super) const PATTERNS: [&str; 3] = ["/sim/events", "/sim/*", "/**"];
/// The object that every node has a part of.
const OBJECT: &str = "toggles";
/// How often a node looks at what it is told to do.
const STEP: Duration = Duration::from_millis(10);

/// What the world tells a node.
#[derive(Clone, Copy, Debug)]
pub(super) enum Order {
    Publish,
    Toggle(usize),
    Stop,
}

/// What world and node share. It outlives the node's lives.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) orders: VecDeque<Order>,
    pub(super) life: usize,
    pub(super) cluster: Option<Cluster>,
    /// Of which each node changes its part whenever it subscribes or unsubscribes.
    pub(super) object: Option<OortObject<u64>>,
    /// Which of the patterns the node is subscribed to.
    pub(super) subscribed: [bool; PATTERNS.len()],
    /// Messages that this life has published.
    pub(super) published: u64,
}

/// A node as the world sees it.
#[derive(Clone, Debug)]
pub(super) struct Host {
    pub(super) index: usize,
    pub(super) nodes: usize,
    pub(super) seed: u64,
    pub(super) slot: Arc<Mutex<Slot>>,
    pub(super) trace: Trace,
}

/// Writes membership and presence into the trace.
struct Observer {
    node: (usize, usize),
    trace: Trace,
}

impl Observer {
    fn add(&self, what: What) {
        self.trace.add(now(), Some(self.node), what);
    }
}

impl MembershipListener for Observer {
    fn joined(&self, member: &Member) {
        self.add(What::Joined(member.id().to_string()));
    }
    fn left(&self, member: &Member) {
        self.add(What::Left(member.id().to_string()));
    }
}

impl PresenceListener for Observer {
    fn present(&self, user: &UserId, node: &NodeName) {
        self.add(What::Presence(format!("+{}@{node}", user.as_str())));
    }
    fn absent(&self, user: &UserId, node: &NodeName) {
        self.add(What::Presence(format!("-{}@{node}", user.as_str())));
    }
}

impl Host {
    /// One life of the node.
    pub(super) async fn run(self) -> Result<(), Box<dyn std::error::Error>> {
        let life = {
            let mut slot = self.slot.lock();
            slot.life += 1;
            slot.orders.clear();
            slot.published = 0;
            slot.life
        };
        let node = (self.index, life);
        self.trace.add(now(), Some(node), What::Started);
        let engine = Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::default()));
        let clock = Clock::start();
        // The seed of a life depends on nothing but the run's seed, the node and the life.
        let seed = self.seed.wrapping_mul(1_000_003) ^ ((self.index as u64) << 32) ^ life as u64;
        let cluster = Cluster::new(
            self.config()?,
            engine.clone(),
            clock,
            RandomSource::seeded(seed),
        )?;
        let observer = Arc::new(Observer {
            node,
            trace: self.trace.clone(),
        });
        cluster.add_membership_listener(observer.clone());
        cluster.seti().add_listener(observer);
        let objects = Objects::new(cluster.state_sender(), clock);
        cluster.register(StateChannel::OBJECTS, Arc::new(objects.clone()));
        let object = OortObject::new(&objects, OBJECT, 0)?;
        cluster.open(SimNet).await?;
        let trace = self.trace.clone();
        let receiver = move |publication: &Arc<Publication>| {
            if let Some(message) = parse(publication) {
                let what = match publication.channel().as_str() {
                    DIRECT => What::Taken(message),
                    _ => What::Delivered(message),
                };
                trace.add(now(), Some(node), what);
            }
        };
        let user = UserId::new(&format!("user{}", self.index))?;
        let session = engine.local_session(Some(user), Arc::new(receiver));
        let wanted = self.slot.lock().subscribed;
        for (pattern, _) in PATTERNS.iter().zip(wanted).filter(|(_, wanted)| *wanted) {
            session
                .subscribe(&ChannelName::parse(pattern)?, clock.now())
                .await?;
        }
        self.trace
            .add(now(), Some(node), What::Subscribed(wanted.contains(&true)));
        {
            let mut slot = self.slot.lock();
            slot.cluster = Some(cluster.clone());
            slot.object = Some(object.clone());
        }
        loop {
            tokio::time::sleep(STEP).await;
            engine.tick(clock.now());
            loop {
                let order = self.slot.lock().orders.pop_front();
                match order {
                    None => break,
                    Some(Order::Stop) => {
                        cluster.stop();
                        std::future::pending::<()>().await;
                    }
                    Some(Order::Publish) => self.publish(&engine, &cluster, node, clock)?,
                    Some(Order::Toggle(pattern)) => {
                        object.set(*object.local() + 1)?;
                        self.toggle(&session, pattern, clock).await?;
                        let matches = self.slot.lock().subscribed.contains(&true);
                        self.trace.add(now(), Some(node), What::Subscribed(matches));
                    }
                }
            }
        }
    }

    fn config(&self) -> Result<ClusterConfig, Box<dyn std::error::Error>> {
        let name = NodeName::new(&format!("n{}", self.index))?;
        let mut config = ClusterConfig::new(
            name.clone(),
            ([0, 0, 0, 0], PORT).into(),
            Secret::new(&[7; 32])?,
        );
        config.advertise = Some((turmoil::lookup(name.as_str()), PORT).into());
        // The first node is the seed of all, and has the last one as its own, so that a halved cluster finds together.
        let seed = if self.index == 0 { self.nodes - 1 } else { 0 };
        config.siblings = vec![format!("n{seed}:{PORT}")];
        Ok(config)
    }

    fn publish(
        &self,
        engine: &Engine,
        cluster: &Cluster,
        node: (usize, usize),
        clock: Clock,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let number = {
            let mut slot = self.slot.lock();
            slot.published += 1;
            slot.published
        };
        let message = Message {
            publisher: node.0,
            life: node.1,
            number,
        };
        let data = format!(
            "[{},{},{}]",
            message.publisher, message.life, message.number
        );
        let data = Json::validate(&data, 4)?;
        if number % DIRECT_EVERY == 0 {
            let publication = Publication::new(&ChannelName::parse(DIRECT)?, data);
            let mut siblings = Vec::new();
            for at in 0..self.nodes {
                let user = UserId::new(&format!("user{at}"))?;
                let outcome = cluster.seti().send(&user, &publication);
                siblings.extend((!outcome.nodes.is_empty()).then_some(at));
            }
            let sent = What::Sent(message, siblings);
            self.trace.add(now(), Some(node), sent);
        } else {
            self.trace.add(now(), Some(node), What::Published(message));
            let publication = Publication::new(&ChannelName::parse(CHANNEL)?, data);
            engine.publish(&publication, clock.now());
        }
        Ok(())
    }

    async fn toggle(
        &self,
        session: &LocalSession,
        pattern: usize,
        clock: Clock,
    ) -> Result<(), Box<dyn std::error::Error>> {
        let subscribe = {
            let mut slot = self.slot.lock();
            slot.subscribed[pattern] = !slot.subscribed[pattern];
            slot.subscribed[pattern]
        };
        let channel = ChannelName::parse(PATTERNS[pattern])?;
        if subscribe {
            session.subscribe(&channel, clock.now()).await?;
        } else {
            session.unsubscribe(&channel, clock.now()).await?;
        }
        Ok(())
    }
}

fn parse(publication: &Publication) -> Option<Message> {
    let (publisher, life, number) = serde_json::from_str(publication.data()?).ok()?;
    Some(Message {
        publisher,
        life,
        number,
    })
}

/// Virtual time since the beginning of the run. A node that is dropped with the whole simulation has none: zero.
fn now() -> Duration {
    turmoil::sim_elapsed().unwrap_or_default()
}
