//! Sessions inside the node, and their inboxes.

use std::sync::Arc;

use futures_util::{StreamExt as _, TryStreamExt as _};
use halley::{EndReason, InboxEnd, LocalError, PublishError};
use serde_json::json;

use crate::support::{Ws, eventually, within};
use crate::{builder, started};

#[tokio::test]
async fn a_local_session_subscribes_publishes_and_calls() {
    let node = started(builder().rpc("/service/double", |call| async move {
        Ok(call.data::<i64>()? * 2)
    }))
    .await;
    let handle = node.handle();
    let (session, mut inbox) = handle.local_session().expect("a running node");
    session.subscribe("/chat/*").await.expect("subscribes");
    let mut client = Ws::joined(node.client_address()).await;
    client.subscribe("/chat/b").await;

    client.publish("/chat/a", json!({ "n": 1 })).await;
    let received = within("a message", inbox.next()).await.expect("one");
    assert_eq!(received.channel(), "/chat/a");
    assert_eq!(received.data(), r#"{"n":1}"#);

    session
        .publish("/chat/b", ["to the client"])
        .await
        .expect("publishes");
    assert_eq!(client.next().await["data"], json!(["to the client"]));
    assert_eq!(
        inbox
            .next()
            .await
            .expect("its own")
            .parse::<Vec<String>>()
            .unwrap()
            .len(),
        1
    );

    assert_eq!(
        session.call::<i64>("/service/double", 21).await.unwrap(),
        42
    );
    let error = session
        .call::<i64>("/service/double", "x")
        .await
        .unwrap_err();
    assert!(matches!(&error, LocalError::Call(_)), "{error}");
    assert!(error.to_string().contains("data_invalid"), "{error}");
    let error = session
        .call::<String>("/service/double", 21)
        .await
        .unwrap_err();
    assert!(matches!(error, LocalError::Result(_)), "{error}");
    let error = session.call::<i64>("/service/none", 21).await.unwrap_err();
    assert!(matches!(error, LocalError::Call(_)), "{error}");

    session.unsubscribe("/chat/*").await.expect("unsubscribes");
    assert!(matches!(
        session.subscribe("nonsense").await,
        Err(LocalError::Invalid(_))
    ));
    assert!(matches!(
        session.subscribe("/meta/connect").await,
        Err(LocalError::Refused(_))
    ));
    assert_eq!(handle.publish("/chat/b", 1).expect("publishes"), 1);
    assert_eq!(inbox.try_next().map(|one| one.is_some()), Ok(false));
    session.disconnect();
    assert_eq!(
        within("its end", inbox.next()).await.unwrap_err(),
        InboxEnd::Ended
    );
}

#[tokio::test]
async fn an_inbox_that_is_not_read_ends_its_session_and_keeps_what_came_before() {
    let node = started(builder().set("session.maxQueue", 3)).await;
    let handle = node.handle();
    let (session, mut inbox) = handle.local_session().expect("a running node");
    session.subscribe("/a").await.expect("subscribes");
    for n in 0..10 {
        handle.publish("/a", n).expect("publishes");
    }
    for n in 0..3 {
        assert_eq!(
            inbox
                .next()
                .await
                .expect("in order")
                .parse::<u32>()
                .unwrap(),
            n
        );
    }
    assert_eq!(inbox.next().await.unwrap_err(), InboxEnd::Overflow);
    eventually("the session has ended", async || {
        (!session.session().is_live()).then_some(())
    })
    .await;
    assert!(session.publish("/a", 1).await.is_err());

    let (session, mut inbox) = handle.local_session().expect("another");
    let many = "x".repeat(node.engine().config().max_queue_bytes);
    session.subscribe("/b").await.expect("subscribes");
    handle.publish("/b", &many).expect("publishes");
    handle.publish("/b", 2).expect("publishes");
    assert!(
        inbox.next().await.is_ok(),
        "a single message passes any bound in bytes"
    );
    assert_eq!(inbox.next().await.unwrap_err(), InboxEnd::Overflow);
}

#[tokio::test]
async fn an_inbox_learns_of_every_end() {
    let node = started(builder()).await;
    let handle = node.handle().clone();
    let (by_node, mut first) = handle.local_session().expect("running");
    let (by_other, mut second) = handle.local_session().expect("running");
    let engine = Arc::clone(node.engine());
    assert!(engine.end_session(
        by_other.session().id(),
        EndReason::Server,
        node.clock().now()
    ));
    assert_eq!(
        within("the end", second.next()).await.unwrap_err(),
        InboxEnd::Ended
    );
    let waits = tokio::spawn(async move { first.next().await.map(|_| ()) });
    node.drain().await;
    assert_eq!(
        within("the end", waits).await.unwrap(),
        Err(InboxEnd::Ended)
    );
    assert!(!handle.is_running());
    assert!(matches!(
        handle.publish("/a", 1),
        Err(PublishError::NotRunning)
    ));
    assert!(matches!(
        handle.local_session(),
        Err(PublishError::NotRunning)
    ));
    drop(by_node);
}

/// An inbox among other streams: everything that has arrived, the reason for the end, and then nothing.
#[tokio::test]
async fn an_inbox_is_a_stream() {
    let node = started(builder()).await;
    let handle = node.handle();
    let (session, inbox) = handle.local_session().expect("a running node");
    session.subscribe("/a").await.expect("subscribes");
    for n in 0..3 {
        handle.publish("/a", n).expect("publishes");
    }
    let (waits, mut begins) = tokio::sync::mpsc::channel(8);
    let reader = tokio::spawn(async move {
        let mut numbers = inbox.map_ok(|received| received.parse::<u32>().expect("a number"));
        let mut seen = Vec::new();
        while let Some(one) = numbers.next().await {
            seen.push(one);
            let _ = waits.send(seen.len()).await;
        }
        // A stream that has ended may be asked again.
        assert_eq!(numbers.next().await, None);
        seen
    });
    while begins.recv().await != Some(3) {}
    // What comes while it waits wakes it; and so does the end.
    handle.publish("/a", 3).expect("publishes");
    while begins.recv().await != Some(4) {}
    session.disconnect();
    let seen = within("the end of the stream", reader)
        .await
        .expect("no panic");
    assert_eq!(seen, [Ok(0), Ok(1), Ok(2), Ok(3), Err(InboxEnd::Ended)]);
}

/// Whoever waits in a stream learns of the end of a node that says nothing to its sessions.
#[tokio::test]
async fn a_stream_ends_with_its_node() {
    let node = started(builder()).await;
    let (_session, mut inbox) = node.handle().local_session().expect("a running node");
    let (waits, begins) = tokio::sync::oneshot::channel();
    let reader = tokio::spawn(async move {
        let mut waits = Some(waits);
        std::future::poll_fn(|cx| {
            let next = inbox.poll_next_unpin(cx);
            if let (true, Some(waits)) = (next.is_pending(), waits.take()) {
                let _ = waits.send(());
            }
            next
        })
        .await
        .map(|one| one.map(drop))
    });
    begins.await.expect("it waits");
    node.shutdown().await;
    let end = within("the end", reader).await.expect("no panic");
    assert_eq!(end, Some(Err(InboxEnd::Ended)));
}
