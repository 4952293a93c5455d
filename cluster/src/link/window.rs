//! What has been written to a link and is not acknowledged yet, so that it can be written again on the next connection.
//!
//! ```text
//!   number of the frame   0 ... acknowledged | kept, oldest first ............. | next
//! ```
//!
//! The frames are the bytes that were written, not copies of them. When the bound is reached the oldest go first: the
//! link works on, but as long as they are not acknowledged it cannot go on over another connection.

use std::collections::VecDeque;

use bytes::Bytes;

use crate::wire::Received;

/// What an entry costs beside its bytes.
const ENTRY_BYTES: usize = 48;

/// The frames under way.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The number of the first frame that is kept.
    first: u64,
    frames: VecDeque<Bytes>,
    bytes: usize,
    acknowledged: Received,
}

/// The acceptor claims to have what was never sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Impossible;

impl Window {
    pub(super) fn push(&mut self, frame: Bytes) {
        self.bytes += frame.len() + ENTRY_BYTES;
        self.frames.push_back(frame);
    }

    /// Bytes that are kept.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The number of the next frame.
    fn next(&self) -> u64 {
        self.first + self.frames.len() as u64
    }

    /// What was acknowledged last.
    pub(super) fn acknowledged(&self) -> Received {
        self.acknowledged
    }

    /// Everything up to here has come in.
    pub(super) fn acknowledge(&mut self, received: Received) -> Result<(), Impossible> {
        if received.frames > self.next() {
            return Err(Impossible);
        }
        if received.frames < self.acknowledged.frames {
            // An older answer that took its time.
            return Ok(());
        }
        self.acknowledged = received;
        while self.first < received.frames {
            self.forget_first();
        }
        Ok(())
    }

    /// Keeps no more than so many bytes.
    pub(super) fn shrink(&mut self, bytes_max: usize) {
        while self.bytes > bytes_max {
            self.forget_first();
        }
    }

    fn forget_first(&mut self) {
        let Some(frame) = self.frames.pop_front() else {
            self.bytes = 0;
            return;
        };
        self.bytes -= frame.len() + ENTRY_BYTES;
        self.first += 1;
    }

    /// What is to be written again to an acceptor that has come so far; nothing when it can no longer be had.
    pub(super) fn resume(&mut self, received: Received) -> Option<VecDeque<Bytes>> {
        if received.frames < self.first {
            return None;
        }
        self.acknowledge(received).ok()?;
        Some(self.frames.clone())
    }

    pub(super) fn clear(&mut self) {
        self.frames.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn received(frames: u64) -> Received {
        Received {
            frames,
            publications: frames * 10,
        }
    }

    fn window(frames: usize) -> Window {
        let mut window = Window::default();
        for n in 0..frames {
            window.push(vec![n as u8; 100].into());
        }
        window
    }

    #[test]
    fn what_is_not_acknowledged_is_written_again_in_order() {
        let mut window = window(5);
        assert_eq!(window.acknowledge(received(2)), Ok(()));
        // A late answer takes nothing back.
        assert_eq!(window.acknowledge(received(1)), Ok(()));
        assert_eq!(window.acknowledged(), received(2));
        assert_eq!(window.bytes(), 3 * (100 + ENTRY_BYTES));
        let again = window.resume(received(3)).unwrap();
        assert_eq!(
            again.iter().map(|frame| frame[0]).collect::<Vec<_>>(),
            [3, 4]
        );
        // Cut again before anything else was acknowledged.
        assert_eq!(window.resume(received(3)).unwrap().len(), 2);
        assert_eq!(window.resume(received(5)).unwrap().len(), 0);
        assert_eq!(window.bytes(), 0);
    }

    #[test]
    fn the_bound_drops_the_oldest_and_only_what_is_whole_goes_on() {
        let mut window = window(5);
        window.shrink(2 * (100 + ENTRY_BYTES));
        assert!(window.resume(received(2)).is_none());
        assert_eq!(window.resume(received(3)).unwrap().len(), 2);
        window.shrink(0);
        assert_eq!(window.bytes(), 0);
        // Once everything is acknowledged it can go on again.
        assert!(window.resume(received(4)).is_none());
        assert_eq!(window.resume(received(5)).unwrap().len(), 0);
    }

    #[test]
    fn nobody_has_received_what_was_not_sent() {
        let mut window = window(2);
        assert_eq!(window.acknowledge(received(3)), Err(Impossible));
        assert!(window.resume(received(3)).is_none());
    }
}
