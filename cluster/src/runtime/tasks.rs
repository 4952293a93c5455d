//! The tasks that accept siblings and read what they send.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;

use super::resumable::Resumable;
use super::shared::{Admission, Bulk, Event, Shared};
use super::waiting::{Place, Waiting};
use crate::counters::Problem;
use crate::forwarding;
use crate::link::{self, DialError, Inbound, InboundEvent, LinkEnd, Successor, Upgraded, Verified};
use crate::membership::LinkId;
use crate::net::Listener;
use crate::seti::Seti;
use crate::tls::{self, Binding, Transport};
use crate::wire::{Reached, Received, Refusal};
use crate::{Member, StateChannel};

/// Pause after the system could not accept (too many open files, say).
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts siblings until the listener is dropped. What they send to users is delivered by `seti`.
pub(crate) async fn accept<L: Listener>(mut listener: L, shared: Arc<Shared>, seti: Seti)
where
    L::Stream: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let waiting = Waiting::new(shared.config.unauthenticated_max);
    let resumable = Resumable::default();
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
        let node = (shared.clone(), seti.clone());
        let task = inbound(stream, from, place, node, resumable.clone());
        let cancel = shared.cancel.clone();
        shared
            .tasks
            .spawn(async move { cancel.run_until_cancelled(Box::pin(task)).await });
    }
}

pub(super) fn warn(kind: Problem, shared: &Shared, address: SocketAddr, problem: &str) {
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
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
enum Accepted<S> {
    Native(Verified<S>),
    Oort(WebSocketStream<S>),
}

/// Lets a dialler say which dialect it speaks and, if it is the native one, prove that it knows the secret and, where
/// that is demanded, that it has a certificate of the mesh.
async fn prove<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    shared: &Shared,
) -> Result<Accepted<Transport<S>>, DialError> {
    let tls = shared.tls();
    let secured = tls::accept(stream, tls.as_deref()).await?;
    let oort = shared.oort.get();
    let oort = oort.map(|oort| (oort.path(), oort.message_bytes()));
    let ws = match link::upgrade(secured.transport, oort).await? {
        Upgraded::Oort(ws) => return Ok(Accepted::Oort(ws)),
        Upgraded::Native(ws) => ws,
    };
    let (secrets, nonce) = (shared.secrets(), shared.random.bytes());
    let (versions, binding) = (shared.config.versions, secured.binding);
    let verified = link::accept(ws, &secrets, versions, nonce, binding).await?;
    if let Some(tls) = tls.filter(|_| binding != Binding::NONE) {
        let address = verified.proof.identity.mesh_address;
        if let Some(problem) = tls.refuses(secured.certificate.as_ref(), address) {
            let name = &verified.proof.identity.name;
            return Err(DialError::Tls(format!(
                "the certificate of node {name} is not accepted: {problem}"
            )));
        }
    }
    Ok(Accepted::Native(verified))
}

/// Lets a dialler prove itself and, if it is admitted, reads from it until the link ends.
async fn inbound<S: AsyncRead + AsyncWrite + Unpin>(
    stream: S,
    from: SocketAddr,
    place: Place,
    (shared, seti): (Arc<Shared>, Seti),
    resumable: Resumable<Transport<S>>,
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
            shared.note_kind(&error);
            let kind = match error {
                DialError::Auth(_) => Problem::WrongSecret,
                _ if error.is_of_tls() => Problem::Tls,
                _ => Problem::Handshake,
            };
            let problem = format!("a connection failed to join: {error}");
            return warn(kind, &shared, host(from), &problem);
        }
    };
    drop(place);
    if verified.proof.link.resumes {
        return resume(verified, &shared, &resumable).await;
    }
    let (link, cancel, done) = (
        shared.new_link(),
        CancellationToken::new(),
        CancellationToken::new(),
    );
    let _done = done.clone().drop_guard();
    let (reply, admitted) = oneshot::channel();
    let proof = verified.proof.clone();
    let (sibling, claim) = (proof.identity.clone(), proof.link);
    let (dialler, name) = (sibling.id(), sibling.name.clone());
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
    if let Some(previous) = after {
        previous.cancelled().await;
    }
    let (totals, former) = (shared.totals(&name), shared.ended(&dialler));
    let reached = Reached {
        received: Received::default(),
        former,
    };
    let (place, successors) = resumable.enter(&dialler, claim.id);
    let frame_bytes = shared.config.limits.frame_bytes;
    let end = match timeout(limit, verified.welcome(me, reached, frame_bytes)).await {
        Ok(Ok((ws, version))) => {
            let detection = shared.config.detection;
            let mut inbound = Inbound::new(ws, version, detection, frame_bytes, successors, totals);
            let end = tokio::select! {
                biased;
                () = cancel.cancelled() => LinkEnd::Cancelled,
                end = read(&mut inbound, link, &sibling, &shared, &seti) => end,
            };
            shared.note_ended(&dialler, claim.id, inbound.received().publications);
            inbound.close().await;
            end
        }
        Ok(Err(error)) => LinkEnd::Io(error.to_string()),
        Err(_) => LinkEnd::Silent(limit),
    };
    drop(place);
    shared.event(Event::InDown { link, end }).await;
}

/// Hands the connection to the link that goes on over it.
async fn resume<S: AsyncRead + AsyncWrite + Unpin>(
    verified: Verified<S>,
    shared: &Shared,
    resumable: &Resumable<S>,
) {
    let (limit, claim) = (shared.config.handshake_timeout, verified.proof.link);
    let dialler = verified.proof.identity.id();
    match resumable.find(&dialler, claim.id) {
        Some(link) => {
            let me = shared.me();
            // When the link ends in this moment the connection is dropped, and the sibling tries again.
            let _ = timeout(limit, link.send(Successor { verified, me })).await;
        }
        None => {
            tracing::debug!(sibling = %dialler, "a link that has ended here cannot go on");
            let _ = timeout(limit, verified.refuse(Refusal::LinkEnded)).await;
        }
    }
}

async fn read<S: AsyncRead + AsyncWrite + Unpin>(
    inbound: &mut Inbound<S>,
    link: LinkId,
    sibling: &Member,
    shared: &Shared,
    seti: &Seti,
) -> LinkEnd {
    loop {
        let item = match inbound.next().await {
            Ok(InboundEvent::Publications(items)) => {
                let now = shared.clock.now();
                forwarding::deliver(&items, &shared.engine, now, &shared.counters);
                continue;
            }
            // In one order with the publications, so not by way of the actor.
            Ok(InboundEvent::State(channel, body)) if channel.is_for_users() => {
                seti.received_for_users(sibling, channel, &body);
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
