//! Versioned state with a single owner: what the user directory and the replicated objects stand on.
//!
//! Each node owns one *part* and keeps a replica of every sibling's part. An owner's states are ordered by
//! (incarnation, version): the incarnation is drawn when the process starts, the version counts the changes of that
//! incarnation from 0.
//!
//! ```text
//!   owner                                            sibling
//!   change(delta) ── Delta{version} ───────────────▶ version + 1: applied; older: ignored; newer: held, and
//!   joined(X) ────── Snapshot{version, piece}.. ───▶ replaces, then what was held and follows is applied
//!   every 2.5 s ──── Current{version} ─────────────▶ newer than known: a gap
//!                 ◀── Pull{version, piece} ───────── a gap; repeated by a timer until a snapshot answers
//! ```
//!
//! | frame | lost | late | doubled |
//! |---|---|---|---|
//! | Delta | the next Delta or Current shows the gap, a pull repairs it | held while it is ahead, ignored once behind | ignored |
//! | Snapshot piece | the timer pulls again from the missing piece | ignored | ignored |
//! | Pull | the timer repeats it | answered again | answered again |
//! | Current | the next one tells the same | ignored | ignored |
//!
//! A replica lives exactly as long as its owner is a member: it is created by *joined*, dropped by *left*, and frames
//! of another incarnation, or of a node that is not a member, never bring anything back.
//!
//! Everything here is a state machine: events and the present instant in, frames to send and changes to tell out. It
//! does no IO, starts no timer and takes no lock. What it does not do: agree on anything (every part has one writer),
//! or keep a part whose owner is gone.

mod frame;
mod limits;
mod machine;
mod net_changes;
mod own;
mod replica;
mod state;

pub use frame::PartFrame;
pub use limits::PartLimits;
pub use machine::{Outgoing, Output, Parts};
pub use net_changes::NetChanges;
pub use own::{OwnPart, PartTooLarge};
pub use replica::{Outcome, Replica};
pub use state::{Malformed, PartState};

#[cfg(test)]
mod tests;
