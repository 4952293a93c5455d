//! The task of the Oort dialect: it owns the membership, and carries out its commands.
//!
//! Here is what happens when; `links` has the links that this node opens, `nodes` who the other nodes are, `state` what
//! passes between them and the kinds of state.

mod links;
mod nodes;
mod state;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{ChannelName, EndReason, Session};
use parking_lot::RwLock;
use tokio::time::{MissedTickBehavior, interval};

use self::links::Out;
use self::nodes::Node;
use super::digest::SecretDigest;
use super::event::Event;
use super::inbox::Inbox;
use super::membership::{Command, OortMembership, OortNode, OutId, SessionKey};
use super::peers::Foreign;
use super::server::{Identity, LinkServer};
use super::services::ServiceState;
use super::seti::SetiState;
use super::siblings::Siblings;
use super::side::OortSide;
use super::state::OortState;
use super::tally::Tallies;
use super::url::OortUrl;
use crate::net::Net;
use crate::runtime::{Shared, StateLinks};
use crate::service::Services;
use crate::seti::Seti;
use crate::{NodeName, OortConfig, StateChannel};

/// How often time passes for the engine of links.
const TICK: Duration = Duration::from_millis(50);
/// How often seeds, and the channels of translators, are looked at.
const LOOK: Duration = Duration::from_millis(250);
/// Bytes that may wait for the task.
const INBOX_BYTES: usize = 64 << 20;
/// How long a link that once had a session is tried.
const GIVE_UP: Duration = Duration::from_secs(600);
/// How long a link that never had one is tried, unless it is to a seed.
const GIVE_UP_UNKNOWN: Duration = Duration::from_secs(30);

/// The task.
struct Actor<N> {
    net: N,
    shared: Arc<Shared>,
    config: OortConfig,
    me: Arc<Identity>,
    inbox: Arc<Inbox<Event>>,
    server: LinkServer,
    membership: OortMembership,
    outs: BTreeMap<OutId, Out>,
    sessions: BTreeMap<SessionKey, Arc<Session>>,
    /// By Oort id.
    nodes: BTreeMap<String, Node>,
    states: Vec<Arc<dyn OortState>>,
    /// The channels of all translators.
    channels: BTreeSet<ChannelName>,
    siblings: Arc<Siblings>,
    tallies: Arc<Tallies>,
    /// Oort URLs of Halley nodes, and the nodes they know.
    sibling_news: BTreeMap<NodeName, (String, Vec<String>)>,
    looked: Duration,
    /// Nodes whose links this node has closed to begin again.
    again: BTreeSet<String>,
    /// URLs whose next link takes the place of one that was known.
    renewed: BTreeSet<String>,
}

/// Prepares the dialect: what others see, and the task to run.
pub(crate) fn run<N: Net>(
    net: N,
    shared: Arc<Shared>,
    config: OortConfig,
    url: OortUrl,
    seti: Seti,
    services: Services,
    mut states: Vec<Arc<dyn OortState>>,
) -> (Arc<OortSide>, impl Future<Output = ()> + Send + use<N>) {
    let inbox = Arc::new(Inbox::new(INBOX_BYTES));
    let me = Arc::new(Identity {
        name: shared.config.name.clone(),
        aliases: config.aliases.clone(),
        id: RwLock::new(draw_id(&shared)),
        digest: SecretDigest::new(&config.secret, config.accept_sha1, config.show_sha1),
        url,
    });
    let tallies = Arc::new(Tallies::new(
        shared.counters.clone(),
        shared.config.siblings_max,
    ));
    let server = LinkServer::new(
        &config,
        &me,
        &inbox,
        &shared.engine,
        shared.clock,
        &shared.counters,
        shared.config.limits.message_queue_bytes,
        &tallies,
    );
    let side = Arc::new(OortSide::new(
        config.clone(),
        me.clone(),
        inbox.clone(),
        server.links.clone(),
        tallies.clone(),
    ));
    states.insert(0, Arc::new(ServiceState::new(services)));
    states.insert(0, Arc::new(SetiState::new(seti, &me.url, shared.clock)));
    let sender = Arc::new(StateLinks::new(shared.clone()));
    let siblings = Arc::new(Siblings::new(sender, inbox.clone(), me.url.as_str()));
    shared
        .registrations
        .lock()
        .handlers
        .push((StateChannel::OORT, siblings.clone()));
    let node = OortNode {
        id: me.id.read().clone(),
        url: me.url.as_str().to_owned(),
    };
    let actor = Actor {
        membership: OortMembership::new(node, shared.config.siblings_max),
        net,
        config,
        me,
        inbox,
        server,
        outs: BTreeMap::new(),
        sessions: BTreeMap::new(),
        nodes: BTreeMap::new(),
        states,
        channels: BTreeSet::new(),
        siblings,
        tallies,
        sibling_news: BTreeMap::new(),
        looked: Duration::ZERO,
        again: BTreeSet::new(),
        renewed: BTreeSet::new(),
        shared,
    };
    (side, actor.run())
}

