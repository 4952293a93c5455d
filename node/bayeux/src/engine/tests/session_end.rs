use super::*;
use crate::{EndReason, Session, SessionListener, SubscriptionListener};
use parking_lot::Mutex;

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl SessionListener for Log {
    fn added(&self, _: &Arc<Session>) {
        self.0.lock().push("added".to_owned());
    }
    fn removed(&self, session: &Arc<Session>, reason: EndReason) {
        self.0
            .lock()
            .push(format!("removed {reason:?} {}", session.is_live()));
    }
}

impl SubscriptionListener for Log {
    fn first(&self, channel: &ChannelName) {
        self.0.lock().push(format!("first {channel}"));
    }
    fn last(&self, channel: &ChannelName) {
        self.0.lock().push(format!("last {channel}"));
    }
    fn subscribed(&self, _: &Arc<Session>, channel: &ChannelName) {
        self.0.lock().push(format!("subscribed {channel}"));
    }
    fn unsubscribed(&self, _: &Arc<Session>, channel: &ChannelName) {
        self.0.lock().push(format!("unsubscribed {channel}"));
    }
}

fn session_of(engine: &Engine, id: &str) -> Arc<Session> {
    engine.session(&SessionId::parse(id).unwrap()).unwrap()
}

#[test]
fn section_5_8_the_connect_reply_comes_before_the_disconnect_reply() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "8");
    ws.send(json!([
        {"channel":"/meta/disconnect","clientId":id,"id":"9"},
        {"channel":"/meta/subscribe","clientId":id,"id":"10","subscription":"/a"}]));
    assert_eq!(
        ws.next(),
        json!([{"channel":"/meta/connect","id":"8","successful":true,"advice":{"reconnect":"none"}},
            {"channel":"/meta/disconnect","id":"9","successful":true},
            {"channel":"/meta/subscribe","id":"10","subscription":"/a","successful":false,"error":"402::session_unknown"}])
    );
    assert_eq!(ws.next(), Value::Null);
    assert_eq!(engine.session_count(), 0);
    assert!(engine.subscribed_channels().is_empty());
}

#[test]
fn section_5_8_disconnect_over_http_releases_the_held_connect() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    let mut held = browser.hold(&id, "8");
    assert_eq!(held.poll(START), Value::Null);
    let reply = browser.ask(json!([{"channel":"/meta/disconnect","clientId":id,"id":"9"}]));
    assert_eq!(
        reply,
        json!([{"channel":"/meta/disconnect","id":"9","successful":true}])
    );
    assert_eq!(held.wakes.count(), 1);
    let none = json!({"reconnect":"none"});
    assert_eq!(
        held.poll(START),
        json!([{"channel":"/meta/connect","id":"8","successful":true,"advice":none}])
    );
}

#[test]
fn section_5_8_server_side_disconnect() {
    let engine = engine();
    let expected = json!([{"channel":"/a","data":1},{"channel":"/meta/disconnect","successful":true},
        {"channel":"/meta/connect","id":"4","successful":true,"advice":{"reconnect":"none"}}]);
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "4");
    let session = session_of(&engine, &id);
    engine.deliver(session.id(), &event("/a", "1"), START);
    assert!(engine.end_session(session.id(), EndReason::Server, START));
    assert!(
        !engine.end_session(session.id(), EndReason::Server, START),
        "once"
    );
    assert!(ws.wakes.count() >= 1);
    assert_eq!(ws.next(), expected);

    let (mut browser, id) = Browser::connected(&engine);
    let mut held = browser.hold(&id, "4");
    let session = session_of(&engine, &id);
    engine.end_session(session.id(), EndReason::Server, START);
    assert_eq!(held.poll(START), json!([expected[1], expected[2]]));
    assert_eq!(engine.stats().queue_bytes, 0);

    // Without a held connect a WebSocket client is told all the same.
    let (mut ws, id) = Ws::connected(&engine);
    engine.end_session(session_of(&engine, &id).id(), EndReason::Server, START);
    assert_eq!(ws.next(), json!([expected[1]]));
    let reply = ws.ask(json!({"channel":"/meta/connect","clientId":id,"id":"5"}));
    assert_eq!(
        reply[0]["advice"],
        json!({"reconnect":"handshake","interval":0})
    );
}

