use std::io::Write;

/// What a client should do after a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reconnect {
    /// Connect again with the same session.
    Retry,
    /// Make a new session.
    Handshake,
    /// Stop.
    None,
}

/// The `advice` object of a reply. Stock clients replace the previous advice completely, so it should be complete where it invites to go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What to do next.
    pub reconnect: Reconnect,
    /// Milliseconds to wait before the next connect.
    pub interval_ms: Option<u64>,
    /// Milliseconds a connect is held.
    pub timeout_ms: Option<u64>,
    /// Milliseconds after which an unconnected client must handshake.
    pub max_interval_ms: Option<u64>,
    /// Whether the browser has too many sessions.
    pub multiple_clients: bool,
}

impl Advice {
    /// Only `reconnect: none`.
    pub const NONE: Self = Self::only(Reconnect::None);

    /// What an unknown session is told: `reconnect: handshake, interval: 0`.
    pub const HANDSHAKE: Self = Self {
        interval_ms: Some(0),
        ..Self::only(Reconnect::Handshake)
    };

    /// Advice with nothing but `reconnect`.
    #[must_use]
    pub const fn only(reconnect: Reconnect) -> Self {
        Self {
            reconnect,
            interval_ms: None,
            timeout_ms: None,
            max_interval_ms: None,
            multiple_clients: false,
        }
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        out.push(b'{');
        if self.multiple_clients {
            out.extend_from_slice(b"\"multiple-clients\":true,");
        }
        out.extend_from_slice(match self.reconnect {
            Reconnect::Retry => b"\"reconnect\":\"retry\"".as_slice(),
            Reconnect::Handshake => b"\"reconnect\":\"handshake\"",
            Reconnect::None => b"\"reconnect\":\"none\"",
        });
        for (name, value) in [
            ("interval", self.interval_ms),
            ("timeout", self.timeout_ms),
            ("maxInterval", self.max_interval_ms),
        ] {
            if let Some(value) = value {
                // Writing to a Vec does not fail.
                let _ = write!(out, ",\"{name}\":{value}");
            }
        }
        out.push(b'}');
    }
}
