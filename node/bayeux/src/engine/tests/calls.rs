use super::*;
use crate::{BinaryData, CallError, EndReason, Message, Responder, Session};
use parking_lot::Mutex;

/// Answers at once what it can, keeps the rest.
#[derive(Default)]
struct Desk {
    kept: Mutex<Vec<Responder>>,
}

impl crate::RemoteCall for Desk {
    fn call(&self, _: &Arc<Session>, message: &Message<'_>, responder: Responder, _: Millis) {
        match message.data() {
            Some("\"later\"") => self.kept.lock().push(responder),
            Some("\"no\"") => responder.fail(Json::validate("{\"code\":7}", 4).unwrap()),
            Some("\"drop\"") => drop(responder),
            Some("\"bytes\"") => {
                assert!(responder.succeed_with_binary(&BinaryData::whole([1, 2, 3])));
            }
            Some("\"nothing\"") => responder.succeed(Json::validate("null", 4).unwrap()),
            _ => responder.succeed(Json::validate("{\"EUR\":1.080}", 4).unwrap()),
        }
    }
}

impl Desk {
    fn answer_all(&self) {
        for responder in std::mem::take(&mut *self.kept.lock()) {
            responder.succeed(Json::validate("\"late\"", 4).unwrap());
        }
    }
}

fn desk(engine: &Arc<Engine>) -> Arc<Desk> {
    let desk = Arc::new(Desk::default());
    engine.add_remote_call(name("/service/quotes"), desk.clone());
    desk
}

fn call(client: &str, id: &str, data: &str) -> Value {
    json!({"channel":"/service/quotes","clientId":client,"id":id,"data":data})
}

fn published(id: &str) -> Value {
    json!({"channel":"/service/quotes","id":id,"successful":true})
}

fn result(id: &str, data: Value) -> Value {
    json!({"channel":"/service/quotes","id":id,"successful":true,"data":data})
}

fn failure(id: &str, data: Value) -> Value {
    json!({"channel":"/service/quotes","id":id,"successful":false,"data":data})
}

#[test]
fn section_7_7_a_result_goes_before_the_reply_of_its_publish() {
    let engine = engine();
    desk(&engine);
    let (mut ws, id) = Ws::connected(&engine);
    ws.send(json!([call(&id, "21", "x"), call(&id, "22", "no")]));
    assert_eq!(
        ws.next(),
        json!([
            result("21", json!({"EUR":1.08})),
            failure("22", json!({"code":7})),
            published("21"),
            published("22")
        ])
    );
    let (mut browser, id) = Browser::connected(&engine);
    assert_eq!(
        browser.ask(json!([call(&id, "1", "x")])),
        json!([result("1", json!({"EUR":1.08})), published("1")])
    );
    assert_eq!(engine.stats().calls, 0);
}

#[test]
fn section_7_7_a_later_result_is_pushed_or_releases_the_held_connect() {
    let engine = engine();
    let desk = desk(&engine);
    let (mut ws, id) = Ws::connected(&engine);
    ws.hold(&id, "c1");
    assert_eq!(ws.ask(call(&id, "21", "later")), json!([published("21")]));
    assert_eq!(ws.next(), Value::Null);
    let before = ws.wakes.count();
    desk.answer_all();
    assert_eq!(ws.wakes.count(), before + 1);
    assert_eq!(ws.next(), json!([result("21", json!("late"))]));

    let (mut browser, id) = Browser::connected(&engine);
    let mut held = browser.hold(&id, "c1");
    assert_eq!(held.poll(START), Value::Null);
    assert_eq!(
        browser.ask(json!([call(&id, "7", "later")])),
        json!([published("7")])
    );
    desk.answer_all();
    assert_eq!(
        held.poll(START),
        json!([
            result("7", json!("late")),
            {"channel":"/meta/connect","id":"c1","successful":true}
        ])
    );
}

#[test]
fn section_7_7_over_callback_polling_results_travel_with_connect_replies() {
    let engine = engine();
    desk(&engine);
    let mut browser = Browser::new(&engine);
    browser.callback = true;
    let id = browser.handshake();
    browser.connect_first(&id);
    let mut held = browser.hold(&id, "c1");
    assert_eq!(held.poll(START), Value::Null);
    assert_eq!(
        browser.ask(json!([call(&id, "7", "x")])),
        json!([published("7")])
    );
    assert_eq!(held.poll(START)[0], result("7", json!({"EUR":1.08})));
}

#[test]
fn section_7_7_with_acknowledgements_a_result_is_not_lost() {
    let engine = engine();
    desk(&engine);
    let mut ws = Ws::new(&engine);
    let reply = ws.ask(json!({"channel":"/meta/handshake","ext":{"ack":true}}));
    let id = reply[0]["clientId"].as_str().unwrap().to_owned();
    let connect = |ack: u64| json!({"channel":"/meta/connect","clientId":id,"id":"c","ext":{"ack":ack},"advice":{"timeout":0}});
    ws.ask(connect(0));
    assert_eq!(ws.ask(call(&id, "7", "x")), json!([published("7")]));
    for _ in 0..2 {
        let reply = ws.ask(connect(0));
        assert_eq!(reply[0], result("7", json!({"EUR":1.08})));
        assert_eq!(reply[1]["ext"], json!({"ack":1}));
    }
    assert_eq!(ws.ask(connect(1))[0]["channel"], json!("/meta/connect"));
}

