//! Reference 7.3: `maxProcessing`, for connects that cannot be answered.

use super::*;

fn bounded() -> Arc<Engine> {
    engine_with(|config| config.max_processing_ms = 40_000)
}

#[test]
fn it_must_exceed_the_timeout() {
    let config = EngineConfig {
        max_processing_ms: 30_000,
        ..EngineConfig::default()
    };
    assert_eq!(
        config.validate().unwrap_err()[0].option,
        "max_processing_ms"
    );
}

#[test]
fn a_reply_that_nobody_writes_ends_the_session() {
    let engine = bounded();
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "1");
    // The writer is stuck: it neither fetches the reply at 30 s, nor learns anything.
    ws.pass(39_900);
    assert_eq!(engine.session_count(), 1);
    ws.pass(40_100);
    assert_eq!(engine.session_count(), 0);
    assert_eq!(engine.stats().expired, 1);
    // If it comes to itself, the client is answered, and learns the rest with its next connect.
    let reply = ws.next();
    assert_eq!(reply[0]["successful"], json!(true));
    let reply = ws.ask(json!({"channel":"/meta/connect","clientId":id,"id":"2"}));
    assert_eq!(reply[0]["advice"]["reconnect"], json!("handshake"));
}

#[test]
fn over_long_polling_and_for_handshakes() {
    let engine = bounded();
    let (mut browser, id) = Browser::connected(&engine);
    let mut held = browser.hold(&id, "1");
    let handshake = json!([{"channel":"/meta/handshake"}]).to_string();
    let HttpOutcome::Reply(stuck) = Browser::new(&engine).request(&handshake).unwrap() else {
        panic!("held");
    };
    browser.pass(40_100);
    assert_eq!(engine.session_count(), 0);
    assert_eq!(held.poll(browser.now)[0]["successful"], json!(true));
    stuck.ticket.written(browser.now);
    browser.pass(80_000);
    assert_eq!(engine.session_count(), 0);
}

/// SweepTest: a session that works is not swept, however long it takes altogether.
#[test]
fn every_message_begins_anew() {
    let engine = bounded();
    let (mut ws, id) = Ws::connected(&engine);
    for round in 0..5 {
        ws.hold(&id, "1");
        ws.pass(round * 45_000 + 29_000);
        ws.subscribe(&id, "/a");
        ws.pass(round * 45_000 + 30_100);
        assert_eq!(ws.next()[0]["id"], json!("1"));
        ws.pass(round * 45_000 + 39_000);
        // A message, so that the session does not expire.
        ws.subscribe(&id, "/a");
        ws.pass(round * 45_000 + 45_000);
    }
    assert_eq!(engine.session_count(), 1);
    let unlimited = engine_with(|config| config.timeout_ms = 200_000);
    let (mut ws, id) = Ws::connected(&unlimited);
    ws.hold(&id, "1");
    ws.pass(190_000);
    assert_eq!(unlimited.session_count(), 1);
}
