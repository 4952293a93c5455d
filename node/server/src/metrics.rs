//! What `/metrics` tells. One registry per node; no label holds a session or a channel.
//!
//! Figures of the engine and the cluster are read when somebody asks, so that they cost nothing on the way of a
//! message.

use std::fmt;
use std::sync::Arc;

use halley_bayeux::{Engine, EngineStats};
use halley_cluster::{Counters, LinkStats};
use halley_replication::ObjectReport;
use parking_lot::Mutex;
use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

use crate::link_metrics::LinkMetrics;
use crate::object_metrics::ObjectMetrics;

/// The metrics of one node.
pub struct Metrics {
    registry: Registry,
    members: IntGauge,
    secrets: IntGauge,
    ready: IntGauge,
    sessions: IntGauge,
    channels: IntGauge,
    subscriptions: IntGauge,
    queue_bytes: IntGauge,
    messages_received: IntCounter,
    messages_delivered: IntCounter,
    handshakes: IntCounter,
    calls_pending: IntGauge,
    queue_overflows: IntCounter,
    sessions_expired: IntCounter,
    /// In the order of [`CLUSTER_COUNTERS`].
    cluster: Vec<IntCounter>,
    links: LinkMetrics,
    objects: ObjectMetrics,
    /// Open sockets on the client listener.
    pub(crate) connections: IntGauge,
    /// Sockets closed at once because of `client.max_connections`.
    pub(crate) connections_refused: IntCounter,
    limit_refusals: IntCounterVec,
    /// Open WebSockets.
    pub(crate) websockets: IntGauge,
    /// WebSockets that the node closed, by code.
    pub(crate) websocket_closes: IntCounterVec,
    /// Connects held over HTTP.
    pub(crate) held_connects: IntGauge,
    /// HTTP requests answered with an error, by status.
    pub(crate) http_errors: IntCounterVec,
    /// Clients cut off because they took nothing for too long.
    pub(crate) slow_clients: IntCounter,
    /// Calls of hooks, by hook and outcome.
    pub(crate) hook_calls: IntCounterVec,
    /// Calls on service channels that went to hooks, by outcome.
    pub(crate) service_calls: IntCounterVec,
    /// Those under way or waiting.
    pub(crate) service_calls_pending: IntGauge,
    /// Sessions ended because their credential expired.
    pub(crate) credentials_expired: IntCounter,
    /// TLS handshakes that did not succeed.
    pub(crate) tls_handshake_failures: IntCounter,
    /// When the certificate in use ends.
    pub(crate) tls_certificate_expiry: IntGauge,
    /// Times a new certificate was taken into use.
    pub(crate) tls_reloads: IntCounter,
    /// Times a new certificate could not be used.
    pub(crate) tls_reload_failures: IntCounter,
    /// Changes of the file with the secrets, by what came of them.
    pub(crate) secret_reloads: IntCounterVec,
    /// When the certificate in use on the mesh ends.
    pub(crate) mesh_tls_certificate_expiry: IntGauge,
    /// Changes of the TLS files of the mesh, by what came of them.
    pub(crate) mesh_tls_reloads: IntCounterVec,
    /// Requests to the API, by path, method and status.
    pub(crate) api_requests: IntCounterVec,
    /// Messages that applications published, to channels or to users.
    pub(crate) api_publications: IntCounterVec,
    /// Changes of the files with the tokens of applications, by what came of them.
    pub(crate) api_token_reloads: IntCounterVec,
    /// Held while the figures are brought up to date and written.
    scrape: Mutex<()>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// Limits of one address, or of all clients together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Limit {
    /// `client.max_connections_per_address`
    ConnectionsPerAddress,
    /// `client.max_sessions_per_address`
    SessionsPerAddress,
    /// `client.handshakes_per_second_per_address`
    HandshakesPerAddress,
    /// `client.handshakes_per_second`
    Handshakes,
    /// `client.max_unfinished_bytes`
    UnfinishedBytes,
}

impl Limit {
    const ALL: [Self; 5] = [
        Self::ConnectionsPerAddress,
        Self::SessionsPerAddress,
        Self::HandshakesPerAddress,
        Self::Handshakes,
        Self::UnfinishedBytes,
    ];

    /// As a label.
    const fn name(self) -> &'static str {
        match self {
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::SessionsPerAddress => "sessions_per_address",
            Self::HandshakesPerAddress => "handshakes_per_address",
            Self::Handshakes => "handshakes",
            Self::UnfinishedBytes => "unfinished_bytes",
        }
    }
}

