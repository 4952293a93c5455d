use super::*;
use crate::HttpOutcome;

#[test]
fn section_1_5_order_inside_one_response() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    let reply = browser.ask(json!([
        {"channel":"/meta/subscribe","clientId":id,"id":"11","subscription":"/room"},
        {"channel":"/room","clientId":id,"id":"12","data":"a"},
        {"channel":"/room","clientId":id,"id":"13","data":"b"}]));
    assert_eq!(
        reply,
        json!([{"channel":"/room","data":"a"},{"channel":"/room","data":"b"},
            {"channel":"/meta/subscribe","id":"11","subscription":"/room","successful":true},
            {"channel":"/room","id":"12","successful":true},{"channel":"/room","id":"13","successful":true}])
    );
}

#[test]
fn section_1_6_own_messages_ride_with_the_reply_and_do_not_wake_the_held_connect() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/room"}]));
    let mut held = browser.hold(&id, "1");
    assert_eq!(held.poll(START), Value::Null);
    let reply = browser.ask(json!([{"channel":"/room","clientId":id,"id":"2","data":"a"}]));
    assert_eq!(
        reply,
        json!([{"channel":"/room","data":"a"},{"channel":"/room","id":"2","successful":true}])
    );
    assert_eq!((held.wakes.count(), held.poll(START)), (0, Value::Null));
    engine.publish(&event("/room", "1"), START);
    engine.publish(&event("/room", "2"), START);
    assert_eq!(held.wakes.count(), 1);
    assert_eq!(
        held.poll(START),
        json!([{"channel":"/room","data":1},{"channel":"/room","data":2},{"channel":"/meta/connect","id":"1","successful":true}])
    );
}

#[test]
fn section_1_6_with_connect_only_delivery_the_end_of_the_batch_wakes_the_held_connect() {
    let engine = engine_with(|config| config.meta_connect_deliver_only = true);
    let (mut browser, id) = Browser::connected(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/room"}]));
    let mut held = browser.hold(&id, "1");
    assert_eq!(held.poll(START), Value::Null);
    let reply = browser.ask(json!([{"channel":"/room","clientId":id,"id":"2","data":"a"}]));
    assert_eq!(
        reply,
        json!([{"channel":"/room","id":"2","successful":true}])
    );
    assert_eq!(held.wakes.count(), 1);
    assert_eq!(held.poll(START)[0], json!({"channel":"/room","data":"a"}));
}

#[test]
fn section_1_7_pending_messages_answer_a_connect_at_once() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/room"}]));
    engine.publish(&event("/room", "1"), START);
    let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":id,"id":"1"}]));
    assert_eq!(
        reply,
        json!([{"channel":"/room","data":1},{"channel":"/meta/connect","id":"1","successful":true}])
    );
}

#[test]
fn section_1_7_a_connect_with_other_messages_is_not_held() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    let reply = browser.ask(json!([
        {"channel":"/meta/connect","clientId":id,"id":"1"},
        {"channel":"/meta/subscribe","clientId":id,"id":"2","subscription":"/a"}]));
    assert_eq!(
        (&reply[0]["id"], &reply[1]["id"]),
        (&json!("1"), &json!("2"))
    );
}

#[test]
fn section_1_7_hold_timeout_and_displacement() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    let mut first = browser.hold(&id, "1");
    assert_eq!(first.poll(START), Value::Null);
    let mut second = browser.hold(&id, "2");
    assert_eq!(first.wakes.count(), 1);
    assert_eq!(first.poll(START), json!(500));
    browser.pass(30_100);
    assert_eq!(
        second.poll(browser.now),
        json!([{"channel":"/meta/connect","id":"2","successful":true}])
    );
    // Its browser slot is free again before the next connect is judged.
    let mut third = browser.hold(&id, "3");
    assert_eq!(third.poll(browser.now), Value::Null);
}

