//! `halley ctl`: asks a running node on its admin address, and shows the answer to people or programs.
//!
//! ```text
//! command ──GET /admin/…, token──> admin listener ──JSON──> show ──table or JSON──> standard output
//! ```
//!
//! Exit status: 0 when the node has answered and did what it was asked; 1 when it answered that it did or could not, or is
//! not ready (`status`); 2 when the question could not be asked: a wrong command line, no token file, nobody at the
//! address, or a token that is not accepted.

mod ask;
mod command;
mod show;

pub(crate) use command::CtlCommand;
