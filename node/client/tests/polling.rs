//! Long-polling and the choice of the transport, against a server that follows a script.

#![expect(
    clippy::unwrap_used,
    reason = "helpers of tests stand outside of test functions"
)]

#[path = "script/http.rs"]
mod http;
#[path = "script/mod.rs"]
#[expect(dead_code, reason = "shared with other tests")]
mod script;

use std::time::Duration;

use halley_client::{
    Client, ClientBuilder, ConnectError, EndReason, Event, Events, LinkError, RequestError,
    Transport,
};
use http::HttpServer;
use script::PATIENCE;
use serde_json::{Value, json};

fn quick(url: &str) -> ClientBuilder {
    let ms = Duration::from_millis;
    Client::builder(url)
        .backoff(ms(10), ms(40))
        .max_network_delay(ms(2000))
        .request_timeout(ms(4000))
}

fn polling(server: &HttpServer) -> ClientBuilder {
    quick(&server.url()).transports([Transport::LongPolling])
}

/// A connected client, after the first connect.
async fn connected(server: &mut HttpServer, builder: ClientBuilder) -> (Client, Events) {
    let (client, _) = tokio::join!(
        builder.connect(),
        server.grant_session("s1", json!(["long-polling"]))
    );
    let connect = server.expect("/meta/connect").await;
    assert_eq!(connect.messages[0]["advice"]["timeout"], 0);
    connect.accept();
    client.unwrap()
}

async fn plain(server: &mut HttpServer) -> (Client, Events) {
    let builder = polling(server);
    connected(server, builder).await
}

fn connect_reply(connect: &Value, more: Value) -> Value {
    let mut reply = json!({"channel": "/meta/connect", "id": connect["id"], "successful": true});
    reply
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    reply
}

#[tokio::test]
async fn two_connections_carry_everything() {
    let mut server = HttpServer::start().await;
    let builder = polling(&server)
        .header("Authorization", "Bearer t")
        .header("Cookie", "mine=1");
    let (client, mut events) = connected(&mut server, builder).await;
    let session = client.session();
    assert_eq!(
        (session.client_id(), session.transport()),
        ("s1", Transport::LongPolling)
    );
    assert_eq!(
        session.handshake_ext().unwrap().as_str(),
        r#"{"server":{"n":1}}"#
    );

    let held = server.expect("/meta/connect").await;
    assert_eq!(held.messages[0]["connectionType"], "long-polling");
    assert!(held.messages[0].get("advice").is_none());
    assert!(held.head.starts_with("POST /cometd HTTP/1.1"));
    assert_eq!(held.header("Authorization"), Some("Bearer t"));
    assert_eq!(held.header("Cookie"), Some("mine=1; BAYEUX_BROWSER=b1"));

    // Requests go past the held connect, on a connection of their own that is used again.
    let mut connections = Vec::new();
    for n in 0..3 {
        let (outcome, ()) = tokio::join!(client.publish("/a", n), async {
            let request = server.expect("/a").await;
            connections.push(request.connection);
            assert_eq!(request.messages[0]["data"], n);
            request.accept();
        });
        outcome.unwrap();
    }
    assert!(connections.iter().all(|number| *number == connections[0]));
    assert_ne!(connections[0], held.connection);

    // Events come with any reply, in chunks too.
    let reply = connect_reply(&held.messages[0], json!({}));
    let first = held.connection;
    held.reply_chunked(&json!([{"channel": "/a", "data": "grün"}, reply]));
    assert_eq!(events.next_message().await.unwrap().data(), "\"grün\"");
    assert_eq!(server.expect("/meta/connect").await.connection, first);
}

#[tokio::test]
async fn a_batch_is_one_request_and_what_waits_leaves_together() {
    let mut server = HttpServer::start().await;
    let (client, _events) = plain(&mut server).await;
    let mut batch = client.batch();
    batch.publish("/a", 1).unwrap().subscribe("/b").unwrap();
    let sending = batch.send();
    let later = async {
        let request = server.expect("/a").await;
        assert_eq!(request.messages.len(), 2);
        let (first, second) = (client.publish("/c", 1), client.publish("/d", 2));
        let answering = async {
            // Both are asked for while the batch is under way.
            tokio::task::yield_now().await;
            tokio::task::yield_now().await;
            request.accept();
            let request = server.expect("/c").await;
            assert_eq!(request.messages[1]["channel"], "/d");
            request.accept();
        };
        tokio::join!(first, second, answering)
    };
    let (outcomes, (first, second, ())) = tokio::join!(sending, later);
    assert!(outcomes.unwrap().iter().all(Result::is_ok));
    first.unwrap();
    second.unwrap();
}