#[test]
fn what_nobody_will_fetch_is_dropped() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "1");
    let session = session_of(&engine, &id);
    ws.peer.closed(START);
    engine.deliver(session.id(), &event("/a", "1"), START);
    engine.end_session(session.id(), EndReason::Server, START);
    let (_browser, id) = Browser::connected(&engine);
    let other = session_of(&engine, &id);
    engine.deliver(other.id(), &event("/a", "1"), START);
    engine.end_session(other.id(), EndReason::Server, START);
    assert_eq!(
        (
            session.queue_len(),
            other.queue_len(),
            engine.stats().queue_bytes
        ),
        (0, 0, 0)
    );
    // A connection that still is there gets it, unless it goes.
    let (mut ws, id) = Ws::connected(&engine);
    let session = session_of(&engine, &id);
    engine.deliver(session.id(), &event("/a", "1"), START);
    engine.end_session(session.id(), EndReason::Server, START);
    assert_eq!(session.queue_len(), 2);
    ws.peer.closed(START);
    assert_eq!((session.queue_len(), engine.stats().queue_bytes), (0, 0));
}

#[test]
fn queue_overflow_ends_the_session_with_a_reason() {
    for (change, fits) in [
        (
            (|c: &mut EngineConfig| c.max_queue = 3) as fn(&mut EngineConfig),
            3,
        ),
        (|c| c.max_queue_bytes = 60, 2),
    ] {
        let engine = engine_with(change);
        let log = Arc::new(Log::default());
        engine.add_session_listener(log.clone());
        let (mut ws, id) = Ws::connected(&engine);
        ws.subscribe(&id, "/a");
        assert_eq!(ws.next(), Value::Null);
        for n in 0..fits {
            assert_eq!(engine.publish(&event("/a", "1"), START), 1, "{n}");
        }
        assert_eq!(engine.publish(&event("/a", "1"), START), 0);
        assert_eq!(engine.publish(&event("/a", "1"), START), 0);
        assert_eq!(
            (engine.stats().queue_bytes, engine.stats().queue_overflows),
            (0, 1)
        );
        assert_eq!(
            ws.next(),
            json!({"close":1013,"reason":"queue_overflow"}),
            "no message is delivered after a gap"
        );
        assert_eq!(ws.next(), Value::Null);
        // Whatever the client says next, on a new connection: unknown, and a stock client handshakes.
        let mut again = Ws::new(&engine);
        let reply = again.ask(json!({"channel":"/meta/connect","clientId":id,"id":"1"}));
        assert_eq!(reply[0]["error"], json!("402::session_unknown"));
        assert_eq!(
            reply[0]["advice"],
            json!({"reconnect":"handshake","interval":0})
        );
        engine.tick(START.after(100));
        engine.tick(START.after(200));
        assert_eq!(*log.0.lock(), ["added", "removed QueueOverflow false"]);
        assert_eq!(
            (engine.session_count(), engine.stats().subscriptions),
            (0, 0)
        );
    }
}

#[test]
fn queue_overflow_answers_a_held_connect_with_handshake_advice() {
    let engine = engine_with(|config| config.max_queue = 1);
    let (mut browser, id) = Browser::connected(&engine);
    let mut held = browser.hold(&id, "1");
    let session = session_of(&engine, &id);
    engine.deliver(session.id(), &event("/a", "1"), START);
    assert!(!engine.deliver(session.id(), &event("/a", "2"), START));
    let reply = held.poll(START);
    assert_eq!(reply[0]["error"], json!("402::session_unknown"));
    assert_eq!(reply[0]["advice"]["reconnect"], json!("handshake"));
    assert_eq!(reply.as_array().unwrap().len(), 1);
}

