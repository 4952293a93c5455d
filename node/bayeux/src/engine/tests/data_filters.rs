//! Data filters: they change or refuse `data` before subscribers and services get it.

use super::*;
use crate::{DataFilter, Filtered, Service, ServiceReply, Session};
use parking_lot::Mutex;

struct Fixed(Filtered, Mutex<Vec<String>>);

impl Fixed {
    fn new(outcome: Filtered) -> Arc<Self> {
        Arc::new(Self(outcome, Mutex::default()))
    }
}

impl DataFilter for Fixed {
    fn filter(
        &self,
        session: Option<&Arc<Session>>,
        channel: &ChannelName,
        data: &str,
    ) -> Filtered {
        let who = session.is_some();
        self.1.lock().push(format!("{who} {channel} {data}"));
        self.0.clone()
    }
}

fn replace(text: &str) -> Filtered {
    Filtered::Replace(text.to_owned())
}

/// A client that is subscribed to `/a`.
fn subscribed(engine: &Arc<Engine>) -> (Ws, String) {
    let (mut ws, id) = Ws::connected(engine);
    ws.subscribe(&id, "/a");
    (ws, id)
}

#[test]
fn filters_replace_data_from_the_widest_pattern_down() {
    let engine = engine();
    let (mut ws, id) = subscribed(&engine);
    let narrow = Fixed::new(replace("{\"b\":[2]}"));
    let wide = Fixed::new(replace("1"));
    let other = Fixed::new(Filtered::Refuse);
    engine.add_data_filter(&name("/a"), narrow.clone());
    let wide_id = engine.add_data_filter(&name("/**"), wide.clone());
    engine.add_data_filter(&name("/other"), other.clone());
    let publish = json!({"channel":"/a","clientId":id,"id":"p","data":{"secret":true},"more":"x"});
    let reply = ws.ask(publish);
    assert_eq!(
        reply,
        json!([{"channel":"/a","more":"x","data":{"b":[2]}},
            {"channel":"/a","id":"p","successful":true}])
    );
    assert_eq!(wide.1.lock()[..], ["true /a {\"secret\":true}"]);
    assert_eq!(narrow.1.lock()[..], ["true /a 1"]);
    // Code of the node publishes, and what siblings send has been filtered there.
    assert_eq!(engine.publish(&event("/a", "7"), START), 1);
    assert_eq!(ws.next(), json!([{"channel":"/a","data":{"b":[2]}}]));
    assert_eq!(wide.1.lock().last().unwrap(), "false /a 7");
    assert_eq!(engine.publish_from_sibling(&event("/a", "7"), START), 1);
    assert_eq!(ws.next(), json!([{"channel":"/a","data":7}]));
    assert!(other.1.lock().is_empty());
    assert!(engine.remove_data_filter(wide_id));
    assert!(!engine.remove_data_filter(wide_id));
    engine.publish(&event("/a", "8"), START);
    assert_eq!(narrow.1.lock().last().unwrap(), "false /a 8");
    assert_eq!(wide.1.lock().len(), 2);
}

#[test]
fn what_a_filter_refuses_reaches_nobody() {
    for outcome in [
        Filtered::Refuse,
        // No JSON, and too deep: the next filter does not see it.
        replace("{\"a\":"),
        replace(&format!("{}1{}", "[".repeat(4000), "]".repeat(4000))),
    ] {
        let engine = engine();
        let (mut ws, id) = subscribed(&engine);
        let second = Fixed::new(Filtered::Unchanged);
        engine.add_data_filter(&name("/*"), Fixed::new(outcome));
        engine.add_data_filter(&name("/a"), second.clone());
        let reply = ws.ask(json!({"channel":"/a","clientId":id,"id":"p","data":1}));
        assert_eq!(
            reply,
            json!([{"channel":"/a","id":"p","successful":false,"error":"404::message_deleted"}])
        );
        assert_eq!(engine.publish(&event("/a", "1"), START), 0);
        assert_eq!(ws.next(), Value::Null);
        assert!(second.1.lock().is_empty());
    }
}

#[test]
fn filters_see_what_services_get_and_nothing_without_data() {
    struct Sees(Mutex<Vec<Option<String>>>);
    impl Service for Sees {
        fn message(
            &self,
            _: &Arc<Session>,
            message: &crate::Message<'_>,
            _: Millis,
        ) -> ServiceReply {
            self.0.lock().push(message.data().map(str::to_owned));
            ServiceReply::Accepted
        }
    }
    let engine = engine();
    let (mut ws, id) = subscribed(&engine);
    let service = Arc::new(Sees(Mutex::default()));
    engine.add_service(name("/service/x"), service.clone());
    let send = |ws: &mut Ws, data: Value| {
        let reply = ws.ask(json!({"channel":"/service/x","clientId":id,"id":"p","data":data}));
        reply[0]["successful"].clone()
    };
    let changed = engine.add_data_filter(&name("/service/*"), Fixed::new(replace("\"safe\"")));
    assert_eq!(send(&mut ws, json!("raw")), json!(true));
    let reply = ws.ask(json!({"channel":"/service/x","clientId":id,"id":"p"}));
    assert_eq!(reply[0]["successful"], json!(true));
    engine.remove_data_filter(changed);
    engine.add_data_filter(&name("/service/*"), Fixed::new(Filtered::Refuse));
    assert_eq!(send(&mut ws, json!("raw")), json!(false));
    assert_eq!(service.0.lock()[..], [Some("\"safe\"".to_owned()), None]);
}
