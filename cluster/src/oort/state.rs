//! The seam by which a kind of state travels in the Oort dialect as well.
//!
//! Among Halley nodes a kind of state is frames on a [`StateChannel`]. What implements [`OortState`]
//! translates: it turns the frames for a node of the Oort dialect into that node's messages, and its messages into the
//! frames that a Halley node would have sent in its place. So the state itself knows of one dialect only.

use bytes::Bytes;
use serde_json::value::RawValue;

use crate::{NodeId, StateChannel};

/// A node of the Oort dialect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OortPeer {
    /// What it is called among Halley nodes.
    pub id: NodeId,
    /// Its Oort URL.
    pub url: String,
    /// This node's Oort URL.
    pub this_url: String,
}

/// What is to be done, in this order.
#[derive(Debug)]
pub enum OortOutput {
    /// Hand this frame to the handler of the channel, as if the node had sent it.
    Frame(StateChannel, Bytes),
    /// Deliver to the node's session here, as a message on a channel that it has subscribed to. Nothing when it has not.
    Deliver {
        /// The channel.
        channel: String,
        /// The data.
        data: Box<RawValue>,
    },
    /// Publish at the node, over the link to it. Nothing while there is none.
    Publish {
        /// The channel.
        channel: String,
        /// The data.
        data: Box<RawValue>,
    },
}

/// Translates one kind of state. The calls come from one task, one at a time, with no lock held: they must not block.
pub trait OortState: std::fmt::Debug + Send + Sync {
    /// The channels that this node subscribes to at every node. Asked again several times a second.
    fn channels(&self) -> Vec<String>;
    /// Whether messages on this channel are of this kind.
    fn handles(&self, channel: &str) -> bool;
    /// The node has shaken hands here: its messages may come from now on.
    fn connected(&self, _peer: &OortPeer, _out: &mut Vec<OortOutput>) {}
    /// The node has joined: frames reach the handler from now on.
    fn joined(&self, _peer: &OortPeer, _out: &mut Vec<OortOutput>) {}
    /// The node has left.
    fn left(&self, peer: &OortPeer);
    /// A frame for the node.
    fn send(&self, peer: &OortPeer, channel: StateChannel, frame: Bytes, out: &mut Vec<OortOutput>);
    /// A message of the node.
    fn received(&self, peer: &OortPeer, channel: &str, data: &str, out: &mut Vec<OortOutput>);
    /// The node has subscribed to a channel here.
    fn subscribed(&self, _peer: &OortPeer, _channel: &str, _out: &mut Vec<OortOutput>) {}
}
