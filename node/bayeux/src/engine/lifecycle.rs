use super::Engine;
use crate::session::{Binding, HoldPlace, LocalReceiver, NEVER, Session, State, Transport};
use crate::wheel::Entry;
use crate::{Activity, Attachment, EndReason, Millis, Publication, SessionId, UserId};
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// When channels and browsers are swept next.
#[derive(Debug, Default)]
pub(super) struct Sweeps {
    next: Millis,
}

impl Engine {
    /// Makes a session and makes it known. It expires only once its handshake reply is reported as written or lost.
    pub(super) fn add_session(
        &self,
        transport: Transport,
        user: Option<UserId>,
        attachment: Option<Attachment>,
        browser: Option<Box<str>>,
        local: Option<Arc<dyn LocalReceiver>>,
        acknowledges: bool,
    ) -> Arc<Session> {
        let deliver_only = acknowledges || self.config.meta_connect_deliver_only;
        let mut state = State::new(transport, deliver_only);
        state.acks = acknowledges.then(Box::default);
        let session = Session::new(
            SessionId::random(),
            self.draw_key(),
            user,
            attachment,
            browser,
            local,
            state,
        );
        self.sessions.pin().insert(*session.id(), session.clone());
        self.counters.handshakes.add(1);
        for listener in self.session_listeners.load().iter() {
            listener.added(&session);
        }
        session
    }

    /// Ends a session. False when there is none with this id.
    pub fn end_session(&self, id: &SessionId, reason: EndReason, now: Millis) -> bool {
        self.session(id)
            .is_some_and(|session| self.end(&session, reason, now))
    }

    /// Ends all sessions but local ones, which belong to code of this node.
    pub fn end_all_sessions(&self, reason: EndReason, now: Millis) {
        for session in self.sessions() {
            if !session.is_local() {
                self.end(&session, reason, now);
            }
        }
    }

    /// Drops what waits for an ended session if no connection is left that will fetch it.
    pub(super) fn abandon(&self, state: &mut State) {
        let fetched = state.is_live()
            || state.batch > 0
            || matches!(state.binding, Binding::WebSocket(..))
            || matches!(&state.hold, Some(hold) if matches!(hold.place, HoldPlace::Http(_)));
        if !fetched {
            state.hold = None;
            self.take_queue(state);
        }
    }

    /// Takes all that waits for a session, out of the statistics too.
    pub(super) fn take_queue(&self, state: &mut State) -> VecDeque<Arc<Publication>> {
        if state.queue_bytes > 0 {
            self.counters.queue_bytes.add(-(state.queue_bytes as i64));
        }
        state.take_queue()
    }

    /// Events leave for the client, which counts as activity where that is configured (reference 8.2).
    pub(super) fn note_sent(&self, state: &mut State, events: usize, now: Millis) {
        if events > 0 && self.config.activity == Activity::ClientServer {
            state.active_at = now;
        }
    }

    /// Ends a session unless it has ended already. Its connections are told after listeners and channels.
    pub(super) fn end(&self, session: &Arc<Session>, reason: EndReason, now: Millis) -> bool {
        let wakers = {
            let mut state = session.state.lock();
            if !state.is_live() {
                return false;
            }
            let before = state.queue_bytes as i64;
            if reason == EndReason::Server {
                let farewell = self.stamped(&self.server_disconnect, false, now);
                state.queue_bytes += farewell.len();
                state.queue.push_back(farewell.into_owned());
            }
            let wakers = state.end(reason);
            self.counters
                .queue_bytes
                .add(state.queue_bytes as i64 - before);
            self.abandon(&mut state);
            wakers
        };
        tracing::debug!(session = session.key(), ?reason, "session ended");
        self.bury(session, reason, now);
        wakers.wake();
        true
    }

