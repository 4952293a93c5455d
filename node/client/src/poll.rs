//! Long-polling: two HTTP connections, one for handshakes and the connect that the server holds, one for the rest.
//!
//! The second carries one request at a time, so that messages arrive in the order in which they were sent; what is
//! asked for meanwhile leaves together with the next.

use std::{collections::VecDeque, future::pending, io, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::FutureExt;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use rustls::ClientConfig;
use tokio::{task::JoinSet, time::timeout};

use crate::{
    builder::Settings,
    cookies::Jar,
    endpoint::Endpoint,
    error::LinkError,
    exchange::{self, Connection, Response, Target},
    link::Received,
    wire::Frame,
};

/// One of the two connections.
#[derive(Debug, Default)]
struct Lane {
    /// Open and not in use.
    kept: Option<Connection>,
    busy: bool,
}

/// Which of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Which {
    Held,
    Rest,
}

/// A request that has ended.
#[derive(Debug)]
struct Done {
    which: Which,
    ids: Vec<u64>,
    connection: Option<Connection>,
    result: Result<Response, LinkError>,
}

/// The long-polling transport to one endpoint.
#[derive(Debug)]
pub(crate) struct Poll {
    target: Arc<Target>,
    headers: HeaderMap,
    cookies: Jar,
    max_network_delay: Duration,
    held: Lane,
    rest: Lane,
    /// Frames that wait for the second connection.
    queue: VecDeque<Frame>,
    requests: JoinSet<Done>,
}

impl Poll {
    /// Opens the first of the connections.
    ///
    /// # Errors
    /// When the host is not there, or does not prove itself.
    pub(crate) async fn open(
        endpoint: &Endpoint,
        tls: Option<&Arc<ClientConfig>>,
        headers: &[(HeaderName, HeaderValue)],
        cookies: Jar,
        settings: &Settings,
    ) -> Result<Self, LinkError> {
        let path = endpoint
            .path
            .parse()
            .map_err(|_| LinkError::Bayeux("a path that cannot stand in a request"))?;
        let target = Arc::new(Target {
            endpoint: endpoint.clone(),
            path,
            tls: tls.cloned(),
            connect_timeout: settings.connect_timeout,
            max_reply_bytes: settings.max_frame_bytes,
        });
        let headers = exchange::headers(endpoint, headers)?;
        let kept = Some(Connection::open(&target).await?);
        Ok(Self {
            target,
            headers,
            cookies,
            max_network_delay: settings.max_network_delay,
            held: Lane { kept, busy: false },
            rest: Lane::default(),
            queue: VecDeque::new(),
            requests: JoinSet::new(),
        })
    }

    /// Whether requests that are made now leave at once.
    pub(crate) fn has_room(&self) -> bool {
        !self.rest.busy && self.queue.is_empty()
    }

    /// Sends frames, or queues them behind the request that is under way.
    pub(crate) fn send(&mut self, frames: Vec<Frame>) {
        for frame in frames {
            if frame.turn {
                self.start(Which::Held, frame);
            } else {
                self.queue.push_back(frame);
            }
        }
        self.send_next();
    }

    fn send_next(&mut self) {
        if !self.rest.busy
            && let Some(frame) = self.queue.pop_front()
        {
            self.start(Which::Rest, frame);
        }
    }

    fn start(&mut self, which: Which, frame: Frame) {
        let lane = self.lane(which);
        lane.busy = true;
        let kept = lane.kept.take();
        let target = Arc::clone(&self.target);
        let mut headers = self.headers.clone();
        self.cookies.add_to(&mut headers);
        // How long the reply to a handshake or connect may take is watched over by the machine.
        let patience = (which == Which::Rest).then_some(self.max_network_delay);
        self.requests.spawn(async move {
            let Frame { text, ids, .. } = frame;
            let posting = exchange::post(&target, kept, headers, Bytes::from(text));
            let (connection, result) = match patience {
                Some(patience) => timeout(patience, posting)
                    .await
                    .unwrap_or((None, Err(LinkError::Silent))),
                None => posting.await,
            };
            Done {
                which,
                ids,
                connection,
                result,
            }
        });
    }

    fn lane(&mut self, which: Which) -> &mut Lane {
        match which {
            Which::Held => &mut self.held,
            Which::Rest => &mut self.rest,
        }
    }

    /// The next reply. Cancel-safe.
    ///
    /// # Errors
    /// When a request fails, or a handshake or connect is answered with an HTTP error.
    pub(crate) async fn receive(&mut self) -> Result<Received, LinkError> {
        let done = match self.requests.join_next().await {
            Some(done) => done.map_err(|error| LinkError::Broken(io::Error::other(error)))?,
            // Nothing is under way, so nothing will come.
            None => pending().await,
        };
        let lane = self.lane(done.which);
        lane.busy = false;
        lane.kept = done.connection;
        let response = done.result?;
        self.cookies
            .store(&response.headers, self.target.endpoint.tls);
        self.send_next();
        match (response.status, done.which) {
            (StatusCode::OK, _) => Ok(Received::Text(response.text.into())),
            (status, Which::Held) => Err(LinkError::Status(status.as_u16())),
            (status, Which::Rest) => Ok(Received::Failed(done.ids, status.as_u16())),
        }
    }

    /// A reply, or a failure, that is already here.
    pub(crate) fn try_receive(&mut self) -> Option<Result<Received, LinkError>> {
        self.receive().now_or_never()
    }
}
