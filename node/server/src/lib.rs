//! Skeleton.
pub mod dev;
pub mod pages;
