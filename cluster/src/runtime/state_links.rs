//! Sends state over the links of the members.

use std::sync::Arc;

use bytes::Bytes;

use super::Shared;
use crate::link::{Link, PushError};
use crate::{Member, NodeId, SendError, StateChannel, StateSender};

/// The sender that handlers hold: it does not keep the node running.
#[derive(Clone, Debug)]
pub(crate) struct StateLinks(Arc<Shared>);

impl StateLinks {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self(shared)
    }
}

impl StateSender for StateLinks {
    fn this_node(&self) -> Member {
        self.0.me()
    }

    fn members(&self) -> Vec<Member> {
        self.0
            .members
            .read()
            .values()
            .map(|entry| entry.member.clone())
            .collect()
    }

    fn send_state(&self, to: &NodeId, channel: StateChannel, body: Bytes) -> Result<(), SendError> {
        let limit = self.0.config.limits.frame_bytes;
        if body.len() > limit {
            return Err(SendError::TooLarge {
                size: body.len(),
                limit,
            });
        }
        let members = self.0.members.read();
        match members.get(&to.name) {
            Some(entry) if entry.member.incarnation == to.incarnation => entry
                .link
                .push_state(channel, body)
                .map_err(|error| match error {
                    PushError::Full => SendError::QueueFull(to.clone()),
                    PushError::Closed => SendError::NotMember(to.clone()),
                }),
            _ => Err(SendError::NotMember(to.clone())),
        }
    }

    fn broadcast_state(&self, channel: StateChannel, body: Bytes) -> usize {
        if body.len() > self.0.config.limits.frame_bytes {
            return 0;
        }
        let taken = |link: &dyn Link| link.push_state(channel, body.clone()).is_ok();
        self.0
            .members
            .read()
            .values()
            .filter(|entry| taken(entry.link.as_ref()))
            .count()
    }
}
