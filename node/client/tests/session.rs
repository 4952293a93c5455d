//! The client against a server that follows a script, on loopback.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions"
)]

mod script;

use std::time::Duration;

use halley_client::{
    CallError, Client, ClientBuilder, ConnectError, EndReason, Event, Events, RequestError,
};
use script::{Peer, Server};
use serde_json::json;

fn quick(url: &str) -> ClientBuilder {
    let ms = Duration::from_millis;
    Client::builder(url)
        .backoff(ms(10), ms(40))
        .max_network_delay(ms(2000))
        .request_timeout(ms(4000))
}

/// A connected client and the server's side of its connection, after the first connect.
async fn connected(server: &Server, builder: ClientBuilder) -> (Client, Events, Peer) {
    let (client, peer) = tokio::join!(builder.connect(), async {
        let mut peer = server.accept().await;
        peer.grant_session("s1").await;
        peer
    });
    let (client, events) = client.unwrap();
    let mut peer = peer;
    let connect = peer.expect("/meta/connect").await;
    assert_eq!(connect["advice"]["timeout"], 0);
    assert_eq!(connect["clientId"], "s1");
    peer.accept_message(&connect).await;
    (client, events, peer)
}

async fn subscribed(client: &Client, peer: &mut Peer, channel: &str) {
    let (outcome, ()) = tokio::join!(client.subscribe(channel), async {
        let message = peer.expect("/meta/subscribe").await;
        assert_eq!(message["subscription"], channel);
        peer.accept_message(&message).await;
    });
    outcome.unwrap();
}

#[tokio::test]
async fn handshake_carries_ext_and_the_connect_loop_follows_advice() {
    let server = Server::start().await;
    let builder = quick(&server.url()).user("alice").ext("token", 7);
    let (client, peer) = tokio::join!(builder.connect(), async {
        let mut peer = server.accept().await;
        let handshake = peer.grant_session("s1").await;
        assert_eq!(
            handshake["ext"],
            json!({"halley": {"user": "alice"}, "token": 7})
        );
        assert_eq!(handshake["version"], "1.0");
        peer
    });
    let (_client, _events) = client.unwrap();
    let mut peer = peer;
    let first = peer.expect("/meta/connect").await;
    assert_eq!(first["advice"]["timeout"], 0);
    let advice = json!({"reconnect": "retry", "interval": 120, "timeout": 30000});
    peer.send(json!([{"channel": "/meta/connect", "id": first["id"], "successful": true, "advice": advice}])).await;
    let before = tokio::time::Instant::now();
    let second = peer.expect("/meta/connect").await;
    assert!(
        before.elapsed() >= Duration::from_millis(100),
        "the interval was not waited for"
    );
    assert!(
        second.get("advice").is_none(),
        "only the first connect asks not to be held"
    );
    assert_ne!(first["id"], second["id"]);
}

