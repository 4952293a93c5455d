//! A whole cluster in one thread, in virtual time, over a simulated network: every run is repeatable from its seed.
//!
//! ```text
//!  schedule (seeded) ──▶ world: partitions, crashes, restarts ──▶ hosts, each an engine and a cluster layer
//!                          │                                          │
//!                          └──────────── trace ◀── deliveries, joined, left
//!                                          │
//!                                       checks: order, nothing twice, no loss that nobody is told of, convergence
//! ```

mod host;
mod loss;
mod net;
mod schedule;
mod size;
mod trace;
mod world;

pub use net::SimNet;
pub use schedule::{Fault, Schedule};
pub use size::{Size, form};
pub use trace::{Entry, Trace, What};
pub use world::{Report, Settings, run};
