//! What the siblings want, and what they are told of this node's wishes: in slices, so that no turn is long.

use super::Actor;
use crate::net::Net;
use crate::wire::Frame;
use crate::{InterestQuery, NodeName, Wanted};

/// Channels of siblings that are taken in, or forgotten, between two looks at the events.
pub(super) const CHANNELS_PER_TURN: usize = 256;
/// Interest frames that are queued between two looks at the events, over all links.
const FRAMES_PER_TURN: usize = 32;
/// Changes of this node's own interest that are taken over between two looks at the events.
const CHANGES_PER_TURN: usize = 1024;

impl<N: Net> Actor<N> {
    /// Takes in a slice of the interest of a sibling. Says whether there is more.
    pub(super) fn work(&mut self) -> bool {
        let Some((link, interest, done)) = self.work.take() else {
            return false;
        };
        let Some(inbound) = self.ins.get_mut(&link) else {
            return false;
        };
        let added = interest.added.len();
        let (until, total) = (done + CHANNELS_PER_TURN, added + interest.removed.len());
        let (limit, engine) = (
            self.shared.config.limits.interest_channels,
            &self.shared.engine,
        );
        for n in done..until.min(total) {
            let Some(name) = interest.added.get(n) else {
                inbound
                    .interest
                    .remove(&interest.removed[n - added], engine);
                continue;
            };
            if let Some(forgotten) = inbound.interest.add(name, limit, engine) {
                self.shared.counters.interest_coarse.add(1);
                tracing::warn!(
                    name = self.membership.at(link).as_ref().map(NodeName::as_str),
                    limit,
                    "a sibling asks for too many channels: it is sent everything"
                );
                self.forgotten.push_back(forgotten);
            }
        }
        if until < total {
            self.work = Some((link, interest, until));
            return true;
        }
        if interest.snapshot_end {
            self.membership.snapshot(link);
        }
        false
    }

    /// Forgets a slice of what siblings that have gone wanted. Says whether there is more.
    pub(super) fn forget(&mut self) -> bool {
        if let Some(first) = self.forgotten.front_mut()
            && first.proceed(CHANNELS_PER_TURN, &self.shared.engine)
        {
            self.forgotten.pop_front();
        }
        !self.forgotten.is_empty()
    }

    pub(super) fn report_interest(&self, query: &InterestQuery) -> Vec<(NodeName, Wanted)> {
        let wanted = self.joined.iter().filter_map(|(link, member)| {
            let inbound = self.ins.get(link)?;
            Some((member.name.clone(), inbound.interest.report(query)))
        });
        let mut wanted: Vec<_> = wanted.collect();
        wanted.sort_by(|a, b| a.0.cmp(&b.0));
        wanted
    }

    /// Tells the siblings a slice of what they have not been told, each as much as its queue has room for. Says whether
    /// there is more that can be told at once.
    pub(super) fn announce(&mut self) -> bool {
        let interest = &self.shared.interest;
        let changes = interest.take_changes(CHANGES_PER_TURN);
        if !changes.is_empty() {
            for out in self.outs.values_mut().filter(|out| out.queue.is_some()) {
                out.untold.changed(&changes, interest);
            }
            if let Some(oort) = self.shared.oort.get() {
                oort.interest(&changes);
            }
        }
        let mut room = FRAMES_PER_TURN;
        // In turn, so that the budget goes round; the first links again after the last ones.
        let (before, after): (Vec<_>, Vec<_>) = self
            .outs
            .iter_mut()
            .filter(|(_, out)| !out.untold.is_empty())
            .partition(|(link, _)| **link < self.next_told);
        for (link, out) in after.into_iter().chain(before) {
            let Some(queue) = &out.queue else { continue };
            while queue.has_room_for_interest() {
                if room == 0 {
                    self.next_told = *link;
                    return true;
                }
                let Some(frame) = out.untold.next(interest) else {
                    break;
                };
                room -= 1;
                let end = frame.snapshot_end;
                if end || !frame.added.is_empty() || !frame.removed.is_empty() {
                    // A link that has been reset starts over with a snapshot.
                    let _ = queue.push_control(&Frame::Interest(frame));
                }
                if end {
                    queue.snapshot_queued();
                }
            }
        }
        interest.has_changes()
    }
}
