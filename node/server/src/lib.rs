//! A clustered messaging node: transports, configuration, metrics and the command line of Halley.
//!
//! ```text
//! clients ──HTTP, WebSocket──> client ──frames──> halley_bayeux::Engine <── services
//! scrapers, operators (ctl) ──HTTP──> admin ──reads──> readiness, metrics
//! node: starts all of it from a config, and drains it
//! ```
//!
//! The protocol itself is in `halley-bayeux`, the links between nodes in `halley-cluster`; nothing here knows what a
//! message means.

mod admin;
pub mod bench;
mod client;
mod clock;
mod cluster;
pub mod command_line;
pub mod config;
mod cookies;
mod ctl;
pub mod dev;
mod http_server;
mod link_metrics;
mod logs;
pub mod metrics;
pub mod node;
mod operators;
mod origin;
pub mod pages;
mod proxies;
mod readiness;
mod secret_file;
mod security;
pub mod services;
mod tls;
mod ws_echo;

pub use clock::Clock;
pub use cluster::ClusterError;
pub use node::{Node, StartError};
pub use readiness::{Readiness, Unready};
pub use security::SecurityError;
