//! What the server has said: replies, events, results, failed requests.

use tokio::time::Instant;

use super::{Machine, Switch, Timer, Turn, UNACKNOWLEDGED_MAX};
use crate::{
    advice::{Advice, Reconnect},
    error::{LinkError, Refusal, RequestError},
    event::{EndReason, Event, Message},
    json::Json,
    pending::Pending,
    session::Session,
    transport::Transport,
    wire::{Incoming, read_frame},
};

impl Machine {
    /// A frame has come.
    ///
    /// # Errors
    /// When it is not Bayeux; the connection is then of no more use.
    pub(crate) fn frame(&mut self, text: &str, now: Instant) -> Result<(), LinkError> {
        for message in read_frame(text)? {
            let channel = message.channel()?;
            match &*channel {
                "/meta/handshake" => self.handshake_reply(&message, now)?,
                "/meta/connect" => self.connect_reply(&message, now)?,
                "/meta/disconnect" if !message.has_id() => self.end = Some(EndReason::ByServer),
                _ if message.data.is_some()
                    && message.has_id()
                    && message.has_outcome()
                    && channel.starts_with("/service/") =>
                {
                    self.result(&channel, &message);
                }
                _ if message.data.is_some() || !(message.has_id() || message.has_outcome()) => {
                    self.event(channel.into_owned(), &message)?;
                }
                _ => self.reply(&message, now),
            }
        }
        Ok(())
    }

    /// The HTTP request with these messages has failed with a status.
    ///
    /// # Errors
    /// When the client cannot go on without one of them.
    pub(crate) fn failed(&mut self, ids: &[u64], status: u16) -> Result<(), LinkError> {
        for id in ids {
            let Some(waiting) = self.pending.remove(*id) else {
                continue;
            };
            match (waiting.pending, waiting.answer) {
                (Pending::Renew(_), _) => {
                    self.forget_session();
                    return Err(LinkError::Status(status));
                }
                (Pending::Goodbye, _) => return Err(LinkError::Status(status)),
                (_, Some(answer)) => answer.fail(RequestError::Status(status)),
                (_, None) => {}
            }
        }
        Ok(())
    }

    fn handshake_reply(&mut self, message: &Incoming<'_>, now: Instant) -> Result<(), LinkError> {
        match self.timer {
            Timer::Reply(Turn::Handshake, id, _)
                if message.id().is_none_or(|theirs| theirs == id) => {}
            _ => return Ok(()),
        }
        if let Some(advice) = message.advice {
            self.advice = Advice::read(advice.get());
        }
        if !message.is_successful() {
            let none = message.advice.is_some() && self.advice.reconnect == Some(Reconnect::None);
            if none || self.generation == 0 {
                self.end = Some(EndReason::Refused(Refusal::new(message.error())));
            } else {
                self.timer = Timer::Send(Turn::Handshake, now + self.backoff.next());
            }
            return Ok(());
        }
        let id = message
            .client_id()
            .ok_or(LinkError::Bayeux("a handshake reply without a clientId"))?;
        self.switch = self.negotiate(message)?;
        if self.switch.is_some() {
            self.timer = Timer::Off;
            if self.transport == Transport::WebSocket {
                // A session that began on a WebSocket has no cookie to be known by over HTTP: take another.
                return Ok(());
            }
        }
        self.generation += 1;
        self.ack = (self.settings.acknowledge && message.grants_ack()).then_some(0);
        self.session = Some(Session {
            id,
            transport: self.transport,
            ext: message.ext.map(|ext| Json(ext.to_owned())),
            acknowledged: self.ack.is_some(),
        });
        if self.switch.is_some() {
            self.fresh = true;
        } else {
            self.send_turn(Turn::Connect, now);
            self.renew();
        }
        Ok(())
    }

    /// The first of our transports that the server supports, when it is another than the one in use. A server that
    /// names none is content with it.
    fn negotiate(&self, message: &Incoming<'_>) -> Result<Option<Switch>, LinkError> {
        let Some(names) = message.connection_types() else {
            return Ok(None);
        };
        let supported = |transport: &&Transport| names.iter().any(|name| name == transport.name());
        match self.offers.iter().find(supported) {
            Some(to) if *to == self.transport => Ok(None),
            Some(to) => Ok(Some(Switch {
                to: *to,
                denied: !supported(&&self.transport),
            })),
            None => Err(LinkError::Bayeux(
                "the server supports none of the transports that are allowed",
            )),
        }
    }

