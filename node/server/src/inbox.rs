//! What waits for a session of the application inside its node: a bounded queue, read message by message or as a stream.

use std::collections::VecDeque;
use std::fmt;
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use futures_util::Stream;
use halley_bayeux::{LocalReceiver, Publication};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

/// Why an inbox gives nothing more.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InboxEnd {
    /// The session has ended: it was dropped or ended, or the node has ended.
    #[error("the session has ended")]
    Ended,
    /// More waited than may: `session.maxQueue` messages or `session.maxQueueBytes` bytes. The session was ended, as a client's would
    /// have been; nothing is missing before this.
    #[error("the inbox was full, and the session was ended")]
    Overflow,
}

/// A publication that a local session received.
#[derive(Clone, Debug)]
pub struct Received(Arc<Publication>);

impl Received {
    /// The channel it was published on; never a pattern.
    #[must_use]
    pub fn channel(&self) -> &str {
        self.0.channel().as_str()
    }

    /// Its data as JSON text; `null` when the publisher sent none. Scans the message: keep what it returns.
    #[must_use]
    pub fn data(&self) -> &str {
        self.0.data().unwrap_or("null")
    }

    /// Reads its data.
    ///
    /// # Errors
    /// The data has another shape than `T`.
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, serde_json::Error> {
        serde_json::from_str(self.data())
    }

    /// The message as the engine keeps it: encoded once, shared by all who received it.
    #[must_use]
    pub fn publication(&self) -> &Arc<Publication> {
        &self.0
    }
}

/// What waits for one local session.
pub(crate) struct Queue {
    state: Mutex<QueueState>,
    messages_max: usize,
    bytes_max: usize,
    /// Set when a queue of the node has overflowed: the publish path must not end sessions, the next tick does.
    any_overflow: Arc<AtomicBool>,
}

#[derive(Default)]
struct QueueState {
    waiting: VecDeque<Arc<Publication>>,
    bytes: usize,
    end: Option<InboxEnd>,
    /// Who waits for something to read.
    reader: Option<Waker>,
}

impl QueueState {
    fn next(&mut self) -> Result<Option<Received>, InboxEnd> {
        if let Some(publication) = self.waiting.pop_front() {
            self.bytes -= publication.len();
            return Ok(Some(Received(publication)));
        }
        match self.end {
            None => Ok(None),
            Some(end) => Err(end),
        }
    }
}

impl Queue {
    pub(crate) fn new(
        messages_max: usize,
        bytes_max: usize,
        any_overflow: Arc<AtomicBool>,
    ) -> Self {
        Self {
            state: Mutex::default(),
            messages_max,
            bytes_max,
            any_overflow,
        }
    }

    /// Nothing comes any more. The first reason stands.
    pub(crate) fn end(&self, why: InboxEnd) {
        let mut state = self.state.lock();
        state.end.get_or_insert(why);
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    pub(crate) fn has_overflowed(&self) -> bool {
        self.state.lock().end == Some(InboxEnd::Overflow)
    }

    fn poll(&self, cx: &Context<'_>) -> Poll<Result<Received, InboxEnd>> {
        let mut state = self.state.lock();
        match state.next() {
            Ok(Some(received)) => Poll::Ready(Ok(received)),
            Err(end) => Poll::Ready(Err(end)),
            Ok(None) => {
                match &mut state.reader {
                    Some(reader) => reader.clone_from(cx.waker()),
                    none => *none = Some(cx.waker().clone()),
                }
                Poll::Pending
            }
        }
    }
}

impl LocalReceiver for Queue {
    fn publication(&self, publication: &Arc<Publication>) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        let bytes = state.bytes + publication.len();
        // As with clients: a single message passes any bound in bytes.
        let full = state.waiting.len() >= self.messages_max
            || (bytes > self.bytes_max && !state.waiting.is_empty());
        if full {
            state.end = Some(InboxEnd::Overflow);
            self.any_overflow.store(true, Ordering::Release);
        } else {
            state.bytes = bytes;
            state.waiting.push_back(Arc::clone(publication));
        }
        let reader = state.reader.take();
        drop(state);
        if let Some(reader) = reader {
            reader.wake();
        }
    }
}

/// What a local session receives, in order. Bounded like a client's queue: who does not read loses the session, not single messages.
///
/// It is a [`Stream`] too, for whoever joins it with others: that gives every message, then the reason for its end, once, and then nothing.
pub struct Inbox {
    queue: Arc<Queue>,
    node_ended: Pin<Box<WaitForCancellationFutureOwned>>,
    /// Whether the stream has given its end.
    finished: bool,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Inbox")
            .field("waiting", &self.queue.state.lock().waiting.len())
            .finish_non_exhaustive()
    }
}

impl Inbox {
    pub(crate) fn new(queue: Arc<Queue>, node_ended: CancellationToken) -> Self {
        Self {
            queue,
            node_ended: Box::pin(node_ended.cancelled_owned()),
            finished: false,
        }
    }

    /// The next message, once there is one. Cancel-safe.
    ///
    /// # Errors
    /// There will be none any more; what had arrived before was given first.
    pub async fn next(&mut self) -> Result<Received, InboxEnd> {
        poll_fn(|cx| self.poll(cx)).await
    }

    /// A message that is already here.
    ///
    /// # Errors
    /// As [`Inbox::next`].
    pub fn try_next(&mut self) -> Result<Option<Received>, InboxEnd> {
        self.queue.state.lock().next()
    }

    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<Received, InboxEnd>> {
        let outcome = self.queue.poll(cx);
        if outcome.is_pending() && self.node_ended.as_mut().poll(cx).is_ready() {
            self.queue.end(InboxEnd::Ended);
            return self.queue.poll(cx);
        }
        outcome
    }
}

impl Stream for Inbox {
    type Item = Result<Received, InboxEnd>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let inbox = self.get_mut();
        if inbox.finished {
            return Poll::Ready(None);
        }
        let outcome = inbox.poll(cx);
        inbox.finished = matches!(outcome, Poll::Ready(Err(_)));
        outcome.map(Some)
    }
}

impl Drop for Inbox {
    /// Nobody reads any more: the session goes on, and what is delivered to it is thrown away.
    fn drop(&mut self) {
        self.queue.end(InboxEnd::Ended);
        let mut state = self.queue.state.lock();
        state.waiting = VecDeque::new();
        state.bytes = 0;
    }
}
