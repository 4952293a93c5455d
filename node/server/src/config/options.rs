//! The one table of options.

use std::fmt;
use std::ops::RangeInclusive;
use std::sync::LazyLock;

use toml::Value;

use super::field::{Field, Shape};
use super::types::Config;

/// One option: what it is called, what it means, and where it is kept.
pub struct Opt {
    /// Section and key with dots between them, as in `session.maxInterval`.
    pub key: &'static str,
    /// The type as the operator is told.
    pub kind: &'static str,
    /// One sentence for the operator.
    pub meaning: &'static str,
    /// What to show when there is no default.
    pub example: Option<&'static str>,
    /// Bounds of an integer.
    pub range: Option<RangeInclusive<i64>>,
    pub(super) shape: Shape,
    pub(super) set: fn(&mut Config, &Value) -> Result<(), String>,
    pub(super) get: fn(&Config) -> Option<Value>,
}

impl fmt::Debug for Opt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opt")
            .field("key", &self.key)
            .field("kind", &self.kind)
            .finish_non_exhaustive()
    }
}

impl Opt {
    /// The section, as in `mesh.multicast`.
    #[must_use]
    pub fn section(&self) -> &'static str {
        self.key.rsplit_once('.').map_or("", |(section, _)| section)
    }

    /// The key within its section.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.key.rsplit_once('.').map_or(self.key, |(_, name)| name)
    }

    /// The environment variable that overrides it.
    #[must_use]
    pub fn variable(&self) -> String {
        variable(self.key)
    }

    /// The value in a configuration as TOML; `None` when it is not set. Secrets come out masked.
    #[must_use]
    pub fn value(&self, config: &Config) -> Option<Value> {
        (self.get)(config)
    }

    pub(super) fn read(&self, config: &mut Config, value: &Value) -> Result<(), String> {
        if let (Some(range), Some(number)) = (&self.range, value.as_integer())
            && !range.contains(&number)
        {
            return Err(match *range.end() {
                i64::MAX => format!("{number} is too small, at least {}", range.start()),
                end => format!("{number} is out of range, {} to {end}", range.start()),
            });
        }
        (self.set)(config, value)
    }
}

/// The environment variable of a key.
pub(super) fn variable(key: &str) -> String {
    format!("HALLEY__{}", key.replace('.', "__").to_ascii_uppercase())
}

fn kind_of<T: Field>(_: fn(&Config) -> &T) -> (&'static str, Shape) {
    (T::KIND, T::SHAPE)
}

macro_rules! options {
    ($($key:literal, $($path:ident).+ $(, in $range:expr)? $(, like $example:literal)?, $meaning:literal;)*) => {
        vec![$({
            let (kind, shape) = kind_of(|config: &Config| &config.$($path).+);
            Opt {
                key: $key,
                kind,
                shape,
                meaning: $meaning,
                example: options!(@maybe $($example)?),
                range: options!(@maybe $($range)?),
                set: |config, value| { config.$($path).+ = Field::read(value)?; Ok(()) },
                get: |config| Field::write(&config.$($path).+),
            }
        }),*]
    };
    (@maybe) => { None };
    (@maybe $value:expr) => { Some($value) };
}

/// A day: no time in a configuration is meant to be longer.
const DAY_MS: i64 = 86_400_000;

/// The largest frame on a link.
const LINK_FRAME_BYTES: i64 = 8 << 20;

/// What is published must fit into a frame of a link.
const API_BODY_BYTES_MAX: i64 = 7 << 20;

/// A gibibyte: no size in a configuration is meant to be larger.
const BYTES_MAX: i64 = 1 << 30;

/// Browsers keep no cookie for longer.
const MAX_AGE_S: i64 = 400 * 86_400;

/// The largest window that HTTP/2 knows.
const STREAM_WINDOW_BYTES_MAX: i64 = (1 << 31) - 1;

