//! An engine with small limits, and what every target of it checks.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use halley_bayeux::{DefaultPolicy, Engine, EngineConfig, Millis};
use serde_json::Value;

/// Stands for the session's id in an input, which cannot know it.
pub const SESSION: &str = "@";

/// An engine whose limits a short input can reach.
pub fn engine(now: Millis) -> Arc<Engine> {
    let config = EngineConfig {
        max_queue: 8,
        max_queue_bytes: 1024,
        max_message_bytes: 4096,
        max_depth: 8,
        max_batch: 8,
        max_frame_bytes: 256,
        max_subscriptions: 4,
        max_channels_per_session: 6,
        max_channels: 8,
        ..EngineConfig::default()
    };
    let engine = Engine::new(config, Arc::new(DefaultPolicy::new(true)));
    engine.tick(now);
    engine
}

/// Completes a future of the engine: with a policy that answers at once none suspends.
pub fn now_or_never<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("suspended"),
    }
}

/// What goes out is a JSON array of objects with channels; the session id of a handshake reply is the answer.
pub fn checked(body: &[u8]) -> Option<String> {
    let body = without_surrogates(body);
    let messages: Vec<Value> = serde_json::from_slice(&body).expect("the output is a JSON array");
    assert!(!messages.is_empty(), "nothing was sent");
    let mut id = None;
    for message in &messages {
        let channel = message["channel"].as_str();
        if channel == Some("/meta/handshake") && message["successful"] == true {
            id = message["clientId"].as_str().map(str::to_owned);
        }
        if message.get("successful").is_none() {
            assert!(channel.is_some(), "an event without a channel");
            assert!(
                message.get("clientId").is_none(),
                "an event with a session id"
            );
        }
    }
    id
}

/// Half a surrogate pair is in the grammar, and goes out as it came in; but serde_json makes no text of it.
fn without_surrogates(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len());
    let mut rest = body;
    while let [first, after @ ..] = rest {
        let used = match rest {
            [
                b'\\',
                b'u',
                b'd' | b'D',
                b'8'..=b'9' | b'a'..=b'f' | b'A'..=b'F',
                _,
                _,
                ..,
            ] => {
                out.extend_from_slice(b"\\ufffd");
                rest = &rest[6..];
                continue;
            }
            [b'\\', _, ..] => 2,
            _ => 1,
        };
        out.push(*first);
        out.extend_from_slice(&after[..used - 1]);
        rest = &rest[used..];
    }
    out
}

/// Long after the last client has gone nothing of it is left.
pub fn finished(engine: &Engine, mut now: Millis) {
    // The longest a client may ask for, twice, and the looks for channels that nobody uses.
    now.0 += 7_300_000;
    engine.tick(now);
    for _ in 0..4 {
        now.0 += 1000;
        engine.tick(now);
    }
    assert_eq!(engine.session_count(), 0, "a session outlived its clients");
    assert!(
        engine.subscribed_channels().is_empty(),
        "a subscription outlived its session"
    );
    let stats = engine.stats();
    assert_eq!(
        stats.queue_bytes, 0,
        "bytes of a queue that is gone are still counted"
    );
}
