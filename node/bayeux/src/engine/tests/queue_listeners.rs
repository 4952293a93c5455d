//! Reference 7.5: listeners that decide what becomes of a full queue and thin what leaves; 8.1: those that learn of acknowledged batches.

use super::*;
use crate::{Delivery, QueueListener, Session, Waiting, WhenFull};
use parking_lot::Mutex;

/// Keeps what it was told, and does as it is set.
struct Keeper {
    when_full: WhenFull,
    /// How many of the oldest go when the queue is full.
    oldest: usize,
    /// Data that does not leave.
    drops: &'static [&'static str],
    told: Mutex<Vec<String>>,
}

impl Keeper {
    fn new(when_full: WhenFull, oldest: usize, drops: &'static [&'static str]) -> Arc<Self> {
        Arc::new(Self {
            when_full,
            oldest,
            drops,
            told: Mutex::default(),
        })
    }

    fn tell(&self, text: String) {
        self.told.lock().push(text);
    }
}

impl QueueListener for Keeper {
    fn full(&self, queue: &mut Waiting<'_>, publication: &Arc<Publication>) -> WhenFull {
        let data = publication.data().unwrap_or_default();
        self.tell(format!("full {} {data}", queue.len()));
        let mut oldest = self.oldest;
        queue.edit(|_| {
            if oldest == 0 {
                return Delivery::Unchanged;
            }
            oldest -= 1;
            Delivery::Drop
        });
        self.when_full
    }

    fn leaving(&self, queue: &mut Waiting<'_>) {
        let waiting: Vec<_> = queue.iter().filter_map(|p| p.data()).collect();
        self.tell(format!("leaving {}", waiting.join(" ")));
        queue.edit(|publication| match publication.data() {
            Some(data) if self.drops.contains(&data) => Delivery::Drop,
            Some("\"old\"") => Delivery::Replace(event("/a", "\"much newer\"")),
            _ => Delivery::Unchanged,
        });
    }

    fn batch_sent(&self, batch: u64, messages: usize) {
        self.tell(format!("sent {batch} {messages}"));
    }

    fn batch_confirmed(&self, batch: u64, messages: usize) {
        self.tell(format!("confirmed {batch} {messages}"));
    }
}

fn session(engine: &Arc<Engine>, id: &str) -> Arc<Session> {
    engine.session(&SessionId::parse(id).unwrap()).unwrap()
}

fn listen(engine: &Arc<Engine>, id: &str, keeper: &Arc<Keeper>) -> Arc<Session> {
    let session = session(engine, id);
    engine.set_queue_listener(&session, Some(keeper.clone()));
    session
}

fn publish(engine: &Arc<Engine>, data: &str) -> usize {
    engine.publish(&event("/a", data), START)
}

fn told(data: &[Value]) -> Vec<Value> {
    data.iter()
        .map(|data| json!({"channel":"/a","data":data}))
        .collect()
}

/// What leaves, and the statistics afterwards, which must come back to nothing.
fn frame(engine: &Engine, ws: &mut Ws) -> Value {
    let frame = ws.next();
    assert_eq!(engine.stats().queue_bytes, 0);
    frame
}

#[test]
fn a_listener_discards_what_has_no_place() {
    let engine = engine_with(|config| config.max_queue = 2);
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/a");
    let keeper = Keeper::new(WhenFull::Discard, 0, &[]);
    listen(&engine, &id, &keeper);
    let reached = ["1", "2", "3", "4"].map(|data| publish(&engine, data));
    assert_eq!(reached, [1, 1, 0, 0]);
    assert_eq!(
        frame(&engine, &mut ws),
        json!(told(&[json!(1), json!(2)])),
        "and the session goes on"
    );
    assert_eq!(publish(&engine, "5"), 1);
    assert_eq!(frame(&engine, &mut ws), json!(told(&[json!(5)])));
    assert_eq!(
        keeper.told.lock()[..],
        ["full 2 3", "full 2 4", "leaving 1 2", "leaving 5"]
    );
    assert_eq!(engine.stats().queue_overflows, 0);
}