/// A random UUID, as Java nodes draw one at each start.
fn draw_id(shared: &Shared) -> String {
    let bytes: [u8; 16] = shared.random.bytes();
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!(
        "{}-{}-4{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

impl<N: Net> Actor<N> {
    async fn run(mut self) {
        let shared = self.shared.clone();
        let inbox = self.inbox.clone();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.look(shared.clock.elapsed());
        loop {
            self.perform().await;
            tokio::select! {
                biased;
                () = shared.cancel.cancelled() => break,
                event = inbox.next() => self.handle(event).await,
                _ = tick.tick() => {
                    self.server.links.tick(shared.clock.now());
                    let now = shared.clock.elapsed();
                    self.judge_links(now);
                    if now.saturating_sub(self.looked) >= LOOK {
                        self.look(now);
                    }
                }
            }
        }
        // Its links say goodbye by themselves; the other nodes' sessions end here.
        for out in self.outs.values() {
            out.cancel.cancel();
        }
        self.server
            .links
            .end_all_sessions(EndReason::Server, shared.clock.now());
    }

    /// What is done from time to time.
    fn look(&mut self, now: Duration) {
        self.looked = now;
        let again = std::mem::take(&mut self.again);
        self.renewed.clear();
        for url in self.config.cloud.clone().iter().chain(&again) {
            self.observe(url);
        }
        let lost = self.outs.values().filter(|out| {
            let limit = if out.known { GIVE_UP } else { GIVE_UP_UNKNOWN };
            out.down
                .is_some_and(|since| now.saturating_sub(since) > limit)
                && !self.config.cloud.contains(&out.url)
                && !self.membership.is_connected(&out.url)
        });
        for url in lost.map(|out| out.url.clone()).collect::<Vec<_>>() {
            tracing::info!(url, "an Oort node has been away for long: it is forgotten");
            self.membership.deobserve(&url);
        }
        let channels: BTreeSet<ChannelName> = self
            .states
            .iter()
            .flat_map(|state| state.channels())
            .filter_map(|channel| ChannelName::parse(&channel).ok())
            .collect();
        let new: Vec<ChannelName> = channels.difference(&self.channels).cloned().collect();
        if !new.is_empty() {
            self.channels = channels;
            self.resubscribe();
        }
        self.siblings.tell(self.membership.known());
    }

    /// A node may be at this URL; one of another dialect is none.
    fn observe(&mut self, url: &str) {
        let sibling = self
            .sibling_news
            .values()
            .any(|(sibling, _)| sibling == url);
        if sibling || OortUrl::parse(url).is_err() {
            return;
        }
        self.membership.observe(url, None);
    }

    async fn handle(&mut self, event: Event) {
        match event {
            Event::Observe(url) => self.observe(&url),
            Event::SessionAdded(session) => self.session_added(session),
            Event::SessionRemoved { session, expired } => {
                self.sessions.remove(&session);
                self.membership.session_removed(session, expired);
            }
            Event::Join { session, join } => self.join(session, &join),
            Event::Cloud(urls) => {
                for url in urls {
                    self.observe(&url);
                }
            }
            Event::Subscribed(session, channel) => {
                let id = self.node_of(session.key()).map(|node| node.peer.clone());
                if let Some(peer) = id {
                    self.translate(&peer, |state, peer, out| {
                        state.subscribed(peer, channel.as_str(), out);
                    })
                    .await;
                }
            }
            Event::Published {
                session,
                channel,
                data,
            } => {
                if let Some(peer) = self.node_of(session).map(|node| node.peer.clone()) {
                    self.received(&peer, &channel, data.get()).await;
                }
            }
            Event::LinkMessage {
                link,
                channel,
                data,
            } => {
                let url = self.outs.get(&link).map(|out| out.url.clone());
                let peer = self
                    .nodes
                    .values()
                    .find(|node| node.out == Some(link) || Some(&node.peer.url) == url.as_ref())
                    .map(|node| node.peer.clone());
                if let Some(peer) = peer {
                    self.received(&peer, &channel, data.get()).await;
                }
            }
            Event::Handshaken(link, ext) => self.handshaken(link, ext),
            Event::LinkBack(link) => self.link_back(link).await,
            Event::LinkDown(link, silence) => {
                let now = self.shared.clock.elapsed();
                if let Some(out) = self.outs.get_mut(&link) {
                    out.down = Some(now.saturating_sub(silence));
                }
                self.judge_links(now);
            }
            Event::LinkEnded(link) => self.link_ended(link),
            Event::State { to, channel, body } => {
                let peer = self
                    .nodes
                    .values()
                    .find(|node| node.peer.id == to)
                    .map(|node| node.peer.clone());
                if let Some(peer) = peer {
                    self.translate(&peer, |state, peer, out| {
                        state.send(peer, channel, body.clone(), out);
                    })
                    .await;
                }
            }
            Event::StateLost(to) => self.start_anew(&to),
            Event::Interest(changed) => self.follow(&changed),
            Event::Sibling(name, news) => self.sibling(name, news),
            Event::Restarted => {
                self.again.extend(self.membership.known());
                let id = draw_id(&self.shared);
                self.me.id.write().clone_from(&id);
                self.membership.restart(id);
            }
        }
    }

    async fn perform(&mut self) {
        loop {
            let commands = self.membership.commands();
            if commands.is_empty() {
                return;
            }
            for command in commands {
                self.perform_one(command).await;
            }
        }
    }

    async fn perform_one(&mut self, command: Command) {
        match command {
            Command::Dial { link, url, alias } => self.dial(link, &url, alias),
            Command::CloseOut(link) => {
                if let Some(out) = self.outs.get(&link) {
                    out.cancel.cancel();
                }
            }
            Command::Renew(link) => self.renew(link),
            Command::EndSession(key) => self.end_session(key, EndReason::Server),
            // What it has shown is not worth anything any more: it is advised to handshake.
            Command::ExpireSession(key) => self.end_session(key, EndReason::CredentialExpired),
            Command::SendJoin(link) => self.send_join(link),
            Command::Joined { node, out, .. } => self.node_joined(&node, out).await,
            Command::Moved { node, session } => {
                if let (Some(entry), Some(session)) =
                    (self.nodes.get_mut(&node.id), self.sessions.get(&session))
                {
                    entry.session = session.clone();
                    self.show(&node.id);
                }
            }
            Command::Rerouted { node, out } => {
                if let Some(entry) = self.nodes.get_mut(&node.id) {
                    entry.out = Some(out);
                    self.show(&node.id);
                }
            }
            Command::Left(node) => {
                let Some(entry) = self.nodes.remove(&node.id) else {
                    return;
                };
                entry.tally.down();
                for state in &self.states {
                    state.left(&entry.peer);
                }
                if entry.joined {
                    self.tell(Foreign::Left(entry.peer.id)).await;
                }
            }
        }
    }
}
