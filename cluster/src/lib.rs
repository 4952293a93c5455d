//! The cluster layer of a Halley node: who the siblings are, the links to them, which publications travel to whom.
//!
//! ```text
//!  discovery ──addresses──▶ runtime ──events──▶ membership (pure) ──commands──▶ runtime
//!                              │                                                  │
//!                              ▼                                                  ▼
//!  engine ──tap──▶ forwarding ──▶ link (dialler sends) ═══ mesh ═══▶ link (acceptor receives) ──▶ engine
//! ```
//!
//! A link A→B is opened by A and carries A's frames to B; B answers on it only with pongs. Every pair of siblings has
//! two links, one per direction. This crate knows nothing of HTTP and of client transports.

mod auth;
mod clock;
mod cluster;
mod config;
mod counters;
mod discovery;
mod forwarding;
#[cfg(fuzzing)]
pub mod fuzzing;
mod ids;
mod interest_report;
mod link;
mod membership;
mod net;
mod oort;
pub mod parts;
mod random;
mod runtime;
mod secret;
pub mod service;
pub mod seti;
mod state;
mod tls;
mod wire;

pub use clock::Clock;
pub use cluster::{Cluster, Dialect, LinkStats, StartError};
pub use config::{ClusterConfig, ConfigError, DnsConfig, LinkLimits, MulticastConfig, Observed};
pub use counters::{Counter, Counters};
pub use ids::{Incarnation, InvalidNodeName, Member, NodeId, NodeName};
pub use interest_report::{InterestQuery, InterestReport, Wanted};
pub use membership::Conflict;
pub use net::{Datagrams, Listener, Net, TokioDatagrams, TokioListener, TokioNet};
pub use oort::{InvalidOortUrl, OortConfig, OortOutput, OortPeer, OortState, OortUrl};
pub use random::RandomSource;
pub use runtime::Status;
pub use secret::{InvalidSecret, InvalidSecrets, Secret, Secrets};
pub use state::{MembershipListener, SendError, StateChannel, StateHandler, StateSender};
pub use tls::{MeshTls, MeshTlsError, MeshTlsPem, MeshTlsRules, TlsMode};
pub use wire::{Refusal, Versions};
