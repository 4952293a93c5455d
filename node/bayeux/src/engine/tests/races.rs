//! Threads against each other. What is checked holds for every interleaving.

use super::*;
use proptest::prelude::*;
use std::sync::atomic::AtomicBool;
use std::thread;

/// A message is queued either before the connect is parked, and answers it, or after, and wakes it: never neither.
#[test]
fn section_1_7_parking_is_atomic_with_the_queue_check() {
    let engine = engine();
    let (mut browser, id) = Browser::connected(&engine);
    browser.ask(json!([{"channel":"/meta/subscribe","clientId":id,"subscription":"/a"}]));
    let body = json!([{"channel":"/meta/connect","clientId":id,"id":"1"}]).to_string();
    for n in 0..300 {
        let publisher = {
            let engine = engine.clone();
            thread::spawn(move || engine.publish(&event("/a", &n.to_string()), START))
        };
        let outcome = browser.request(&body).unwrap();
        let mut got = match outcome {
            HttpOutcome::Reply(reply) => {
                reply.ticket.written(START);
                serde_json::from_slice(&reply.body).unwrap()
            }
            HttpOutcome::Hold(held) => {
                let mut held = Held {
                    held,
                    wakes: Arc::default(),
                };
                let early = held.poll(START);
                publisher.join().unwrap();
                if early == Value::Null {
                    assert_eq!(held.wakes.count(), 1);
                    held.poll(START)
                } else {
                    early
                }
            }
        };
        if got[0]["data"] != json!(n) {
            // The connect was answered before the message came: the next one brings it.
            got = browser.ask(serde_json::from_str(&body).unwrap());
        }
        assert_eq!(got[0]["data"], json!(n));
    }
}

/// Whatever happens at once, in the end nothing is left of sessions that have ended.
#[test]
fn nothing_is_left_of_ended_sessions() {
    let engine = engine_with(|config| config.max_queue = 50);
    let stop = Arc::new(AtomicBool::new(false));
    let publishers: Vec<_> = ["/a", "/a/b", "/c"]
        .into_iter()
        .map(|channel| {
            let (engine, stop) = (engine.clone(), stop.clone());
            thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    engine.publish(&event(channel, "1"), START);
                    engine.tick(START);
                }
            })
        })
        .collect();
    let clients: Vec<_> = (0..4)
        .map(|n| {
            let engine = engine.clone();
            thread::spawn(move || {
                for round in 0..60 {
                    let mut ws = Ws::new(&engine);
                    let id = ws.handshake();
                    ws.send(json!([{"channel":"/meta/connect","clientId":id},
                        {"channel":"/meta/subscribe","clientId":id,"subscription":["/a","/**","/a/*","/c"]}]));
                    if round % 3 == 0 {
                        ws.send(json!([{"channel":"/meta/unsubscribe","clientId":id,"subscription":"/a"}]));
                    }
                    if let (Some(Output::Frame(_)), true) = (ws.output(), round % 2 == n % 2) {
                        if round % 7 == 0 {
                            ws.send(json!([{"channel":"/meta/disconnect","clientId":id}]));
                        }
                        ws.send(json!([{"channel":"/a/b","clientId":id,"data":1}]));
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
    stop.store(true, Ordering::Relaxed);
    for publisher in publishers {
        publisher.join().unwrap();
    }
    engine.end_all_sessions(crate::EndReason::Server, START);
    engine.tick(START.after(100));
    let stats = engine.stats();
    assert_eq!(
        (stats.sessions, stats.subscriptions, stats.queue_bytes),
        (0, 0, 0)
    );
    assert!(engine.subscribed_channels().is_empty());
    assert_eq!(engine.publish(&event("/a", "1"), START), 0);
}

#[derive(Clone, Debug)]
enum Op {
    Publish(u8),
    Send(u8),
    Poll,
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    /// Every event arrives once and in order, every reply once and in order and not before the events queued before its frame, in frames
    /// within the budget; whatever the interleaving of publishing, asking and writing.
    #[test]
    fn the_writer_loses_and_reorders_nothing(
        ops in prop::collection::vec(prop_oneof![
            4 => (0_u8..60).prop_map(Op::Publish),
            2 => (1_u8..4).prop_map(Op::Send),
            3 => Just(Op::Poll),
        ], 1..80),
        budget in 60_usize..400,
        deliver_only in any::<bool>(),
    ) {
        let engine = engine_with(|config| {
            config.max_frame_bytes = budget;
            config.meta_connect_deliver_only = deliver_only;
        });
        let (mut ws, id) = Ws::connected(&engine);
        ws.subscribe(&id, "/a");
        let (mut published, mut asked) = (0, 0);
        // For each reply the number of events that must come before it.
        let mut due_before = Vec::new();
        let mut got: Vec<Value> = Vec::new();
        let drain = |ws: &mut Ws, got: &mut Vec<Value>| {
            while let Some(Output::Frame(bytes)) = ws.output() {
                let frame: Vec<Value> = serde_json::from_slice(&bytes).unwrap();
                let events = frame.iter().filter(|m| m["channel"] == json!("/a")).count();
                let replies: usize = frame.iter().filter(|m| m["channel"] != json!("/a")).map(|m| m.to_string().len() + 1).sum();
                assert!(events <= 1 || bytes.len() <= budget + replies + 2, "{} in {events} events", bytes.len());
                got.extend(frame);
            }
        };
        for op in ops {
            match op {
                Op::Publish(pad) => {
                    let data = format!("[{published},\"{}\"]", "x".repeat(usize::from(pad)));
                    prop_assert_eq!(engine.publish(&event("/a", &data), START), 1);
                    published += 1;
                }
                Op::Send(n) => {
                    let frame: Vec<_> = (0..n).map(|_| {
                        asked += 1;
                        due_before.push(published);
                        json!({"channel":"/b","clientId":id,"id":asked})
                    }).collect();
                    ws.send(json!(frame));
                }
                Op::Poll => drain(&mut ws, &mut got),
            }
        }
        // A connect lets everything out in either mode.
        ws.send(json!([{"channel":"/meta/connect","clientId":id,"id":"last","advice":{"timeout":0}}]));
        drain(&mut ws, &mut got);
        let (mut events, mut replies) = (0, 0);
        for message in &got {
            if message["channel"] == json!("/a") {
                prop_assert_eq!(&message["data"][0], &json!(events));
                events += 1;
            } else if message["channel"] == json!("/b") {
                replies += 1;
                prop_assert_eq!(&message["id"], &json!(replies.to_string()));
                prop_assert!(deliver_only || events >= due_before[replies - 1]);
            }
        }
        prop_assert_eq!((events, replies), (published, asked));
        prop_assert_eq!(&got.last().unwrap()["id"], &json!("last"));
        prop_assert_eq!(engine.stats().queue_bytes, 0);
    }
}
