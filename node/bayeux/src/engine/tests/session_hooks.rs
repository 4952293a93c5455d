use super::*;
use crate::{Attachment, Delivery, Extension, Flow, Message, Reply, Session, SessionId};
use parking_lot::Mutex;

/// Writes down what it sees, and changes or stops what says so.
struct Trace(&'static str, Arc<Mutex<Vec<String>>>);

impl Trace {
    fn log(&self, what: &str) {
        self.1.lock().push(format!("{} {what}", self.0));
    }
}

impl Extension for Trace {
    fn incoming(
        &self,
        _: Option<&Arc<Session>>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        _: Millis,
    ) -> Flow {
        self.log("in");
        reply.set_ext(self.0, Json::validate("1", 1).unwrap());
        match message.data() {
            Some("\"stop\"") => Flow::Stop,
            _ => Flow::Continue,
        }
    }

    fn outgoing_reply(&self, _: Option<&Arc<Session>>, _: &mut Reply<'_>, _: Millis) -> Flow {
        self.log("reply");
        Flow::Continue
    }

    fn sees_deliveries(&self) -> bool {
        true
    }

    fn outgoing_delivery(&self, _: &Arc<Session>, publication: &Arc<Publication>) -> Delivery {
        self.log("delivery");
        match publication.data() {
            Some("\"drop\"") => Delivery::Drop,
            Some("\"change\"") => Delivery::Replace(event("/a", "\"changed\"")),
            _ => Delivery::Unchanged,
        }
    }
}

#[test]
fn section_8_extensions_of_a_session_come_after_those_of_the_node() {
    let engine = engine();
    let log = Arc::default();
    let trace = |name| Arc::new(Trace(name, Arc::clone(&log)));
    let node: Arc<dyn Extension> = trace("node");
    let (mut ws, id) = Ws::connected(&engine);
    let (mut other, other_id) = Ws::connected(&engine);
    engine.add_extension(node.clone());
    let session = engine.session(&SessionId::parse(&id).unwrap()).unwrap();
    let second: Arc<dyn Extension> = trace("second");
    engine.add_session_extension(&session, trace("first"));
    engine.add_session_extension(&session, second.clone());
    ws.subscribe(&id, "/a");
    other.subscribe(&other_id, "/a");
    log.lock().clear();
    let frame = ws.ask(json!({"channel":"/a","clientId":id,"data":1}));
    assert_eq!(frame[1]["ext"], json!({"node":1,"first":1,"second":1}));
    // The other session sees those of the node only.
    let mut seen = log.lock().clone();
    assert_eq!(seen.len(), 3 + 3 + 1 + 3);
    seen.retain(|line| !line.ends_with("delivery"));
    assert_eq!(
        seen,
        [
            "node in",
            "first in",
            "second in",
            "node reply",
            "second reply",
            "first reply"
        ]
    );
    assert_eq!(other.next(), json!([{"channel":"/a","data":1}]));
    assert_eq!(
        ws.ask(json!({"channel":"/a","clientId":id,"data":"stop"}))[0]["error"],
        json!("404::message_deleted")
    );
    log.lock().clear();
    other.ask(json!({"channel":"/x","clientId":other_id,"data":1}));
    assert_eq!(*log.lock(), ["node in", "node reply"]);
    assert!(engine.remove_session_extension(&session, &second));
    assert!(!engine.remove_session_extension(&session, &second));
    assert!(engine.remove_extension(&node));
    assert!(!engine.remove_extension(&node));
    log.lock().clear();
    engine.publish(&event("/a", "\"change\""), START);
    engine.publish(&event("/a", "\"drop\""), START);
    assert_eq!(*log.lock(), ["first delivery", "first delivery"]);
    assert_eq!(ws.next(), json!([{"channel":"/a","data":"changed"}]));
    assert_eq!(ws.next(), Value::Null);
    assert_eq!(
        other.next(),
        json!([{"channel":"/a","data":"change"},{"channel":"/a","data":"drop"}])
    );
}

#[test]
fn a_session_keeps_attributes() {
    let engine = engine();
    let (_ws, id) = Ws::connected(&engine);
    let session = engine.session(&SessionId::parse(&id).unwrap()).unwrap();
    assert_eq!(session.attribute("a"), None);
    assert_eq!(session.remove_attribute("a"), None);
    assert_eq!(session.set_attribute("a", Attachment::new(1_u32)), None);
    assert_eq!(session.set_attribute("b", Attachment::new("two")), None);
    let old = session.set_attribute("a", Attachment::new(3_u32)).unwrap();
    assert_eq!(old.get::<u32>(), Some(&1));
    assert_eq!(session.attribute("a").unwrap().get::<u32>(), Some(&3));
    assert_eq!(session.attribute("b").unwrap().get::<u32>(), None);
    assert_eq!(
        session.remove_attribute("a").unwrap().get::<u32>(),
        Some(&3)
    );
    assert_eq!(session.attribute("a"), None);
    assert!(session.attribute("b").is_some());
}

#[test]
fn section_5_4_times_set_by_the_server_reach_the_held_connect() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    let session = engine.session(&SessionId::parse(&id).unwrap()).unwrap();
    ws.hold(&id, "c1");
    session.set_timeout_ms(Some(5000));
    session.set_interval_ms(Some(70));
    session.set_max_interval_ms(Some(9000));
    ws.pass(30_000);
    assert_eq!(
        ws.next()[0]["advice"],
        json!({"reconnect":"retry","interval":70,"timeout":5000})
    );
    // The next is held for the new timeout, and has nothing to say.
    ws.hold(&id, "c2");
    ws.pass(34_900);
    assert_eq!(ws.next(), Value::Null);
    ws.pass(35_100);
    assert_eq!(
        ws.next(),
        json!([{"channel":"/meta/connect","id":"c2","successful":true}])
    );
    ws.pass(35_100 + 9000);
    assert!(session.is_live());
    ws.pass(35_100 + 9200);
    assert!(!session.is_live());
}

#[test]
fn section_1_10_one_session_may_be_connect_only() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    let session = engine.session(&SessionId::parse(&id).unwrap()).unwrap();
    session.set_meta_connect_deliver_only(true);
    ws.subscribe(&id, "/a");
    ws.hold(&id, "c1");
    engine.publish(&event("/a", "1"), START);
    assert_eq!(
        ws.next(),
        json!([{"channel":"/a","data":1},{"channel":"/meta/connect","id":"c1","successful":true}])
    );
    engine.publish(&event("/a", "2"), START);
    assert_eq!(ws.next(), Value::Null, "waits for the next connect");
    ws.send(json!([{"channel":"/meta/connect","clientId":id,"id":"c2"}]));
    assert_eq!(ws.next()[0], json!({"channel":"/a","data":2}));
    session.set_meta_connect_deliver_only(false);
    ws.hold(&id, "c3");
    engine.publish(&event("/a", "3"), START);
    assert_eq!(ws.next(), json!([{"channel":"/a","data":3}]));
}
