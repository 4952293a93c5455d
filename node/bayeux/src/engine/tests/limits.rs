use super::*;
use crate::{
    Advice, Decision, Delivery, Extension, Flow, HandshakeVerdict, Message, Reply, SecurityPolicy,
    Session, UserId, Verdict,
};
use parking_lot::Mutex;

#[test]
fn an_idle_session_is_small() {
    // With its held connect and its acknowledgements boxed, and 16 bytes for what the policy attaches.
    // And 8 where its client is counted.
    assert!(size_of::<Session>() <= 328, "{}", size_of::<Session>());
    assert!(
        size_of::<crate::session::Hold>() <= 96,
        "{}",
        size_of::<crate::session::Hold>()
    );
    assert!(
        size_of::<WebSocketPeer>() <= 80,
        "{}",
        size_of::<WebSocketPeer>()
    );
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn the_futures_are_small_and_send() {
    let engine = engine();
    let mut peer = engine.websocket_peer();
    let frame = is_send(engine.websocket_frame(&mut peer, "", START));
    assert!(size_of_val(&frame) <= 1024, "{}", size_of_val(&frame));
    drop(frame);
    let request = is_send(engine.http_request(HttpRequest::default(), "", START));
    assert!(size_of_val(&request) <= 1088, "{}", size_of_val(&request));
}

#[test]
fn sessions_of_the_node_are_bounded_and_live_ones_stay() {
    let engine = engine_with(|config| config.max_sessions = 2);
    let (_first, _) = Ws::connected(&engine);
    let (mut second, id) = Ws::connected(&engine);
    let reply = Ws::new(&engine).ask(json!({"channel":"/meta/handshake"}));
    assert_eq!(reply[0]["error"], json!("503::session_limit_reached"));
    assert_eq!(
        reply[0]["advice"],
        json!({"reconnect":"handshake","interval":10000})
    );
    assert_eq!(engine.session_count(), 2);
    second.ask(json!({"channel":"/meta/disconnect","clientId":id}));
    Ws::connected(&engine);
    assert_eq!(engine.session_count(), 2);
}

#[test]
fn bytes_for_all_sessions_together_are_bounded_and_who_keeps_up_is_served() {
    let engine = engine_with(|config| config.max_total_queue_bytes = 100);
    let (mut slow, slow_id) = Ws::connected(&engine);
    slow.subscribe(&slow_id, "/a");
    let (mut quick, quick_id) = Ws::connected(&engine);
    quick.subscribe(&quick_id, "/a");
    for n in 0..3 {
        engine.publish(&event("/a", &"1".repeat(40)), START);
        assert_eq!(quick.next()[0]["channel"], json!("/a"), "message {n}");
    }
    engine.tick(START);
    engine.publish(&event("/a", "1"), START);
    engine.tick(START);
    assert_eq!(quick.next()[0]["data"], json!(1));
    assert_eq!(
        slow.next(),
        json!({"close":1013,"reason":"queue_overflow"}),
        "ended, and nothing lost in the middle"
    );
    assert_eq!((engine.session_count(), engine.stats().queue_bytes), (1, 0));
}

#[test]
fn subscriptions_per_session_are_bounded() {
    let engine = engine_with(|config| config.max_subscriptions = 2);
    let (mut ws, id) = Ws::connected(&engine);
    let reply = ws.ask(
        json!({"channel":"/meta/subscribe","clientId":id,"subscription":["/a","/b","/a","/c"]}),
    );
    assert_eq!(
        reply[0]["error"],
        json!("403:limit_reached:subscribe_denied")
    );
    assert_eq!(engine.stats().subscriptions, 2);
}

#[test]
fn channels_per_session_are_bounded() {
    let engine = engine_with(|config| config.max_channels_per_session = 2);
    let (mut ws, id) = Ws::connected(&engine);
    for channel in ["/a", "/b", "/c"] {
        let reply = ws.ask(json!({"channel":channel,"clientId":id}));
        assert_eq!(
            reply[0]["successful"],
            json!(true),
            "a publish needs no channel"
        );
    }
    assert_eq!(engine.stats().channels, 2);
    let reply = ws.ask(json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/c"}));
    assert_eq!(reply[0]["error"], json!("403:limit_reached:create_denied"));
}

#[test]
fn section_6_2_unused_channels_go() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.ask(json!({"channel":"/a","clientId":id}));
    ws.subscribe(&id, "/b");
    for n in 1..=3 {
        ws.pass(n * 1000);
    }
    assert_eq!(
        (engine.stats().channels, engine.subscribed_channels()),
        (1, vec![name("/b")])
    );
}

/// Grants, but only after having been polled twice; denies `/no`.
struct Slow;

impl Slow {
    fn verdict(channel: &ChannelName) -> Decision<Verdict> {
        let verdict = if channel.as_str() == "/no" {
            Verdict::Deny("because \"no\"".into())
        } else {
            Verdict::Grant
        };
        let mut polls = 0;
        Decision::Later(Box::pin(std::future::poll_fn(move |cx| {
            polls += 1;
            cx.waker().wake_by_ref();
            if polls < 2 {
                Poll::Pending
            } else {
                Poll::Ready(verdict.clone())
            }
        })))
    }
}

impl SecurityPolicy for Slow {
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
        let user = message
            .ext_field("user")
            .and_then(|raw| UserId::new(raw.trim_matches('"')).ok());
        let verdict = match (&user, message.ext_field("why")) {
            (Some(_), _) => HandshakeVerdict::Grant {
                user,
                attachment: Some(crate::Attachment::new(7_u32)),
            },
            (None, Some(_)) => HandshakeVerdict::Deny {
                reason: "because".into(),
                advice: Some(Advice::HANDSHAKE),
            },
            (None, None) => HandshakeVerdict::deny(),
        };
        Decision::Later(Box::pin(async move { verdict }))
    }
    fn can_create(
        &self,
        _: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        Self::verdict(channel)
    }
    fn can_subscribe(
        &self,
        _: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        Self::verdict(channel)
    }
    fn can_publish(
        &self,
        _: &Arc<Session>,
        channel: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        Self::verdict(channel)
    }
}

