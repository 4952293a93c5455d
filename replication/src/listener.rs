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

/// Told about the entries of a map, once per net change, this node's own included.
///
/// An entry that is replaced by an equal one is not told. When a listener is slow, values that a key had only meanwhile
/// are not told; the last one always is. Changes of one part are told in the order in which they began to differ from
/// what was told before. A part that comes as a whole, by [`set`](crate::OortMap::set) or from a sibling, is told by
/// what differs in it.
///
/// # What implementers owe
/// As for [`ObjectListener`].
pub trait MapListener<K, V>: Send + Sync {
    /// The member's part has an entry; `old` is none when it had none.
    fn put(&self, member: &Member, key: &K, old: Option<&Arc<V>>, new: &Arc<V>) {
        let _ = (member, key, old, new);
    }

    /// The member's part has an entry no more, or the member left.
    fn removed(&self, member: &Member, key: &K, old: &Arc<V>) {
        let _ = (member, key, old);
    }

    /// After one or more of these calls, and when a part has come that is empty: the whole part can be read.
    fn part_changed(&self, member: &Member) {
        let _ = member;
    }

    /// The member left; that its entries are gone was told before.
    fn part_removed(&self, member: &Member) {
        let _ = member;
    }
}

/// Told about the elements of a list, once per net change, this node's own included.
///
/// As for [`MapListener`]; an element is told as often as it was added or removed, and elements that were added or
/// removed together are told together, unless a listener is slow or they are many.
///
/// # What implementers owe
/// As for [`ObjectListener`].
pub trait ListListener<E>: Send + Sync {
    /// Elements were added to the member's part.
    fn added(&self, member: &Member, elements: &[Arc<E>]) {
        let _ = (member, elements);
    }

    /// Elements were removed from the member's part, or the member left.
    fn removed(&self, member: &Member, elements: &[Arc<E>]) {
        let _ = (member, elements);
    }

    /// As [`MapListener::part_changed`].
    fn part_changed(&self, member: &Member) {
        let _ = member;
    }

    /// As [`MapListener::part_removed`].
    fn part_removed(&self, member: &Member) {
        let _ = member;
    }
}
