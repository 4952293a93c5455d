//! The listeners of a node: admin, API, clients.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::TcpListener;
use tracing::{info, warn};

use super::Node;
use crate::admin;
use crate::api::{self, Api};
use crate::client::{self, Endpoint};
use crate::config;
use crate::http_server::{self, Http2Limits, HttpServer, Limits};
use crate::proxies::Proxies;

/// The admin listener is for a few scrapers and operators.
const ADMIN_CONNECTIONS_MAX: usize = 256;

impl Node {
    pub(super) fn serve_admin(&self, listener: TcpListener) {
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
    pub(super) fn serve_api(&self, listener: TcpListener) {
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

    pub(super) fn serve_clients(&self, listener: TcpListener, files: Router) {
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
