use crate::ChannelName;
use thiserror::Error;

/// Deepest nesting that may be configured.
pub const DEPTH_MAX: usize = 1024;

/// Whose messages count as a client's activity (reference 8.2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activity {
    /// Nobody is disconnected for lack of it.
    #[default]
    Off,
    /// Those of the client but its connects.
    Client,
    /// Those too that are sent to the client.
    ClientServer,
}

/// The engine's options. CometD's names where CometD has the option, with the unit last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineConfig {
    /// How long a connect is held (`timeout`).
    pub timeout_ms: u64,
    /// Advised wait between connects (`interval`).
    pub interval_ms: u64,
    /// Grace after a connect reply before the session expires (`maxInterval`).
    pub max_interval_ms: u64,
    /// Longest time from a client's last message to the end of its processing: a connect whose reply is neither due nor written by then
    /// ends the session (`maxProcessing`). 0 is unlimited; otherwise more than `timeout_ms`.
    pub max_processing_ms: u64,
    /// Upper bound of the `timeout` and `interval` that a client may ask for in a connect.
    pub max_client_advice_ms: u64,
    /// Most messages waiting for one session (`maxQueue`). One more ends the session with `EndReason::QueueOverflow`.
    pub max_queue: usize,
    /// Most bytes of messages waiting for one session. Beyond it the session ends likewise; a single message may be larger.
    pub max_queue_bytes: usize,
    /// Largest inbound frame or request body in bytes (`maxMessageSize`).
    pub max_message_bytes: usize,
    /// Deepest nesting of an inbound frame, counting its array and message object.
    pub max_depth: usize,
    /// Most messages in one inbound frame.
    pub max_batch: usize,
    /// Byte budget of one outbound WebSocket frame; a larger message goes alone.
    pub max_frame_bytes: usize,
    /// Most channels one session may be subscribed to.
    pub max_subscriptions: usize,
    /// Most remote calls of one session that wait for their answer. One more is refused with `403:limit_reached:publish_denied`.
    pub max_calls_per_session: usize,
    /// The same for all sessions together, those included that have ended meanwhile.
    pub max_calls: usize,
    /// Most channels that exist at once because one session named them first.
    pub max_channels_per_session: usize,
    /// Most channels of the node.
    pub max_channels: usize,
    /// Most sessions of the node. One more handshake is refused with `503::session_limit_reached` and the advice to try again; sessions that
    /// exist are not touched.
    pub max_sessions: usize,
    /// Most bytes waiting for all sessions together. While there are more, a session for which something waits already ends with
    /// `EndReason::QueueOverflow` at its next message; looked at with each tick.
    pub max_total_queue_bytes: u64,
    /// How often channels without subscribers are looked for (`sweepPeriod`); they go after three times.
    pub sweep_period_ms: u64,
    /// Whether a publisher receives its own broadcasts (`broadcastToPublisher`).
    pub broadcast_to_publisher: bool,
    /// Held connects allowed per browser (`maxSessionsPerBrowser`); negative: unlimited, 0: never hold.
    pub max_sessions_per_browser: i64,
    /// The same for HTTP/2 (`http2MaxSessionsPerBrowser`).
    pub http2_max_sessions_per_browser: i64,
    /// Interval advised beyond that limit (`multiSessionInterval`); 0 refuses such connects.
    pub multi_session_interval_ms: u64,
    /// Whether a session made over another transport may be used over HTTP without its cookie (`trustClientSession`).
    pub trust_client_session: bool,
    /// HTTP status of a held connect that a newer one displaced (`duplicateMetaConnectHttpResponseCode`).
    pub duplicate_meta_connect_status: u16,
    /// Whether messages leave with connect replies only (`metaConnectDeliverOnly`).
    pub meta_connect_deliver_only: bool,
    /// Whether what was queued while a session was made is delivered right after its handshake reply
    /// (`allowMessageDeliveryDuringHandshake`), not with the client's next message.
    pub allow_message_delivery_during_handshake: bool,
    /// Whether advice carries `maxInterval` (`handshakeReconnect`).
    pub handshake_reconnect: bool,
    /// Whether a new WebSocket connection must handshake instead of continuing a session (`ws.requireHandshakePerConnection`).
    pub require_handshake_per_connection: bool,
    /// Channels and patterns whose messages are lazy.
    pub lazy_channels: Vec<ChannelName>,
    /// How long a lazy message may wait (`maxLazyTimeout`); 0 makes none lazy.
    pub max_lazy_timeout_ms: u64,
    /// Whether clients that ask for it acknowledge what they receive (the `ack` extension): nothing is lost or doubled when a connection is.
    pub ack: bool,
    /// Whether clients that ask for it learn the node's time (the `timesync` extension). Needs [`crate::Engine::set_wall_clock`].
    pub timesync: bool,
    /// Whether replies and events carry a `timestamp`. Each event is then encoded once more. Needs [`crate::Engine::set_wall_clock`].
    pub timestamp: bool,
    /// Whether remote sessions may use channels under `/oort` and `/seti`, as the policy decides. Only for an engine whose sessions are
    /// the links of other nodes; clients must never reach them.
    pub internal_channels: bool,
    /// Whether inactive clients are disconnected (the `activity` extension).
    pub activity: Activity,
    /// After how long without activity the next connect ends the session.
    pub max_inactivity_ms: u64,
    /// The transports offered to clients, in order.
    pub supported_connection_types: Vec<String>,
}

