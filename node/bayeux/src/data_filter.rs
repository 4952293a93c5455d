use crate::{ChannelName, Session};
use std::sync::Arc;

/// What becomes of the `data` of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Filtered {
    /// It stays.
    Unchanged,
    /// This JSON text takes its place. What is not JSON, or too deep, refuses the message.
    Replace(String),
    /// The message is answered with `404::message_deleted`, and nothing comes of it.
    Refuse,
}

/// Sees, changes or refuses the `data` of what is published on a channel (CometD's `DataFilter`).
///
/// Asked for broadcast and service channels, after policy and message listeners and before subscribers and services. Filters of
/// all patterns that match are asked, from `/**` to the channel itself, each with what the one before has made of the data. What siblings send has
/// been filtered there. Runs on the message path: must not block, and must not call back into the engine for the same session.
pub trait DataFilter: Send + Sync {
    /// `data` is raw JSON. `session` is absent where code of the node publishes ([`crate::Engine::publish`]). Not called for a message
    /// without data.
    fn filter(&self, session: Option<&Arc<Session>>, channel: &ChannelName, data: &str)
    -> Filtered;
}

/// Identifies a data filter of an engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DataFilterId(pub(crate) u64);
