//! Reference 8.1: the acknowledgement extension. The number in `ext.ack` is the session's message sequence.

use super::*;
use crate::SessionId;
use proptest::prelude::*;

/// An acknowledging client on WebSocket, its session's first connect answered with number 0.
fn ws(engine: &Arc<Engine>) -> (Ws, String) {
    let mut ws = Ws::new(engine);
    let id = handshake(|message| ws.ask(message));
    let reply = ws.ask(connect(&id, "c0", json!(0)));
    assert_eq!(reply, json!([connected("c0", 0)]));
    (ws, id)
}

fn browser(engine: &Arc<Engine>) -> (Browser, String) {
    let mut browser = Browser::new(engine);
    let id = handshake(|message| browser.ask(json!([message])));
    let reply = browser.ask(json!([connect(&id, "c0", json!(0))]));
    assert_eq!(reply, json!([connected("c0", 0)]));
    (browser, id)
}

fn handshake(ask: impl FnOnce(Value) -> Value) -> String {
    let reply = ask(json!({"channel":"/meta/handshake","id":"h","ext":{"ack":true}}));
    assert_eq!(reply[0]["ext"], json!({"ack": true}), "{reply}");
    reply[0]["clientId"].as_str().unwrap().to_owned()
}

fn connect(client: &str, id: &str, ack: Value) -> Value {
    json!({"channel":"/meta/connect","clientId":client,"id":id,"ext":{"ack":ack}})
}

fn connected(id: &str, ack: u64) -> Value {
    json!({"channel":"/meta/connect","id":id,"successful":true,"ext":{"ack":ack}})
}

fn told(data: u32) -> Value {
    json!({"channel":"/a","data":data})
}

fn session(engine: &Arc<Engine>, id: &str) -> Arc<crate::Session> {
    engine.session(&SessionId::parse(id).unwrap()).unwrap()
}

fn publish(engine: &Arc<Engine>, data: u32) {
    engine.publish(&event("/a", &data.to_string()), START);
}

fn hold(browser: &mut Browser, body: &Value) -> Held {
    match browser.request(&json!([body]).to_string()).unwrap() {
        HttpOutcome::Hold(held) => Held {
            held,
            wakes: Arc::default(),
        },
        HttpOutcome::Reply(reply) => panic!("answered: {:?}", reply.body),
    }
}

#[test]
fn only_json_true_asks_for_it() {
    let engine = engine();
    for ext in [
        json!({"ack":"true"}),
        json!({"ack":1}),
        json!({"ack":false}),
        json!({}),
    ] {
        let mut ws = Ws::new(&engine);
        let reply = ws.ask(json!({"channel":"/meta/handshake","ext":ext}));
        assert_eq!(reply[0]["successful"], json!(true));
        assert!(reply[0].get("ext").is_none(), "{reply}");
    }
    let off = engine_with(|config| config.ack = false);
    let reply = Ws::new(&off).ask(json!({"channel":"/meta/handshake","ext":{"ack":true}}));
    assert!(reply[0].get("ext").is_none(), "{reply}");
}

#[test]
fn messages_travel_with_connect_replies_and_their_number() {
    let engine = engine();
    let (mut ws, id) = ws(&engine);
    ws.subscribe(&id, "/a");
    ws.send(connect(&id, "1", json!(0)));
    assert_eq!(ws.next(), Value::Null);
    // A publish reply carries no events.
    let reply = ws.ask(json!({"channel":"/b","clientId":id,"id":"p","data":1}));
    assert_eq!(reply, json!([{"channel":"/b","id":"p","successful":true}]));
    publish(&engine, 1);
    publish(&engine, 2);
    assert_eq!(ws.next(), json!([told(1), told(2), connected("1", 2)]));
    assert_eq!(session(&engine, &id).queue_len(), 2, "until confirmed");
    publish(&engine, 3);
    assert_eq!(ws.next(), Value::Null, "no connect is held");
    ws.send(connect(&id, "2", json!(2)));
    assert_eq!(ws.next(), json!([told(3), connected("2", 3)]));
    ws.send(connect(&id, "3", json!(3)));
    assert_eq!(ws.next(), Value::Null);
    assert_eq!(session(&engine, &id).queue_len(), 0);
    assert_eq!(engine.stats().queue_bytes, 0);
    // With nothing to tell the number stays.
    ws.pass(31_000);
    assert_eq!(ws.next(), json!([connected("3", 3)]));
}

