//! How a node starts: addresses, engine, services, cluster, and only then clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{Engine, SessionListener};
use halley_cluster::TlsMode;
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{info, warn};

use super::builtin::start_services;
use super::shared::Shared;
use super::ticker::{since_1970, tick};
use super::{Node, StartError};
use crate::api::Tokens;
use crate::application::Application;
use crate::client::Admissions;
use crate::clock::Clock;
use crate::cluster::ClusterParts;
use crate::config::{self, Config};
use crate::handle::NodeHandle;
use crate::local::LocalSessions;
use crate::metrics::Metrics;
use crate::readiness::{Readiness, Unready};
use crate::secret_file;
use crate::security::Security;
use crate::services;
use crate::tasks::Tasks;
use crate::tls::{MeshCertificates, MeshFiles, Tls, TlsFiles};

impl Node {
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