async fn exchange(engine: &Arc<Engine>, peer: &mut WebSocketPeer, message: Value) -> Value {
    engine
        .websocket_frame(peer, &message.to_string(), START)
        .await
        .unwrap();
    match std::future::poll_fn(|cx| peer.poll_output(cx, START)).await {
        Output::Frame(bytes) => serde_json::from_slice(&bytes).unwrap(),
        Output::Close(code, _) => json!(code),
    }
}

#[tokio::test]
async fn section_5_5_denied_handshake_and_policies_that_answer_later() {
    let engine = Engine::new(EngineConfig::default(), Arc::new(Slow));
    let mut peer = engine.websocket_peer();
    let reply = exchange(
        &engine,
        &mut peer,
        json!({"channel":"/meta/handshake","id":"1"}),
    )
    .await;
    assert_eq!(
        reply,
        json!([{"channel":"/meta/handshake","id":"1","successful":false,"error":"403::handshake_denied","advice":{"reconnect":"none"}}])
    );
    let reply = exchange(
        &engine,
        &mut peer,
        json!({"channel":"/meta/handshake","ext":{"why":1}}),
    )
    .await;
    assert_eq!(
        reply[0]["error"],
        json!("403:because:handshake_denied"),
        "a policy may say why"
    );
    assert_eq!(reply[0]["advice"]["reconnect"], json!("handshake"));
    let reply = exchange(
        &engine,
        &mut peer,
        json!({"channel":"/meta/handshake","ext":{"user":"alice"}}),
    )
    .await;
    let session = peer.session().unwrap();
    assert_eq!(session.attachment::<u32>(), Some(&7));
    assert_eq!(session.attachment::<u64>(), None);
    let id = reply[0]["clientId"].as_str().unwrap().to_owned();
    assert_eq!(peer.session().unwrap().user().unwrap().as_str(), "alice");
    let reply = exchange(
        &engine,
        &mut peer,
        json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/yes"}),
    )
    .await;
    assert_eq!(reply[0]["successful"], json!(true));
    let reply = exchange(
        &engine,
        &mut peer,
        json!({"channel":"/meta/subscribe","clientId":id,"subscription":"/no"}),
    )
    .await;
    assert_eq!(reply[0]["error"], json!("403:because \"no\":create_denied"));
    let reply = exchange(
        &engine,
        &mut peer,
        json!({"channel":"/yes","clientId":id,"data":1}),
    )
    .await;
    assert_eq!(
        (&reply[0]["data"], &reply[1]["successful"]),
        (&json!(1), &json!(true))
    );
    let reply = exchange(
        &engine,
        &mut peer,
        json!({"channel":"/no","clientId":id,"data":1}),
    )
    .await;
    assert_eq!(
        reply[0]["error"],
        json!("403:because \"no\":channel_create_denied")
    );
}

#[tokio::test]
async fn a_request_dropped_while_a_policy_thinks_leaves_nothing_behind() {
    let engine = Engine::new(EngineConfig::default(), Arc::new(Slow));
    engine.tick(START);
    let request = HttpRequest::default();
    let body = json!({"channel":"/meta/handshake","ext":{"user":"a"}}).to_string();
    let HttpOutcome::Reply(reply) = engine.http_request(request, &body, START).await.unwrap()
    else {
        panic!("answered");
    };
    reply.ticket.written(START);
    let cookie = reply.set_browser.unwrap();
    let request = HttpRequest {
        browser: Some(&cookie),
        ..HttpRequest::default()
    };
    let id = serde_json::from_slice::<Value>(&reply.body).unwrap()[0]["clientId"].clone();
    let body = json!([{"channel":"/meta/connect","clientId":id},{"channel":"/x","clientId":id}])
        .to_string();
    {
        let mut cx = Context::from_waker(Waker::noop());
        assert!(
            pin!(engine.http_request(request, &body, START))
                .poll(&mut cx)
                .is_pending()
        );
    }
    let session = engine
        .session(&SessionId::parse(id.as_str().unwrap()).unwrap())
        .unwrap();
    assert_eq!(session.state.lock().batch, 0);
    engine.tick(START.after(10_200));
    assert_eq!(engine.session_count(), 0);
}

