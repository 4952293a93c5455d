//! Who may have one more session: asked before anything else of a handshake is looked at.

use crate::Millis;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::NonZeroU64;

/// Where the first half of an IPv6 address is this, it is an IPv4 address; no client has a multicast address.
const IPV4: u64 = 0xFFFF << 48;

/// What is counted as one address: an IPv4 address, or in IPv6, where a subscriber has as many as it likes, a network of /64.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct AddressGroup(NonZeroU64);

impl AddressGroup {
    /// All that nobody remembers singly.
    pub const OTHERS: Self = Self(NonZeroU64::MAX);

    /// The group of an address.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        let bits = match address.to_canonical() {
            IpAddr::V4(address) => IPV4 | u64::from(address.to_bits()),
            IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
        };
        // ::/64 has no clients but ::1.
        Self(NonZeroU64::new(bits).unwrap_or(NonZeroU64::MIN))
    }
}

impl From<IpAddr> for AddressGroup {
    fn from(address: IpAddr) -> Self {
        Self::of(address)
    }
}

impl fmt::Debug for AddressGroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bits = self.0.get();
        match u32::try_from(bits ^ IPV4) {
            Ok(v4) => write!(f, "{}", Ipv4Addr::from_bits(v4)),
            Err(_) => write!(f, "{}/64", Ipv6Addr::from_bits(u128::from(bits) << 64)),
        }
    }
}

/// Why a handshake is not looked at now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Crowded {
    /// The `error` of the reply.
    pub error: &'static str,
    /// Milliseconds after which the client is advised to handshake again.
    pub interval_ms: u64,
}

/// Bounds the handshakes and sessions of one address, or of all. Called on the way of a handshake; must not block.
pub trait Admission: Send + Sync {
    /// A client in this group asks for a session. What comes back is told to [`Admission::left`] when there is no session after
    /// all, or when it has ended.
    ///
    /// # Errors
    /// It may not have one now.
    fn admit(
        &self,
        address: Option<AddressGroup>,
        now: Millis,
    ) -> Result<Option<AddressGroup>, Crowded>;

    /// A place is free again.
    fn left(&self, counted: AddressGroup);
}

/// A place taken at a handshake, given back unless a session keeps it.
pub(crate) struct Admitted<'a> {
    engine: &'a crate::Engine,
    counted: Option<AddressGroup>,
}

impl<'a> Admitted<'a> {
    pub(crate) fn ask(
        engine: &'a crate::Engine,
        address: Option<AddressGroup>,
        now: Millis,
    ) -> Result<Self, Crowded> {
        let counted = match engine.admission() {
            Some(admission) => admission.admit(address, now)?,
            None => None,
        };
        Ok(Self { engine, counted })
    }

    /// The session's, who gives it back at its end.
    pub(crate) fn keep(&mut self) -> Option<AddressGroup> {
        self.counted.take()
    }
}

impl Drop for Admitted<'_> {
    fn drop(&mut self) {
        if let (Some(admission), Some(counted)) = (self.engine.admission(), self.counted) {
            admission.left(counted);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ipv6_is_counted_by_network_and_mapped_ipv4_as_ipv4() {
        let group = |text: &str| AddressGroup::of(text.parse().expect("an address"));
        assert_eq!(group("2001:db8:1:2:3::4"), group("2001:db8:1:2::"));
        assert_ne!(group("2001:db8:1:2::"), group("2001:db8:1:3::"));
        assert_eq!(group("::ffff:10.1.2.3"), group("10.1.2.3"));
        assert_ne!(group("10.1.2.3"), group("10.1.2.4"));
        assert_ne!(group("::1"), group("0.0.0.1"));
        for (text, shown) in [
            ("10.1.2.3", "10.1.2.3"),
            ("2001:db8::1", "2001:db8::/64"),
            ("255.255.255.255", "255.255.255.255"),
        ] {
            assert_eq!(format!("{:?}", group(text)), shown);
        }
    }
}
