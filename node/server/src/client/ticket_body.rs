//! The body of an answer, which tells the engine what became of it.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use halley_bayeux::WriteTicket;
use hyper::body::{Body, Frame, SizeHint};

use crate::clock::Clock;

/// One block of bytes. When the HTTP engine has taken it, the engine arms the session's expiry; when the connection
/// broke before, the engine is told that.
pub(super) struct TicketBody {
    bytes: Option<Bytes>,
    ticket: Option<WriteTicket>,
    clock: Clock,
}

impl TicketBody {
    pub(super) fn new(bytes: Bytes, ticket: WriteTicket, clock: Clock) -> Self {
        Self {
            bytes: Some(bytes),
            ticket: Some(ticket),
            clock,
        }
    }
}

impl Body for TicketBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.bytes.take().map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.as_ref().map_or(0, |bytes| bytes.len() as u64))
    }
}

impl Drop for TicketBody {
    fn drop(&mut self) {
        let Some(ticket) = self.ticket.take() else {
            return;
        };
        let now = self.clock.now();
        if self.bytes.is_none() {
            ticket.written(now)
        } else {
            ticket.failed(now)
        }
    }
}
