//! The way of publications through the engine, without sockets: what `tests/bench/guard` counts instructions and allocations of.
//!
//! ```text
//! publish_cost SUBSCRIBERS PUBLICATIONS
//! ```
//!
//! Each publication comes as a frame, waits in the queue of each subscriber, and is taken out by each writer as a WebSocket frame. What a run
//! costs beside that is the same for each number of publications, so the difference of two runs is the cost of the publications alone.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a measuring program: nothing comes from outside but its arguments"
)]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use halley_bayeux::{DefaultPolicy, Engine, EngineConfig, Millis, Output, WebSocketPeer};
use tokio_tungstenite::tungstenite::protocol::frame::Frame;
use tokio_tungstenite::tungstenite::protocol::frame::coding::{Data, OpCode};

const NOW: Millis = Millis(1000);

/// Processes a frame; what it is answered with stays in the peer.
async fn say(engine: &Arc<Engine>, peer: &mut WebSocketPeer, text: &str) {
    engine.websocket_frame(peer, text, NOW).await.unwrap();
}

/// Takes out what waits and encodes it as frames. Returns their bytes.
fn write(peer: &mut WebSocketPeer, out: &mut Vec<u8>) -> usize {
    let mut bytes = 0;
    while let Poll::Ready(Output::Frame(frame)) =
        peer.poll_output(&mut Context::from_waker(Waker::noop()), NOW)
    {
        out.clear();
        Frame::message(frame, OpCode::Data(Data::Text), true)
            .format(out)
            .unwrap();
        bytes += out.len();
        peer.written(NOW);
    }
    bytes
}

async fn join(engine: &Arc<Engine>, out: &mut Vec<u8>) -> WebSocketPeer {
    let mut peer = engine.websocket_peer();
    say(
        engine,
        &mut peer,
        r#"[{"channel":"/meta/handshake","id":"1"}]"#,
    )
    .await;
    write(&mut peer, out);
    let id = peer.session().unwrap().id().to_string();
    let rest = format!(
        r#"[{{"channel":"/meta/subscribe","id":"2","clientId":"{id}","subscription":"/room/1"}},{{"channel":"/meta/connect","id":"3","clientId":"{id}"}},{{"channel":"/meta/connect","id":"4","clientId":"{id}"}}]"#
    );
    say(engine, &mut peer, &rest).await;
    write(&mut peer, out);
    peer
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let mut arguments = std::env::args()
        .skip(1)
        .map(|number| number.parse::<usize>().unwrap());
    let subscribers = arguments.next().unwrap();
    let publications = arguments.next().unwrap();
    let engine = Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::default()));
    let mut out = Vec::with_capacity(4096);
    let mut peers = Vec::with_capacity(subscribers);
    for _ in 0..subscribers {
        peers.push(join(&engine, &mut out).await);
    }
    let id = peers[0].session().unwrap().id().to_string();
    let publication = format!(
        r#"[{{"channel":"/room/1","id":"5","clientId":"{id}","data":"{}"}}]"#,
        "x".repeat(50)
    );
    let mut bytes = 0;
    for _ in 0..publications {
        say(&engine, &mut peers[0], &publication).await;
        for peer in &mut peers {
            bytes += write(peer, &mut out);
        }
    }
    assert!(bytes >= publications * subscribers * 80, "{bytes} bytes");
    println!("{bytes} bytes written");
}