#[test]
fn a_listener_makes_place_for_what_is_newer() {
    let engine = engine_with(|config| config.max_queue = 3);
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/a");
    listen(&engine, &id, &Keeper::new(WhenFull::Queue, 2, &[]));
    let reached = ["1", "2", "3", "4"].map(|data| publish(&engine, data));
    assert_eq!(reached, [1; 4]);
    assert_eq!(frame(&engine, &mut ws), json!(told(&[json!(3), json!(4)])));
}

#[test]
fn a_listener_cannot_make_the_queue_longer() {
    for when_full in [WhenFull::Queue, WhenFull::End] {
        let engine = engine_with(|config| config.max_queue = 2);
        let (mut ws, id) = Ws::connected(&engine);
        ws.subscribe(&id, "/a");
        let keeper = Keeper::new(when_full, 0, &[]);
        let session = listen(&engine, &id, &keeper);
        let reached = ["1", "2", "3", "4"].map(|data| publish(&engine, data));
        assert_eq!(reached, [1, 1, 0, 0]);
        assert!(!session.is_live());
        assert_eq!(
            frame(&engine, &mut ws),
            json!({"close":1013,"reason":"queue_overflow"})
        );
        assert_eq!(engine.stats().queue_overflows, 1);
        assert_eq!(keeper.told.lock()[..], ["full 2 3"], "asked once");
        engine.tick(START.after(100));
        assert_eq!(engine.session_count(), 0);
    }
    // Only the session with the listener is asked about.
    let engine = engine_with(|config| config.max_queue = 1);
    let (mut other, id) = Ws::connected(&engine);
    other.subscribe(&id, "/a");
    let (_, listened) = Ws::connected(&engine);
    listen(&engine, &listened, &Keeper::new(WhenFull::Discard, 0, &[]));
    assert_eq!(["1", "2"].map(|data| publish(&engine, data)), [1, 0]);
    assert_eq!(engine.stats().queue_overflows, 1);
}

#[test]
fn a_listener_thins_what_leaves_over_websocket() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/a");
    let keeper = Keeper::new(WhenFull::End, 0, &["2", "3"]);
    let session = listen(&engine, &id, &keeper);
    for data in ["1", "2", "\"old\"", "3", "4"] {
        publish(&engine, data);
    }
    assert_eq!(
        frame(&engine, &mut ws),
        json!(told(&[json!(1), json!("much newer"), json!(4)]))
    );
    // Nothing is left: no empty frame, and the next message wakes the writer again.
    publish(&engine, "2");
    assert_eq!(frame(&engine, &mut ws), Value::Null);
    let before = ws.wakes.count();
    publish(&engine, "5");
    assert_eq!(ws.wakes.count(), before + 1);
    assert_eq!(frame(&engine, &mut ws), json!(told(&[json!(5)])));
    engine.set_queue_listener(&session, None);
    publish(&engine, "2");
    assert_eq!(frame(&engine, &mut ws), json!(told(&[json!(2)])));
}

#[test]
fn a_listener_thins_what_leaves_over_long_polling_and_lazy_messages_too() {
    let engine = engine();
    engine.set_lazy_timeout_ms(&name("/a"), 1000);
    let (mut browser, id) = Browser::connected(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]));
    let keeper = Keeper::new(WhenFull::End, 0, &["2"]);
    listen(&engine, &id, &keeper);
    let mut held = browser.hold(&id, "c1");
    for data in ["1", "2", "3"] {
        publish(&engine, data);
    }
    assert_eq!(held.poll(START), Value::Null, "lazy messages wait");
    assert!(keeper.told.lock().is_empty());
    browser.pass(1100);
    let mut expected = told(&[json!(1), json!(3)]);
    expected.push(json!({"channel":"/meta/connect","id":"c1","successful":true}));
    assert_eq!(held.poll(browser.now), json!(expected));
    assert_eq!(engine.stats().queue_bytes, 0);
    // With the reply of another request, too.
    publish(&engine, "2");
    publish(&engine, "4");
    let reply = browser.ask(json!([{"channel":"/b","clientId":id,"id":"p"}]));
    let mut expected = told(&[json!(4)]);
    expected.push(json!({"channel":"/b","id":"p","successful":true}));
    assert_eq!(reply, json!(expected));
    assert_eq!(engine.stats().queue_bytes, 0);
}

