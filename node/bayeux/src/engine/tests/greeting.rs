//! Reference 5.5: what is queued while a session is made is delivered with its handshake, where that is allowed.

use super::*;
use crate::{Session, SessionListener};
use std::sync::Weak;

/// Tells each new session something before its client knows it.
struct Greeter(Weak<Engine>, u32);

impl SessionListener for Greeter {
    fn added(&self, session: &Arc<Session>) {
        let engine = self.0.upgrade().unwrap();
        for n in 1..=self.1 {
            assert!(engine.deliver_to(session, &event("/a", &n.to_string())));
        }
    }
}

fn greeting(messages: u32, change: impl FnOnce(&mut EngineConfig)) -> Arc<Engine> {
    let engine = engine_with(|config| {
        config.allow_message_delivery_during_handshake = true;
        change(config);
    });
    let greeter = Greeter(Arc::downgrade(&engine), messages);
    engine.add_session_listener(Arc::new(greeter));
    engine
}

fn told(data: u32) -> Value {
    json!({"channel":"/a","data":data})
}

#[test]
fn without_the_option_it_waits_for_the_next_message() {
    let engine = greeting(1, |config| {
        config.allow_message_delivery_during_handshake = false
    });
    let mut ws = Ws::new(&engine);
    let reply = ws.ask(json!({"channel":"/meta/handshake"}));
    assert!(reply[0].get("x-messages").is_none());
    assert_eq!(ws.next(), Value::Null);
}

#[test]
fn in_the_same_response_over_http() {
    let engine = greeting(2, |_| {});
    let reply = Browser::new(&engine).ask(json!([{"channel":"/meta/handshake","id":"h"}]));
    assert_eq!(reply[0]["x-messages"], json!(2));
    assert_eq!(reply.as_array().unwrap()[1..], [told(1), told(2)]);
    assert_eq!(engine.stats().queue_bytes, 0);
    let none = greeting(0, |_| {});
    let reply = Browser::new(&none).ask(json!([{"channel":"/meta/handshake"}]));
    assert!(reply[0].get("x-messages").is_none(), "{reply}");
}

#[test]
fn in_the_frames_behind_over_websocket() {
    for deliver_only in [false, true] {
        let engine = greeting(3, |config| {
            config.meta_connect_deliver_only = deliver_only;
            config.max_frame_bytes = 64;
        });
        let mut ws = Ws::new(&engine);
        let reply = ws.ask(json!({"channel":"/meta/handshake"}));
        assert_eq!(reply[0]["x-messages"], json!(3));
        assert_eq!(ws.next(), json!([told(1), told(2)]));
        assert_eq!(ws.next(), json!([told(3)]));
        assert_eq!(ws.next(), Value::Null);
        assert_eq!(engine.stats().queue_bytes, 0);
    }
}

#[test]
fn a_greeting_with_acknowledgement() {
    let engine = greeting(2, |_| {});
    let ask = json!({"channel":"/meta/handshake","ext":{"ack":true}});
    let connect = |id: &Value, ack: u32| json!({"channel":"/meta/connect","clientId":id,"id":"1","ext":{"ack":ack}});

    let mut browser = Browser::new(&engine);
    let reply = browser.ask(json!([ask]));
    assert_eq!(reply[0]["ext"]["ack"], json!({"enabled":true,"batch":2}));
    assert_eq!(reply.as_array().unwrap()[1..], [told(1), told(2)]);
    // The response was lost.
    let again = browser.ask(json!([connect(&reply[0]["clientId"], 0)]));
    assert_eq!(again.as_array().unwrap()[..2], [told(1), told(2)]);

    let mut ws = Ws::new(&engine);
    let reply = ws.ask(ask.clone());
    assert_eq!(reply[0]["ext"]["ack"], json!({"enabled":true,"batch":2}));
    assert_eq!(
        reply.as_array().unwrap()[1..],
        [told(1), told(2)],
        "one frame"
    );
    assert_eq!(ws.next(), Value::Null);
    let id = &reply[0]["clientId"];
    let session = engine
        .session(&crate::SessionId::parse(id.as_str().unwrap()).unwrap())
        .unwrap();
    assert_eq!(session.queue_len(), 2);
    let reply = ws.ask(connect(id, 2));
    assert_eq!(reply[0]["ext"], json!({"ack":2}));
    assert_eq!(session.queue_len(), 0);
    // A new session on the same connection, whose greeting does not fit into one frame.
    let engine = greeting(3, |config| config.max_frame_bytes = 64);
    let mut ws = Ws::new(&engine);
    ws.ask(ask.clone());
    let reply = ws.ask(ask);
    assert_eq!(reply[0]["x-messages"], json!(2));
    assert_eq!(reply[0]["ext"]["ack"], json!({"enabled":true,"batch":2}));
    assert_eq!(reply.as_array().unwrap()[1..], [told(1), told(2)]);
    let reply = ws.ask(connect(&reply[0]["clientId"], 2));
    assert_eq!((&reply[0], &reply[1]["ext"]), (&told(3), &json!({"ack":3})));
}
