use super::*;

#[test]
fn section_5_5_handshake() {
    let engine = engine();
    let mut ws = Ws::new(&engine);
    let reply = ws.ask(json!({"channel":"/meta/handshake","id":"1","version":"1.0","supportedConnectionTypes":["x"],"clientId":"old","advice":{"timeout":1}}));
    let id = reply[0]["clientId"].as_str().unwrap().to_owned();
    assert!(
        id.len() >= 20
            && id
                .bytes()
                .all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
    );
    assert_eq!(
        reply,
        json!([{"channel":"/meta/handshake","id":"1","successful":true,"clientId":id,"version":"1.0","minimumVersion":"1.0",
            "supportedConnectionTypes":["websocket","long-polling"],"advice":{"reconnect":"retry","interval":0,"timeout":30000}}])
    );
    let again = ws.handshake();
    assert_ne!(again, id, "a handshake always makes a new session");
    assert_eq!(engine.session_count(), 2);
}

#[test]
fn section_1_7_and_3_3_first_connect_is_answered_and_later_ones_held() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "2");
    ws.pass(29_900);
    assert_eq!(ws.next(), Value::Null);
    assert_eq!(ws.wakes.count(), 0);
    ws.pass(30_100);
    assert_eq!(ws.wakes.count(), 1);
    assert_eq!(
        ws.next(),
        json!([{"channel":"/meta/connect","id":"2","successful":true}])
    );
}

#[test]
fn section_3_3_events_are_pushed_while_a_connect_is_held() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/chat");
    ws.hold(&id, "2");
    assert_eq!(engine.publish(&event("/chat", "1"), START), 1);
    assert_eq!(engine.publish(&event("/chat", "2"), START), 1);
    assert_eq!(ws.wakes.count(), 1, "one wake from idle to not idle");
    assert_eq!(
        ws.next(),
        json!([{"channel":"/chat","data":1},{"channel":"/chat","data":2}])
    );
    assert_eq!(ws.next(), Value::Null);
    engine.publish(&event("/chat", "3"), START);
    assert_eq!(ws.wakes.count(), 2);
    assert_eq!(ws.next(), json!([{"channel":"/chat","data":3}]));
    ws.pass(30_100);
    assert_eq!(
        ws.next()[0]["id"],
        json!("2"),
        "still held until its timeout"
    );
}

#[test]
fn a_single_event_leaves_in_the_bytes_it_was_encoded_in() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/chat");
    let event = event("/chat", "{\"n\":1.50}");
    engine.publish(&event, START);
    let Some(Output::Frame(bytes)) = ws.output() else {
        panic!("a frame");
    };
    assert_eq!(bytes.as_ptr(), event.array().as_ptr());
}

#[test]
fn section_3_2_events_before_replies_in_one_frame() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.send(json!([
        {"channel":"/meta/subscribe","clientId":id,"id":"11","subscription":"/room"},
        {"channel":"/room","clientId":id,"id":"12","data":"a"},
        {"channel":"/room","clientId":id,"id":"13","data":"b"}]));
    assert_eq!(
        ws.next(),
        json!([{"channel":"/room","data":"a"},{"channel":"/room","data":"b"},
            {"channel":"/meta/subscribe","id":"11","subscription":"/room","successful":true},
            {"channel":"/room","id":"12","successful":true},{"channel":"/room","id":"13","successful":true}])
    );
}

#[test]
fn frames_keep_to_the_byte_budget_and_replies_come_after_the_events_before_them() {
    let engine = engine_with(|config| config.max_frame_bytes = 120);
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/room");
    for n in 0..5 {
        engine.publish(
            &event("/room", &format!("\"{n}{}\"", "x".repeat(20))),
            START,
        );
    }
    ws.send(json!([{"channel":"/meta/unsubscribe","clientId":id,"id":"9","subscription":"/room"}]));
    let sizes: Vec<_> = (0..3).map(|_| ws.next()).collect();
    assert_eq!(sizes[0].as_array().unwrap().len(), 2);
    assert_eq!(sizes[1].as_array().unwrap().len(), 2);
    assert_eq!(sizes[2][0]["channel"], json!("/room"));
    assert_eq!(sizes[2][1]["id"], json!("9"));
    assert_eq!(ws.next(), Value::Null);
    engine.publish(&event("/room", "1"), START);
    assert_eq!(engine.stats().queue_bytes, 0);
    let large = format!("\"{}\"", "y".repeat(300));
    ws.subscribe(&id, "/room");
    engine.publish(&event("/room", &large), START);
    assert_eq!(
        ws.next()[0]["data"].as_str().unwrap().len(),
        300,
        "a larger message goes alone"
    );
}

