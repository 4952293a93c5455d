//! The tasks that own one socket each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;

use super::shared::{Admission, Bulk, Event, Shared};
use super::waiting::{Place, Waiting};
use crate::counters::Problem;
use crate::forwarding;
use crate::link::{self, DialError, Inbound, InboundEvent, LinkEnd, LinkQueue, Outbound, Upgraded};
use crate::membership::LinkId;
use crate::net::{Listener, Net};
use crate::{Member, StateChannel};

/// Pause after the system could not accept (too many open files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Opens a link and, if that succeeds, writes to it until it ends.
pub(super) async fn dial<N: Net>(
    net: N,
    shared: Arc<Shared>,
    link: LinkId,
    address: SocketAddr,
    uptime_ms: u64,
    cancel: CancellationToken,
) {
    let me = shared.me();
    let attempt = timeout(
        shared.config.handshake_timeout,
        Box::pin(open(&net, &shared, address, me.clone(), uptime_ms)),
    );
    let dialled = tokio::select! {
        biased;
        () = cancel.cancelled() => {
            let refusal = None;
            return shared.event(Event::DialFailed { address, refusal }).await;
        }
        result = attempt => result.unwrap_or(Err(DialError::Timeout)),
    };
    let dialled = match dialled {
        Ok(dialled) => dialled,
        Err(error) => {
            shared.note_versions(&error);
            let problem = match error {
                DialError::Closed => Some(Problem::ClosedByOther),
                DialError::Auth(_) => Some(Problem::WrongSecret),
                _ => None,
            };
            match problem {
                Some(problem) => {
                    shared.counters.dials_closed.add(1);
                    warn(problem, &shared, address, &format!("no link: {error}"));
                }
                None => tracing::debug!(%address, %error, "no link"),
            }
            let refusal = match error {
                DialError::Refused(refusal) => Some(refusal),
                _ => None,
            };
            return shared.event(Event::DialFailed { address, refusal }).await;
        }
    };
    let queue = Arc::new(LinkQueue::new(
        dialled.version,
        shared.config.limits.clone(),
        shared.wake.clone(),
    ));
    let rtt_us = Arc::new(AtomicU64::new(0));
    let up = Event::OutUp {
        link,
        address,
        as_member: me,
        member: dialled.member,
        queue: queue.clone(),
        rtt_us: rtt_us.clone(),
    };
    shared.event(up).await;
    let outbound = Outbound {
        queue: queue.clone(),
        heartbeat_interval: shared.config.heartbeat_interval,
        detection: shared.config.detection,
        rtt_us,
    };
    let end = tokio::select! {
        biased;
        () = cancel.cancelled() => LinkEnd::Cancelled,
        end = outbound.run(dialled.stream) => end,
    };
    let dropped = queue.close();
    shared.counters.publications_dropped.add(dropped as u64);
    if let LinkEnd::QueueFull(lane) = end {
        shared.counters.links_reset_queue_full.add(1);
        tracing::warn!(%address, %lane, dropped, "the queue of a link was full: the link is reset");
    } else if dropped > 0 {
        tracing::warn!(%address, %end, dropped, "publications that waited for a sibling are lost with its link");
    }
    shared.event(Event::OutDown { link, end }).await;
}

async fn open<N: Net>(
    net: &N,
    shared: &Shared,
    address: SocketAddr,
    me: Member,
    uptime_ms: u64,
) -> Result<link::Dialled<N::Stream>, DialError> {
    if !shared.config.allows(address.ip()) {
        return Err(DialError::NotAllowed);
    }
    let stream = net.connect(address).await?;
    let me = link::Introduction {
        versions: shared.config.versions,
        nonce: shared.random.bytes(),
        identity: me,
        uptime_ms,
    };
    let frame_bytes = shared.config.limits.frame_bytes;
    link::dial(stream, address, &shared.secrets(), me, frame_bytes)
        .await
        .map_err(DialError::in_handshake)
}

/// Accepts siblings until the listener is dropped.
pub(crate) async fn accept<L: Listener>(mut listener: L, shared: Arc<Shared>)
where
    L::Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let waiting = Waiting::new(shared.config.unauthenticated_max);
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "the mesh listener could not accept");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let counters = &shared.counters;
        if !shared.config.allows(from.ip()) {
            counters.connections_not_allowed.add(1);
            let problem = "a connection from an address that is not allowed";
            warn(Problem::NotAllowed, &shared, host(from), problem);
            continue;
        }
        let (place, gone) = waiting.enter(from.ip(), &shared.known.read());
        if let Some(gone) = gone {
            counters.connections_over_limit.add(1);
            let problem = "too many connections are not authenticated yet: the oldest is closed";
            warn(Problem::OverLimit, &shared, (gone, 0).into(), problem);
        }
        let task = inbound(stream, from, place, shared.clone());
        let cancel = shared.cancel.clone();
        shared
            .tasks
            .spawn(async move { cancel.run_until_cancelled(Box::pin(task)).await });
    }
}

fn warn(kind: Problem, shared: &Shared, address: SocketAddr, problem: &str) {
    if let Some(suppressed) = shared.brakes.pass(kind, address, shared.clock.elapsed()) {
        tracing::warn!(%address, suppressed, "{problem}");
    }
}

/// The address without the port, which is another one for each connection that comes in.
fn host(mut from: SocketAddr) -> SocketAddr {
    from.set_port(0);
    from
}

