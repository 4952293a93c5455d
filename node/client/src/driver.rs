//! The task of a client: owns the connection and the session, and carries out what the machine says.

use std::{future::pending, sync::Arc, time::Duration};

use http::{HeaderName, HeaderValue};
use rustls::ClientConfig;
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until, timeout, timeout_at},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    builder::Settings,
    cookies::Jar,
    endpoint::Endpoint,
    error::{ConnectError, LinkError},
    event::{EndReason, Event},
    link::{Carrier, Link, Received},
    machine::{Machine, Switch},
    poll::Poll,
    request::Command,
    routes::Routes,
    session::Session,
    socket::Socket,
    stream,
    traffic::Meter,
    transport::Transport,
};

/// How many waiting commands are taken at once, to leave in one frame.
const COMMANDS_TAKEN: usize = 64;

/// How long the answer to the goodbye is waited for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// What ended one stretch of the driver's work.
enum Stop {
    /// The connection is of no more use.
    Lost(LinkError),
    /// Another transport is to be taken, as the handshake reply says.
    Switch(Switch),
    /// A handshake is due, and WebSocket, which has failed before, may be tried again for it.
    Upgrade,
    /// The session is over for good.
    Ended(EndReason),
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        Self::Lost(error)
    }
}

/// What a driver is made of.
#[derive(Debug)]
pub(crate) struct Parts {
    pub(crate) endpoints: Vec<Endpoint>,
    pub(crate) transports: Vec<Transport>,
    pub(crate) headers: Vec<(HeaderName, HeaderValue)>,
    /// Present when an endpoint wants it.
    pub(crate) tls: Option<Arc<ClientConfig>>,
    pub(crate) settings: Settings,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) events: mpsc::Sender<Event>,
    pub(crate) session: watch::Sender<Session>,
    pub(crate) meter: Arc<Meter>,
    pub(crate) stop: CancellationToken,
}

/// Owns the connection and the session of one client.
#[derive(Debug)]
pub(crate) struct Driver {
    endpoints: Vec<Endpoint>,
    /// The endpoint in use, or the next one to try.
    endpoint: usize,
    /// The cookies of each endpoint.
    cookies: Vec<Jar>,
    routes: Routes,
    headers: Vec<(HeaderName, HeaderValue)>,
    tls: Option<Arc<ClientConfig>>,
    settings: Settings,
    machine: Machine,
    /// Paces the attempts to reconnect; starts over when a connection has carried a successful connect.
    backoff: Backoff,
    link: Option<Link>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    session: watch::Sender<Session>,
    meter: Arc<Meter>,
    stop: CancellationToken,
}

impl Driver {
    pub(crate) fn new(parts: Parts) -> Self {
        let settings = parts.settings;
        Self {
            cookies: parts.endpoints.iter().map(|_| Jar::default()).collect(),
            routes: Routes::new(parts.transports, parts.endpoints.len()),
            endpoints: parts.endpoints,
            endpoint: 0,
            headers: parts.headers,
            tls: parts.tls,
            machine: Machine::new(settings.clone()),
            backoff: Backoff::new(settings.backoff_first, settings.backoff_max),
            settings,
            link: None,
            commands: parts.commands,
            events: parts.events,
            session: parts.session,
            meter: parts.meter,
            stop: parts.stop,
        }
    }

    /// Connects for the first time, trying each endpoint once, and handshakes.
    pub(crate) async fn start(&mut self) -> Result<(), ConnectError> {
        let mut attempts = self.endpoints.len();
        loop {
            attempts -= 1;
            match self.first_session().await {
                Ok(()) => return Ok(()),
                Err(ConnectError::Link(error)) if attempts > 0 => {
                    tracing::debug!(endpoint = %self.endpoints[self.endpoint], %error, "cannot connect, trying the next");
                    self.machine.lost(error);
                    self.next_endpoint();
                }
                Err(error) => return Err(error),
            }
        }
    }

    async fn first_session(&mut self) -> Result<(), ConnectError> {
        let mut link = self.open_next().await?;
        while !self.machine.is_ready() {
            link.send(self.machine.take_frames()).await?;
            let received = match self.machine.deadline() {
                Some(deadline) => timeout_at(deadline, link.receive())
                    .await
                    .map_err(|_elapsed| LinkError::Silent)??,
                None => link.receive().await?,
            };
            self.received(received)?;
            if let Some(end) = self.machine.take_end() {
                return Err(match end {
                    EndReason::Refused(refusal) => ConnectError::Refused(refusal),
                    EndReason::GaveUp(error) => error.into(),
                    EndReason::Disconnected | EndReason::ByServer => {
                        LinkError::Bayeux("no session was given").into()
                    }
                });
            }
            if let Some(switch) = self.machine.take_switch() {
                link.close().await;
                link = self.open_after(switch).await?;
            }
        }
        self.link = Some(link);
        Ok(())
    }

