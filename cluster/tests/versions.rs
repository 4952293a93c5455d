//! Nodes of several releases: a common version is chosen, and where there is none both sides say so.
//!
//! The frames are written here byte by byte, as version 1 has them, without the crate's own code: they must not change
//! as long as a release speaks that version. `Hello`, and the close code for "no common version", must never change.

#[path = "support/log.rs"]
mod log;
mod support;

use std::net::SocketAddr;

use futures_util::{SinkExt, StreamExt};
use halley_cluster::Versions;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use support::{Node, config, eventually};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, Message};

/// The secret of `support::config`.
const SECRET: [u8; 32] = [1; 32];
const CLOSE_VERSION: u16 = 4001;

type Ws = WebSocketStream<TcpStream>;

async fn dial(address: SocketAddr) -> Ws {
    let stream = TcpStream::connect(address).await.expect("connects");
    let url = format!("ws://{address}/halley/mesh");
    let (ws, _) = tokio_tungstenite::client_async(url, stream)
        .await
        .expect("upgrades");
    ws
}

async fn send(ws: &mut Ws, frame: &[&[u8]]) {
    ws.send(Message::Binary(frame.concat().into()))
        .await
        .expect("sends");
}

async fn next(ws: &mut Ws) -> Message {
    let next = tokio::time::timeout(support::patience(), ws.next());
    next.await
        .expect("in time")
        .expect("open")
        .expect("a frame")
}

