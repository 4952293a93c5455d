//! The seam on which the user directory and the replicated objects stand: ordered messages between siblings, and who
//! the siblings are.

use bytes::Bytes;

use crate::{Member, NodeId};

/// Which kind of state a message belongs to. Every kind has one handler per node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct StateChannel(pub u8);

impl StateChannel {
    /// The user directory.
    pub const SETI: StateChannel = StateChannel(1);
    /// Messages to users, routed by the user directory. They keep one order with publications: see [`StateSender`].
    pub const SETI_MESSAGES: StateChannel = StateChannel(2);
    /// Replicated objects.
    pub const OBJECTS: StateChannel = StateChannel(3);
    /// Users whose sessions are to end, routed by the user directory. A sibling of a release without it counts and ignores them.
    pub const SETI_DISCONNECTS: StateChannel = StateChannel(4);
    /// Actions for services on the node that owns their data.
    pub const SERVICES: StateChannel = StateChannel(5);
    /// Which users are in which rooms. A sibling of a release without it counts and ignores what comes.
    pub const ROOMS: StateChannel = StateChannel(6);
    /// What Halley nodes tell each other about nodes of the Oort dialect.
    pub const OORT: StateChannel = StateChannel(16);

    /// Whether it addresses the sessions of a user. Such messages travel with the publications, and are delivered as these
    /// are: by whoever reads the link, behind what came before.
    pub(crate) fn is_for_users(self) -> bool {
        matches!(self, Self::SETI_MESSAGES | Self::SETI_DISCONNECTS)
    }
}

/// Told who joins and who leaves, in order; for one name, joined and left alternate, beginning with joined.
///
/// # What implementers owe
/// The calls come from the task that runs the cluster: they must not block. They may send state.
pub trait MembershipListener: Send + Sync {
    /// A sibling is now a member. Both directions work, and its interest is known.
    fn joined(&self, member: &Member);
    /// A sibling is a member no more.
    fn left(&self, member: &Member);
}

/// Handles the messages of one [`StateChannel`].
///
/// For every sibling the calls are, in this order: `joined`, any number of `received`, `left`. What is sent from inside
/// `joined` reaches the sibling after its own `joined`. (What other threads broadcast at that moment may come before.)
/// Messages arrive in the order in which they were sent, none is missing and none is doubled between `joined` and
/// `left`: where that cannot be kept, the sibling leaves and joins again.
///
/// # What implementers owe
/// The calls come from the task that runs the cluster, one at a time: they must not block, and must not panic on any
/// bytes.
pub trait StateHandler: Send + Sync {
    /// A sibling is now a member: send it the whole of what it must know.
    fn joined(&self, member: &Member);
    /// A sibling is a member no more: drop what it owned.
    fn left(&self, member: &Member);
    /// A message of a member.
    fn received(&self, from: &Member, body: Bytes);
    /// Called about every 250 ms, for what has to be repeated until it is answered.
    fn tick(&self) {}
    /// This node has drawn a new incarnation, because its process had been suspended. All siblings have left before
    /// this call, and all client sessions have ended.
    fn restarted(&self, this_node: &Member) {
        let _ = this_node;
    }
}

/// Why a state message was not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// The node is no member (any more). Nothing was sent.
    #[error("{0} is not a member")]
    NotMember(NodeId),
    /// The message is longer than a link carries. Nothing was sent.
    #[error("a state message of {size} bytes, at most {limit} are carried")]
    TooLarge {
        /// The size of the message in bytes.
        size: usize,
        /// The greatest size in bytes.
        limit: usize,
    },
    /// The link's queue was full. The link is reset: the node leaves and, if it can, joins again, which brings both
    /// sides to the same state.
    #[error("the state queue of the link to {0} was full")]
    QueueFull(NodeId),
}

/// Sends state to siblings. [`Cluster`](crate) is the real one; tests bring their own.
///
/// # Order
/// On a native link the messages of [`StateChannel::SETI_MESSAGES`] and [`StateChannel::SETI_DISCONNECTS`] keep one order with
/// the publications, so that what one publisher sends to a channel and to a user arrives as it was sent. All others keep
/// one order among themselves, and none with these.
pub trait StateSender: Send + Sync {
    /// This node.
    fn this_node(&self) -> Member;
    /// The members at present, without this node.
    fn members(&self) -> Vec<Member>;
    /// Queues a message for one sibling. Never blocks.
    ///
    /// # Errors
    /// See [`SendError`]; a success says that the message is queued, not that it arrived.
    fn send_state(&self, to: &NodeId, channel: StateChannel, body: Bytes) -> Result<(), SendError>;
    /// Queues a message for every member, and returns for how many. A member whose queue is full is reset.
    fn broadcast_state(&self, channel: StateChannel, body: Bytes) -> usize;
}
