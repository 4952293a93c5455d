//! What the node keeps with a session that it recognised.

use std::collections::HashMap;
use std::time::Duration;

use ahash::RandomState;
use halley_bayeux::{ChannelName, Verdict};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::permissions::{Operation, RoleId};

/// Answers of hooks kept for one session. More are not remembered: the hook is asked again.
const ANSWERS_MAX: usize = 256;

/// Attached to a session at its handshake.
#[derive(Debug, Default)]
pub(crate) struct Identity {
    /// The roles that some rule names; others make no difference and are not kept.
    pub(crate) roles: Box<[RoleId]>,
    /// When the session ends, in milliseconds since 1970.
    pub(crate) expires_at_ms: Option<u64>,
    answers: Mutex<Answers>,
}

type Answers = HashMap<(Operation, ChannelName), (Verdict, Instant), RandomState>;

impl Identity {
    pub(crate) fn new(roles: Box<[RoleId]>, expires_at_ms: Option<u64>) -> Self {
        Self {
            roles,
            expires_at_ms,
            answers: Mutex::default(),
        }
    }

    /// What a hook has answered, while that counts.
    pub(crate) fn answer(
        &self,
        operation: Operation,
        channel: &ChannelName,
        now: Instant,
    ) -> Option<Verdict> {
        let answers = self.answers.lock();
        let (verdict, until) = answers.get(&(operation, channel.clone()))?;
        (*until > now).then(|| verdict.clone())
    }

    /// Keeps an answer.
    pub(crate) fn remember(
        &self,
        operation: Operation,
        channel: ChannelName,
        verdict: Verdict,
        now: Instant,
        keep: Duration,
    ) {
        let mut answers = self.answers.lock();
        if answers.len() >= ANSWERS_MAX {
            answers.retain(|_, (_, until)| *until > now);
        }
        if answers.len() < ANSWERS_MAX {
            answers.insert((operation, channel), (verdict, now + keep));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_count_for_their_time_and_are_bounded() {
        let identity = Identity::default();
        let channel = |n: usize| ChannelName::parse(&format!("/c/{n}")).unwrap();
        let (now, keep) = (Instant::now(), Duration::from_secs(1));
        for n in 0..=ANSWERS_MAX {
            identity.remember(Operation::Publish, channel(n), Verdict::Grant, now, keep);
        }
        assert_eq!(
            identity.answer(Operation::Publish, &channel(0), now),
            Some(Verdict::Grant)
        );
        assert_eq!(
            identity.answer(Operation::Subscribe, &channel(0), now),
            None
        );
        assert_eq!(
            identity.answer(Operation::Publish, &channel(ANSWERS_MAX), now),
            None,
            "one too many is not remembered"
        );
        let later = now + keep;
        assert_eq!(
            identity.answer(Operation::Publish, &channel(0), later),
            None
        );
        identity.remember(Operation::Publish, channel(0), Verdict::deny(), later, keep);
        assert_eq!(
            identity.answer(Operation::Publish, &channel(0), later),
            Some(Verdict::deny()),
            "those that do not count any more make room"
        );
        assert_eq!(identity.answers.lock().len(), 1);
    }
}
