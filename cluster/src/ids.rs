//! Who is who: names, incarnations and members.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Longest node name in bytes: the length of a DNS name.
pub(crate) const NODE_NAME_BYTES_MAX: usize = 253;

/// The stable, unique name of a node. Letters, digits, `-`, `_`, `.` and `:`; at most 253 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct NodeName(Arc<str>);

/// A text that cannot be a node name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a node name has 1 to 253 characters out of A-Z a-z 0-9 - _ . :")]
pub struct InvalidNodeName;

impl NodeName {
    /// Checks a text and makes it a name.
    ///
    /// # Errors
    /// When it is empty, too long, or has other characters than those allowed.
    pub fn new(name: &str) -> Result<Self, InvalidNodeName> {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        if name.is_empty() || name.len() > NODE_NAME_BYTES_MAX || !name.bytes().all(allowed) {
            return Err(InvalidNodeName);
        }
        Ok(Self(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for NodeName {
    type Error = InvalidNodeName;
    fn try_from(name: String) -> Result<Self, Self::Error> {
        Self::new(&name)
    }
}

impl From<NodeName> for String {
    fn from(name: NodeName) -> Self {
        name.0.as_ref().to_owned()
    }
}

/// The id that a process draws when it starts (and again when it starts over after having been suspended).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Incarnation(pub u64);

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// One life of one node.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct NodeId {
    /// The stable name.
    pub name: NodeName,
    /// Which life of the node.
    pub incarnation: Incarnation,
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}#{}", self.name, self.incarnation)
    }
}

/// What a node tells its siblings about itself. It does not change during an incarnation.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
pub struct Member {
    /// The stable name.
    pub name: NodeName,
    /// Which life of the node.
    pub incarnation: Incarnation,
    /// Where siblings reach it.
    pub mesh_address: SocketAddr,
    /// Where clients reach it; empty when it serves none.
    pub client_url: String,
}

impl Member {
    /// Name and incarnation together.
    pub fn id(&self) -> NodeId {
        NodeId {
            name: self.name.clone(),
            incarnation: self.incarnation,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked() {
        assert!(NodeName::new("n1.example:7400").is_ok());
        for bad in ["", "a b", "a/b", "ä", "a\n", &"x".repeat(254)] {
            assert_eq!(NodeName::new(bad), Err(InvalidNodeName), "{bad:?}");
        }
    }
}