#[test]
fn over_long_polling_too() {
    let engine = engine();
    let (mut browser, id) = browser(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]));
    let mut held = hold(&mut browser, &connect(&id, "1", json!(0)));
    assert_eq!(held.poll(START), Value::Null);
    let reply = browser.ask(json!([{"channel":"/a","clientId":id,"id":"p","data":1}]));
    assert_eq!(reply, json!([{"channel":"/a","id":"p","successful":true}]));
    assert_eq!(held.wakes.count(), 1);
    assert_eq!(held.poll(START), json!([told(1), connected("1", 1)]));
    publish(&engine, 2);
    let reply = browser.ask(json!([connect(&id, "2", json!(1))]));
    assert_eq!(reply, json!([told(2), connected("2", 2)]));
    // That reply is lost with its connection: the client repeats what it has.
    publish(&engine, 3);
    let reply = browser.ask(json!([connect(&id, "3", json!(1))]));
    assert_eq!(reply, json!([told(2), told(3), connected("3", 3)]));
    let mut held = hold(&mut browser, &connect(&id, "4", json!(3)));
    assert_eq!(held.poll(START), Value::Null);
    assert_eq!(engine.stats().queue_bytes, 0);
}

#[test]
fn a_stale_number_brings_what_is_newer_again_at_once() {
    let engine = engine();
    let (mut first, id) = ws(&engine);
    first.subscribe(&id, "/a");
    first.send(connect(&id, "1", json!(0)));
    publish(&engine, 1);
    assert_eq!(first.next(), json!([told(1), connected("1", 1)]));
    drop(first);
    publish(&engine, 2);
    // The reload continues over HTTP's sibling transport: another connection, the same session.
    let mut second = Ws::new(&engine);
    second.send(connect(&id, "2", json!(0)));
    let reply = second.next();
    assert_eq!(reply, json!([told(1), told(2), connected("2", 2)]));
    second.send(connect(&id, "3", json!(2)));
    assert_eq!(second.next(), Value::Null, "held: nothing is unconfirmed");
}

#[test]
fn across_transports() {
    let engine = engine();
    let (mut browser, id) = browser(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]));
    publish(&engine, 1);
    let reply = browser.ask(json!([connect(&id, "1", json!(0))]));
    assert_eq!(reply, json!([told(1), connected("1", 1)]));
    let mut ws = Ws::new(&engine);
    ws.send(connect(&id, "2", json!(0)));
    let reply = ws.next();
    assert_eq!((&reply[0], &reply[1]["ext"]), (&told(1), &json!({"ack":1})));
    publish(&engine, 2);
    let reply = browser.ask(json!([connect(&id, "3", json!(1))]));
    assert_eq!((&reply[0], &reply[1]["ext"]), (&told(2), &json!({"ack":2})));
}

/// Negative, too large, fractional and other lies cost the liar a repetition and nobody anything.
#[test]
fn lies_drop_nothing_that_was_not_offered() {
    let engine = engine();
    let (mut ws, id) = ws(&engine);
    ws.subscribe(&id, "/a");
    publish(&engine, 1);
    ws.send(connect(&id, "1", json!(0)));
    assert_eq!(ws.next(), json!([told(1), connected("1", 1)]));
    publish(&engine, 2);
    for (n, lie) in [
        json!(-1),
        json!(3),
        json!(1e300),
        json!(-9e18),
        json!(i64::MAX),
        json!(1.5),
    ]
    .into_iter()
    .enumerate()
    {
        ws.send(connect(&id, &format!("l{n}"), lie));
        assert_eq!(
            ws.next(),
            json!([told(1), told(2), connected(&format!("l{n}"), 2)])
        );
    }
    ws.send(connect(&id, "t", json!(0)));
    assert_eq!(ws.next()[2]["ext"], json!({"ack":2}));
    // No number at all: nothing is dropped, and nothing is repeated for its sake; the next message brings everything.
    for none in [json!("2"), json!(null), json!({}), json!([2])] {
        ws.send(connect(&id, "n", none));
        assert_eq!(ws.next(), Value::Null);
    }
    publish(&engine, 3);
    assert_eq!(
        ws.next(),
        json!([told(1), told(2), told(3), connected("n", 3)])
    );
}

