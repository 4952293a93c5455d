use super::{Binding, Hold, HoldPlace, NEVER, Phase, State, Transport, Wakers};
use crate::reply::{ExtField, Reply};
use crate::{Advice, EndReason, EngineConfig, Millis, Reconnect, json, refusal};

/// The `advice` object of a connect.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClientAdvice {
    pub(crate) timeout_ms: Option<u32>,
    pub(crate) interval_ms: Option<u32>,
}

impl ClientAdvice {
    /// Reads a validated JSON object. Negative values and values that are no numbers are ignored (reference 5.4); large ones are capped.
    pub(crate) fn parse(object: &str, max_ms: u64) -> Self {
        let mut advice = Self::default();
        for (name, value) in json::members(object) {
            let field = match &*name {
                "timeout" => &mut advice.timeout_ms,
                "interval" => &mut advice.interval_ms,
                _ => continue,
            };
            *field = value
                .parse::<f64>()
                .ok()
                .filter(|ms| *ms >= 0.0)
                .map(|ms| (ms as u64).min(max_ms).min(u64::from(u32::MAX)) as u32);
        }
        advice
    }
}

/// A connect that has passed validation, extensions and the session check.
pub(crate) struct ConnectRequest<'a> {
    pub(crate) transport: Transport,
    /// The connection's number for WebSocket.
    pub(crate) connection: u64,
    pub(crate) advice: Option<ClientAdvice>,
    /// The only message of its request.
    pub(crate) alone: bool,
    /// Raw JSON.
    pub(crate) id: Option<&'a str>,
    pub(crate) ext: &'a mut Vec<ExtField>,
}

/// What becomes of a connect.
#[derive(Debug)]
pub(crate) enum ConnectOutcome {
    /// The session has ended meanwhile.
    Unknown,
    /// Answer it now.
    Reply(Option<Advice>),
    /// Too many sessions in this browser, and the configuration says to refuse.
    TooMany,
    /// It is held.
    Parked { generation: u32 },
}

/// How many connects a browser may have held; implemented by the engine.
pub(crate) trait BrowserSlots {
    /// Takes a slot for one more held connect; false when there is none.
    fn take(&self) -> bool;
    /// Gives it back.
    fn give_back(&self);
}

impl State {
    /// Processes a connect in one step: displaces an older one, takes the client's advice, and parks it if all conditions hold
    /// (reference 1.7 for HTTP, 3.3 for WebSocket). The waker is the displaced request's.
    pub(crate) fn connect(
        &mut self,
        request: ConnectRequest<'_>,
        slots: &dyn BrowserSlots,
        config: &EngineConfig,
        now: Millis,
    ) -> (ConnectOutcome, Wakers) {
        if !self.is_live() {
            return (ConnectOutcome::Unknown, Wakers::default());
        }
        let displaced = Wakers(self.displace_hold(slots), None);
        let was_connected = self.phase == Phase::Connected;
        self.phase = Phase::Connected;
        self.generation = self.generation.wrapping_add(1);
        self.expire_at = NEVER;
        self.transport = request.transport;
        let advice = request.advice.unwrap_or_default();
        self.client_timeout_ms = advice.timeout_ms;
        self.client_interval_ms = advice.interval_ms;
        let websocket = request.transport == Transport::WebSocket;
        if !websocket {
            self.binding = Binding::Http;
        }
        let timeout_ms = self
            .client_timeout_ms
            .map_or_else(|| self.timeout_ms(config), u64::from);
        let advise = request.advice.is_some();
        let pending = self.urgent;
        let may_hold = if websocket {
            !(self.deliver_only && pending)
        } else {
            request.alone && (!pending || self.batch > 0)
        };
        let mut slot = false;
        if may_hold && !websocket {
            slot = slots.take();
            if !slot {
                return (self.too_many(config), displaced);
            }
        }
        if !(may_hold && timeout_ms > 0 && was_connected) {
            if slot {
                slots.give_back();
            }
            return (
                ConnectOutcome::Reply(self.connect_advice(advise, config)),
                displaced,
            );
        }
        self.hold = Some(Box::new(Hold {
            generation: self.generation,
            place: if websocket {
                HoldPlace::WebSocket(request.connection)
            } else {
                HoldPlace::Http(None)
            },
            id: request.id.map(Into::into),
            ext: std::mem::take(request.ext),
            received: now,
            deadline: now.after(timeout_ms),
            advise,
            slot,
            released: false,
        }));
        let generation = self.generation;
        (ConnectOutcome::Parked { generation }, displaced)
    }

    /// Drops a held connect without a reply; its HTTP request learns it from its generation.
    pub(crate) fn displace_hold(&mut self, slots: &dyn BrowserSlots) -> Option<std::task::Waker> {
        let hold = self.hold.take()?;
        if hold.slot {
            slots.give_back();
        }
        match hold.place {
            HoldPlace::Http(waker) => waker,
            HoldPlace::WebSocket(_) => None,
        }
    }

    /// Makes `connection` the one that publications go to; a connect held on another WebSocket connection is dropped unanswered
    /// (reference 3.4), and from then on the session has to be heard of again.
    pub(crate) fn bind(&mut self, connection: u64, config: &EngineConfig, now: Millis) {
        self.transport = Transport::WebSocket;
        if matches!(self.binding, Binding::WebSocket(bound, _) if bound == connection) {
            return;
        }
        self.binding = Binding::WebSocket(connection, None);
        if matches!(&self.hold, Some(hold) if matches!(hold.place, HoldPlace::WebSocket(on) if on != connection))
        {
            self.hold = None;
            self.reply_written(config, now);
        }
    }

    /// As CometD 3.1 and not 8.0: the advice is complete, and the next reply takes it back with a full one.
    fn too_many(&mut self, config: &EngineConfig) -> ConnectOutcome {
        self.advised = None;
        if config.multi_session_interval_ms == 0 {
            return ConnectOutcome::TooMany;
        }
        ConnectOutcome::Reply(Some(Advice {
            multiple_clients: true,
            interval_ms: Some(config.multi_session_interval_ms),
            ..self.full_advice(config)
        }))
    }

    /// The advice of a connect reply that leaves now (reference 5.4).
    fn connect_advice(&mut self, requested: bool, config: &EngineConfig) -> Option<Advice> {
        let stale = self.advised != Some(self.transport);
        self.advised = Some(self.transport);
        (requested || stale).then(|| self.full_advice(config))
    }

    /// Fills the reply to a connect that was held (reference 5.4, 5.8).
    pub(crate) fn finish_hold(
        &mut self,
        hold: &Hold,
        reply: &mut Reply<'_>,
        config: &EngineConfig,
    ) {
        reply.succeed();
        match self.phase {
            Phase::Handshaken | Phase::Connected => {
                reply.advice = self.connect_advice(hold.advise, config)
            }
            Phase::Ended(EndReason::Disconnected | EndReason::Server) => {
                let advice = self.connect_advice(hold.advise, config);
                reply.advice = Some(advice.map_or(Advice::NONE, |advice| Advice {
                    reconnect: Reconnect::None,
                    ..advice
                }));
            }
            Phase::Ended(EndReason::Expired) => {}
            Phase::Ended(
                EndReason::CredentialExpired
                | EndReason::QueueOverflow
                | EndReason::NodeSuspended
                | EndReason::Shutdown,
            ) => {
                reply.refuse(refusal::SESSION_UNKNOWN);
                reply.advice = Some(Advice::HANDSHAKE);
            }
        }
    }
}
