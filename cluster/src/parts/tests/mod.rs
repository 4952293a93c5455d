//! Tests of the parts: single steps, and schedules of lost, late and doubled frames.

mod log_state;
mod net_changes;
mod schedules;
mod steps;
