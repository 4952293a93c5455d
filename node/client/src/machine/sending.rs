//! What goes to the server: requests, subscriptions of a new session, handshakes and connects, the goodbye.

use std::time::Duration;

use tokio::time::Instant;

use super::{Machine, Timer, Turn};
use crate::{
    error::RequestError,
    event::Event,
    pending::{Pending, Waiting},
    request::{Answer, Ask, Request},
    wire::{Frame, Outgoing, write_frames},
};

impl Machine {
    /// Requests to send. Only when [`Self::is_ready`].
    pub(crate) fn requests(&mut self, requests: impl IntoIterator<Item = Request>) {
        debug_assert!(self.ready, "requests wait until the session is ready");
        self.pending.forget_abandoned();
        let mut messages = Vec::new();
        for Request { ask, answer } in requests {
            if answer.is_closed() {
                continue;
            }
            let id = self.draw_id();
            let (message, pending) = match ask {
                Ask::Publish { channel, data } => (
                    self.message(&channel, id).json("data", data.get()),
                    Pending::Publish,
                ),
                Ask::Call { channel, data } => (
                    self.message(&channel, id).json("data", data.get()),
                    Pending::Call {
                        channel,
                        accepted: false,
                    },
                ),
                Ask::Subscribe { channel } => (
                    self.message("/meta/subscribe", id)
                        .string("subscription", &channel),
                    Pending::Subscribe(channel),
                ),
                Ask::Unsubscribe { channel } => (
                    self.message("/meta/unsubscribe", id)
                        .string("subscription", &channel),
                    Pending::Unsubscribe(channel),
                ),
            };
            let message = message.finish();
            if message.len() > self.settings.max_message_bytes {
                let error = RequestError::TooLarge {
                    bytes: message.len(),
                    max: self.settings.max_message_bytes,
                };
                answer.fail(error);
                continue;
            }
            self.wait_for(id, pending, Some(answer));
            messages.push((id, message));
        }
        self.frames
            .extend(write_frames(messages, self.settings.max_message_bytes));
    }

    /// The frame that says goodbye, when there is a session to end.
    pub(crate) fn goodbye(&mut self) -> Option<Frame> {
        self.session.as_ref()?;
        let id = self.draw_id();
        self.wait_for(id, Pending::Goodbye, None);
        let message = self.message("/meta/disconnect", id).finish();
        Some(Frame::of(&message, id, false))
    }

    /// A session was given: subscribes it to what the one before was subscribed to.
    pub(super) fn renew(&mut self) {
        let mut messages = Vec::new();
        for channel in self.subscriptions.clone() {
            let id = self.draw_id();
            let message = self
                .message("/meta/subscribe", id)
                .string("subscription", &channel)
                .finish();
            messages.push((id, message));
            self.wait_for(id, Pending::Renew(channel), None);
        }
        self.renewing = messages.len();
        self.frames
            .extend(write_frames(messages, self.settings.max_message_bytes));
        if self.renewing == 0 {
            self.renewed();
        }
    }

    pub(super) fn renewed(&mut self) {
        self.ready = true;
        self.interrupted = false;
        if self.generation > 1 {
            self.events.push_back(Event::Renewed);
        }
    }

    pub(super) fn send_turn(&mut self, turn: Turn, now: Instant) {
        let id = self.draw_id();
        let (message, patience) = match turn {
            Turn::Handshake => {
                let names: Vec<_> = self.offers.iter().map(|offer| offer.name()).collect();
                let mut message = Outgoing::new("/meta/handshake", id)
                    .string("version", "1.0")
                    .string("minimumVersion", "1.0")
                    .json(
                        "supportedConnectionTypes",
                        &serde_json::Value::from(names).to_string(),
                    );
                if let Some(ext) = &self.settings.handshake_ext {
                    message = message.json("ext", ext);
                }
                (message, Duration::ZERO)
            }
            Turn::Connect => {
                let mut message = self
                    .message("/meta/connect", id)
                    .string("connectionType", self.transport.name());
                let mut held = self.advice.timeout;
                if !self.connected {
                    message = message.json("advice", r#"{"timeout":0}"#);
                    held = Duration::ZERO;
                }
                if let Some(ack) = self.ack {
                    message = message.json("ext", &format!(r#"{{"ack":{ack}}}"#));
                }
                (message, held)
            }
        };
        self.frames.push(Frame::of(&message.finish(), id, true));
        self.timer = Timer::Reply(turn, id, now + patience + self.settings.max_network_delay);
    }

    pub(super) fn wait_for(&mut self, id: u64, pending: Pending, answer: Option<Answer>) {
        self.pending.insert(
            id,
            Waiting {
                pending,
                answer,
                generation: self.generation,
            },
        );
    }

    fn message(&self, channel: &str, id: u64) -> Outgoing {
        let session = self.session.as_ref().map_or("", |session| &session.id);
        Outgoing::new(channel, id).string("clientId", session)
    }

    pub(super) fn draw_id(&mut self) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        id
    }
}
