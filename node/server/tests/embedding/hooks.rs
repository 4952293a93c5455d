//! What the application puts in: services, listeners, extensions, authorizers.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use halley::{
    Authorization, ChannelName, DataFilter, Delivery, Extension, Filtered, Flow, Message,
    MessageListener, Millis, Operation, Publication, PublishError, QueueListener, Reply, Service,
    ServiceReply, Session, SubscriptionListener, Waiting, WhenFull,
};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::support::{Poller, Ws, last};
use crate::{builder, started};

#[tokio::test]
async fn services_listeners_extensions_and_authorizers_are_put_in() {
    struct Post(halley::NodeHandle);
    impl Service for Post {
        fn message(&self, _: &Arc<Session>, message: &Message<'_>, _: Millis) -> ServiceReply {
            match message.data() {
                Some(data) => {
                    let data: Value = serde_json::from_str(data).unwrap_or_default();
                    match self.0.publish("/posted", data) {
                        Ok(_) => ServiceReply::Accepted,
                        Err(error) => ServiceReply::Refused(format!("500::{error}")),
                    }
                }
                None => ServiceReply::Refused("400::nothing_to_post".into()),
            }
        }
    }
    struct NoSwearing;
    impl Extension for NoSwearing {
        fn incoming(
            &self,
            _: Option<&Arc<Session>>,
            message: &Message<'_>,
            _: &mut Reply<'_>,
            _: Millis,
        ) -> Flow {
            if message.data() == Some("\"damn\"") {
                Flow::Stop
            } else {
                Flow::Continue
            }
        }
    }
    struct Counts(Arc<AtomicUsize>);
    impl SubscriptionListener for Counts {
        fn subscribed(&self, _: &Arc<Session>, _: &ChannelName) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    struct Nothing;
    impl MessageListener for Nothing {
        fn publication(&self, publication: &Arc<Publication>, _: Millis) -> Flow {
            if publication.data() == Some("\"stop\"") {
                Flow::Stop
            } else {
                Flow::Continue
            }
        }
    }
    let seen: Arc<Mutex<Vec<String>>> = Arc::default();
    let subscriptions = Arc::new(AtomicUsize::new(0));
    let (came, went) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let builder = builder();
    let handle = builder.handle();
    assert!(matches!(
        handle.publish("/posted", 1),
        Err(PublishError::NotRunning)
    ));
    let node = started(
        builder
            .service("/service/post", Post(handle))
            .extension(NoSwearing)
            .subscription_listener(Counts(Arc::clone(&subscriptions)))
            .on_session_added({
                let came = Arc::clone(&came);
                move |_| {
                    came.fetch_add(1, Ordering::Relaxed);
                }
            })
            .on_session_removed({
                let went = Arc::clone(&went);
                move |_, _| {
                    went.fetch_add(1, Ordering::Relaxed);
                }
            })
            .on_message("/posted", {
                let seen = Arc::clone(&seen);
                move |session, message| {
                    seen.lock().push(format!("{:?}", message.data()));
                    if session.is_some() && message.data() == Some("7") {
                        Flow::Stop
                    } else {
                        Flow::Continue
                    }
                }
            })
            .channel_listener("/posted", Nothing)
            .authorize("/locked/**", |operation, _, _, _| match operation {
                Operation::Subscribe => Authorization::Grant,
                _ => Authorization::Deny("locked".into()),
            }),
    )
    .await;
    let mut client = Ws::joined(node.client_address()).await;
    client.subscribe("/posted").await;
    let reply = client.publish("/service/post", json!("hello")).await;
    assert_eq!(reply["successful"], true, "{reply}");
    assert_eq!(client.next().await["data"], "hello");
    let reply = client.exchange(json!({ "channel": "/service/post" })).await;
    assert_eq!(reply["error"], "400::nothing_to_post");
    let reply = client.publish("/service/post", json!("damn")).await;
    assert_eq!(reply["error"], "404::message_deleted");
    let reply = client.publish("/posted", json!(7)).await;
    assert_eq!(reply["error"], "404::message_deleted");
    assert_eq!(*seen.lock(), ["Some(\"7\")"]);
    assert_eq!(
        node.handle().publish("/posted", "stop").expect("publishes"),
        0
    );
    let reply = client.publish("/locked/a", json!(1)).await;
    assert_eq!(reply["error"], "403:locked:channel_create_denied");
    assert_eq!(subscriptions.load(Ordering::Relaxed), 1);
    assert_eq!(came.load(Ordering::Relaxed), 1);
    node.drain().await;
    assert_eq!(went.load(Ordering::Relaxed), 1);
}

/// Filters change and refuse what clients, local sessions and the node publish.
#[tokio::test]
async fn data_filters_are_put_in() {
    struct Sealed;
    impl DataFilter for Sealed {
        fn filter(&self, _: Option<&Arc<Session>>, _: &ChannelName, data: &str) -> Filtered {
            match data {
                "\"secret\"" => Filtered::Refuse,
                _ => Filtered::Unchanged,
            }
        }
    }
    let node = started(
        builder()
            .filter_data("/chat/**", |session, channel, data| {
                let who = if session.is_some() {
                    "a session"
                } else {
                    "the node"
                };
                Filtered::Replace(format!("[\"{who}\",\"{channel}\",{data}]"))
            })
            .data_filter("/sealed/*", Sealed),
    )
    .await;
    let mut client = Ws::joined(node.client_address()).await;
    client.subscribe("/**").await;
    client.publish("/chat/a", json!(1)).await;
    assert_eq!(
        client.next().await["data"],
        json!(["a session", "/chat/a", 1])
    );
    node.handle().publish("/chat/b", 2).expect("publishes");
    assert_eq!(
        client.next().await["data"],
        json!(["the node", "/chat/b", 2])
    );
    let reply = client.publish("/sealed/a", json!("secret")).await;
    assert_eq!(reply["error"], "404::message_deleted");
    assert_eq!(
        node.handle().publish("/sealed/a", "secret").expect("asked"),
        0
    );
    client.publish("/sealed/a", json!("open")).await;
    assert_eq!(client.next().await["data"], "open");
}

/// A session that was given a queue listener does without the oldest messages; the others end where their queue is full.
#[tokio::test]
async fn queue_listeners_are_chosen_for_each_session() {
    struct Newest;
    impl QueueListener for Newest {
        fn full(&self, queue: &mut Waiting<'_>, _: &Arc<Publication>) -> WhenFull {
            let mut oldest = true;
            queue.edit(|_| match std::mem::take(&mut oldest) {
                true => Delivery::Drop,
                false => Delivery::Unchanged,
            });
            WhenFull::Queue
        }
    }
    // The first client has one.
    let begun = AtomicUsize::new(0);
    let node = started(
        builder()
            .set("session.maxQueue", 2)
            .queue_listener(move |session| {
                assert!(!session.is_local(), "local sessions have an inbox");
                (begun.fetch_add(1, Ordering::Relaxed) == 0).then_some(Newest)
            }),
    )
    .await;
    let handle = node.handle();
    let (_local, _inbox) = handle.local_session().expect("a running node");
    let mut patient = Poller::joined(node.client_address()).await;
    let mut other = Poller::joined(node.client_address()).await;
    for client in [&mut patient, &mut other] {
        client.subscribe("/a").await;
    }
    for n in 0..5 {
        handle.publish("/a", n).expect("publishes");
    }
    let mut waited = Vec::new();
    for client in [&mut patient, &mut other] {
        client.send_connect(json!({ "timeout": 0 })).await;
        let replies = client.connect_answer().await;
        let data: Value = (replies.iter().filter_map(|one| one.get("data")))
            .cloned()
            .collect();
        waited.push((data, last(&replies)["error"].clone()));
    }
    assert_eq!(
        waited,
        [
            (json!([3, 4]), Value::Null),
            (json!([]), json!("402::session_unknown"))
        ]
    );
}
