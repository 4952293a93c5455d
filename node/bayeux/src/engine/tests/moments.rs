//! What happens in between: orders within one message, and what lands while something else is under way.

use super::*;
use crate::{
    Advice, Decision, Delivery, EndReason, Extension, Flow, HandshakeVerdict, Message,
    MessageListener, Reconnect, Reply, SecurityPolicy, Session, SessionId, Verdict,
};
use parking_lot::Mutex;

type Log = Arc<Mutex<Vec<String>>>;

fn session_of(engine: &Arc<Engine>, id: &str) -> Arc<Session> {
    engine.session(&SessionId::parse(id).unwrap()).unwrap()
}

/// Writes down when it is asked; denies what has to do with `/denied`.
struct Witness(Log);

impl Witness {
    fn note(&self, what: &str) {
        self.0.lock().push(what.to_owned());
    }

    fn verdict(&self, what: &str, channel: &ChannelName) -> Decision<Verdict> {
        self.note(what);
        Decision::Now(if channel.as_str().starts_with("/denied") {
            Verdict::deny()
        } else {
            Verdict::Grant
        })
    }
}

impl SecurityPolicy for Witness {
    fn can_handshake(&self, _: &Message<'_>) -> Decision<HandshakeVerdict> {
        self.note("handshake?");
        Decision::Now(HandshakeVerdict::grant(None))
    }

    fn can_create(
        &self,
        _: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        self.verdict("create?", channel)
    }

    fn can_subscribe(
        &self,
        _: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        self.verdict("subscribe?", channel)
    }

    fn can_publish(
        &self,
        _: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        self.verdict("publish?", channel)
    }
}

impl Extension for Witness {
    fn incoming(
        &self,
        _: Option<&Arc<Session>>,
        _: &Message<'_>,
        _: &mut Reply<'_>,
        _: Millis,
    ) -> Flow {
        self.note("in");
        Flow::Continue
    }

    fn outgoing_reply(&self, _: Option<&Arc<Session>>, reply: &mut Reply<'_>, _: Millis) -> Flow {
        self.note("reply");
        if reply.error().is_some_and(|error| error.contains("denied")) {
            reply.set_ext("why", Json::validate("\"ask\"", 1).unwrap());
            reply.set_advice(Advice::only(Reconnect::None));
        }
        Flow::Continue
    }

    fn outgoing_broadcast(&self, _: &Arc<Session>, _: &Arc<Publication>, _: Millis) -> Flow {
        self.note("out");
        Flow::Continue
    }

    fn sees_deliveries(&self) -> bool {
        true
    }

    fn outgoing_delivery(&self, _: &Arc<Session>, _: &Arc<Publication>) -> Delivery {
        self.note("delivery");
        Delivery::Unchanged
    }
}

impl MessageListener for Witness {
    fn message(&self, _: Option<&Arc<Session>>, _: &Message<'_>, _: Millis) -> Flow {
        self.note("listener");
        Flow::Continue
    }
}

fn witnessed() -> (Arc<Engine>, Log) {
    let log = Log::default();
    let engine = Engine::new(EngineConfig::default(), Arc::new(Witness(Arc::clone(&log))));
    engine.tick(START);
    engine.add_extension(Arc::new(Witness(Arc::clone(&log))));
    engine.add_message_listener(&name("/**"), Arc::new(Witness(Arc::clone(&log))));
    (engine, log)
}

#[test]
fn section_5_1_every_step_has_its_place() {
    let (engine, log) = witnessed();
    let mut ws = Ws::new(&engine);
    let id = ws.handshake();
    ws.send(json!([{"channel":"/meta/connect","clientId":id}]));
    ws.next();
    log.lock().clear();
    ws.subscribe(&id, "/a");
    ws.ask(json!({"channel":"/a","clientId":id,"data":1}));
    ws.ask(json!({"channel":"/b","clientId":id,"data":1}));
    assert_eq!(
        *log.lock(),
        [
            // A subscribe, a publish to a subscriber, one to nobody on a new channel.
            "in",
            "listener",
            "create?",
            "subscribe?",
            "reply",
            "in",
            "publish?",
            "listener",
            "out",
            "delivery",
            "reply",
            "in",
            "create?",
            "publish?",
            "listener",
            "out",
            "reply",
        ]
    );
}

