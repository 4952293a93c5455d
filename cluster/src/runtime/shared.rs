//! What the tasks of one node share.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use bytes::Bytes;
use halley_bayeux::Engine;
use parking_lot::{Mutex, RwLock};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::losses::Losses;
use crate::auth::AuthError;
use crate::cluster::Dialect;
use crate::counters::LogBrakes;
use crate::forwarding::LocalInterest;
use crate::link::{DialError, Link, LinkEnd, LinkQueue, LinkTotals};
use crate::membership::{Conflict, LinkId, Source};
use crate::oort::{Foreign, OortSide};
use crate::wire::{Interest, Proof, Refusal, VERSION_RESUME};
use crate::{
    Clock, ClusterConfig, Counters, Incarnation, InterestQuery, Member, MembershipListener,
    MeshTls, NodeId, NodeName, RandomSource, Secrets, StateChannel, StateHandler, Wanted,
};

/// Events that may wait for the actor. A full channel makes the readers of links wait, and with them the siblings.
pub(super) const EVENTS_MAX: usize = 1024;
/// Interest frames and state messages that may wait for the actor, over all links.
const BULK_MAX: usize = 1024;
/// Bytes of received state messages that may wait for the actor, over all links.
const STATE_BUDGET_BYTES: usize = 64 << 20;

/// What happens, for the actor.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node may be at this address.
    Learned(SocketAddr, Source),
    /// An attempt to open a link failed.
    DialFailed {
        address: SocketAddr,
        refusal: Option<Refusal>,
    },
    /// A link that this node opened is up.
    OutUp {
        link: LinkId,
        address: SocketAddr,
        /// Who this node said it was.
        as_member: Member,
        member: Member,
        queue: Arc<LinkQueue>,
    },
    OutDown {
        link: LinkId,
        end: LinkEnd,
    },
    /// A node that knows the secret wants to come in.
    Admit {
        link: LinkId,
        proof: Proof,
        cancel: CancellationToken,
        /// Cancelled when the task that reads the link has ended.
        done: CancellationToken,
        reply: oneshot::Sender<Result<Admission, Refusal>>,
    },
    Known(LinkId, Vec<SocketAddr>),
    /// An operator asks what the siblings want.
    ReportInterest(InterestQuery, oneshot::Sender<Vec<(NodeName, Wanted)>>),
    InDown {
        link: LinkId,
        end: LinkEnd,
    },
}

/// What siblings send, for the actor: in order per link, and behind the events, so that nothing of the membership waits
/// for it.
#[derive(Debug)]
pub(crate) enum Bulk {
    Interest(LinkId, Interest),
    State(LinkId, StateChannel, Bytes, OwnedSemaphorePermit),
    /// A member of another dialect.
    Foreign(Foreign),
    /// Goes behind what the sibling has sent before.
    SiblingLeaves(LinkId),
}

/// What the actor receives from.
#[derive(Debug)]
pub(crate) struct Receivers {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) bulk: mpsc::Receiver<Bulk>,
}

/// What a task that was admitted needs.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(super) me: Member,
    /// The reader of the sibling's previous link: it must have ended before this one delivers anything.
    pub(super) after: Option<CancellationToken>,
}

/// A member, as others than the actor see it.
#[derive(Clone, Debug)]
pub(crate) struct MemberEntry {
    pub(crate) member: Member,
    pub(crate) link: Arc<dyn Link>,
    pub(crate) dialect: Dialect,
}

/// The link to a sibling, for the statistics. Stays when the link is gone.
#[derive(Clone, Debug)]
pub(crate) struct LinkRecord {
    pub(crate) queue: Arc<LinkQueue>,
    pub(crate) up: bool,
}

/// The state of the node's cluster layer, for readiness.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// It accepts siblings.
    pub listening: bool,
    /// It is leaving or has left.
    pub leaving: bool,
    /// It has ended by a fault inside: the node must be restarted.
    pub failed: bool,
    /// Other live nodes that have this node's name. A node in conflict is not a member of the cluster.
    pub conflicts: Vec<Conflict>,
    /// Number of siblings.
    pub members: usize,
    /// Number of addresses that are known.
    pub addresses: usize,
}

