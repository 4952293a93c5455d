//! What others than the task see of the Oort dialect.

use std::sync::Arc;

use halley_bayeux::{ChannelName, Engine};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;

use super::event::Event;
use super::inbox::Inbox;
use super::serve::{Pace, serve};
use super::server::Identity;
use super::tally::Tallies;
use super::url::OortUrl;
use crate::runtime::Shared;
use crate::{LinkStats, OortConfig};

/// What others than the task see of the Oort dialect.
#[derive(Debug)]
pub(crate) struct OortSide {
    config: OortConfig,
    me: Arc<Identity>,
    inbox: Arc<Inbox<Event>>,
    links: Arc<Engine>,
    tallies: Arc<Tallies>,
}

impl OortSide {
    pub(super) fn new(
        config: OortConfig,
        me: Arc<Identity>,
        inbox: Arc<Inbox<Event>>,
        links: Arc<Engine>,
        tallies: Arc<Tallies>,
    ) -> Self {
        Self {
            config,
            me,
            inbox,
            links,
            tallies,
        }
    }

    /// The path of this node's Oort URL.
    pub(crate) fn path(&self) -> &str {
        self.me.url.path()
    }

    pub(crate) fn url(&self) -> &OortUrl {
        &self.me.url
    }

    /// The links with Java nodes, by name.
    pub(crate) fn link_stats(&self) -> Vec<LinkStats> {
        self.tallies.stats()
    }

    /// What one connection may send in one message.
    pub(crate) fn message_bytes(&self) -> usize {
        self.config.max_message_bytes
    }

    /// A node may be at this URL.
    pub(crate) fn observe(&self, url: &str) {
        let _ = self.inbox.push(Event::Observe(url.to_owned()), url.len());
    }

    /// This node's interest has changed in these channels.
    pub(crate) fn interest(&self, channels: &[ChannelName]) {
        self.inbox.push_always(Event::Interest(channels.to_vec()));
    }

    /// The node starts over.
    pub(crate) fn restarted(&self) {
        self.inbox.push_always(Event::Restarted);
    }

    /// Serves a connection of another node.
    pub(crate) async fn serve<S, P>(
        &self,
        ws: WebSocketStream<S>,
        shared: &Shared,
        evicted: CancellationToken,
        proven: P,
    ) where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let pace = Pace {
            handshake_timeout: shared.config.handshake_timeout,
            ping_interval: shared.config.heartbeat_interval,
            detection: shared.config.detection,
        };
        let links = self.links.clone();
        Box::pin(serve(ws, links, shared.clock, pace, evicted, proven)).await;
    }
}
