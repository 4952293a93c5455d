use crate::{Millis, ids};
use parking_lot::Mutex;
use std::collections::HashMap;

/// Characters of a browser id: more than 128 random bits.
const BROWSER_ID_CHARACTERS: usize = 26;

/// The browsers (values of the `BAYEUX_BROWSER` cookie) this node has issued and still remembers.
///
/// A value that is not in here was not issued, or is long forgotten: it is never adopted.
#[derive(Default)]
pub(crate) struct Browsers {
    known: Mutex<HashMap<Box<str>, Browser, ahash::RandomState>>,
}

struct Browser {
    sessions: usize,
    held: i64,
    /// Since when it has neither sessions nor held connects; looked at only then.
    idle_since: Millis,
}

impl Browsers {
    /// Counts one more session for the cookie's browser, if this node issued it, or for a new one. The flag tells whether it is new.
    pub(crate) fn admit(&self, cookie: Option<&str>, now: Millis) -> (Box<str>, bool) {
        let mut known = self.known.lock();
        if let Some((id, browser)) = cookie.and_then(|id| Some((id, known.get_mut(id)?))) {
            browser.sessions += 1;
            return (id.into(), false);
        }
        let bytes: [u8; BROWSER_ID_CHARACTERS] = ids::random_base36();
        let id: Box<str> = bytes
            .iter()
            .copied()
            .map(char::from)
            .collect::<String>()
            .into();
        known.insert(
            id.clone(),
            Browser {
                sessions: 1,
                held: 0,
                idle_since: now,
            },
        );
        (id, true)
    }

    /// A session of the browser has ended.
    pub(crate) fn leave(&self, id: &str, now: Millis) {
        if let Some(browser) = self.known.lock().get_mut(id) {
            browser.sessions = browser.sessions.saturating_sub(1);
            browser.idle_since = now;
        }
    }

    /// Takes one of `max` slots for a held connect; negative is unlimited. True without counting for a browser not known here.
    pub(crate) fn take_slot(&self, id: &str, max: i64) -> bool {
        let mut known = self.known.lock();
        let Some(browser) = known.get_mut(id) else {
            return max != 0;
        };
        if max >= 0 && browser.held >= max {
            return false;
        }
        browser.held += 1;
        true
    }

    pub(crate) fn give_slot_back(&self, id: &str) {
        if let Some(browser) = self.known.lock().get_mut(id) {
            browser.held = (browser.held - 1).max(0);
        }
    }

    /// Forgets browsers without sessions for `after_ms`.
    pub(crate) fn sweep(&self, after_ms: u64, now: Millis) {
        self.known.lock().retain(|_, browser| {
            browser.sessions > 0 || browser.held > 0 || now.since(browser.idle_since) < after_ms
        });
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.lock().len()
    }
}