impl Default for EngineConfig {
    fn default() -> Self {
        Self {
            timeout_ms: 30_000,
            interval_ms: 0,
            max_interval_ms: 10_000,
            max_processing_ms: 0,
            max_client_advice_ms: 60_000,
            max_queue: 1000,
            max_queue_bytes: 1 << 20,
            max_message_bytes: 65_536,
            max_depth: 64,
            max_batch: 256,
            max_frame_bytes: 32_768,
            max_subscriptions: 1000,
            max_calls_per_session: 100,
            max_calls: 100_000,
            max_channels_per_session: 1000,
            max_channels: 1_000_000,
            max_sessions: 200_000,
            max_total_queue_bytes: 1 << 30,
            sweep_period_ms: 997,
            broadcast_to_publisher: true,
            max_sessions_per_browser: 1,
            http2_max_sessions_per_browser: -1,
            multi_session_interval_ms: 2000,
            trust_client_session: false,
            duplicate_meta_connect_status: 500,
            meta_connect_deliver_only: false,
            allow_message_delivery_during_handshake: false,
            handshake_reconnect: false,
            require_handshake_per_connection: false,
            lazy_channels: Vec::new(),
            max_lazy_timeout_ms: 5000,
            ack: true,
            timesync: true,
            timestamp: false,
            internal_channels: false,
            activity: Activity::Off,
            max_inactivity_ms: 600_000,
            supported_connection_types: vec!["websocket".to_owned(), "long-polling".to_owned()],
        }
    }
}

/// An option out of its range.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{option}: {rule}")]
pub struct InvalidConfig {
    /// The field of [`EngineConfig`].
    pub option: &'static str,
    /// What holds for it.
    pub rule: &'static str,
}

impl EngineConfig {
    /// Checks every option.
    ///
    /// # Errors
    /// All violations, not only the first.
    pub fn validate(&self) -> Result<(), Vec<InvalidConfig>> {
        // Sums of two times stay far from overflow, and u32 holds one in a session.
        const YEAR_MS: u64 = 365 * 24 * 3_600_000;
        const BYTES_MAX: usize = 1 << 30;
        let mut errors = Vec::new();
        let mut check = |holds: bool, option, rule| {
            if !holds {
                errors.push(InvalidConfig { option, rule });
            }
        };
        let time = |ms: u64| ms <= YEAR_MS / 12;
        check(time(self.timeout_ms), "timeout_ms", "at most a month");
        check(time(self.interval_ms), "interval_ms", "at most a month");
        check(
            time(self.max_interval_ms),
            "max_interval_ms",
            "at most a month",
        );
        check(
            time(self.max_client_advice_ms),
            "max_client_advice_ms",
            "at most a month",
        );
        check(
            time(self.multi_session_interval_ms),
            "multi_session_interval_ms",
            "at most a month",
        );
        check(
            self.max_processing_ms == 0
                || (self.max_processing_ms > self.timeout_ms && time(self.max_processing_ms)),
            "max_processing_ms",
            "0, or more than timeout_ms and at most a month",
        );
        check(
            time(self.max_lazy_timeout_ms),
            "max_lazy_timeout_ms",
            "at most a month",
        );
        check(
            self.max_inactivity_ms >= 1 && time(self.max_inactivity_ms),
            "max_inactivity_ms",
            "1 to a month",
        );
        check(self.max_sessions >= 1, "max_sessions", "at least 1");
        check(
            self.max_total_queue_bytes >= 1,
            "max_total_queue_bytes",
            "at least 1",
        );
        check(
            (1..=60_000).contains(&self.sweep_period_ms),
            "sweep_period_ms",
            "1 to 60000",
        );
        check(
            (1..=1_000_000).contains(&self.max_queue),
            "max_queue",
            "1 to 1000000",
        );
        check(
            (1..=BYTES_MAX).contains(&self.max_queue_bytes),
            "max_queue_bytes",
            "1 to 1 GiB",
        );
        check(
            (64..=BYTES_MAX).contains(&self.max_message_bytes),
            "max_message_bytes",
            "64 to 1 GiB",
        );
        check(
            (4..=DEPTH_MAX).contains(&self.max_depth),
            "max_depth",
            "4 to 1024",
        );
        check(
            (1..=100_000).contains(&self.max_batch),
            "max_batch",
            "1 to 100000",
        );
        check(
            (1..=BYTES_MAX).contains(&self.max_frame_bytes),
            "max_frame_bytes",
            "1 to 1 GiB",
        );
        check(
            self.max_subscriptions >= 1,
            "max_subscriptions",
            "at least 1",
        );
        check(
            self.max_channels_per_session >= 1,
            "max_channels_per_session",
            "at least 1",
        );
        check(
            self.max_calls_per_session >= 1,
            "max_calls_per_session",
            "at least 1",
        );
        check(self.max_calls >= 1, "max_calls", "at least 1");
        check(self.max_channels >= 1, "max_channels", "at least 1");
        check(
            (400..=599).contains(&self.duplicate_meta_connect_status),
            "duplicate_meta_connect_status",
            "400 to 599",
        );
        check(
            !self.supported_connection_types.is_empty(),
            "supported_connection_types",
            "at least one",
        );
        if errors.is_empty() {
            Ok(())
        } else {
            Err(errors)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_valid() {
        assert_eq!(EngineConfig::default().validate(), Ok(()));
    }

    #[test]
    fn all_violations_are_reported() {
        let config = EngineConfig {
            max_queue: 0,
            max_depth: 4096,
            duplicate_meta_connect_status: 200,
            ..EngineConfig::default()
        };
        let options: Vec<_> = config
            .validate()
            .unwrap_err()
            .iter()
            .map(|e| e.option)
            .collect();
        assert_eq!(
            options,
            ["max_queue", "max_depth", "duplicate_meta_connect_status"]
        );
    }
}
