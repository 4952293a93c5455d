//! A list that nearly always has one entry, in two words when the entry has a niche.

/// At least one entry, in no order.
#[derive(Debug)]
pub(super) enum Few<T> {
    One(T),
    /// The box keeps the common case small.
    #[expect(clippy::box_collection, reason = "a vector is three words, a box one")]
    Many(Box<Vec<T>>),
}

impl<T: PartialEq> Few<T> {
    pub(super) fn as_slice(&self) -> &[T] {
        match self {
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }

    /// Adds an entry that is not there.
    pub(super) fn with(self, entry: T) -> Self {
        match self {
            Self::One(first) => Self::Many(Box::new(vec![first, entry])),
            Self::Many(mut entries) => {
                entries.push(entry);
                Self::Many(entries)
            }
        }
    }

    /// Removes an entry; none when nothing is left.
    pub(super) fn without(self, entry: &T) -> Option<Self> {
        match self {
            Self::One(only) => (only != *entry).then_some(Self::One(only)),
            Self::Many(mut entries) => {
                entries.retain(|kept| kept != entry);
                match entries.len() {
                    0 | 1 => entries.pop().map(Self::One),
                    _ => Some(Self::Many(entries)),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::NodeName;

    #[test]
    fn one_node_takes_two_words() {
        assert_eq!(size_of::<Few<NodeName>>(), 16);
    }

    #[test]
    fn entries_come_and_go() {
        let few = Few::One(1).with(2).with(3);
        assert_eq!(few.as_slice(), [1, 2, 3]);
        let few = few.without(&2).and_then(|few| few.without(&1));
        assert!(matches!(few, Some(Few::One(3))));
        assert!(
            few.and_then(|few| few.without(&9))
                .and_then(|few| few.without(&3))
                .is_none()
        );
    }
}
