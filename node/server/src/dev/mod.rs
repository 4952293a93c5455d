//! `halley dev`: a cluster of real node processes on this machine, with the demonstration page on each.
//!
//! ```text
//! DevCommand::run ── Plan (names, ports, files) ── NodeProcess × n ── `halley serve --config F --until-stdin-closes`
//! ```
//!
//! Nothing is restarted: whoever ends a node wants to see what the others do. The nodes hang on a pipe from this process
//! to their standard input, so that they end when it ends, whatever the way it goes.

mod browser;
mod command;
mod node_process;
mod plan;
mod ready;
mod stdin;

pub use command::DevCommand;
pub use stdin::stdin_closed;
