//! The task that opens a link, writes to it, and opens another connection when that one breaks.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_tungstenite::WebSocketStream;
use tokio_util::sync::CancellationToken;

use super::shared::{Event, Shared};
use super::tasks::warn;
use crate::counters::Problem;
use crate::link::{self, ConnectionEnd, DialError, LinkEnd, LinkQueue, Outbound};
use crate::membership::LinkId;
use crate::net::Net;
use crate::tls::{self, Transport};
use crate::wire::{LinkClaim, VERSION_RESUME};
use crate::{Member, NodeId};

/// Part of the detection time that passes between two attempts to get another connection for a link.
const RESUME_PAUSE_PARTS: u32 = 40;
/// Part of the detection time that one such attempt may take: a lost segment must not use up all of it.
const RESUME_ATTEMPT_PARTS: u32 = 3;

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
    let claim = LinkClaim {
        id: shared.random.next_u64(),
        resumes: false,
    };
    let dialler = LinkDialler {
        net: &net,
        shared: &shared,
        address,
        me: &me,
        uptime_ms,
    };
    let attempt = timeout(
        shared.config.handshake_timeout,
        Box::pin(dialler.open(claim)),
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
            // What was said to a former life of this node is not meant for this one.
            let same_life = shared.me().incarnation == me.incarnation;
            let refusal = failed(&shared, address, error).filter(|_| same_life);
            return shared.event(Event::DialFailed { address, refusal }).await;
        }
    };
    let sibling = dialled.member.id();
    let totals = shared.totals(&sibling.name);
    shared.told(&sibling, dialled.reached.former);
    let queue = Arc::new(LinkQueue::new(
        dialled.version,
        shared.config.limits.clone(),
        shared.wake.clone(),
    ));
    let up = Event::OutUp {
        link,
        address,
        as_member: me.clone(),
        member: dialled.member,
        queue: queue.clone(),
    };
    shared.event(up).await;
    let outbound = Outbound {
        queue: queue.clone(),
        heartbeat_interval: shared.config.heartbeat_interval,
        detection: shared.config.detection,
        totals: totals.clone(),
        cancel: cancel.clone(),
    };
    let (mut stream, mut again) = (dialled.stream, VecDeque::new());
    let end = loop {
        let ended = Box::pin(outbound.run(stream, again)).await;
        if !ended.end.is_of_connection() || !queue.can_resume() {
            break ended.end;
        }
        let resumed = tokio::select! {
            biased;
            () = cancel.cancelled() => break LinkEnd::Cancelled,
            resumed = Box::pin(dialler.resume(&ended, claim.id, &sibling, &queue)) => resumed,
        };
        let Some(resumed) = resumed else {
            break ended.end;
        };
        totals.resumed.add(1);
        let frames = resumed.1.len();
        tracing::info!(name = %sibling.name, %address, end = %ended.end, frames, "a link has lost its connection and goes on");
        (stream, again) = resumed;
    };
    shared.link_ended(&sibling, address, claim.id, &end, &queue);
    shared.event(Event::OutDown { link, end }).await;
}

/// Logs and counts an attempt that failed, and returns what the other side says, if it is one of the cluster.
fn failed(shared: &Shared, address: SocketAddr, error: DialError) -> Option<crate::Refusal> {
    shared.note_kind(&error);
    let problem = match error {
        DialError::Closed => Some(Problem::ClosedByOther),
        DialError::Auth(_) => Some(Problem::WrongSecret),
        _ if error.is_of_tls() => Some(Problem::Tls),
        _ => None,
    };
    match problem {
        Some(problem) => {
            if problem != Problem::Tls {
                shared.counters.dials_closed.add(1);
            }
            warn(problem, shared, address, &format!("no link: {error}"));
        }
        None => tracing::debug!(%address, %error, "no link"),
    }
    match error {
        DialError::Refused(refusal) => Some(refusal),
        _ => None,
    }
}

/// Opens the connections of one link.
struct LinkDialler<'a, N> {
    net: &'a N,
    shared: &'a Shared,
    address: SocketAddr,
    me: &'a Member,
    uptime_ms: u64,
}

impl<N: Net> LinkDialler<'_, N> {
    async fn open(
        &self,
        link: LinkClaim,
    ) -> Result<link::Dialled<Transport<N::Stream>>, DialError> {
        let shared = self.shared;
        if !shared.config.allows(self.address.ip()) {
            return Err(DialError::NotAllowed);
        }
        let stream = self.net.connect(self.address).await?;
        let secured = tls::connect(stream, self.address, shared.tls().as_deref()).await?;
        let me = link::Introduction {
            versions: shared.config.versions,
            nonce: shared.random.bytes(),
            identity: self.me.clone(),
            uptime_ms: self.uptime_ms,
            link,
            binding: secured.binding,
        };
        let frame_bytes = shared.config.limits.frame_bytes;
        link::dial(
            secured.transport,
            self.address,
            &shared.secrets(),
            me,
            frame_bytes,
        )
        .await
        .map_err(DialError::in_handshake)
    }

    /// Another connection for the link, and what is to be written on it first. Tried until the sibling has to be given up.
    async fn resume(
        &self,
        ended: &ConnectionEnd,
        id: u64,
        sibling: &NodeId,
        queue: &LinkQueue,
    ) -> Option<(WebSocketStream<Transport<N::Stream>>, VecDeque<Bytes>)> {
        let detection = self.shared.config.detection;
        let deadline = ended.heard + detection;
        let claim = LinkClaim { id, resumes: true };
        while Instant::now() < deadline {
            let until = deadline.min(Instant::now() + detection / RESUME_ATTEMPT_PARTS);
            match timeout_at(until, self.open(claim)).await {
                Ok(Ok(dialled)) => {
                    let same = dialled.version >= VERSION_RESUME && dialled.member.id() == *sibling;
                    let again = queue.resume(dialled.reached.received).filter(|_| same);
                    let Some(again) = again else {
                        tracing::info!(name = %sibling.name, address = %self.address, "a link cannot go on: too much was under way");
                        link::close(dialled.stream).await;
                        return None;
                    };
                    return Some((dialled.stream, again));
                }
                Ok(Err(error)) if is_final(&error) => {
                    tracing::debug!(address = %self.address, %error, "a link cannot go on");
                    return None;
                }
                Ok(Err(_)) | Err(_) => {}
            }
            sleep(detection / RESUME_PAUSE_PARTS).await;
        }
        None
    }
}

/// Whether it makes no sense to ask again: the process is gone, or it has given this node up.
fn is_final(error: &DialError) -> bool {
    match error {
        DialError::Connect(error) => error.kind() == io::ErrorKind::ConnectionRefused,
        DialError::Refused(_)
        | DialError::Auth(_)
        | DialError::OtherVersions(_)
        | DialError::WantsTls
        | DialError::NotAllowed => true,
        _ => false,
    }
}
