//! The task of the Oort dialect: it owns the membership, and carries out its commands.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{ChannelName, EndReason, Engine, Session};
use parking_lot::RwLock;
use sha2::{Digest, Sha256};
use tokio::time::{MissedTickBehavior, interval};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;

use super::dial::OutLink;
use super::digest::SecretDigest;
use super::event::{Event, LinkCommand, SiblingNews};
use super::inbox::Inbox;
use super::membership::{Command, OortMembership, OortNode, OutId, SessionKey};
use super::peers::{Foreign, OortLink};
use super::serve::{Pace, serve};
use super::server::{Identity, LinkServer, Peer};
use super::services::ServiceState;
use super::seti::SetiState;
use super::siblings::Siblings;
use super::state::{OortOutput, OortPeer, OortState};
use super::url::OortUrl;
use super::wire::{self, Join, ReplyExt};
use crate::net::Net;
use crate::runtime::{Bulk, Shared, StateLinks};
use crate::service::Services;
use crate::seti::Seti;
use crate::{Incarnation, Member, NodeId, NodeName, OortConfig, StateChannel};

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

/// What others than the task see of the Oort dialect.
#[derive(Debug)]
pub(crate) struct OortSide {
    config: OortConfig,
    me: Arc<Identity>,
    inbox: Arc<Inbox<Event>>,
    links: Arc<Engine>,
}

impl OortSide {
    /// The path of this node's Oort URL.
    pub(crate) fn path(&self) -> &str {
        self.me.url.path()
    }

    pub(crate) fn url(&self) -> &OortUrl {
        &self.me.url
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

/// A link of this node.
struct Out {
    url: String,
    commands: Arc<Inbox<LinkCommand>>,
    cancel: CancellationToken,
    /// Since when it does not work; none while it does.
    down: Option<Duration>,
    /// It has had a session.
    known: bool,
    /// What it has been told to subscribe to.
    subscribed: BTreeSet<ChannelName>,
}

/// A node with a session here.
struct Node {
    peer: OortPeer,
    session: Arc<Session>,
    /// The link on which it is reached, once it has joined.
    out: Option<OutId>,
    joined: bool,
}

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
    /// Oort URLs of Halley nodes, and the nodes they know.
    sibling_news: BTreeMap<NodeName, (String, Vec<String>)>,
    looked: Duration,
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
    let server = LinkServer::new(
        &config,
        &me,
        &inbox,
        &shared.engine,
        shared.clock,
        &shared.counters,
        shared.config.limits.message_queue_bytes,
    );
    let side = Arc::new(OortSide {
        config: config.clone(),
        me: me.clone(),
        inbox: inbox.clone(),
        links: server.links.clone(),
    });
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
        sibling_news: BTreeMap::new(),
        looked: Duration::ZERO,
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

/// The incarnation of a life of an Oort node: from its id, so that it is the same on every Halley node.
fn incarnation(oort_id: &str) -> Incarnation {
    let hash = Sha256::digest(oort_id.as_bytes());
    let mut first = [0; 8];
    first.copy_from_slice(&hash[..8]);
    Incarnation(u64::from_le_bytes(first))
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
        for seed in self.config.cloud.clone() {
            self.observe(&seed);
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

    /// What is wanted of other nodes.
    fn wanted(&self) -> BTreeSet<ChannelName> {
        let mut wanted = self.shared.interest.announced();
        if wanted.len() > self.config.channels_max {
            wanted = ChannelName::parse("/**").into_iter().collect();
        }
        wanted.extend(self.channels.iter().cloned());
        wanted
    }

    /// Brings the subscriptions of all established links in line with what is wanted.
    fn resubscribe(&mut self) {
        let wanted = self.wanted();
        for out in self.outs.values_mut() {
            // Before its join batch a link has no subscriptions, and then gets all.
            if !out.subscribed.is_empty() {
                subscribe(out, &wanted);
            }
        }
    }

    /// Brings the subscriptions of established links in line with what is wanted of these channels.
    fn follow(&mut self, changed: &[ChannelName]) {
        if self.shared.interest.len() > self.config.channels_max {
            return self.resubscribe();
        }
        let everything = ChannelName::parse("/**").ok();
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
            send_subscriptions(out, add, remove);
        }
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
            Event::LinkDown(link) => {
                if let Some(out) = self.outs.get_mut(&link) {
                    out.down = Some(self.shared.clock.elapsed());
                }
            }
            Event::LinkEnded(link) => {
                self.outs.remove(&link);
                self.membership.out_ended(link);
            }
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
                let id = draw_id(&self.shared);
                self.me.id.write().clone_from(&id);
                self.membership.restart(id);
            }
        }
    }

    fn node_of(&self, session: SessionKey) -> Option<&Node> {
        self.nodes
            .values()
            .find(|node| node.session.key() == session)
    }

