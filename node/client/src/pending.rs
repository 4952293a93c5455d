//! What has been sent and waits for the server's word.

use std::collections::HashMap;

use crate::{error::RequestError, request::Answer};

/// Most requests under way at once; further ones wait in the queue of commands.
const PENDING_MAX: usize = 4096;

/// What waits for a reply of the server.
#[derive(Debug)]
pub(crate) enum Pending {
    Publish,
    /// A call on this channel; accepted when the server has taken it and only the result is missing.
    Call {
        channel: String,
        accepted: bool,
    },
    Subscribe(String),
    Unsubscribe(String),
    /// Subscribing a new session to what the old one was subscribed to.
    Renew(String),
    Goodbye,
}

/// A sent request.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) pending: Pending,
    pub(crate) answer: Option<Answer>,
    /// The session it was sent in, as counted by the machine.
    pub(crate) generation: u64,
}

impl Waiting {
    fn fail(self, error: RequestError) {
        if let Some(answer) = self.answer {
            answer.fail(error);
        }
    }

    fn is_accepted_call(&self) -> bool {
        matches!(self.pending, Pending::Call { accepted: true, .. })
    }

    fn is_abandoned(&self) -> bool {
        let may_be_forgotten = matches!(self.pending, Pending::Publish | Pending::Call { .. });
        may_be_forgotten && self.answer.as_ref().is_some_and(Answer::is_closed)
    }
}

/// All of them, by message id.
#[derive(Debug, Default)]
pub(crate) struct Table(HashMap<u64, Waiting>);

impl Table {
    pub(crate) fn has_room(&self) -> bool {
        self.0.len() < PENDING_MAX
    }

    pub(crate) fn insert(&mut self, id: u64, waiting: Waiting) {
        self.0.insert(id, waiting);
    }

    pub(crate) fn remove(&mut self, id: u64) -> Option<Waiting> {
        self.0.remove(&id)
    }

    /// Takes the call with this id on this channel.
    pub(crate) fn remove_call(&mut self, id: u64, called: &str) -> Option<Waiting> {
        match self.0.get(&id)?.pending {
            Pending::Call { ref channel, .. } if channel == called => self.0.remove(&id),
            _ => None,
        }
    }

    /// A server that leaves publications unanswered must not fill the table; their askers have given up.
    pub(crate) fn forget_abandoned(&mut self) {
        if self.0.len() > PENDING_MAX / 2 {
            self.0.retain(|_, waiting| !waiting.is_abandoned());
        }
    }

    /// The connection is lost: ends what waits for a reply with an outcome that is not known. Calls that the server has
    /// accepted stay, as the session will bring their results. True when a renewal was under way.
    pub(crate) fn interrupt(&mut self) -> bool {
        let mut renewal = false;
        for (_, waiting) in self.0.extract_if(|_, waiting| !waiting.is_accepted_call()) {
            renewal |= matches!(waiting.pending, Pending::Renew(_));
            waiting.fail(RequestError::Interrupted);
        }
        renewal
    }

    /// The session is gone: nothing brings the results of accepted calls any more, and its renewal is void. The other
    /// replies may still come.
    pub(crate) fn session_gone(&mut self) {
        let void = |waiting: &Waiting| {
            waiting.is_accepted_call() || matches!(waiting.pending, Pending::Renew(_))
        };
        for (_, waiting) in self.0.extract_if(|_, waiting| void(waiting)) {
            waiting.fail(RequestError::Interrupted);
        }
    }

    /// Ends everything with an outcome that is not known.
    pub(crate) fn abandon(&mut self) {
        for (_, waiting) in self.0.drain() {
            waiting.fail(RequestError::Interrupted);
        }
    }
}
