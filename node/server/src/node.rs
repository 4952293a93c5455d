//! A running node: what it consists of, how it starts and how it ends.
//!
//! ```text
//! start: engine, services ──> cluster ──> admin listener ──> client listener ──> ready
//! drain: readyz 503 ──> wait ──> stop accepting ──> flush ──> tell sessions, close ──> leave the cluster ──> end
//! ```

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use halley_bayeux::{ChannelName, EndReason, Engine, SessionListener};
use halley_cluster::TlsMode;
use halley_cluster::seti::RoomPatterns;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use crate::admin;
use crate::api::{self, Api, Tokens};
use crate::application::{Application, ApplicationError};
use crate::builder::NodeBuilder;
use crate::client::{self, Admissions, Endpoint};
use crate::clock::Clock;
use crate::cluster::{ClusterError, ClusterParts};
use crate::config::{self, Config, ConfigError};
use crate::handle::NodeHandle;
use crate::http_server::{self, Http2Limits, HttpServer, Limits};
use crate::local::LocalSessions;
use crate::metrics::{Metrics, NodeFigures};
use crate::proxies::Proxies;
use crate::readiness::{Readiness, Unready};
use crate::secret_file;
use crate::security::{Security, SecurityError};
use crate::services::{self, Direct, NodeInfo, NodesService, Presence, RoomPresence};
use crate::tasks::Tasks;
use crate::tls::{MeshCertificates, MeshFiles, Tls, TlsFiles};

/// Time between two calls of the engine's timers.
const TICK: Duration = Duration::from_millis(50);

/// The admin listener is for a few scrapers and operators.
const ADMIN_CONNECTIONS_MAX: usize = 256;

/// The longest part of a drain that is spent on waiting for queues to empty.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// How long a shutdown waits for tasks that were told to end.
const SHUTDOWN_MAX: Duration = Duration::from_secs(1);

/// Time between two looks at the queues meanwhile.
const FLUSH_LOOK: Duration = Duration::from_millis(20);

/// Nesting of a direct message: what a client may send, and the object around it.
const DIRECT_DEPTH_MORE: usize = 2;

