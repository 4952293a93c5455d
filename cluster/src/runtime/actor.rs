//! The task that owns the membership: it feeds it events and carries out its commands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use halley_bayeux::EndReason;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use super::shared::{Admission, Event, LinkRecord, MemberEntry, Shared};
use super::tasks;
use crate::forwarding::SiblingInterest;
use crate::link::{LinkEnd, LinkQueue};
use crate::membership::{Command, LinkId, Membership, Settings};
use crate::net::Net;
use crate::wire::{Frame, Interest, Proof, Refusal};
use crate::{
    Incarnation, InterestQuery, Member, MembershipListener, NodeName, StateChannel, StateHandler,
    Wanted,
};

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
    rtt_us: Arc<AtomicU64>,
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
            shared,
        }
    }

    /// Runs until the node has left or is stopped.
    pub(crate) async fn run(mut self, mut events: mpsc::Receiver<Event>) {
        let shared = self.shared.clone();
        let _watch = Watch(shared.clone());
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let event = tokio::select! {
                biased;
                () = shared.cancel.cancelled() => break,
                () = shared.wake.notified() => None,
                _ = tick.tick() => None,
                () = shared.interest.woken() => None,
                event = events.recv() => event,
            };
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
            }
            self.announce();
            self.tick(now);
            self.perform(now);
            if self.left() {
                break;
            }
        }
        self.membership.leave(shared.clock.elapsed());
        self.perform(shared.clock.elapsed());
        shared.cancel.cancel();
        if let Some((_, done)) = self.leaving.take() {
            let _ = done.send(());
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
                rtt_us,
            } => {
                self.out_up(link, address, &as_member, member, queue, rtt_us, now);
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
            Event::Interest(link, interest) => self.interest(link, &interest, now),
            Event::Known(link, addresses) => {
                if self.ins.contains_key(&link) {
                    self.membership.known(&addresses, now);
                }
            }
            Event::State(link, channel, body, _permit) => self.state(link, channel, body, now),
            Event::SiblingLeaves(link) => self.membership.sibling_leaves(link, now),
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

    fn report_interest(&self, query: &InterestQuery) -> Vec<(NodeName, Wanted)> {
        let wanted = self.joined.iter().filter_map(|(link, member)| {
            let inbound = self.ins.get(link)?;
            Some((member.name.clone(), inbound.interest.report(query)))
        });
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        wanted
    }

    fn log_end(&self, direction: &str, link: LinkId, end: &LinkEnd) {
        if *end != LinkEnd::Cancelled {
            tracing::info!(direction, link = link.0, %end, "a link has ended");
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one event")]
    fn out_up(
        &mut self,
        link: LinkId,
        address: SocketAddr,
        as_member: &Member,
        member: Member,
        queue: Arc<LinkQueue>,
        rtt_us: Arc<AtomicU64>,
        now: Duration,
    ) {
        let Some(out) = self.outs.get_mut(&link) else {
            return;
        };
        if as_member.incarnation != self.membership.me().incarnation {
            // This node has started over in the meantime: the sibling holds the link for that of its former life.
            out.cancel.cancel();
            self.membership.dial_failed(address, now);
            return;
        }
        // The snapshot goes first; the deltas, which this task sends too, follow.
        for frame in self.shared.interest.snapshot() {
            let _ = queue.push_control(&Frame::Interest(frame));
        }
        (out.queue, out.rtt_us) = (Some(queue), rtt_us);
        self.membership.out_up(link, address, member, now);
    }

    fn admit(
        &mut self,
        link: LinkId,
        proof: Proof,
        cancel: CancellationToken,
        done: CancellationToken,
        now: Duration,
    ) -> Result<Admission, Refusal> {
        let name = proof.identity.name.clone();
        self.membership
            .admit(link, proof.identity, proof.uptime_ms, now)?;
        let inbound = In {
            cancel,
            interest: SiblingInterest::default(),
            early: Vec::new(),
            early_bytes: 0,
        };
        self.ins.insert(link, inbound);
        // Readers that have ended need not be remembered, so that the map stays as small as the cluster.
        self.readers
            .retain(|other, reader| *other == name || !reader.is_cancelled());
        let after = self.readers.insert(name, done);
        // Nothing of the former link may be delivered any more: it is closed now, not after this event.
        self.perform(now);
        Ok(Admission {
            me: self.membership.me().clone(),
            after,
        })
    }

    fn interest(&mut self, link: LinkId, interest: &Interest, now: Duration) {
        let Some(inbound) = self.ins.get_mut(&link) else {
            return;
        };
        let limit = self.shared.config.limits.interest_channels;
        if inbound
            .interest
            .apply(interest, limit, &self.shared.engine)
            .is_err()
        {
            tracing::warn!(link = link.0, limit, "a sibling asks for too many channels");
            self.membership.in_down(link, now);
            self.close_in(link);
        } else if interest.snapshot_end {
            self.membership.snapshot(link);
        }
    }

    fn state(&mut self, link: LinkId, channel: StateChannel, body: Bytes, now: Duration) {
        if let Some(member) = self.joined.get(&link) {
            match self.handlers.get(&channel) {
                Some(handler) => handler.received(member, body),
                None => self.shared.counters.state_unhandled.add(1),
            }
            return;
        }
        let Some(inbound) = self.ins.get_mut(&link) else {
            return;
        };
        inbound.early_bytes += body.len() + 64;
        inbound.early.push((channel, body));
        if inbound.early_bytes > self.shared.config.limits.state_queue_bytes {
            tracing::warn!(
                link = link.0,
                "too much state before the sibling has joined"
            );
            self.membership.in_down(link, now);
            self.close_in(link);
        }
    }

    /// Tells all siblings what this node wants anew and no more.
    fn announce(&mut self) {
        for frame in self.shared.interest.deltas() {
            let frame = Frame::Interest(frame);
            for queue in self.outs.values().filter_map(|out| out.queue.as_ref()) {
                // A full queue has marked itself: the link is reset and starts with a snapshot.
                let _ = queue.push_control(&frame);
            }
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
            Command::SendKnown(link, addresses) => {
                if let Some(queue) = self.outs.get(&link).and_then(|out| out.queue.as_ref()) {
                    let _ = queue.push_control(&Frame::Known(addresses));
                }
            }
        }
    }

    fn dial(&mut self, address: SocketAddr, now: Duration) {
        let (link, cancel) = (self.shared.new_link(), self.shared.cancel.child_token());
        let out = Out {
            cancel: cancel.clone(),
            queue: None,
            rtt_us: Arc::default(),
        };
        self.outs.insert(link, out);
        let uptime_ms = self.membership.uptime_ms(now);
        let (net, shared) = (self.net.clone(), self.shared.clone());
        let task = tasks::dial(net, shared, link, address, uptime_ms, cancel);
        self.shared.tasks.spawn(Box::pin(task));
    }

    fn close_out(&mut self, link: LinkId) {
        let Some(out) = self.outs.get(&link) else {
            return;
        };
        match &out.queue {
            // On purpose: the sibling is told, and what waits is still written.
            Some(queue) if self.leaving.is_some() => queue.close_after(&Frame::Leaving),
            _ => out.cancel.cancel(),
        }
    }

    fn close_in(&mut self, link: LinkId) {
        if let Some(mut inbound) = self.ins.remove(&link) {
            // A node that leaves keeps its inbound links until its own are written out: a sibling that sees one of them
            // closed drops both.
            if self.leaving.is_none() {
                inbound.cancel.cancel();
            }
            inbound.interest.end(&self.shared.engine);
        }
    }

    fn member_joined(&mut self, member: Member, out: LinkId, inbound: LinkId) {
        let Some((queue, rtt_us)) = self
            .outs
            .get(&out)
            .and_then(|out| Some((out.queue.clone()?, out.rtt_us.clone())))
        else {
            return;
        };
        tracing::info!(name = %member.name, incarnation = %member.incarnation, address = %member.mesh_address, "joined");
        let name = member.name.clone();
        let entry = MemberEntry {
            member: member.clone(),
            queue: queue.clone(),
        };
        self.shared.members.write().insert(name.clone(), entry);
        self.record_link(
            name,
            LinkRecord {
                queue: queue.clone(),
                rtt_us,
                up: true,
            },
        );
        self.joined.insert(inbound, member.clone());
        if let Some(link) = self.ins.get_mut(&inbound) {
            let counters = self.shared.counters.clone();
            let frame_bytes = self.shared.config.limits.frame_bytes;
            link.interest
                .begin(&self.shared.engine, queue, counters, frame_bytes);
        }
        for handler in self.handlers.values() {
            handler.joined(&member);
        }
        for listener in &self.listeners {
            listener.joined(&member);
        }
        let early = self
            .ins
            .get_mut(&inbound)
            .map(|link| std::mem::take(&mut link.early));
        for (channel, body) in early.unwrap_or_default() {
            match self.handlers.get(&channel) {
                Some(handler) => handler.received(&member, body),
                None => self.shared.counters.state_unhandled.add(1),
            }
        }
    }

    fn member_left(&mut self, member: &Member) {
        tracing::info!(name = %member.name, incarnation = %member.incarnation, "left");
        self.shared.members.write().remove(&member.name);
        if let Some(record) = self.shared.links.lock().get_mut(&member.name) {
            record.up = false;
        }
        let link = self
            .joined
            .iter()
            .find(|(_, m)| m.id() == member.id())
            .map(|(link, _)| *link);
        if let Some(link) = link {
            self.joined.remove(&link);
            if let Some(inbound) = self.ins.get_mut(&link) {
                inbound.interest.end(&self.shared.engine);
            }
        }
        for handler in self.handlers.values() {
            handler.left(member);
        }
        for listener in &self.listeners {
            listener.left(member);
        }
    }

    /// Keeps the record of a link, and no more records of departed siblings than there may be siblings.
    fn record_link(&self, name: NodeName, record: LinkRecord) {
        let mut links = self.shared.links.lock();
        links.insert(name, record);
        if links.len() > 2 * self.shared.config.siblings_max {
            links.retain(|_, record| record.up);
        }
    }

    /// The process was suspended for so long that the siblings have given it up. It must not go on with what it knew.
    fn start_over(&mut self, now: Duration) {
        tracing::warn!("the process was suspended: the node starts over");
        self.shared.counters.suspensions.add(1);
        let incarnation = Incarnation(self.shared.random.next_u64());
        self.membership.restart(incarnation, now);
        self.shared.me.write().incarnation = incarnation;
        self.perform(now);
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