#[test]
fn section_3_3_replies_batched_with_a_held_connect_are_sent_at_once() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.send(json!([
        {"channel":"/meta/connect","clientId":id,"id":"1"},
        {"channel":"/meta/subscribe","clientId":id,"id":"2","subscription":"/a"}]));
    let reply = ws.next();
    assert_eq!(
        (reply.as_array().unwrap().len(), &reply[0]["id"]),
        (1, &json!("2"))
    );
    ws.pass(30_100);
    assert_eq!(ws.next()[0]["id"], json!("1"));
}

#[test]
fn section_3_3_a_second_connect_displaces_the_first_unanswered() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "1");
    ws.hold(&id, "2");
    ws.pass(30_100);
    assert_eq!(
        ws.next(),
        json!([{"channel":"/meta/connect","id":"2","successful":true}])
    );
    assert_eq!(ws.next(), Value::Null);
}

#[test]
fn section_3_4_the_connection_that_spoke_last_receives() {
    let engine = engine();
    let (mut old, id) = Ws::connected(&engine);
    old.subscribe(&id, "/chat");
    old.hold(&id, "1");
    let mut new = Ws::new(&engine);
    let reply =
        new.ask(json!({"channel":"/meta/connect","clientId":id,"id":"2","advice":{"timeout":0}}));
    assert_eq!(
        reply,
        json!([{"channel":"/meta/connect","id":"2","successful":true,"advice":{"reconnect":"retry","interval":0,"timeout":30000}}])
    );
    engine.publish(&event("/chat", "1"), START);
    assert_eq!(old.next(), Value::Null);
    assert_eq!(new.next()[0]["data"], json!(1));
    // The old one speaks again.
    new.hold(&id, "3");
    let reply = old.ask(json!({"channel":"/x","clientId":id,"id":"4"}));
    assert_eq!(reply[0]["id"], json!("4"));
    engine.publish(&event("/chat", "2"), START);
    assert_eq!(new.next(), Value::Null);
    assert_eq!(old.next()[0]["data"], json!(2));
    let reply = new.ask(json!({"channel":"/x","clientId":id,"id":"5"}));
    assert_eq!(reply[0]["id"], json!("5"));
    engine.publish(&event("/chat", "3"), START);
    assert_eq!(new.next()[0]["data"], json!(3));
    new.pass(9_900);
    assert_eq!(engine.session_count(), 1);
    for ws in [&mut old, &mut new] {
        ws.pass(30_100);
        assert_eq!(
            ws.next(),
            Value::Null,
            "both held connects were dropped unanswered"
        );
    }
    assert_eq!(
        engine.session_count(),
        0,
        "and nothing has been heard of it since"
    );
}

#[test]
fn section_3_4_another_client_id_on_a_bound_connection_is_unknown() {
    let engine = engine();
    let (mut one, _) = Ws::connected(&engine);
    let (_two, other) = Ws::connected(&engine);
    let reply =
        one.ask(json!({"channel":"/meta/subscribe","clientId":other,"id":"1","subscription":"/a"}));
    assert_eq!(reply[0]["error"], json!("402::session_unknown"));
    assert!(engine.subscribed_channels().is_empty());
}

#[test]
fn section_3_4_nothing_is_pushed_between_handshake_and_first_message() {
    let engine = engine();
    let mut ws = Ws::new(&engine);
    let id = ws.handshake();
    let session = engine.session(&SessionId::parse(&id).unwrap()).unwrap();
    assert!(engine.deliver(session.id(), &event("/service/x", "1"), START));
    assert_eq!(ws.next(), Value::Null);
    let reply = ws.ask(json!({"channel":"/meta/connect","clientId":id,"id":"1"}));
    assert_eq!(reply[0], json!({"channel":"/service/x","data":1}));
    assert_eq!(reply[1]["id"], json!("1"));
}

#[test]
fn section_4_4_a_connection_may_have_to_handshake() {
    let engine = engine_with(|config| config.require_handshake_per_connection = true);
    let (_first, id) = Ws::connected(&engine);
    let mut second = Ws::new(&engine);
    let reply = second.ask(json!({"channel":"/meta/connect","clientId":id}));
    assert_eq!(
        reply[0]["advice"],
        json!({"reconnect":"handshake","interval":0})
    );
}

#[test]
fn section_3_6_a_closed_connection_keeps_session_and_messages() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/chat");
    ws.hold(&id, "1");
    ws.peer.closed(START);
    engine.publish(&event("/chat", "1"), START);
    let mut again = Ws::new(&engine);
    let reply =
        again.ask(json!({"channel":"/meta/connect","clientId":id,"id":"1","advice":{"timeout":0}}));
    assert_eq!(reply[0]["data"], json!(1));
    assert_eq!(reply[1]["advice"]["reconnect"], json!("retry"));
}

