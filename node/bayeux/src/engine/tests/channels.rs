use super::*;
use crate::{
    Flow, Message, MessageListener, Service, ServiceReply, Session, SessionId, SessionListener,
    SubscriptionListener,
};
use parking_lot::Mutex;

/// Writes down what it sees, and stops what says so.
struct Ear(&'static str, Arc<Mutex<Vec<String>>>);

impl MessageListener for Ear {
    fn message(&self, session: Option<&Arc<Session>>, message: &Message<'_>, _: Millis) -> Flow {
        self.1.lock().push(format!(
            "{} {} {} {}",
            self.0,
            message.channel().as_str(),
            message.data().unwrap_or("-"),
            session.map_or(0, |session| session.key())
        ));
        match message.data() {
            Some("\"stop\"") => Flow::Stop,
            _ => Flow::Continue,
        }
    }

    fn publication(&self, publication: &Arc<Publication>, _: Millis) -> Flow {
        match publication.data() {
            Some("\"stop\"") => Flow::Stop,
            _ => Flow::Continue,
        }
    }
}

fn session_of(engine: &Arc<Engine>, id: &str) -> Arc<Session> {
    engine.session(&SessionId::parse(id).unwrap()).unwrap()
}

#[test]
fn section_5_1_listeners_of_a_channel_see_the_sender_and_may_stop() {
    let engine = engine();
    let log = Arc::default();
    let ear = |name| Arc::new(Ear(name, Arc::clone(&log)));
    let exact = engine.add_message_listener(&name("/a/b"), ear("exact"));
    engine.add_message_listener(&name("/**"), ear("all"));
    engine.add_message_listener(&name("/a/*"), ear("some"));
    let (mut ws, id) = Ws::connected(&engine);
    let key = session_of(&engine, &id).key();
    ws.subscribe(&id, "/a/b");
    log.lock().clear();
    ws.send(json!([{"channel":"/a/b","clientId":id,"data":1}]));
    assert_eq!(
        *log.lock(),
        [
            format!("all /a/b 1 {key}"),
            format!("some /a/b 1 {key}"),
            format!("exact /a/b 1 {key}")
        ]
    );
    assert_eq!(ws.next()[0], json!({"channel":"/a/b","data":1}));
    log.lock().clear();
    let reply = ws.ask(json!({"channel":"/a/b","clientId":id,"id":"9","data":"stop"}));
    assert_eq!(
        reply,
        json!([{"channel":"/a/b","id":"9","successful":false,"error":"404::message_deleted"}])
    );
    assert_eq!(
        log.lock().len(),
        1,
        "the first that stops is the last asked"
    );
    assert_eq!(engine.publish(&event("/a/b", "\"stop\""), START), 0);
    assert_eq!(engine.publish(&event("/a/b", "2"), START), 1);
    ws.next();
    assert!(engine.remove_message_listener(exact));
    assert!(!engine.remove_message_listener(exact));
    log.lock().clear();
    ws.ask(json!({"channel":"/a/b","clientId":id,"data":3}));
    assert_eq!(log.lock().len(), 2);
}

/// Accepts everything and counts it.
#[derive(Default)]
struct Count(AtomicUsize);

impl Service for Count {
    fn message(&self, _: &Arc<Session>, _: &Message<'_>, _: Millis) -> ServiceReply {
        self.0.fetch_add(1, Ordering::Relaxed);
        ServiceReply::Accepted
    }
}

/// Stops everything.
struct Stop;

impl MessageListener for Stop {
    fn message(&self, _: Option<&Arc<Session>>, _: &Message<'_>, _: Millis) -> Flow {
        Flow::Stop
    }
}

#[test]
fn listeners_hear_of_meta_and_service_messages() {
    let engine = engine();
    let count = Arc::new(Count::default());
    engine.add_service(name("/service/x"), count.clone());
    let (mut ws, id) = Ws::connected(&engine);
    for (channel, message) in [
        ("/meta/handshake", json!({"channel":"/meta/handshake"})),
        (
            "/meta/connect",
            json!({"channel":"/meta/connect","clientId":id}),
        ),
        (
            "/meta/subscribe",
            json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/q"}),
        ),
        (
            "/meta/unsubscribe",
            json!({"channel":"/meta/unsubscribe","clientId":id,"subscription":"/q"}),
        ),
        (
            "/service/x",
            json!({"channel":"/service/x","clientId":id,"data":1}),
        ),
        (
            "/meta/disconnect",
            json!({"channel":"/meta/disconnect","clientId":id}),
        ),
    ] {
        let listener = engine.add_message_listener(&name(channel), Arc::new(Stop));
        let reply = ws.ask(message);
        assert_eq!(
            reply[0]["error"],
            json!("404::message_deleted"),
            "{channel}"
        );
        assert!(engine.remove_message_listener(listener));
    }
    assert_eq!(engine.session_count(), 1, "neither made nor ended");
    assert_eq!(count.0.load(Ordering::Relaxed), 0);
    assert!(session_of(&engine, &id).subscriptions().is_empty());
}

#[test]
fn section_6_2_persistent_channels_stay() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/used");
    engine.set_persistent(&name("/kept"), true);
    engine.set_persistent(&name("/used"), true);
    engine.add_message_listener(&name("/heard"), Arc::new(Stop));
    engine.set_persistent(&name("/none"), false);
    ws.ask(json!({"channel":"/meta/disconnect","clientId":id}));
    let sweep = |from: u64| {
        for n in from..from + 4 {
            engine.tick(START.after(n * 1000));
        }
    };
    sweep(1);
    for (channel, there) in [
        ("/kept", true),
        ("/used", true),
        ("/heard", true),
        ("/none", false),
    ] {
        assert_eq!(engine.has_channel(&name(channel)), there, "{channel}");
    }
    engine.set_persistent(&name("/used"), false);
    sweep(5);
    assert!(engine.has_channel(&name("/kept")));
    assert!(!engine.has_channel(&name("/used")));
}

