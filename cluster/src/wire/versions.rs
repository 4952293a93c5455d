//! Which versions of the dialect a node speaks.

use std::fmt;

use super::{VERSION_MAX, VERSION_MIN};

/// The versions of the mesh protocol that a node speaks, from the oldest to the newest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// The oldest.
    pub min: u8,
    /// The newest.
    pub max: u8,
}

impl Versions {
    /// All that this release speaks.
    pub const ALL: Self = Self {
        min: VERSION_MIN,
        max: VERSION_MAX,
    };

    /// The newest that both speak.
    pub(crate) fn common(self, other: Self) -> Option<u8> {
        let newest = self.max.min(other.max);
        (newest >= self.min.max(other.min)).then_some(newest)
    }

    pub(crate) fn contains(self, version: u8) -> bool {
        (self.min..=self.max).contains(&version)
    }

    /// Whether this release can speak them, and there is one.
    pub(crate) fn is_valid(self) -> bool {
        self.min <= self.max && Self::ALL.contains(self.min) && Self::ALL.contains(self.max)
    }

    /// Reads what [`fmt::Display`] writes.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (min, max) = text.split_once(" to ").unwrap_or((text, text));
        Some(Self {
            min: min.parse().ok()?,
            max: max.parse().ok()?,
        })
    }
}

impl fmt::Display for Versions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.min == self.max {
            write!(f, "{}", self.min)
        } else {
            write!(f, "{} to {}", self.min, self.max)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_common_one_is_chosen() {
        let versions = |min, max| Versions { min, max };
        for (a, b, common) in [
            ((1, 1), (1, 1), Some(1)),
            ((1, 3), (2, 5), Some(3)),
            ((1, 2), (2, 2), Some(2)),
            ((1, 2), (3, 4), None),
            ((3, 4), (1, 2), None),
            // One that speaks nothing at all.
            ((4, 1), (1, 4), None),
        ] {
            let (a, b) = (versions(a.0, a.1), versions(b.0, b.1));
            assert_eq!((a.common(b), b.common(a)), (common, common), "{a} and {b}");
            assert_eq!(Versions::parse(&a.to_string()), Some(a));
        }
        assert!(Versions::ALL.is_valid() && !versions(1, 200).is_valid());
        assert_eq!(Versions::parse("1 to 999"), None);
    }
}
