//! How many handshakes and sessions one address may have, and how many handshakes a second the node takes at all.
//!
//! A handshake that is refused makes no session and touches none: whoever floods the node with them spends only its own
//! allowance. Sessions that are there never make room for new ones.

use std::collections::HashMap;
use std::sync::Arc;

use halley_bayeux::{AddressGroup, Admission, Crowded, Millis};
use parking_lot::Mutex;

use crate::config::ClientConfig;
use crate::metrics::{Limit, Metrics};

/// Addresses remembered at one time. Beyond, further ones are counted as if they were one.
const ADDRESSES_MAX: usize = 100_000;

/// Addresses below which nobody looks which of them can be forgotten.
const SWEEP_MIN: usize = 1_024;

/// Least time between two such looks at a full table.
const SWEEP_PERIOD_MS: u64 = 1_000;

/// Refused clients are told to come back after at least this long, and not all at once.
const INTERVAL_MS: u64 = 2_000;
const SPREAD_MS: u64 = 3_000;

/// So many a second, and so many at once after a pause; a rate of 0 is no limit.
#[derive(Debug, Clone, Copy)]
struct Rate {
    per_second: u64,
    burst: u64,
}

impl Rate {
    fn new(per_second: u32, burst: u32) -> Self {
        Self {
            per_second: u64::from(per_second),
            burst: u64::from(burst.max(1)),
        }
    }

    /// A thousandth of a handshake is what one per second brings in a millisecond.
    const fn full(self) -> u64 {
        self.burst * 1000
    }
}

/// A token bucket.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    thousandths: u64,
    at: Millis,
}

impl Bucket {
    fn full(rate: Rate, now: Millis) -> Self {
        Self {
            thousandths: rate.full(),
            at: now,
        }
    }

    fn fill(&mut self, rate: Rate, now: Millis) {
        let more = now.since(self.at).saturating_mul(rate.per_second);
        self.thousandths = self.thousandths.saturating_add(more).min(rate.full());
        self.at = self.at.max(now);
    }

    fn take(&mut self, rate: Rate, now: Millis) -> bool {
        if rate.per_second == 0 {
            return true;
        }
        self.fill(rate, now);
        match self.thousandths.checked_sub(1000) {
            Some(rest) => {
                self.thousandths = rest;
                true
            }
            None => false,
        }
    }
}

/// What one address has.
#[derive(Debug)]
struct Entry {
    sessions: usize,
    bucket: Bucket,
}

#[derive(Debug)]
struct Table {
    addresses: HashMap<AddressGroup, Entry, ahash::RandomState>,
    node: Bucket,
    /// How many addresses make the next look at all of them worth while.
    sweep_at: usize,
    swept: Millis,
    refused: u64,
}

/// The limits and who has used how much of them.
#[derive(Debug)]
pub(crate) struct Admissions {
    sessions_max: usize,
    per_address: Rate,
    per_node: Rate,
    addresses_max: usize,
    table: Mutex<Table>,
    metrics: Arc<Metrics>,
}

impl Admissions {
    pub(crate) fn new(config: &ClientConfig, metrics: Arc<Metrics>, now: Millis) -> Self {
        let per_node = Rate::new(config.handshakes_per_second, config.handshake_burst);
        Self {
            sessions_max: config.max_sessions_per_address,
            per_address: Rate::new(
                config.handshakes_per_second_per_address,
                config.handshake_burst_per_address,
            ),
            per_node,
            addresses_max: ADDRESSES_MAX,
            table: Mutex::new(Table {
                addresses: HashMap::default(),
                node: Bucket::full(per_node, now),
                sweep_at: SWEEP_MIN,
                swept: now,
                refused: 0,
            }),
            metrics,
        }
    }

    /// Under what an address is counted; forgets addresses that need not be remembered.
    fn place(&self, table: &mut Table, key: AddressGroup, now: Millis) -> AddressGroup {
        if table.addresses.contains_key(&key) {
            return key;
        }
        let count = table.addresses.len();
        let full = count >= self.addresses_max;
        if count >= table.sweep_at || (full && now.since(table.swept) >= SWEEP_PERIOD_MS) {
            let rate = self.per_address;
            table.addresses.retain(|_, entry| {
                entry.bucket.fill(rate, now);
                entry.sessions > 0
                    || (rate.per_second > 0 && entry.bucket.thousandths < rate.full())
            });
            table.swept = now;
            table.sweep_at = (2 * table.addresses.len()).clamp(SWEEP_MIN, self.addresses_max);
        }
        if table.addresses.len() >= self.addresses_max {
            AddressGroup::OTHERS
        } else {
            key
        }
    }

