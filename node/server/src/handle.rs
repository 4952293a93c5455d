//! What an application does with its running node, from wherever it holds a handle to it.

use std::sync::{Arc, OnceLock, Weak};

use halley_bayeux::{ChannelKind, ChannelName, Engine, Json, Publication, UserId};
use halley_cluster::Member;
use halley_replication::Objects;
use serde::Serialize;

use crate::inbox::Inbox;
use crate::local::LocalSession;
use crate::node::Shared;

/// Nesting of data that a node publishes by itself. Siblings take no deeper message than the engine's bound, and the data is inside of it.
const DEPTH_MAX: usize = halley_bayeux::DEPTH_MAX - 8;

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The node has not started yet, or has ended.
    #[error("the node is not running")]
    NotRunning,
    /// The name is not a channel.
    #[error("{name:?} is not a channel: {error}")]
    Channel {
        /// What was given.
        name: String,
        /// What is wrong with it.
        error: halley_bayeux::InvalidChannel,
    },
    /// The channel is a pattern, or below `/meta/` or `/service/`: nobody subscribes to it.
    #[error(
        "{0} is not a channel that sessions subscribe to: publish on a broadcast channel, without a wildcard"
    )]
    NotBroadcast(ChannelName),
    /// The data cannot be written as JSON, or nests too deep.
    #[error("the data cannot be sent as JSON: {0}")]
    Data(String),
    /// The user name is not one.
    #[error(transparent)]
    User(#[from] halley_bayeux::InvalidUserId),
    /// The user is on these nodes alone, and the links to them take nothing more at present.
    #[error("the user is on {}, and the links there are full: try again", .0.join(", "))]
    Busy(Vec<String>),
}

/// A node, as the code inside it sees it: to publish, to reach users, to act as a client.
///
/// Cheap to clone. A handle does not keep its node alive: services and listeners may hold one. [`NodeBuilder::handle`]
/// gives one before the node has started; until then, and after the node has ended, everything says so.
///
/// None of the methods blocks; all may be called from services, listeners and any thread.
///
/// [`NodeBuilder::handle`]: crate::NodeBuilder::handle
#[derive(Debug, Clone, Default)]
pub struct NodeHandle {
    node: Arc<OnceLock<Weak<Shared>>>,
}

impl NodeHandle {
    /// Ties the handle, and all its clones, to a node.
    pub(crate) fn tie(&self, shared: &Arc<Shared>) {
        // A handle is tied by the one builder that made it, which starts one node.
        let _ = self.node.set(Arc::downgrade(shared));
    }

    pub(crate) fn shared(&self) -> Option<Arc<Shared>> {
        let shared = self.node.get()?.upgrade()?;
        Some(shared).filter(|shared| !shared.ended.is_cancelled())
    }

    /// True from the moment services may be called until the node has ended.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.shared().is_some()
    }

    /// Publishes on a broadcast channel, on this node and its siblings, without asking the security policy. Returns how many
    /// sessions of this node it reached; siblings do not answer. A channel listener may stop it: then it reaches nobody.
    ///
    /// # Errors
    /// Nothing was published, see [`PublishError`].
    pub fn publish(&self, channel: &str, data: impl Serialize) -> Result<usize, PublishError> {
        let shared = self.shared().ok_or(PublishError::NotRunning)?;
        let channel = parse(channel)?;
        if channel.kind() != ChannelKind::Broadcast || channel.is_wild() {
            return Err(PublishError::NotBroadcast(channel));
        }
        let publication = publication(&channel, data)?;
        Ok(shared.engine.publish(&publication, shared.clock.now()))
    }

    /// Delivers to every session of a user, on whatever nodes they are, whether they are subscribed or not. The channel is what their
    /// clients see: a broadcast or a service channel. False when the user is nowhere.
    ///
    /// # Errors
    /// Nothing was sent, see [`PublishError`].
    pub fn publish_to_user(
        &self,
        user: &str,
        channel: &str,
        data: impl Serialize,
    ) -> Result<bool, PublishError> {
        let shared = self.shared().ok_or(PublishError::NotRunning)?;
        let user = UserId::new(user)?;
        let channel = parse(channel)?;
        if channel.kind() == ChannelKind::Meta || channel.is_wild() {
            return Err(PublishError::NotBroadcast(channel));
        }
        let publication = publication(&channel, data)?;
        let now = shared.clock.now();
        let reached = shared.cluster.directory.send(&user, &publication, now);
        if !reached.anybody() && !reached.refused.is_empty() {
            return Err(PublishError::Busy(reached.refused));
        }
        Ok(reached.anybody())
    }

    /// A session inside the node, without user, and what it receives. It ends when it is dropped, or with the node.
    ///
    /// # Errors
    /// The node is not running.
    pub fn local_session(&self) -> Result<(LocalSession, Inbox), PublishError> {
        let shared = self.shared().ok_or(PublishError::NotRunning)?;
        Ok(shared.local_sessions.open(&shared, None))
    }

    /// A session inside the node that belongs to a user: messages to that user reach it, and the user is present while it lasts.
    ///
    /// # Errors
    /// The user name is not one, or the node is not running.
    pub fn local_session_of(&self, user: &str) -> Result<(LocalSession, Inbox), PublishError> {
        let shared = self.shared().ok_or(PublishError::NotRunning)?;
        let user = UserId::new(user)?;
        Ok(shared.local_sessions.open(&shared, Some(user)))
    }

    /// The replicated objects of the node, to make some with [`Objects::map`], [`Objects::list`], [`Objects::long`] or
    /// [`halley_replication::OortObject::new`]. `None`: not running.
    #[must_use]
    pub fn objects(&self) -> Option<Objects> {
        Some(self.shared()?.cluster.objects.clone())
    }

    /// This node first, then its siblings in the order of their names. Empty: not running.
    #[must_use]
    pub fn members(&self) -> Vec<Member> {
        self.shared()
            .map(|shared| shared.cluster.members())
            .unwrap_or_default()
    }

    /// The users that are present anywhere in the cluster, in no order.
    #[must_use]
    pub fn users(&self) -> Vec<UserId> {
        self.shared()
            .map(|shared| shared.cluster.directory.users())
            .unwrap_or_default()
    }

    /// The names of the nodes on which a user is present; empty: nowhere, or not running.
    #[must_use]
    pub fn nodes_of(&self, user: &UserId) -> Vec<String> {
        self.shared()
            .map(|shared| shared.cluster.directory.nodes_of(user))
            .unwrap_or_default()
    }

    /// The engine, for what has no shorter way here. `None`: not running.
    #[must_use]
    pub fn engine(&self) -> Option<Arc<Engine>> {
        Some(Arc::clone(&self.shared()?.engine))
    }
}

pub(crate) fn parse(name: &str) -> Result<ChannelName, PublishError> {
    ChannelName::parse(name).map_err(|error| PublishError::Channel {
        name: name.to_owned(),
        error,
    })
}

/// Data as JSON text, for [`validated`].
pub(crate) fn json_text(data: impl Serialize) -> Result<String, PublishError> {
    serde_json::to_string(&data).map_err(|error| PublishError::Data(error.to_string()))
}

pub(crate) fn validated(text: &str) -> Result<Json<'_>, PublishError> {
    Json::validate(text, DEPTH_MAX).map_err(|error| PublishError::Data(error.to_string()))
}

fn publication(
    channel: &ChannelName,
    data: impl Serialize,
) -> Result<Arc<Publication>, PublishError> {
    Ok(Publication::new(channel, validated(&json_text(data)?)?))
}
