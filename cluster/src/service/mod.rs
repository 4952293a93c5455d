//! Services whose data is owned by one node: an action asked anywhere is forwarded to the owner, and its result comes back.
//!
//! ```text
//!  forward(parameter) ─▶ ownership: which node? ─┬─ this one ─▶ action
//!                                                └─ a sibling ─▶ request (state channel SERVICES) ─▶ action there
//!  result, failure, time-out, or the owner has left ◀──────────────────── result ◀──────────────────┘
//! ```
//!
//! What CometD's `OortService` does, with these differences: nothing is broadcast to find an owner (whoever owns is told by
//! [`Ownership`]); a result is taken from the node only that was asked; when that node leaves, the caller is told at once.
//!
//! What it does not do: repeat an action. When the owner leaves, or time is up, the action may have happened or not.

mod client_channel;
mod frame;
mod handle;

use std::time::Duration;

use bytes::Bytes;

use crate::NodeName;

pub(crate) use frame::{ServiceFrame, Verdict};
pub use handle::{OortService, Reply, Services};

/// The bounds of the services of one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServiceLimits {
    /// How long a caller waits.
    pub timeout: Duration,
    /// Greatest parameter or result in bytes.
    pub bytes_max: usize,
    /// Actions that this node may have asked siblings for and wait for.
    pub asked_max: usize,
    /// Actions that this node may be at work on for one sibling.
    pub served_max: usize,
}

impl Default for ServiceLimits {
    fn default() -> Self {
        Self {
            timeout: Duration::from_secs(5),
            bytes_max: 1 << 20,
            asked_max: 10_000,
            served_max: 1000,
        }
    }
}

/// Says which node owns what an action is about.
///
/// A fixed name, a hash over the members, a lookup in a replicated map, or whoever was elected.
pub trait Ownership: Send + Sync {
    /// The owner at present; none when nobody owns it, or it cannot be told. Must not block.
    fn owner(&self, parameter: &[u8]) -> Option<NodeName>;
}

impl<F: Fn(&[u8]) -> Option<NodeName> + Send + Sync> Ownership for F {
    fn owner(&self, parameter: &[u8]) -> Option<NodeName> {
        self(parameter)
    }
}

/// What a service does on the node that owns the data.
pub trait Action: Send + Sync {
    /// Asked from this node or a sibling. Must not block, and must not panic on any bytes: what takes time is answered
    /// later, from any thread, through `reply`.
    fn perform(&self, parameter: Bytes, asked_by: &NodeName, reply: Reply);
}

impl<F: Fn(Bytes, &NodeName, Reply) + Send + Sync> Action for F {
    fn perform(&self, parameter: Bytes, asked_by: &NodeName, reply: Reply) {
        self(parameter, asked_by, reply);
    }
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// The action has failed, and says this about it.
    #[error("the action has failed")]
    Failed(Bytes),
    /// Nobody owns the data at present. Nothing was asked.
    #[error("no node owns what the action is about")]
    NoOwner,
    /// The owner is no member of the cluster. Nothing was asked.
    #[error("{0} is not a member")]
    NotMember(NodeName),
    /// The owner has left meanwhile. The action may have happened.
    #[error("{0} has left before it answered")]
    OwnerLeft(NodeName),
    /// The owner has no such service.
    #[error("{0} has no such service")]
    NoService(NodeName),
    /// The owner is at work on as many actions of this node as it may be.
    #[error("{0} has too much to do")]
    Busy(NodeName),
    /// There was no answer in time. The action may have happened, or happen yet.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// This node waits for as many actions as it may. Nothing was asked.
    #[error("{0} actions are under way, more are not allowed")]
    TooMany(usize),
    /// The parameter, or the result, is longer than allowed.
    #[error("a parameter or result of {size} bytes, at most {max} are allowed")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The greatest size.
        max: usize,
    },
    /// The action has dropped its reply.
    #[error("the action was dropped without an answer")]
    Dropped,
}

/// A name that no service can have, or that one has already.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RegisterError {
    /// It is empty or has more than 256 bytes.
    #[error("a service name has 1 to 256 bytes")]
    Name,
    /// There is one.
    #[error("there is a service {0:?} already")]
    Taken(String),
}

#[cfg(test)]
mod tests;
