//! The Bayeux server for the links of other nodes: an engine of its own, which clients never reach.
//!
//! ```text
//!   this node's engine ──tap──▶ engine of links ──▶ sessions of nodes that have subscribed
//!                                     │
//!                       hooks: sessions, joins, presence, objects ──▶ inbox of the task
//! ```
//!
//! What a node publishes here on a channel of clients goes to this node's sessions only: one hop, as everything that
//! comes from nodes.

use std::sync::Arc;

use halley_bayeux::{
    Attachment, ChannelName, Decision, EndReason, Engine, EngineConfig, Extension, Flow,
    HandshakeVerdict, Json, Message, Millis, Publication, Reply, SecurityPolicy, Service,
    ServiceReply, Session, SessionListener, SubscriptionListener, Tap, TapId, Verdict,
};
use parking_lot::RwLock;
use serde_json::value::RawValue;

use super::digest::SecretDigest;
use super::event::Event;
use super::inbox::Inbox;
use super::tally::{Tallies, Tally};
use super::url::OortUrl;
use super::wire::{self, HandshakeExt, ReplyExt};
use crate::forwarding::is_forwarded;
use crate::{Clock, Counters, NodeName, OortConfig};

/// Queued messages of one link; bytes bound it before.
const QUEUE_MAX: usize = 100_000;
/// Channels of one link. A node that observes more should observe a pattern.
const SUBSCRIPTIONS_MAX: usize = 100_000;

/// Who this node is in the Oort dialect.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) url: OortUrl,
    /// Other URLs by which nodes may dial this one.
    pub(super) aliases: Vec<String>,
    pub(super) name: NodeName,
    /// Drawn at the start, and again when the node starts over.
    pub(super) id: RwLock<String>,
    pub(super) digest: SecretDigest,
}

impl Identity {
    fn reply_ext(&self) -> ReplyExt {
        ReplyExt {
            oort_url: self.url.as_str().to_owned(),
            oort_id: self.id.read().clone(),
            halley: Some(self.name.as_str().to_owned()),
        }
    }

    /// Who handshakes, or why it is refused.
    fn judge(&self, ext: &HandshakeExt) -> Result<NodeName, Refused> {
        if !self.digest.accepts(&ext.oort_secret) {
            return Err(Refused::Secret);
        }
        let known = ext.comet_url == self.url.as_str() || self.aliases.contains(&ext.comet_url);
        if !known {
            return Err(Refused::OtherUrl);
        }
        if ext.halley.is_some() {
            return Err(Refused::Sibling);
        }
        let url = OortUrl::parse(&ext.oort_url).ok();
        let name = url.filter(|_| !ext.oort_id.is_empty());
        name.and_then(|url| url.node_name())
            .ok_or(Refused::Identity)
    }
}

/// Why a node is refused.
#[derive(Clone, Copy, Debug, thiserror::Error)]
enum Refused {
    #[error("the digest of its secret is another one")]
    Secret,
    #[error(
        "it has dialled a URL that is not this node's: see mesh.oort.url and mesh.oort.aliases"
    )]
    OtherUrl,
    #[error("it is a Halley node: those have links of their own")]
    Sibling,
    #[error("its oortURL or oortId cannot be used")]
    Identity,
}

/// What a session was made with.
#[derive(Debug)]
pub(super) struct Peer {
    pub(super) ext: HandshakeExt,
    pub(super) tally: Arc<Tally>,
}

fn handshake_ext(message: &Message<'_>) -> Option<HandshakeExt> {
    serde_json::from_str(message.ext_field(wire::EXT)?).ok()
}

struct Policy {
    me: Arc<Identity>,
    counters: Arc<Counters>,
    tallies: Arc<Tallies>,
}