    fn session_added(&mut self, session: Arc<Session>) {
        let Some(Peer(ext)) = session.attachment::<Peer>() else {
            return;
        };
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
                };
                self.nodes.insert(ext.oort_id.clone(), node);
            }
        }
    }

    fn join(&mut self, session: SessionKey, join: &Join) {
        let Some(Peer(ext)) = self
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

    fn handshaken(&mut self, link: OutId, ext: Option<ReplyExt>) {
        let Some(out) = self.outs.get_mut(&link) else {
            return;
        };
        (out.down, out.known) = (None, true);
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
    async fn link_back(&mut self, link: OutId) {
        if let Some(out) = self.outs.get_mut(&link) {
            out.down = None;
        }
        let node = self
            .nodes
            .values()
            .find(|node| node.joined && node.out == Some(link));
        if let Some(peer) = node.map(|node| node.peer.clone()) {
            self.send_join(link);
            self.translate(&peer, |state, peer, out| state.joined(peer, out))
                .await;
        }
    }

    fn sibling(&mut self, name: NodeName, news: SiblingNews) {
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

    /// The node has lost something: both sides begin again.
    fn start_anew(&mut self, to: &NodeId) {
        let Some(node) = self.nodes.values().find(|node| node.peer.id == *to) else {
            return;
        };
        tracing::warn!(node = %to, "too much waits for an Oort node: its links are reset");
        self.shared.counters.links_reset_queue_full.add(1);
        let url = node.peer.url.clone();
        self.server.links.end_session(
            node.session.id(),
            EndReason::QueueOverflow,
            self.shared.clock.now(),
        );
        self.membership.deobserve(&url);
    }

    async fn received(&mut self, peer: &OortPeer, channel: &str, data: &str) {
        self.translate(peer, |state, peer, out| {
            if state.handles(channel) {
                state.received(peer, channel, data, out);
            }
        })
        .await;
    }

    /// Lets every translator do something for a node, and does what comes out.
    async fn translate(
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

    async fn put_out(&mut self, peer: &OortPeer, output: OortOutput) {
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

    async fn tell(&self, foreign: Foreign) {
        self.shared.bulk(Bulk::Foreign(foreign)).await;
    }

    fn send_join(&mut self, link: OutId) {
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

    /// Tells a node which others there are.
    fn send_cloud(&self, link: OutId) {
        if let Some(out) = self.outs.get(&link) {
            out.commands.push_always(LinkCommand::Publish {
                channel: wire::CLOUD.to_owned(),
                data: wire::json(&self.cloud()),
            });
        }
    }

    /// All nodes that this one knows, Java nodes and Halley nodes.
    fn cloud(&self) -> Vec<String> {
        let mut urls = self.membership.known();
        urls.extend(self.sibling_news.values().map(|(url, _)| url.clone()));
        urls
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
            Command::EndSession(key) => {
                if let Some(session) = self.sessions.remove(&key) {
                    let now = self.shared.clock.now();
                    self.server
                        .links
                        .end_session(session.id(), EndReason::Server, now);
                }
            }
            Command::SendJoin(link) => self.send_join(link),
            Command::Joined { node, out, .. } => self.node_joined(&node, out).await,
            Command::Moved { node, session } => {
                if let (Some(entry), Some(session)) =
                    (self.nodes.get_mut(&node.id), self.sessions.get(&session))
                {
                    entry.session = session.clone();
                }
            }
            Command::Rerouted { node, out } => {
                if let Some(entry) = self.nodes.get_mut(&node.id) {
                    entry.out = Some(out);
                }
            }
            Command::Left(node) => {
                let Some(entry) = self.nodes.remove(&node.id) else {
                    return;
                };
                for state in &self.states {
                    state.left(&entry.peer);
                }
                if entry.joined {
                    self.tell(Foreign::Left(entry.peer.id)).await;
                }
            }
        }
    }

    fn dial(&mut self, link: OutId, url: &str, alias: Option<String>) {
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
            known: false,
            subscribed: BTreeSet::new(),
        };
        self.outs.insert(link, out);
        let task = OutLink {
            net: self.net.clone(),
            shared: self.shared.clone(),
            config: self.config.clone(),
            me: self.me.clone(),
            inbox: self.inbox.clone(),
            link,
            url: parsed,
            alias,
            commands,
            cancel,
        };
        self.shared.tasks.spawn(Box::pin(task.run()));
    }

    async fn node_joined(&mut self, node: &OortNode, out: OutId) {
        let Some(entry) = self.nodes.get_mut(&node.id) else {
            return;
        };
        entry.out = Some(out);
        entry.joined = true;
        let peer = entry.peer.clone();
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
}

fn subscribe(out: &mut Out, wanted: &BTreeSet<ChannelName>) {
    let name = |channel: &ChannelName| channel.as_str().to_owned();
    let add = wanted.difference(&out.subscribed).map(name).collect();
    let remove = out.subscribed.difference(wanted).map(name).collect();
    out.subscribed.clone_from(wanted);
    send_subscriptions(out, add, remove);
}

fn send_subscriptions(out: &Out, add: Vec<String>, remove: Vec<String>) {
    if !add.is_empty() {
        out.commands.push_always(LinkCommand::Subscribe(add));
    }
    if !remove.is_empty() {
        out.commands.push_always(LinkCommand::Unsubscribe(remove));
    }
}