#[test]
fn a_single_message_may_be_larger_than_the_byte_bound() {
    let engine = engine_with(|config| config.max_queue_bytes = 10);
    let (mut ws, id) = Ws::connected(&engine);
    let session = session_of(&engine, &id);
    assert!(engine.deliver(session.id(), &event("/a", "\"0123456789\""), START));
    assert_eq!(ws.next()[0]["channel"], json!("/a"));
}

#[test]
fn suspension_and_shutdown_close_connections() {
    for (reason, close) in [
        (
            EndReason::NodeSuspended,
            json!({"close":1012,"reason":"node_suspended"}),
        ),
        (
            EndReason::Shutdown,
            json!({"close":1001,"reason":"shutdown"}),
        ),
    ] {
        let engine = engine();
        let local = engine.local_session(None, Arc::new(|_: &Arc<Publication>| {}));
        let (mut ws, id) = Ws::connected(&engine);
        ws.hold(&id, "1");
        let (mut browser, id) = Browser::connected(&engine);
        let mut held = browser.hold(&id, "1");
        assert_eq!(held.poll(START), Value::Null);
        engine.end_all_sessions(reason, START);
        assert_eq!((ws.wakes.count(), held.wakes.count()), (1, 1));
        assert_eq!(ws.next(), close);
        let reply = held.poll(START);
        assert_eq!(reply[0]["error"], json!("402::session_unknown"));
        assert_eq!(reply[0]["advice"]["reconnect"], json!("handshake"));
        assert_eq!(engine.session_count(), 1, "local sessions stay");
        assert!(local.session().is_live());
    }
}

#[test]
fn an_expired_credential_asks_for_a_handshake_on_the_same_connection() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "1");
    let (mut browser, other) = Browser::connected(&engine);
    let mut held = browser.hold(&other, "1");
    assert_eq!(held.poll(START), Value::Null);
    engine.end_all_sessions(EndReason::CredentialExpired, START);
    let told = json!([{"channel":"/meta/connect","id":"1","successful":false,
        "error":"402::session_unknown","advice":{"reconnect":"handshake","interval":0}}]);
    assert_eq!(ws.next(), told);
    assert_eq!(held.poll(START), told);
    // No close frame: the same WebSocket makes the next session.
    let next = ws.handshake();
    assert_ne!(next, id);
    assert_eq!(engine.session_count(), 1);
}

#[test]
fn section_7_3_expiry() {
    let engine = engine();
    // Handshake without connect: interval + maxInterval after the reply, though the connection is open.
    let mut ws = Ws::new(&engine);
    let id = ws.handshake();
    ws.pass(9_900);
    assert_eq!(engine.session_count(), 1);
    ws.pass(10_200);
    assert_eq!((engine.session_count(), engine.stats().expired), (0, 1));
    let reply = ws.ask(json!({"channel":"/meta/connect","clientId":id,"id":"1"}));
    assert_eq!(reply[0]["advice"]["reconnect"], json!("handshake"));
}

#[test]
fn section_7_3_other_messages_extend_by_max_interval() {
    let engine = engine();
    let mut ws = Ws::new(&engine);
    let id = ws.handshake();
    ws.pass(8_000);
    ws.ask(json!({"channel":"/a","clientId":id}));
    ws.pass(17_900);
    assert_eq!(engine.session_count(), 1);
    ws.pass(18_200);
    assert_eq!(engine.session_count(), 0);
}

#[test]
fn section_7_3_a_client_interval_extends_expiry() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.ask(
        json!({"channel":"/meta/connect","clientId":id,"advice":{"timeout":0,"interval":60000}}),
    );
    ws.pass(69_900);
    assert_eq!(engine.session_count(), 1);
    ws.pass(70_200);
    assert_eq!(engine.session_count(), 0);
}

/// A client cannot keep a session without a connection for as long as it likes.
#[test]
fn section_7_3_the_interval_of_a_client_is_capped() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.ask(
        json!({"channel":"/meta/connect","clientId":id,"advice":{"timeout":0,"interval":3_600_000}}),
    );
    ws.pass(69_900);
    assert_eq!(engine.session_count(), 1);
    ws.pass(70_200);
    assert_eq!(
        engine.session_count(),
        0,
        "60 s of interval and 10 s of grace"
    );
}

