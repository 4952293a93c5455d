//! A node of the Oort dialect as a member among the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;

use super::event::Event;
use super::inbox::Inbox;
use crate::link::{Link, PushError};
use crate::{Member, NodeId, StateChannel};

/// What the task of the native dialect is told of members that are not of its own: in order.
#[derive(Debug)]
pub(crate) enum Foreign {
    Joined(Member, Arc<OortLink>),
    /// And why.
    Left(NodeId, &'static str),
    State(NodeId, StateChannel, Bytes),
}

/// Carries state to one node: to the task, which translates it.
#[derive(Debug)]
pub(crate) struct OortLink {
    to: NodeId,
    inbox: Arc<Inbox<Event>>,
    /// Something did not fit: the node has to start over.
    lost: AtomicBool,
}

impl OortLink {
    pub(super) fn new(to: NodeId, inbox: Arc<Inbox<Event>>) -> Self {
        Self {
            to,
            inbox,
            lost: AtomicBool::new(false),
        }
    }
}

impl Link for OortLink {
    fn push_state(&self, channel: StateChannel, body: Bytes) -> Result<(), PushError> {
        if self.lost.load(Ordering::Relaxed) {
            return Err(PushError::Full);
        }
        let bytes = body.len();
        let to = self.to.clone();
        if self.inbox.push(Event::State { to, channel, body }, bytes) {
            return Ok(());
        }
        if !self.lost.swap(true, Ordering::Relaxed) {
            self.inbox.push_always(Event::StateLost(self.to.clone()));
        }
        Err(PushError::Full)
    }
}