pub(crate) struct Shared {
    pub(crate) config: ClusterConfig,
    /// Those that are valid now. Written by [`crate::Cluster::set_secrets`], read by every handshake and datagram.
    secrets: ArcSwap<Secrets>,
    /// The certificates that are used now. Written by [`crate::Cluster::set_tls`], read by every connection.
    tls: ArcSwapOption<MeshTls>,
    pub(crate) clock: Clock,
    pub(crate) random: RandomSource,
    pub(crate) engine: Arc<Engine>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) interest: Arc<LocalInterest>,
    /// This node. Written by the actor.
    pub(crate) me: RwLock<Member>,
    /// The members. Written by the actor.
    pub(crate) members: RwLock<BTreeMap<NodeName, MemberEntry>>,
    /// Links by sibling. Written by the actor.
    pub(crate) links: Mutex<BTreeMap<NodeName, LinkRecord>>,
    /// What is counted of the links, by sibling.
    totals: Mutex<BTreeMap<NodeName, Arc<LinkTotals>>>,
    /// The last link of each sibling that has ended here: whose, which, and how many of its publications came in.
    ended: Mutex<BTreeMap<NodeName, (Incarnation, u64, u64)>>,
    losses: Losses,
    pub(crate) status: Mutex<Status>,
    /// Handlers and listeners that the actor has not taken over yet.
    pub(crate) registrations: Mutex<Registrations>,
    /// Wakes the actor for a registration or for `leave`.
    /// And for room in the queue of a link.
    pub(crate) wake: Arc<Notify>,
    /// Whoever waits for the node to have left.
    pub(crate) leave: Mutex<Option<oneshot::Sender<()>>>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) bulk: mpsc::Sender<Bulk>,
    pub(crate) cancel: CancellationToken,
    /// The Oort dialect, once it runs.
    pub(crate) oort: OnceLock<Arc<OortSide>>,
    pub(crate) tasks: TaskTracker,
    pub(crate) state_budget: Arc<Semaphore>,
    pub(super) next_link: AtomicU64,
    /// When the heart beat last, in milliseconds of the clock. Written by the heart.
    pub(super) beat_ms: AtomicU64,
    /// The heart has missed beats for longer than the detection time. Taken by the actor.
    pub(super) suspended: AtomicBool,
    pub(super) brakes: LogBrakes,
    /// The addresses of siblings, seeds, and what siblings named. Written by the actor.
    pub(super) known: RwLock<BTreeSet<IpAddr>>,
}

#[derive(Default)]
pub(crate) struct Registrations {
    pub(crate) handlers: Vec<(StateChannel, Arc<dyn StateHandler>)>,
    pub(crate) listeners: Vec<Arc<dyn MembershipListener>>,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared")
            .field("me", &*self.me.read())
            .finish_non_exhaustive()
    }
}

impl Shared {
    pub(crate) fn new(
        config: ClusterConfig,
        clock: Clock,
        random: RandomSource,
        engine: Arc<Engine>,
        me: Member,
    ) -> (Self, Receivers) {
        let (events, events_receiver) = mpsc::channel(EVENTS_MAX);
        let (bulk, bulk_receiver) = mpsc::channel(BULK_MAX);
        let receivers = Receivers {
            events: events_receiver,
            bulk: bulk_receiver,
        };
        let interest = Arc::new(LocalInterest::new(&config.channels));
        let shared = Self {
            secrets: ArcSwap::from_pointee(config.secrets.clone()),
            tls: ArcSwapOption::new(config.tls.clone().map(Arc::new)),
            config,
            clock,
            random,
            engine,
            counters: Arc::default(),
            interest,
            me: RwLock::new(me),
            members: RwLock::default(),
            links: Mutex::default(),
            totals: Mutex::default(),
            ended: Mutex::default(),
            losses: Losses::default(),
            status: Mutex::default(),
            registrations: Mutex::default(),
            wake: Arc::default(),
            leave: Mutex::default(),
            events,
            bulk,
            cancel: CancellationToken::new(),
            oort: OnceLock::new(),
            tasks: TaskTracker::new(),
            state_budget: Arc::new(Semaphore::new(STATE_BUDGET_BYTES)),
            next_link: AtomicU64::new(1),
            beat_ms: AtomicU64::new(clock.now().0),
            suspended: AtomicBool::new(false),
            brakes: LogBrakes::default(),
            known: RwLock::default(),
        };
        (shared, receivers)
    }

    /// Counts a handshake that failed because the other side speaks no version of this one's, or because of TLS.
    pub(super) fn note_kind(&self, error: &DialError) {
        if error.is_of_tls() {
            self.counters.tls_failures.add(1);
        }
        if matches!(error, DialError::Auth(AuthError::Version { .. })) {
            self.counters.version_mismatches.add(1);
        }
    }

    /// What is counted of the links to a sibling.
    pub(crate) fn totals(&self, sibling: &NodeName) -> Arc<LinkTotals> {
        let mut totals = self.totals.lock();
        if totals.len() > 2 * self.config.siblings_max {
            // Those of siblings without a link.
            totals.retain(|_, totals| Arc::strong_count(totals) > 1);
        }
        totals.entry(sibling.clone()).or_default().clone()
    }