#[test]
fn what_has_a_number_is_not_edited_and_batches_are_told_of() {
    let engine = engine_with(|config| config.max_queue = 3);
    let mut browser = Browser::new(&engine);
    let reply = browser.ask(json!([{"channel":"/meta/handshake","id":"h","ext":{"ack":true}}]));
    let id = reply[0]["clientId"].as_str().unwrap().to_owned();
    let connect =
        |ack: u64| json!([{"channel":"/meta/connect","clientId":id,"id":"c","ext":{"ack":ack}}]);
    browser.ask(connect(0));
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]));
    let keeper = Keeper::new(WhenFull::Queue, 1, &["2"]);
    listen(&engine, &id, &keeper);
    let replied = |data: &[Value], ack: u64| {
        let mut all = told(data);
        all.push(json!({"channel":"/meta/connect","id":"c","successful":true,"ext":{"ack":ack}}));
        json!(all)
    };
    publish(&engine, "1");
    publish(&engine, "2");
    assert_eq!(browser.ask(connect(0)), replied(&[json!(1)], 1));
    // The reply is lost. 1 has its number; 2 and 3 are the tail.
    for data in ["2", "3", "4"] {
        publish(&engine, data);
    }
    assert_eq!(
        browser.ask(connect(0)),
        replied(&[json!(1), json!(3), json!(4)], 3),
        "the listener took 2 out when 4 had no place"
    );
    assert_eq!(publish(&engine, "5"), 0, "all have a number, none can go");
    assert_eq!(
        keeper.told.lock()[..],
        [
            "leaving 1 2",
            "sent 1 1",
            "full 2 4",
            "leaving 3 4",
            "sent 3 3",
            "full 0 5",
        ]
    );

    let engine = engine_with(|config| config.max_queue = 3);
    let mut browser = Browser::new(&engine);
    let reply = browser.ask(json!([{"channel":"/meta/handshake","id":"h","ext":{"ack":true}}]));
    let id = reply[0]["clientId"].as_str().unwrap().to_owned();
    let connect =
        |ack: u64| json!([{"channel":"/meta/connect","clientId":id,"id":"c","ext":{"ack":ack}}]);
    browser.ask(connect(0));
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]));
    let keeper = Keeper::new(WhenFull::End, 0, &[]);
    listen(&engine, &id, &keeper);
    publish(&engine, "1");
    publish(&engine, "2");
    assert_eq!(browser.ask(connect(0)), replied(&[json!(1), json!(2)], 2));
    publish(&engine, "3");
    assert_eq!(browser.ask(connect(2)), replied(&[json!(3)], 3));
    assert_eq!(
        keeper.told.lock()[..],
        [
            "leaving 1 2",
            "sent 2 2",
            "confirmed 2 2",
            "leaving 3",
            "sent 3 1"
        ]
    );
}

#[test]
fn what_a_handshake_has_announced_is_not_thinned_any_more() {
    struct Greeter(Arc<Keeper>, std::sync::Weak<Engine>);
    impl crate::SessionListener for Greeter {
        fn added(&self, session: &Arc<Session>) {
            let Some(engine) = self.1.upgrade() else {
                return;
            };
            engine.set_queue_listener(session, Some(self.0.clone()));
            for data in ["1", "2", "3"] {
                engine.deliver_to(session, &event("/a", data));
            }
        }
    }
    let engine = engine_with(|config| config.allow_message_delivery_during_handshake = true);
    let keeper = Keeper::new(WhenFull::End, 0, &["2"]);
    let greeter = Greeter(keeper.clone(), Arc::downgrade(&engine));
    engine.add_session_listener(Arc::new(greeter));
    let mut ws = Ws::new(&engine);
    let reply = ws.ask(json!({"channel":"/meta/handshake","id":"h"}));
    assert_eq!(reply[0]["x-messages"], json!(2), "{reply}");
    assert_eq!(frame(&engine, &mut ws), json!(told(&[json!(1), json!(3)])));
    assert_eq!(keeper.told.lock()[..], ["leaving 1 2 3"]);
}
