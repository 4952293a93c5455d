//! What code of the node attaches to single sessions. Not looked at before the first is attached.

use super::Engine;
use crate::session::{Session, State};
use crate::{Extension, Flow, Message, Millis, QueueListener, Reply};
use smallvec::SmallVec;
use std::sync::Arc;
use std::sync::atomic::Ordering;

type Extensions = SmallVec<[Arc<dyn Extension>; 2]>;

impl Engine {
    /// Adds an extension that sees the messages of this session only: incoming ones after the engine's extensions, replies and deliveries
    /// after them too, in reverse order of registration. It goes with the session.
    pub fn add_session_extension(&self, session: &Arc<Session>, extension: Arc<dyn Extension>) {
        let sees_deliveries = extension.sees_deliveries();
        session.state.lock().rare_mut().extensions.push(extension);
        self.session_hooks.store(true, Ordering::Relaxed);
        if sees_deliveries {
            self.sees_deliveries.store(true, Ordering::Relaxed);
        }
    }

    /// Removes an extension of a session. False when it has none such.
    pub fn remove_session_extension(
        &self,
        session: &Arc<Session>,
        extension: &Arc<dyn Extension>,
    ) -> bool {
        let mut state = session.state.lock();
        let extensions = &mut state.rare_mut().extensions;
        let before = extensions.len();
        extensions.retain(|known| !super::same(known, extension));
        extensions.len() < before
    }

    /// Sets whether this session receives its own broadcasts, as far as it is subscribed; `None` for the engine's default.
    pub fn set_session_broadcast_to_publisher(
        &self,
        session: &Arc<Session>,
        broadcast: Option<bool>,
    ) {
        session.state.lock().rare_mut().broadcast_to_publisher = broadcast;
        self.session_hooks.store(true, Ordering::Relaxed);
    }

    /// Sets who decides about what waits for this session; `None` takes the listener away. Costs other sessions nothing.
    pub fn set_queue_listener(
        &self,
        session: &Arc<Session>,
        listener: Option<Arc<dyn QueueListener>>,
    ) {
        session.state.lock().rare_mut().queue_listener = listener;
    }

    /// What waits for a session is about to leave: its queue listener may thin it.
    pub(super) fn let_thin(&self, state: &mut State) {
        if state.rare.is_some() && state.is_live() {
            let removed = state.thin();
            if removed != 0 {
                self.counters.queue_bytes.add(-removed);
            }
        }
    }

    pub(super) fn session_broadcasts(&self, session: &Session) -> bool {
        let own = if self.session_hooks.load(Ordering::Relaxed) {
            let state = session.state.lock();
            state
                .rare
                .as_ref()
                .and_then(|rare| rare.broadcast_to_publisher)
        } else {
            None
        };
        own.unwrap_or(self.config.broadcast_to_publisher)
    }

    /// The session's own extensions: a copy, since they are called without its lock.
    pub(super) fn session_extensions(&self, session: Option<&Arc<Session>>) -> Extensions {
        match session {
            Some(session) if self.session_hooks.load(Ordering::Relaxed) => {
                let state = session.state.lock();
                let rare = state.rare.as_deref();
                rare.map(|rare| rare.extensions.iter().cloned().collect())
                    .unwrap_or_default()
            }
            _ => Extensions::new(),
        }
    }

    pub(super) fn stopped_by_extension(
        &self,
        session: Option<&Arc<Session>>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        now: Millis,
    ) -> bool {
        let mut stops =
            |e: &Arc<dyn Extension>| e.incoming(session, message, reply, now) == Flow::Stop;
        self.extensions.load().iter().any(&mut stops)
            || self.session_extensions(session).iter().any(stops)
    }

    pub(super) fn reply_dropped_by_extension(
        &self,
        session: Option<&Arc<Session>>,
        reply: &mut Reply<'_>,
        now: Millis,
    ) -> bool {
        let mut stops =
            |e: &Arc<dyn Extension>| e.outgoing_reply(session, reply, now) == Flow::Stop;
        self.extensions.load().iter().rev().any(&mut stops)
            || self.session_extensions(session).iter().rev().any(stops)
    }
}
