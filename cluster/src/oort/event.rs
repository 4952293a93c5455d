//! What happens, for the task of the Oort dialect, and what it tells a link.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use halley_bayeux::{ChannelName, Session};
use serde_json::value::RawValue;

use super::membership::{OutId, SessionKey};
use super::wire::{Join, ReplyExt};
use crate::{NodeId, StateChannel};

/// What happens.
#[derive(Debug)]
pub(crate) enum Event {
    /// A node may be at this URL.
    Observe(String),
    /// A node has handshaken here.
    SessionAdded(Arc<Session>),
    SessionRemoved {
        session: SessionKey,
        expired: bool,
    },
    /// A node has confirmed this node's reply.
    Join {
        session: SessionKey,
        join: Join,
    },
    /// A node tells which others it knows.
    Cloud(Vec<String>),
    /// A node wants a channel of this node.
    Subscribed(Arc<Session>, ChannelName),
    /// A node has published on an internal channel here.
    Published {
        session: SessionKey,
        channel: String,
        data: Box<RawValue>,
    },
    /// A link has got a session.
    Handshaken(OutId, Option<ReplyExt>),
    /// A link works again after it had been interrupted; with another session, or with the one it had.
    LinkBack(OutId),
    /// A link is interrupted; for how long nothing has come over it, if that is why.
    LinkDown(OutId, Duration),
    /// A link has ended for good.
    LinkEnded(OutId),
    /// Something on an internal channel came over a link.
    LinkMessage {
        link: OutId,
        channel: String,
        data: Box<RawValue>,
    },
    /// State for a node of this dialect.
    State {
        to: NodeId,
        channel: StateChannel,
        body: Bytes,
    },
    /// State could not be queued for a node: it must be told everything anew.
    StateLost(NodeId),
    /// What this node asks for has changed.
    Interest(Vec<ChannelName>),
    /// What the sibling of this name says about itself.
    Sibling(crate::NodeName, SiblingNews),
    /// This node has drawn a new incarnation.
    Restarted,
}

/// What Halley nodes tell each other about the Oort dialect.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum SiblingNews {
    /// It has left.
    Left,
    /// Its own URL, and those of nodes that it has links to.
    Knows { url: String, nodes: Vec<String> },
}

/// What a link is to send.
#[derive(Debug)]
pub(super) enum LinkCommand {
    /// Everything that begins a membership, in one batch and in this order.
    Join {
        channels: Vec<String>,
        cloud: Box<RawValue>,
        join: Box<RawValue>,
    },
    Subscribe(Vec<String>),
    Unsubscribe(Vec<String>),
    Publish {
        channel: String,
        data: Box<RawValue>,
    },
}