impl SecurityPolicy for Policy {
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
        let refused = match handshake_ext(message) {
            None => "no handshake of a node".to_owned(),
            Some(ext) => match self.me.judge(&ext) {
                Ok(name) => {
                    let tally = self.tallies.of(&name);
                    return Decision::Now(HandshakeVerdict::Grant {
                        user: None,
                        attachment: Some(Attachment::new(Peer { ext, tally })),
                    });
                }
                Err(refused) => {
                    if matches!(refused, Refused::Sibling) {
                        return Decision::Now(HandshakeVerdict::deny());
                    }
                    let mut url = ext.oort_url;
                    url.truncate(url.floor_char_boundary(200));
                    format!("{url:?}: {refused}")
                }
            },
        };
        self.counters.oort_refused.add(1);
        tracing::warn!("an Oort handshake is refused: {refused}");
        Decision::Now(HandshakeVerdict::deny())
    }

    fn can_create(&self, _: &Arc<Session>, _: &ChannelName, _: &Message<'_>) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }

    fn can_subscribe(
        &self,
        _: &Arc<Session>,
        _: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }

    fn can_publish(&self, _: &Arc<Session>, _: &ChannelName, _: &Message<'_>) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }
}

/// All hooks of the engine of links.
struct Hooks {
    me: Arc<Identity>,
    inbox: Arc<Inbox<Event>>,
    /// This node's engine.
    engine: Arc<Engine>,
    tap: TapId,
    clock: Clock,
    counters: Arc<Counters>,
}

impl Hooks {
    /// Hands on what a node has published on an internal channel. When there is too much, the node starts over.
    fn published(&self, session: &Session, channel: &str, data: Option<&str>) -> bool {
        let data = data.and_then(|data| RawValue::from_string(data.to_owned()).ok());
        let Some(data) = data else {
            return true;
        };
        let bytes = data.get().len() + channel.len();
        let event = Event::Published {
            session: session.key(),
            channel: channel.to_owned(),
            data,
        };
        self.inbox.push(event, bytes)
    }
}

impl Extension for Hooks {
    fn incoming(
        &self,
        _: Option<&Arc<Session>>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        _: Millis,
    ) -> Flow {
        if message.channel().as_str() == "/meta/handshake" && message.ext_field(wire::EXT).is_some()
        {
            let ext = wire::json(&self.me.reply_ext());
            if let Ok(ext) = Json::validate(ext.get(), 8) {
                reply.set_ext(wire::EXT, ext);
            }
        }
        Flow::Continue
    }

    fn outgoing_broadcast(
        &self,
        publisher: &Arc<Session>,
        publication: &Arc<Publication>,
        _: Millis,
    ) -> Flow {
        let channel = publication.channel();
        if is_forwarded(channel.as_str()) {
            self.counters.publications_received.add(1);
            self.engine
                .publish_from_sibling(publication, self.clock.now());
            return Flow::Taken;
        }
        if channel.as_str() == wire::CLOUD {
            let urls = publication
                .data()
                .and_then(|data| serde_json::from_str::<Vec<String>>(data).ok())
                .unwrap_or_default();
            let bytes = urls.iter().map(String::len).sum();
            if !self.inbox.push(Event::Cloud(urls), bytes) {
                return Flow::Stop;
            }
        } else if channel.is_internal()
            && !self.published(publisher, channel.as_str(), publication.data())
        {
            return Flow::Stop;
        }
        Flow::Taken
    }
}

impl Service for Hooks {
    fn message(&self, session: &Arc<Session>, message: &Message<'_>, _: Millis) -> ServiceReply {
        let channel = message.channel().as_str();
        let taken = if channel == wire::JOIN {
            let join = message
                .data()
                .and_then(|data| serde_json::from_str(data).ok());
            let Some(join) = join else {
                return ServiceReply::Refused("400::join_invalid".to_owned());
            };
            let session = session.key();
            self.inbox.push(Event::Join { session, join }, 0)
        } else {
            self.published(session, channel, message.data())
        };
        if taken {
            ServiceReply::Accepted
        } else {
            ServiceReply::Refused("503::busy".to_owned())
        }
    }
}

impl SessionListener for Hooks {
    fn added(&self, session: &Arc<Session>) {
        self.inbox.push_always(Event::SessionAdded(session.clone()));
    }

    fn removed(&self, session: &Arc<Session>, reason: EndReason) {
        self.inbox.push_always(Event::SessionRemoved {
            session: session.key(),
            expired: matches!(reason, EndReason::Expired | EndReason::QueueOverflow),
        });
    }
}

impl SubscriptionListener for Hooks {
    fn first(&self, channel: &ChannelName) {
        if is_forwarded(channel.as_str()) {
            self.engine.tap_subscribe(self.tap, channel);
        }
    }

    fn last(&self, channel: &ChannelName) {
        if is_forwarded(channel.as_str()) {
            self.engine.tap_unsubscribe(self.tap, channel);
        }
    }

    fn subscribed(&self, session: &Arc<Session>, channel: &ChannelName) {
        if channel.is_internal() {
            // What it would be told now it is told when it joins, too.
            let _ = self
                .inbox
                .push(Event::Subscribed(session.clone(), channel.clone()), 0);
        }
    }
}

/// What other nodes have subscribed to, as a subscriber of this node's engine.
struct LinkTap {
    links: Arc<Engine>,
    clock: Clock,
    counters: Arc<Counters>,
    message_bytes: usize,
}

impl Tap for LinkTap {
    fn publication(&self, publication: &Arc<Publication>) {
        if publication.len() > self.message_bytes {
            // The other node would close the link, and get it again and again.
            self.counters.publications_too_large.add(1);
        } else if is_forwarded(publication.channel().as_str()) {
            let reached = self
                .links
                .publish_from_sibling(publication, self.clock.now());
            self.counters.oort_publications_sent.add(reached as u64);
        }
    }
}

/// The engine of links, and what ties it to the node's own.
pub(super) struct LinkServer {
    pub(super) links: Arc<Engine>,
    engine: Arc<Engine>,
    tap: TapId,
}

impl LinkServer {
    pub(super) fn new(
        config: &OortConfig,
        me: &Arc<Identity>,
        inbox: &Arc<Inbox<Event>>,
        engine: &Arc<Engine>,
        clock: Clock,
        counters: &Arc<Counters>,
        queue_bytes: usize,
        tallies: &Arc<Tallies>,
    ) -> Self {
        let ms = |time: std::time::Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let settings = EngineConfig {
            timeout_ms: ms(config.timeout),
            max_interval_ms: ms(config.max_interval),
            max_queue: QUEUE_MAX,
            max_queue_bytes: queue_bytes,
            max_message_bytes: config.max_message_bytes,
            max_depth: halley_bayeux::DEPTH_MAX,
            max_batch: 100_000,
            max_frame_bytes: config.max_message_bytes,
            max_subscriptions: SUBSCRIPTIONS_MAX,
            max_channels_per_session: SUBSCRIPTIONS_MAX,
            max_sessions: 4096,
            internal_channels: true,
            ack: config.ack,
            supported_connection_types: vec!["websocket".to_owned()],
            ..EngineConfig::default()
        };
        let policy = Arc::new(Policy {
            me: me.clone(),
            counters: counters.clone(),
            tallies: tallies.clone(),
        });
        let links = Engine::new(settings, policy);
        let tap = Arc::new(LinkTap {
            links: links.clone(),
            clock,
            counters: counters.clone(),
            message_bytes: config.max_message_bytes,
        });
        let tap = engine.add_tap(tap);
        let hooks = Arc::new(Hooks {
            me: me.clone(),
            inbox: inbox.clone(),
            engine: engine.clone(),
            tap,
            clock,
            counters: counters.clone(),
        });
        links.add_extension(hooks.clone());
        links.add_session_listener(hooks.clone());
        links.add_subscription_listener(hooks.clone());
        for service in [wire::JOIN, "/service/oort/**"] {
            if let Ok(service) = ChannelName::parse(service) {
                links.add_service(service, hooks.clone());
            }
        }
        Self {
            links,
            engine: engine.clone(),
            tap,
        }
    }
}

impl Drop for LinkServer {
    /// The two engines hold each other through the tap.
    fn drop(&mut self) {
        self.engine.remove_tap(self.tap);
    }
}
