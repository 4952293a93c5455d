//! Who the other nodes are: their sessions here, and as members.

use std::net::SocketAddr;
use std::sync::Arc;

use halley_bayeux::{EndReason, Session};
use sha2::{Digest, Sha256};

use super::Actor;
use crate::net::Net;
use crate::oort::event::{LinkCommand, SiblingNews};
use crate::oort::membership::{OortNode, OutId, SessionKey};
use crate::oort::peers::{Foreign, OortLink};
use crate::oort::server::Peer;
use crate::oort::state::OortPeer;
use crate::oort::tally::{SessionTally, Tally};
use crate::oort::url::OortUrl;
use crate::oort::wire::{self, Join};
use crate::{Incarnation, Member, NodeId, NodeName};

/// A node with a session here.
pub(super) struct Node {
    pub(super) peer: OortPeer,
    pub(super) session: Arc<Session>,
    /// The link on which it is reached, once it has joined.
    pub(super) out: Option<OutId>,
    pub(super) joined: bool,
    pub(super) tally: Arc<Tally>,
}

/// The incarnation of a life of an Oort node: from its id, so that it is the same on every Halley node.
fn incarnation(oort_id: &str) -> Incarnation {
    let hash = Sha256::digest(oort_id.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    Incarnation(u64::from_le_bytes(first))
}

impl<N: Net> Actor<N> {
    pub(super) fn node_of(&self, session: SessionKey) -> Option<&Node> {
        self.nodes
            .values()
            .find(|node| node.session.key() == session)
    }

    pub(super) fn session_added(&mut self, session: Arc<Session>) {
        let Some(Peer { ext, tally }) = session.attachment::<Peer>() else {
            return;
        };
        let listener = Arc::new(SessionTally::new(tally.clone()));
        self.server
            .links
            .set_queue_listener(&session, Some(listener));
        self.sessions.insert(session.key(), session.clone());
        let node = OortNode {
            id: ext.oort_id.clone(),
            url: ext.oort_url.clone(),
        };
        let alias = ext.oort_alias_url.as_deref();
        self.membership
            .session_added(session.key(), node, &ext.comet_url, alias);
        let Some(name) = OortUrl::parse(&ext.oort_url)
            .ok()
            .and_then(|url| url.node_name())
        else {
            return;
        };
        let peer = OortPeer {
            id: NodeId {
                name,
                incarnation: incarnation(&ext.oort_id),
            },
            url: ext.oort_url.clone(),
            this_url: self.me.url.as_str().to_owned(),
        };
        match self.nodes.get_mut(&ext.oort_id) {
            Some(node) => node.session = session.clone(),
            None => {
                for state in &self.states {
                    state.connected(&peer, &mut Vec::new());
                }
                let node = Node {
                    peer,
                    session: session.clone(),
                    out: None,
                    joined: false,
                    tally: tally.clone(),
                };
                self.nodes.insert(ext.oort_id.clone(), node);
            }
        }
    }

    pub(super) fn join(&mut self, session: SessionKey, join: &Join) {
        let Some(Peer { ext, .. }) = self
            .sessions
            .get(&session)
            .and_then(|session| session.attachment::<Peer>())
        else {
            return;
        };
        // CometD does not compare them; a node can only confirm for itself.
        if ext.oort_id != join.oort_id || ext.oort_url != join.oort_url {
            tracing::warn!(url = ext.oort_url, "an Oort node confirms for another one");
            return;
        }
        self.membership.join(&OortNode {
            id: join.oort_id.clone(),
            url: join.oort_url.clone(),
        });
    }

    /// Lets operators see over what a joined node is reached now.
    pub(super) fn show(&self, id: &str) {
        let Some(node) = self.nodes.get(id).filter(|node| node.joined) else {
            return;
        };
        let out = node.out.and_then(|out| self.outs.get(&out));
        node.tally.up(&node.session, out.map(|out| &out.commands));
    }

    pub(super) async fn node_joined(&mut self, node: &OortNode, out: OutId) {
        let Some(entry) = self.nodes.get_mut(&node.id) else {
            return;
        };
        entry.out = Some(out);
        entry.joined = true;
        let peer = entry.peer.clone();
        self.show(&node.id);
        let member = Member {
            name: peer.id.name.clone(),
            incarnation: peer.id.incarnation,
            // Where it is reached is its URL; the address is for people.
            mesh_address: SocketAddr::from(([0, 0, 0, 0], 0)),
            client_url: peer.url.clone(),
        };
        let link = Arc::new(OortLink::new(peer.id.clone(), self.inbox.clone()));
        self.tell(Foreign::Joined(member, link)).await;
        self.translate(&peer, |state, peer, out| state.joined(peer, out))
            .await;
        self.siblings.tell(self.membership.known());
    }

    pub(super) fn sibling(&mut self, name: NodeName, news: SiblingNews) {
        match news {
            SiblingNews::Left => {
                self.sibling_news.remove(&name);
            }
            SiblingNews::Knows { url, nodes } => {
                // The two found each other in this dialect before they did in their own.
                self.membership.deobserve(&url);
                self.sibling_news.insert(name, (url, nodes.clone()));
                for url in nodes {
                    self.observe(&url);
                }
                // The Java nodes are to know of it.
                let joined: Vec<OutId> = self.nodes.values().filter_map(|node| node.out).collect();
                for link in joined {
                    self.send_cloud(link);
                }
            }
        }
    }

    /// Tells a node which others there are.
    pub(super) fn send_cloud(&self, link: OutId) {
        if let Some(out) = self.outs.get(&link) {
            out.commands.push_always(LinkCommand::Publish {
                channel: wire::CLOUD.to_owned(),
                data: wire::json(&self.cloud()),
            });
        }
    }

    /// All nodes that this one knows, Java nodes and Halley nodes.
    pub(super) fn cloud(&self) -> Vec<String> {
        let mut urls = self.membership.known();
        urls.extend(self.sibling_news.values().map(|(url, _)| url.clone()));
        urls
    }

    /// The node has lost something: both sides begin again.
    pub(super) fn start_anew(&mut self, to: &NodeId) {
        let Some(node) = self.nodes.values().find(|node| node.peer.id == *to) else {
            return;
        };
        tracing::warn!(node = %to, "too much waits for an Oort node: its links are reset");
        self.shared.counters.links_reset_queue_full.add(1);
        // The link to it is renewed when the session has ended.
        self.server.links.end_session(
            node.session.id(),
            EndReason::QueueOverflow,
            self.shared.clock.now(),
        );
    }

    pub(super) fn end_session(&mut self, key: SessionKey, reason: EndReason) {
        if let Some(session) = self.sessions.remove(&key) {
            let now = self.shared.clock.now();
            self.server.links.end_session(session.id(), reason, now);
        }
    }
}