#[test]
fn who_never_confirms_ends_by_the_bounds_of_the_queue() {
    let engine = engine_with(|config| config.max_queue = 3);
    let (mut ws, id) = ws(&engine);
    ws.subscribe(&id, "/a");
    for n in 1..=3 {
        publish(&engine, n);
        ws.send(connect(&id, "c", json!(7000)));
        assert_eq!(ws.next()[n as usize]["ext"], json!({"ack":n}));
    }
    publish(&engine, 4);
    assert_eq!(ws.next(), json!({"close":1013,"reason":"queue_overflow"}));
    assert_eq!(engine.stats().queue_bytes, 0);
    assert_eq!(engine.stats().queue_overflows, 1);
}

/// MetaConnectOvertakenWithAckExtensionTest: the reply to an older connect takes nothing of what the newer one has to bring.
#[test]
fn an_overtaken_connect_reply_claims_nothing() {
    let engine = engine();
    let (mut old, id) = ws(&engine);
    old.subscribe(&id, "/a");
    old.send(connect(&id, "1", json!(0)));
    publish(&engine, 1);
    // The old connection is stuck: its writer does not come to fetch the reply. The client tries another.
    let mut new = Ws::new(&engine);
    new.send(connect(&id, "2", json!(0)));
    assert_eq!(new.next(), json!([told(1), connected("2", 1)]));
    assert_eq!(old.next(), Value::Null, "dropped unanswered");
    // The same when the reply was already encoded.
    publish(&engine, 2);
    new.send(connect(&id, "3", json!(1)));
    let mut third = Ws::new(&engine);
    third.send(connect(&id, "4", json!(1)));
    assert_eq!(new.next(), Value::Null);
    assert_eq!(third.next(), json!([told(2), connected("4", 2)]));
    // And when the old connection speaks again before it wrote.
    publish(&engine, 3);
    third.send(connect(&id, "5", json!(2)));
    new.send(connect(&id, "6", json!(2)));
    assert_eq!(new.next(), json!([told(3), connected("6", 3)]));
    third.send(json!([{"channel":"/b","clientId":id,"id":"7"}]));
    assert!(!third.next().to_string().contains("ack"));
    third.send(connect(&id, "8", json!(2)));
    assert_eq!(third.next(), json!([told(3), connected("8", 3)]));
}

#[test]
fn a_displaced_request_takes_nothing() {
    let engine = engine();
    let (mut browser, id) = browser(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]));
    let mut old = hold(&mut browser, &connect(&id, "1", json!(0)));
    publish(&engine, 1);
    let reply = browser.ask(json!([connect(&id, "2", json!(0))]));
    assert_eq!(reply, json!([told(1), connected("2", 1)]));
    assert_eq!(old.poll(START), json!(500));
}

/// A client gets messages in one frame with their number or not at all; what does not fit comes with the next reply, at once.
#[test]
fn frames_have_their_budget() {
    let engine = engine_with(|config| config.max_frame_bytes = 64);
    let (mut ws, id) = ws(&engine);
    ws.subscribe(&id, "/a");
    (1..=5).for_each(|n| publish(&engine, n));
    ws.send(connect(&id, "1", json!(0)));
    // What arrives now is not covered by the number.
    publish(&engine, 6);
    assert_eq!(ws.next(), json!([told(1), told(2), connected("1", 2)]));
    assert_eq!(ws.next(), Value::Null);
    ws.send(connect(&id, "2", json!(2)));
    assert_eq!(ws.next(), json!([told(3), told(4), connected("2", 4)]));
    // Over HTTP a response is one piece, whatever its size; here the client is stale.
    ws.send(connect(&id, "3", json!(2)));
    assert_eq!(ws.next(), json!([told(3), told(4), connected("3", 4)]));
    ws.send(connect(&id, "4", json!(4)));
    assert_eq!(ws.next(), json!([told(5), told(6), connected("4", 6)]));
    ws.send(connect(&id, "5", json!(6)));
    assert_eq!(ws.next(), Value::Null);
}

