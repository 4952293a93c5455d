//! Reference 8.2 to 8.5: activity, binary, timestamp and timesync.

use super::*;
use crate::{Activity, BinaryData, LocalReceiver};
use parking_lot::Mutex;

/// The wall clock at [`START`].
const UNIX_MS: u64 = 1_795_346_652_000;

fn with_clock(change: impl FnOnce(&mut EngineConfig)) -> Arc<Engine> {
    let engine = engine_with(change);
    engine.set_wall_clock(UNIX_MS, START);
    engine
}

fn timesync(asked: Value) -> Value {
    let mut ws = Ws::new(&with_clock(|_| {}));
    let reply = ws.ask(json!({"channel":"/meta/handshake","ext":{"timesync":asked}}));
    assert_eq!(reply[0]["successful"], json!(true));
    reply[0]["ext"]["timesync"].clone()
}

#[test]
fn section_8_5_timesync() {
    let tc = UNIX_MS - 100;
    assert_eq!(
        timesync(json!({"tc": tc})),
        json!({"tc": tc, "ts": UNIX_MS, "p": 0})
    );
    assert_eq!(
        timesync(json!({"tc": tc, "l": 10, "o": 60})),
        json!({"tc": tc, "ts": UNIX_MS, "p": 0, "a": -30})
    );
    assert_eq!(
        timesync(json!({"tc": tc, "l": 0, "o": 100})),
        json!({"tc": tc, "ts": UNIX_MS, "p": 0, "a": 0})
    );
    // Good enough, or not understood.
    for asked in [
        json!({"tc": tc, "l": 10, "o": 80}),
        json!({"tc": tc, "l": 10}),
        json!({"tc": "now"}),
        json!({"l": 1, "o": 1}),
        json!([1]),
        json!("x"),
        Value::Null,
    ] {
        assert_eq!(timesync(asked.clone()), Value::Null, "{asked}");
    }
    let extremes = timesync(json!({"tc": 1e300, "l": 1e300, "o": -1e300}));
    assert_eq!(extremes["p"], json!(0));
}

#[test]
fn section_8_5_timesync_counts_the_time_held() {
    let engine = with_clock(|_| {});
    let (mut ws, id) = Ws::connected(&engine);
    ws.send(
        json!([{"channel":"/meta/connect","clientId":id,"id":"1","ext":{"timesync":{"tc":5}}}]),
    );
    assert_eq!(ws.next(), Value::Null);
    ws.pass(30_100);
    assert_eq!(
        ws.next()[0]["ext"],
        json!({"timesync": {"tc": 5, "ts": UNIX_MS, "p": 30_100}})
    );
    let off = with_clock(|config| config.timesync = false);
    let reply = Ws::new(&off).ask(json!({"channel":"/meta/handshake","ext":{"timesync":{"tc":1}}}));
    assert!(reply[0].get("ext").is_none());
}

#[test]
fn section_8_4_timestamp() {
    let text = "Sun Nov 22 11:24:12 UTC 2026";
    let engine = with_clock(|config| config.timestamp = true);
    let mut ws = Ws::new(&engine);
    let id = ws.handshake();
    ws.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}));
    let event = format!(
        r#"[{{"channel":"/a","timestamp":"mine","clientId":"{id}","id":"1","data":{{"f":1.50}},"ext":{{}}}}]"#
    );
    ws.try_send(&event).unwrap();
    let Some(Output::Frame(frame)) = ws.output() else {
        panic!("a frame");
    };
    assert_eq!(
        std::str::from_utf8(&frame).unwrap(),
        format!(
            r#"[{{"channel":"/a","data":{{"f":1.50}},"ext":{{}},"timestamp":"{text}"}},{{"channel":"/a","id":"1","successful":true,"timestamp":"{text}"}}]"#
        )
    );
    engine.publish(&super::event("/a", "1"), START);
    assert_eq!(ws.next()[0]["timestamp"], json!(text));
    // A sibling has stamped what it sends.
    let theirs =
        Publication::from_object(name("/a"), br#"{"channel":"/a","timestamp":"t"}"#).unwrap();
    engine.publish_from_sibling(&theirs, START);
    assert_eq!(ws.next()[0]["timestamp"], json!("t"));
    engine.end_session(
        &crate::SessionId::parse(&id).unwrap(),
        crate::EndReason::Server,
        START,
    );
    assert_eq!(ws.next()[0]["timestamp"], json!(text));
}

