//! The handle to the cluster layer of a node.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_bayeux::Engine;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::discovery;
use crate::forwarding::InterestListener;
use crate::membership::Conflict;
use crate::net::{Listener, Net};
use crate::oort;
use crate::runtime::{self, Actor, Event, Receivers, Registrations, Shared, StateLinks, Status};
use crate::service::{ServiceLimits, Services};
use crate::seti::Seti;
use crate::{
    Clock, ClusterConfig, ConfigError, Counters, Incarnation, InterestQuery, InterestReport,
    Member, MembershipListener, MeshTls, NodeId, NodeName, OortConfig, OortState, OortUrl,
    RandomSource, Secrets, SendError, StateChannel, StateHandler, StateSender,
};

/// Why the cluster layer cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
    Config(Vec<ConfigError>),
    /// The mesh address cannot be listened on.
    #[error("mesh.listen: {address}: {error}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// It was started before.
    #[error("the cluster layer was started before")]
    StartedBefore,
}

/// Which protocol the links to a member speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// That of Halley nodes.
    Native,
    /// That of CometD's Oort.
    Oort,
}

impl Dialect {
    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::Oort => "oort",
        }
    }
}

/// The link to one sibling.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkStats {
    /// Who is at the other end.
    pub sibling: NodeName,
    /// Which protocol the link speaks. Of a Java node it is both links, that of each side.
    pub dialect: Dialect,
    /// It is a member at present.
    pub up: bool,
    /// Bytes that wait to be written.
    pub queue_bytes: u64,
    /// Bytes that were written and are not acknowledged: what can be written again when the connection breaks.
    pub window_bytes: u64,
    /// Publications written to the present link, or to the last one. To a Java node: messages delivered to its session with
    /// acknowledgement, state included.
    pub publications_sent: u64,
    /// Bytes of frames written to the sibling since the start.
    pub bytes_sent: u64,
    /// Bytes of frames read from the sibling since the start.
    pub bytes_received: u64,
    /// How often the link to the sibling went on over another connection.
    pub resumed: u64,
    /// Frames that were written again for that; messages to Java nodes.
    pub frames_resent: u64,
    /// Publications lost with links to the sibling. Those that were under way count when the sibling has said which of
    /// them came in, or after 15 s. Of a Java node all count that it has not acknowledged when its session ends.
    pub publications_lost: u64,
    /// The last round trip that was measured on this node's link.
    pub rtt: Option<Duration>,
    /// The last round trip that the sibling has measured on its link to this node; on that of a Java node this node has.
    pub rtt_of_sibling: Option<Duration>,
}

/// The cluster layer of a node. A handle: clones are the same node.
///
/// Made by [`Cluster::new`], which does no IO, so that handlers can be registered; then [`Cluster::open`] joins.
/// When the last handle is dropped, the node stops as if it had crashed; [`Cluster::leave`] says goodbye first.
#[derive(Clone, Debug)]
pub struct Cluster {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    shared: Arc<Shared>,
    links: StateLinks,
    seti: Seti,
    /// What translates state for nodes of the Oort dialect. Taken when the node joins.
    oort_states: Mutex<Vec<Arc<dyn OortState>>>,
    services: Services,
    /// Taken when the node joins.
    events: Mutex<Option<Receivers>>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.cancel.cancel();
        // Handlers hold what they send with: those that were never taken over must not keep it, and each other, alive.
        *self.shared.registrations.lock() = Registrations::default();
    }
}

impl Cluster {
    /// Prepares the cluster layer. `clock` is that of everything that talks to the engine.
    ///
    /// # Errors
    /// When the configuration cannot work.
    pub fn new(
        config: ClusterConfig,
        engine: Arc<Engine>,
        clock: Clock,
        random: RandomSource,
    ) -> Result<Self, StartError> {
        config.validate().map_err(StartError::Config)?;
        let me = Member {
            name: config.name.clone(),
            incarnation: Incarnation(random.next_u64()),
            mesh_address: config.advertise.unwrap_or(config.listen),
            client_url: config.client_url.clone(),
        };
        let (shared, events) = Shared::new(config, clock, random, engine.clone(), me);
        let shared = Arc::new(shared);
        let links = StateLinks::new(shared.clone());
        let sender = Arc::new(links.clone());
        let seti = Seti::new(engine, sender, clock, Seti::default_limits());
        seti.set_grace(shared.config.presence_grace);
        let services = Services::new(Arc::new(links.clone()), ServiceLimits::default());
        let inner = Inner {
            shared,
            links,
            seti: seti.clone(),
            oort_states: Mutex::default(),
            services: services.clone(),
            events: Mutex::new(Some(events)),
        };
        let cluster = Self {
            inner: Arc::new(inner),
        };
        cluster.register(StateChannel::SETI_MESSAGES, seti.message_handler());
        cluster.register(StateChannel::SETI_DISCONNECTS, seti.disconnect_handler());
        cluster.register(StateChannel::SETI, Arc::new(seti));
        cluster.register(StateChannel::SERVICES, Arc::new(services));
        Ok(cluster)
    }

