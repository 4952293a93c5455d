//! Built-in services, all off unless configured: direct messages between users, who is present, and in which room, which nodes there are, and calls that the
//! application answers over HTTP.
//!
//! They see the cluster through two small traits, [`Directory`] and [`Nodes`]. A node that runs alone answers them by
//! itself ([`LocalNodes`], and a user directory without siblings); in a cluster a replicated object stands behind, and the directory has siblings.

pub(crate) mod call_hooks;
mod direct;
mod directory;
mod nodes;
mod ordered;
mod presence;
mod room_presence;

pub(crate) use direct::CHANNEL as DIRECT_CHANNEL;
pub use direct::Direct;
pub use directory::{Directory, DirectoryListener, NodeInfo, NodeLoad, Nodes, Reached};
pub(crate) use nodes::{CHANNEL as NODES_CHANNEL, PERIOD as NODES_PERIOD};
pub use nodes::{LocalNodes, NodesService};
pub(crate) use presence::CHANNEL as PRESENCE_CHANNEL;
pub use presence::Presence;
pub(crate) use room_presence::RoomPresence;