/// Why a node did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// An address is taken or does not belong to this machine.
    #[error("cannot listen on {address} ({key}): {error}")]
    Listen {
        /// The option with the address.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        error: std::io::Error,
    },
    /// Certificate or key cannot be used any more; they could when the configuration was checked.
    #[error("{0}")]
    Tls(String),
    /// The metrics cannot be registered.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The node cannot take part in its cluster.
    #[error(transparent)]
    Cluster(#[from] ClusterError),
    /// The keys of the security policy cannot be used.
    #[error("security: {0}")]
    Security(#[from] SecurityError),
    /// A built-in channel name is not valid.
    #[error("channel: {0}")]
    Channel(#[from] halley_bayeux::InvalidChannel),
    /// Calls cannot be handed to the application.
    #[error("services: {0}")]
    Services(String),
    /// There is no configuration to start with.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// What the application brings cannot be used.
    #[error(transparent)]
    Application(#[from] ApplicationError),
}

/// What the parts of a node share.
pub(crate) struct Shared {
    pub(crate) name: String,
    pub(crate) config: Config,
    pub(crate) engine: Arc<Engine>,
    pub(crate) clock: Clock,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) readiness: Arc<Readiness>,
    pub(crate) cluster: ClusterParts,
    pub(crate) security: Security,
    /// `None`: clients are served in clear text.
    pub(crate) tls: Option<Arc<Tls>>,
    /// Those of the links.
    pub(crate) mesh_tls: Option<Arc<MeshCertificates>>,
    /// The applications of the API.
    pub(crate) api_tokens: Arc<Tokens>,
    /// Notified when files that may have changed are to be read again.
    pub(crate) reload: Notify,
    /// Cancelled when an operator asks the process to end.
    pub(crate) drain_requested: CancellationToken,
    pub(crate) local_sessions: Arc<LocalSessions>,
    /// What answers calls.
    pub(crate) tasks: Tasks,
    /// Cancelled when the node has ended.
    pub(crate) ended: CancellationToken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl Shared {
    /// What the metrics show beside the engine's figures.
    pub(crate) fn figures(&self) -> NodeFigures {
        NodeFigures {
            members: self.cluster.member_count(),
            secrets: self
                .cluster
                .cluster()
                .map_or(0, |cluster| cluster.secret_count()),
            ready: self.readiness.is_ready(),
            links: self.cluster.links(),
            objects: self.cluster.objects.report(),
            cluster: self.cluster.counters(),
        }
    }

    pub(crate) fn nodes(&self) -> Vec<NodeInfo> {
        self.cluster.nodes.nodes()
    }
}

/// One running node. Dropping it cuts everything off; [`Node::drain`] ends it in order.
///
/// Made by [`Node::builder`].
#[derive(Debug)]
pub struct Node {
    shared: Arc<Shared>,
    handle: NodeHandle,
    client_url: String,
    client_address: SocketAddr,
    admin_address: SocketAddr,
    api_address: Option<SocketAddr>,
    /// Client listener, connections and WebSockets.
    clients: TaskTracker,
    /// Everything else.
    background: TaskTracker,
    stop_accepting: CancellationToken,
    close_clients: CancellationToken,
    end: CancellationToken,
}

impl Drop for Node {
    fn drop(&mut self) {
        for token in [&self.stop_accepting, &self.close_clients, &self.end] {
            token.cancel();
        }
        // The links hold the node's parts, and the parts the links: they do not end by being dropped.
        self.shared.cluster.stop();
    }
}

impl Node {
    /// Begins to set up a node.
    #[must_use]
    pub fn builder() -> NodeBuilder {
        NodeBuilder::default()
    }

    /// Starts a node that brings nothing but its configuration; when this returns, clients are served.
    ///
    /// # Errors
    /// As [`NodeBuilder::start`].
    pub async fn start(config: Config) -> Result<Self, StartError> {
        Self::builder().config(config).start().await
    }

    /// Starts a node with what the application brings.
    pub(crate) async fn launch(
        config: Config,
        application: Application,
        handle: NodeHandle,
    ) -> Result<Self, StartError> {
        let mut application = application.check(&config)?;
        let clock = Clock::start();
        let name = config.node_name();
        info!(node = %name, version = env!("CARGO_PKG_VERSION"), "node starts");
        info!(configuration = %config::effective(&config), "effective configuration");
        info!("nothing is kept on disk: sessions and queues end with the process");
        if config.seti.trust_handshake_user {
            warn!("seti.trust_handshake_user is on: whoever connects may claim to be any user");
        }
        // All addresses are taken before anything runs, so that a failure leaves nothing behind.
        let client_listener = listen("client.listen", config.client.listen).await?;
        let admin_listener = listen("admin.listen", config.admin.listen).await?;
        let client_address =
            local_address("client.listen", config.client.listen, &client_listener)?;
        let admin_address = local_address("admin.listen", config.admin.listen, &admin_listener)?;

        let (api_listener, api_address) = match config.api.listen {
            None => (None, None),
            Some(address) => {
                let listener = listen("api.listen", address).await?;
                let address = local_address("api.listen", address, &listener)?;
                (Some(listener), Some(address))
            }
        };

        let metrics = Arc::new(Metrics::new()?);
        let security = Security::new(&config, &name, Arc::clone(&metrics))?;
        let policy = application.policy(security.policy());
        let engine = Engine::new(config.session.clone(), policy);
        engine.set_wall_clock(since_1970().as_millis() as u64, clock.now());
        security.attach(&engine);
        engine.set_admission(Arc::new(Admissions::new(
            &config.client,
            Arc::clone(&metrics),
            clock.now(),
        )));
        let tls = load_tls(&config, &metrics)?;
        let readiness = Arc::new(Readiness::starting());
        let url = client_url(&config, client_address, &name);
        let background = TaskTracker::new();
        let end = CancellationToken::new();

        let cluster = ClusterParts::prepare(&config, &url, &engine, clock)?;
        start_services(&config, &name, &engine, &cluster, clock, &background, &end)?;
        let tasks = Tasks::new(background.clone(), end.clone());
        services::call_hooks::start(&config.services, &name, &engine, &metrics, tasks.clone())
            .map_err(StartError::Services)?;
        let mesh_tls = mesh_certificates(&config, &cluster, &metrics);
        let local_sessions = Arc::new(LocalSessions::default());
        engine.add_session_listener(Arc::clone(&local_sessions) as Arc<dyn SessionListener>);
        let files = application.files();
        application.attach(&engine, &cluster);
        let shared = Arc::new(Shared {
            name,
            engine,
            clock,
            metrics,
            readiness,
            cluster,
            security,
            tls,
            mesh_tls,
            api_tokens: Tokens::new(&config.api),
            reload: Notify::new(),
            drain_requested: CancellationToken::new(),
            local_sessions,
            tasks,
            ended: end.clone(),
            config,
        });
        handle.tie(&shared);
        background.spawn(tick(Arc::clone(&shared), end.clone()));
        let reload_ms = shared.config.client.tls.reload_interval_ms;
        if let Some(tls) = shared.tls.clone().filter(|_| reload_ms > 0) {
            background.spawn(tls.keep_fresh(Duration::from_millis(reload_ms), end.clone()));
        }
        let reload_ms = shared.config.mesh.tls.reload_interval_ms;
        if let Some(mesh_tls) = shared.mesh_tls.clone().filter(|_| reload_ms > 0) {
            background.spawn(mesh_tls.keep_fresh(Duration::from_millis(reload_ms), end.clone()));
        }
        if let Some(watch) = shared.security.watch_keys() {
            background.spawn(end.clone().run_until_cancelled_owned(watch));
        }
        if shared.config.clustered() {
            let watch = secret_file::watch(Arc::clone(&shared));
            background.spawn(end.clone().run_until_cancelled_owned(watch));
        }
        let node = Self {
            shared,
            handle,
            client_url: url.clone(),
            client_address,
            admin_address,
            api_address,
            clients: TaskTracker::new(),
            background,
            stop_accepting: CancellationToken::new(),
            close_clients: CancellationToken::new(),
            end,
        };
        node.serve_admin(admin_listener);
        node.shared
            .cluster
            .join(Duration::from_millis(node.shared.config.mesh.join_wait_ms))
            .await?;
        node.serve_clients(client_listener, files);
        if let Some(listener) = api_listener {
            node.serve_api(listener);
        }
        node.shared.readiness.clear(Unready::Starting);
        info!(node = %node.shared.name, client = %client_address, url = %url, admin = %admin_address, "node is ready");
        Ok(node)
    }

    fn serve_admin(&self, listener: TcpListener) {
        let client = &self.shared.config.client;
        let server = HttpServer {
            listener,
            stop: self.end.clone(),
            shared: Arc::new(http_server::Shared {
                routes: admin::router(Arc::clone(&self.shared)).into(),
                limits: Limits {
                    max_connections: ADMIN_CONNECTIONS_MAX,
                    max_connections_per_address: 0,
                    header_timeout: Duration::from_millis(client.header_timeout_ms),
                    write_timeout: Duration::from_millis(client.write_timeout_ms),
                    max_header_bytes: client.max_header_bytes,
                    http2: None,
                },
                tls: None,
                tracker: self.background.clone(),
                close: self.end.clone(),
                proxies: Proxies::new(&[]),
                metrics: None,
            }),
        };
        self.background.spawn(server.run());
    }

    /// The API ends with the clients, before the cluster is left: what an application has published reaches the siblings.
    fn serve_api(&self, listener: TcpListener) {
        let shared = &self.shared;
        let (client, api) = (&shared.config.client, &shared.config.api);
        if let Some(address) = self.api_address {
            info!(api = %address, tls = api.tls, "the API is served");
            if !api.tls && !address.ip().is_loopback() {
                warn!(api = %address, "the API is served in clear text on more than this machine: tokens and data can be read on the way; set api.tls");
            }
        }
        let watch = Arc::clone(&shared.api_tokens).watch(Arc::clone(&shared.metrics));
        self.background
            .spawn(self.end.clone().run_until_cancelled_owned(watch));
        let server = HttpServer {
            listener,
            stop: self.stop_accepting.clone(),
            shared: Arc::new(http_server::Shared {
                routes: api::router(Api::new(Arc::clone(shared), Arc::clone(&shared.api_tokens)))
                    .into(),
                limits: Limits {
                    max_connections: api.max_connections,
                    max_connections_per_address: 0,
                    header_timeout: Duration::from_millis(client.header_timeout_ms),
                    write_timeout: Duration::from_millis(client.write_timeout_ms),
                    max_header_bytes: client.max_header_bytes,
                    http2: Some(http2_limits(&client.http2)),
                },
                tls: shared.tls.clone().filter(|_| api.tls),
                proxies: Proxies::new(&[]),
                tracker: self.clients.clone(),
                close: self.close_clients.clone(),
                metrics: None,
            }),
        };
        self.clients.spawn(server.run());
    }

    fn serve_clients(&self, listener: TcpListener, files: Router) {
        let shared = &self.shared;
        let client = &shared.config.client;
        let endpoint = Arc::new(Endpoint::new(
            &shared.config,
            Arc::clone(&shared.engine),
            shared.clock,
            Arc::clone(&shared.metrics),
            self.clients.clone(),
            self.close_clients.clone(),
        ));
        let server = HttpServer {
            listener,
            stop: self.stop_accepting.clone(),
            shared: Arc::new(http_server::Shared {
                routes: client::routes(endpoint, client.demo, files),
                limits: Limits {
                    max_connections: client.max_connections,
                    max_connections_per_address: client.max_connections_per_address,
                    header_timeout: Duration::from_millis(client.header_timeout_ms),
                    write_timeout: Duration::from_millis(client.write_timeout_ms),
                    max_header_bytes: client.max_header_bytes,
                    http2: Some(http2_limits(&client.http2)),
                },
                tls: shared.tls.clone(),
                tracker: self.clients.clone(),
                close: self.close_clients.clone(),
                proxies: Proxies::new(&client.trusted_proxies),
                metrics: Some(Arc::clone(&shared.metrics)),
            }),
        };
        self.clients.spawn(server.run());
    }

    /// The node for the code inside it: publishing, users, local sessions, objects, members. To be cloned and handed on.
    #[must_use]
    pub fn handle(&self) -> &NodeHandle {
        &self.handle
    }

    /// How others reach the client endpoint: `client.url`, or made from the address that is listened on.
    #[must_use]
    pub fn client_url(&self) -> &str {
        &self.client_url
    }

    /// Where clients are accepted; useful when the port was chosen by the system.
    #[must_use]
    pub fn client_address(&self) -> SocketAddr {
        self.client_address
    }

    /// Where the admin listener is.
    #[must_use]
    pub fn admin_address(&self) -> SocketAddr {
        self.admin_address
    }

    /// Where back-end applications reach the API; `None` when it is off.
    #[must_use]
    pub fn api_address(&self) -> Option<SocketAddr> {
        self.api_address
    }

    /// Where siblings reach this node; `None` when it runs alone.
    #[must_use]
    pub fn mesh_address(&self) -> Option<SocketAddr> {
        self.shared
            .cluster
            .this_node()
            .map(|member| member.mesh_address)
    }

    /// The node's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// The engine, for what runs inside the process.
    #[must_use]
    pub fn engine(&self) -> &Arc<Engine> {
        &self.shared.engine
    }

    /// The clock that the engine's instants come from.
    #[must_use]
    pub fn clock(&self) -> Clock {
        self.shared.clock
    }

    /// Whether clients may be sent here.
    #[must_use]
    pub fn readiness(&self) -> &Arc<Readiness> {
        &self.shared.readiness
    }

    /// Reads the files again that may have changed, as on SIGHUP: the secrets of the mesh, the tokens of the API, the TLS files of clients and mesh. What
    /// cannot be used is logged and counted, and the node goes on with what it has.
    pub async fn reload(&self) {
        self.shared.reload.notify_one();
        self.shared.api_tokens.reload();
        if let Some(tls) = self.shared.tls.clone() {
            // A panic in there is in the log already.
            let _ = tokio::task::spawn_blocking(move || tls.reload()).await;
        }
        if let Some(mesh_tls) = self.shared.mesh_tls.clone() {
            let _ = tokio::task::spawn_blocking(move || mesh_tls.reload()).await;
        }
    }

    /// Ends the node at once: connections are cut, siblings are told goodbye. For the orderly end, in which clients are told and what waits for
    /// them is sent, see [`Node::drain`].
    pub async fn shutdown(self) {
        self.stop_accepting.cancel();
        self.close_clients.cancel();
        self.clients.close();
        self.shared.cluster.leave().await;
        self.end.cancel();
        self.background.close();
        let ended = async {
            self.clients.wait().await;
            self.background.wait().await;
        };
        if tokio::time::timeout(SHUTDOWN_MAX, ended).await.is_err() {
            warn!("shutdown: what has not ended is cut off");
        }
    }

    /// Completes when an operator asks the process to end. Cancel-safe.
    pub async fn drain_requested(&self) {
        self.shared.drain_requested.cancelled().await;
    }

    /// Ends the node in order: not ready, no new connections, sessions told, everything closed. What is not finished
    /// within `node.drain_timeout_ms` is cut off. The admin listener answers until the last step.
    pub async fn drain(&self) {
        let shared = &self.shared;
        let drain_timeout = Duration::from_millis(shared.config.node.drain_timeout_ms);
        shared
            .readiness
            .set(Unready::Draining, "the node is about to end");
        info!(
            sessions = shared.engine.session_count(),
            "draining: not ready any more"
        );
        tokio::time::sleep(Duration::from_millis(shared.config.node.drain_wait_ms)).await;
        let deadline = Instant::now() + drain_timeout;

        self.stop_accepting.cancel();
        info!("draining: no new connections");
        self.flush(deadline).await;
        shared
            .engine
            .end_all_sessions(EndReason::Shutdown, shared.clock.now());
        self.close_clients.cancel();
        self.clients.close();
        if tokio::time::timeout_at(deadline, self.clients.wait())
            .await
            .is_err()
        {
            warn!(
                connections = self.clients.len(),
                "draining: the deadline has passed, connections are cut off"
            );
        }
        // Only now: until the last session has ended, what it publishes must reach the siblings.
        self.shared.cluster.leave().await;
        self.end.cancel();
        self.background.close();
        let last = deadline.max(Instant::now() + Duration::from_millis(200));
        if tokio::time::timeout_at(last, self.background.wait())
            .await
            .is_err()
        {
            warn!("draining: the admin listener is cut off");
        }
        info!("node has ended");
    }

    /// Waits until nothing waits for any session any more and all calls are answered, for a part of the time there is.
    async fn flush(&self, deadline: Instant) {
        let part = deadline.duration_since(Instant::now()).min(FLUSH_MAX);
        let end = Instant::now() + part;
        let waits = || {
            let stats = self.shared.engine.stats();
            stats.queue_bytes > 0 || stats.calls > 0
        };
        while waits() && Instant::now() < end {
            tokio::time::sleep(FLUSH_LOOK).await;
        }
    }
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address)
        .await
        .map_err(|error| StartError::Listen {
            key,
            address,
            error,
        })
}

fn local_address(
    key: &'static str,
    address: SocketAddr,
    listener: &TcpListener,
) -> Result<SocketAddr, StartError> {
    listener.local_addr().map_err(|error| StartError::Listen {
        key,
        address,
        error,
    })
}

/// The certificate of the client listener, when there is one.
fn load_tls(config: &Config, metrics: &Arc<Metrics>) -> Result<Option<Arc<Tls>>, StartError> {
    let tls = &config.client.tls;
    let (Some(certificate), Some(key)) = (&tls.certificate, &tls.key) else {
        return Ok(None);
    };
    let files = TlsFiles {
        certificate: certificate.clone(),
        key: key.clone(),
    };
    let handshake_timeout = Duration::from_millis(tls.handshake_timeout_ms);
    Tls::load(files, handshake_timeout, Arc::clone(metrics))
        .map(|tls| Some(Arc::new(tls)))
        .map_err(|problem| StartError::Tls(problem.to_string()))
}

/// What keeps the certificates of the links fresh; `None` without TLS there.
fn mesh_certificates(
    config: &Config,
    cluster: &ClusterParts,
    metrics: &Arc<Metrics>,
) -> Option<Arc<MeshCertificates>> {
    let cluster = cluster.cluster()?.clone();
    let files = MeshFiles::of(&config.mesh.tls)?;
    if config.mesh.tls.mode != TlsMode::Required {
        warn!(
            "siblings may still connect in clear text (mesh.tls.mode): a step on the way, set it to \"required\" in the end"
        );
    }
    let certificates = MeshCertificates::new(files, cluster, Arc::clone(metrics));
    Some(Arc::new(certificates))
}

fn http2_limits(config: &config::Http2Config) -> Http2Limits {
    let interval = config.keep_alive_interval_ms;
    Http2Limits {
        max_concurrent_streams: config.max_concurrent_streams,
        stream_window_bytes: config.stream_window_bytes,
        connection_window_bytes: config.connection_window_bytes,
        keep_alive_interval: (interval > 0).then(|| Duration::from_millis(interval)),
        keep_alive_timeout: Duration::from_millis(config.keep_alive_timeout_ms),
    }
}

/// How others reach the client endpoint.
fn client_url(config: &Config, address: SocketAddr, name: &str) -> String {
    config.client.url.clone().unwrap_or_else(|| {
        let path = &config.client.path;
        let scheme = match config.client.tls.certificate {
            Some(_) => "https",
            None => "http",
        };
        if address.ip().is_unspecified() {
            format!("{scheme}://{name}:{}{path}", address.port())
        } else {
            format!("{scheme}://{address}{path}")
        }
    })
}

/// Turns on the built-in services that are configured.
fn start_services(
    config: &Config,
    name: &str,
    engine: &Arc<Engine>,
    cluster: &ClusterParts,
    clock: Clock,
    background: &TaskTracker,
    end: &CancellationToken,
) -> Result<(), StartError> {
    if config.seti.direct {
        let channel = ChannelName::parse(services::DIRECT_CHANNEL)?;
        let depth_max = config.session.max_depth + DIRECT_DEPTH_MORE;
        let direct = Direct::new(channel.clone(), Arc::clone(&cluster.directory), depth_max);
        engine.add_service(channel, Arc::new(direct));
    }
    if config.presence.enabled {
        let channel = ChannelName::parse(services::PRESENCE_CHANNEL)?;
        Presence::start(channel, Arc::clone(&cluster.directory), engine, clock);
    }
    if let Some(rooms) = &cluster.rooms {
        let patterns = RoomPatterns::new(&config.presence.rooms);
        let presence = RoomPresence::start(patterns, engine, clock);
        rooms.add_listener(presence);
    }
    if config.presence.nodes {
        let service = NodesService::start(
            name.to_owned(),
            since_1970().as_secs(),
            ChannelName::parse(services::NODES_CHANNEL)?,
            Arc::clone(&cluster.nodes),
            Arc::clone(&cluster.directory),
            engine,
            clock,
        );
        background.spawn(end.clone().run_until_cancelled_owned(async move {
            let mut period = tokio::time::interval(services::NODES_PERIOD);
            period.set_missed_tick_behavior(MissedTickBehavior::Skip);
            loop {
                period.tick().await;
                service.tick();
            }
        }));
    }
    Ok(())
}

fn since_1970() -> Duration {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
}

/// Drives the engine's timers, and notices when the process had been suspended.
async fn tick(shared: Arc<Shared>, end: CancellationToken) {
    let detection = Duration::from_millis(shared.config.mesh.detection_ms);
    let mut period = tokio::time::interval(TICK);
    period.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut before = Instant::now();
    loop {
        tokio::select! {
            () = end.cancelled() => return,
            _ = period.tick() => {}
        }
        let gap = before.elapsed();
        before = Instant::now();
        if gap > detection {
            on_suspended(gap);
        }
        let now = shared.clock.now();
        shared
            .engine
            .set_wall_clock(since_1970().as_millis() as u64, now);
        shared.engine.tick(now);
        shared.security.tick(&shared.engine, now);
        shared.local_sessions.tick(&shared.engine, now);
        shared.cluster.judge(&shared.readiness);
    }
}

/// The process did not run for longer than siblings wait. In a cluster they have given this node up, and the cluster
/// layer notices the same: it ends the sessions, draws a new incarnation and joins anew. A node that runs alone goes on.
fn on_suspended(gap: Duration) {
    warn!(
        gap_ms = u64::try_from(gap.as_millis()).unwrap_or(u64::MAX),
        "the process had been suspended"
    );
}