    /// Works until the client ends.
    pub(crate) async fn run(mut self) {
        let reason = loop {
            let stop = match self.link.take() {
                Some(mut link) => {
                    let stop = self.converse(&mut link).await;
                    if !matches!(stop, Stop::Lost(_)) {
                        link.close().await;
                    }
                    stop
                }
                None => match self.reconnect().await {
                    Ok(()) => continue,
                    Err(reason) => break reason,
                },
            };
            let opened = match stop {
                Stop::Ended(reason) => break reason,
                Stop::Lost(error) => Err(error),
                Stop::Switch(switch) => self.open_after(switch).await,
                Stop::Upgrade => {
                    self.routes.try_upgrade_again(self.endpoint);
                    self.machine.leave();
                    self.open_next().await
                }
            };
            match opened {
                Ok(link) => self.link = Some(link),
                Err(error) => {
                    if let Err(reason) = self.lost(error) {
                        break reason;
                    }
                }
            }
        };
        self.finish(reason).await;
    }

    /// The connection is lost, or could not be replaced.
    fn lost(&mut self, error: LinkError) -> Result<(), EndReason> {
        tracing::debug!(endpoint = %self.endpoints[self.endpoint], %error, "connection lost");
        if self.machine.is_connected() {
            self.backoff.reset();
        } else if self.has_tried_enough() {
            return Err(EndReason::GaveUp(error));
        } else {
            // It takes connections but no sessions.
            self.next_endpoint();
        }
        self.machine.lost(error);
        Ok(())
    }

    /// Carries one connection until it is lost or the session ends.
    async fn converse(&mut self, link: &mut Link) -> Stop {
        loop {
            match self.step(link).await {
                Ok(()) => {}
                Err(stop) => return stop,
            }
        }
    }

    async fn step(&mut self, link: &mut Link) -> Result<(), Stop> {
        let frames = self.machine.take_frames();
        if !frames.is_empty() {
            link.send(frames).await?;
        }
        if let Some(end) = self.machine.take_end() {
            return Err(Stop::Ended(end));
        }
        if let Some(switch) = self.machine.take_switch() {
            return Err(Stop::Switch(switch));
        }
        let full = self.report();
        let takes = self.machine.is_ready() && link.has_room();
        let mut commands = Vec::new();
        let heartbeat_at = link.heartbeat_at();
        tokio::select! {
            () = self.stop.cancelled() => {
                self.say_goodbye(link).await;
                return Err(Stop::Ended(EndReason::Disconnected));
            }
            // Nothing is read while events wait: that is how the pressure goes back to the server.
            () = room(&self.events), if full => {}
            received = link.receive(), if !full => self.received(received?)?,
            _ = self.commands.recv_many(&mut commands, COMMANDS_TAKEN), if takes => {
                self.machine.requests(commands.into_iter().flatten());
            }
            // While nothing is read nothing is heard either.
            () = at(heartbeat_at), if !full => {
                // After a pause of reading, what was missed may be here.
                match link.try_receive() {
                    Some(received) => self.received(received?)?,
                    None => link.heartbeat().await?,
                }
            }
            () = at(self.machine.deadline()), if !full => {
                // After a pause of reading, the reply that seems late may be here.
                match link.try_receive() {
                    Some(received) => self.received(received?)?,
                    None => self.timer()?,
                }
            }
        }
        Ok(())
    }

    fn received(&mut self, received: Received) -> Result<(), LinkError> {
        match received {
            Received::Text(text) => self.machine.frame(text.as_str(), Instant::now())?,
            Received::Failed(ids, status) => self.machine.failed(&ids, status)?,
        }
        self.show_session();
        Ok(())
    }

    fn timer(&mut self) -> Result<(), Stop> {
        let now = Instant::now();
        if self.machine.is_handshake_due(now) && self.routes.would_upgrade(self.endpoint) {
            return Err(Stop::Upgrade);
        }
        Ok(self.machine.timer(now)?)
    }

    /// Lets handles see what became of the session.
    fn show_session(&self) {
        if let Some(session) = self.machine.session() {
            self.session.send_if_modified(|shown| {
                let news = !session.is_as(shown);
                if news {
                    shown.clone_from(session);
                }
                news
            });
        }
    }