#[test]
fn a_dropped_hold_keeps_messages_and_lets_the_session_expire() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/room"}]));
    let held = browser.hold(&id, "1");
    drop(held);
    engine.publish(&event("/room", "1"), START);
    let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":id,"id":"2"}]));
    assert_eq!(reply[0]["data"], json!(1));
    drop(browser.hold(&id, "3"));
    browser.pass(10_200);
    assert_eq!(engine.session_count(), 0);
}

#[test]
fn section_1_8_the_cookie_is_issued_and_never_adopted() {
    let engine = engine();
    let mut browser = Browser::new(&engine);
    browser.cookie = Some("mine".to_owned());
    let id = browser.handshake();
    let cookie = browser.cookie.clone().unwrap();
    assert_ne!(cookie, "mine");
    assert!(cookie.len() >= 25);
    browser.connect_first(&id);
    let second = browser.handshake();
    assert_eq!(
        browser.cookie.as_ref(),
        Some(&cookie),
        "a known browser keeps its cookie"
    );
    for (cookie, client, known) in [
        (Some(&*cookie), &second, true),
        (None, &second, false),
        (Some("mine"), &id, false),
    ] {
        browser.cookie = cookie.map(str::to_owned);
        let reply = browser.ask(
            json!([{"channel":"/meta/connect","clientId":client,"id":"1","advice":{"timeout":0}}]),
        );
        assert_eq!(reply[0]["successful"], json!(known), "{reply}");
        if !known {
            let unknown = json!({"channel":"/meta/connect","id":"1","successful":false,"error":"402::session_unknown",
                "advice":{"reconnect":"handshake","interval":0}});
            assert_eq!(reply[0], unknown);
        }
    }
}

#[test]
fn section_1_8_every_message_of_a_batch_must_name_the_session() {
    let engine = engine();
    let (_other, other_id) = Browser::connected(&engine);
    let (mut browser, id) = Browser::connected(&engine);
    let reply = browser.ask(json!([
        {"channel":"/meta/subscribe","clientId":id,"subscription":"/a"},
        {"channel":"/meta/subscribe","clientId":other_id,"subscription":"/b"},
        {"channel":"/meta/subscribe","subscription":"/c"}]));
    assert_eq!(reply[0]["successful"], json!(true));
    for n in [1, 2] {
        assert_eq!(reply[n]["error"], json!("402::session_unknown"));
        assert!(reply[n].get("advice").is_none());
    }
    assert_eq!(engine.subscribed_channels(), [name("/a")]);
}

#[test]
fn section_1_9_multiple_sessions_of_one_browser() {
    let engine = engine();
    let (mut browser, first) = Browser::connected(&engine);
    let held = browser.hold(&first, "1");
    let second = browser.handshake();
    let crowded =
        json!({"multiple-clients":true,"reconnect":"retry","interval":2000,"timeout":30000});
    for _ in 0..2 {
        let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":second,"id":"1"}]));
        assert_eq!(
            reply,
            json!([{"channel":"/meta/connect","id":"1","successful":true,"advice":crowded}])
        );
    }
    drop(held);
    let mut held = browser.hold(&second, "2");
    assert_eq!(held.poll(START), Value::Null);
    browser.pass(30_100);
    let full = json!({"reconnect":"retry","interval":0,"timeout":30000});
    assert_eq!(
        held.poll(browser.now)[0]["advice"],
        full,
        "the advice is taken back"
    );
}

