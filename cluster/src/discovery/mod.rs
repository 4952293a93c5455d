//! How the first addresses are found. Everything else is learnt from siblings.

mod advert;
mod dns;
mod group;
mod multicast;
mod seeds;

#[cfg(fuzzing)]
pub(crate) use advert::fuzz as fuzz_datagram;
use std::time::Duration;

pub(crate) use dns::run as run_dns;
pub(crate) use group::{Talk, run_group};
pub(crate) use multicast::run as run_multicast;
pub(crate) use seeds::run as run_seeds;

/// A resolution that takes longer is given up, and made again later.
const RESOLVE_TIMEOUT: Duration = Duration::from_secs(5);
/// Most addresses that one name may stand for.
const ADDRESSES_PER_NAME_MAX: usize = 1024;