    /// A link of a sibling has ended, of which so many publications have come in.
    pub(super) fn note_ended(&self, sibling: &NodeId, link: u64, publications: u64) {
        let mut ended = self.ended.lock();
        if ended.len() > 2 * self.config.siblings_max {
            ended.clear();
        }
        let entry = (sibling.incarnation, link, publications);
        ended.insert(sibling.name.clone(), entry);
    }

    /// The last link of this life of a sibling that has ended, and how many of its publications have come in.
    pub(super) fn ended(&self, sibling: &NodeId) -> Option<(u64, u64)> {
        let (incarnation, link, publications) = *self.ended.lock().get(&sibling.name)?;
        (incarnation == sibling.incarnation).then_some((link, publications))
    }

    /// A link of this node has ended: what it held is dropped, counted and logged.
    pub(super) fn link_ended(
        &self,
        sibling: &NodeId,
        address: SocketAddr,
        link: u64,
        end: &LinkEnd,
        queue: &LinkQueue,
    ) {
        let (leaves, resumes) = (queue.is_closing(), queue.version() >= VERSION_RESUME);
        let mut unsent = queue.close();
        if leaves || !resumes {
            // A sibling that this node has left has read everything before it closed. One of version 1 says nothing.
            unsent.acknowledged = unsent.written;
        }
        let (now, name) = (self.clock.elapsed(), &sibling.name);
        let (lost, open) = (
            self.losses.ended(sibling, link, unsent, now),
            unsent.written - unsent.acknowledged,
        );
        if let LinkEnd::QueueFull(lane) = end {
            self.counters.links_reset_queue_full.add(1);
            tracing::warn!(%name, %address, %lane, lost, open, "the queue of a link was full: the link is reset");
        } else if open > 0 {
            tracing::info!(%name, %address, %end, open, "publications were under way when their link ended");
        }
        self.lost(name, lost);
    }

    /// A sibling to which there is a link again says what had come in on the last one.
    pub(super) fn told(&self, sibling: &NodeId, former: Option<(u64, u64)>) {
        self.lost(&sibling.name, self.losses.told(sibling, former));
    }

    /// To be called from time to time.
    pub(super) fn settle_losses(&self, now: Duration) {
        for (name, lost) in self.losses.overdue(now) {
            self.lost(&name, lost);
        }
    }

    fn lost(&self, name: &NodeName, lost: u64) {
        if lost > 0 {
            self.counters.publications_dropped.add(lost);
            self.totals(name).lost.add(lost);
            tracing::warn!(%name, lost, "publications for a sibling are lost with its link");
        }
    }

    pub(crate) fn secrets(&self) -> Secrets {
        Secrets::clone(&self.secrets.load())
    }

    pub(crate) fn set_secrets(&self, secrets: Secrets) {
        self.secrets.store(Arc::new(secrets));
    }

    pub(crate) fn tls(&self) -> Option<Arc<MeshTls>> {
        self.tls.load_full()
    }

    /// Nothing on a node without TLS.
    pub(crate) fn set_tls(&self, tls: MeshTls) {
        if self.config.tls.is_some() {
            self.tls.store(Some(Arc::new(tls)));
        }
    }

    pub(crate) fn me(&self) -> Member {
        self.me.read().clone()
    }

    /// Hands an event to the actor. It waits when the actor is behind, and does nothing when the actor has ended.
    pub(crate) async fn event(&self, event: Event) {
        let _ = self.events.send(event).await;
    }

    /// As [`Self::event`], for what a sibling has sent.
    pub(crate) async fn bulk(&self, item: Bulk) {
        let _ = self.bulk.send(item).await;
    }

    /// Notes that the process runs. Long gaps between two calls say that it did not.
    pub(crate) fn beat(&self) {
        let now = self.clock.now();
        let before = self.beat_ms.swap(now.0, Ordering::Relaxed);
        let gap = Duration::from_millis(now.0.saturating_sub(before));
        if gap > self.config.detection {
            self.suspended.store(true, Ordering::Relaxed);
            self.wake.notify_one();
        }
    }

    /// The time before the node joined does not count.
    pub(crate) fn beat_from_now(&self) {
        self.beat_ms.store(self.clock.now().0, Ordering::Relaxed);
    }

    /// Whether the process has been suspended for so long that the siblings have given it up. Says so once.
    ///
    /// It is judged by the heart, which does nothing else: a handler that takes long stops the actor, not the process.
    pub(super) fn take_suspended(&self) -> bool {
        self.beat();
        self.suspended.swap(false, Ordering::Relaxed)
    }

    pub(super) fn new_link(&self) -> LinkId {
        LinkId(self.next_link.fetch_add(1, Ordering::Relaxed))
    }
}