fn inactive(mode: Activity) -> Arc<Engine> {
    engine_with(|config| {
        config.activity = mode;
        config.max_inactivity_ms = 1000;
    })
}

fn ended(id: &str) -> Value {
    json!([
        {"channel":"/meta/disconnect","successful":true},
        {"channel":"/meta/connect","id":id,"successful":false,"error":"402::session_unknown",
         "advice":{"reconnect":"none","interval":0}},
    ])
}

#[test]
fn section_8_2_connects_are_no_activity() {
    let engine = inactive(Activity::Client);
    let (mut ws, id) = Ws::connected(&engine);
    ws.pass(900);
    ws.subscribe(&id, "/a");
    ws.pass(1800);
    ws.hold(&id, "1");
    engine.publish(&event("/a", "1"), ws.now);
    assert_eq!(ws.next()[0]["data"], json!(1));
    ws.pass(2000);
    ws.send(json!([{"channel":"/meta/connect","clientId":id,"id":"2"}]));
    assert_eq!(ws.next(), ended("2"));
    assert_eq!(engine.session_count(), 0);
    assert_eq!(engine.stats().queue_bytes, 0);
}

#[test]
fn section_8_2_over_long_polling() {
    let engine = inactive(Activity::Client);
    let (mut browser, id) = Browser::connected(&engine);
    browser.pass(1001);
    let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":id,"id":"1"}]));
    assert_eq!(reply, ended("1"));
    assert_eq!(engine.session_count(), 0);
    // With other messages too.
    let (mut browser, id) = Browser::connected(&engine);
    browser.pass(2500);
    let reply = browser.ask(json!([
        {"channel":"/meta/connect","clientId":id,"id":"1"},
        {"channel":"/a","clientId":id,"id":"2"},
    ]));
    assert_eq!(
        reply.as_array().unwrap()[..2],
        ended("1").as_array().unwrap()[..]
    );
    assert_eq!(reply[2]["error"], json!("402::session_unknown"));
}

#[test]
fn section_8_2_events_are_activity_of_both() {
    let engine = inactive(Activity::ClientServer);
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/a");
    ws.pass(900);
    engine.publish(&event("/a", "1"), ws.now);
    assert_eq!(ws.next()[0]["data"], json!(1));
    ws.pass(1800);
    ws.hold(&id, "1");
    ws.pass(2000);
    ws.send(json!([{"channel":"/meta/connect","clientId":id,"id":"2"}]));
    assert_eq!(ws.next(), ended("2"));
}

#[test]
fn section_8_3_binary_is_relayed_untouched_and_readable_inside() {
    let engine = engine();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let sink = heard.clone();
    let receiver = move |event: &Arc<Publication>| sink.lock().push(event.binary());
    let receiver: Arc<dyn LocalReceiver> = Arc::new(receiver);
    let local = engine.local_session(None, receiver);
    now_or_never(local.subscribe(&name("/a"), START)).unwrap();
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/a");
    let data = json!({"data":"HelloWorld","last":true,"meta":{"n":1}});
    ws.send(json!([{"channel":"/a","clientId":id,"data":data,"ext":{"binary":{}}}]));
    assert_eq!(
        ws.next()[0],
        json!({"channel":"/a","data":data,"ext":{"binary":{}}})
    );
    let bytes = vec![0x86, 0x4F, 0xD2, 0x6F, 0xB5, 0x59, 0xF7, 0x5B];
    let expected = BinaryData {
        meta: Some("{\"n\":1}".to_owned()),
        ..BinaryData::whole(bytes)
    };
    assert_eq!(*heard.lock(), [Some(expected)]);
    now_or_never(local.publish_binary(&name("/a"), &BinaryData::whole([1]), START)).unwrap();
    assert_eq!(
        ws.next()[0],
        json!({"channel":"/a","data":{"data":"0r","last":true},"ext":{"binary":{}}})
    );
}