/// `Hello` of all releases.
fn hello(min: u8, max: u8) -> Vec<u8> {
    [&[0, 1, min, max][..], &[7; 32]].concat()
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// A member of version 1: name, incarnation, address, client address.
fn identity(name: &str, address: ([u8; 4], u16)) -> Vec<u8> {
    let (ip, port) = address;
    let parts: [&[u8]; 6] = [
        &text(name),
        &99_u64.to_le_bytes(),
        &[0; 4],
        &ip,
        &port.to_le_bytes(),
        &text(""),
    ];
    parts.concat()
}

fn mac(parts: &[&[u8]]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(&SECRET).expect("a key");
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_of_the_lowest_version_and_this_one_are_one_cluster() {
    let lowest = Versions {
        min: Versions::ALL.min,
        max: Versions::ALL.min,
    };
    let this = Node::start(config("this", &[])).await;
    let mut old = config("old", &[this.address()]);
    old.versions = lowest;
    let old = Node::start(old).await;
    eventually("one cluster", || {
        this.names() == ["old"] && old.names() == ["this"]
    })
    .await;
    // Each dials the other, so both roles have chosen a version; and messages go both ways.
    for (from, to) in [(&this, &old), (&old, &this)] {
        let (_session, inbox) = to.subscriber(&["/x"]).await;
        from.until_reached("/x", &inbox).await;
    }
    for node in [&this, &old] {
        assert_eq!(node.cluster.counters().version_mismatches.get(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frames_of_version_1_are_still_spoken() {
    let node = Node::start(config("v1-node", &[])).await;
    let mut ws = dial(node.address()).await;
    let hello = hello(1, 1);
    send(&mut ws, &[&hello]).await;
    let challenge = next(&mut ws).await.into_data();
    assert_eq!((challenge.len(), &challenge[..3]), (35, &[1, 2, 1][..]));

    // The proof is over everything said, the identity and the uptime.
    let me = identity("v1-peer", ([127, 0, 0, 9], 7400));
    let uptime = 5_u64.to_le_bytes();
    let (said, answered) = (&hello[2..], &challenge[2..]);
    let proof = mac(&[b"halley mesh: dialler proves", said, answered, &me, &uptime]);
    send(&mut ws, &[&[1, 3], &me, &uptime, &proof]).await;
    let welcome = next(&mut ws).await.into_data();
    assert_eq!(&welcome[..2], [1, 4]);
    let (identity, welcome_mac) = welcome[2..].split_last_chunk::<32>().expect("a MAC");
    let label = b"halley mesh: acceptor proves";
    assert_eq!(*welcome_mac, mac(&[label, said, answered, &me, identity]));
    assert!(identity.starts_with(&text("v1-node")));

    // An interest snapshot (one channel, nothing removed, the end), then a ping.
    let none = 0_u64.to_le_bytes();
    let one = 1_u64.to_le_bytes();
    send(&mut ws, &[&[1, 18], &one, &text("/x"), &none, &[1]]).await;
    let clock = 77_u64.to_le_bytes();
    send(&mut ws, &[&[1, 16], &clock]).await;
    let pong = next(&mut ws).await.into_data();
    assert_eq!(pong[..], [&[1, 17][..], &clock].concat());
}

/// The handshake of version 2 up to the answer to the proof, for a link that is new or goes on.
async fn prove_version_2(node: &Node, link: u64, resumes: bool) -> (Ws, Vec<u8>) {
    let mut ws = dial(node.address()).await;
    let hello = hello(1, 2);
    send(&mut ws, &[&hello]).await;
    let challenge = next(&mut ws).await.into_data();
    assert_eq!((challenge.len(), &challenge[..3]), (35, &[2, 2, 2][..]));
    let me = identity("v2-peer", ([127, 0, 0, 9], 7400));
    let (uptime, link) = (
        5_u64.to_le_bytes(),
        [&link.to_le_bytes()[..], &[u8::from(resumes)]].concat(),
    );
    let (said, answered) = (&hello[2..], &challenge[2..]);
    let label = b"halley mesh: dialler proves";
    let proof = mac(&[label, said, answered, &me, &uptime, &link]);
    send(&mut ws, &[&[2, 3], &me, &uptime, &link, &proof]).await;
    let answer = next(&mut ws).await.into_data();
    let (body, answer_mac) = answer[2..].split_last_chunk::<32>().expect("a MAC");
    if answer[..2] == [2, 4] {
        let label = b"halley mesh: acceptor proves";
        // The last part: frames and publications received, and whether a former link is known.
        let (identity, reached) = body.split_at(body.len() - 17);
        let parts: [&[u8]; 6] = [label, said, answered, &me, identity, reached];
        assert_eq!(*answer_mac, mac(&parts));
    }
    (ws, answer[..answer.len() - 32].to_vec())
}

fn pong(clock: u64, frames: u64, publications: u64) -> Vec<u8> {
    let numbers = [clock, frames, publications].map(u64::to_le_bytes);
    [&[2, 17][..], numbers.as_flattened()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_frames_of_version_2_acknowledge_and_a_link_goes_on() {
    let node = Node::start(config("v2-node", &[])).await;
    let (_session, inbox) = node.subscriber(&["/x"]).await;
    let (mut ws, welcome) = prove_version_2(&node, 42, false).await;
    assert!(welcome.starts_with(&[2, 4]) && welcome.ends_with(&[0; 17]));
    let (none, one) = (0_u64.to_le_bytes(), 1_u64.to_le_bytes());
    // An interest snapshot, two publications in two frames, then a ping with the round trip: three frames have come in.
    let publications = |first: u64, data: &str| {
        let object = format!("{{\"channel\":\"/x\",\"data\":{data}}}");
        let first = first.to_le_bytes();
        [&[2, 48][..], &first, &one, &text("/x"), &text(&object)].concat()
    };
    send(&mut ws, &[&[2, 18], &none, &none, &[1]]).await;
    send(&mut ws, &[&publications(0, "0")]).await;
    send(&mut ws, &[&publications(1, "1")]).await;
    let ping = |clock: u64| [&[2, 16][..], &clock.to_le_bytes(), &9_u64.to_le_bytes()].concat();
    send(&mut ws, &[&ping(77)]).await;
    assert_eq!(next(&mut ws).await.into_data()[..], pong(77, 3, 2));
    // The connection breaks; on another one the node says what it has, and the rest is sent.
    drop(ws);
    let (mut ws, welcome) = prove_version_2(&node, 42, true).await;
    let reached = [&3_u64.to_le_bytes()[..], &2_u64.to_le_bytes(), &[0]].concat();
    assert!(welcome.ends_with(&reached), "{welcome:?}");
    send(&mut ws, &[&publications(2, "2")]).await;
    send(&mut ws, &[&ping(78)]).await;
    assert_eq!(next(&mut ws).await.into_data()[..], pong(78, 4, 3));
    assert_eq!(inbox.data(), ["0", "1", "2"]);
    // A link that is not there does not go on.
    let (_ws, refused) = prove_version_2(&node, 43, true).await;
    assert_eq!(refused, [2, 5, 6, 0, 0, 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_offers_only_unknown_versions_is_told_ours_and_the_log_says_why() {
    let log = log::capture();
    let node = Node::start(config("refuses", &[])).await;
    let mut ws = dial(node.address()).await;
    send(&mut ws, &[&hello(200, 201)]).await;
    let Message::Close(Some(close)) = next(&mut ws).await else {
        panic!("not closed with a reason");
    };
    assert_eq!(u16::from(close.code), CLOSE_VERSION);
    assert_eq!(close.reason.as_str(), Versions::ALL.to_string());
    let here = Versions::ALL;
    let says = format!("this node speaks {here}, the other one 200 to 201");
    eventually("the log says why", || log.contains(&says)).await;
    let counters = node.cluster.counters();
    assert_eq!(counters.version_mismatches.get(), 1);
    assert_eq!(counters.handshakes_failed.get(), 1);
    assert!(node.names().is_empty() && node.events.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acceptor_of_unknown_versions_is_not_joined_and_the_log_says_why() {
    let log = log::capture();
    // The first says that there is no common version, as every release must; the second just goes on in its own.
    for (answers, says) in [
        (None, "the other one 220 to 221"),
        (Some(210), "the other one 210"),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let address = listener.local_addr().expect("an address");
        let acceptor = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.expect("accepts");
                let mut ws = tokio_tungstenite::accept_async(stream)
                    .await
                    .expect("upgrades");
                let hello = ws.next().await.expect("open").expect("a frame").into_data();
                let Versions { min, max } = Versions::ALL;
                assert_eq!((hello.len(), &hello[..4]), (36, &[0, 1, min, max][..]));
                match answers {
                    None => {
                        let code = CloseCode::from(CLOSE_VERSION);
                        let reason = "220 to 221".into();
                        let _ = ws.close(Some(CloseFrame { code, reason })).await;
                    }
                    Some(version) => {
                        let challenge = [&[version, 2, version][..], &[9; 32]].concat();
                        let _ = ws.send(Message::Binary(challenge.into())).await;
                    }
                }
            }
        });
        let node = Node::start(config("alone", &[address])).await;
        eventually("counted", || {
            node.cluster.counters().version_mismatches.get() > 0
        })
        .await;
        eventually(says, || log.contains(says)).await;
        assert!(node.names().is_empty());
        acceptor.abort();
    }
}

#[test]
fn versions_that_this_release_does_not_speak_cannot_be_configured() {
    let Versions { min, max } = Versions::ALL;
    for versions in [
        Versions { min, max: max + 1 },
        Versions { min: max + 1, max },
        Versions { min: 0, max },
    ] {
        let mut config = config("a", &[]);
        config.versions = versions;
        let problems = config.validate().unwrap_err();
        assert_eq!(problems[0].key, "mesh.versions");
    }
}
