//! Ends sessions whose credential has expired.

use std::collections::BTreeMap;
use std::sync::Arc;

use halley_bayeux::{EndReason, Engine, Millis, Session, SessionId, SessionListener};
use parking_lot::Mutex;

use super::identity::Identity;

/// The sessions that end at a known time, in its order. At most one entry for each session.
#[derive(Debug, Default)]
pub(crate) struct Expiries {
    due: Mutex<BTreeMap<(u64, u64), SessionId>>,
}

impl Expiries {
    /// Ends what is due at `unix_ms`; returns how many sessions that were.
    pub(crate) fn end_due(&self, engine: &Engine, unix_ms: u64, now: Millis) -> u64 {
        let due = {
            let mut waiting = self.due.lock();
            if waiting
                .first_key_value()
                .is_none_or(|((at, _), _)| *at > unix_ms)
            {
                return 0;
            }
            let later = waiting.split_off(&(unix_ms.saturating_add(1), 0));
            std::mem::replace(&mut *waiting, later)
        };
        // Not under the lock: the end of a session calls `removed`.
        due.into_values()
            .filter(|id| engine.end_session(id, EndReason::CredentialExpired, now))
            .count() as u64
    }

    fn key(session: &Session) -> Option<(u64, u64)> {
        let at = session.attachment::<Identity>()?.expires_at_ms?;
        Some((at, session.key()))
    }
}

impl SessionListener for Expiries {
    fn added(&self, session: &Arc<Session>) {
        if let Some(key) = Self::key(session) {
            self.due.lock().insert(key, *session.id());
        }
    }

    fn removed(&self, session: &Arc<Session>, _: EndReason) {
        if let Some(key) = Self::key(session) {
            self.due.lock().remove(&key);
        }
    }
}
