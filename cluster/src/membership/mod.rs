//! Who the siblings are: a pure state machine. Events and the present instant go in, commands come out; no IO.
//!
//! ```text
//!   learn, tick, dial_failed, refused, out_up, out_down,        Dial, CloseOut, CloseIn,
//!   admit, snapshot, in_down, leaving, known             ──▶    Joined, Left, SendKnown
//! ```
//!
//! A sibling is *joined* when this node's link to it and its link to this node are up with the same incarnation, and
//! its first interest snapshot is here. It has *left* when either link goes; then the other is closed too, so that a
//! loss in one direction is a loss on both sides.
//!
//! Invariants: for one name, joined and left alternate; *left* of an old incarnation precedes *joined* of the new one;
//! a joined sibling has both links; no address outside `allow` and not the node's own is ever dialled; all tables
//! are bounded.

mod addresses;

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use ipnet::IpNet;

use crate::wire::{KNOWN_ADDRESSES_MAX, Refusal};
use crate::{Incarnation, Member, NodeName, RandomSource};
pub(crate) use addresses::Source;
use addresses::{Addresses, Outcome};

/// A link of this process, whatever its direction. Never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct LinkId(pub(crate) u64);

/// What the state machine wants done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    /// Open a link to this address; answered by `out_up`, `refused` or `dial_failed`.
    Dial(SocketAddr),
    /// Close a link that this node opened. No `out_down` need follow, and a late one is ignored.
    CloseOut(LinkId),
    /// Close a link that a sibling opened.
    CloseIn(LinkId),
    /// Tell the listeners.
    Joined {
        /// Who.
        member: Member,
        /// The link on which it is reached.
        out: LinkId,
        /// The link on which it speaks.
        inbound: LinkId,
    },
    /// Tell the listeners.
    Left(Member),
    /// Two live nodes have this name and give the same address: one that was superseded has come back.
    Twins(Conflict),
    /// Tell the sibling at the other end of this link where others are.
    SendKnown(LinkId, Vec<SocketAddr>),
}

/// Another live node has this node's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The name that two nodes have.
    pub name: NodeName,
    /// Where the other one is.
    pub holder: SocketAddr,
}

/// Settings of the state machine.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) allow: Vec<IpNet>,
    pub(crate) siblings_max: usize,
    pub(crate) backoff_max: Duration,
}

#[derive(Debug)]
struct Sibling {
    member: Member,
    /// The link that this node opened.
    out: Option<LinkId>,
    /// The link that the sibling opened.
    inbound: Option<LinkId>,
    /// Its first snapshot has come on `inbound`.
    snapshot: bool,
    joined: bool,
}

impl Sibling {
    fn new(member: Member) -> Self {
        Self {
            member,
            out: None,
            inbound: None,
            snapshot: false,
            joined: false,
        }
    }
}

/// How long a reported conflict stands when nobody repeats it: a few attempts at the longest back-off.
const CONFLICT_TTL: Duration = Duration::from_secs(15);
/// How often the addresses of all members are told to one sibling, in turn.
const GOSSIP_INTERVAL: Duration = Duration::from_secs(1);

/// The state machine.
#[derive(Debug)]
pub(crate) struct Membership {
    me: Member,
    started: Duration,
    settings: Settings,
    /// An entry exists as long as at least one of its links is up.
    siblings: BTreeMap<NodeName, Sibling>,
    /// The life of each sibling that gave way last to another one at the same address. Who restarts never comes back in
    /// it: who does is a second node with that name and address.
    superseded: BTreeMap<NodeName, Incarnation>,
    addresses: Addresses,
    /// The conflict, when it was reported, and by whom if it was not noticed here.
    conflict: Option<(Conflict, Duration, Option<SocketAddr>)>,
    leaving: bool,
    gossip_at: Duration,
    /// To whom addresses were told last.
    gossip_cursor: Option<NodeName>,
    commands: Vec<Command>,
}

impl Membership {
    pub(crate) fn new(me: Member, settings: Settings, random: RandomSource, now: Duration) -> Self {
        let addresses = Addresses::new(
            me.mesh_address,
            settings.allow.clone(),
            settings.backoff_max,
            random,
        );
        Self {
            me,
            started: now,
            settings,
            siblings: BTreeMap::new(),
            superseded: BTreeMap::new(),
            addresses,
            conflict: None,
            leaving: false,
            gossip_at: now,
            gossip_cursor: None,
            commands: Vec::new(),
        }
    }