#[test]
fn a_dropped_call_fails_and_a_null_result_is_told_from_no_result() {
    let engine = engine();
    desk(&engine);
    let (mut ws, id) = Ws::connected(&engine);
    let reply = ws.ask(call(&id, "1", "drop"));
    assert_eq!(reply[0]["successful"], json!(false));
    assert_eq!(reply[0]["data"]["code"], json!("unanswered"));
    assert_eq!(ws.ask(call(&id, "2", "nothing"))[0], result("2", json!({})));
    let reply = ws.ask(call(&id, "3", "bytes"));
    assert_eq!(
        reply[0],
        json!({"channel":"/service/quotes","id":"3","successful":true,"data":{"data":"0rJu","last":true},"ext":{"binary":{}}})
    );
    let reply = ws.ask(json!({"channel":"/service/quotes","clientId":id,"data":1}));
    assert_eq!(reply[0].get("id"), None);
    assert_eq!(engine.stats().calls, 0);
}

#[test]
fn calls_that_wait_are_bounded_and_end_with_their_session() {
    let engine = engine_with(|config| {
        config.max_calls_per_session = 2;
        config.max_calls = 3;
    });
    let desk = desk(&engine);
    let (mut ws, id) = Ws::connected(&engine);
    let limit = json!("403:limit_reached:publish_denied");
    for n in ["1", "2"] {
        assert_eq!(ws.ask(call(&id, n, "later")), json!([published(n)]));
    }
    assert_eq!(ws.ask(call(&id, "3", "later"))[0]["error"], limit);
    let (mut other, other_id) = Ws::connected(&engine);
    assert_eq!(
        other.ask(call(&other_id, "1", "later")),
        json!([published("1")])
    );
    assert_eq!(other.ask(call(&other_id, "2", "later"))[0]["error"], limit);
    let session = engine
        .session(&crate::SessionId::parse(&id).unwrap())
        .unwrap();
    engine.end_session(session.id(), EndReason::Server, START);
    assert_eq!(engine.stats().calls, 3, "the service still has them");
    assert!(!desk.kept.lock()[0].is_wanted());
    desk.answer_all();
    assert_eq!(engine.stats().calls, 0);
    assert_eq!(other.next(), json!([result("1", json!("late"))]));
    assert_eq!(session.queue_len(), 1, "only the disconnect message");
    assert_eq!(
        other.ask(call(&other_id, "4", "later")),
        json!([published("4")])
    );
}

#[test]
fn code_of_the_node_calls_too() {
    let engine = engine_with(|config| config.max_calls_per_session = 1);
    let desk = desk(&engine);
    engine.add_remote_call(
        name("/service/closure"),
        Arc::new(
            |_: &Arc<Session>, message: &Message<'_>, responder: Responder, _: Millis| {
                responder.succeed(Json::validate(message.data().unwrap(), 4).unwrap());
            },
        ),
    );
    let local = engine.local_session(None, Arc::new(|_: &Arc<Publication>| panic!("no event")));
    let json = |text: &'static str| Json::validate(text, 4).unwrap();
    let ask = |channel: &str, data| now_or_never(local.call(&name(channel), json(data), START));
    assert_eq!(ask("/service/closure", "[1.0]"), Ok("[1.0]".to_owned()));
    assert_eq!(
        ask("/service/quotes", "\"no\""),
        Err(CallError::Failed("{\"code\":7}".to_owned()))
    );
    assert_eq!(ask("/service/other", "1"), Err(CallError::NoRemoteCall));
    let channel = name("/service/quotes");
    let mut waiting = [
        Box::pin(local.call(&channel, json("\"later\""), START)),
        Box::pin(local.call(&channel, json("\"later\""), START)),
    ];
    let wakes = Arc::new(Wakes::default());
    let waker = Waker::from(wakes.clone());
    let mut cx = Context::from_waker(&waker);
    for call in &mut waiting {
        assert!(call.as_mut().poll(&mut cx).is_pending());
    }
    desk.answer_all();
    assert_eq!(wakes.count(), 2);
    for call in &mut waiting {
        assert_eq!(
            call.as_mut().poll(&mut cx),
            Poll::Ready(Ok("\"late\"".to_owned()))
        );
    }
    assert!(engine.remove_service(&name("/service/closure")));
    assert!(!engine.remove_service(&name("/service/closure")));
    assert_eq!(
        ask("/service/closure", "[1.0]"),
        Err(CallError::NoRemoteCall)
    );
    local.disconnect(START);
    assert_eq!(
        ask("/service/quotes", "1"),
        Err(CallError::Refused("402::session_unknown".to_owned()))
    );
}
