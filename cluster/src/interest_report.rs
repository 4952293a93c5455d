//! What nodes want, for operators.

use std::collections::BTreeSet;
use std::ops::Bound;

use halley_bayeux::ChannelName;

use crate::NodeName;

/// Which channels are asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterestQuery {
    /// Only channels whose names begin so.
    pub prefix: String,
    /// So many per node at most, the first by name.
    pub limit: usize,
}

/// Some of the channels that a node wants.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How many it wants altogether, whatever was asked for.
    pub count: usize,
    /// Those that were asked for, by name.
    pub channels: Vec<ChannelName>,
}

/// What this node and its siblings want.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InterestReport {
    /// What this node asks its siblings for.
    pub own: Wanted,
    /// What each sibling has asked this node for, by name.
    pub siblings: Vec<(NodeName, Wanted)>,
}

impl InterestQuery {
    /// Costs no more than what it finds.
    pub(crate) fn find(&self, wants: &BTreeSet<ChannelName>) -> Wanted {
        let from = (Bound::Included(self.prefix.as_str()), Bound::Unbounded);
        let channels = wants
            .range::<str, _>(from)
            .take_while(|channel| channel.as_str().starts_with(&self.prefix))
            .take(self.limit);
        Wanted {
            count: wants.len(),
            channels: channels.cloned().collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_by_prefix_in_order_and_no_more_than_asked() {
        let names = ["/b/2", "/a", "/b/1", "/b", "/c", "/b/3"];
        let wants = names.map(|name| ChannelName::parse(name).unwrap()).into();
        let find = |prefix: &str, limit| {
            let query = InterestQuery {
                prefix: prefix.into(),
                limit,
            };
            let found = query.find(&wants);
            assert_eq!(found.count, 6);
            let names = found.channels.iter().map(|name| name.as_str().to_owned());
            names.collect::<Vec<_>>()
        };
        assert_eq!(find("/b/", 2), ["/b/1", "/b/2"]);
        assert_eq!(find("", 2), ["/a", "/b"]);
        assert_eq!(find("/c", 9), ["/c"]);
        assert!(find("/d", 9).is_empty() && find("", 0).is_empty());
    }
}
