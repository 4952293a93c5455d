//! Who clients are and what they may do: the engine's security policy, made from the configuration.
//!
//! ```text
//! handshake ──> recognition: nobody | token (jwt, keys) | hook ──> user, roles, expiry ──attached to──> session
//! create, subscribe, publish ──> the engine's base rules ──> permissions ──> hook, if one is set
//! token or hook said until when ──> expiries ──tick──> the session ends, its client handshakes again
//! ```
//!
//! What runs inside the node (local sessions) and what siblings forward is not asked here.

mod asker;
mod expiry;
mod hook_client;
mod hooks;
mod identity;
mod jwt;
mod key_address;
mod keys;
mod permissions;
mod policy;
mod unix_clock;

pub(crate) use asker::Asker;
pub(crate) use hook_client::address as hook_address;
pub(crate) use hook_client::{HookClient, HookFailure, HookLimits};
pub(crate) use keys::load as load_keys;
pub(crate) use policy::Security;
pub use policy::SecurityError;
