//! The handle by which requests are made.

use std::{sync::Arc, time::Duration};

use halley_bayeux::ChannelName;
use serde::Serialize;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    builder::ClientBuilder,
    error::{CallError, RequestError},
    json::Json,
    request::{Answer, Ask, Command, Request},
    session::Session,
    traffic::{Meter, Traffic},
};

/// A Bayeux client: a cheap handle, to be cloned at will.
///
/// Requests of one handle made one after another reach the server in that order. The methods are cancel-safe in that
/// nothing breaks; a request whose future is dropped may or may not take effect.
#[derive(Debug, Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    commands: mpsc::Sender<Command>,
    stop: CancellationToken,
    /// Ends the driver with the last handle.
    _guard: DropGuard,
    /// Closed when the driver has ended.
    task: parking::Task,
    request_timeout: Duration,
    session: watch::Receiver<Session>,
    meter: Arc<Meter>,
}

/// The driver's task, which several handles may wait for.
mod parking {
    use tokio::{sync::Mutex, task::JoinHandle};

    #[derive(Debug)]
    pub(super) struct Task(Mutex<Option<JoinHandle<()>>>);

    impl Task {
        pub(super) fn new(task: JoinHandle<()>) -> Self {
            Self(Mutex::new(Some(task)))
        }

        /// Waits for its end.
        pub(super) async fn ended(&self) {
            let mut task = self.0.lock().await;
            if let Some(handle) = task.as_mut() {
                // A panic in there is a defect of this crate and was printed; the client has ended all the same.
                let _ = handle.await;
                *task = None;
            }
        }
    }
}

impl Client {
    /// Begins to set up a client of the server at `url` (`ws://host:port/path` or `http://host:port/path`,
    /// `wss://` or `https://` for TLS; the transport does not depend on which of the two is written).
    pub fn builder(url: impl Into<String>) -> ClientBuilder {
        ClientBuilder::new(url.into())
    }

    pub(crate) fn new(
        commands: mpsc::Sender<Command>,
        guard: DropGuard,
        task: JoinHandle<()>,
        request_timeout: Duration,
        session: watch::Receiver<Session>,
        meter: Arc<Meter>,
    ) -> Self {
        let stop = guard.token().clone();
        let task = parking::Task::new(task);
        Self {
            shared: Arc::new(Shared {
                commands,
                stop,
                _guard: guard,
                task,
                request_timeout,
                session,
                meter,
            }),
        }
    }

    /// The session as its last handshake left it: its id, the transport, the `ext` of the server's reply.
    pub fn session(&self) -> Session {
        self.shared.session.borrow().clone()
    }

    /// What has gone over the connections so far.
    pub fn traffic(&self) -> Traffic {
        self.shared.meter.traffic()
    }

    /// Publishes on a channel and waits for the server's word. Data that is JSON text already is given as a
    /// `serde_json::value::RawValue` or as [`Json`], and travels as it is.
    ///
    /// # Errors
    /// [`RequestError::Refused`] when the server says no; see there for the cases in which the outcome is not known.
    pub async fn publish(&self, channel: &str, data: impl Serialize) -> Result<(), RequestError> {
        self.one(publication(channel, data)?).await
    }

    /// Subscribes to a channel or pattern and waits for the server's word. The client subscribes again when it gets a
    /// new session.
    ///
    /// # Errors
    /// [`RequestError::Refused`] when the server says no; see there for the cases in which the outcome is not known.
    pub async fn subscribe(&self, channel: &str) -> Result<(), RequestError> {
        self.one(Ask::Subscribe {
            channel: check(channel)?,
        })
        .await
    }

    /// Ends a subscription and waits for the server's word.
    ///
    /// # Errors
    /// [`RequestError::Refused`] when the server says no; see there for the cases in which the outcome is not known.
    pub async fn unsubscribe(&self, channel: &str) -> Result<(), RequestError> {
        self.one(Ask::Unsubscribe {
            channel: check(channel)?,
        })
        .await
    }

    /// Calls a service of the server (CometD's `@RemoteCall`, JavaScript's `remoteCall`) and waits for its result, at
    /// most for `timeout`. `/service/x` is called `x` for short.
    ///
    /// # Errors
    /// [`CallError::Failed`] with the data of the failure when the service fails, or
    /// [`CallError::Request`] when no result came: in time ([`RequestError::TimedOut`]), because the session or the
    /// client has ended, or because the server refused the call. A call that the server had accepted survives a lost
    /// connection, as far as its session does.
    pub async fn call(
        &self,
        service: &str,
        data: impl Serialize,
        timeout: Duration,
    ) -> Result<Json, CallError> {
        let channel = if service.starts_with('/') {
            check(service)?
        } else {
            check(&format!("/service/{service}"))?
        };
        let data = serde_json::value::to_raw_value(&data).map_err(RequestError::Data)?;
        let (answer, receiver) = oneshot::channel();
        let request = Request {
            ask: Ask::Call { channel, data },
            answer: Answer::Call(answer),
        };
        let calling = async {
            self.send(vec![request]).await?;
            receiver
                .await
                .unwrap_or(Err(CallError::Request(RequestError::Ended)))
        };
        tokio::time::timeout(timeout, calling)
            .await
            .map_err(|_elapsed| RequestError::TimedOut)?
    }

