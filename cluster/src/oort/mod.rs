//! Nodes of CometD's Oort: the second dialect, with Java nodes.
//!
//! ```text
//!   Java node ══ its link ══▶ mesh listener ─▶ serve ─▶ engine of links ─▶ inbox ─┐
//!                                                                                ▼
//!   Java node ◀══ our link ══ dial (halley-client) ◀─ commands ◀──────────── actor ─▶ membership (pure)
//!                    └── what is published there ─▶ this node's sessions        │
//!                                                                                ▼
//!                          handlers of state ◀─ frames ◀─ translators (OortState): Seti, objects, services
//! ```
//!
//! A Java node is a [`Member`](crate::Member) as every other: listeners hear of it, and state goes to it through the
//! same [`StateSender`](crate::StateSender), where a translator turns it into the messages of the dialect. Publications
//! are not translated: they are the same JSON in both dialects.
//!
//! Halley nodes have no links of this dialect with each other. They tell each other which Java nodes they know, so that
//! each of them makes its own links: the mesh is full, and one hop is enough.

mod actor;
mod config;
mod dial;
mod digest;
mod event;
mod inbox;
mod membership;
mod multicast;
mod peers;
mod serve;
mod server;
mod services;
mod seti;
mod siblings;
mod side;
mod state;
mod tally;
mod url;
mod wire;

pub(crate) use actor::run;
pub use config::OortConfig;
pub(crate) use multicast::run_multicast;
pub(crate) use peers::Foreign;
pub(crate) use side::OortSide;
pub use state::{OortOutput, OortPeer, OortState};
pub use url::{InvalidOortUrl, OortUrl};