    fn connect_reply(&mut self, message: &Incoming<'_>, now: Instant) -> Result<(), LinkError> {
        match self.timer {
            Timer::Reply(Turn::Connect, id, _) if message.id() == Some(id) => {}
            // The reply to a connect of which nothing is expected any more.
            _ => return Ok(()),
        }
        if let Some(advice) = message.advice {
            self.advice = Advice::read(advice.get());
        }
        if self.advice.reconnect == Some(Reconnect::None) {
            self.end = Some(EndReason::ByServer);
            return Ok(());
        }
        if !message.is_successful() {
            let refusal = Refusal::new(message.error());
            if self.advice.reconnect == Some(Reconnect::Handshake) || refusal.code() == Some(402) {
                self.session_gone(now);
            } else {
                self.timer = Timer::Send(Turn::Connect, now + self.backoff.next());
            }
            return Ok(());
        }
        self.backoff.reset();
        if !std::mem::replace(&mut self.connected, true) && !self.ready && self.renewing == 0 {
            // The session of an earlier connection goes on. Its unacknowledged messages are sent again by the server.
            self.ready = true;
            self.interrupted = false;
            self.events.push_back(Event::Resumed);
        }
        self.unacknowledged.drain(..self.stale);
        self.stale = 0;
        if let (Some(ack), Some(number)) = (self.ack.as_mut(), message.ack()) {
            *ack = number;
            self.release();
        }
        if self.advice.interval.is_zero() {
            self.send_turn(Turn::Connect, now);
        } else {
            self.timer = Timer::Send(Turn::Connect, now + self.advice.interval);
        }
        Ok(())
    }

    /// The server no longer knows the session: handshakes, at once the first time, later with growing delays.
    fn session_gone(&mut self, now: Instant) {
        self.forget_session();
        self.ack = None;
        self.connected = false;
        self.ready = false;
        self.renewing = 0;
        let delay = self.backoff.next_eager().max(self.advice.interval);
        self.timer = Timer::Send(Turn::Handshake, now + delay);
    }

    /// The reply to a request.
    fn reply(&mut self, message: &Incoming<'_>, now: Instant) {
        let Some((id, waiting)) = message
            .id()
            .and_then(|id| Some((id, self.pending.remove(id)?)))
        else {
            return;
        };
        let refusal = (!message.is_successful()).then(|| Refusal::new(message.error()));
        let unknown = refusal
            .as_ref()
            .is_some_and(|refusal| refusal.code() == Some(402));
        match (waiting.pending, &refusal) {
            (Pending::Goodbye, _) => self.end = Some(EndReason::Disconnected),
            (Pending::Call { channel, .. }, None) => {
                // The result comes on its own.
                let pending = Pending::Call {
                    channel,
                    accepted: true,
                };
                return self.wait_for(id, pending, waiting.answer);
            }
            (Pending::Publish, _)
            | (Pending::Call { .. }, Some(_))
            | (Pending::Subscribe(_), Some(_))
            | (Pending::Unsubscribe(_), Some(_)) => {}
            (Pending::Subscribe(channel), None) => {
                self.subscriptions.insert(channel);
            }
            (Pending::Unsubscribe(channel), None) => {
                self.subscriptions.remove(&channel);
            }
            (Pending::Renew(channel), _) => {
                if let (Some(refusal), false) = (&refusal, unknown) {
                    self.subscriptions.remove(&channel);
                    self.events.push_back(Event::Unsubscribed {
                        channel,
                        refusal: refusal.clone(),
                    });
                }
                if !unknown {
                    self.renewing = self.renewing.saturating_sub(1);
                    if self.renewing == 0 {
                        self.renewed();
                    }
                }
            }
        }
        if let Some(answer) = waiting.answer {
            match refusal {
                Some(refusal) => answer.fail(RequestError::Refused(refusal)),
                None => answer.done(),
            }
        }
        if unknown && self.session.is_some() && waiting.generation == self.generation {
            self.session_gone(now);
        }
    }

    /// The result of a call. It comes again when the session resends what was not acknowledged; then nobody waits.
    fn result(&mut self, channel: &str, message: &Incoming<'_>) {
        let call = message
            .id()
            .and_then(|id| self.pending.remove_call(id, channel));
        if let (Some(answer), Some(data)) = (call.and_then(|call| call.answer), message.data) {
            answer.result(message.is_successful(), Json(data.to_owned()));
        }
    }

    fn event(&mut self, channel: String, message: &Incoming<'_>) -> Result<(), LinkError> {
        let own = |value: &serde_json::value::RawValue| value.to_owned();
        let message = Message {
            channel,
            data: message.data.map(own),
            ext: message.ext.map(own),
        };
        if self.ack.is_none() {
            self.events.push_back(Event::Message(message));
        } else if self.unacknowledged.len() < UNACKNOWLEDGED_MAX {
            self.unacknowledged.push(message);
        } else {
            return Err(LinkError::Bayeux(
                "too many messages without an acknowledgement number",
            ));
        }
        Ok(())
    }

    /// Messages held back become events.
    pub(super) fn release(&mut self) {
        self.stale = 0;
        self.events
            .extend(self.unacknowledged.drain(..).map(Event::Message));
    }
}
