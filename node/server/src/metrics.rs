//! What `/metrics` tells. One registry per node; no label holds a session or a channel.
//!
//! Figures of the engine and the cluster are read when somebody asks, so that they cost nothing on the way of a
//! message.

use std::fmt;

use halley_bayeux::{Engine, EngineStats};
use parking_lot::Mutex;
use prometheus::{
    Encoder as _, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};

/// State of the link to one sibling, as the metrics show it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkFigures {
    /// Name of the sibling.
    pub sibling: String,
    /// Whether frames can be sent to it.
    pub up: bool,
    /// Bytes that wait for it.
    pub queue_bytes: u64,
}

/// The metrics of one node.
pub struct Metrics {
    registry: Registry,
    members: IntGauge,
    ready: IntGauge,
    sessions: IntGauge,
    channels: IntGauge,
    subscriptions: IntGauge,
    queue_bytes: IntGauge,
    messages_received: IntCounter,
    messages_delivered: IntCounter,
    handshakes: IntCounter,
    queue_overflows: IntCounter,
    sessions_expired: IntCounter,
    links_reset: IntCounter,
    publications_dropped: IntCounter,
    publications_received: IntCounter,
    nodes_refused: IntCounter,
    suspensions: IntCounter,
    link_up: IntGaugeVec,
    link_queue_bytes: IntGaugeVec,
    /// Open sockets on the client listener.
    pub(crate) connections: IntGauge,
    /// Sockets closed at once because of `client.max_connections`.
    pub(crate) connections_refused: IntCounter,
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
    /// Sessions ended because their credential expired.
    pub(crate) credentials_expired: IntCounter,
    /// Held while the figures are brought up to date and written.
    scrape: Mutex<()>,
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// What the metrics show beside the engine's figures.
#[derive(Debug, Clone, Default)]
pub struct NodeFigures {
    /// Members of the cluster, this node included.
    pub members: usize,
    /// Whether `/readyz` answers 200.
    pub ready: bool,
    /// The links to siblings.
    pub links: Vec<LinkFigures>,
    /// What the cluster layer has counted.
    pub cluster: ClusterFigures,
}

/// What the cluster layer has counted since the start.
#[derive(Debug, Clone, Copy, Default)]
pub struct ClusterFigures {
    /// Links reset because their queue was full.
    pub links_reset: u64,
    /// Publications that were not sent to a sibling because its link was reset.
    pub publications_dropped: u64,
    /// Publications received from siblings.
    pub publications_received: u64,
    /// Nodes that were not let in.
    pub nodes_refused: u64,
    /// Times the process had been suspended and started over.
    pub suspensions: u64,
}

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
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        Ok(Self {
            members: gauge(
                "halley_members",
                "Members of the cluster, this node included.",
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
            queue_overflows: counter(
                "halley_queue_overflows_total",
                "Sessions ended because their queue was full.",
            )?,
            sessions_expired: counter(
                "halley_sessions_expired_total",
                "Sessions ended because of silence.",
            )?,
            links_reset: counter(
                "halley_links_reset_total",
                "Links to siblings reset because their queue was full.",
            )?,
            publications_dropped: counter(
                "halley_link_publications_dropped_total",
                "Publications not sent to a sibling because its queue was full.",
            )?,
            publications_received: counter(
                "halley_link_publications_received_total",
                "Publications received from siblings.",
            )?,
            nodes_refused: counter(
                "halley_nodes_refused_total",
                "Nodes that were not let into the cluster.",
            )?,
            suspensions: counter(
                "halley_suspensions_total",
                "Times the process had been suspended and started over.",
            )?,
            link_up: gauges(
                "halley_link_up",
                "1 when frames can be sent to the sibling.",
                "sibling",
            )?,
            link_queue_bytes: gauges(
                "halley_link_queue_bytes",
                "Bytes that wait for the sibling.",
                "sibling",
            )?,
            connections: gauge("halley_connections", "Open sockets on the client listener.")?,
            connections_refused: counter(
                "halley_connections_refused_total",
                "Sockets closed at once because of client.max_connections.",
            )?,
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
            credentials_expired: counter(
                "halley_credentials_expired_total",
                "Sessions ended because their token, or what a hook allowed, expired.",
            )?,
            registry,
            scrape: Mutex::new(()),
        })
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
        self.ready.set(i64::from(figures.ready));
        self.sessions.set(signed(stats.sessions));
        self.channels.set(signed(stats.channels));
        self.subscriptions.set(signed(stats.subscriptions));
        self.queue_bytes.set(signed(stats.queue_bytes));
        raise(&self.messages_received, stats.messages_received);
        raise(&self.messages_delivered, stats.messages_delivered);
        raise(&self.handshakes, stats.handshakes);
        raise(&self.queue_overflows, stats.queue_overflows);
        raise(&self.sessions_expired, stats.expired);
        raise(&self.links_reset, figures.cluster.links_reset);
        raise(
            &self.publications_dropped,
            figures.cluster.publications_dropped,
        );
        raise(
            &self.publications_received,
            figures.cluster.publications_received,
        );
        raise(&self.nodes_refused, figures.cluster.nodes_refused);
        raise(&self.suspensions, figures.cluster.suspensions);
        // Siblings that are gone leave the text too.
        self.link_up.reset();
        self.link_queue_bytes.reset();
        for link in &figures.links {
            self.link_up
                .with_label_values(&[&link.sibling])
                .set(i64::from(link.up));
            self.link_queue_bytes
                .with_label_values(&[&link.sibling])
                .set(signed(link.queue_bytes));
        }
    }
}

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Brings a counter up to a total that is counted elsewhere.
fn raise(counter: &IntCounter, total: u64) {
    counter.inc_by(total.saturating_sub(counter.get()));
}
