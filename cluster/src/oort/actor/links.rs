//! The links that this node opens, and what is asked for on them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::ChannelName;
use tokio_util::sync::CancellationToken;

use super::Actor;
use crate::net::Net;
use crate::oort::dial::OutLink;
use crate::oort::event::LinkCommand;
use crate::oort::inbox::Inbox;
use crate::oort::membership::{OortNode, OutId};
use crate::oort::url::OortUrl;
use crate::oort::wire::{self, Join, ReplyExt};

/// A link of this node.
pub(super) struct Out {
    pub(super) url: String,
    pub(super) commands: Arc<Inbox<LinkCommand>>,
    pub(super) cancel: CancellationToken,
    /// Since when it does not work; none while it does.
    pub(super) down: Option<Duration>,
    /// It has had a session, or takes the place of one that had.
    pub(super) known: bool,
    /// It is to end with a goodbye, as soon as it works, and another one is to take its place.
    pub(super) renew: bool,
    /// What it has been told to subscribe to.
    pub(super) subscribed: BTreeSet<ChannelName>,
}

impl<N: Net> Actor<N> {
    pub(super) fn dial(&mut self, link: OutId, url: &str, alias: Option<String>) {
        let Ok(parsed) = OortUrl::parse(url) else {
            self.membership.out_ended(link);
            return;
        };
        let cancel = self.shared.cancel.child_token();
        let commands = Arc::new(Inbox::new(self.shared.config.limits.state_queue_bytes));
        let out = Out {
            url: url.to_owned(),
            commands: commands.clone(),
            cancel: cancel.clone(),
            down: Some(self.shared.clock.elapsed()),
            known: self.renewed.remove(url),
            renew: false,
            subscribed: BTreeSet::new(),
        };
        self.outs.insert(link, out);
        let task = OutLink {
            net: self.net.clone(),
            shared: self.shared.clone(),
            config: self.config.clone(),
            me: self.me.clone(),
            inbox: self.inbox.clone(),
            tallies: self.tallies.clone(),
            link,
            url: parsed,
            alias,
            commands,
            cancel,
        };
        self.shared.tasks.spawn(Box::pin(task.run()));
    }

    pub(super) fn handshaken(&mut self, link: OutId, ext: Option<ReplyExt>) {
        let Some(out) = self
            .outs
            .get_mut(&link)
            .filter(|out| !out.cancel.is_cancelled())
        else {
            return;
        };
        // The node has forgotten the session by itself: there is nothing to say goodbye to.
        (out.down, out.known, out.renew) = (None, true, false);
        out.subscribed.clear();
        let Some(ext) = ext else {
            tracing::warn!(url = out.url, "there is a Bayeux server, but no Oort node");
            out.cancel.cancel();
            return;
        };
        let node = OortNode {
            id: ext.oort_id,
            url: ext.oort_url,
        };
        let dialled = out.url.clone();
        self.membership.out_handshaken(link, &dialled, node);
    }

    /// The link works again: what was under way when it broke may be lost.
    pub(super) async fn link_back(&mut self, link: OutId) {
        let mut resumed = false;
        if let Some(out) = self.outs.get_mut(&link) {
            resumed = out.down.take().is_some();
            if out.renew {
                return out.cancel.cancel();
            }
        }
        let node = self
            .nodes
            .values()
            .find(|node| node.joined && node.out == Some(link));
        if let Some(node) = node {
            let peer = node.peer.clone();
            node.tally.totals.resumed.add(u64::from(resumed));
            self.send_join(link);
            self.translate(&peer, |state, peer, out| state.joined(peer, out))
                .await;
        }
    }

    pub(super) fn send_join(&mut self, link: OutId) {
        let wanted = self.wanted();
        let cloud = wire::json(&self.cloud());
        let join = wire::json(&Join {
            oort_id: self.me.id.read().clone(),
            oort_url: self.me.url.as_str().to_owned(),
        });
        let Some(out) = self.outs.get_mut(&link) else {
            return;
        };
        let names = wanted.iter().map(|name| name.as_str().to_owned()).collect();
        out.subscribed = wanted;
        out.commands.push_always(LinkCommand::Join {
            channels: names,
            cloud,
            join,
        });
    }

