//! Reference 6.3, AuthorizerTest: grant, deny and ignore.

use super::*;
use crate::{Authorization, Authorizer, Decision, Message, Operation, Session};
use std::borrow::Cow;

/// Answers by operation; notes nothing.
struct Answers(fn(Operation, &str) -> Authorization);

impl Authorizer for Answers {
    fn authorize(
        &self,
        operation: Operation,
        _: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Authorization> {
        Decision::Now(self.0(operation, channel.as_str()))
    }
}

fn add(
    engine: &Engine,
    channel: &str,
    answers: fn(Operation, &str) -> Authorization,
) -> crate::AuthorizerId {
    engine.add_authorizer(&name(channel), Arc::new(Answers(answers)))
}

fn deny(reason: &'static str) -> Authorization {
    Authorization::Deny(Cow::Borrowed(reason))
}

fn publish(ws: &mut Ws, id: &str, channel: &str) -> Value {
    ws.ask(json!({"channel":channel,"clientId":id}))[0]["error"].clone()
}

fn subscribe(ws: &mut Ws, id: &str, channel: &str) -> Value {
    ws.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":channel}))[0]["error"]
        .clone()
}

#[test]
fn without_authorizers_everything_is_granted() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    add(&engine, "/other/**", |_, _| Authorization::Ignore);
    assert_eq!(publish(&mut ws, &id, "/a"), Value::Null);
    assert_eq!(
        subscribe(&mut ws, &id, "/other"),
        Value::Null,
        "not matched"
    );
}

#[test]
fn where_all_ignore_it_is_denied() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    assert_eq!(publish(&mut ws, &id, "/x/old"), Value::Null);
    let ignoring = add(&engine, "/x/**", |_, _| Authorization::Ignore);
    assert_eq!(
        publish(&mut ws, &id, "/x/new"),
        json!("403:denied_by_not_granting:channel_create_denied")
    );
    assert_eq!(
        subscribe(&mut ws, &id, "/x/new"),
        json!("403:denied_by_not_granting:create_denied")
    );
    assert_eq!(
        publish(&mut ws, &id, "/x/old"),
        json!("403:denied_by_not_granting:publish_denied")
    );
    assert_eq!(
        subscribe(&mut ws, &id, "/x/old"),
        json!("403:denied_by_not_granting:subscribe_denied")
    );
    // An own authorizer makes the channel exist, so that nothing is created.
    add(&engine, "/x/mine", |operation, _| match operation {
        Operation::Subscribe => Authorization::Grant,
        Operation::Create => deny("asked"),
        Operation::Publish => Authorization::Ignore,
    });
    assert_eq!(subscribe(&mut ws, &id, "/x/mine"), Value::Null);
    engine.remove_authorizer(ignoring);
    assert_eq!(publish(&mut ws, &id, "/x/new"), Value::Null);
    assert_eq!(
        publish(&mut ws, &id, "/x/mine"),
        json!("403:denied_by_not_granting:publish_denied")
    );
}

#[test]
fn one_that_denies_decides() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    add(&engine, "/**", |_, _| Authorization::Grant);
    let denying = add(&engine, "/a/*", |operation, channel| match operation {
        Operation::Publish if channel == "/a/secret" => deny("secret"),
        _ => Authorization::Ignore,
    });
    add(&engine, "/a/secret", |_, _| Authorization::Grant);
    assert_eq!(
        publish(&mut ws, &id, "/a/secret"),
        json!("403:secret:publish_denied")
    );
    assert_eq!(publish(&mut ws, &id, "/a/open"), Value::Null);
    assert_eq!(subscribe(&mut ws, &id, "/a/secret"), Value::Null);
    engine.remove_authorizer(denying);
    ws.send(json!([{"channel":"/a/secret","clientId":id}]));
    assert_eq!(ws.next()[1]["successful"], json!(true));
    // Service channels too, and the policy comes first.
    add(&engine, "/service/**", |_, _| deny("no_services"));
    assert_eq!(
        publish(&mut ws, &id, "/service/x"),
        json!("403:no_services:channel_create_denied")
    );
    assert_eq!(
        publish(&mut ws, &id, "/halley/x"),
        json!("403:denied_by_security_policy:publish_denied")
    );
}

/// From `/**` to the channel, in order of registration; an answer may come later.
#[test]
fn the_order_of_asking() {
    struct Later(&'static str, Arc<parking_lot::Mutex<Vec<&'static str>>>);
    impl Authorizer for Later {
        fn authorize(
            &self,
            _: Operation,
            _: &Arc<Session>,
            _: &ChannelName,
            _: &Message<'_>,
        ) -> Decision<Authorization> {
            let (name, asked) = (self.0, self.1.clone());
            Decision::Later(Box::pin(async move {
                asked.lock().push(name);
                Authorization::Grant
            }))
        }
    }
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    publish(&mut ws, &id, "/a/b");
    let asked = Arc::default();
    for (channel, text) in [
        ("/a/b", "own"),
        ("/a/*", "star"),
        ("/**", "all"),
        ("/a/b", "own 2"),
    ] {
        engine.add_authorizer(&name(channel), Arc::new(Later(text, Arc::clone(&asked))));
    }
    assert_eq!(publish(&mut ws, &id, "/a/b"), Value::Null);
    assert_eq!(*asked.lock(), ["all", "star", "own", "own 2"]);
}
