//! Reference 1.10: lazy channels and messages.

use super::*;
use crate::SessionId;

fn lazy(change: impl FnOnce(&mut EngineConfig)) -> Arc<Engine> {
    engine_with(|config| {
        config.lazy_channels = vec![name("/stats/**"), name("/slow")];
        config.max_lazy_timeout_ms = 1000;
        change(config);
    })
}

fn publish(engine: &Arc<Engine>, channel: &str, data: u32, after_ms: u64) {
    engine.publish(&event(channel, &data.to_string()), START.after(after_ms));
}

#[test]
fn a_lazy_message_waits_for_its_timer() {
    let engine = lazy(|_| {});
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/stats/a");
    publish(&engine, "/stats/a", 1, 0);
    publish(&engine, "/stats/a", 2, 500);
    assert_eq!((ws.next(), ws.wakes.count()), (Value::Null, 0));
    ws.pass(990);
    assert_eq!((ws.next(), ws.wakes.count()), (Value::Null, 0));
    ws.pass(1050);
    assert_eq!(ws.wakes.count(), 1);
    assert_eq!(
        ws.next(),
        json!([{"channel":"/stats/a","data":1},{"channel":"/stats/a","data":2}])
    );
    // The stock timer dies after a flush that was not its own; this one does not.
    publish(&engine, "/stats/a", 3, 1100);
    ws.subscribe_after(&id, "/other", json!({"channel":"/stats/a","data":3}));
    publish(&engine, "/stats/a", 4, 1200);
    ws.pass(2150);
    assert_eq!(ws.next(), Value::Null);
    ws.pass(2250);
    assert_eq!(ws.next(), json!([{"channel":"/stats/a","data":4}]));
}

impl Ws {
    /// Subscribes; the reply comes after this event.
    fn subscribe_after(&mut self, id: &str, channel: &str, event: Value) {
        let reply =
            self.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":channel}));
        assert_eq!(reply[0], event);
        assert_eq!(reply[1]["successful"], json!(true));
    }
}

#[test]
fn something_that_is_not_lazy_takes_it_along() {
    let engine = lazy(|_| {});
    let (mut ws, id) = Ws::connected(&engine);
    for channel in ["/slow", "/slow/not", "/quick"] {
        ws.subscribe(&id, channel);
    }
    publish(&engine, "/slow", 1, 0);
    assert_eq!(ws.next(), Value::Null);
    publish(&engine, "/quick", 2, 0);
    assert_eq!(
        ws.next(),
        json!([{"channel":"/slow","data":1},{"channel":"/quick","data":2}])
    );
    // A lazy parent does not make its children lazy.
    publish(&engine, "/slow/not", 3, 0);
    assert_eq!(ws.next(), json!([{"channel":"/slow/not","data":3}]));
    ws.pass(2000);
    assert_eq!(ws.next(), Value::Null);
}

#[test]
fn timeouts_of_a_channel_and_marked_messages() {
    let engine = lazy(|_| {});
    engine.set_lazy_timeout_ms(&name("/stats/fast"), 200);
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/**");
    publish(&engine, "/stats/slow", 1, 0);
    publish(&engine, "/stats/fast", 2, 0);
    ws.pass(250);
    let both = ws.next();
    assert_eq!((&both[0]["data"], &both[1]["data"]), (&json!(1), &json!(2)));
    // A mark on the message.
    engine.publish(&event("/quick", "3").into_lazy(), START.after(300));
    assert_eq!(ws.next(), Value::Null);
    ws.pass(1350);
    assert_eq!(ws.next()[0]["data"], json!(3));
    // And direct ones.
    let session = engine.session(&SessionId::parse(&id).unwrap()).unwrap();
    engine.deliver(session.id(), &event("/stats/x", "4"), START.after(1400));
    assert_eq!(ws.next(), Value::Null);
    ws.pass(2450);
    assert_eq!(ws.next()[0]["data"], json!(4));
    engine.set_lazy(&name("/stats/**"), false);
    publish(&engine, "/stats/slow", 5, 2500);
    assert_eq!(ws.next()[0]["data"], json!(5));
    let never = lazy(|config| config.max_lazy_timeout_ms = 0);
    let (mut ws, id) = Ws::connected(&never);
    ws.subscribe(&id, "/slow");
    publish(&never, "/slow", 1, 0);
    assert_eq!(ws.next()[0]["data"], json!(1));
}

#[test]
fn over_long_polling() {
    let engine = lazy(|_| {});
    let (mut browser, id) = Browser::connected(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/slow"}]));
    let mut held = browser.hold(&id, "1");
    assert_eq!(held.poll(START), Value::Null);
    publish(&engine, "/slow", 1, 0);
    assert_eq!(held.wakes.count(), 0);
    browser.pass(1050);
    assert_eq!(held.wakes.count(), 1);
    assert_eq!(held.poll(browser.now)[0]["data"], json!(1));
    // What waits when a connect arrives does not answer it; any other response takes it along.
    publish(&engine, "/slow", 2, 1100);
    let mut held = browser.hold(&id, "2");
    assert_eq!(held.poll(browser.now), Value::Null);
    let reply = browser.ask(json!([{"channel":"/quick","clientId":id,"id":"p"}]));
    assert_eq!(reply[0]["data"], json!(2));
    assert_eq!(held.wakes.count(), 0);
    // A message whose time has passed while no connect was held answers the next one at once.
    browser.pass(31_500);
    assert_eq!(held.poll(browser.now)[0]["id"], json!("2"));
    publish(&engine, "/slow", 3, 31_500);
    browser.pass(33_000);
    let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":id,"id":"3"}]));
    assert_eq!(reply[0]["data"], json!(3));
}

/// AcknowledgeExtensionTest: what was sent and not confirmed comes again at once; what is lazy and was not sent still waits.
#[test]
fn lazy_messages_with_acknowledgement() {
    let engine = lazy(|_| {});
    let mut ws = Ws::new(&engine);
    let reply = ws.ask(json!({"channel":"/meta/handshake","ext":{"ack":true}}));
    let id = reply[0]["clientId"].as_str().unwrap().to_owned();
    let connect = |id: &str, n: &str, ack: u32| json!([{"channel":"/meta/connect","clientId":id,"id":n,"ext":{"ack":ack}}]);
    ws.send(connect(&id, "0", 0));
    ws.next();
    ws.subscribe(&id, "/slow");
    publish(&engine, "/slow", 1, 0);
    ws.send(connect(&id, "1", 0));
    assert_eq!(ws.next(), Value::Null, "held: lazy");
    ws.pass(1050);
    let reply = ws.next();
    assert_eq!(
        (&reply[0]["data"], &reply[1]["ext"]),
        (&json!(1), &json!({"ack":1}))
    );
    publish(&engine, "/slow", 2, 1100);
    ws.send(connect(&id, "2", 1));
    assert_eq!(ws.next(), Value::Null, "held: confirmed, and lazy");
    ws.send(connect(&id, "3", 0));
    let reply = ws.next();
    assert_eq!(reply[1]["ext"], json!({"ack":2}), "stale");
    ws.send(connect(&id, "4", 1));
    let reply = ws.next();
    assert_eq!(
        (&reply[0]["data"], &reply[1]["ext"]),
        (&json!(2), &json!({"ack":2}))
    );
}
