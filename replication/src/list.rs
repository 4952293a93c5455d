//! A replicated list: one part per node, and a change is what is added or removed.

use std::fmt;
use std::hash::Hash;
use std::ops::Index;
use std::sync::Arc;

use halley_cluster::parts::PartLimits;
use halley_cluster::{Member, NodeName};

use crate::list_state::{Element, ListDelta, ListState, elements};
use crate::shared::Shared;
use crate::{CreateError, ListListener, ObjectValue, Objects, SetError};

/// What an element must be able to do: a value that is told from others by [`Eq`] and [`Hash`].
pub trait ListElement: ObjectValue + Eq + Hash {}

impl<E: ObjectValue + Eq + Hash> ListElement for E {}

/// One list per node, shared with all members. Cheap to clone.
///
/// A node changes its own part only, and reads those of all. It lives as long as the node, as
/// [`OortObject`](crate::OortObject) does. Elements are not null. A whole part is handed out as it is at that moment,
/// and the next change of it copies it if it is still held. A removal passes over the whole part.
pub struct OortList<E: ListElement> {
    shared: Arc<Shared<ListState<E>>>,
}

/// A part of a list at one moment. Cheap to clone.
pub struct ListPart<E> {
    elements: Arc<Vec<Element<E>>>,
}

impl<E: ListElement> OortList<E> {
    /// Creates this node's part, which is empty, and asks the members for theirs.
    ///
    /// # Errors
    /// [`CreateError`] when the name is not one or is taken.
    pub fn new(objects: &Objects, name: &str) -> Result<Self, CreateError> {
        Self::with_limits(objects, name, PartLimits::default())
    }

    /// As [`new`](Self::new), with other bounds. They must be the same on every node.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_limits(
        objects: &Objects,
        name: &str,
        limits: PartLimits,
    ) -> Result<Self, CreateError> {
        let shared = Shared::create(objects, name, "list", ListState::default(), limits)?;
        Ok(Self { shared })
    }

    pub(crate) fn found(objects: &Objects, name: &str) -> Option<Self> {
        let shared = objects.typed(name)?;
        Some(Self { shared })
    }

    /// The name, the same on every node.
    pub fn name(&self) -> &str {
        self.shared.name()
    }

    /// Adds an element at the end of this node's part, and queues it for all members.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn add(&self, element: E) -> Result<(), SetError> {
        self.add_all([element]).map(drop)
    }

    /// Adds elements at the end of this node's part, as one change. False when there is none.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn add_all(&self, added: impl IntoIterator<Item = E>) -> Result<bool, SetError> {
        let added = elements(added)?;
        let some = !added.is_empty();
        self.shared
            .change(|_| Ok((some.then_some(ListDelta::Add(added)), some)))
    }

    /// Removes an element from this node's part, every time that it stands there. False when it does not.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn remove(&self, element: E) -> Result<bool, SetError> {
        self.remove_all([element])
    }

    /// Removes elements from this node's part, every time that they stand there, as one change. False when none does.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn remove_all(&self, removed: impl IntoIterator<Item = E>) -> Result<bool, SetError> {
        let mut removed = elements(removed)?;
        self.shared.change(|own| {
            removed.retain(|element| own.contains(&element.value));
            let some = !removed.is_empty();
            Ok((some.then_some(ListDelta::Remove(removed)), some))
        })
    }

    /// Replaces this node's part as a whole, and returns the part before. It travels as one change, or is pulled when it
    /// is long; listeners are told the elements that differ. An equal list is not sent.
    ///
    /// # Errors
    /// [`SetError`]; then nothing has changed.
    pub fn set(&self, values: impl IntoIterator<Item = E>) -> Result<ListPart<E>, SetError> {
        let new = ListState::new(elements(values)?);
        self.shared.change(|own| {
            let old = part(own);
            let equal = old == part(&new);
            Ok(((!equal).then_some(ListDelta::Whole(new)), old))
        })
    }

    /// Whether this node's part has an element.
    pub fn contains(&self, element: &E) -> bool {
        self.shared.own(|own| own.contains(element))
    }

    /// Whether any part has an element.
    pub fn is_present(&self, element: &E) -> bool {
        !self.find_all(element).is_empty()
    }

    /// The nodes whose parts have an element, in the order of [`parts`](Self::parts).
    pub fn find_all(&self, element: &E) -> Vec<Member> {
        let found = self
            .shared
            .find(|part| part.contains(element).then_some(()));
        found.into_iter().map(|(member, ())| member).collect()
    }

    /// This node's part.
    pub fn local(&self) -> ListPart<E> {
        self.shared.own(part)
    }

    /// The part of a member, or this node's; none when the node is no member or its part has not come yet.
    pub fn part(&self, node: &NodeName) -> Option<ListPart<E>> {
        self.shared.part(node, part)
    }

    /// All parts that are known: this node's first, then those of the members, by name.
    pub fn parts(&self) -> Vec<(Member, ListPart<E>)> {
        self.shared.parts(part)
    }

    /// The elements of all parts, one part after the other in the order of [`parts`](Self::parts). None is left out
    /// because it is there twice.
    pub fn merged(&self) -> Vec<Arc<E>> {
        let parts = self.parts();
        let all = parts.iter().flat_map(|(_, part)| part.iter());
        all.cloned().collect()
    }

    /// Adds a listener. It is told what changes from now on, not what is.
    pub fn add_listener(&self, listener: Arc<dyn ListListener<E>>) {
        self.shared.add_listener(listener);
    }
}

fn part<E: ListElement>(state: &ListState<E>) -> ListPart<E> {
    ListPart {
        elements: state.elements.clone(),
    }
}

impl<E> ListPart<E> {
    /// The elements, in the order in which they were added.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<E>> + ExactSizeIterator {
        self.elements.iter().map(|element| &element.value)
    }

    /// How many elements there are.
    pub fn len(&self) -> usize {
        self.elements.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.elements.is_empty()
    }
}

impl<E> Index<usize> for ListPart<E> {
    type Output = E;

    fn index(&self, index: usize) -> &E {
        &self.elements[index].value
    }
}

impl<E> Clone for ListPart<E> {
    fn clone(&self) -> Self {
        Self {
            elements: self.elements.clone(),
        }
    }
}

impl<E: PartialEq> PartialEq for ListPart<E> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.elements, &other.elements) || self.iter().eq(other.iter())
    }
}

impl<E: fmt::Debug> fmt::Debug for ListPart<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

impl<E: ListElement> Clone for OortList<E> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

impl<E: ListElement> fmt::Debug for OortList<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OortList")
            .field("name", &self.shared.name())
            .finish_non_exhaustive()
    }
}