#[tokio::test]
async fn requests_have_acknowledged_outcomes() {
    let server = Server::start().await;
    let (client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
    subscribed(&client, &mut peer, "/a/*").await;

    let (published, ()) = tokio::join!(client.publish("/a/b", json!({"n": 1})), async {
        let message = peer.expect("/a/b").await;
        assert_eq!(message["data"], json!({"n": 1}));
        peer.send(json!([{"channel": "/a/b", "data": {"n": 1}}]))
            .await;
        peer.accept_message(&message).await;
    });
    published.unwrap();
    let message = events.next_message().await.unwrap();
    assert_eq!((message.channel(), message.data()), ("/a/b", r#"{"n":1}"#));

    let (published, ()) = tokio::join!(client.publish("/no", 1), async {
        let message = peer.expect("/no").await;
        peer.refuse(&message, "403:why:publish_denied").await;
    });
    match published {
        Err(RequestError::Refused(refusal)) => assert_eq!(refusal.code(), Some(403)),
        other => panic!("{other:?}"),
    }
    assert!(matches!(
        client.publish("no", 1).await,
        Err(RequestError::Channel { .. })
    ));
    let large = "x".repeat(70_000);
    assert!(matches!(
        client.publish("/large", large).await,
        Err(RequestError::TooLarge { .. })
    ));
}

#[tokio::test]
async fn a_batch_travels_in_one_frame() {
    let server = Server::start().await;
    let (client, _events, mut peer) = connected(&server, quick(&server.url())).await;
    let mut batch = client.batch();
    batch
        .subscribe("/a")
        .unwrap()
        .publish("/a", 1)
        .unwrap()
        .publish("/b", 2)
        .unwrap();
    let (outcomes, ()) = tokio::join!(batch.send(), async {
        let frame = peer.expect_frame_with("/b").await;
        let channels: Vec<_> = frame
            .iter()
            .map(|message| message["channel"].clone())
            .collect();
        assert_eq!(
            channels,
            [json!("/meta/subscribe"), json!("/a"), json!("/b")]
        );
        peer.accept_message(&frame[2]).await;
        peer.refuse(&frame[1], "403::publish_denied").await;
        peer.accept_message(&frame[0]).await;
    });
    let outcomes = outcomes.unwrap();
    assert!(outcomes[0].is_ok());
    assert!(matches!(outcomes[1], Err(RequestError::Refused(_))));
    assert!(outcomes[2].is_ok());
}

#[tokio::test]
async fn a_lost_connection_is_resumed_with_the_same_session() {
    let server = Server::start().await;
    let (client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
    subscribed(&client, &mut peer, "/a").await;
    let (interrupted, ()) = tokio::join!(client.publish("/a", 1), async {
        peer.expect("/a").await;
        drop(peer);
    });
    assert!(
        matches!(interrupted, Err(RequestError::Interrupted)),
        "{interrupted:?}"
    );
    assert!(matches!(events.next().await, Some(Event::Interrupted(_))));

    let mut peer = server.accept().await;
    // A request made now waits for the session.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { client.publish("/a", 2).await }
    });
    let connect = peer.expect("/meta/connect").await;
    assert_eq!(
        (connect["clientId"].as_str(), &connect["advice"]["timeout"]),
        (Some("s1"), &json!(0))
    );
    peer.accept_message(&connect).await;
    assert!(matches!(events.next().await, Some(Event::Resumed)));
    let message = peer.expect("/a").await;
    peer.accept_message(&message).await;
    waiting.await.unwrap().unwrap();
}

#[tokio::test]
async fn an_expired_session_is_renewed_with_its_subscriptions() {
    let server = Server::start().await;
    let (client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
    subscribed(&client, &mut peer, "/a").await;
    subscribed(&client, &mut peer, "/b").await;
    subscribed(&client, &mut peer, "/c").await;
    let (outcome, ()) = tokio::join!(client.unsubscribe("/c"), async {
        let message = peer.expect("/meta/unsubscribe").await;
        peer.accept_message(&message).await;
    });
    outcome.unwrap();
    drop(peer);
    assert!(matches!(events.next().await, Some(Event::Interrupted(_))));

    let mut peer = server.accept().await;
    let connect = peer.expect("/meta/connect").await;
    let advice = json!({"reconnect": "handshake", "interval": 0});
    let error = "402::session_unknown";
    peer.send(json!([{"channel": "/meta/connect", "id": connect["id"], "successful": false, "error": error, "advice": advice}]))
        .await;
    peer.grant_session("s2").await;
    let frame = peer.expect_frame_with("/meta/subscribe").await;
    assert_eq!(
        (&frame[0]["subscription"], &frame[1]["subscription"]),
        (&json!("/a"), &json!("/b"))
    );
    assert_eq!((frame.len(), &frame[0]["clientId"]), (2, &json!("s2")));
    peer.accept_message(&frame[0]).await;
    peer.refuse(&frame[1], "403::subscribe_denied").await;
    match events.next().await {
        Some(Event::Unsubscribed { channel, .. }) => assert_eq!(channel, "/b"),
        other => panic!("{other:?}"),
    }
    assert!(matches!(events.next().await, Some(Event::Renewed)));
}

#[tokio::test]
async fn a_402_to_a_publish_renews_the_session_at_once() {
    let server = Server::start().await;
    let (client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
    let (outcome, ()) = tokio::join!(client.publish("/a", 1), async {
        let message = peer.expect("/a").await;
        peer.refuse(&message, "402::session_unknown").await;
        peer.grant_session("s2").await;
    });
    assert!(matches!(outcome, Err(RequestError::Refused(_))));
    assert!(matches!(events.next().await, Some(Event::Renewed)));
    let message = {
        let (outcome, message) = tokio::join!(client.publish("/a", 1), async {
            let message = peer.expect("/a").await;
            peer.accept_message(&message).await;
            message
        });
        outcome.unwrap();
        message
    };
    assert_eq!(message["clientId"], "s2");
}

#[tokio::test]
async fn acknowledged_messages_come_once_over_a_lost_connection() {
    let server = Server::start().await;
    let builder = quick(&server.url()).acknowledge(true);
    let (client, peer) = tokio::join!(builder.connect(), async {
        let mut peer = server.accept().await;
        let handshake = peer.expect("/meta/handshake").await;
        assert_eq!(handshake["ext"]["ack"], true);
        peer.send(json!([{"channel": "/meta/handshake", "id": handshake["id"], "successful": true, "clientId": "s1", "ext": {"ack": true}}]))
            .await;
        peer
    });
    let ((_client, mut events), mut peer) = (client.unwrap(), peer);
    let connect = peer.expect("/meta/connect").await;
    let reply = |id: &serde_json::Value, ack: i64| json!({"channel": "/meta/connect", "id": id, "successful": true, "ext": {"ack": ack}});
    let event = |n: i64| json!({"channel": "/a", "data": n});
    peer.send(json!([event(1), reply(&connect["id"], 1)])).await;
    let connect = peer.expect("/meta/connect").await;
    assert_eq!(connect["ext"]["ack"], 1);
    // The events of a reply that never came whole.
    peer.send(json!([event(2)])).await;
    peer.send(json!([event(3)])).await;
    drop(peer);

    let mut peer = server.accept().await;
    let connect = peer.expect("/meta/connect").await;
    assert_eq!(connect["ext"]["ack"], 1);
    peer.send(json!([event(2)])).await;
    drop(peer);

    let mut peer = server.accept().await;
    let connect = peer.expect("/meta/connect").await;
    peer.send(json!([
        event(2),
        event(3),
        event(4),
        reply(&connect["id"], 3)
    ]))
    .await;
    let mut seen = Vec::new();
    while seen.len() < 4 {
        if let Event::Message(message) = events.next().await.unwrap() {
            seen.push(message.parse::<i64>().unwrap());
        }
    }
    assert_eq!(seen, [1, 2, 3, 4]);
    assert_eq!(peer.expect("/meta/connect").await["ext"]["ack"], 3);
    assert!(events.try_next().is_none());
}

#[tokio::test]
async fn a_refused_handshake_is_an_error() {
    let server = Server::start().await;
    let (client, ()) = tokio::join!(quick(&server.url()).connect(), async {
        let mut peer = server.accept().await;
        let handshake = peer.expect("/meta/handshake").await;
        peer.send(
            json!([{"channel": "/meta/handshake", "id": handshake["id"], "successful": false,
            "error": "403::handshake_denied", "advice": {"reconnect": "none"}}]),
        )
        .await;
    });
    match client {
        Err(ConnectError::Refused(refusal)) => assert_eq!(refusal.text(), "handshake_denied"),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn goes_to_the_next_url() {
    let server = Server::start().await;
    let dead = {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        format!("ws://{}/", listener.local_addr().unwrap())
    };
    let builder = quick(&dead).url(server.url());
    let (_client, _events, _peer) = connected(&server, builder).await;
    assert!(matches!(
        quick(&dead).connect().await,
        Err(ConnectError::Link(_))
    ));
    assert!(matches!(
        quick("ftp://h/").connect().await,
        Err(ConnectError::Url(_))
    ));
}

#[tokio::test]
async fn disconnect_says_goodbye_and_ends_the_stream() {
    let server = Server::start().await;
    let (client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
    let ((), code) = tokio::join!(client.disconnect(), async {
        let message = peer.expect("/meta/disconnect").await;
        peer.accept_message(&message).await;
        peer.close_code().await
    });
    assert_eq!(code, Some(1000));
    assert!(matches!(
        events.next().await,
        Some(Event::Ended(EndReason::Disconnected))
    ));
    assert!(events.next().await.is_none());
    assert!(matches!(
        client.publish("/a", 1).await,
        Err(RequestError::Ended)
    ));
}

#[tokio::test]
async fn dropping_the_last_handle_ends_the_session() {
    let server = Server::start().await;
    let (client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
    drop(client);
    let message = peer.expect("/meta/disconnect").await;
    peer.accept_message(&message).await;
    assert!(matches!(
        events.next().await,
        Some(Event::Ended(EndReason::Disconnected))
    ));
}

#[tokio::test]
async fn the_server_may_end_the_session() {
    for frame in [
        json!([{"channel": "/meta/disconnect", "successful": true}]),
        json!([{"channel": "/meta/connect", "id": "ID", "successful": true, "advice": {"reconnect": "none"}}]),
    ] {
        let server = Server::start().await;
        let (_client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
        let connect = peer.expect("/meta/connect").await;
        let frame = frame
            .to_string()
            .replace("\"ID\"", &connect["id"].to_string());
        peer.send(serde_json::from_str(&frame).unwrap()).await;
        assert!(matches!(
            events.next().await,
            Some(Event::Ended(EndReason::ByServer))
        ));
    }
}

#[tokio::test]
async fn a_server_that_goes_silent_counts_as_lost() {
    let server = Server::start().await;
    let builder = quick(&server.url()).max_network_delay(Duration::from_millis(150));
    let (_client, mut events, mut peer) = connected(&server, builder).await;
    let connect = peer.expect("/meta/connect").await;
    let advice = json!({"reconnect": "retry", "interval": 0, "timeout": 50});
    peer.send(json!([{"channel": "/meta/connect", "id": connect["id"], "successful": true, "advice": advice}])).await;
    peer.expect("/meta/connect").await;
    assert!(matches!(
        events.next().await,
        Some(Event::Interrupted(halley_client::LinkError::Silent))
    ));
    let mut again = server.accept().await;
    assert_eq!(again.expect("/meta/connect").await["clientId"], "s1");
}

#[tokio::test]
async fn gives_up_when_told_to() {
    let server = Server::start().await;
    let (client, mut events, peer) = connected(&server, quick(&server.url()).attempts_max(2)).await;
    drop(server);
    drop(peer);
    assert!(matches!(events.next().await, Some(Event::Interrupted(_))));
    assert!(matches!(
        events.next().await,
        Some(Event::Ended(EndReason::GaveUp(_)))
    ));
    assert!(matches!(
        client.publish("/a", 1).await,
        Err(RequestError::Ended)
    ));
}

#[tokio::test]
async fn a_slow_reader_holds_the_server_back_and_loses_nothing() {
    let server = Server::start().await;
    let (client, mut events, mut peer) =
        connected(&server, quick(&server.url()).events_max(4)).await;
    peer.expect("/meta/connect").await;
    let count = 20_000;
    let sending = tokio::spawn(async move {
        let padding = "x".repeat(1000);
        for n in 0..count {
            peer.send(json!([{"channel": "/a", "data": [n, padding]}]))
                .await;
        }
        peer
    });
    // Twenty megabytes do not fit into the buffers of loopback, so the sender cannot be through.
    tokio::time::timeout(Duration::from_millis(300), std::future::pending::<()>())
        .await
        .unwrap_err();
    assert!(!sending.is_finished(), "nothing held the sender back");
    for n in 0..count {
        let (seen, _): (i32, String) = events.next_message().await.unwrap().parse().unwrap();
        assert_eq!(seen, n);
    }
    drop(sending.await.unwrap());
    drop(client);
}

#[tokio::test]
async fn what_is_not_bayeux_costs_the_connection_and_no_more() {
    for garbage in [
        "",
        "{}",
        "[1]",
        "[{}]",
        "nonsense",
        "[{\"channel\":5}]",
        "[{\"channel\":\"/a\",\"data\":",
    ] {
        let server = Server::start().await;
        let (_client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
        peer.send_text(garbage).await;
        assert!(
            matches!(events.next().await, Some(Event::Interrupted(_))),
            "{garbage}"
        );
        let mut again = server.accept().await;
        let connect = again.expect("/meta/connect").await;
        again.accept_message(&connect).await;
        assert!(
            matches!(events.next().await, Some(Event::Resumed)),
            "{garbage}"
        );
    }
}

#[tokio::test]
async fn a_call_has_a_result_or_a_failure() {
    let server = Server::start().await;
    let (client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
    let soon = Duration::from_secs(5);
    let result = |message: &serde_json::Value, successful: bool| json!({"channel": "/service/sum", "id": message["id"], "successful": successful, "data": {"n": 3}});
    let (called, ()) = tokio::join!(client.call("/service/sum", [1, 2], soon), async {
        let message = peer.expect("/service/sum").await;
        assert_eq!(message["data"], json!([1, 2]));
        peer.accept_message(&message).await;
        // The result of another call, which nobody waits for, is no message either.
        let mut other = result(&message, true);
        other["id"] = json!("99");
        peer.send(json!([other, result(&message, true)])).await;
    });
    assert_eq!(called.unwrap().as_str(), r#"{"n":3}"#);

    let (called, ()) = tokio::join!(client.call("sum", 1, soon), async {
        let message = peer.expect("/service/sum").await;
        // The failure may overtake the reply to the publication.
        peer.send(json!([result(&message, false)])).await;
        peer.accept_message(&message).await;
    });
    match called {
        Err(CallError::Failed(data)) => assert_eq!(data.as_str(), r#"{"n":3}"#),
        other => panic!("{other:?}"),
    }

    let (called, ()) = tokio::join!(client.call("sum", 1, soon), async {
        let message = peer.expect("/service/sum").await;
        peer.refuse(&message, "403::publish_denied").await;
    });
    assert!(matches!(
        called,
        Err(CallError::Request(RequestError::Refused(_)))
    ));
    let called = client.call("sum", 1, Duration::from_millis(50)).await;
    assert!(matches!(
        called,
        Err(CallError::Request(RequestError::TimedOut))
    ));
    assert!(events.try_next().is_none());
}

#[tokio::test]
async fn an_accepted_call_outlives_the_connection_but_not_the_session() {
    let server = Server::start().await;
    let (client, mut events, mut peer) = connected(&server, quick(&server.url())).await;
    let call = |client: &Client| {
        let client = client.clone();
        tokio::spawn(async move { client.call("sum", 1, Duration::from_secs(5)).await })
    };
    let accepted = call(&client);
    let first = peer.expect("/service/sum").await;
    let unheard = call(&client);
    peer.expect("/service/sum").await;
    peer.send(json!([
        {"channel": "/service/sum", "id": first["id"], "successful": true},
        {"channel": "/seen", "data": 1}
    ]))
    .await;
    events.next_message().await.unwrap();
    drop(peer);
    assert!(matches!(
        unheard.await.unwrap(),
        Err(CallError::Request(RequestError::Interrupted))
    ));
    let mut peer = server.accept().await;
    let connect = peer.expect("/meta/connect").await;
    peer.send(
        json!([{"channel": "/service/sum", "id": first["id"], "successful": true, "data": 5}]),
    )
    .await;
    assert_eq!(accepted.await.unwrap().unwrap().as_str(), "5");

    peer.accept_message(&connect).await;
    let lost = call(&client);
    let message = peer.expect("/service/sum").await;
    peer.accept_message(&message).await;
    peer.send(json!([{"channel": "/seen", "data": 2}])).await;
    events.next_message().await.unwrap();
    let (refused, ()) = tokio::join!(client.publish("/a", 1), async {
        let message = peer.expect("/a").await;
        peer.refuse(&message, "402::session_unknown").await;
    });
    assert!(matches!(refused, Err(RequestError::Refused(_))));
    assert!(matches!(
        lost.await.unwrap(),
        Err(CallError::Request(RequestError::Interrupted))
    ));
}

#[tokio::test]
async fn a_server_that_falls_silent_while_it_holds_a_connect_is_noticed_by_pings() {
    let server = Server::start().await;
    let (interval, silence) = (Duration::from_millis(20), Duration::from_millis(400));
    let builder = quick(&server.url())
        .max_network_delay(Duration::from_secs(60))
        .ping(interval, silence);
    let (client, mut events, mut peer) = connected(&server, builder).await;
    peer.expect("/meta/connect").await;
    // It answers pings as long as it reads.
    let reading = tokio::time::timeout(3 * silence, peer.expect("/meta/publish"));
    assert!(reading.await.is_err());
    assert!(events.try_next().is_none());
    let traffic = client.traffic();
    let round_trip = traffic.round_trip.unwrap();
    assert!(round_trip < silence, "{round_trip:?}");
    assert!(traffic.bytes_sent > 200 && traffic.bytes_received > 100);
    let event = tokio::time::timeout(20 * silence, events.next()).await;
    assert!(
        matches!(
            event,
            Ok(Some(Event::Interrupted(halley_client::LinkError::Silent)))
        ),
        "{event:?}"
    );
    drop(peer);
}
