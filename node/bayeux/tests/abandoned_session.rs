//! A session whose connection vanished while a connect was held must expire, whatever is published to it meanwhile.
//!
//! Sequence that once kept such a session for ever: first connect answered (expiry armed), second connect held,
//! connection lost, publication (marks the held connect as due, for a connection that is no more), and then the
//! timer entry of the first connect fires before the held connect's own deadline.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions"
)]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use halley_bayeux::{
    ChannelName, DefaultPolicy, Engine, EngineConfig, Json, Millis, Output, Publication,
    WebSocketPeer,
};

async fn say(engine: &Arc<Engine>, peer: &mut WebSocketPeer, text: &str, now: u64) -> String {
    engine
        .websocket_frame(peer, text, Millis(now))
        .await
        .unwrap();
    let mut said = String::new();
    while let Poll::Ready(Output::Frame(frame)) =
        peer.poll_output(&mut Context::from_waker(Waker::noop()), Millis(now))
    {
        said.push_str(std::str::from_utf8(&frame).unwrap());
        peer.written(Millis(now));
    }
    said
}

#[tokio::test]
async fn expires_though_publications_come_for_it() {
    let engine = Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::default()));
    let mut peer = engine.websocket_peer();
    say(
        &engine,
        &mut peer,
        r#"[{"channel":"/meta/handshake","id":"1"}]"#,
        1000,
    )
    .await;
    let id = peer.session().unwrap().id().to_string();
    let subscribe = format!(
        r#"[{{"channel":"/meta/subscribe","id":"2","clientId":"{id}","subscription":"/a"}}]"#
    );
    say(&engine, &mut peer, &subscribe, 1000).await;
    let connect =
        |number| format!(r#"[{{"channel":"/meta/connect","id":"{number}","clientId":"{id}"}}]"#);
    assert!(
        say(&engine, &mut peer, &connect(3), 1000)
            .await
            .contains("successful")
    );
    assert_eq!(
        say(&engine, &mut peer, &connect(4), 1000).await,
        "",
        "the second connect is held"
    );
    peer.closed(Millis(1100));
    drop(peer);

    let channel = ChannelName::parse("/a").unwrap();
    for now in (1200..60_000).step_by(200) {
        engine.publish(
            &Publication::new(&channel, Json::validate("1", 8).unwrap()),
            Millis(now),
        );
        engine.tick(Millis(now));
    }
    assert_eq!(engine.session_count(), 0);
    assert_eq!(engine.stats().queue_bytes, 0);
}
