//! Both ends of a link over connections in memory that break anywhere.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use halley_bayeux::{ChannelName, Json, Publication};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf, duplex, split};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::tls::Binding;
use crate::wire::{LinkClaim, Reached, Versions};
use crate::{
    Incarnation, LinkLimits, Member, NodeName, RandomSource, Secret, Secrets, StateChannel,
};

const DETECTION: Duration = Duration::from_secs(4);
const FRAME_BYTES: usize = 1 << 20;
const MESSAGES: usize = 400;

fn member(name: &str) -> Member {
    Member {
        name: NodeName::new(name).unwrap(),
        incarnation: Incarnation(1),
        mesh_address: ([127, 0, 0, 1], 7400).into(),
        client_url: String::new(),
    }
}

fn secrets() -> Secrets {
    Secret::new(&[1; 32]).unwrap().into()
}

async fn copy(mut from: ReadHalf<DuplexStream>, mut to: WriteHalf<DuplexStream>, mut left: usize) {
    let mut buffer = [0; 1500];
    while left > 0 {
        let Ok(n @ 1..) = from.read(&mut buffer).await else {
            return;
        };
        let n = n.min(left);
        left -= n;
        if to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}

/// A connection that breaks, in both directions, after so many bytes have passed in one.
fn connection(there: usize, back: usize) -> (DuplexStream, DuplexStream) {
    let ((near, a), (b, far)) = (duplex(64 << 10), duplex(64 << 10));
    tokio::spawn(async move {
        let ((from_near, to_near), (from_far, to_far)) = (split(a), split(b));
        tokio::select! {
            () = copy(from_near, to_far, there) => {}
            () = copy(from_far, to_near, back) => {}
        }
    });
    (near, far)
}

fn publication(n: usize, bytes: usize) -> Arc<Publication> {
    let data = format!("[{n},\"{}\"]", "x".repeat(bytes));
    let channel = ChannelName::parse("/a").unwrap();
    Publication::new(&channel, Json::validate(&data, 4).unwrap())
}

/// The acceptor's side: proves each dialler, and hands its connection to the one link there is. Ends with the link.
async fn acceptor(mut connections: mpsc::Receiver<DuplexStream>) -> (Vec<u64>, Vec<u64>) {
    let (successors, receiver) = mpsc::channel(1);
    let mut first = Some(receiver);
    let mut link = None;
    while let Some(stream) = connections.recv().await {
        let Ok(Upgraded::Native(ws)) = upgrade(stream, None).await else {
            continue;
        };
        let secrets = secrets();
        let proving = accept(ws, &secrets, Versions::ALL, [2; 32], Binding::NONE);
        let Ok(verified) = proving.await else {
            continue;
        };
        let me = member("b");
        if verified.proof.link.resumes {
            let _ = successors.send(Successor { verified, me }).await;
            continue;
        }
        let Ok((ws, version)) = verified.welcome(me, Reached::default(), FRAME_BYTES).await else {
            // The dialler did not hear that it is welcome, and begins again.
            continue;
        };
        let receiver = first.take().unwrap();
        let totals = Arc::default();
        let mut inbound = Inbound::new(ws, version, DETECTION, FRAME_BYTES, receiver, totals);
        link = Some(tokio::spawn(async move {
            let (mut numbers, mut states) = (Vec::new(), Vec::new());
            loop {
                match inbound.next().await {
                    Ok(InboundEvent::Publications(items)) => {
                        for (_, object) in items {
                            let text = std::str::from_utf8(&object).unwrap();
                            let at = text.find("\"data\":[").unwrap() + 8;
                            let end = at + text[at..].find(',').unwrap();
                            numbers.push(text[at..end].parse().unwrap());
                        }
                    }
                    Ok(InboundEvent::State(_, body)) => {
                        states.push(u64::from_le_bytes(body[..8].try_into().unwrap()));
                    }
                    Ok(_) => {}
                    Err(end) => {
                        assert_eq!(end, LinkEnd::Over);
                        return (numbers, states);
                    }
                }
            }
        }));
    }
    link.unwrap().await.unwrap()
}

/// The dialler's side: opens connections until everything is acknowledged. Returns how many it took.
async fn dialler(
    seed: u64,
    queue: Arc<LinkQueue>,
    totals: Arc<LinkTotals>,
    connections: mpsc::Sender<DuplexStream>,
    all_pushed: &CancellationToken,
    mut break_after: impl FnMut() -> (usize, usize),
) -> usize {
    let cancel = CancellationToken::new();
    let outbound = Outbound {
        queue: queue.clone(),
        heartbeat_interval: Duration::from_secs(1),
        detection: DETECTION,
        totals,
        cancel: cancel.clone(),
    };
    let mut resumes = false;
    for opened in 1..200 {
        let (there, back) = break_after();
        let (near, far) = connection(there, back);
        connections.send(far).await.unwrap();
        let me = Introduction {
            versions: Versions::ALL,
            nonce: [1; 32],
            identity: member("a"),
            uptime_ms: 1,
            link: LinkClaim { id: seed, resumes },
            binding: Binding::NONE,
        };
        let address = ([127, 0, 0, 1], 7400).into();
        let secrets = secrets();
        let dialled = tokio::time::timeout(
            DETECTION / 4,
            dial(near, address, &secrets, me, FRAME_BYTES),
        );
        let Ok(Ok(dialled)) = dialled.await else {
            continue;
        };
        let again = match resumes {
            true => queue.resume(dialled.reached.received).expect("all is kept"),
            false => VecDeque::new(),
        };
        resumes = true;
        let all_acknowledged = async {
            all_pushed.cancelled().await;
            while queue.queued_bytes() + queue.window_bytes() > 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            cancel.cancel();
            std::future::pending::<()>().await;
        };
        let ended = tokio::select! {
            ended = outbound.run(dialled.stream, again) => ended,
            () = all_acknowledged => unreachable!(),
        };
        if ended.end == LinkEnd::Cancelled {
            return opened;
        }
        assert!(ended.end.is_of_connection(), "{}", ended.end);
    }
    panic!("the link does not come to an end")
}

/// Whatever breaks where: everything comes in, once, in order.
#[tokio::test(start_paused = true)]
async fn a_link_loses_and_doubles_nothing_over_connections_that_break_anywhere() {
    let mut most = 0;
    for seed in 1..9 {
        let random = RandomSource::seeded(seed);
        let queue = Arc::new(LinkQueue::new(
            Versions::ALL.max,
            LinkLimits::default(),
            Arc::default(),
        ));
        queue.snapshot_queued();
        let totals = Arc::<LinkTotals>::default();
        let (connections, accepted) = mpsc::channel(256);
        let accepting = tokio::spawn(acceptor(accepted));
        // The first one lasts for the handshake at least; the later ones need not.
        let mut opened = 0;
        let break_after = || {
            opened += 1;
            let least = if opened == 1 { 1500 } else { 1 };
            let there = least + random.next_u64() as usize % 60_000;
            let back = least + random.next_u64() as usize % 3000;
            match opened < 60 {
                true => (there, back),
                false => (usize::MAX, usize::MAX),
            }
        };
        let all_pushed = CancellationToken::new();
        let pushing = {
            let all_pushed = all_pushed.clone();
            let (queue, random) = (queue.clone(), RandomSource::seeded(seed + 1000));
            async move {
                for n in 0..MESSAGES {
                    let bytes = random.next_u64() as usize % 3000;
                    queue.push_message(&publication(n, bytes)).unwrap();
                    if n % 10 == 0 {
                        let mut body = (n as u64).to_le_bytes().to_vec();
                        body.resize(8 + random.next_u64() as usize % 90_000, 0);
                        queue.push_state(StateChannel(9), body.into()).unwrap();
                    }
                    if n % 7 == 0 {
                        tokio::time::sleep(Duration::from_millis(random.next_u64() % 20)).await;
                    }
                }
                all_pushed.cancel();
            }
        };
        let dialling = {
            let (queue, totals) = (queue.clone(), totals.clone());
            dialler(seed, queue, totals, connections, &all_pushed, break_after)
        };
        let (connections, ()) = tokio::join!(dialling, pushing);
        let (numbers, states) = accepting.await.unwrap();
        let expected: Vec<u64> = (0..MESSAGES as u64).collect();
        assert_eq!(numbers, expected, "seed {seed}");
        let expected: Vec<u64> = (0..MESSAGES as u64).step_by(10).collect();
        assert_eq!(states, expected, "seed {seed}");
        most = most.max(connections);
    }
    assert!(most > 20, "{most}: nothing was broken");
}
