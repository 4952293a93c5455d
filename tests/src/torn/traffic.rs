//! Publishers and subscribers that write down what they see.

use std::time::Duration;

use anyhow::Context;
use halley_client::{Client, Event, Events};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::history::{Answer, History, Message, What};

/// Channels of the traffic: `/torn/0` and so on.
pub(super) const CHANNELS: usize = 2;
/// Time between two messages of one publisher on one channel.
const PAUSE: Duration = Duration::from_millis(20);
/// A client of a node that comes back is back within this time.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_millis(500));

/// A client that never gives up.
pub(super) async fn client(
    url: &str,
    user: Option<&str>,
    acknowledge: bool,
) -> anyhow::Result<(Client, Events)> {
    let mut builder = Client::builder(url)
        .acknowledge(acknowledge)
        .backoff(BACKOFF.0, BACKOFF.1)
        .attempts_max(u32::MAX);
    if let Some(user) = user {
        builder = builder.user(user);
    }
    builder
        .connect()
        .await
        .with_context(|| format!("no session at {url}"))
}

/// All clients of the traffic. Dropped, they end.
#[derive(Debug)]
pub(super) struct Traffic {
    history: History,
    publishers: JoinSet<()>,
    subscribers: JoinSet<()>,
    stop: CancellationToken,
}

impl Traffic {
    pub(super) fn new(history: History) -> Self {
        Self {
            history,
            publishers: JoinSet::new(),
            subscribers: JoinSet::new(),
            stop: CancellationToken::new(),
        }
    }

    /// Two subscribers at a node: one that names each channel and overlaps with a wildcard, one with a wildcard alone and the ack
    /// extension.
    pub(super) async fn subscribe(&mut self, node: usize, url: &str) -> anyhow::Result<()> {
        let own = format!("user{node}");
        for (subscriber, user, acknowledge) in [
            (2 * node, own.as_str(), false),
            (2 * node + 1, "everywhere", true),
        ] {
            let (client, events) = client(url, Some(user), acknowledge).await?;
            if !acknowledge {
                for channel in 0..CHANNELS {
                    client.subscribe(&format!("/torn/{channel}")).await?;
                }
            }
            client.subscribe("/torn/*").await?;
            let recorder = Recorder {
                history: self.history.clone(),
                subscriber,
                node,
            };
            recorder.subscribed();
            self.subscribers.spawn(recorder.run(client, events));
        }
        Ok(())
    }

    /// One publisher at a node, which publishes on every channel.
    pub(super) async fn publish(&mut self, node: usize, url: &str) -> anyhow::Result<()> {
        let publisher = node;
        self.history.add(What::PublisherAt { publisher, node });
        for channel in 0..CHANNELS {
            // A session for each channel, so that one that waits for its answer does not hold up the other.
            let (client, events) = client(url, None, false).await?;
            let (history, stop) = (self.history.clone(), self.stop.clone());
            self.publishers.spawn(async move {
                drop(events);
                let mut number = 0;
                while !stop.is_cancelled() {
                    number += 1;
                    let message = Message {
                        publisher,
                        channel,
                        number,
                    };
                    history.add(What::Published(message));
                    let data = [publisher as u64, number];
                    let answer = match client.publish(&format!("/torn/{channel}"), data).await {
                        Ok(()) => Answer::Successful,
                        Err(_) => Answer::Unknown,
                    };
                    history.add(What::Answered(message, answer));
                    tokio::time::sleep(PAUSE).await;
                }
            });
        }
        Ok(())
    }

    /// Ends the publishers, but only after their last answer.
    pub(super) async fn stop_publishing(&mut self) {
        self.stop.cancel();
        while self.publishers.join_next().await.is_some() {}
    }
}

struct Recorder {
    history: History,
    subscriber: usize,
    node: usize,
}

impl Recorder {
    fn subscribed(&self) {
        for channel in 0..CHANNELS {
            self.history.add(What::Subscribed {
                subscriber: self.subscriber,
                node: self.node,
                channel,
            });
        }
    }

    async fn run(self, client: Client, mut events: Events) {
        let subscriber = self.subscriber;
        while let Some(event) = events.next().await {
            match event {
                Event::Message(message) => {
                    let channel = message.channel().strip_prefix("/torn/");
                    let channel = channel.and_then(|channel| channel.parse().ok());
                    match (channel, message.parse::<(usize, u64)>()) {
                        (Some(channel), Ok((publisher, number))) => {
                            let message = Message {
                                publisher,
                                channel,
                                number,
                            };
                            self.history.add(What::Delivered {
                                subscriber,
                                message,
                            });
                        }
                        _ => self.history.note(format!("s{subscriber} got {message:?}")),
                    }
                }
                Event::Renewed => {
                    self.history.add(What::Ended { subscriber });
                    self.subscribed();
                }
                Event::Ended(_) => self.history.add(What::Ended { subscriber }),
                other => self.history.note(format!("s{subscriber}: {other:?}")),
            }
        }
        drop(client);
    }
}
