//! Seti, the user directory: on which nodes a user is present, and messages to users wherever they are.
//!
//! ```text
//!  engine ──session added/removed──▶ Seti ──▶ directory (pure) ──▶ own part: the set of users with a session here
//!                                     │            ▲                    │ deltas, snapshots (state channel SETI)
//!  send(user, publication) ──────────▶│            │                    ▼
//!     local sessions ◀── deliver ─────┤            └──── replicas of the siblings' sets
//!     nodes where the user is ◀───────┘  one frame per node (state channel SETI_MESSAGES)
//! ```
//!
//! A user counts once per node, however many sessions it has there: the first association announces it, the last
//! disassociation retracts it. A message is sent to the nodes where the user is known to be and delivered there to
//! local sessions only; it is never forwarded and never sent to nodes on a guess.
//!
//! [`Rooms`] is the same for users in rooms: a directory of its own whose keys are a channel and a user.
//!
//! What it does not do: say that a message arrived (a node may be lost after the frame was queued), or keep messages
//! for users that are not present.

mod announced;
mod directory;
mod few;
mod grace;
mod handle;
mod listener;
pub(crate) mod message;
mod rooms;
mod user_set;

pub use handle::{AssociateError, SendOutcome, Seti};
pub use listener::PresenceListener;
pub use rooms::{Occupant, RoomListener, RoomPatterns, Rooms};
pub(crate) use user_set::{UserChange, UserSet};

#[cfg(test)]
mod tests;
