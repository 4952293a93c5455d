//! How the first addresses are found. Everything else is learnt from siblings.

mod advert;
mod multicast;
mod seeds;

#[cfg(fuzzing)]
pub(crate) use advert::fuzz as fuzz_datagram;
pub(crate) use multicast::run as run_multicast;
pub(crate) use seeds::run as run_seeds;