/// What the metrics show beside the engine's figures.
#[derive(Debug, Clone, Default)]
pub struct NodeFigures {
    /// Members of the cluster, this node included.
    pub members: usize,
    /// Secrets of the mesh that are accepted; 0 when the node runs alone.
    pub secrets: usize,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// The links to siblings.
    pub links: Vec<LinkStats>,
    /// The replicated objects.
    pub objects: Vec<ObjectReport>,
    /// What the cluster layer has counted; `None` when the node runs alone.
    pub cluster: Option<Arc<Counters>>,
}

/// A counter of the cluster layer: its name here, its meaning, and where it is kept.
type ClusterCounter = (&'static str, &'static str, fn(&Counters) -> u64);

/// What the cluster layer counts.
const CLUSTER_COUNTERS: [ClusterCounter; 23] = [
    (
        "halley_links_reset_total",
        "Links to siblings reset because their queue was full.",
        |c| c.links_reset_queue_full.get(),
    ),
    (
        "halley_link_publications_dropped_total",
        "Publications lost with links: they waited for a sibling, or were under way, when its link ended for good.",
        |c| c.publications_dropped.get(),
    ),
    (
        "halley_link_publications_too_large_total",
        "Publications not sent to a sibling because they are longer than a link carries.",
        |c| c.publications_too_large.get(),
    ),
    (
        "halley_link_publications_received_total",
        "Publications received from siblings.",
        |c| c.publications_received.get(),
    ),
    (
        "halley_link_publications_invalid_total",
        "Publications of siblings that could not be read or may not travel.",
        |c| c.publications_invalid.get(),
    ),
    (
        "halley_interest_coarse_total",
        "Siblings that asked for more channels than this node remembers for one, and are sent everything.",
        |c| c.interest_coarse.get(),
    ),
    (
        "halley_name_conflicts_total",
        "Nodes refused because another live node has the same name and gives the same address.",
        |c| c.name_conflicts.get(),
    ),
    (
        "halley_mesh_dials_closed_total",
        "Connections of this node that the other one closed during the handshake, as when the secret differs.",
        |c| c.dials_closed.get(),
    ),
    (
        "halley_mesh_handshakes_failed_total",
        "Connections on the mesh port that did not prove that they know the secret.",
        |c| c.handshakes_failed.get(),
    ),
    (
        "halley_mesh_tls_failures_total",
        "Connections between nodes, opened by either, that failed because of a certificate or because only one has TLS.",
        |c| c.tls_failures.get(),
    ),
    (
        "halley_mesh_version_mismatches_total",
        "Handshakes that failed because the two nodes have no version of the mesh protocol in common.",
        |c| c.version_mismatches.get(),
    ),
    (
        "halley_mesh_connections_over_limit_total",
        "Connections on the mesh port closed to make room because too many had not proven themselves yet.",
        |c| c.connections_over_limit.get(),
    ),
    (
        "halley_mesh_connections_not_allowed_total",
        "Connections on the mesh port from addresses outside mesh.allow.",
        |c| c.connections_not_allowed.get(),
    ),
    (
        "halley_mesh_datagrams_ignored_total",
        "Datagrams that were no announcement of this cluster, or came too fast.",
        |c| c.datagrams_ignored.get(),
    ),
    (
        "halley_mesh_dns_answers_total",
        "Answers of the DNS with addresses of nodes.",
        |c| c.dns_answers.get(),
    ),
    (
        "halley_mesh_dns_failures_total",
        "Questions to the DNS that had no answer, or an empty one.",
        |c| c.dns_failures.get(),
    ),
    (
        "halley_mesh_dns_not_allowed_total",
        "Addresses in answers of the DNS that are outside mesh.allow and were not dialled.",
        |c| c.dns_addresses_not_allowed.get(),
    ),
    (
        "halley_nodes_refused_total",
        "Nodes that knew the secret and were not let into the cluster all the same.",
        |c| c.nodes_refused.get(),
    ),
    (
        "halley_oort_refused_total",
        "Oort handshakes that were refused: a wrong digest, a URL that is not this node's, or no node at all.",
        |c| c.oort_refused.get(),
    ),
    (
        "halley_oort_publications_sent_total",
        "Publications queued for nodes of the Oort dialect.",
        |c| c.oort_publications_sent.get(),
    ),
    (
        "halley_oort_too_large_total",
        "Presence, objects and other messages not sent to an Oort node because they are longer than mesh.oort.max_message_bytes.",
        |c| c.oort_too_large.get(),
    ),
    (
        "halley_state_unhandled_total",
        "State messages of siblings for which this node has no use.",
        |c| c.state_unhandled.get(),
    ),
    (
        "halley_suspensions_total",
        "Times the process had been suspended and started over.",
        |c| c.suspensions.get(),
    ),
];