    /// Takes an ended session out of all maps and tells listeners. Once per session: by whoever moved it to its end.
    fn bury(&self, session: &Arc<Session>, reason: EndReason, now: Millis) {
        self.sessions.pin().remove(session.id());
        if let Some(admission) = self.admission.get() {
            let place = session.state.lock().place.take();
            if let Some(place) = place {
                admission.left(place);
            }
        }
        for listener in self.session_listeners.load().iter() {
            listener.removed(session, reason);
        }
        let listeners = self.subscription_listeners.load();
        let channels = {
            let mut subscriptions = session.subscriptions.lock();
            subscriptions.closed = true;
            let channels = std::mem::take(&mut subscriptions.channels);
            for channel in &channels {
                self.tree.unsubscribe(channel, session.key(), &listeners);
            }
            channels
        };
        for channel in &channels {
            for listener in listeners.iter() {
                listener.unsubscribed(session, channel);
            }
        }
        if let Some(browser) = session.browser() {
            self.browsers.leave(browser, now);
        }
        if reason == EndReason::Expired {
            self.counters.expired.add(1);
        }
    }

    /// Lets time pass: held connects that are due are answered, silent sessions expire, unused channels and browsers are forgotten.
    /// To be called every 50 to 250 ms. An instant earlier than the last is ignored.
    pub fn tick(&self, now: Millis) {
        self.latest.fetch_max(now.0, Ordering::Relaxed);
        for entry in self.wheel.advance(now) {
            self.fire(entry, now);
        }
        let full = self.counters.queue_bytes.sum() > self.config.max_total_queue_bytes;
        if full && !self.queues_full.swap(full, Ordering::Relaxed) {
            tracing::warn!(
                "more waits for all sessions together than may: those that do not keep up are ended"
            );
        }
        self.queues_full.store(full, Ordering::Relaxed);
        let overflowed = std::mem::take(&mut *self.overflowed.lock());
        for session in overflowed {
            self.bury(&session, EndReason::QueueOverflow, now);
        }
        if let Some(mut sweeps) = self.sweeps.try_lock()
            && sweeps.next <= now
        {
            sweeps.next = now.after(self.config.sweep_period_ms);
            self.tree.sweep();
            self.browsers.sweep(2 * self.config.max_interval_ms, now);
        }
    }

    /// A session's entry in the wheel has come up: looks at its real deadlines.
    fn fire(&self, entry: Entry, now: Millis) {
        let session = entry.session;
        let (waker, expired) = {
            let mut state = session.state.lock();
            if state.armed != entry.slot {
                return;
            }
            state.armed = 0;
            let lazy = state.end_laziness(now);
            let waker = self.release_due(&mut state, now).or(lazy);
            let expired = state.is_live() && state.end_at() <= now;
            if !expired {
                let deadline = state.deadline();
                self.wheel.arm(&session, &mut state.armed, deadline);
            }
            (waker, expired)
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        if expired {
            self.end(&session, EndReason::Expired, now);
        }
    }

    /// Releases a held connect that is due. On a WebSocket connection that has closed meanwhile the reply is lost (reference 3.6).
    fn release_due(&self, state: &mut State, now: Millis) -> Option<std::task::Waker> {
        let hold = state.hold.as_ref().filter(|hold| hold.deadline <= now)?;
        let lost = match hold.place {
            HoldPlace::Http(_) => false,
            HoldPlace::WebSocket(on) => {
                !matches!(state.binding, Binding::WebSocket(bound, _) if bound == on)
            }
        };
        if lost {
            state.hold = None;
            state.reply_written(&self.config, now);
            return None;
        }
        state.release_hold()
    }

    /// A connect or handshake reply has been written or lost.
    pub(super) fn reply_written(&self, session: &Arc<Session>, now: Millis) {
        let mut state = session.state.lock();
        state.reply_written(&self.config, now);
        self.arm(session, &mut state);
    }

    /// Puts the session's next deadline into the wheel.
    pub(super) fn arm(&self, session: &Arc<Session>, state: &mut State) {
        let deadline = state.deadline();
        if deadline != NEVER {
            self.wheel.arm(session, &mut state.armed, deadline);
        }
    }

    /// The instant of the last tick.
    pub(super) fn latest(&self) -> Millis {
        Millis(self.latest.load(Ordering::Relaxed))
    }
}
