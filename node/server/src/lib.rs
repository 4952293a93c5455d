//! Skeleton.

pub mod bench;