    /// Begins a batch: requests that travel in one frame or POST, or in as few as their size allows.
    pub fn batch(&self) -> Batch<'_> {
        Batch {
            client: self,
            asks: Vec::new(),
        }
    }

    /// Says goodbye to the server, closes the connection and ends the client, whatever other handles there are.
    /// Returns when that is done; requests under way end with an error, and unread events may be lost.
    pub async fn disconnect(&self) {
        self.shared.stop.cancel();
        self.shared.task.ended().await;
    }

    async fn one(&self, ask: Ask) -> Result<(), RequestError> {
        let (answer, receiver) = oneshot::channel();
        self.bounded(async {
            self.send(vec![Request {
                ask,
                answer: Answer::Outcome(answer),
            }])
            .await?;
            receiver.await.unwrap_or(Err(RequestError::Ended))
        })
        .await?
    }

    async fn send(&self, command: Command) -> Result<(), RequestError> {
        self.shared
            .commands
            .send(command)
            .await
            .map_err(|_closed| RequestError::Ended)
    }

    async fn bounded<T>(&self, work: impl Future<Output = T>) -> Result<T, RequestError> {
        tokio::time::timeout(self.shared.request_timeout, work)
            .await
            .map_err(|_elapsed| RequestError::TimedOut)
    }
}

/// Requests that leave together; made by [`Client::batch`].
#[derive(Debug)]
pub struct Batch<'a> {
    client: &'a Client,
    asks: Vec<Ask>,
}

impl Batch<'_> {
    /// Adds a publication.
    ///
    /// # Errors
    /// When the channel is not one or the data cannot be written as JSON.
    pub fn publish(
        &mut self,
        channel: &str,
        data: impl Serialize,
    ) -> Result<&mut Self, RequestError> {
        self.asks.push(publication(channel, data)?);
        Ok(self)
    }

    /// Adds a subscription.
    ///
    /// # Errors
    /// When the channel is not one.
    pub fn subscribe(&mut self, channel: &str) -> Result<&mut Self, RequestError> {
        self.asks.push(Ask::Subscribe {
            channel: check(channel)?,
        });
        Ok(self)
    }

    /// Adds the end of a subscription.
    ///
    /// # Errors
    /// When the channel is not one.
    pub fn unsubscribe(&mut self, channel: &str) -> Result<&mut Self, RequestError> {
        self.asks.push(Ask::Unsubscribe {
            channel: check(channel)?,
        });
        Ok(self)
    }

    /// Sends the batch and waits for all answers, which stand in the order of the requests.
    ///
    /// # Errors
    /// When the client has ended, or not all answers came in time.
    pub async fn send(self) -> Result<Vec<Result<(), RequestError>>, RequestError> {
        let mut receivers = Vec::with_capacity(self.asks.len());
        let mut command = Command::with_capacity(self.asks.len());
        for ask in self.asks {
            let (answer, receiver) = oneshot::channel();
            command.push(Request {
                ask,
                answer: Answer::Outcome(answer),
            });
            receivers.push(receiver);
        }
        self.client
            .bounded(async {
                self.client.send(command).await?;
                let mut outcomes = Vec::with_capacity(receivers.len());
                for receiver in receivers {
                    outcomes.push(receiver.await.unwrap_or(Err(RequestError::Ended)));
                }
                Ok(outcomes)
            })
            .await?
    }
}

fn publication(channel: &str, data: impl Serialize) -> Result<Ask, RequestError> {
    let data = serde_json::value::to_raw_value(&data).map_err(RequestError::Data)?;
    Ok(Ask::Publish {
        channel: check(channel)?,
        data,
    })
}

/// Catches what no server would take, and drops a trailing slash; the server has the last word.
fn check(channel: &str) -> Result<String, RequestError> {
    match ChannelName::parse(channel) {
        Ok(name) => Ok(name.as_str().to_owned()),
        Err(reason) => Err(RequestError::Channel {
            channel: channel.to_owned(),
            reason,
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_channels() {
        for channel in ["/a", "/a/b/*", "/**"] {
            assert_eq!(check(channel).unwrap(), channel);
        }
        assert_eq!(check("/a/").unwrap(), "/a");
        for channel in ["", "/", "a", "//a", "/a//b", "/a/*/b"] {
            assert!(check(channel).is_err(), "{channel}");
        }
    }
}
