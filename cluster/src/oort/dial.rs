//! A link that this node opens: a Bayeux client on the other node's server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{ChannelName, Publication};
use halley_client::{Client, Events, Json, LinkError, RequestError, Traffic, Transport};
use serde_json::value::RawValue;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::event::{Event, LinkCommand};
use super::inbox::Inbox;
use super::membership::OutId;
use super::server::Identity;
use super::tally::Tallies;
use super::url::OortUrl;
use super::wire::{self, HandshakeExt};
use crate::OortConfig;
use crate::forwarding::is_forwarded;
use crate::net::Net;
use crate::runtime::Shared;

/// Commands that leave in one batch.
const BATCH_MAX: usize = 64;
/// Pause before a join that was refused is repeated, as in CometD.
const JOIN_PAUSE: Duration = Duration::from_secs(1);
/// How long a node may take to answer the goodbye of a link, before the next one to it is opened.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
/// First pause between two attempts to connect.
const FIRST_PAUSE: Duration = Duration::from_millis(250);

/// A link and what it needs.
pub(super) struct OutLink<N> {
    pub(super) net: N,
    pub(super) shared: Arc<Shared>,
    pub(super) config: OortConfig,
    pub(super) me: Arc<Identity>,
    pub(super) inbox: Arc<Inbox<Event>>,
    pub(super) tallies: Arc<Tallies>,
    pub(super) link: OutId,
    pub(super) url: OortUrl,
    pub(super) alias: Option<String>,
    pub(super) commands: Arc<Inbox<LinkCommand>>,
    pub(super) cancel: CancellationToken,
}

impl<N: Net> OutLink<N> {
    /// Runs until the link is cancelled or the other node does not want it.
    pub(super) async fn run(self) {
        // Only the attempts are dropped when the link is to end: a session ends with a goodbye that is waited for.
        let opened = tokio::select! {
            biased;
            () = self.cancel.cancelled() => None,
            opened = self.opened() => Some(opened),
        };
        if let Some((client, events)) = opened {
            self.serve(client, events).await;
        }
        self.inbox.push_always(Event::LinkEnded(self.link));
    }

    /// Tries until there is a session.
    async fn opened(&self) -> (Client, Events) {
        let mut pause = FIRST_PAUSE;
        let mut problem_told = String::new();
        loop {
            match self.open().await {
                Ok(opened) => return opened,
                Err(problem) => {
                    // Told once, not at every attempt.
                    if problem != problem_told {
                        tracing::info!(url = %self.url, problem, "no link to an Oort node");
                        problem_told = problem;
                    }
                }
            }
            sleep(self.shared.random.jitter(pause)).await;
            pause = (pause * 2).min(self.shared.config.backoff_max);
        }
    }

    /// One attempt to get a session.
    async fn open(&self) -> Result<(Client, Events), String> {
        let address = self.address().await?;
        let ext = HandshakeExt {
            oort_url: self.me.url.as_str().to_owned(),
            oort_id: self.me.id.read().clone(),
            oort_secret: self.me.digest.shown().to_owned(),
            comet_url: self.url.as_str().to_owned(),
            oort_alias_url: self.alias.clone(),
            halley: Some(self.me.name.as_str().to_owned()),
        };
        // By address, so that a name cannot lead elsewhere after it has been checked.
        Client::builder(format!("ws://{address}{}", self.url.path()))
            .ext(wire::EXT, ext)
            .transports([Transport::WebSocket])
            .acknowledge(self.config.ack)
            .connect_timeout(self.shared.config.handshake_timeout)
            .max_network_delay(self.shared.config.detection)
            // A connect is held for long: a node that is gone without a word is to be noticed before.
            .ping(
                self.shared.config.heartbeat_interval,
                self.shared.config.detection,
            )
            .request_timeout(3 * self.shared.config.detection)
            .backoff(FIRST_PAUSE, self.shared.config.backoff_max)
            .max_message_bytes(self.config.max_message_bytes)
            .max_frame_bytes(4 * self.config.max_message_bytes)
            .connect()
            .await
            .map_err(|error| error.to_string())
    }

    async fn address(&self) -> Result<SocketAddr, String> {
        let host = self.url.host_and_port();
        let limit = self.shared.config.handshake_timeout;
        let addresses = timeout(limit, self.net.resolve(&host))
            .await
            .map_err(|_| format!("{host} is not resolved in time"))?
            .map_err(|error| format!("{host}: {error}"))?;
        if addresses.is_empty() {
            return Err(format!("{host} has no address"));
        }
        let allowed = addresses
            .iter()
            .find(|address| self.shared.config.allows(address.ip()));
        allowed
            .copied()
            .ok_or_else(|| format!("no address of {host} is within mesh.allow"))
    }

    async fn serve(&self, client: Client, events: Events) {
        let ended = tokio::select! {
            biased;
            () = self.read(&client, events) => true,
            () = self.write(&client) => false,
            () = self.measure(&client) => false,
            () = self.cancel.cancelled() => false,
        };
        if !ended {
            // It may not answer; then its server notices by itself.
            let _ = timeout(GOODBYE_TIMEOUT, client.disconnect()).await;
        }
    }

