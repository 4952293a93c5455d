//! The machine alone: when it says what, without a connection.

use std::time::Duration;

use serde_json::{Value, json};
use tokio::time::Instant;

use super::*;

const FIRST: Duration = Duration::from_millis(100);

struct Rig {
    machine: Machine,
    now: Instant,
}

impl Rig {
    fn opened(transport: Transport, offers: &[Transport]) -> Self {
        let settings = Settings {
            backoff_first: FIRST,
            backoff_max: Duration::from_secs(10),
            ..Settings::default()
        };
        let (mut machine, now) = (Machine::new(settings), Instant::now());
        machine.opened(transport, offers.to_vec(), now);
        Self { machine, now }
    }

    /// With a session and its first connect answered.
    fn connected() -> Self {
        let mut rig = Self::opened(Transport::WebSocket, &[Transport::WebSocket]);
        rig.answer(
            "/meta/handshake",
            json!({"successful": true, "clientId": "s1"}),
        );
        rig.answer("/meta/connect", json!({"successful": true}));
        rig
    }

    /// Answers the message that was sent last, which is on this channel.
    fn answer(&mut self, channel: &str, mut reply: Value) {
        let sent = self.machine.take_frames();
        let sent: Value = serde_json::from_str(&sent.last().unwrap().text).unwrap();
        assert_eq!(sent[0]["channel"], channel);
        reply["channel"] = json!(channel);
        reply["id"] = sent[0]["id"].clone();
        let frame = json!([reply]).to_string();
        self.machine.frame(&frame, self.now).unwrap();
    }

    /// Lets the delay before the next message pass, which is the attempt of this number, counted from 0.
    fn waits(&mut self, attempt: u32) {
        assert!(self.machine.take_frames().is_empty(), "it does not wait");
        let due = self.machine.deadline().unwrap();
        let whole = FIRST * 2_u32.pow(attempt);
        let delay = due - self.now;
        assert!(delay >= whole / 2 && delay <= whole, "{attempt}: {delay:?}");
        self.now = due;
        self.machine.timer(due).unwrap();
    }
}

#[test]
fn a_refused_connect_is_repeated_with_growing_delays_until_one_succeeds() {
    let mut rig = Rig::connected();
    let refused = json!({"successful": false, "error": "500::later"});
    for _ in 0..2 {
        for attempt in 0..4 {
            rig.answer("/meta/connect", refused.clone());
            rig.waits(attempt);
        }
        // What succeeds makes the next delay the shortest again.
        rig.answer("/meta/connect", json!({"successful": true}));
    }
}

#[test]
fn a_refused_new_handshake_is_repeated_with_growing_delays() {
    let mut rig = Rig::connected();
    let unknown = json!({"successful": false, "error": "402::session_unknown"});
    rig.answer("/meta/connect", unknown);
    // The first handshake is made at once.
    assert_eq!(rig.machine.deadline(), Some(rig.now));
    rig.machine.timer(rig.now).unwrap();
    let refused =
        json!({"successful": false, "error": "403::full", "advice": {"reconnect": "handshake"}});
    for attempt in 1..5 {
        rig.answer("/meta/handshake", refused.clone());
        rig.waits(attempt);
    }
    rig.answer(
        "/meta/handshake",
        json!({"successful": true, "clientId": "s2"}),
    );
    assert_eq!(rig.machine.session().unwrap().id, "s2");
}

#[test]
fn the_best_transport_that_both_have_is_taken() {
    use Transport::{LongPolling, WebSocket};
    let both = [WebSocket, LongPolling];
    for (using, names, expected) in [
        (
            LongPolling,
            json!(["long-polling", "websocket"]),
            Some((WebSocket, false)),
        ),
        (
            WebSocket,
            json!(["long-polling"]),
            Some((LongPolling, true)),
        ),
        (WebSocket, json!(["long-polling", "websocket"]), None),
        (
            LongPolling,
            json!(["callback-polling", "long-polling"]),
            None,
        ),
    ] {
        let mut rig = Rig::opened(using, &both);
        let reply =
            json!({"successful": true, "clientId": "s1", "supportedConnectionTypes": names});
        rig.answer("/meta/handshake", reply);
        let switch = rig.machine.take_switch();
        let switch = switch.map(|switch| (switch.to, switch.denied));
        assert_eq!(switch, expected, "{using} and {names}");
    }
}
