//! What passes between the nodes and the kinds of state: each translates its own.

use super::Actor;
use crate::net::Net;
use crate::oort::event::{Event, LinkCommand};
use crate::oort::peers::Foreign;
use crate::oort::state::{OortOutput, OortPeer, OortState};
use crate::oort::wire;
use crate::runtime::Bulk;

impl<N: Net> Actor<N> {
    pub(super) async fn received(&mut self, peer: &OortPeer, channel: &str, data: &str) {
        self.translate(peer, |state, peer, out| {
            if state.handles(channel) {
                state.received(peer, channel, data, out);
            }
        })
        .await;
    }

    /// Lets every translator do something for a node, and does what comes out.
    pub(super) async fn translate(
        &mut self,
        peer: &OortPeer,
        act: impl Fn(&dyn OortState, &OortPeer, &mut Vec<OortOutput>),
    ) {
        let mut outputs = Vec::new();
        for state in &self.states {
            act(state.as_ref(), peer, &mut outputs);
        }
        for output in outputs {
            self.put_out(peer, output).await;
        }
    }

    pub(super) async fn put_out(&mut self, peer: &OortPeer, output: OortOutput) {
        let Some(node) = self.nodes.values().find(|node| node.peer.id == peer.id) else {
            return;
        };
        match output {
            OortOutput::Frame(channel, frame) => {
                if node.joined {
                    self.tell(Foreign::State(peer.id.clone(), channel, frame))
                        .await;
                }
            }
            OortOutput::Deliver { channel, data } => {
                let Some(publication) = wire::publication(&channel, &data) else {
                    return;
                };
                if publication.len() > self.config.max_message_bytes {
                    self.shared.counters.oort_too_large.add(1);
                    tracing::warn!(
                        url = peer.url,
                        channel,
                        "too long for an Oort node: not sent"
                    );
                    return;
                }
                let wanted = publication.channel().consulted();
                if wanted.iter().any(|name| node.session.is_subscribed(name)) {
                    self.server.links.deliver_to(&node.session, &publication);
                }
            }
            OortOutput::Publish { channel, data } => {
                let out = node
                    .out
                    .and_then(|out| self.outs.get(&out))
                    .or_else(|| self.outs.values().find(|out| out.url == peer.url));
                let bytes = data.get().len();
                if let Some(out) = out
                    && !out
                        .commands
                        .push(LinkCommand::Publish { channel, data }, bytes)
                {
                    self.inbox.push_always(Event::StateLost(peer.id.clone()));
                }
            }
        }
    }

    pub(super) async fn tell(&self, foreign: Foreign) {
        self.shared.bulk(Bulk::Foreign(foreign)).await;
    }
}
