use crate::{Message, Millis, Publication, Reply, Session};
use std::sync::Arc;

/// Whether a message goes on after an extension saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// It goes on.
    Continue,
    /// It stops. An incoming message or a broadcast is answered with `404::message_deleted`; a reply is not sent; a delivery does not happen.
    Stop,
    /// Of a broadcast only: it stops, because the extension has taken it over, and its publisher is told that it succeeded. Elsewhere it
    /// goes on.
    Taken,
}

/// What a session receives instead of a publication.
#[derive(Clone, Debug)]
pub enum Delivery {
    /// The publication as it is.
    Unchanged,
    /// Another one, for this session only.
    Replace(Arc<Publication>),
    /// Nothing.
    Drop,
}

/// Code that sees every message at fixed places of the pipeline (reference 5.1): incoming in order of registration, outgoing in reverse.
///
/// An extension negotiates by reading the handshake's `ext` in [`Extension::incoming`] and setting `ext` in the reply. Methods run
/// on the message path: they must not block, and must not call back into the engine for the same session.
pub trait Extension: Send + Sync {
    /// A validated message arrived; nothing has been decided yet. `session` is absent when it is unknown. What is set in `reply` stays
    /// with it, also while a connect is held.
    fn incoming(
        &self,
        session: Option<&Arc<Session>>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        now: Millis,
    ) -> Flow {
        let _ = (session, message, reply, now);
        Flow::Continue
    }

    /// A reply is about to be written.
    fn outgoing_reply(
        &self,
        session: Option<&Arc<Session>>,
        reply: &mut Reply<'_>,
        now: Millis,
    ) -> Flow {
        let _ = (session, reply, now);
        Flow::Continue
    }

    /// A client's broadcast is about to be fanned out; it is encoded and the same for all.
    fn outgoing_broadcast(
        &self,
        publisher: &Arc<Session>,
        publication: &Arc<Publication>,
        now: Millis,
    ) -> Flow {
        let _ = (publisher, publication, now);
        Flow::Continue
    }

    /// Whether [`Extension::outgoing_delivery`] is to be called. Costs a call per subscriber and publish.
    fn sees_deliveries(&self) -> bool {
        false
    }

    /// A publication is about to be queued for one session.
    fn outgoing_delivery(
        &self,
        session: &Arc<Session>,
        publication: &Arc<Publication>,
    ) -> Delivery {
        let _ = (session, publication);
        Delivery::Unchanged
    }
}
