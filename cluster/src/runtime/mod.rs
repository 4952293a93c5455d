//! The task that owns the membership, and the tasks around it that own one socket each.
//!
//! ```text
//!  accept ─▶ inbound tasks ─┐                       ┌─▶ dial tasks, which become the writers of their links
//!  seeds, multicast ────────┼─▶ events ─▶ actor ────┼─▶ cancellation of links
//!  engine (interest) ───────┘                       └─▶ listeners, state handlers, taps
//! ```
//!
//! Publications do not pass through the actor: the engine pushes them onto the queues of the links, and the inbound
//! tasks hand them to the engine.

mod actor;
mod dial;
mod losses;
mod resumable;
mod shared;
mod state_links;
mod tasks;
mod waiting;

pub(crate) use actor::Actor;
pub use shared::Status;
pub(crate) use shared::{Bulk, Event, Receivers, Registrations, Shared};
pub(crate) use state_links::StateLinks;
pub(crate) use tasks::{accept, heart};
