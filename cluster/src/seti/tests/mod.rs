//! Tests of the directory without sockets and engines; those with real engines are in the crate's `tests` folder.

mod memory;
mod message;
mod schedules;
mod user_set;