    /// Prepares and joins in one step, with the operating system's random numbers: for a node that registers nothing.
    ///
    /// # Errors
    /// See [`Cluster::new`] and [`Cluster::open`].
    pub async fn start<N: Net>(
        net: N,
        config: ClusterConfig,
        engine: Arc<Engine>,
        clock: Clock,
    ) -> Result<Self, StartError> {
        let cluster = Self::new(config, engine, clock, RandomSource::system())?;
        cluster.open(net).await?;
        Ok(cluster)
    }

    /// Listens, and begins to look for siblings. Handlers and listeners should be registered before.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn open<N: Net>(&self, net: N) -> Result<(), StartError> {
        let shared = &self.inner.shared;
        let address = shared.config.listen;
        let events = self
            .inner
            .events
            .lock()
            .take()
            .ok_or(StartError::StartedBefore)?;
        let listen = async {
            let listener = net.listen(address).await?;
            let bound = listener.local_address()?;
            Ok((listener, bound))
        };
        let (listener, bound) = match listen.await {
            Ok(listening) => listening,
            Err(error) => {
                *self.inner.events.lock() = Some(events);
                return Err(StartError::Listen { address, error });
            }
        };
        {
            let mut me = shared.me.write();
            if me.mesh_address.port() == 0 {
                me.mesh_address.set_port(bound.port());
            }
        }
        let listener_of_interest = InterestListener(shared.interest.clone());
        shared
            .engine
            .add_subscription_listener(Arc::new(listener_of_interest));
        shared.interest.begin(&shared.engine);
        shared.status.lock().listening = true;
        shared.beat_from_now();
        if let Some(config) = shared.config.oort.clone() {
            self.open_oort(&net, config)?;
        }
        let actor = Actor::new(net.clone(), shared.clone());
        shared.tasks.spawn(actor.run(events));
        self.spawn(runtime::heart(shared.clone()));
        let seti = self.inner.seti.clone();
        self.spawn(runtime::accept(listener, shared.clone(), seti));
        self.spawn(discovery::run_seeds(net.clone(), shared.clone()));
        if let Some(group) = shared.config.multicast.clone() {
            self.spawn(discovery::run_multicast(net.clone(), group, shared.clone()));
        }
        if let Some(dns) = shared.config.dns.clone() {
            self.spawn(discovery::run_dns(net, dns, shared.clone()));
        }
        Ok(())
    }

    /// Begins to speak the Oort dialect, and to look for its nodes.
    fn open_oort<N: Net>(&self, net: &N, config: OortConfig) -> Result<(), StartError> {
        let shared = &self.inner.shared;
        let url = match config.url.clone() {
            Some(url) => url,
            None => OortUrl::parse(&format!("http://{}/cometd", shared.me().mesh_address))
                .map_err(|error| {
                    StartError::Config(vec![ConfigError {
                        key: "mesh.oort.url",
                        problem: error.to_string(),
                    }])
                })?,
        };
        let multicast = config.multicast.clone();
        let states = std::mem::take(&mut *self.inner.oort_states.lock());
        let seti = self.inner.seti.clone();
        let (side, task) = {
            let services = self.inner.services.clone();
            oort::run(
                net.clone(),
                shared.clone(),
                config,
                url,
                seti,
                services,
                states,
            )
        };
        tracing::info!(url = %side.url(), "Oort nodes may join");
        if let Some(group) = multicast {
            self.spawn(oort::run_multicast(
                net.clone(),
                group,
                shared.clone(),
                side.clone(),
            ));
        }
        let _ = shared.oort.set(side);
        // It ends its links by itself when the node stops.
        shared.tasks.spawn(Box::pin(task));
        Ok(())
    }

    /// Runs a task until the node stops.
    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let cancel = self.inner.shared.cancel.clone();
        self.inner
            .shared
            .tasks
            .spawn(async move { cancel.run_until_cancelled(Box::pin(task)).await });
    }

    /// This node, as siblings see it.
    pub fn this_node(&self) -> Member {
        self.inner.shared.me()
    }

    /// The user directory of the cluster.
    pub fn seti(&self) -> &Seti {
        &self.inner.seti
    }

    /// The services whose data is owned by one node each.
    pub fn services(&self) -> &Services {
        &self.inner.services
    }

    /// What sends state, without keeping the node running: for handlers, which a `Cluster` would keep alive for ever.
    pub fn state_sender(&self) -> Arc<dyn StateSender> {
        Arc::new(self.inner.links.clone())
    }

    /// The members, without this node, by name.
    pub fn members(&self) -> Vec<Member> {
        self.inner.links.members()
    }

    /// Adds a listener. It is told of the present members first.
    pub fn add_membership_listener(&self, listener: Arc<dyn MembershipListener>) {
        self.inner
            .shared
            .registrations
            .lock()
            .listeners
            .push(listener);
        self.inner.shared.wake.notify_one();
    }

    /// Sets the handler of a state channel. It is told of the present members first, but what they have sent before is
    /// lost to it: register before [`Cluster::open`].
    pub fn register(&self, channel: StateChannel, handler: Arc<dyn StateHandler>) {
        self.inner
            .shared
            .registrations
            .lock()
            .handlers
            .push((channel, handler));
        self.inner.shared.wake.notify_one();
    }

    /// Sets what translates a kind of state for nodes of the Oort dialect. Only before [`Cluster::open`].
    pub fn register_oort(&self, state: Arc<dyn OortState>) {
        self.inner.oort_states.lock().push(state);
    }

    /// This node's URL in the Oort dialect, once it speaks it.
    pub fn oort_url(&self) -> Option<OortUrl> {
        self.inner.shared.oort.get().map(|oort| oort.url().clone())
    }

    /// An Oort node may be at this URL. Nothing where that dialect is not spoken.
    pub fn observe_oort(&self, url: &OortUrl) {
        if let Some(oort) = self.inner.shared.oort.get() {
            oort.observe(url.as_str());
        }
    }

    /// Which dialect the links to a member speak; none when it is no member.
    pub fn dialect(&self, member: &NodeName) -> Option<Dialect> {
        let members = self.inner.shared.members.read();
        members.get(member).map(|entry| entry.dialect)
    }

    /// The state for readiness.
    pub fn status(&self) -> Status {
        self.inner.shared.status.lock().clone()
    }

    /// Other live nodes with this node's name.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.status().conflicts
    }

    /// The links to the siblings, also to those that have left.
    pub fn link_stats(&self) -> Vec<LinkStats> {
        let links = self.inner.shared.links.lock();
        let stats = links.iter().map(|(sibling, record)| {
            let totals = self.inner.shared.totals(sibling);
            LinkStats {
                queue_bytes: record.queue.queued_bytes(),
                window_bytes: record.queue.window_bytes(),
                publications_sent: record.queue.publications_sent(),
                ..totals.stats(sibling, Dialect::Native, record.up)
            }
        });
        let mut stats: Vec<LinkStats> = stats.collect();
        drop(links);
        if let Some(oort) = self.inner.shared.oort.get() {
            stats.extend(oort.link_stats());
            stats.sort_by(|a, b| a.sibling.cmp(&b.sibling));
        }
        stats
    }

    /// What this node and its siblings want. It waits for its turn among the events of the links.
    ///
    /// Cancel-safe.
    pub async fn interest(&self, query: InterestQuery) -> InterestReport {
        let shared = &self.inner.shared;
        let own = shared.interest.report(&query);
        let (reply, answer) = oneshot::channel();
        shared.event(Event::ReportInterest(query, reply)).await;
        // No answer comes from a node that has stopped: it has no siblings.
        let siblings = answer.await.unwrap_or_default();
        InterestReport { own, siblings }
    }

    /// Replaces the secrets. Links that stand are not proven again, so nobody leaves; every later handshake and datagram
    /// goes by the new ones.
    pub fn set_secrets(&self, secrets: Secrets) {
        self.inner.shared.set_secrets(secrets);
    }

    /// Replaces certificates, key and authorities. Links that stand live on; every later connection goes by the new ones.
    /// For a node that was started with TLS: one without it stays without.
    pub fn set_tls(&self, tls: MeshTls) {
        self.inner.shared.set_tls(tls);
    }

    /// Whether connections to and from siblings go over TLS.
    pub fn has_tls(&self) -> bool {
        self.inner.shared.tls().is_some()
    }

    /// How many secrets are accepted.
    pub fn secret_count(&self) -> usize {
        self.inner.shared.secrets().count()
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Arc<Counters> {
        self.inner.shared.counters.clone()
    }

    /// Stops without a word, as a crash would: the sockets are closed, and siblings notice that.
    pub fn stop(&self) {
        self.inner.shared.cancel.cancel();
    }

    /// Leaves on purpose: what waits is written, the siblings are told, and the sockets are closed. Takes at most about
    /// a second. The node cannot join again.
    ///
    /// Cancel-safe: the node leaves all the same.
    pub async fn leave(&self) {
        let shared = &self.inner.shared;
        if self.inner.events.lock().is_some() {
            return;
        }
        let (done, left) = oneshot::channel();
        *shared.leave.lock() = Some(done);
        shared.wake.notify_one();
        tokio::select! {
            biased;
            _ = left => {}
            () = shared.cancel.cancelled() => {}
        }
        shared.tasks.close();
        shared.tasks.wait().await;
    }
}

impl StateSender for Cluster {
    fn this_node(&self) -> Member {
        Cluster::this_node(self)
    }

    fn members(&self) -> Vec<Member> {
        Cluster::members(self)
    }

    fn send_state(&self, to: &NodeId, channel: StateChannel, body: Bytes) -> Result<(), SendError> {
        self.inner.links.send_state(to, channel, body)
    }

    fn broadcast_state(&self, channel: StateChannel, body: Bytes) -> usize {
        self.inner.links.broadcast_state(channel, body)
    }
}