    /// Hands events on; true when some must wait because the stream is full.
    fn report(&mut self) -> bool {
        while let Some(event) = self.machine.events().pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(mpsc::error::TrySendError::Full(event)) => {
                    self.machine.events().push_front(event);
                    return true;
                }
                // Nobody listens.
                Err(mpsc::error::TrySendError::Closed(_)) => {}
            }
        }
        false
    }

    /// Opens connections until one stands, with growing delays.
    async fn reconnect(&mut self) -> Result<(), EndReason> {
        loop {
            self.report();
            let delay = self.backoff.next();
            let stop = self.stop.clone();
            let opened = tokio::select! {
                () = stop.cancelled() => return Err(EndReason::Disconnected),
                opened = async {
                    sleep(delay).await;
                    self.open_next().await
                } => opened,
            };
            match opened {
                Ok(link) => {
                    self.link = Some(link);
                    return Ok(());
                }
                Err(error) => {
                    tracing::debug!(endpoint = %self.endpoints[self.endpoint], %error, "cannot reconnect");
                    if self.has_tried_enough() {
                        return Err(EndReason::GaveUp(error));
                    }
                    self.next_endpoint();
                }
            }
        }
    }

    fn has_tried_enough(&self) -> bool {
        let attempts = self.backoff.attempts();
        self.settings
            .attempts_max
            .is_some_and(|max| attempts >= max)
    }

    /// Opens a connection over the transport that is best as far as known, and tells the machine.
    async fn open_next(&mut self) -> Result<Link, LinkError> {
        self.open(self.routes.choose(self.endpoint)).await
    }

    /// Opens a connection as the server's handshake reply wants it.
    async fn open_after(&mut self, switch: Switch) -> Result<Link, LinkError> {
        let from = match switch.to {
            Transport::WebSocket => Transport::LongPolling,
            Transport::LongPolling => Transport::WebSocket,
        };
        self.routes.switched(self.endpoint, from, switch.denied);
        self.machine.leave();
        self.open(switch.to).await
    }

    async fn open(&mut self, transport: Transport) -> Result<Link, LinkError> {
        let carrier = match transport {
            Transport::WebSocket => self.open_socket().await?,
            Transport::LongPolling => self.open_poll().await?,
        };
        let link = Link::new(carrier, self.meter.clone());
        let offers = self.routes.offers(self.endpoint);
        self.machine
            .opened(link.transport(), offers, Instant::now());
        self.show_session();
        Ok(link)
    }

    /// A WebSocket, or long-polling where the host is there but gives none.
    async fn open_socket(&mut self) -> Result<Carrier, LinkError> {
        let endpoint = &self.endpoints[self.endpoint];
        let stream =
            stream::open(endpoint, self.tls.as_ref(), self.settings.connect_timeout).await?;
        let cookies = &self.cookies[self.endpoint];
        match Socket::upgrade(stream, endpoint, &self.headers, cookies, &self.settings).await {
            Ok(socket) => {
                self.routes.upgraded(self.endpoint);
                Ok(Carrier::Socket(Box::new(socket)))
            }
            Err(error) if self.routes.upgrade_failed(self.endpoint) => {
                tracing::debug!(%endpoint, %error, "no WebSocket, falling back to long-polling");
                self.open_poll().await
            }
            Err(error) => Err(error),
        }
    }

    async fn open_poll(&self) -> Result<Carrier, LinkError> {
        let poll = Poll::open(
            &self.endpoints[self.endpoint],
            self.tls.as_ref(),
            &self.headers,
            self.cookies[self.endpoint].clone(),
            &self.settings,
        );
        Ok(Carrier::Poll(Box::new(poll.await?)))
    }

    fn next_endpoint(&mut self) {
        self.endpoint = (self.endpoint + 1) % self.endpoints.len();
    }

    /// Ends the session at the server, as far as it answers.
    async fn say_goodbye(&mut self, link: &mut Link) {
        let Some(frame) = self.machine.goodbye() else {
            return;
        };
        let farewell = async {
            link.send(vec![frame]).await?;
            while self.machine.take_end().is_none() {
                let received = link.receive().await?;
                self.received(received)?;
            }
            Ok::<(), LinkError>(())
        };
        // The server ends a session that stays away by itself, so a failed goodbye needs no care.
        let _ = timeout(GOODBYE_TIMEOUT, farewell).await;
    }

    /// Reports what is left, and the end.
    async fn finish(mut self, reason: EndReason) {
        self.machine.abandon();
        self.commands.close();
        let own = matches!(reason, EndReason::Disconnected);
        self.machine.events().push_back(Event::Ended(reason));
        while self.report() {
            if own {
                // Whoever disconnects may have stopped reading; waiting for that reader could last for ever.
                return;
            }
            tokio::select! {
                () = self.stop.cancelled() => return,
                () = room(&self.events) => {}
            }
        }
    }
}

/// Waits until the stream of events takes another one, or nobody reads it any more.
async fn room(events: &mpsc::Sender<Event>) {
    let _ = events.reserve().await;
}

async fn at(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => sleep_until(deadline).await,
        None => pending().await,
    }
}
