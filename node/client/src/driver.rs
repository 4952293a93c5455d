//! The task of a client: owns the connection and the session, and carries out what the machine says.

use std::{future::pending, time::Duration};

use http::{HeaderName, HeaderValue};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    backoff::Backoff,
    builder::Settings,
    endpoint::Endpoint,
    error::{ConnectError, LinkError},
    event::{EndReason, Event},
    machine::Machine,
    request::Command,
    socket::Socket,
};

/// How many waiting commands are taken at once, to leave in one frame.
const COMMANDS_TAKEN: usize = 64;

/// How long the answer to the goodbye is waited for.
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(2);

/// What ended one stretch of the driver's work.
enum Stop {
    /// The connection is of no more use.
    Lost(LinkError),
    /// The session is over for good.
    Ended(EndReason),
}

impl From<LinkError> for Stop {
    fn from(error: LinkError) -> Self {
        Self::Lost(error)
    }
}

/// Owns the connection and the session of one client.
#[derive(Debug)]
pub(crate) struct Driver {
    endpoints: Vec<Endpoint>,
    /// The endpoint in use, or the next one to try.
    endpoint: usize,
    headers: Vec<(HeaderName, HeaderValue)>,
    settings: Settings,
    machine: Machine,
    /// Paces the attempts to reconnect; starts over when a connection has carried a successful connect.
    backoff: Backoff,
    socket: Option<Socket>,
    commands: mpsc::Receiver<Command>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
}

impl Driver {
    pub(crate) fn new(
        endpoints: Vec<Endpoint>,
        headers: Vec<(HeaderName, HeaderValue)>,
        settings: Settings,
        commands: mpsc::Receiver<Command>,
        events: mpsc::Sender<Event>,
        stop: CancellationToken,
    ) -> Self {
        let machine = Machine::new(settings.clone());
        let backoff = Backoff::new(settings.backoff_first, settings.backoff_max);
        Self {
            endpoints,
            endpoint: 0,
            headers,
            settings,
            machine,
            backoff,
            socket: None,
            commands,
            events,
            stop,
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
        let mut socket = self.open().await?;
        self.machine.opened(Instant::now());
        while !self.machine.is_ready() {
            socket.send(self.machine.take_frames()).await?;
            let text = match self.machine.deadline() {
                Some(deadline) => match tokio::time::timeout_at(deadline, socket.receive()).await {
                    Ok(received) => received?,
                    Err(_elapsed) => return Err(LinkError::Silent.into()),
                },
                None => socket.receive().await?,
            };
            self.machine.frame(text.as_str(), Instant::now())?;
            if let Some(end) = self.machine.take_end() {
                return Err(match end {
                    EndReason::Refused(refusal) => ConnectError::Refused(refusal),
                    EndReason::GaveUp(error) => error.into(),
                    EndReason::Disconnected | EndReason::ByServer => {
                        LinkError::Bayeux("no session was given").into()
                    }
                });
            }
        }
        self.socket = Some(socket);
        Ok(())
    }

    /// Works until the client ends.
    pub(crate) async fn run(mut self) {
        let reason = loop {
            let stop = match self.socket.take() {
                Some(mut socket) => {
                    let stop = self.converse(&mut socket).await;
                    if matches!(stop, Stop::Ended(_)) {
                        socket.close().await;
                    }
                    stop
                }
                None => match self.reconnect().await {
                    Ok(()) => continue,
                    Err(reason) => break reason,
                },
            };
            match stop {
                Stop::Ended(reason) => break reason,
                Stop::Lost(error) => {
                    tracing::debug!(endpoint = %self.endpoints[self.endpoint], %error, "connection lost");
                    if self.machine.is_connected() {
                        self.backoff.reset();
                    } else {
                        // It takes connections but no sessions.
                        self.next_endpoint();
                    }
                    self.machine.lost(error);
                }
            }
        };
        self.finish(reason).await;
    }

    /// Carries one connection until it is lost or the session ends.
    async fn converse(&mut self, socket: &mut Socket) -> Stop {
        loop {
            match self.step(socket).await {
                Ok(()) => {}
                Err(stop) => return stop,
            }
        }
    }

    async fn step(&mut self, socket: &mut Socket) -> Result<(), Stop> {
        let frames = self.machine.take_frames();
        if !frames.is_empty() {
            socket.send(frames).await?;
        }
        if let Some(end) = self.machine.take_end() {
            return Err(Stop::Ended(end));
        }
        let full = self.report();
        let mut commands = Vec::new();
        tokio::select! {
            () = self.stop.cancelled() => {
                self.say_goodbye(socket).await;
                return Err(Stop::Ended(EndReason::Disconnected));
            }
            // Nothing is read while events wait: that is how the pressure goes back to the server.
            () = room(&self.events), if full => {}
            text = socket.receive(), if !full => self.machine.frame(text?.as_str(), Instant::now())?,
            _ = self.commands.recv_many(&mut commands, COMMANDS_TAKEN), if self.machine.is_ready() => {
                self.machine.requests(commands.into_iter().flatten());
            }
            () = at(self.machine.deadline()), if !full => {
                // After a pause of reading, the reply that seems late may be here.
                match socket.try_receive() {
                    Some(text) => self.machine.frame(text?.as_str(), Instant::now())?,
                    None => self.machine.timer(Instant::now())?,
                }
            }
        }
        Ok(())
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
            let opened = tokio::select! {
                () = self.stop.cancelled() => return Err(EndReason::Disconnected),
                opened = async {
                    sleep(delay).await;
                    self.open().await
                } => opened,
            };
            match opened {
                Ok(socket) => {
                    self.machine.opened(Instant::now());
                    self.socket = Some(socket);
                    return Ok(());
                }
                Err(error) => {
                    tracing::debug!(endpoint = %self.endpoints[self.endpoint], %error, "cannot reconnect");
                    if self
                        .settings
                        .attempts_max
                        .is_some_and(|max| self.backoff.attempts() >= max)
                    {
                        return Err(EndReason::GaveUp(error));
                    }
                    self.next_endpoint();
                }
            }
        }
    }

    async fn open(&self) -> Result<Socket, LinkError> {
        Socket::open(
            &self.endpoints[self.endpoint],
            &self.headers,
            &self.settings,
        )
        .await
    }

    fn next_endpoint(&mut self) {
        self.endpoint = (self.endpoint + 1) % self.endpoints.len();
    }

    /// Ends the session at the server, as far as it answers.
    async fn say_goodbye(&mut self, socket: &mut Socket) {
        let Some(frame) = self.machine.goodbye() else {
            return;
        };
        let farewell = async {
            socket.send(vec![frame]).await?;
            while self.machine.take_end().is_none() {
                self.machine
                    .frame(socket.receive().await?.as_str(), Instant::now())?;
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
