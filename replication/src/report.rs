//! What operators see of the objects.

use std::sync::Arc;

use halley_cluster::NodeName;

/// An object of this node, and the parts of it that are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectReport {
    /// Its name.
    pub name: Arc<str>,
    /// `object`, `map`, `list` or `long`.
    pub kind: &'static str,
    /// This node's part first, then those of the members, by name.
    pub parts: Vec<PartReport>,
}

impl ObjectReport {
    /// The bytes of all parts as JSON.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| part.bytes).sum()
    }

    /// The entries or elements of all parts; a plain value counts as one.
    pub fn entries(&self) -> usize {
        self.parts.iter().map(|part| part.entries).sum()
    }
}

/// One part.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartReport {
    /// Whose it is.
    pub node: NodeName,
    /// Entries or elements; 1 for a plain value.
    pub entries: usize,
    /// Its length as JSON.
    pub bytes: usize,
    /// How many changes its owner has made in its present incarnation, as far as they have come.
    pub version: u64,
    /// Whether something is known to be missing; the owner has been asked for it.
    pub behind: bool,
}