#[derive(Default)]
struct Log(Mutex<Vec<String>>);

impl SubscriptionListener for Log {
    fn subscribed(&self, _: &Arc<Session>, channel: &ChannelName) {
        self.0.lock().push(format!("+{}", channel.as_str()));
    }

    fn unsubscribed(&self, _: &Arc<Session>, channel: &ChannelName) {
        self.0.lock().push(format!("-{}", channel.as_str()));
    }
}

impl SessionListener for Log {
    fn added(&self, _: &Arc<Session>) {
        self.0.lock().push("added".to_owned());
    }
}

#[test]
fn the_server_subscribes_and_unsubscribes_sessions() {
    let engine = engine_with(|config| config.max_subscriptions = 1);
    let log = Arc::new(Log::default());
    engine.add_subscription_listener(log.clone());
    let (mut ws, id) = Ws::connected(&engine);
    let session = session_of(&engine, &id);
    assert_eq!(engine.subscribe_session(&session, &name("/a")), Ok(()));
    assert_eq!(engine.subscribe_session(&session, &name("/a")), Ok(()));
    assert_eq!(engine.subscribers(&name("/a")).len(), 1);
    engine.publish(&event("/a", "1"), START);
    assert_eq!(ws.next(), json!([{"channel":"/a","data":1}]));
    let refused = |channel| {
        engine
            .subscribe_session(&session, &name(channel))
            .unwrap_err()
    };
    assert_eq!(refused("/b").error(), "403:limit_reached:subscribe_denied");
    assert_eq!(refused("/service/b").error(), "403::subscribe_failed");
    assert_eq!(refused("/meta/connect").error(), "403::subscribe_failed");
    assert!(engine.unsubscribe_session(&session, &name("/a")));
    assert!(!engine.unsubscribe_session(&session, &name("/a")));
    assert_eq!(engine.publish(&event("/a", "2"), START), 0);
    assert_eq!(*log.0.lock(), ["+/a", "-/a"]);
    ws.ask(json!({"channel":"/meta/disconnect","clientId":id}));
    assert_eq!(refused("/a").error(), "403::subscribe_failed");
}

#[test]
fn listeners_can_be_removed() {
    let engine = engine();
    let log = Arc::new(Log::default());
    let sessions: Arc<dyn SessionListener> = log.clone();
    let subscriptions: Arc<dyn SubscriptionListener> = log.clone();
    engine.add_session_listener(sessions.clone());
    engine.add_subscription_listener(subscriptions.clone());
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/a");
    assert_eq!(*log.0.lock(), ["added", "+/a"]);
    assert!(engine.remove_session_listener(&sessions));
    assert!(!engine.remove_session_listener(&sessions));
    assert!(engine.remove_subscription_listener(&subscriptions));
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/a");
    assert_eq!(log.0.lock().len(), 2);
}

#[test]
fn section_6_4_broadcast_to_publisher_by_node_session_and_channel() {
    for of_node in [true, false] {
        let engine = engine_with(|config| config.broadcast_to_publisher = of_node);
        let (mut ws, id) = Ws::connected(&engine);
        let session = session_of(&engine, &id);
        ws.subscribe(&id, "/a");
        let mut receives = || {
            let frame = ws.ask(json!({"channel":"/a","clientId":id,"data":1}));
            frame.as_array().unwrap().len() == 2
        };
        assert_eq!(receives(), of_node);
        engine.set_session_broadcast_to_publisher(&session, Some(!of_node));
        assert_eq!(receives(), !of_node);
        engine.set_session_broadcast_to_publisher(&session, Some(true));
        engine.set_broadcast_to_publisher(&name("/a"), false);
        assert!(!receives());
        engine.subscribe_session(&session, &name("/*")).unwrap();
        assert!(receives(), "through the other subscription");
        engine.set_broadcast_to_publisher(&name("/*"), false);
        assert!(!receives());
        engine.set_broadcast_to_publisher(&name("/a"), true);
        assert!(receives());
        engine.set_session_broadcast_to_publisher(&session, None);
        assert_eq!(receives(), of_node);
    }
}