impl Metrics {
    /// Registers everything.
    ///
    /// # Errors
    /// Two metrics have one name, which is a mistake in this file.
    pub fn new() -> Result<Self, prometheus::Error> {
        let registry = Registry::new();
        let gauge = |name: &str, help: &str| {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let gauges = |name: &str, help: &str, label: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let counters = |name: &str, help: &str, label: &str| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let build = gauges(
            "halley_build_info",
            "Version of the node, always 1.",
            "version",
        )?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let hook_calls = IntCounterVec::new(
            Opts::new(
                "halley_hook_calls_total",
                "Calls of security hooks, by hook and outcome.",
            ),
            &["hook", "outcome"],
        )?;
        registry.register(Box::new(hook_calls.clone()))?;
        let service_calls = IntCounterVec::new(
            Opts::new(
                "halley_service_hook_calls_total",
                "Calls on service channels that went to hooks, by outcome.",
            ),
            &["outcome"],
        )?;
        registry.register(Box::new(service_calls.clone()))?;
        let api_requests = IntCounterVec::new(
            Opts::new(
                "halley_api_requests_total",
                "Requests to the HTTP API, by path, method and status of the answer.",
            ),
            &["path", "method", "status"],
        )?;
        registry.register(Box::new(api_requests.clone()))?;
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(Self {
            members: gauge(
                "halley_members",
                "Members of the cluster, this node included.",
            )?,
            secrets: gauge(
                "halley_mesh_secrets",
                "Secrets of the mesh that are accepted: 1, more while one is replaced, 0 when the node runs alone.",
            )?,
            ready: gauge("halley_ready", "1 when clients may be sent to this node.")?,
            sessions: gauge("halley_sessions", "Sessions on this node.")?,
            channels: gauge("halley_channels", "Channels on this node.")?,
            subscriptions: gauge(
                "halley_subscriptions",
                "Subscriptions of the sessions on this node.",
            )?,
            queue_bytes: gauge(
                "halley_queue_bytes",
                "Bytes that wait for the sessions on this node.",
            )?,
            messages_received: counter(
                "halley_messages_received_total",
                "Messages received from clients.",
            )?,
            messages_delivered: counter(
                "halley_messages_delivered_total",
                "Messages delivered to sessions.",
            )?,
            handshakes: counter("halley_handshakes_total", "Sessions made.")?,
            calls_pending: gauge(
                "halley_calls_pending",
                "Remote calls that wait for their result.",
            )?,
            queue_overflows: counter(
                "halley_queue_overflows_total",
                "Sessions ended because their queue was full.",
            )?,
            sessions_expired: counter(
                "halley_sessions_expired_total",
                "Sessions ended because of silence.",
            )?,
            cluster: CLUSTER_COUNTERS
                .iter()
                .map(|(name, help, _)| counter(name, help))
                .collect::<Result<_, _>>()?,
            links: LinkMetrics::register(&registry)?,
            objects: ObjectMetrics::register(&registry)?,
            connections: gauge("halley_connections", "Open sockets on the client listener.")?,
            connections_refused: counter(
                "halley_connections_refused_total",
                "Sockets closed at once because of client.max_connections.",
            )?,
            limit_refusals: {
                let refusals = counters(
                    "halley_limit_refusals_total",
                    "What was refused because of a limit of one address, or of all clients together.",
                    "limit",
                )?;
                for limit in Limit::ALL {
                    refusals.with_label_values(&[limit.name()]);
                }
                refusals
            },
            websockets: gauge("halley_websockets", "Open WebSockets.")?,
            websocket_closes: counters(
                "halley_websocket_closes_total",
                "WebSockets closed by this node.",
                "code",
            )?,
            held_connects: gauge("halley_held_connects", "Connects held over HTTP.")?,
            http_errors: counters(
                "halley_http_errors_total",
                "HTTP requests answered with an error.",
                "status",
            )?,
            slow_clients: counter(
                "halley_slow_clients_total",
                "WebSocket clients cut off because they took nothing for client.write_timeout_ms.",
            )?,
            hook_calls,
            service_calls,
            service_calls_pending: gauge(
                "halley_service_hook_calls_pending",
                "Calls on service channels that are under way to hooks, or wait to be.",
            )?,
            credentials_expired: counter(
                "halley_credentials_expired_total",
                "Sessions ended because their token, or what a hook allowed, expired.",
            )?,
            tls_handshake_failures: counter(
                "halley_tls_handshake_failures_total",
                "TLS handshakes that failed or took too long.",
            )?,
            tls_certificate_expiry: gauge(
                "halley_tls_certificate_expiry_seconds",
                "When the first certificate of the chain in use ends, in seconds since 1970; 0 without TLS.",
            )?,
            tls_reloads: counter(
                "halley_tls_reloads_total",
                "Times a new certificate was taken into use.",
            )?,
            tls_reload_failures: counter(
                "halley_tls_reload_failures_total",
                "Times a new certificate could not be used and the old one stayed.",
            )?,
            secret_reloads: {
                let reloads = counters(
                    "halley_mesh_secret_reloads_total",
                    "Changes of mesh.secret_file that were taken over, or could not be used.",
                    "result",
                )?;
                // Both are there from the start, so that a rate can be taken of them.
                for result in ["changed", "failed"] {
                    reloads.with_label_values(&[result]);
                }
                reloads
            },
            mesh_tls_certificate_expiry: gauge(
                "halley_mesh_tls_certificate_expiry_seconds",
                "When the first certificate of the mesh chain in use ends, in seconds since 1970; 0 without TLS on the mesh.",
            )?,
            mesh_tls_reloads: {
                let reloads = counters(
                    "halley_mesh_tls_reloads_total",
                    "Changes of the files of mesh.tls that were taken over, or could not be used.",
                    "result",
                )?;
                for result in ["changed", "failed"] {
                    reloads.with_label_values(&[result]);
                }
                reloads
            },
            api_requests,
            api_publications: {
                let publications = counters(
                    "halley_api_publications_total",
                    "Messages that applications published through the HTTP API, to channels or to users.",
                    "to",
                )?;
                for to in ["channel", "user"] {
                    publications.with_label_values(&[to]);
                }
                publications
            },
            api_token_reloads: {
                let reloads = counters(
                    "halley_api_token_reloads_total",
                    "Changes of the token files of applications that were taken over, or could not be used.",
                    "result",
                )?;
                for result in ["changed", "failed"] {
                    reloads.with_label_values(&[result]);
                }
                reloads
            },
            registry,
            scrape: Mutex::new(()),
        })
    }

    /// Counts what a limit refused.
    pub(crate) fn refuse(&self, limit: Limit) {
        self.limit_refusals.with_label_values(&[limit.name()]).inc();
    }

    /// The text for a scraper, with everything as it is now.
    ///
    /// # Errors
    /// A metric cannot be written as text.
    pub fn text(
        &self,
        engine: &Engine,
        figures: &NodeFigures,
    ) -> Result<Vec<u8>, prometheus::Error> {
        let _one_at_a_time = self.scrape.lock();
        self.refresh(&engine.stats(), figures);
        let mut out = Vec::with_capacity(8192);
        TextEncoder::new().encode(&self.registry.gather(), &mut out)?;
        Ok(out)
    }

    fn refresh(&self, stats: &EngineStats, figures: &NodeFigures) {
        self.members.set(signed(figures.members as u64));
        self.secrets.set(signed(figures.secrets as u64));
        self.ready.set(i64::from(figures.ready));
        self.sessions.set(signed(stats.sessions));
        self.channels.set(signed(stats.channels));
        self.calls_pending.set(signed(stats.calls));
        self.subscriptions.set(signed(stats.subscriptions));
        self.queue_bytes.set(signed(stats.queue_bytes));
        raise(&self.messages_received, stats.messages_received);
        raise(&self.messages_delivered, stats.messages_delivered);
        raise(&self.handshakes, stats.handshakes);
        raise(&self.queue_overflows, stats.queue_overflows);
        raise(&self.sessions_expired, stats.expired);
        if let Some(counters) = &figures.cluster {
            for (counter, (_, _, read)) in self.cluster.iter().zip(CLUSTER_COUNTERS) {
                raise(counter, read(counters));
            }
        }
        self.links.refresh(&figures.links);
        self.objects.refresh(&figures.objects);
    }
}

pub(crate) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Brings a counter up to a total that is counted elsewhere.
pub(crate) fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
