use crate::{Delivery, Publication};
use std::collections::VecDeque;
use std::sync::Arc;

/// What becomes of a publication for which a session's queue has no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenFull {
    /// The session ends with `EndReason::QueueOverflow`, as without a listener.
    End,
    /// This session does not get the publication.
    Discard,
    /// It is queued in the place that the listener has made; without place enough the session ends.
    Queue,
}

/// Decides about what waits for one session, and learns of its acknowledgements: CometD's `MaxQueueListener`, `DeQueueListener` and the
/// listeners of the acknowledgement extension. Attached with [`crate::Engine::set_queue_listener`].
///
/// What a listener removes is a gap that the client is not told of. All methods run under the session's lock: they must not block, and
/// must not call the session or the engine.
pub trait QueueListener: Send + Sync {
    /// The queue is full, and `publication` is to be queued. Old messages may be removed first.
    fn full(&self, queue: &mut Waiting<'_>, publication: &Arc<Publication>) -> WhenFull {
        let _ = (queue, publication);
        WhenFull::End
    }

    /// Messages are about to leave, all of those that wait or the first of them; lazy ones too. Called for each response or frame, and not
    /// where nothing waits that may be edited.
    fn leaving(&self, queue: &mut Waiting<'_>) {
        let _ = queue;
    }

    /// A connect or handshake reply of a client that acknowledges goes out with `messages` messages, the last of them number `batch`. Sent
    /// again with a later reply until they are confirmed.
    fn batch_sent(&self, batch: u64, messages: usize) {
        let _ = (batch, messages);
    }

    /// The client has confirmed all messages up to number `batch`; `messages` of them were not confirmed before.
    fn batch_confirmed(&self, batch: u64, messages: usize) {
        let _ = (batch, messages);
    }

    /// The session ends, and what waits for it is thrown away: messages that were not sent, or not confirmed. Not called when the session
    /// ends on purpose.
    fn thrown_away(&self, queue: &Waiting<'_>) {
        let _ = queue;
    }
}

/// The messages of a session that may be edited, oldest first. With acknowledgements those are the ones without a number: what has
/// been offered to the client is its own until it has confirmed it.
#[derive(Debug)]
pub struct Waiting<'a> {
    queue: &'a mut VecDeque<Arc<Publication>>,
    bytes: &'a mut usize,
    first: usize,
}

impl<'a> Waiting<'a> {
    /// Those from `first` on; `first` is at most the queue's length, and `bytes` the sum of the whole queue.
    pub(crate) fn new(
        queue: &'a mut VecDeque<Arc<Publication>>,
        bytes: &'a mut usize,
        first: usize,
    ) -> Self {
        Self {
            queue,
            bytes,
            first,
        }
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.queue.len() - self.first
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The messages, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &Arc<Publication>> {
        self.queue.range(self.first..)
    }

    /// Asks about each message, oldest first, what to put in its place.
    pub fn edit(&mut self, mut judge: impl FnMut(&Arc<Publication>) -> Delivery) {
        let (mut untouched, bytes) = (self.first, &mut *self.bytes);
        self.queue.retain_mut(|publication| {
            if untouched > 0 {
                untouched -= 1;
                return true;
            }
            match judge(publication) {
                Delivery::Unchanged => true,
                Delivery::Replace(other) => {
                    *bytes = *bytes - publication.len() + other.len();
                    *publication = other;
                    true
                }
                Delivery::Drop => {
                    *bytes -= publication.len();
                    false
                }
            }
        });
    }
}
