//! Who is told about parts.

use std::sync::Arc;

use halley_cluster::Member;

/// Told once per net change of a part, this node's own included, in the order of the changes of each part.
///
/// Nothing is told when a value is replaced by an equal one. When a listener is slow, values that a part had only
/// meanwhile are not told; the last one always is.
///
/// # What implementers owe
/// The calls come from whatever thread changed the object, with no lock held. They may use the object, also set it;
/// while one blocks, no other change of this object is told.
pub trait ObjectListener<T>: Send + Sync {
    /// The member's part has a new value; `old` is none when nothing was known of it.
    fn updated(&self, member: &Member, old: Option<&Arc<T>>, new: &Arc<T>) {
        let _ = (member, old, new);
    }

    /// The member left, and its part with it.
    fn removed(&self, member: &Member, old: &Arc<T>) {
        let _ = (member, old);
    }
}