/// 3.1's IdleLongPollTest: a hold that has its answer no longer counts, though the answer is still to be written.
#[test]
fn section_1_9_an_answered_connect_frees_its_place_before_the_next_is_judged() {
    let engine = engine();
    let (mut browser, first) = Browser::connected(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":first,"subscription":"/a"}]));
    let second = browser.handshake();
    browser.connect_first(&second);
    for round in 0..3 {
        let mut held = browser.hold(&first, "1");
        engine.publish(&event("/a", "1"), browser.now);
        assert_eq!(held.poll(browser.now)[1]["successful"], json!(true));
        let mut next = browser.hold(&second, "2");
        assert_eq!(next.poll(browser.now), Value::Null, "{round}");
        drop(held);
        let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":first,"id":"3"}]));
        let crowded = &reply[0]["advice"]["multiple-clients"];
        assert_eq!(crowded, &json!(true), "the place is taken once");
    }
}

#[test]
fn section_1_9_limits_of_held_connects() {
    let refusing = engine_with(|config| config.multi_session_interval_ms = 0);
    let (mut browser, first) = Browser::connected(&refusing);
    let _held = browser.hold(&first, "1");
    let second = browser.handshake();
    let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":second,"id":"1"}]));
    let none = json!({"multiple-clients":true,"reconnect":"none"});
    assert_eq!(
        reply,
        json!([{"channel":"/meta/connect","id":"1","successful":false,"advice":none}])
    );

    let never = engine_with(|config| config.max_sessions_per_browser = 0);
    let (mut browser, id) = Browser::connected(&never);
    let reply = browser.ask(json!([{"channel":"/meta/connect","clientId":id}]));
    assert_eq!(reply[0]["advice"]["multiple-clients"], json!(true));

    let unlimited = engine_with(|config| config.max_sessions_per_browser = -1);
    let (mut browser, first) = Browser::connected(&unlimited);
    let _held = browser.hold(&first, "1");
    let second = browser.handshake();
    browser.connect_first(&second);
    let _also_held = browser.hold(&second, "1");
}

#[test]
fn section_1_9_http2_has_its_own_limit() {
    let engine = engine();
    let (mut browser, first) = Browser::connected(&engine);
    let _held = browser.hold(&first, "1");
    let second = browser.handshake();
    browser.http2 = true;
    browser.connect_first(&second);
    let _also_held = browser.hold(&second, "1");
}

#[test]
fn idle_browsers_are_forgotten() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    browser.ask(json!([{"channel":"/meta/disconnect","clientId":id}]));
    browser.pass(19_000);
    assert_eq!(engine.browsers.len(), 1);
    browser.pass(22_000);
    assert_eq!(engine.browsers.len(), 0);
}

#[test]
fn section_1_4_an_unwritten_reply_lets_the_session_expire_too() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    browser.pass(5000);
    let body =
        json!([{"channel":"/meta/connect","clientId":id,"advice":{"timeout":0}}]).to_string();
    let HttpOutcome::Reply(reply) = browser.request(&body).unwrap() else {
        panic!("answered");
    };
    browser.pass(60_000);
    assert_eq!(
        engine.session_count(),
        1,
        "still being written to a slow client"
    );
    reply.ticket.failed(browser.now);
    browser.pass(70_200);
    assert_eq!(engine.session_count(), 0);
}

#[test]
fn section_2_callback_polling_delivers_with_connect_replies_only() {
    let engine = engine();
    let mut browser = Browser::new(&engine);
    browser.callback = true;
    let id = browser.handshake();
    browser.connect_first(&id);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]));
    let mut held = browser.hold(&id, "1");
    assert_eq!(held.poll(START), Value::Null);
    let reply = browser.ask(json!([{"channel":"/a","clientId":id,"id":"p","data":1}]));
    assert_eq!(reply, json!([{"channel":"/a","id":"p","successful":true}]));
    assert_eq!(held.wakes.count(), 1);
    assert_eq!(held.poll(START)[0]["data"], json!(1));
    let session = engine.sessions().remove(0);
    assert_eq!(session.transport(), crate::Transport::CallbackPolling);
    // The same session by long-polling.
    engine.publish(&event("/a", "2"), START);
    browser.callback = false;
    let reply = browser.ask(json!([{"channel":"/b","clientId":id,"id":"q"}]));
    assert_eq!(reply[0]["data"], json!(2));
}
