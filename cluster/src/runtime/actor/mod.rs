//! The task that owns the membership: it feeds it events and carries out its commands.

mod foreign;
mod interest;
mod links;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_bayeux::EndReason;
use tokio::sync::oneshot;
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::shared::{Bulk, Event, Receivers, Shared};
use super::tasks::warn;
use crate::counters::Problem;
use crate::forwarding::{Forgotten, SiblingInterest, Untold};
use crate::link::{LinkEnd, LinkQueue};
use crate::membership::{Command, Conflict, LinkId, Membership, Settings};
use crate::net::Net;
use crate::wire::{Frame, Interest, Refusal};
use crate::{Incarnation, Member, MembershipListener, NodeName, StateChannel, StateHandler};

/// How often the membership's timers are looked at. Far below the shortest detection time.
const TICK: Duration = Duration::from_millis(50);
/// How often the state handlers are ticked.
const STATE_TICK: Duration = Duration::from_millis(250);
/// How long a node that leaves waits for its last frames to be written.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// A link that this node opened.
#[derive(Debug)]
struct Out {
    cancel: CancellationToken,
    /// Absent while it is being dialled.
    queue: Option<Arc<LinkQueue>>,
    /// What is to be told once there is room in the queue.
    untold: Untold,
}

/// A link that a sibling opened.
#[derive(Debug)]
struct In {
    cancel: CancellationToken,
    interest: SiblingInterest,
    /// State that came before the sibling joined here, because it saw both links first.
    early: Vec<(StateChannel, Bytes)>,
    early_bytes: usize,
}

/// The actor.
pub(crate) struct Actor<N> {
    net: N,
    shared: Arc<Shared>,
    membership: Membership,
    outs: BTreeMap<LinkId, Out>,
    ins: BTreeMap<LinkId, In>,
    /// Members with the link on which each speaks.
    joined: BTreeMap<LinkId, Member>,
    /// The reader of the last link of each sibling, to keep the next one from overtaking it.
    readers: BTreeMap<NodeName, CancellationToken>,
    handlers: BTreeMap<StateChannel, Arc<dyn StateHandler>>,
    listeners: Vec<Arc<dyn MembershipListener>>,
    ticked: Duration,
    state_tick: Duration,
    leaving: Option<(Instant, oneshot::Sender<()>)>,
    /// An interest frame that is being taken in, and how far.
    work: Option<(LinkId, Interest, usize)>,
    /// Patterns of siblings that have gone.
    forgotten: VecDeque<Forgotten>,
    /// The link that is told first in the next turn.
    next_told: LinkId,
    /// There is more to be done without waiting for anything.
    more: bool,
    /// Why a sibling that leaves now does so, for the log.
    because: String,
}

/// Tells the status when the actor ends in any other way than it should.
struct Watch(Arc<Shared>);

impl Drop for Watch {
    fn drop(&mut self) {
        let mut status = self.0.status.lock();
        status.listening = false;
        if !self.0.cancel.is_cancelled() {
            status.failed = true;
        }
        drop(status);
        self.0.cancel.cancel();
    }
}

impl<N: Net> Actor<N> {
    pub(crate) fn new(net: N, shared: Arc<Shared>) -> Self {
        let now = shared.clock.elapsed();
        let settings = Settings {
            allow: shared.config.allow.clone(),
            siblings_max: shared.config.siblings_max,
            backoff_max: shared.config.backoff_max,
        };
        let membership = Membership::new(shared.me(), settings, shared.random.clone(), now);
        Self {
            net,
            membership,
            outs: BTreeMap::new(),
            ins: BTreeMap::new(),
            joined: BTreeMap::new(),
            readers: BTreeMap::new(),
            handlers: BTreeMap::new(),
            listeners: Vec::new(),
            ticked: Duration::ZERO,
            state_tick: now,
            leaving: None,
            work: None,
            forgotten: VecDeque::new(),
            next_told: LinkId(0),
            more: false,
            because: String::new(),
            shared,
        }
    }

