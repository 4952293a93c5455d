//! Who is told when users come and go.

use halley_bayeux::UserId;

use crate::NodeName;

/// Told once per net change of a user's presence on a node, in the order of the changes of each pair. This node is told
/// about like any other.
///
/// A snapshot that replaces what was known tells only the difference. When a listener is slow, a user that came and
/// went meanwhile is not told at all.
///
/// # What implementers owe
/// The calls come from whatever thread changed the directory, with no lock held. They may use [`Seti`](super::Seti);
/// while one blocks, no other change is told, and the cluster's task may be the one that waits for it.
pub trait PresenceListener: Send + Sync {
    /// The user has its first session on the node.
    fn present(&self, user: &UserId, node: &NodeName);
    /// The user has no session on the node any more, or the node is no member any more.
    fn absent(&self, user: &UserId, node: &NodeName);
}
