//! The tasks that own one socket each.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::shared::{Admission, Event, Shared};
use crate::counters::LogBrake;
use crate::forwarding;
use crate::link::{self, DialError, Inbound, InboundEvent, LinkEnd, LinkQueue, Outbound};
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
        () = cancel.cancelled() => Err(DialError::Closed),
        result = attempt => result.unwrap_or(Err(DialError::Timeout)),
    };
    let dialled = match dialled {
        Ok(dialled) => dialled,
        Err(error) => {
            if matches!(error, DialError::Closed | DialError::Auth(_)) {
                warn(
                    &shared.dial_brake,
                    &shared,
                    address,
                    &format!("no link: {error}"),
                );
            } else {
                tracing::debug!(%address, %error, "no link");
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
    let nonce = shared.random.bytes();
    let frame_bytes = shared.config.limits.frame_bytes;
    link::dial(
        stream,
        address,
        &shared.secrets(),
        nonce,
        me,
        uptime_ms,
        frame_bytes,
    )
    .await
}

/// Accepts siblings until the listener is dropped.
pub(crate) async fn accept<L: Listener>(mut listener: L, shared: Arc<Shared>)
where
    L::Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let unauthenticated = Arc::new(Semaphore::new(shared.config.unauthenticated_max));
    let brake = Arc::new(LogBrake::default());
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
            warn(
                &brake,
                &shared,
                from,
                "a connection from an address that is not allowed",
            );
            continue;
        }
        let Ok(permit) = unauthenticated.clone().try_acquire_owned() else {
            counters.connections_over_limit.add(1);
            warn(
                &brake,
                &shared,
                from,
                "too many connections are not authenticated yet",
            );
            continue;
        };
        let task = inbound(stream, from, permit, shared.clone(), brake.clone());
        let cancel = shared.cancel.clone();
        shared
            .tasks
            .spawn(async move { cancel.run_until_cancelled(Box::pin(task)).await });
    }
}

fn warn(brake: &LogBrake, shared: &Shared, address: SocketAddr, problem: &str) {
    if let Some(suppressed) = brake.pass(shared.clock.elapsed()) {
        tracing::warn!(%address, suppressed, "{problem}");
    }
}

/// Beats as long as the process runs.
pub(crate) async fn heart(shared: Arc<Shared>) {
    let interval = shared.config.detection / 8;
    loop {
        shared.beat();
        sleep(interval).await;
    }
}

/// Lets a dialler prove itself and, if it is admitted, reads from it until the link ends.
async fn inbound<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    from: SocketAddr,
    permit: OwnedSemaphorePermit,
    shared: Arc<Shared>,
    brake: Arc<LogBrake>,
) {
    let limit = shared.config.handshake_timeout;
    let secrets = shared.secrets();
    let accepted = timeout(limit, link::accept(stream, &secrets, shared.random.bytes())).await;
    let verified = match accepted.unwrap_or(Err(DialError::Timeout)) {
        Ok(verified) => verified,
        Err(error) => {
            shared.counters.handshakes_failed.add(1);
            return warn(
                &brake,
                &shared,
                from,
                &format!("a connection failed to join: {error}"),
            );
        }
    };
    drop(permit);
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
            warn(
                &brake,
                &shared,
                from,
                &format!("the node {name} is refused: {refusal}"),
            );
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
        let event = match inbound.next().await {
            Ok(InboundEvent::Publications(items)) => {
                let now = shared.clock.now();
                forwarding::deliver(&items, &shared.engine, now, &shared.counters);
                continue;
            }
            Ok(InboundEvent::State(channel, body)) => {
                match inbound.busy(state(link, channel, body, shared)).await {
                    Ok(event) => event,
                    Err(end) => return end,
                }
            }
            Ok(InboundEvent::Interest(interest)) => Event::Interest(link, interest),
            Ok(InboundEvent::Known(addresses)) => Event::Known(link, addresses),
            Ok(InboundEvent::Leaving) => Event::SiblingLeaves(link),
            Err(end) => return end,
        };
        if let Err(end) = inbound.busy(shared.event(event)).await {
            return end;
        }
    }
}

/// Waits until the actor has room for the message.
async fn state(link: LinkId, channel: StateChannel, body: bytes::Bytes, shared: &Shared) -> Event {
    // Messages are bounded by `frame_bytes`, far below the budget.
    let cost = u32::try_from(body.len().max(1)).unwrap_or(u32::MAX);
    let permit = shared
        .state_budget
        .clone()
        .acquire_many_owned(cost)
        .await
        .expect("the budget is never closed");
    Event::State(link, channel, body, permit)
}