    /// What is wanted of other nodes.
    pub(super) fn wanted(&self) -> BTreeSet<ChannelName> {
        let mut wanted = self.shared.interest.announced();
        if wanted.len() > self.config.channels_max {
            wanted = ChannelName::parse("/**").into_iter().collect();
        }
        wanted.extend(self.channels.iter().cloned());
        wanted
    }

    /// Brings the subscriptions of all established links in line with what is wanted.
    pub(super) fn resubscribe(&mut self) {
        let wanted = self.wanted();
        let mut stuck = Vec::new();
        for out in self.outs.values_mut() {
            // Before its join batch a link has no subscriptions, and then gets all.
            if !out.subscribed.is_empty() && !subscribe(out, &wanted) {
                stuck.push(out.url.clone());
            }
        }
        self.reset(stuck);
    }

    /// Closes the links to nodes that take nothing, and begins again.
    pub(super) fn reset(&mut self, urls: Vec<String>) {
        for url in urls {
            tracing::warn!(
                url,
                "too much waits for an Oort node: the link to it is reset"
            );
            self.shared.counters.links_reset_queue_full.add(1);
            let links = self.outs.iter().filter(|(_, out)| out.url == url);
            let links: Vec<OutId> = links.map(|(link, _)| *link).collect();
            for link in links {
                self.membership.out_lost(link);
            }
        }
    }

    /// Gives up links that have not worked for too long, as the node's session is given up.
    pub(super) fn judge_links(&mut self, now: Duration) {
        let limit = self.config.max_interval.max(self.shared.config.detection);
        let lost = self.outs.iter().filter(|(_, out)| {
            !out.renew
                && out
                    .down
                    .is_some_and(|since| now.saturating_sub(since) >= limit)
        });
        for link in lost.map(|(link, _)| *link).collect::<Vec<_>>() {
            self.membership.out_lost(link);
        }
    }

    /// Ends a link with a goodbye, so that its node notices; another one follows when it has ended.
    pub(super) fn renew(&mut self, link: OutId) {
        if let Some(out) = self.outs.get_mut(&link) {
            out.renew = true;
            if out.down.is_none() {
                out.cancel.cancel();
            }
        }
    }

    pub(super) fn link_ended(&mut self, link: OutId) {
        let out = self.outs.remove(&link);
        self.membership.out_ended(link);
        if let Some(out) = out.filter(|out| out.renew) {
            self.renewed.insert(out.url.clone());
            self.observe(&out.url);
        }
    }

    /// Brings the subscriptions of established links in line with what is wanted of these channels.
    pub(super) fn follow(&mut self, changed: &[ChannelName]) {
        if self.shared.interest.len() > self.config.channels_max {
            return self.resubscribe();
        }
        let everything = ChannelName::parse("/**").ok();
        let mut stuck = Vec::new();
        for out in self.outs.values_mut() {
            if out.subscribed.is_empty()
                || everything.iter().any(|all| out.subscribed.contains(all))
            {
                continue;
            }
            let (mut add, mut remove) = (Vec::new(), Vec::new());
            for channel in changed {
                let name = channel.as_str().to_owned();
                if self.shared.interest.wants(channel) {
                    if out.subscribed.insert(channel.clone()) {
                        add.push(name);
                    }
                } else if out.subscribed.remove(channel) {
                    remove.push(name);
                }
            }
            if !send_subscriptions(out, add, remove) {
                stuck.push(out.url.clone());
            }
        }
        self.reset(stuck);
    }
}

/// Whether there was room for what is to be sent.
#[must_use]
fn subscribe(out: &mut Out, wanted: &BTreeSet<ChannelName>) -> bool {
    let name = |channel: &ChannelName| channel.as_str().to_owned();
    let add = wanted.difference(&out.subscribed).map(name).collect();
    let remove = out.subscribed.difference(wanted).map(name).collect();
    out.subscribed.clone_from(wanted);
    send_subscriptions(out, add, remove)
}

#[must_use]
fn send_subscriptions(out: &Out, add: Vec<String>, remove: Vec<String>) -> bool {
    let bytes = |names: &[String]| names.iter().map(|name| name.len() + 32).sum();
    let (added, removed) = (bytes(&add), bytes(&remove));
    (add.is_empty() || out.commands.push(LinkCommand::Subscribe(add), added))
        && (remove.is_empty() || out.commands.push(LinkCommand::Unsubscribe(remove), removed))
}