#[tokio::test]
async fn an_error_status_fails_what_it_answers() {
    let mut server = HttpServer::start().await;
    let (client, mut events) = plain(&mut server).await;
    let held = server.expect("/meta/connect").await;
    let (outcome, ()) = tokio::join!(client.publish("/a", 1), async {
        server.expect("/a").await.status(413);
    });
    assert!(
        matches!(outcome, Err(RequestError::Status(413))),
        "{outcome:?}"
    );
    // The session goes on. A connect that fails costs the connection: the next one asks not to be held.
    held.status(500);
    assert!(matches!(
        events.next().await,
        Some(Event::Interrupted(LinkError::Status(500)))
    ));
    let connect = server.expect("/meta/connect").await;
    assert_eq!(connect.messages[0]["advice"]["timeout"], 0);
    assert_eq!(connect.messages[0]["clientId"], "s1");
    assert_eq!(connect.header("Cookie"), Some("BAYEUX_BROWSER=b1"));
    connect.accept();
    assert!(matches!(events.next().await, Some(Event::Resumed)));
}

#[tokio::test]
async fn what_is_no_reply_costs_the_connection_and_no_more() {
    for garbage in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n\u{e9}",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n[{\"channel",
        "HTTP/1.1 204 Nothing\r\n\r\n",
        "HTTP/1.1 302 Elsewhere\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n",
        "nonsense\r\n\r\n",
    ] {
        let mut server = HttpServer::start().await;
        let (_client, mut events) = plain(&mut server).await;
        server.expect("/meta/connect").await.raw(garbage.to_owned());
        assert!(
            matches!(events.next().await, Some(Event::Interrupted(_))),
            "{garbage}"
        );
        server.expect("/meta/connect").await.accept();
        assert!(
            matches!(events.next().await, Some(Event::Resumed)),
            "{garbage}"
        );
    }
    let mut server = HttpServer::start().await;
    let builder = polling(&server).max_frame_bytes(1000);
    let (_client, mut events) = connected(&mut server, builder).await;
    let large = json!([{"channel": "/a", "data": "x".repeat(2000)}]);
    server.expect("/meta/connect").await.reply(&large);
    assert!(matches!(
        events.next().await,
        Some(Event::Interrupted(LinkError::ReplyTooLarge(1000)))
    ));
}

#[tokio::test]
async fn acknowledged_messages_come_once_over_a_lost_reply() {
    let mut server = HttpServer::start().await;
    let builder = polling(&server).acknowledge(true);
    let (client, ()) = tokio::join!(builder.connect(), async {
        let request = server.expect("/meta/handshake").await;
        let id = &request.messages[0]["id"];
        let reply = json!([{"channel": "/meta/handshake", "id": id, "successful": true, "clientId": "s1", "ext": {"ack": true},
            "supportedConnectionTypes": ["long-polling"]}]);
        request.reply(&reply);
    });
    let (_client, mut events) = client.unwrap();
    let event = |n: i64| json!({"channel": "/a", "data": n});
    let connect = server.expect("/meta/connect").await;
    let reply = connect_reply(&connect.messages[0], json!({"ext": {"ack": 1}}));
    connect.reply(&json!([event(1), reply]));
    let connect = server.expect("/meta/connect").await;
    assert_eq!(connect.messages[0]["ext"]["ack"], 1);
    drop(connect);
    let connect = server.expect("/meta/connect").await;
    assert_eq!(connect.messages[0]["ext"]["ack"], 1);
    let reply = connect_reply(&connect.messages[0], json!({"ext": {"ack": 2}}));
    connect.reply(&json!([event(2), event(3), reply]));
    let mut seen = Vec::new();
    while seen.len() < 3 {
        if let Event::Message(message) = events.next().await.unwrap() {
            seen.push(message.parse::<i64>().unwrap());
        }
    }
    assert_eq!(seen, [1, 2, 3]);
    assert_eq!(
        server.expect("/meta/connect").await.messages[0]["ext"]["ack"],
        2
    );
}