    /// Counts what goes over the link, as often as it is pinged.
    async fn measure(&self, client: &Client) {
        let mut before = Traffic::default();
        loop {
            sleep(self.shared.config.heartbeat_interval).await;
            let ext = client.session();
            let ext = ext.handshake_ext().map(Json::as_str);
            let Some(name) = ext.and_then(wire::reply_ext).and_then(|ext| {
                let url = OortUrl::parse(&ext.oort_url).ok()?;
                url.node_name()
            }) else {
                continue;
            };
            let (totals, now) = (&self.tallies.of(&name).totals, client.traffic());
            totals.bytes_sent.add(now.bytes_sent - before.bytes_sent);
            totals
                .bytes_received
                .add(now.bytes_received - before.bytes_received);
            if let Some(rtt) = now.round_trip {
                totals.measured(rtt);
            }
            before = now;
        }
    }

    async fn read(&self, client: &Client, mut events: Events) {
        self.handshaken(client);
        while let Some(event) = events.next().await {
            match event {
                halley_client::Event::Message(message) => self.message(&message).await,
                halley_client::Event::Interrupted(error) => {
                    tracing::debug!(url = %self.url, %error, "an Oort link is interrupted");
                    let silence = match error {
                        LinkError::Silent => self.shared.config.detection,
                        _ => Duration::ZERO,
                    };
                    self.inbox.push_always(Event::LinkDown(self.link, silence));
                }
                halley_client::Event::Resumed => {
                    self.inbox.push_always(Event::LinkBack(self.link));
                }
                halley_client::Event::Renewed => self.handshaken(client),
                halley_client::Event::Unsubscribed { channel, refusal } => {
                    tracing::warn!(url = %self.url, channel, %refusal, "an Oort node refuses a channel");
                }
                halley_client::Event::Ended(reason) => {
                    tracing::info!(url = %self.url, ?reason, "an Oort link has ended");
                    return;
                }
            }
        }
    }

    /// The client has got a session.
    fn handshaken(&self, client: &Client) {
        let session = client.session();
        let ext = session.handshake_ext();
        let ext = ext.and_then(|ext| wire::reply_ext(ext.as_str()));
        self.inbox.push_always(Event::Handshaken(self.link, ext));
    }

    /// A message that the other node has published: for this node's sessions, or for the task.
    async fn message(&self, message: &halley_client::Message) {
        let channel = message.channel();
        if !is_forwarded(channel) {
            let Ok(data) = RawValue::from_string(message.data().to_owned()) else {
                return;
            };
            let bytes = data.get().len();
            let event = Event::LinkMessage {
                link: self.link,
                channel: channel.to_owned(),
                data,
            };
            return self.inbox.push_waiting(event, bytes).await;
        }
        let counters = &self.shared.counters;
        let mut object = br#"{"channel":"#.to_vec();
        object.extend_from_slice(wire::json(&channel).get().as_bytes());
        object.extend_from_slice(br#","data":"#);
        object.extend_from_slice(message.data().as_bytes());
        if let Some(ext) = message.ext() {
            object.extend_from_slice(br#","ext":"#);
            object.extend_from_slice(ext.as_bytes());
        }
        object.push(b'}');
        let publication = ChannelName::parse(channel)
            .ok()
            .and_then(|name| Publication::from_object(name, &object).ok());
        match publication {
            Some(publication) => {
                counters.publications_received.add(1);
                let now = self.shared.clock.now();
                self.shared.engine.publish_from_sibling(&publication, now);
            }
            None => counters.publications_invalid.add(1),
        }
    }

    /// Sends what is asked for, in order.
    async fn write(&self, client: &Client) {
        loop {
            let mut commands = vec![self.commands.next().await];
            while commands.len() < BATCH_MAX
                && let Some(command) = self.commands.take()
            {
                commands.push(command);
            }
            let mut joins = false;
            let mut batch = client.batch();
            for command in &commands {
                joins |= matches!(command, LinkCommand::Join { .. });
                let added = match command {
                    LinkCommand::Join {
                        channels,
                        cloud,
                        join,
                    } => channels
                        .iter()
                        .try_for_each(|channel| batch.subscribe(channel).map(drop))
                        .and_then(|()| batch.publish(wire::CLOUD, cloud).map(drop))
                        .and_then(|()| batch.publish(wire::JOIN, join).map(drop)),
                    LinkCommand::Subscribe(channels) => channels
                        .iter()
                        .try_for_each(|channel| batch.subscribe(channel).map(drop)),
                    LinkCommand::Unsubscribe(channels) => channels
                        .iter()
                        .try_for_each(|channel| batch.unsubscribe(channel).map(drop)),
                    LinkCommand::Publish { channel, data } => {
                        batch.publish(channel, data).map(drop)
                    }
                };
                if let Err(error) = added {
                    tracing::warn!(url = %self.url, %error, "cannot be sent to an Oort node");
                }
            }
            if self.send(batch).await || !joins {
                continue;
            }
            // Its join message must arrive, or this node never joins there.
            sleep(JOIN_PAUSE).await;
            self.inbox.push_always(Event::LinkBack(self.link));
        }
    }

    /// Whether everything has arrived.
    async fn send(&self, batch: halley_client::Batch<'_>) -> bool {
        let outcomes = match batch.send().await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                tracing::debug!(url = %self.url, %error, "not known whether an Oort node has it");
                return false;
            }
        };
        let mut all = true;
        for error in outcomes.into_iter().filter_map(Result::err) {
            all = false;
            if let RequestError::TooLarge { .. } = error {
                self.shared.counters.oort_too_large.add(1);
            }
            tracing::warn!(url = %self.url, %error, "an Oort node has not taken a message");
        }
        all
    }
}
