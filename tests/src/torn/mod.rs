//! Real nodes, each on a host of its own, under numbered traffic, while the network between them is torn.
//!
//! ```text
//!   10.211.S.254 (the test)            publisher, subscribers and observer of each node: their connections are never torn
//!        │ bridge
//!   ─────┴──┬──────────┬──────────┐
//!    host 1 n1  host 2 n2  host 3 n3   iptables on each host drop, lose or reset what comes from another
//!           └──────────┴──────────┘    or: the mesh runs over TUN devices between which every packet is late
//! ```

mod cluster;
mod observer;
mod traffic;

pub use cluster::{TornCluster, Wire};