    /// Runs until the node has left or is stopped.
    ///
    /// In turns: one event, then a slice of what siblings have sent, then a slice of what they are to be told. No turn
    /// is long, and an event waits for one turn, however many channels anybody wants.
    pub(crate) async fn run(mut self, receivers: Receivers) {
        let Receivers {
            mut events,
            mut bulk,
        } = receivers;
        let shared = self.shared.clone();
        let _watch = Watch(shared.clone());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let (mut event, mut item) = (None, None);
            if self.more {
                tokio::task::yield_now().await;
                if shared.cancel.is_cancelled() {
                    break;
                }
                event = events.try_recv().ok();
            } else {
                tokio::select! {
                    biased;
                    () = shared.cancel.cancelled() => break,
                    () = shared.wake.notified() => {}
                    _ = tick.tick() => {}
                    some = events.recv() => event = some,
                    () = shared.interest.woken() => {}
                    some = bulk.recv() => item = some,
                }
            }
            let now = shared.clock.elapsed();
            if shared.take_suspended() {
                self.start_over(now);
            }
            self.take_registrations();
            if let Some(event) = event {
                // Taking the event may have woken the reader that waited for room, on this very thread. It goes first:
                // it must be able to say that the node lives while the handlers are at work.
                tokio::task::yield_now().await;
                self.handle(event, now);
                self.perform(now);
            }
            if item.is_none() && self.work.is_none() {
                item = bulk.try_recv().ok();
            }
            if let Some(item) = item {
                tokio::task::yield_now().await;
                self.take_in(item, now);
            }
            self.more = self.work();
            self.more |= self.forget();
            self.more |= self.announce();
            self.tick(now);
            self.perform(now);
            if self.left() {
                break;
            }
        }
        if self.leaving.is_none() {
            "this node stops".clone_into(&mut self.because);
        }
        self.membership.leave(shared.clock.elapsed());
        self.perform(shared.clock.elapsed());
        shared.cancel.cancel();
        if let Some((_, done)) = self.leaving.take() {
            let _ = done.send(());
        }
        self.forgotten.extend(
            std::mem::take(&mut self.ins)
                .into_values()
                .map(|inbound| inbound.interest.forget()),
        );
        while self.forget() {
            tokio::task::yield_now().await;
        }
    }

    fn take_in(&mut self, item: Bulk, now: Duration) {
        match item {
            Bulk::Interest(link, interest) => self.work = Some((link, interest, 0)),
            Bulk::State(link, channel, body, _permit) => self.state(link, channel, body, now),
            Bulk::Foreign(foreign) => self.foreign(foreign),
            Bulk::SiblingLeaves(link) => {
                "it leaves on purpose".clone_into(&mut self.because);
                self.membership.sibling_leaves(link, now);
            }
        }
    }

    fn handle(&mut self, event: Event, now: Duration) {
        match event {
            Event::Learned(address, source) => self.membership.learn(address, source, now),
            Event::DialFailed {
                address,
                refusal: None,
            } => {
                self.membership.dial_failed(address, now);
            }
            Event::DialFailed {
                address,
                refusal: Some(refusal),
            } => {
                if refusal != Refusal::SelfConnection {
                    tracing::info!(%address, %refusal, "refused by a sibling");
                }
                self.membership.refused(address, &refusal, now);
            }
            Event::OutUp {
                link,
                address,
                as_member,
                member,
                queue,
            } => {
                self.out_up(link, address, &as_member, member, queue, now);
            }
            Event::OutDown { link, end } => {
                self.outs.remove(&link);
                self.log_end("outbound", link, &end);
                self.membership.out_down(link, now);
            }
            Event::Admit {
                link,
                proof,
                cancel,
                done,
                reply,
            } => {
                let answer = self.admit(link, proof, cancel, done, now);
                // When the task is gone, so is the link, and it says so by `InDown`; if not even that, the sibling's
                // silence does.
                let _ = reply.send(answer);
            }
            Event::Known(link, addresses) => {
                if self.ins.contains_key(&link) {
                    self.membership.known(&addresses, now);
                }
            }
            Event::ReportInterest(query, reply) => {
                // Whoever asked may have given up.
                let _ = reply.send(self.report_interest(&query));
            }
            Event::InDown { link, end } => {
                self.log_end("inbound", link, &end);
                self.membership.in_down(link, now);
                self.close_in(link);
            }
        }
    }

    /// Says which link has ended, and keeps the reason for what comes of it.
    fn log_end(&mut self, direction: &str, link: LinkId, end: &LinkEnd) {
        self.because = format!("the {direction} link has ended: {end}");
        if *end != LinkEnd::Cancelled
            && let Some(name) = self.membership.at(link)
        {
            tracing::info!(%name, direction, link = link.0, %end, "a link has ended");
        }
    }

    /// What is to be done from time to time, however many events come in.
    fn tick(&mut self, now: Duration) {
        if now.saturating_sub(self.ticked) < TICK {
            return;
        }
        self.ticked = now;
        self.membership.tick(now);
        self.publish_status(now);
        if now.saturating_sub(self.state_tick) >= STATE_TICK {
            self.state_tick = now;
            *self.shared.known.write() = self.membership.ips();
            self.shared.settle_losses(now);
            for handler in self.handlers.values() {
                handler.tick();
            }
        }
    }

    fn take_registrations(&mut self) {
        let new = std::mem::take(&mut *self.shared.registrations.lock());
        for (channel, handler) in new.handlers {
            for member in self.joined.values() {
                handler.joined(member);
            }
            self.handlers.insert(channel, handler);
        }
        for listener in new.listeners {
            for member in self.joined.values() {
                listener.joined(member);
            }
            self.listeners.push(listener);
        }
        let leave = self.shared.leave.lock().take();
        if let (Some(done), None) = (leave, &self.leaving) {
            self.leaving = Some((Instant::now() + LEAVE_TIMEOUT, done));
            self.shared.status.lock().leaving = true;
            "this node leaves".clone_into(&mut self.because);
            self.membership.leave(self.shared.clock.elapsed());
        }
    }

    /// Whether a node that leaves is done.
    fn left(&self) -> bool {
        let Some((deadline, _)) = &self.leaving else {
            return false;
        };
        self.outs.is_empty() || Instant::now() >= *deadline
    }

    fn perform(&mut self, now: Duration) {
        // Handlers may do what leads to further commands only through events, so one pass is enough; the loop is for
        // what `joined` adds.
        loop {
            let commands = self.membership.commands();
            if commands.is_empty() {
                return;
            }
            for command in commands {
                self.perform_one(command, now);
            }
        }
    }

    fn perform_one(&mut self, command: Command, now: Duration) {
        match command {
            Command::Dial(address) => self.dial(address, now),
            Command::CloseOut(link) => self.close_out(link),
            Command::CloseIn(link) => self.close_in(link),
            Command::Joined {
                member,
                out,
                inbound,
            } => self.member_joined(member, out, inbound),
            Command::Left(member) => self.member_left(&member),
            Command::Twins(Conflict { name, holder }) => {
                self.shared.counters.name_conflicts.add(1);
                let problem = format!(
                    "two live nodes are called {name} and give this address: one is refused"
                );
                warn(Problem::NameConflict, &self.shared, holder, &problem);
            }
            Command::SendKnown(link, addresses) => {
                if let Some(queue) = self.outs.get(&link).and_then(|out| out.queue.as_ref()) {
                    let _ = queue.push_control(&Frame::Known(addresses));
                }
            }
        }
    }

    /// The process was suspended for so long that the siblings have given it up. It must not go on with what it knew.
    fn start_over(&mut self, now: Duration) {
        tracing::warn!("the process was suspended: the node starts over");
        self.shared.counters.suspensions.add(1);
        let incarnation = Incarnation(self.shared.random.next_u64());
        "this node starts over".clone_into(&mut self.because);
        self.membership.restart(incarnation, now);
        self.shared.me.write().incarnation = incarnation;
        self.perform(now);
        self.leave_foreign();
        self.shared
            .engine
            .end_all_sessions(EndReason::NodeSuspended, self.shared.clock.now());
        let me = self.membership.me().clone();
        for handler in self.handlers.values() {
            handler.restarted(&me);
        }
    }

    fn publish_status(&self, now: Duration) {
        let mut status = self.shared.status.lock();
        status.conflicts = self.membership.conflicts(now);
        status.members = self.joined.len();
        status.addresses = self.membership.addresses_known();
    }
}

#[cfg(test)]
mod tests;