#[test]
fn trusted_users_come_from_the_handshake_only_when_told_so() {
    for (trust, expected) in [(true, Some("bob")), (false, None)] {
        let engine = Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::new(trust)));
        let mut ws = Ws::new(&engine);
        ws.send(json!([{"channel":"/meta/handshake","ext":{"halley":{"user":"bob"}}}]));
        assert_eq!(
            ws.peer.session().unwrap().user().map(UserId::as_str),
            expected
        );
        let reply = Ws::new(&engine)
            .ask(json!({"channel":"/meta/handshake","ext":{"halley":{"user":"a\nb"}}}));
        assert_eq!(
            reply[0]["successful"],
            json!(!trust),
            "a name that cannot be one"
        );
    }
}

/// Adds to replies, vetoes `/veto` and `/quiet`, hides `/hidden` and rewrites `/rewritten`.
#[derive(Default)]
struct Meddler(Mutex<Vec<String>>);

impl Extension for Meddler {
    fn incoming(
        &self,
        session: Option<&Arc<Session>>,
        message: &Message<'_>,
        reply: &mut Reply<'_>,
        _: Millis,
    ) -> Flow {
        self.0
            .lock()
            .push(format!("in {} {}", message.channel(), session.is_some()));
        if message.ext_field("wish").is_some() {
            reply.set_ext("wish", Json::validate("[1]", 4).unwrap());
        }
        if message.channel().as_str() == "/veto" {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
    fn outgoing_reply(&self, _: Option<&Arc<Session>>, reply: &mut Reply<'_>, now: Millis) -> Flow {
        self.0.lock().push(format!(
            "out {} {}",
            reply.is_successful(),
            now.since(reply.received())
        ));
        Flow::Continue
    }
    fn outgoing_broadcast(
        &self,
        _: &Arc<Session>,
        publication: &Arc<Publication>,
        _: Millis,
    ) -> Flow {
        if publication.channel().as_str() == "/quiet" {
            Flow::Stop
        } else {
            Flow::Continue
        }
    }
    fn sees_deliveries(&self) -> bool {
        true
    }
    fn outgoing_delivery(&self, _: &Arc<Session>, publication: &Arc<Publication>) -> Delivery {
        match publication.channel().as_str() {
            "/hidden" => Delivery::Drop,
            "/rewritten" => Delivery::Replace(event("/rewritten", "\"new\"")),
            _ => Delivery::Unchanged,
        }
    }
}

#[test]
fn section_5_1_extensions() {
    let engine = engine();
    let meddler = Arc::new(Meddler::default());
    engine.add_extension(meddler.clone());
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/**");
    for channel in ["/veto", "/quiet"] {
        let reply = ws.ask(json!({"channel":channel,"clientId":id,"id":"1"}));
        assert_eq!(
            reply,
            json!([{"channel":channel,"id":"1","successful":false,"error":"404::message_deleted"}])
        );
    }
    let reply = ws.ask(json!({"channel":"/hidden","clientId":id,"id":"1"}));
    assert_eq!(
        reply,
        json!([{"channel":"/hidden","id":"1","successful":true}])
    );
    let reply = ws.ask(json!({"channel":"/rewritten","clientId":id,"data":"old"}));
    assert_eq!(reply[0]["data"], json!("new"));
    meddler.0.lock().clear();
    // What an extension sets at arrival stays with a held connect.
    ws.send(json!([{"channel":"/meta/connect","clientId":id,"id":"2","ext":{"wish":1}}]));
    ws.pass(30_100);
    assert_eq!(
        ws.next(),
        json!([{"channel":"/meta/connect","id":"2","successful":true,"ext":{"wish":[1]}}])
    );
    assert_eq!(
        *meddler.0.lock(),
        ["in /meta/connect true", "out true 30100"]
    );
}

#[test]
fn stats_count() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    ws.subscribe(&id, "/a");
    let event = event("/a", "1");
    engine.publish(&event, START);
    engine.publish(&event, START);
    let stats = engine.stats();
    assert_eq!(
        (
            stats.sessions,
            stats.channels,
            stats.subscriptions,
            stats.handshakes
        ),
        (1, 1, 1, 1)
    );
    assert_eq!((stats.messages_received, stats.messages_delivered), (3, 2));
    assert_eq!(stats.queue_bytes, 2 * event.len() as u64);
    assert_eq!(ws.peer.session().unwrap().queue_bytes(), 2 * event.len());
    ws.next();
    assert_eq!(engine.stats().queue_bytes, 0);
    engine.publish(&event, START);
    drop(ws);
    engine.tick(START.after(10_200));
    assert_eq!(
        (engine.stats().queue_bytes, engine.stats().sessions),
        (0, 0)
    );
}
