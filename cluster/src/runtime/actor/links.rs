//! Links come up and go down, and with them the members.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio_util::sync::CancellationToken;

use super::super::dial;
use super::super::shared::{Admission, LinkRecord, MemberEntry};
use super::{Actor, In, Out};
use crate::cluster::Dialect;
use crate::forwarding::{SiblingInterest, Untold};
use crate::link::LinkQueue;
use crate::membership::LinkId;
use crate::net::Net;
use crate::wire::{Frame, Proof, Refusal};
use crate::{Member, NodeName, StateChannel};

impl<N: Net> Actor<N> {
    pub(super) fn out_up(
        &mut self,
        link: LinkId,
        address: SocketAddr,
        as_member: &Member,
        member: Member,
        queue: Arc<LinkQueue>,
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
        // From here on it is told the snapshot, as fast as it takes it, and then what changes.
        out.queue = Some(queue);
        "a new life of it was reached".clone_into(&mut self.because);
        self.membership.out_up(link, address, member, now);
    }

    pub(super) fn admit(
        &mut self,
        link: LinkId,
        proof: Proof,
        cancel: CancellationToken,
        done: CancellationToken,
        now: Duration,
    ) -> Result<Admission, Refusal> {
        let name = proof.identity.name.clone();
        "it has opened another link, of this life or of a new one".clone_into(&mut self.because);
        self.membership
            .admit(link, proof.identity, proof.uptime_ms, now)?;
        let inbound = In {
            cancel,
            interest: SiblingInterest::new(
                &self.shared.engine,
                self.shared.counters.clone(),
                self.shared.config.limits.frame_bytes,
            ),
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

    pub(super) fn state(
        &mut self,
        link: LinkId,
        channel: StateChannel,
        body: Bytes,
        now: Duration,
    ) {
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
            "it has sent too much before it joined".clone_into(&mut self.because);
            tracing::warn!(
                name = self.membership.at(link).as_ref().map(NodeName::as_str),
                link = link.0,
                "too much state before the sibling has joined"
            );
            self.membership.in_down(link, now);
            self.close_in(link);
        }
    }

    pub(super) fn dial(&mut self, address: SocketAddr, now: Duration) {
        let (link, cancel) = (self.shared.new_link(), self.shared.cancel.child_token());
        let out = Out {
            cancel: cancel.clone(),
            queue: None,
            untold: Untold::default(),
        };
        self.outs.insert(link, out);
        let uptime_ms = self.membership.uptime_ms(now);
        let (net, shared) = (self.net.clone(), self.shared.clone());
        let task = dial::dial(net, shared, link, address, uptime_ms, cancel);
        self.shared.tasks.spawn(Box::pin(task));
    }

    pub(super) fn close_out(&mut self, link: LinkId) {
        let Some(out) = self.outs.get(&link) else {
            return;
        };
        match &out.queue {
            // On purpose: the sibling is told, and what waits is still written.
            Some(queue) if self.leaving.is_some() => queue.close_after(&Frame::Leaving),
            _ => out.cancel.cancel(),
        }
    }

    pub(super) fn close_in(&mut self, link: LinkId) {
        if let Some(inbound) = self.ins.remove(&link) {
            // A node that leaves keeps its inbound links until its own are written out: a sibling that sees one of them
            // closed drops both.
            if self.leaving.is_none() {
                inbound.cancel.cancel();
            }
            self.forgotten.push_back(inbound.interest.forget());
            self.more = true;
        }
    }

    pub(super) fn member_joined(&mut self, member: Member, out: LinkId, inbound: LinkId) {
        let Some(queue) = self.outs.get(&out).and_then(|out| out.queue.clone()) else {
            return;
        };
        tracing::info!(name = %member.name, incarnation = %member.incarnation, address = %member.mesh_address, "joined");
        let name = member.name.clone();
        let entry = MemberEntry {
            member: member.clone(),
            link: queue.clone(),
            dialect: Dialect::Native,
        };
        self.shared.members.write().insert(name.clone(), entry);
        self.record_link(
            name,
            LinkRecord {
                queue: queue.clone(),
                up: true,
            },
        );
        self.joined.insert(inbound, member.clone());
        if let Some(link) = self.ins.get(&inbound) {
            link.interest.begin(queue);
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

    pub(super) fn member_left(&mut self, member: &Member) {
        let because = self.because.as_str();
        tracing::info!(name = %member.name, incarnation = %member.incarnation, address = %member.mesh_address, because, "left");
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
            if let Some(inbound) = self.ins.get(&link) {
                inbound.interest.end();
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
    pub(super) fn record_link(&self, name: NodeName, record: LinkRecord) {
        let mut links = self.shared.links.lock();
        links.insert(name, record);
        if links.len() > 2 * self.shared.config.siblings_max {
            links.retain(|_, record| record.up);
        }
    }
}
