//! What the services need to know of users and nodes.

use std::sync::Arc;

use halley_bayeux::{Millis, Publication, SessionId, UserId};
use serde_json::{Value, json};

/// Where every user is.
///
/// # What implementers owe
/// None of the calls may block. Listeners are told after the state has changed, of one change after the other; for one
/// user and node, joined and left alternate, beginning with joined.
pub trait Directory: Send + Sync {
    /// All users that are present somewhere.
    fn users(&self) -> Vec<UserId>;
    /// How many users are present somewhere.
    fn user_count(&self) -> usize {
        self.users().len()
    }
    /// The users whose names contain a text, the first so many by name.
    fn find_users(&self, text: &str, limit: usize) -> Vec<UserId> {
        let mut found = self.users();
        found.retain(|user| user.as_str().contains(text));
        found.sort_unstable();
        found.truncate(limit);
        found
    }
    /// How many users are present on this node.
    fn users_here(&self) -> usize;
    /// The nodes on which a user is present, by name.
    fn nodes_of(&self, user: &UserId) -> Vec<String>;
    /// The sessions that a user has on this node.
    fn sessions_here(&self, user: &UserId) -> Vec<SessionId>;
    /// Delivers to all sessions of a user, on all nodes.
    fn send(&self, user: &UserId, publication: &Arc<Publication>, now: Millis) -> Reached;
    /// Ends all sessions of a user, on all nodes.
    fn disconnect(&self, user: &UserId, now: Millis) -> Reached;
    /// Tells a listener from now on.
    fn add_listener(&self, listener: Arc<dyn DirectoryListener>);
}

/// Whom something that is for a user has reached.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reached {
    /// Sessions on this node.
    pub here: usize,
    /// Siblings to which it was sent, since the user is present there.
    pub nodes: Vec<String>,
    /// Siblings where the user is present, but to which it could not be sent.
    pub refused: Vec<String>,
}

impl Reached {
    /// Whether anybody was reached.
    #[must_use]
    pub fn anybody(&self) -> bool {
        self.here > 0 || !self.nodes.is_empty()
    }
}

/// Told who comes and goes.
pub trait DirectoryListener: Send + Sync {
    /// A user is now present on a node.
    fn joined(&self, user: &UserId, node: &str);
    /// A user is present on that node no more.
    fn left(&self, user: &UserId, node: &str);
}

/// What one node tells the others about itself.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct NodeLoad {
    /// Sessions on it.
    pub sessions: u64,
    /// Users on it.
    pub users: u64,
    /// When it started, in seconds since 1970.
    pub started: u64,
}

/// One node of the cluster as it is shown to clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeInfo {
    /// Its stable name.
    pub name: String,
    /// Where clients reach it.
    pub url: String,
    /// Which life of it.
    pub incarnation: u64,
    /// What it told about itself.
    pub load: NodeLoad,
}

impl NodeInfo {
    /// As clients get it.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "name": self.name,
            "url": self.url,
            // As text: a browser cannot hold 64 bits in a number.
            "incarnation": format!("{:016x}", self.incarnation),
            "sessions": self.load.sessions,
            "users": self.load.users,
            "started": self.load.started,
        })
    }
}

/// Which nodes there are.
///
/// # What implementers owe
/// None of the calls may block.
pub trait Nodes: Send + Sync {
    /// Tells the others about this node; called when something changed, at most every 250 ms.
    fn update(&self, load: NodeLoad);
    /// All nodes, this one included, in the order of their names.
    fn nodes(&self) -> Vec<NodeInfo>;
}