#[tokio::test]
async fn a_lost_session_is_renewed_with_its_subscriptions() {
    let mut server = HttpServer::start().await;
    let (client, mut events) = plain(&mut server).await;
    let (outcome, ()) = tokio::join!(client.subscribe("/a"), async {
        server.expect("/meta/subscribe").await.accept();
    });
    outcome.unwrap();
    let connect = server.expect("/meta/connect").await;
    let refusal = connect_reply(
        &connect.messages[0],
        json!({"successful": false, "error": "402::session_unknown",
        "advice": {"reconnect": "handshake", "interval": 0}}),
    );
    connect.reply(&json!([refusal]));
    server.grant_session("s2", json!(["long-polling"])).await;
    let subscribe = server.expect("/meta/subscribe").await;
    assert_eq!(subscribe.messages[0]["clientId"], "s2");
    subscribe.accept();
    assert!(matches!(events.next().await, Some(Event::Renewed)));
    assert_eq!(client.session().client_id(), "s2");
}

#[tokio::test]
async fn both_sides_may_end_the_session() {
    let mut server = HttpServer::start().await;
    let (client, mut events) = plain(&mut server).await;
    let ((), ()) = tokio::join!(client.disconnect(), async {
        server.expect("/meta/disconnect").await.accept();
    });
    assert!(matches!(
        events.next().await,
        Some(Event::Ended(EndReason::Disconnected))
    ));

    let mut server = HttpServer::start().await;
    let (_client, mut events) = plain(&mut server).await;
    let connect = server.expect("/meta/connect").await;
    let reply = connect_reply(
        &connect.messages[0],
        json!({"advice": {"reconnect": "none"}}),
    );
    connect.reply(&json!([{"channel": "/meta/disconnect", "successful": true}, reply]));
    assert!(matches!(
        events.next().await,
        Some(Event::Ended(EndReason::ByServer))
    ));
}

#[tokio::test]
async fn falls_back_where_the_upgrade_fails_and_tries_again_for_a_new_session() {
    let mut server = HttpServer::start().await;
    let (client, ()) = tokio::join!(quick(&server.url()).connect(), async {
        let upgrade = server.request().await;
        assert_eq!(upgrade.header("Upgrade"), Some("websocket"));
        upgrade.status(404);
        let handshake = server
            .grant_session("s1", json!(["websocket", "long-polling"]))
            .await;
        assert_eq!(
            handshake["supportedConnectionTypes"],
            json!(["long-polling"])
        );
    });
    let (client, mut events) = client.unwrap();
    assert_eq!(client.session().transport(), Transport::LongPolling);
    // Remembered: a lost connection comes back over long-polling.
    drop(server.expect("/meta/connect").await);
    let connect = server.request().await;
    assert_eq!(connect.messages[0]["channel"], "/meta/connect");
    let refusal = connect_reply(
        &connect.messages[0],
        json!({"successful": false, "error": "402::session_unknown"}),
    );
    connect.reply(&json!([refusal]));
    let upgrade = server.request().await;
    assert_eq!(upgrade.header("Upgrade"), Some("websocket"));
    upgrade.status(503);
    server.grant_session("s2", json!(["long-polling"])).await;
    assert!(matches!(events.next().await, Some(Event::Interrupted(_))));
    assert!(matches!(events.next().await, Some(Event::Renewed)));
}

#[tokio::test]
async fn follows_the_transports_that_the_server_names() {
    let server = script::Server::start().await;
    let (client, peer) = tokio::join!(
        quick(&server.url())
            .transports([Transport::WebSocket])
            .attempts_max(1)
            .connect(),
        async {
            let mut peer = server.accept().await;
            let handshake = peer.expect("/meta/handshake").await;
            assert_eq!(handshake["supportedConnectionTypes"], json!(["websocket"]));
            peer.send(json!([{"channel": "/meta/handshake", "id": handshake["id"], "successful": true, "clientId": "x",
                "supportedConnectionTypes": ["long-polling"]}])).await;
            peer
        }
    );
    assert!(
        matches!(client, Err(ConnectError::Link(LinkError::Bayeux(_)))),
        "{client:?}"
    );
    drop(peer);
    let none = Client::builder("ws://h/").transports([]).connect().await;
    assert!(matches!(none, Err(ConnectError::NoTransport)));
}

#[tokio::test]
async fn a_late_reply_counts_as_lost() {
    let mut server = HttpServer::start().await;
    let builder = polling(&server).max_network_delay(Duration::from_millis(150));
    let (client, mut events) = connected(&mut server, builder).await;
    let (outcome, request) = tokio::join!(client.publish("/a", 1), server.expect("/a"));
    assert!(
        matches!(outcome, Err(RequestError::Interrupted)),
        "{outcome:?}"
    );
    drop(request);
    let event = tokio::time::timeout(PATIENCE, events.next()).await.unwrap();
    assert!(matches!(event, Some(Event::Interrupted(LinkError::Silent))));
}
