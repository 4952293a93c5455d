//! Where nodes may be, and when to dial each address: back-off, aliases, own addresses, the allow list.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::{NodeName, RandomSource};

/// Most addresses that are remembered. Seeds come first; a hint beyond this is ignored, and repeated by gossip anyway.
const ADDRESSES_MAX: usize = 4096;
/// First delay after a loss, before jitter.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
/// Longest delay for what was a member shortly before, and for a node that was refused for its name: short, so that a
/// restarted node is back within three seconds.
const BACKOFF_RECENT_MAX: Duration = Duration::from_secs(2);
/// For how long an address counts as that of a recent member.
const RECENT: Duration = Duration::from_secs(600);
/// How long a learnt address is dialled in vain before it is forgotten. Seeds are never forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(3600);
/// How long a link must hold before its loss is a first failure again.
const STABLE_AFTER: Duration = Duration::from_secs(2);
/// An address whose node is reached at another address is looked at again after this time.
const ALIAS_RECHECK: Duration = Duration::from_secs(1);
/// While an unknown node is dialled at a seed's address, other new addresses wait: one of them may be that node's own, and
/// a second link to a node ends the first.
pub(super) const SEED_FIRST: Duration = Duration::from_millis(300);
/// A node that left on purpose is not dialled for this long; when it comes back, it dials.
const DEPARTED_PAUSE: Duration = Duration::from_secs(2);
/// Most dials that one tick starts.
const DIALS_PER_TICK: usize = 32;

/// Who says that a node may be at an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    /// The configuration: never forgotten.
    Seed,
    /// A sibling, a resolved name, or a datagram.
    Hint,
    /// The node itself, on an authenticated link: it is there right now.
    Alive,
}

/// How a dial, or the link that came of it, ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Failed,
    RetrySoon,
    Myself,
    AliasOf(NodeName),
    Connected(NodeName),
    Departed,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Waiting { at: Duration },
    Dialling,
    Connected { since: Duration },
    Myself,
}

#[derive(Debug)]
struct Entry {
    seed: bool,
    phase: Phase,
    failures: u32,
    /// When somebody named it last, or it was reached last.
    alive: Duration,
    /// When it was reached last.
    reached: Option<Duration>,
    /// Who answered there last.
    node: Option<NodeName>,
}

#[derive(Debug)]
pub(super) struct Addresses {
    own: SocketAddr,
    allow: Vec<IpNet>,
    backoff_max: Duration,
    random: RandomSource,
    entries: BTreeMap<SocketAddr, Entry>,
}