#[test]
fn an_extension_adds_to_the_replies_of_what_is_denied() {
    let (engine, _) = witnessed();
    let mut ws = Ws::new(&engine);
    let id = ws.handshake();
    for message in [
        json!({"channel":"/denied/x","clientId":id,"data":1}),
        json!({"channel":"/service/x","clientId":id,"data":1}),
        json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/denied"}),
    ] {
        let denied = message["channel"] != json!("/service/x");
        let reply = &ws.ask(message)[0];
        assert_eq!(reply["successful"], json!(!denied));
        assert_eq!(reply["ext"]["why"] == json!("ask"), denied, "{reply}");
        assert_eq!(reply["advice"] == json!({"reconnect":"none"}), denied);
    }
}

/// Stops messages of one channel, or the replies to them.
struct Wall {
    channel: &'static str,
    incoming: bool,
}

impl Extension for Wall {
    fn incoming(
        &self,
        _: Option<&Arc<Session>>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        _: Millis,
    ) -> Flow {
        if message.channel().as_str() != self.channel {
            return Flow::Continue;
        }
        reply.set_ext("wall", Json::validate("1", 1).unwrap());
        if self.incoming {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }

    fn outgoing_reply(&self, _: Option<&Arc<Session>>, reply: &mut Reply<'_>, _: Millis) -> Flow {
        let here = reply.ext("wall").is_some();
        if here && !self.incoming {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
}

#[test]
fn section_5_1_extensions_see_every_type_of_message_and_reply() {
    for incoming in [true, false] {
        let engine = engine();
        let (mut ws, id) = Ws::connected(&engine);
        for (channel, message) in [
            ("/meta/handshake", json!({"channel":"/meta/handshake"})),
            (
                "/meta/connect",
                json!({"channel":"/meta/connect","clientId":id,"advice":{"timeout":0}}),
            ),
            (
                "/meta/subscribe",
                json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/q"}),
            ),
            (
                "/meta/unsubscribe",
                json!({"channel":"/meta/unsubscribe","clientId":id,"subscription":"/q"}),
            ),
            ("/p", json!({"channel":"/p","clientId":id,"data":1})),
            (
                "/service/x",
                json!({"channel":"/service/x","clientId":id,"data":1}),
            ),
            (
                "/meta/disconnect",
                json!({"channel":"/meta/disconnect","clientId":id}),
            ),
        ] {
            let wall: Arc<dyn Extension> = Arc::new(Wall { channel, incoming });
            engine.add_extension(wall.clone());
            // A handshake takes its connection away from the session.
            let mut other = Ws::new(&engine);
            let client = if channel == "/meta/handshake" {
                &mut other
            } else {
                &mut ws
            };
            let reply = client.ask(message);
            if incoming {
                assert_eq!(
                    reply[0]["error"],
                    json!("404::message_deleted"),
                    "{channel}"
                );
                assert_eq!(reply[0]["ext"], json!({"wall":1}), "{channel}");
            } else {
                assert_eq!(reply, Value::Null, "{channel}");
            }
            assert!(engine.remove_extension(&wall));
        }
        let live = engine.session(&SessionId::parse(&id).unwrap()).is_some();
        assert_eq!(
            live, incoming,
            "a disconnect that was stopped has not ended it"
        );
    }
}

/// Ends a session while its connect is in process.
struct Ender(Arc<Engine>, EndReason);

impl Extension for Ender {
    fn incoming(
        &self,
        session: Option<&Arc<Session>>,
        message: &Message<'_>,
        _: &mut Reply<'_>,
        now: Millis,
    ) -> Flow {
        if message.channel().as_str() == "/meta/connect"
            && let Some(session) = session
        {
            self.0.end_session(session.id(), self.1, now);
        }
        Flow::Continue
    }
}

#[test]
fn section_5_4_a_disconnect_while_a_connect_is_in_process() {
    for (reason, reconnect) in [
        (EndReason::Disconnected, "none"),
        (EndReason::Server, "none"),
        (EndReason::Expired, "handshake"),
    ] {
        let engine = engine();
        let (mut browser, id) = Browser::connected(&engine);
        let (mut ws, ws_id) = Ws::connected(&engine);
        let ender: Arc<dyn Extension> = Arc::new(Ender(engine.clone(), reason));
        engine.add_extension(ender.clone());
        let connect = |id: &str| json!([{"channel":"/meta/connect","clientId":id,"id":"1"}]);
        let expected = |reconnect| json!({"channel":"/meta/connect","id":"1","successful":false,"error":"402::session_unknown","advice":{"reconnect":reconnect,"interval":0}});
        let last = |frame: Value| frame.as_array().unwrap().last().unwrap().clone();
        assert_eq!(
            last(browser.ask(connect(&id))),
            expected(reconnect),
            "{reason:?}"
        );
        ws.send(connect(&ws_id));
        assert_eq!(last(ws.next()), expected(reconnect), "{reason:?}");
        // Who comes later is told to begin anew.
        assert_eq!(last(browser.ask(connect(&id))), expected("handshake"));
        ws.send(connect(&ws_id));
        assert_eq!(last(ws.next()), expected("handshake"));
        assert!(engine.remove_extension(&ender));
    }
}

#[test]
fn section_7_1_a_connect_that_races_with_the_expiry() {
    for n in 0..200 {
        let engine = engine();
        let (mut browser, id) = Browser::connected(&engine);
        let late = START.after(10_000);
        let body =
            json!([{"channel":"/meta/connect","clientId":id,"id":"1","advice":{"timeout":0}}]);
        let reply = std::thread::scope(|scope| {
            let ticker = scope.spawn(|| engine.tick(late.after(200)));
            browser.now = late;
            if n % 2 == 0 {
                std::thread::yield_now();
            }
            let reply = browser.ask(body);
            ticker.join().unwrap();
            reply[0].clone()
        });
        let session = engine.session(&SessionId::parse(&id).unwrap());
        if reply["successful"] == json!(true) {
            assert!(session.is_some(), "who was told that it lives, lives");
        } else {
            assert_eq!(reply["error"], json!("402::session_unknown"));
            assert_eq!(
                reply["advice"],
                json!({"reconnect":"handshake","interval":0})
            );
            assert!(session.is_none());
        }
    }
}

#[test]
fn section_9_3_after_expiry_a_connect_is_advised_to_handshake_and_the_new_session_is_another() {
    let engine = engine_with(|config| config.handshake_reconnect = true);
    let (mut browser, id) = Browser::connected(&engine);
    session_of(&engine, &id).set_max_interval_ms(Some(3000));
    let reply = browser
        .ask(json!([{"channel":"/meta/connect","clientId":id,"id":"1","advice":{"timeout":0}}]));
    // With this a client knows by itself when its session is gone.
    assert_eq!(
        reply[0]["advice"],
        json!({"reconnect":"retry","interval":0,"timeout":30000,"maxInterval":3000})
    );
    browser.pass(3200);
    let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":id,"id":"2"}]));
    assert_eq!(
        reply[0]["advice"],
        json!({"reconnect":"handshake","interval":0})
    );
    let reply = browser.ask(json!([{"channel":"/meta/handshake","clientId":id,"id":"3"}]));
    assert_eq!(
        reply[0]["advice"],
        json!({"reconnect":"retry","interval":0,"timeout":30000,"maxInterval":10000})
    );
    assert_ne!(reply[0]["clientId"], json!(id));
    assert_eq!(engine.session_count(), 1);
}

#[test]
fn a_second_handshake_makes_a_second_session_and_the_orphan_expires() {
    let engine = engine();
    let mut browser = Browser::new(&engine);
    let first = browser.handshake();
    let second = browser.handshake();
    let other = Browser::new(&engine).handshake();
    assert_eq!(engine.session_count(), 3);
    // The client goes on with the first.
    browser.connect_first(&first);
    let _held = browser.hold(&first, "1");
    browser.pass(10_200);
    assert_eq!(engine.session_count(), 1);
    for orphan in [second, other] {
        assert!(
            engine
                .session(&SessionId::parse(&orphan).unwrap())
                .is_none()
        );
    }
    assert!(session_of(&engine, &first).is_live());
}

#[test]
fn what_is_delivered_before_the_first_connect_arrives() {
    let engine = engine();
    let mut ws = Ws::new(&engine);
    let id = ws.handshake();
    engine.deliver_to(&session_of(&engine, &id), &event("/direct", "1"));
    assert_eq!(ws.next(), Value::Null);
    ws.send(json!([{"channel":"/meta/connect","clientId":id,"id":"1"}]));
    assert_eq!(ws.next()[0], json!({"channel":"/direct","data":1}));
    let mut browser = Browser::new(&engine);
    let id = browser.handshake();
    engine.deliver_to(&session_of(&engine, &id), &event("/direct", "2"));
    let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":id,"id":"1"}]));
    assert_eq!(reply[0], json!({"channel":"/direct","data":2}));
    assert_eq!(reply[1]["successful"], json!(true));
}
