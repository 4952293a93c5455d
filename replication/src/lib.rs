//! Replicated objects of a Halley cluster.
//!
//! An [`OortObject`] exists once per node under one name. Each node owns one *part*, its value, and reads the parts of
//! all members without asking anybody:
//!
//! ```text
//!  node a: set(3) ──▶ part a = 3 ── delta {incarnation, version} ──▶ node b: parts() = [(a, 3), (b, 4)]
//!  node b: set(4) ──▶ part b = 4 ── delta ─────────────────────────▶ node a: merge(sum) = 7
//! ```
//!
//! Parts are available on both sides of a partition, and converge when it heals. A part goes when its owner leaves and
//! nothing older comes back; see [`halley_cluster::parts`] for how. What needs one answer for the whole cluster
//! (counters, unique names) does not belong here.
//!
//! All objects of a node share one state channel; [`Objects`] is its handler.

mod error;
mod listener;
mod object;
mod objects;
mod oort;
mod value;

pub use error::{CreateError, SetError};
pub use listener::ObjectListener;
pub use object::OortObject;
pub use objects::Objects;
pub use oort::OortObjects;
pub use value::ObjectValue;