impl Addresses {
    pub(super) fn new(
        own: SocketAddr,
        allow: Vec<IpNet>,
        backoff_max: Duration,
        random: RandomSource,
    ) -> Self {
        Self {
            own,
            allow,
            backoff_max,
            random,
            entries: BTreeMap::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn ips(&self) -> BTreeSet<IpAddr> {
        let ips = self.entries.keys().map(|address| address.ip());
        ips.map(|ip| ip.to_canonical()).collect()
    }

    pub(super) fn allows(&self, address: SocketAddr) -> bool {
        let ip = address.ip().to_canonical();
        self.allow.iter().any(|net| net.contains(&ip))
    }

    pub(super) fn learn(&mut self, address: SocketAddr, source: Source, now: Duration) {
        if address == self.own || address.port() == 0 || !self.allows(address) {
            return;
        }
        let seed = source == Source::Seed;
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.seed |= seed;
            entry.alive = now;
            // Another node has proved that it is there; it may have taken over an address that once was this node's.
            if source == Source::Alive
                && matches!(entry.phase, Phase::Waiting { .. } | Phase::Myself)
            {
                entry.phase = Phase::Waiting { at: now };
            }
            return;
        }
        if self.entries.len() >= ADDRESSES_MAX && !seed {
            return;
        }
        let unknown =
            |entry: &Entry| entry.seed && entry.node.is_none() && entry.phase == Phase::Dialling;
        let wait = !seed && self.entries.values().any(unknown);
        let phase = Phase::Waiting {
            at: if wait { now + SEED_FIRST } else { now },
        };
        let entry = Entry {
            seed,
            phase,
            failures: 0,
            alive: now,
            reached: None,
            node: None,
        };
        self.entries.insert(address, entry);
    }

    /// A node that is reached at another address says that this one is its own. It need not be dialled at present.
    pub(super) fn own_of(&mut self, node: &NodeName, address: SocketAddr, now: Duration) {
        self.learn(address, Source::Hint, now);
        if let Some(entry) = self.entries.get_mut(&address) {
            entry.node = Some(node.clone());
        }
    }

    /// The addresses to dial now. Each counts as being dialled until [`Self::ended`].
    pub(super) fn due(
        &mut self,
        now: Duration,
        reached: impl Fn(&NodeName) -> bool,
    ) -> Vec<SocketAddr> {
        self.entries.retain(|_, entry| {
            entry.seed
                || !matches!(entry.phase, Phase::Waiting { .. })
                || now.saturating_sub(entry.alive) < FORGET_AFTER
        });
        let dialling = |entry: &Entry| entry.phase == Phase::Dialling;
        let dialled = self.entries.values().filter(|entry| dialling(entry));
        let mut dialled: BTreeSet<NodeName> =
            dialled.filter_map(|entry| entry.node.clone()).collect();
        let mut due = Vec::new();
        for (address, entry) in &mut self.entries {
            let Phase::Waiting { at } = entry.phase else {
                continue;
            };
            if at > now || due.len() >= DIALS_PER_TICK {
                continue;
            }
            if entry.node.as_ref().is_some_and(&reached) {
                entry.phase = Phase::Waiting {
                    at: now + ALIAS_RECHECK,
                };
                continue;
            }
            // One address of a node at a time.
            if let Some(node) = &entry.node
                && !dialled.insert(node.clone())
            {
                continue;
            }
            entry.phase = Phase::Dialling;
            due.push(*address);
        }
        due
    }

    pub(super) fn ended(&mut self, address: SocketAddr, outcome: Outcome, now: Duration) {
        let Some(entry) = self.entries.get_mut(&address) else {
            return;
        };
        match outcome {
            Outcome::Failed | Outcome::RetrySoon => {
                entry.failures = entry.failures.saturating_add(1);
                let recent = entry
                    .reached
                    .is_some_and(|reached| now.saturating_sub(reached) < RECENT);
                let longest = if recent || outcome == Outcome::RetrySoon {
                    self.backoff_max.min(BACKOFF_RECENT_MAX)
                } else {
                    self.backoff_max
                };
                let doubled = BACKOFF_FIRST * 2u32.pow(entry.failures.min(10) - 1);
                let wait = self.random.jitter(doubled.min(longest));
                entry.phase = Phase::Waiting { at: now + wait };
            }
            Outcome::Myself => entry.phase = Phase::Myself,
            Outcome::AliasOf(name) => {
                entry.node = Some(name);
                entry.phase = Phase::Waiting {
                    at: now + ALIAS_RECHECK,
                };
            }
            Outcome::Connected(name) => {
                entry.node = Some(name);
                entry.alive = now;
                entry.reached = Some(now);
                entry.phase = Phase::Connected { since: now };
            }
            Outcome::Departed => {
                entry.phase = Phase::Waiting {
                    at: now + DEPARTED_PAUSE,
                };
            }
        }
    }

    /// The links of a node are gone: all its addresses are free again.
    pub(super) fn node_lost(&mut self, name: &NodeName, now: Duration) {
        for entry in self
            .entries
            .values_mut()
            .filter(|entry| entry.node.as_ref() == Some(name))
        {
            lost(entry, now, &self.random);
        }
    }
}

fn lost(entry: &mut Entry, now: Duration, random: &RandomSource) {
    let Phase::Connected { since } = entry.phase else {
        return;
    };
    entry.alive = now;
    entry.reached = Some(now);
    entry.failures = if now.saturating_sub(since) >= STABLE_AFTER {
        0
    } else {
        entry.failures.saturating_add(1)
    };
    // A link that breaks again and again is dialled more and more slowly.
    let doubled = BACKOFF_FIRST * 2u32.pow(entry.failures.min(5));
    entry.phase = Phase::Waiting {
        at: now + random.jitter(doubled.min(BACKOFF_RECENT_MAX)),
    };
}