/// Every option, in the order in which they are printed; the options of a section stand together.
pub static OPTIONS: LazyLock<Vec<Opt>> = LazyLock::new(|| {
    options! {
        "node.name", node.name, like "\"n1\"",
            "Stable name of this node, unique in the cluster; when absent: the host name.";
        "node.drain_timeout_ms", node.drain_timeout_ms, in 0..=DAY_MS,
            "How long a drain may take before what is left is cut off.";
        "node.drain_wait_ms", node.drain_wait_ms, in 0..=DAY_MS,
            "How long a draining node still accepts clients while /readyz answers 503, so that a load balancer can notice.";

        "client.listen", client.listen, "Where clients are accepted (HTTP and WebSocket).";
        "client.path", client.path, "The Bayeux endpoint; \"/\" for the root, with everything below it.";
        "client.further_paths", client.further_paths,
            "Further endpoints of the same node, as for clients that were configured for another server.";
        "client.subprotocol", client.subprotocol, like "\"bayeux\"",
            "The WebSocket sub-protocol (CometD: ws.protocol): clients must offer it, and it is agreed to. When absent: none is asked for, and none agreed to.";
        "client.url", client.url, like "\"http://n1.example:8080/cometd\"",
            "How others reach this endpoint (CometD: oort.url); when absent: made from the listening address and the path.";
        "client.allowed_origins", client.allowed_origins,
            "Exact origins that may use the endpoint from a browser; empty: the same host only.";
        "client.max_connections", client.max_connections, in 1..=10_000_000,
            "Connections at one time; further ones are closed at once.";
        "client.max_connections_per_address", client.max_connections_per_address, in 0..=10_000_000,
            "Connections from one address at one time (IPv6: one /64), further ones are closed at once; those of trusted proxies are not counted. 0: no limit.";
        "client.max_sessions_per_address", client.max_sessions_per_address, in 0..=10_000_000,
            "Sessions of one address (IPv6: one /64); further handshakes are refused with 429 and the advice to try again. 0: no limit.";
        "client.handshakes_per_second", client.handshakes_per_second, in 0..=10_000_000,
            "Handshakes of all clients in a second; further ones are refused with 429 and the advice to try again. 0: no limit.";
        "client.handshake_burst", client.handshake_burst, in 1..=10_000_000,
            "How many of them may come at once after a pause, as when a sibling has ended.";
        "client.handshakes_per_second_per_address", client.handshakes_per_second_per_address, in 0..=10_000_000,
            "The same for one address (IPv6: one /64). 0: no limit.";
        "client.handshake_burst_per_address", client.handshake_burst_per_address, in 1..=10_000_000,
            "How many handshakes of one address may come at once after a pause.";
        "client.max_unfinished_bytes", client.max_unfinished_bytes, in 65_536..=i64::MAX,
            "Bytes of bodies and WebSocket messages that clients have begun to send, all together; beyond, the one that sends more gets 503 or 1013.";
        "client.header_timeout_ms", client.header_timeout_ms, in 100..=DAY_MS,
            "Time for the head of a request to arrive, counted from the connection or from the answer before it.";
        "client.body_timeout_ms", client.body_timeout_ms, in 100..=DAY_MS, "Time for the body of a request to arrive.";
        "client.max_header_bytes", client.max_header_bytes, in 8192..=1_048_576, "Size of the head of a request.";
        "client.idle_timeout_ms", client.idle_timeout_ms, in 0..=DAY_MS,
            "A WebSocket on which nothing arrives for this long is closed with 1001, but never while a connect is held; 0: never.";
        "client.write_timeout_ms", client.write_timeout_ms, in 100..=DAY_MS,
            "A client that takes nothing for this long while something waits to be written is cut off.";
        "client.callback_polling", client.callback_polling,
            "Offer callback-polling (JSONP), for browsers that can do neither WebSocket nor cross-origin requests.";
        "client.demo", client.demo, "Answer / on the client address with the demonstration page.";
        "client.trusted_proxies", client.trusted_proxies,
            "Networks of the proxies whose X-Forwarded-Proto and -For count: with https in the first the browser cookie gets Secure, the second has the client's address.";

        "client.tls.certificate", client.tls.certificate, like "\"/etc/halley/tls/tls.crt\"",
            "A PEM file with the certificate and after it those of its issuers; with it and the key, clients are served over TLS only.";
        "client.tls.key", client.tls.key, like "\"/etc/halley/tls/tls.key\"", "A PEM file with the private key of the certificate.";
        "client.tls.reload_interval_ms", client.tls.reload_interval_ms, in 0..=DAY_MS,
            "Time between two looks whether certificate and key have changed; 0: only on SIGHUP.";
        "client.tls.handshake_timeout_ms", client.tls.handshake_timeout_ms, in 100..=DAY_MS, "Time for a TLS handshake.";

        "client.http2.max_concurrent_streams", client.http2.max_concurrent_streams, in 1..=100_000,
            "Requests of one HTTP/2 connection that are answered at one time, held connects among them.";
        "client.http2.stream_window_bytes", client.http2.stream_window_bytes, in 1024..=STREAM_WINDOW_BYTES_MAX,
            "Bytes of one HTTP/2 request body that a client may send before they are read.";
        "client.http2.connection_window_bytes", client.http2.connection_window_bytes, in 65_535..=STREAM_WINDOW_BYTES_MAX,
            "The same for all bodies of one HTTP/2 connection together.";
        "client.http2.keep_alive_interval_ms", client.http2.keep_alive_interval_ms, in 0..=DAY_MS,
            "Time without a frame after which an HTTP/2 client is asked whether it is still there; 0: never.";
        "client.http2.keep_alive_timeout_ms", client.http2.keep_alive_timeout_ms, in 100..=DAY_MS,
            "Time for its answer; without one the connection ends.";

        "mesh.listen", mesh.listen,
            "Where siblings are accepted. A node without a [mesh] section runs alone.";
        "mesh.advertise", mesh.advertise, like "\"10.0.0.1:7400\"",
            "Address given to siblings; when absent: the listening address, which must then name an interface.";
        "mesh.secret_file", mesh.secret_file, like "\"/etc/halley/secret\"",
            "A file with the secret that all nodes share, at least 32 bytes; a clustered node does not start without. While it is replaced: one per line, at most 4, the first proves and all are accepted; read again every 5 s and on SIGHUP.";
        "mesh.secret", mesh.secret, like "\"at least 32 bytes, the same on all nodes\"",
            "The secret itself, instead of a file.";
        "mesh.allow", mesh.allow,
            "Networks that may be dialled or accepted.";
        "mesh.channels", mesh.channels, like "[\"/**\"]",
            "Observed channels (CometD: oort.channels); when absent: follow local subscriptions.";
        "mesh.discovery", mesh.discovery,
            "How siblings are found, any of \"static\", \"multicast\", \"dns\". Written as empty, with no siblings and no secret: the node runs alone.";
        "mesh.siblings", mesh.siblings, "Siblings by host and port, for static discovery.";
        "mesh.heartbeat_ms", mesh.heartbeat_ms, in 10..=60_000, "Time between two heartbeats on a link.";
        "mesh.detection_ms", mesh.detection_ms, in 50..=300_000, "Silence after which a sibling counts as lost.";
        "mesh.link_queue_bytes", mesh.link_queue_bytes, in LINK_FRAME_BYTES..=i64::MAX,
            "Bytes of publications that may wait for one sibling; beyond, the link is reset and its state sent anew.";
        "mesh.join_wait_ms", mesh.join_wait_ms, in 0..=DAY_MS,
            "How long a starting node waits for the siblings it knows of before it serves clients.";
        "mesh.multicast.group", mesh.multicast.group, "Multicast group.";
        "mesh.multicast.port", mesh.multicast.port, in 1..=65_535, "Port of the group.";
        "mesh.multicast.interface", mesh.multicast.interface, "Address of the interface to use.";
        "mesh.multicast.ttl", mesh.multicast.ttl, in 0..=255, "Time to live of the datagrams.";
        "mesh.multicast.interval_ms", mesh.multicast.interval_ms, in 10..=DAY_MS, "Time between two announcements.";
        "mesh.dns.name", mesh.dns.name, like "\"halley-mesh.default.svc.cluster.local\"",
            "Name whose addresses (A and AAAA) are those of the nodes; one that begins with _ is asked for SRV records. A name with a dot in it is absolute.";
        "mesh.dns.port", mesh.dns.port, in 1..=65_535, "Mesh port of the nodes behind the name; SRV records bring their own.";
        "mesh.dns.interval_ms", mesh.dns.interval_ms, in 100..=DAY_MS,
            "Longest time between two questions; the shortest is half of it.";
        "mesh.dns.servers", mesh.dns.servers, "Name servers to ask, with port; empty: those of /etc/resolv.conf.";
        "mesh.oort.enabled", mesh.oort.enabled,
            "Whether CometD's Java nodes may join, in the dialect of Oort, on the mesh listener. The digest that they are recognised by travels in clear text and can be replayed: see docs/oort-interop.md.";
        "mesh.oort.url", mesh.oort.url, like "\"http://10.0.0.1:7400/cometd\"",
            "Oort URL of this node (CometD: oort.url); its path is that of the mesh listener. When absent: http://, the mesh address, and /cometd.";
        "mesh.oort.aliases", mesh.oort.aliases, "Other URLs by which Java nodes may dial this one.";
        "mesh.oort.secret_file", mesh.oort.secret_file, like "\"/etc/halley/oort-secret\"",
            "A file with the secret of the Java nodes (CometD: oort.secret), at least 32 bytes, and another one than that of the mesh.";
        "mesh.oort.secret", mesh.oort.secret, like "\"at least 32 bytes, the same on all Java nodes\"",
            "The secret itself, instead of a file.";
        "mesh.oort.digest", mesh.oort.digest,
            "Digest of the secret that this node shows: \"sha-512\" as CometD since 4.0.5, or \"sha-1\" as CometD before that, and then both are accepted.";
        "mesh.oort.cloud", mesh.oort.cloud, "Oort URLs of Java nodes to begin with (CometD: oort.cloud).";
        "mesh.oort.multicast", mesh.oort.multicast, like "\"239.255.0.1:5577\"",
            "Group and port in which Java nodes announce themselves, not those of mesh.multicast; interface, ttl and interval are those. When absent: they are not looked for there.";
        "mesh.oort.channels_max", mesh.oort.channels_max, in 1..=1_000_000,
            "More channels than these are not asked for one by one at Java nodes: everything is.";
        "mesh.oort.max_message_bytes", mesh.oort.max_message_bytes, in 1024..=(64 << 20),
            "Longest message, sent to or accepted from a Java node. What is longer is not sent: Java nodes take 65536, with Jetty 9 32768, unless ws.maxMessageSize says otherwise.";
        "mesh.oort.timeout_ms", mesh.oort.timeout_ms, in 1000..=60_000,
            "How long the connect of a Java node is held.";
        "mesh.oort.max_interval_ms", mesh.oort.max_interval_ms, in 1000..=300_000,
            "How long a Java node may be away, in one direction or both, before it has left; for silence mesh.detection_ms, if that is longer.";
        "mesh.oort.ack", mesh.oort.ack,
            "Whether links to and from Java nodes have the acknowledgement extension (CometD: enableAckExtension). Without it what is under way when a connection breaks is lost, uncounted.";

        "mesh.tls.certificate", mesh.tls.certificate, like "\"/etc/halley/mesh/tls.crt\"",
            "A PEM file with the certificate of this node and after it those of its issuers; with it, the key and the authorities, links go over TLS 1.3.";
        "mesh.tls.key", mesh.tls.key, like "\"/etc/halley/mesh/tls.key\"", "A PEM file with the private key of the certificate.";
        "mesh.tls.ca", mesh.tls.ca, like "\"/etc/halley/mesh/ca.crt\"",
            "A PEM file with the authorities of the mesh, which alone are trusted: one, or several while one is replaced.";
        "mesh.tls.server_name", mesh.tls.server_name, like "\"halley-mesh\"",
            "The name in the certificate of every node; when absent: each certificate is for the IP address that its node advertises.";
        "mesh.tls.verify_clients", mesh.tls.verify_clients,
            "Whether siblings must show a certificate when they dial too (mutual TLS).";
        "mesh.tls.mode", mesh.tls.mode,
            "required: nothing in clear text. The steps to there without an end of the cluster: \"accepted\" on all nodes (they dial in clear text and accept both), then \"dialled\" (they dial over TLS and accept both).";
        "mesh.tls.reload_interval_ms", mesh.tls.reload_interval_ms, in 0..=DAY_MS,
            "Time between two looks whether the three files have changed; 0: only on SIGHUP.";

        "admin.listen", admin.listen, "Where /healthz, /readyz, /metrics and /admin/ are served.";
        "admin.token_file", admin.token_file, like "\"/etc/halley/admin-token\"",
            "A file with the token for everything under /admin/; when absent: /admin/ is closed.";

        "api.listen", api.listen, like "\"127.0.0.1:9500\"",
            "Where back-end applications reach the HTTP API; when absent: it is off.";
        "api.tls", api.tls, "Whether the API is served over TLS only, with the certificate of [client.tls].";
        "api.max_connections", api.max_connections, in 1..=1_000_000, "Connections at one time; further ones are closed at once.";
        "api.max_requests", api.max_requests, in 1..=100_000,
            "Requests that are answered at one time, calls that wait for a service among them; further ones are answered with 429.";
        "api.max_body_bytes", api.max_body_bytes, in 256..=API_BODY_BYTES_MAX, "Bytes of the body of one request.";
        "api.max_batch", api.max_batch, in 1..=100_000, "Messages in one batch.";
        "api.call_timeout_ms", api.call_timeout_ms, in 10..=DAY_MS, "Time for a service to answer a call; then the answer is 504.";

        "session.timeout", session.timeout_ms, in 0..=DAY_MS, "Milliseconds for which a connect is held.";
        "session.interval", session.interval_ms, in 0..=DAY_MS,
            "Milliseconds a client is advised to wait between two connects.";
        "session.maxInterval", session.max_interval_ms, in 0..=DAY_MS,
            "Milliseconds of grace after a connect reply before the session expires.";
        "session.maxProcessing", session.max_processing_ms, in 0..=DAY_MS,
            "Milliseconds from the last message of a client until its connect must be answered and the answer written, or its session ends; more than timeout. 0: unlimited.";
        "session.maxClientAdvice", session.max_client_advice_ms, in 0..=DAY_MS,
            "Most milliseconds of timeout or interval that a client may ask for in a connect.";
        "session.maxQueue", session.max_queue, in 1..=1_000_000,
            "Messages that may wait for one session; one more ends the session.";
        "session.maxQueueBytes", session.max_queue_bytes, in 1024..=BYTES_MAX,
            "Bytes that may wait for one session; more end the session.";
        "session.maxMessageSize", session.max_message_bytes, in 256..=BYTES_MAX,
            "Bytes of one WebSocket message or HTTP body from a client.";
        "session.maxMessageDepth", session.max_depth, in 4..=1024, "Nesting of a message from a client.";
        "session.maxBatch", session.max_batch, in 1..=100_000, "Messages in one request or frame.";
        "session.maxFrameBytes", session.max_frame_bytes, in 1024..=BYTES_MAX,
            "Bytes up to which waiting messages leave together in one WebSocket frame.";
        "session.maxSubscriptions", session.max_subscriptions, in 1..=10_000_000, "Subscriptions of one session.";
        "session.maxCallsPerSession", session.max_calls_per_session, in 1..=1_000_000,
            "Remote calls of one session that wait for their result; further ones are refused.";
        "session.maxCalls", session.max_calls, in 1..=100_000_000, "Remote calls that wait on this node, whoever called.";
        "session.maxChannels", session.max_channels, in 1..=100_000_000, "Channels of the node.";
        "session.maxSessions", session.max_sessions, in 1..=100_000_000,
            "Sessions of the node; further handshakes are refused with the advice to try again.";
        "session.maxTotalQueueBytes", session.max_total_queue_bytes, in 1_048_576..=i64::MAX,
            "Bytes that may wait for all sessions together; beyond, sessions that do not keep up are ended.";
        "session.maxChannelsPerSession", session.max_channels_per_session, in 1..=10_000_000,
            "Channels that exist at one time because one session named them first.";
        "session.sweepPeriod", session.sweep_period_ms, in 1..=60_000,
            "Milliseconds between two looks for channels that nobody uses; they go after three.";
        "session.broadcastToPublisher", session.broadcast_to_publisher,
            "Whether a publisher that is subscribed gets its own messages.";
        "session.browserCookieName", client.browser_cookie.name,
            "Name of the cookie that ties the sessions of one browser together over HTTP. Cookies know no ports: nodes that browsers reach at one host name and different ports need different names.";
        "session.browserCookieDomain", client.browser_cookie.domain, like "\"example.com\"",
            "Domain of that cookie; when absent: the host that set it.";
        "session.browserCookiePath", client.browser_cookie.path, "Path of that cookie.";
        "session.browserCookieMaxAge", client.browser_cookie.max_age_s, in -1..=MAX_AGE_S,
            "Seconds for which the browser keeps that cookie; -1: until it ends.";
        "session.browserCookieHttpOnly", client.browser_cookie.http_only,
            "Whether scripts of the page cannot read that cookie.";
        "session.browserCookieSecure", client.browser_cookie.secure,
            "Whether that cookie gets Secure where the client's connection is encrypted, up to the node or to a trusted proxy.";
        "session.browserCookieSameSite", client.browser_cookie.same_site,
            "Whether requests that another site caused carry that cookie; pages of other sites need \"None\" (and encryption). Empty: the attribute is left out.";
        "session.browserCookiePartitioned", client.browser_cookie.partitioned,
            "Whether that cookie gets Partitioned beside Secure, so that each site in which the page is embedded has its own.";
        "session.maxSessionsPerBrowser", session.max_sessions_per_browser, in -1..=1_000_000,
            "Connects of one browser that are held at one time over HTTP; -1: unlimited, 0: none is held.";
        "session.http2MaxSessionsPerBrowser", session.http2_max_sessions_per_browser, in -1..=1_000_000,
            "The same for connects that come over HTTP/2, where a browser's connections do not run out.";
        "session.multiSessionInterval", session.multi_session_interval_ms, in 0..=DAY_MS,
            "Milliseconds a client over that limit is advised to wait; 0: it is advised to give up.";
        "session.trustClientSession", session.trust_client_session,
            "Whether a session made over another transport may be used over HTTP without its cookie.";
        "session.duplicateMetaConnectHttpResponseCode", session.duplicate_meta_connect_status, in 400..=599,
            "HTTP status of a held connect that a newer one of the same session displaced.";
        "session.metaConnectDeliverOnly", session.meta_connect_deliver_only,
            "Whether events travel only with connect replies.";
        "session.allowMessageDeliveryDuringHandshake", session.allow_message_delivery_during_handshake,
            "Whether messages that are queued while a session is made follow its handshake reply, which then has x-messages.";
        "session.lazyChannels", session.lazy_channels,
            "Channels and patterns whose messages may wait, so that more leaves together.";
        "session.maxLazyTimeout", session.max_lazy_timeout_ms, in 0..=DAY_MS,
            "Milliseconds that such a message waits for one that may not; 0: none waits.";
        "session.handshakeReconnect", session.handshake_reconnect, "Whether advice carries maxInterval.";
        "session.requireHandshakePerConnection", session.require_handshake_per_connection,
            "Whether a new WebSocket must handshake instead of continuing a session.";

        "extensions.ack", session.ack,
            "Whether clients that ask for it acknowledge what they receive (CometD's ack extension), so that nothing is lost or doubled with a connection.";
        "extensions.timesync", session.timesync,
            "Whether clients that ask for it learn the node's time (CometD's timesync extension).";
        "extensions.timestamp", session.timestamp,
            "Whether every reply and event carries the node's time as text (CometD's timestamp extension). Events are encoded twice.";
        "extensions.activity", session.activity,
            "Whose messages keep a session alive that would otherwise be disconnected as inactive (CometD's activity extension); connects never do.";
        "extensions.maxInactivity", session.max_inactivity_ms, in 1..=DAY_MS,
            "Milliseconds without activity after which the next connect ends the session.";

        "security.policy", security.policy,
            "How clients are recognised: nobody is (or, with seti.trust_handshake_user, whoever they say), by the token in the handshake, or by asking the application.";

        "security.jwt.algorithms", security.jwt.algorithms, like "[\"RS256\"]",
            "Algorithms that a token may be signed with; a key is used with its own algorithm only.";
        "security.jwt.secret_file", security.jwt.secret_file, like "\"/etc/halley/jwt-secret\"",
            "File with the secret for HS256, at least 32 bytes.";
        "security.jwt.public_key_file", security.jwt.public_key_file, like "\"/etc/halley/jwt.pem\"",
            "File with one public key in PEM, for RS256, ES256 or EdDSA.";
        "security.jwt.jwks_file", security.jwt.jwks_file, like "\"/etc/halley/jwks.json\"",
            "File with a JSON Web Key Set.";
        "security.jwt.jwks_url", security.jwt.jwks_url, like "\"http://127.0.0.1:9000/jwks.json\"",
            "Address of a JSON Web Key Set, http only; secrets in it are not used.";
        "security.jwt.jwks_refresh_ms", security.jwt.jwks_refresh_ms, in 1000..=DAY_MS,
            "Milliseconds between two fetches of that set; sooner when a token names a key that is not in it, but not within 5 s.";
        "security.jwt.reload_ms", security.jwt.reload_ms, in 100..=DAY_MS,
            "Milliseconds between two looks whether a key file has changed.";
        "security.jwt.issuer", security.jwt.issuer, "Issuers (claim iss) of which a token must have one; empty: any.";
        "security.jwt.audience", security.jwt.audience,
            "Audiences (claim aud) of which a token must name one; empty: a token that names an audience is refused.";
        "security.jwt.leeway_s", security.jwt.leeway_s, in 0..=3600,
            "Seconds by which clocks may differ: a token counts this much longer, and this much earlier.";
        "security.jwt.user_claim", security.jwt.user_claim, "Claim with the user; dots lead into objects.";
        "security.jwt.roles_claim", security.jwt.roles_claim,
            "Claim with the roles, a list or words with spaces between them; dots lead into objects.";
        "security.jwt.required", security.jwt.required,
            "Whether a client without a token is refused; when false it has neither user nor roles.";

        "security.hooks.handshake", security.hooks.handshake, like "\"http://127.0.0.1:9000/handshake\"",
            "Address that decides on handshakes and names user and roles; when absent: everyone gets a session, without user.";
        "security.hooks.subscribe", security.hooks.subscribe, like "\"http://127.0.0.1:9000/subscribe\"",
            "Address that decides on subscriptions, after security.channels; when absent: those alone decide.";
        "security.hooks.publish", security.hooks.publish, like "\"http://127.0.0.1:9000/publish\"",
            "Address that decides on publishing, after security.channels; when absent: those alone decide.";
        "security.hooks.token_file", security.hooks.token_file, like "\"/etc/halley/hook-token\"",
            "File with the token that the node shows to the hooks (Authorization: Bearer).";
        "security.hooks.timeout_ms", security.hooks.timeout_ms, in 10..=60_000,
            "Milliseconds for one answer, with waiting for a place and retries; then the client is refused.";
        "security.hooks.max_concurrent", security.hooks.max_concurrent, in 1..=10_000,
            "Calls under way at one time; further ones wait, and with them the clients that caused them.";
        "security.hooks.retries", security.hooks.retries, in 0..=10,
            "Further attempts when no connection can be made; what was sent is never sent again.";
        "security.hooks.cache_ms", security.hooks.cache_ms, in 0..=DAY_MS,
            "Milliseconds for which an answer about a session and a channel counts again; 0: every time is asked.";
        "security.hooks.headers", security.hooks.headers,
            "Headers of the client's request that the hooks are shown, such as \"user-agent\"; over WebSocket of the request that opened it.";

        "services.token_file", services.token_file, like "\"/etc/halley/hook-token\"",
            "File with the token that the node shows to the hooks of [[services.hooks]] (Authorization: Bearer).";
        "services.timeout_ms", services.timeout_ms, in 10..=600_000,
            "Milliseconds for one answer, with waiting for a place and retries; then the call has failed.";
        "services.max_concurrent", services.max_concurrent, in 1..=10_000,
            "Calls under way to hooks at one time; further ones wait.";
        "services.max_waiting", services.max_waiting, in 0..=1_000_000,
            "Calls that may wait for that; further ones fail at once.";
        "services.retries", services.retries, in 0..=10,
            "Further attempts when no connection can be made; what was sent is never sent again.";
        "services.max_answer_bytes", services.max_answer_bytes, in 256..=BYTES_MAX,
            "Bytes of one answer; a longer one counts as none.";
        "services.headers", services.headers,
            "Headers of the client's request that the hooks of [[services.hooks]] are shown; over WebSocket of the request that opened it.";

        "seti.trust_handshake_user", seti.trust_handshake_user,
            "Take the user of a session from the handshake's ext.halley.user. Anyone can claim any name: only for demonstrations and behind a proxy that sets it.";
        "seti.direct", seti.direct, "Offer direct messages between users on /service/user.";
        "seti.grace_ms", seti.grace_ms, in 0..=600_000,
            "In a cluster: how long a user stays present whose session or node was lost; back in time, on any node, it was never away. 0: not at all.";

        "presence.enabled", presence.enabled, "Offer the users that are present on /halley/presence.";
        "presence.nodes", presence.nodes, "Offer the nodes of the cluster on /halley/cluster.";
        "presence.rooms", presence.rooms,
            "Channels and patterns that are rooms, the same on every node: /halley/presence/chat/lobby tells who is subscribed to the room /chat/lobby.";

        "log.format", log.format, "Form of a log line.";
        "log.level", log.level, "Least important level that is written.";
    }
});
