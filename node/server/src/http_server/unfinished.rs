//! Bytes of messages that clients have begun to send and not finished, bounded for all of them together.
//!
//! Each connection is bounded by the size of a message and, over HTTP, by time; without this, many connections with half a
//! message each would add up. What arrives in one piece is never counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How many there are and may be.
#[derive(Debug)]
pub(crate) struct Unfinished {
    bytes: AtomicUsize,
    bytes_max: usize,
}

impl Unfinished {
    pub(crate) fn new(bytes_max: usize) -> Arc<Self> {
        Arc::new(Self {
            bytes: AtomicUsize::new(0),
            bytes_max,
        })
    }

    /// Of one connection or request, as yet nothing.
    pub(crate) fn part(self: &Arc<Self>) -> Part {
        Part {
            whole: Arc::clone(self),
            bytes: 0,
        }
    }

    #[cfg(test)]
    fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// What one connection or request has a part of; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Part {
    whole: Arc<Unfinished>,
    bytes: usize,
}

impl Part {
    /// Sets how many bytes this one has; false when all together would be too many, and then nothing changes.
    #[must_use]
    pub(crate) fn set(&mut self, bytes: usize) -> bool {
        if let Some(more) = bytes.checked_sub(self.bytes) {
            let before = self.whole.bytes.fetch_add(more, Ordering::Relaxed);
            if before.saturating_add(more) > self.whole.bytes_max {
                self.whole.bytes.fetch_sub(more, Ordering::Relaxed);
                return false;
            }
        } else {
            self.whole
                .bytes
                .fetch_sub(self.bytes - bytes, Ordering::Relaxed);
        }
        self.bytes = bytes;
        true
    }

    /// It is finished.
    pub(crate) fn clear(&mut self) {
        if self.bytes > 0 {
            self.whole.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
            self.bytes = 0;
        }
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_and_are_given_back() {
        let whole = Unfinished::new(100);
        let (mut one, mut two) = (whole.part(), whole.part());
        assert!(one.set(60) && two.set(40));
        assert!(!two.set(41));
        assert_eq!(whole.bytes(), 100);
        assert!(one.set(30) && two.set(70));
        drop(one);
        assert_eq!(whole.bytes(), 70);
        two.clear();
        assert_eq!(whole.bytes(), 0);
    }
}
