//! Members whose links are not of the native dialect: the handlers and listeners hear of them as of all others.

use super::super::shared::MemberEntry;
use super::Actor;
use crate::cluster::Dialect;
use crate::net::Net;
use crate::oort::Foreign;
use crate::{Member, NodeId};

impl<N: Net> Actor<N> {
    pub(super) fn foreign(&mut self, foreign: Foreign) {
        match foreign {
            Foreign::Joined(member, link) => {
                if let Some(other) = self.shared.members.read().get(&member.name) {
                    tracing::warn!(name = %member.name, id = %other.member.id(), "an Oort node has the name of a member");
                    return;
                }
                tracing::info!(name = %member.name, incarnation = %member.incarnation, url = member.client_url, "joined");
                let entry = MemberEntry {
                    member: member.clone(),
                    link,
                    dialect: Dialect::Oort,
                };
                self.shared
                    .members
                    .write()
                    .insert(member.name.clone(), entry);
                self.joined.insert(self.shared.new_link(), member.clone());
                for handler in self.handlers.values() {
                    handler.joined(&member);
                }
                for listener in &self.listeners {
                    listener.joined(&member);
                }
            }
            Foreign::Left(id, because) => {
                if let Some(member) = self.foreign_member(&id) {
                    because.clone_into(&mut self.because);
                    self.member_left(&member);
                }
            }
            Foreign::State(id, channel, body) => {
                let Some(member) = self.foreign_member(&id) else {
                    return;
                };
                match self.handlers.get(&channel) {
                    Some(handler) => handler.received(&member, body),
                    None => self.shared.counters.state_unhandled.add(1),
                }
            }
        }
    }

    fn foreign_member(&self, id: &NodeId) -> Option<Member> {
        let members = self.shared.members.read();
        let entry = members.get(&id.name)?;
        (entry.dialect == Dialect::Oort && entry.member.incarnation == id.incarnation)
            .then(|| entry.member.clone())
    }

    /// The node starts over: all members of other dialects leave, and their task begins again.
    pub(super) fn leave_foreign(&mut self) {
        let members: Vec<Member> = {
            let members = self.shared.members.read();
            let foreign = members.values().filter(|m| m.dialect == Dialect::Oort);
            foreign.map(|entry| entry.member.clone()).collect()
        };
        for member in members {
            self.member_left(&member);
        }
        if let Some(oort) = self.shared.oort.get() {
            oort.restarted();
        }
    }
}
