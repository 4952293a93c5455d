//! What waits for the task of the Oort dialect. It is filled from hooks of the engine, which must not wait.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 128;

#[derive(Debug)]
struct Inner<E> {
    entries: VecDeque<(E, usize)>,
    bytes: usize,
}

/// A queue that is bounded in bytes.
#[derive(Debug)]
pub(super) struct Inbox<E> {
    inner: Mutex<Inner<E>>,
    max_bytes: usize,
    filled: Notify,
    room: Notify,
}

impl<E> Inbox<E> {
    pub(super) fn new(max_bytes: usize) -> Self {
        let inner = Inner {
            entries: VecDeque::new(),
            bytes: 0,
        };
        Self {
            inner: Mutex::new(inner),
            max_bytes,
            filled: Notify::new(),
            room: Notify::new(),
        }
    }

    /// Bytes that wait.
    pub(super) fn bytes(&self) -> usize {
        self.inner.lock().bytes
    }

    /// Adds what comes once per session or link, and must not be lost.
    pub(super) fn push_always(&self, entry: E) {
        self.add(&mut self.inner.lock(), entry, 0);
    }

    /// Adds an entry unless there are too many; false then.
    #[must_use]
    pub(super) fn push(&self, entry: E, bytes: usize) -> bool {
        let mut inner = self.inner.lock();
        let fits = inner.bytes < self.max_bytes;
        if fits {
            self.add(&mut inner, entry, bytes);
        }
        fits
    }

    /// Adds an entry when there is room.
    ///
    /// Cancel-safe: then nothing is added.
    pub(super) async fn push_waiting(&self, entry: E, bytes: usize) {
        loop {
            let room = self.room.notified();
            let mut room = std::pin::pin!(room);
            room.as_mut().enable();
            {
                let mut inner = self.inner.lock();
                if inner.bytes < self.max_bytes {
                    return self.add(&mut inner, entry, bytes);
                }
            }
            room.await;
        }
    }

    fn add(&self, inner: &mut Inner<E>, entry: E, bytes: usize) {
        let cost = bytes + ENTRY_BYTES;
        inner.bytes += cost;
        inner.entries.push_back((entry, cost));
        self.filled.notify_one();
    }

    /// The next entry. Cancel-safe.
    pub(super) async fn next(&self) -> E {
        loop {
            if let Some(entry) = self.take() {
                return entry;
            }
            self.filled.notified().await;
        }
    }

    /// The next entry, if there is one.
    pub(super) fn take(&self) -> Option<E> {
        let mut inner = self.inner.lock();
        let (entry, cost) = inner.entries.pop_front()?;
        inner.bytes -= cost;
        if inner.bytes < self.max_bytes {
            self.room.notify_waiters();
        }
        Some(entry)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_full_inbox_takes_only_what_must_not_be_lost() {
        let inbox = Inbox::new(1000);
        assert!(inbox.push(1, 1000));
        assert!(!inbox.push(2, 0));
        inbox.push_always(3);
        let waiting = inbox.push_waiting(4, 1);
        let reading = async { (inbox.next().await, inbox.next().await, inbox.next().await) };
        let (read, ()) = tokio::join!(reading, waiting);
        assert_eq!(read, (1, 3, 4));
    }
}