    fn admit(
        &self,
        address: Option<AddressGroup>,
        now: Millis,
    ) -> Result<Option<AddressGroup>, Limit> {
        let counts_addresses = self.sessions_max > 0 || self.per_address.per_second > 0;
        if !counts_addresses && self.per_node.per_second == 0 {
            return Ok(None);
        }
        let mut table = self.table.lock();
        let table = &mut *table;
        let mut counted = None;
        if let Some(address) = address.filter(|_| counts_addresses) {
            let key = self.place(table, address, now);
            let entry = table.addresses.entry(key).or_insert_with(|| Entry {
                sessions: 0,
                bucket: Bucket::full(self.per_address, now),
            });
            if self.sessions_max > 0 && entry.sessions >= self.sessions_max {
                return Err(Limit::SessionsPerAddress);
            }
            // Before the node's: who has used up its own allowance takes nothing from the others.
            if !entry.bucket.take(self.per_address, now) {
                return Err(Limit::HandshakesPerAddress);
            }
            counted = Some(key);
        }
        if !table.node.take(self.per_node, now) {
            return Err(Limit::Handshakes);
        }
        if let Some(entry) = counted.and_then(|key| table.addresses.get_mut(&key)) {
            entry.sessions += 1;
        }
        Ok(counted)
    }
}

impl Admission for Admissions {
    fn admit(
        &self,
        address: Option<AddressGroup>,
        now: Millis,
    ) -> Result<Option<AddressGroup>, Crowded> {
        self.admit(address, now).map_err(|limit| {
            self.metrics.refuse(limit);
            let mut table = self.table.lock();
            table.refused += 1;
            Crowded {
                error: match limit {
                    Limit::SessionsPerAddress => "429::too_many_sessions",
                    _ => "429::too_many_handshakes",
                },
                interval_ms: INTERVAL_MS + table.refused.wrapping_mul(617) % SPREAD_MS,
            }
        })
    }

    fn left(&self, counted: AddressGroup) {
        if let Some(entry) = self.table.lock().addresses.get_mut(&counted) {
            entry.sessions = entry.sessions.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn admissions(change: impl FnOnce(&mut ClientConfig)) -> Admissions {
        let mut config = ClientConfig {
            handshakes_per_second: 0,
            ..ClientConfig::default()
        };
        change(&mut config);
        let metrics = Arc::new(Metrics::new().expect("metrics"));
        Admissions::new(&config, metrics, Millis(0))
    }

    fn ip(text: &str) -> Option<AddressGroup> {
        let address: IpAddr = text.parse().expect("an address");
        Some(address.into())
    }

    #[test]
    fn sessions_of_one_address() {
        let admissions = admissions(|config| config.max_sessions_per_address = 2);
        let admit = |text| admissions.admit(ip(text), Millis(0));
        let first = admit("2001:db8::1").expect("a place").expect("counted");
        assert!(admit("2001:db8::2").is_ok());
        assert_eq!(admit("2001:db8::3"), Err(Limit::SessionsPerAddress));
        assert!(admit("2001:db8:0:1::3").is_ok());
        assert!(admit("10.0.0.1").is_ok());
        admissions.left(first);
        assert!(admit("2001:db8::3").is_ok());
        assert!(admit("2001:db8::3").is_err());
    }

    #[test]
    fn who_has_used_up_its_own_allowance_takes_nothing_from_the_others() {
        let admissions = admissions(|config| {
            config.handshakes_per_second = 10;
            config.handshake_burst = 10;
            config.handshakes_per_second_per_address = 1;
            config.handshake_burst_per_address = 3;
        });
        let admit = |text: &str, now| admissions.admit(ip(text), Millis(now));
        for _ in 0..3 {
            assert!(admit("10.0.0.1", 0).is_ok());
        }
        for _ in 0..100 {
            assert_eq!(admit("10.0.0.1", 0), Err(Limit::HandshakesPerAddress));
        }
        for other in 2..9 {
            assert!(admit(&format!("10.0.0.{other}"), 0).is_ok(), "{other}");
        }
        assert_eq!(admit("10.0.0.9", 0), Err(Limit::Handshakes));
        // A second brings one to the address, ten to the node.
        assert!(admit("10.0.0.1", 999).is_err());
        assert!(admit("10.0.0.1", 1000).is_ok());
        assert!(admit("10.0.0.1", 1000).is_err());
        assert!(admit("10.0.0.10", 1000).is_ok());
    }

    #[test]
    fn addresses_are_forgotten_and_never_too_many() {
        let mut admissions = admissions(|config| {
            config.handshakes_per_second_per_address = 1;
            config.handshake_burst_per_address = 1;
        });
        admissions.addresses_max = 2_000;
        let address = |n: u32| Some(AddressGroup::of(n.to_be_bytes().into()));
        let mut places = Vec::new();
        for n in 1..=2_000 {
            places.push(admissions.admit(address(n), Millis(0)).expect("a place"));
        }
        assert_eq!(
            admissions.admit(address(9_000), Millis(0)),
            Ok(Some(AddressGroup::OTHERS))
        );
        assert_eq!(
            admissions.admit(address(9_001), Millis(0)),
            Err(Limit::HandshakesPerAddress),
            "those beyond are counted as one"
        );
        for place in places.into_iter().flatten().skip(10) {
            admissions.left(place);
        }
        assert_eq!(
            admissions.admit(address(9_002), Millis(2_000)),
            Ok(address(9_002))
        );
        assert!(admissions.table.lock().addresses.len() <= 12);
    }

    #[test]
    fn no_limits_count_nothing() {
        let admissions = admissions(|_| ());
        for _ in 0..10_000 {
            assert_eq!(admissions.admit(ip("10.0.0.1"), Millis(0)), Ok(None));
        }
        assert!(admissions.table.lock().addresses.is_empty());
    }
}