#[test]
fn the_end_of_the_session_sends_only_what_is_new() {
    let engine = engine();
    let (mut ws, id) = ws(&engine);
    ws.subscribe(&id, "/a");
    publish(&engine, 1);
    ws.send(connect(&id, "1", json!(0)));
    ws.next();
    ws.send(connect(&id, "2", Value::Null));
    assert_eq!(ws.next(), Value::Null);
    engine.end_session(
        &SessionId::parse(&id).unwrap(),
        crate::EndReason::Server,
        START,
    );
    let reply = ws.next();
    assert_eq!(
        reply[0],
        json!({"channel":"/meta/disconnect","successful":true})
    );
    assert_eq!(reply[1]["advice"], json!({"reconnect":"none"}));
    assert_eq!(engine.stats().queue_bytes, 0);
}

#[test]
fn another_session_on_the_same_connection() {
    let engine = engine();
    let (mut ws, id) = ws(&engine);
    ws.send(connect(&id, "1", json!(0)));
    assert_eq!(ws.next(), Value::Null);
    let id = handshake(|message| ws.ask(message));
    assert_eq!(
        ws.ask(connect(&id, "1", json!(0))),
        json!([connected("1", 0)])
    );
}

/// A client of a stock kind: it takes what arrives in whole frames, and gives back the last number it has seen.
#[derive(Default)]
struct Client {
    received: Vec<u64>,
    ack: u64,
    /// The id of its latest connect.
    latest: u64,
}

impl Client {
    fn connect(&mut self, id: &str) -> Value {
        self.latest += 1;
        connect(id, &self.latest.to_string(), json!(self.ack))
    }

    fn take(&mut self, frame: &Value) {
        for message in frame.as_array().into_iter().flatten() {
            if message["channel"] == "/a" {
                self.received.extend(message["data"].as_u64());
            }
            if let Some(number) = message["ext"]["ack"].as_u64() {
                self.ack = number;
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(u8),
    /// Over the present WebSocket connection, of which this many frames arrive before it breaks.
    WebSocket(Option<u8>),
    /// Over HTTP; perhaps the response is lost.
    Http(bool),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (1..9u8).prop_map(Step::Publish),
        proptest::option::of(0..3u8).prop_map(Step::WebSocket),
        any::<bool>().prop_map(Step::Http),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Promise P2: whatever breaks, everything arrives once and in order.
    #[test]
    fn nothing_is_lost_and_nothing_comes_twice(steps in proptest::collection::vec(step(), 0..40)) {
        let engine = engine_with(|config| config.max_frame_bytes = 100);
        let (mut browser, id) = browser(&engine);
        browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]));
        let mut client = Client::default();
        let mut ws = Ws::new(&engine);
        let mut published = 0;
        let end = [Step::WebSocket(None); 60];
        for step in steps.into_iter().chain(end) {
            match step {
                Step::Publish(messages) => for _ in 0..messages {
                    published += 1;
                    publish(&engine, published);
                },
                Step::WebSocket(arriving) => {
                    ws.send(client.connect(&id));
                    for n in 0.. {
                        let frame = ws.next();
                        if frame.is_null() || arriving.is_some_and(|most| n >= most) {
                            break;
                        }
                        client.take(&frame);
                    }
                    if arriving.is_some() {
                        ws = Ws::new(&engine);
                    }
                }
                Step::Http(lost) => {
                    let mut message = client.connect(&id);
                    message["advice"] = json!({"timeout":0});
                    let response = browser.ask(json!([message]));
                    if !lost {
                        client.take(&response);
                    }
                }
            }
        }
        prop_assert_eq!(client.received, (1..=u64::from(published)).collect::<Vec<_>>());
        prop_assert_eq!(session(&engine, &id).queue_len(), 0);
        prop_assert_eq!(engine.stats().queue_bytes, 0);
    }
}