#[test]
fn section_3_6_a_session_whose_connection_closed_expires_after_max_interval_not_after_the_hold() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "1");
    ws.peer.closed(START);
    ws.pass(9_900);
    assert_eq!(engine.session_count(), 1, "a reload is given maxInterval");
    ws.pass(10_400);
    assert_eq!(engine.session_count(), 0);
}

#[test]
fn section_1_10_connect_only_delivery() {
    let engine = engine_with(|config| config.meta_connect_deliver_only = true);
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/chat");
    let reply = ws.ask(json!({"channel":"/chat","clientId":id,"id":"2","data":1}));
    assert_eq!(
        reply,
        json!([{"channel":"/chat","id":"2","successful":true}])
    );
    assert_eq!(ws.next(), Value::Null, "events wait for a connect");
    let reply = ws.ask(json!({"channel":"/meta/connect","clientId":id,"id":"3"}));
    assert_eq!(
        reply,
        json!([{"channel":"/chat","data":1},{"channel":"/meta/connect","id":"3","successful":true}])
    );
    ws.hold(&id, "4");
    engine.publish(&event("/chat", "2"), START);
    assert_eq!(ws.wakes.count(), 1);
    assert_eq!(
        ws.next(),
        json!([{"channel":"/chat","data":2},{"channel":"/meta/connect","id":"4","successful":true}])
    );
}

#[test]
fn section_5_4_advice_of_connect_replies() {
    let engine = engine_with(|config| config.handshake_reconnect = true);
    let (mut ws, id) = Ws::connected(&engine);
    let full = json!({"reconnect":"retry","interval":0,"timeout":30000,"maxInterval":10000});
    let reply =
        ws.ask(json!({"channel":"/meta/connect","clientId":id,"id":"1","advice":{"timeout":0}}));
    assert_eq!(reply[0]["advice"], full, "asked for");
    let reply = ws.ask(json!({"channel":"/meta/connect","clientId":id,"id":"1","advice":{"timeout":0,"interval":5000}}));
    assert_eq!(
        reply[0]["advice"]["interval"],
        json!(5000),
        "the client's own interval"
    );
    assert_eq!(
        reply[0]["advice"]["timeout"],
        json!(30_000),
        "never the client's timeout"
    );
    let reply = ws.ask(json!({"channel":"/meta/connect","clientId":id,"id":"1","advice":{"timeout":0,"interval":-1}}));
    assert_eq!(
        reply[0]["advice"]["interval"],
        json!(0),
        "negative is ignored"
    );
    // A change of the session's times is told with the reply of the connect that is held meanwhile.
    ws.hold(&id, "2");
    ws.peer.session().unwrap().set_interval_ms(Some(77));
    ws.pass(30_100);
    assert_eq!(ws.next()[0]["advice"]["interval"], json!(77));
    ws.hold(&id, "3");
    ws.pass(60_300);
    assert_eq!(
        ws.next(),
        json!([{"channel":"/meta/connect","id":"3","successful":true}]),
        "told once"
    );
}

#[test]
fn section_5_4_a_client_timeout_holds_for_one_connect() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.send(json!([{"channel":"/meta/connect","clientId":id,"id":"1","advice":{"timeout":1000}}]));
    assert_eq!(ws.next(), Value::Null);
    ws.pass(1100);
    assert_eq!(ws.next()[0]["id"], json!("1"));
    ws.hold(&id, "2");
    ws.pass(3000);
    assert_eq!(ws.next(), Value::Null, "the next has the usual timeout");
}

#[test]
fn section_1_8_switching_transport_gives_full_advice() {
    let engine = engine();
    let (browser, id) = Browser::connected(&engine);
    let mut ws = Ws::new(&engine);
    let reply =
        ws.ask(json!({"channel":"/meta/connect","clientId":id,"id":"1","advice":{"timeout":0}}));
    assert_eq!(reply[0]["successful"], json!(true), "no cookie needed");
    assert_eq!(reply[0]["advice"]["reconnect"], json!("retry"));
    drop(browser);
    // Made over WebSocket, it has no browser and is unknown over HTTP.
    let (_ws, id) = Ws::connected(&engine);
    let reply = Browser::new(&engine).ask(json!([{"channel":"/meta/connect","clientId":id}]));
    assert_eq!(reply[0]["error"], json!("402::session_unknown"));
    let trusting = engine_with(|config| config.trust_client_session = true);
    let (_ws, id) = Ws::connected(&trusting);
    let reply = Browser::new(&trusting)
        .ask(json!([{"channel":"/meta/connect","clientId":id,"advice":{"timeout":0}}]));
    assert_eq!(reply[0]["successful"], json!(true));
    assert_eq!(reply[0]["advice"]["timeout"], json!(30_000));
}
