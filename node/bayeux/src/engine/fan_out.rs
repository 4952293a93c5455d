use super::Engine;
use super::filters::RefusedByFilter;
use crate::session::{Enqueued, Session};
use crate::tree::Receiver;
use crate::{ChannelKind, Delivery, EndReason, Millis, Publication, SessionId};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What one publish has done, counted locally and added up once.
#[derive(Default)]
struct Tally {
    reached: usize,
    queued_bytes: i64,
    overflowed: Vec<Arc<Session>>,
}

impl Tally {
    fn add(&mut self, outcome: Enqueued, session: &Arc<Session>, bytes: usize) {
        match outcome {
            Enqueued::Refused => {}
            Enqueued::Received => self.reached += 1,
            Enqueued::Queued => {
                self.reached += 1;
                self.queued_bytes += bytes as i64;
            }
            Enqueued::Thinned {
                queued,
                removed_bytes,
            } => {
                self.reached += usize::from(queued);
                self.queued_bytes += if queued { bytes as i64 } else { 0 } - removed_bytes;
            }
            Enqueued::Overflow { dropped_bytes } => {
                self.queued_bytes -= dropped_bytes as i64;
                self.overflowed.push(session.clone());
            }
        }
    }
}

impl Engine {
    /// Publishes on a broadcast channel to this node's sessions and to taps, as if a client had, but without asking the policy. Returns
    /// the number of sessions reached. A channel that is not a broadcast channel reaches nobody.
    pub fn publish(&self, publication: &Arc<Publication>, now: Millis) -> usize {
        if self.publication_stopped(publication, now) {
            return 0;
        }
        if self.filters_nothing() {
            return self.fan_out(&self.stamped(publication, false, now), None, true, now);
        }
        let channel = publication.channel();
        match self.filtered_data(None, channel, publication.data()) {
            Err(RefusedByFilter) => 0,
            Ok(None) => self.fan_out(&self.stamped(publication, false, now), None, true, now),
            Ok(Some(data)) => {
                let publication = publication.with_data(&data);
                self.fan_out(&self.stamped(&publication, false, now), None, true, now)
            }
        }
    }

    /// Publishes what a sibling sent: to this node's sessions only, never to taps, so that it travels one hop.
    pub fn publish_from_sibling(&self, publication: &Arc<Publication>, now: Millis) -> usize {
        self.fan_out(&self.stamped(publication, true, now), None, false, now)
    }

    /// Delivers to one session, on any channel. False when there is no such session or its queue overflowed.
    pub fn deliver(&self, id: &SessionId, publication: &Arc<Publication>, now: Millis) -> bool {
        let Some(session) = self.session(id) else {
            return false;
        };
        self.deliver_at(&session, publication, now)
    }

    /// Delivers to this session. False when it has ended or its queue overflowed.
    pub fn deliver_to(&self, session: &Arc<Session>, publication: &Arc<Publication>) -> bool {
        self.deliver_at(session, publication, self.latest())
    }

    fn deliver_at(
        &self,
        session: &Arc<Session>,
        publication: &Arc<Publication>,
        now: Millis,
    ) -> bool {
        let mut tally = Tally::default();
        let publication = self.stamped(publication, false, now);
        let lazy = self.lazy_until(&publication, now);
        self.hand_over(session, &publication, lazy, &mut tally);
        self.settle(tally) == 1
    }

    pub(super) fn fan_out(
        &self,
        publication: &Arc<Publication>,
        publisher: Option<&Arc<Session>>,
        taps: bool,
        now: Millis,
    ) -> usize {
        let channel = publication.channel();
        if channel.kind() != ChannelKind::Broadcast {
            return 0;
        }
        let skipped = publisher
            .filter(|session| !self.broadcasts_to_publisher(session, channel))
            .map(|session| session.key());
        let lazy = self.lazy_until(publication, now);
        let mut tally = Tally::default();
        self.tree
            .for_each_receiver(channel, |subscriber| match &subscriber.receiver {
                Receiver::Session(session) => {
                    if skipped != Some(subscriber.key) {
                        self.hand_over(session, publication, lazy, &mut tally);
                    }
                }
                Receiver::Tap(tap) => {
                    if taps {
                        tap.publication(publication);
                    }
                }
            });
        self.settle(tally)
    }

    fn hand_over(
        &self,
        session: &Arc<Session>,
        publication: &Arc<Publication>,
        lazy: Option<Millis>,
        tally: &mut Tally,
    ) {
        if !self.sees_deliveries.load(Ordering::Relaxed) {
            let outcome = self.enqueue(session, publication, lazy);
            tally.add(outcome, session, publication.len());
            return;
        }
        let mut replaced = None;
        let (all, own) = (
            self.extensions.load(),
            self.session_extensions(Some(session)),
        );
        let extensions = all.iter().rev().chain(own.iter().rev());
        for extension in extensions.filter(|e| e.sees_deliveries()) {
            match extension.outgoing_delivery(session, replaced.as_ref().unwrap_or(publication)) {
                Delivery::Unchanged => {}
                Delivery::Replace(other) => replaced = Some(other),
                Delivery::Drop => return,
            }
        }
        let publication = replaced.as_ref().unwrap_or(publication);
        let outcome = self.enqueue(session, publication, lazy);
        tally.add(outcome, session, publication.len());
    }

    fn enqueue(
        &self,
        session: &Arc<Session>,
        publication: &Arc<Publication>,
        lazy: Option<Millis>,
    ) -> Enqueued {
        match lazy.filter(|_| !session.is_local()) {
            None => session.enqueue(publication, self.queue_limits()),
            Some(until) => self.enqueue_lazy(session, publication, until),
        }
    }

    fn settle(&self, tally: Tally) -> usize {
        if tally.reached > 0 {
            self.counters.delivered.add(tally.reached as i64);
        }
        if tally.queued_bytes != 0 {
            self.counters.queue_bytes.add(tally.queued_bytes);
        }
        if !tally.overflowed.is_empty() {
            for session in &tally.overflowed {
                tracing::info!(session = session.key(), reason = ?EndReason::QueueOverflow, "session ended");
            }
            self.counters.overflows.add(tally.overflowed.len() as i64);
            self.overflowed.lock().extend(tally.overflowed);
        }
        tally.reached
    }
}
