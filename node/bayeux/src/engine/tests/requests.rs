use super::*;
use crate::{
    Decision, HandshakeVerdict, Message, RequestHead, SecurityPolicy, Service, ServiceReply,
    Session, UpgradeHead, UserId, Verdict,
};
use parking_lot::Mutex;
use std::net::IpAddr;

/// Knows users by a header, and their channels by a cookie.
struct ByHeader;

impl SecurityPolicy for ByHeader {
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
        let user = message.request().header("Authorization");
        Decision::Now(match user.and_then(|user| UserId::new(user).ok()) {
            Some(user) => HandshakeVerdict::grant(Some(user)),
            None => HandshakeVerdict::deny(),
        })
    }

    fn can_create(&self, _: &Arc<Session>, _: &ChannelName, _: &Message<'_>) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }

    fn can_subscribe(
        &self,
        _: &Arc<Session>,
        channel: &ChannelName,
        message: &Message<'_>,
    ) -> Decision<Verdict> {
        Decision::Now(match message.request().cookie("room") {
            Some(room) if channel.as_str().ends_with(room) => Verdict::Grant,
            _ => Verdict::deny(),
        })
    }

    fn can_publish(&self, _: &Arc<Session>, _: &ChannelName, _: &Message<'_>) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }
}

#[derive(Default)]
struct Seen(Mutex<Vec<String>>);

impl Service for Seen {
    fn message(&self, _: &Arc<Session>, message: &Message<'_>, _: Millis) -> ServiceReply {
        let request = message.request();
        self.0.lock().push(format!(
            "{} {:?} {:?} {:?}",
            request.transport().name(),
            request.remote_address(),
            request.header("ORIGIN"),
            request.header("x-none"),
        ));
        ServiceReply::Accepted
    }
}

fn head() -> UpgradeHead {
    let headers = [
        ("Authorization", "alice"),
        ("origin", "https://a.example"),
        ("cookie", "a=1; room=\"x\""),
        ("cookie", "b=2"),
        ("x-bad", "1\nauthorization:mallory"),
    ];
    UpgradeHead::new(Some(IpAddr::from([10, 0, 0, 7])), headers.into_iter())
}

fn rig() -> (Arc<Engine>, Arc<Seen>) {
    let engine = Engine::new(EngineConfig::default(), Arc::new(ByHeader));
    engine.tick(START);
    let seen = Arc::new(Seen::default());
    engine.add_service(name("/service/seen"), seen.clone());
    (engine, seen)
}

#[test]
fn policies_and_services_see_the_head_of_the_upgrade() {
    let (engine, seen) = rig();
    let mut ws = Ws::new(&engine);
    let reply = ws.ask(json!({"channel":"/meta/handshake"}));
    assert_eq!(reply[0]["error"], json!("403::handshake_denied"));
    ws.peer = engine.websocket_peer_of(Some(head()));
    let id = ws.handshake();
    assert_eq!(
        ws.peer.session().unwrap().user(),
        Some(&UserId::new("alice").unwrap())
    );
    ws.subscribe(&id, "/room/x");
    let reply = ws.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/room/y"}));
    assert_eq!(reply[0]["successful"], json!(false));
    ws.ask(json!({"channel":"/service/seen","clientId":id}));
    assert_eq!(
        *seen.0.lock(),
        [r#"websocket Some(10.0.0.7) Some("https://a.example") None"#]
    );
}

#[test]
fn policies_and_services_see_the_head_of_each_request() {
    let (engine, seen) = rig();
    let head = head();
    let ask = |browser: Option<&str>, head: Option<&dyn RequestHead>, message: Value| {
        let request = HttpRequest {
            browser,
            head,
            ..HttpRequest::default()
        };
        let body = message.to_string();
        match now_or_never(engine.http_request(request, &body, START)).unwrap() {
            HttpOutcome::Reply(reply) => {
                reply.ticket.written(START);
                let body: Value = serde_json::from_slice(&reply.body).unwrap();
                (body[0].clone(), reply.set_browser)
            }
            HttpOutcome::Hold(_) => panic!("held"),
        }
    };
    let (reply, _) = ask(None, None, json!({"channel":"/meta/handshake"}));
    assert_eq!(reply["successful"], json!(false));
    let (reply, cookie) = ask(None, Some(&head), json!({"channel":"/meta/handshake"}));
    let id = &reply["clientId"];
    let cookie = cookie.as_deref();
    let subscribe = json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/room/x"});
    assert_eq!(
        ask(cookie, None, subscribe.clone()).0["successful"],
        json!(false)
    );
    assert_eq!(
        ask(cookie, Some(&head), subscribe).0["successful"],
        json!(true)
    );
    ask(
        cookie,
        Some(&head),
        json!({"channel":"/service/seen","clientId":id}),
    );
    assert_eq!(
        *seen.0.lock(),
        [r#"long-polling Some(10.0.0.7) Some("https://a.example") None"#]
    );
}

#[test]
fn a_head_keeps_all_values_of_a_header_and_no_line_ends() {
    let head = head();
    assert_eq!(head.header("Cookie", 1), Some("b=2"));
    assert_eq!(head.header("cookie", 2), None);
    assert_eq!(head.header("x-bad", 0), None);
    assert_eq!(head.header("authorization", 1), None);
    assert!(!format!("{head:?}").contains("alice"));
    let request = crate::Request {
        transport: crate::Transport::WebSocket,
        head: Some(&head),
    };
    assert_eq!(request.cookie("room"), Some("x"));
    assert_eq!(request.cookie("b"), Some("2"));
    assert_eq!(request.cookie("c"), None);
    assert!(!format!("{request:?}").contains("alice"));
}