    /// Takes the commands that have accumulated.
    pub(crate) fn commands(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.commands)
    }

    pub(crate) fn me(&self) -> &Member {
        &self.me
    }

    pub(crate) fn uptime_ms(&self, now: Duration) -> u64 {
        u64::try_from(now.saturating_sub(self.started).as_millis()).unwrap_or(u64::MAX)
    }

    pub(crate) fn conflicts(&self, now: Duration) -> Vec<Conflict> {
        self.conflict
            .iter()
            .filter(|(_, seen, _)| now.saturating_sub(*seen) < CONFLICT_TTL)
            .map(|(conflict, ..)| conflict.clone())
            .collect()
    }

    /// Addresses known at present, for the status.
    pub(crate) fn addresses_known(&self) -> usize {
        self.addresses.len()
    }

    /// The hosts where nodes may be.
    pub(crate) fn ips(&self) -> BTreeSet<IpAddr> {
        self.addresses.ips()
    }

    /// An address where a node may be.
    pub(crate) fn learn(&mut self, address: SocketAddr, source: Source, now: Duration) {
        self.addresses.learn(address, source, now);
    }

    /// To be called a few times per second.
    pub(crate) fn tick(&mut self, now: Duration) {
        if self.leaving {
            return;
        }
        let siblings = &self.siblings;
        let room = siblings.len() < self.settings.siblings_max;
        let reached = |name: &NodeName| siblings.get(name).is_some_and(|s| s.out.is_some());
        for address in self.addresses.due(now, reached) {
            if room || siblings.values().any(|s| s.member.mesh_address == address) {
                self.commands.push(Command::Dial(address));
            } else {
                self.addresses.ended(address, Outcome::Failed, now);
            }
        }
        if now >= self.gossip_at {
            self.gossip_at = now + GOSSIP_INTERVAL;
            self.gossip();
        }
    }

    /// An attempt failed without a verdict of the other side.
    pub(crate) fn dial_failed(&mut self, address: SocketAddr, now: Duration) {
        self.addresses.ended(address, Outcome::Failed, now);
    }

    /// The other side knows the secret and does not want this node.
    pub(crate) fn refused(&mut self, address: SocketAddr, reason: &Refusal, now: Duration) {
        let outcome = match reason {
            Refusal::SelfConnection => Outcome::Myself,
            Refusal::NameTaken { holder } => {
                let conflict = Conflict {
                    name: self.me.name.clone(),
                    holder: *holder,
                };
                self.conflict = Some((conflict, now, Some(address)));
                Outcome::RetrySoon
            }
            Refusal::YoungerTwin
            | Refusal::AddressNotAllowed(_)
            | Refusal::TooManySiblings
            | Refusal::Leaving
            | Refusal::LinkEnded => Outcome::Failed,
        };
        self.addresses.ended(address, outcome, now);
    }

    /// A link that this node opened is up: the other side has welcomed it.
    pub(crate) fn out_up(
        &mut self,
        link: LinkId,
        address: SocketAddr,
        member: Member,
        now: Duration,
    ) {
        let unwanted = self.leaving
            || member.name == self.me.name
            || (self.siblings.len() >= self.settings.siblings_max
                && !self.siblings.contains_key(&member.name));
        if unwanted {
            self.commands.push(Command::CloseOut(link));
            self.addresses.ended(address, Outcome::Failed, now);
            return;
        }
        if let Some(known) = self.siblings.get(&member.name) {
            let same_life = known.member.incarnation == member.incarnation;
            let alias = same_life && known.out.is_some();
            // Its name is held by a live node elsewhere. That node tells it so; here it is just not taken.
            let intruder = !same_life
                && (known.member.mesh_address != member.mesh_address
                    || self.is_superseded(&member));
            if alias || intruder {
                self.commands.push(Command::CloseOut(link));
                let outcome = if alias {
                    Outcome::AliasOf(member.name)
                } else {
                    Outcome::Failed
                };
                self.addresses.ended(address, outcome, now);
                return;
            }
            if !same_life {
                self.supersede(&member.name.clone(), now);
            }
        }
        self.addresses
            .ended(address, Outcome::Connected(member.name.clone()), now);
        if member.mesh_address != address {
            self.addresses
                .own_of(&member.name, member.mesh_address, now);
        }
        // Who refused this node before has taken it now.
        self.conflict
            .take_if(|(_, _, refuser)| *refuser == Some(address));
        let name = member.name.clone();
        let sibling = self
            .siblings
            .entry(name.clone())
            .or_insert_with(|| Sibling::new(member));
        sibling.out = Some(link);
        self.join_if_complete(&name);
    }

    /// A link that this node opened has ended by itself.
    pub(crate) fn out_down(&mut self, link: LinkId, now: Duration) {
        if let Some(name) = self.find(|sibling| sibling.out == Some(link)) {
            self.lose(&name, now);
        }
    }

    /// A node that knows the secret wants to open a link to this one. When it is admitted, the link counts as up.
    ///
    /// # Errors
    /// The reason, which is told to the dialler.
    pub(crate) fn admit(
        &mut self,
        link: LinkId,
        member: Member,
        uptime_ms: u64,
        now: Duration,
    ) -> Result<(), Refusal> {
        if self.leaving {
            return Err(Refusal::Leaving);
        }
        if member.name == self.me.name {
            return Err(self.refuse_twin(&member, uptime_ms, now));
        }
        if !self.addresses.allows(member.mesh_address) {
            return Err(Refusal::AddressNotAllowed(member.mesh_address));
        }
        match self.siblings.get(&member.name) {
            None if self.siblings.len() >= self.settings.siblings_max => {
                return Err(Refusal::TooManySiblings);
            }
            None => {}
            Some(known) => {
                let same_life = known.member.incarnation == member.incarnation;
                if !same_life && known.member.mesh_address != member.mesh_address {
                    return Err(Refusal::NameTaken {
                        holder: known.member.mesh_address,
                    });
                }
                if !same_life && self.is_superseded(&member) {
                    let conflict = Conflict {
                        name: member.name,
                        holder: known.member.mesh_address,
                    };
                    let holder = conflict.holder;
                    self.commands.push(Command::Twins(conflict));
                    return Err(Refusal::NameTaken { holder });
                }
                // A new life at the same address supersedes the old one. And a second link of the same life says
                // that the first one is lost, although this side has not noticed.
                if !same_life {
                    self.supersede(&member.name, now);
                } else if known.inbound.is_some() {
                    self.lose(&member.name, now);
                }
            }
        }
        self.addresses
            .learn(member.mesh_address, Source::Alive, now);
        let name = member.name.clone();
        let sibling = self
            .siblings
            .entry(name)
            .or_insert_with(|| Sibling::new(member));
        sibling.inbound = Some(link);
        sibling.snapshot = false;
        Ok(())
    }

    fn is_superseded(&self, member: &Member) -> bool {
        self.superseded.get(&member.name) == Some(&member.incarnation)
    }

    /// A sibling gives way to another life at its address.
    fn supersede(&mut self, name: &NodeName, now: Duration) {
        if let Some(known) = self.siblings.get(name) {
            if self.superseded.len() > 2 * self.settings.siblings_max {
                self.superseded.clear();
            }
            let incarnation = known.member.incarnation;
            self.superseded.insert(name.clone(), incarnation);
        }
        self.lose(name, now);
    }

    fn refuse_twin(&mut self, twin: &Member, uptime_ms: u64, now: Duration) -> Refusal {
        if twin.incarnation == self.me.incarnation {
            return Refusal::SelfConnection;
        }
        let (mine, its) = (self.uptime_ms(now), uptime_ms);
        if (mine, self.me.incarnation) < (its, twin.incarnation) {
            let conflict = Conflict {
                name: self.me.name.clone(),
                holder: twin.mesh_address,
            };
            self.conflict = Some((conflict, now, None));
            return Refusal::YoungerTwin;
        }
        Refusal::NameTaken {
            holder: self.me.mesh_address,
        }
    }

    /// The first interest snapshot has come in completely.
    pub(crate) fn snapshot(&mut self, link: LinkId) {
        if let Some(name) = self.find(|sibling| sibling.inbound == Some(link)) {
            if let Some(sibling) = self.siblings.get_mut(&name) {
                sibling.snapshot = true;
            }
            self.join_if_complete(&name);
        }
    }

    /// A link that a sibling opened has ended by itself.
    pub(crate) fn in_down(&mut self, link: LinkId, now: Duration) {
        if let Some(name) = self.find(|sibling| sibling.inbound == Some(link)) {
            self.lose(&name, now);
        }
    }

    /// A sibling says that it is leaving on purpose.
    pub(crate) fn sibling_leaves(&mut self, link: LinkId, now: Duration) {
        if let Some(name) = self.find(|sibling| sibling.inbound == Some(link)) {
            let address = self
                .siblings
                .get(&name)
                .map(|sibling| sibling.member.mesh_address);
            self.lose(&name, now);
            if let Some(address) = address {
                self.addresses.ended(address, Outcome::Departed, now);
            }
        }
    }

    /// A sibling says where other nodes are.
    pub(crate) fn known(&mut self, addresses: &[SocketAddr], now: Duration) {
        for address in addresses.iter().take(KNOWN_ADDRESSES_MAX) {
            self.addresses.learn(*address, Source::Hint, now);
        }
    }

    /// Closes everything, for good.
    pub(crate) fn leave(&mut self, now: Duration) {
        self.leaving = true;
        self.lose_all(now);
    }

    /// Starts over with another incarnation, knowing nothing but addresses.
    pub(crate) fn restart(&mut self, incarnation: Incarnation, now: Duration) {
        self.lose_all(now);
        self.conflict = None;
        self.started = now;
        self.me.incarnation = incarnation;
    }

    fn lose_all(&mut self, now: Duration) {
        let names: Vec<NodeName> = self.siblings.keys().cloned().collect();
        for name in names {
            self.lose(&name, now);
        }
    }

    /// The sibling at the other end of a link.
    pub(crate) fn at(&self, link: LinkId) -> Option<NodeName> {
        self.find(|sibling| sibling.out == Some(link) || sibling.inbound == Some(link))
    }

    fn find(&self, which: impl Fn(&Sibling) -> bool) -> Option<NodeName> {
        self.siblings
            .iter()
            .find(|(_, sibling)| which(sibling))
            .map(|(name, _)| name.clone())
    }

    /// Drops a sibling with all that belongs to it.
    fn lose(&mut self, name: &NodeName, now: Duration) {
        let Some(sibling) = self.siblings.remove(name) else {
            return;
        };
        if sibling.joined {
            self.commands.push(Command::Left(sibling.member.clone()));
        }
        if let Some(link) = sibling.out {
            self.commands.push(Command::CloseOut(link));
        }
        if let Some(link) = sibling.inbound {
            self.commands.push(Command::CloseIn(link));
        }
        self.addresses.node_lost(name, now);
    }

    fn join_if_complete(&mut self, name: &NodeName) {
        let Some(sibling) = self.siblings.get_mut(name) else {
            return;
        };
        let (Some(out), Some(inbound), true, false) = (
            sibling.out,
            sibling.inbound,
            sibling.snapshot,
            sibling.joined,
        ) else {
            return;
        };
        sibling.joined = true;
        let member = sibling.member.clone();
        let address = member.mesh_address;
        self.commands.push(Command::Joined {
            member,
            out,
            inbound,
        });
        let others: Vec<SocketAddr> = self
            .siblings
            .values()
            .filter(|other| other.joined && other.member.mesh_address != address)
            .map(|other| other.member.mesh_address)
            .take(KNOWN_ADDRESSES_MAX)
            .collect();
        for other in self.siblings.values().filter(|other| other.joined) {
            let Some(link) = other.out else { continue };
            if link != out {
                self.commands.push(Command::SendKnown(link, vec![address]));
            } else if !others.is_empty() {
                self.commands.push(Command::SendKnown(link, others.clone()));
            }
        }
    }

    /// Tells one sibling, in turn, of all others: repairs what a lost `Known` left open.
    fn gossip(&mut self) {
        let joined = |sibling: &&Sibling| sibling.joined;
        let after = |name: &NodeName| self.gossip_cursor.as_ref().is_none_or(|last| name > last);
        let next = self
            .siblings
            .iter()
            .filter(|(_, sibling)| sibling.joined)
            .find(|(name, _)| after(name))
            .or_else(|| self.siblings.iter().find(|(_, sibling)| sibling.joined));
        let Some((name, sibling)) = next else { return };
        let (name, own) = (name.clone(), sibling.member.mesh_address);
        let Some(link) = sibling.out else { return };
        let others: Vec<SocketAddr> = self
            .siblings
            .values()
            .filter(joined)
            .map(|other| other.member.mesh_address)
            .filter(|address| *address != own)
            .take(KNOWN_ADDRESSES_MAX)
            .collect();
        self.gossip_cursor = Some(name);
        if !others.is_empty() {
            self.commands.push(Command::SendKnown(link, others));
        }
    }
}

#[cfg(test)]
mod tests;