#[test]
fn section_7_3_a_held_connect_does_not_expire_and_a_session_may_have_its_own_grace() {
    let engine = engine_with(|config| config.timeout_ms = 60_000);
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "1");
    ws.peer.session().unwrap().set_max_interval_ms(Some(1000));
    ws.pass(59_900);
    assert_eq!(engine.session_count(), 1);
    ws.pass(60_100);
    assert_eq!(ws.next()[0]["id"], json!("1"));
    ws.pass(61_000);
    assert_eq!(engine.session_count(), 1);
    ws.pass(61_300);
    assert_eq!(engine.session_count(), 0);
}

#[test]
fn section_7_3_a_session_cannot_be_left_without_expiry() {
    let engine = engine();
    // Closed before the handshake reply was sent, dropped without a word, replaced by another handshake.
    let mut closed = Ws::new(&engine);
    closed.send(json!([{"channel":"/meta/handshake"}]));
    closed.peer.closed(START);
    let mut dropped = Ws::new(&engine);
    dropped.send(json!([{"channel":"/meta/handshake"}]));
    drop(dropped);
    let mut twice = Ws::new(&engine);
    twice.send(json!([{"channel":"/meta/handshake"}]));
    twice.send(json!([{"channel":"/meta/handshake"}]));
    assert_eq!(twice.next().as_array().unwrap().len(), 2);
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "1");
    ws.handshake();
    let mut browser = Browser::new(&engine);
    let body = json!([{"channel":"/meta/handshake"}]).to_string();
    drop(browser.request(&body).unwrap());
    assert_eq!(engine.session_count(), 7);
    ws.pass(10_200);
    assert_eq!(engine.session_count(), 0);
}

#[test]
fn section_7_4_order_of_removal() {
    let engine = engine();
    let log = Arc::new(Log::default());
    engine.add_session_listener(log.clone());
    engine.add_subscription_listener(log.clone());
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/a");
    ws.subscribe(&id, "/a");
    let (mut other, other_id) = Ws::connected(&engine);
    other.subscribe(&other_id, "/a");
    ws.ask(json!({"channel":"/meta/disconnect","clientId":id}));
    other.ask(json!({"channel":"/meta/unsubscribe","clientId":other_id,"subscription":"/a"}));
    assert_eq!(
        *log.0.lock(),
        [
            "added",
            "first /a",
            "subscribed /a",
            "added",
            "subscribed /a",
            "removed Disconnected false",
            "unsubscribed /a",
            "last /a",
            "unsubscribed /a"
        ]
    );
}

/// CometD's ConcurrentDisconnectSubscribePublishTest.
#[test]
fn messages_after_a_disconnect_in_one_batch_are_unknown_and_do_nothing() {
    let engine = engine();
    let (mut reader, reader_id) = Ws::connected(&engine);
    reader.subscribe(&reader_id, "/a");
    let (mut browser, on_http) = Browser::connected(&engine);
    let (mut ws, on_websocket) = Ws::connected(&engine);
    let batch = |id: &str| {
        json!([{"channel":"/meta/disconnect","clientId":id,"id":"1"},
            {"channel":"/meta/subscribe","clientId":id,"id":"2","subscription":"/b"},
            {"channel":"/a","clientId":id,"id":"3","data":1}])
    };
    ws.send(batch(&on_websocket));
    for replies in [browser.ask(batch(&on_http)), ws.next()] {
        assert_eq!(replies[0]["successful"], true, "{replies}");
        assert_eq!(replies[1]["error"], "402::session_unknown", "{replies}");
        assert_eq!(replies[2]["error"], "402::session_unknown", "{replies}");
        assert_eq!(replies.as_array().map(Vec::len), Some(3), "{replies}");
    }
    assert_eq!(reader.next(), Value::Null, "nothing was published");
    assert_eq!(engine.session_count(), 1);
    assert_eq!(engine.subscribed_channels().len(), 1);
}