/// Beats as long as the process runs.
pub(crate) async fn heart(shared: Arc<Shared>) {
    let interval = shared.config.detection / 8;
    loop {
        shared.beat();
        sleep(interval).await;
    }
}

/// A connection that has said which dialect it speaks and, if it is the native one, proven itself.
enum Accepted<S> {
    Native(link::Verified<S>),
    Oort(WebSocketStream<S>),
}

async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    shared: &Shared,
) -> Result<Accepted<S>, DialError> {
    let oort = shared.oort.get();
    let oort = oort.map(|oort| (oort.path(), oort.message_bytes()));
    match link::upgrade(stream, oort).await? {
        Upgraded::Oort(ws) => Ok(Accepted::Oort(ws)),
        Upgraded::Native(ws) => {
            let secrets = shared.secrets();
            let nonce = shared.random.bytes();
            link::accept(ws, &secrets, shared.config.versions, nonce)
                .await
                .map(Accepted::Native)
        }
    }
}

/// Lets a dialler prove itself and, if it is admitted, reads from it until the link ends.
async fn inbound<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    from: SocketAddr,
    place: Place,
    shared: Arc<Shared>,
) {
    let limit = shared.config.handshake_timeout;
    let proving = timeout(limit, prove(stream, &shared));
    // A handshake that is complete counts, even if it was to make room in the same moment.
    let accepted = tokio::select! {
        biased;
        accepted = proving => accepted,
        () = place.evicted.cancelled() => {
            shared.counters.handshakes_failed.add(1);
            return;
        }
    };
    let verified = match accepted.unwrap_or(Err(DialError::Timeout)) {
        Ok(Accepted::Native(verified)) => verified,
        Ok(Accepted::Oort(ws)) => {
            if let Some(oort) = shared.oort.get().cloned() {
                // It keeps its place until it stands for a session.
                let evicted = place.evicted.clone();
                oort.serve(ws, &shared, evicted, place).await;
            }
            return;
        }
        Err(error) => {
            shared.counters.handshakes_failed.add(1);
            shared.note_versions(&error);
            let kind = match error {
                DialError::Auth(_) => Problem::WrongSecret,
                _ => Problem::Handshake,
            };
            let problem = format!("a connection failed to join: {error}");
            return warn(kind, &shared, host(from), &problem);
        }
    };
    drop(place);
    let (link, cancel, done) = (
        shared.new_link(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let _done = done.clone().drop_guard();
    let (reply, admitted) = oneshot::channel();
    let proof = verified.proof.clone();
    let name = proof.identity.name.clone();
    shared
        .event(Event::Admit {
            link,
            proof,
            cancel: cancel.clone(),
            done,
            reply,
        })
        .await;
    let admission = match admitted.await {
        Ok(Ok(admission)) => admission,
        Ok(Err(refusal)) => {
            shared.counters.nodes_refused.add(1);
            let problem = format!("the node {name} is refused: {refusal}");
            warn(Problem::Refused, &shared, host(from), &problem);
            let _ = timeout(limit, verified.refuse(refusal)).await;
            return;
        }
        // The node is stopping.
        Err(_) => return,
    };
    let Admission { me, after } = admission;
    let frame_bytes = shared.config.limits.frame_bytes;
    let end = match timeout(limit, verified.welcome(me, frame_bytes)).await {
        Ok(Ok((ws, version))) => {
            let detection = shared.config.detection;
            let inbound = Inbound::new(ws, version, detection, frame_bytes);
            tokio::select! {
                biased;
                () = cancel.cancelled() => LinkEnd::Cancelled,
                end = read(inbound, link, after, &shared) => end,
            }
        }
        Ok(Err(error)) => LinkEnd::Io(error.to_string()),
        Err(_) => LinkEnd::Silent(limit),
    };
    shared.event(Event::InDown { link, end }).await;
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    mut inbound: Inbound<S>,
    link: LinkId,
    after: Option<CancellationToken>,
    shared: &Shared,
) -> LinkEnd {
    if let Some(previous) = after {
        previous.cancelled().await;
    }
    loop {
        let item = match inbound.next().await {
            Ok(InboundEvent::Publications(items)) => {
                let now = shared.clock.now();
                forwarding::deliver(&items, &shared.engine, now, &shared.counters);
                continue;
            }
            Ok(InboundEvent::State(channel, body)) => {
                match inbound.busy(state(link, channel, body, shared)).await {
                    Ok(item) => item,
                    Err(end) => return end,
                }
            }
            Ok(InboundEvent::Interest(interest)) => Bulk::Interest(link, interest),
            Ok(InboundEvent::Known(addresses)) => {
                let known = shared.event(Event::Known(link, addresses));
                match inbound.busy(known).await {
                    Ok(()) => continue,
                    Err(end) => return end,
                }
            }
            Ok(InboundEvent::Leaving) => Bulk::SiblingLeaves(link),
            Err(end) => return end,
        };
        if let Err(end) = inbound.busy(shared.bulk(item)).await {
            return end;
        }
    }
}

/// Waits until the actor has room for the message.
async fn state(link: LinkId, channel: StateChannel, body: bytes::Bytes, shared: &Shared) -> Bulk {
    // Messages are bounded by `frame_bytes`, far below the budget.
    let cost = u32::try_from(body.len().max(1)).unwrap_or(u32::MAX);
    let permit = shared
        .state_budget
        .clone()
        .acquire_many_owned(cost)
        .await
        .expect("the budget is never closed");
    Bulk::State(link, channel, body, permit)
}
