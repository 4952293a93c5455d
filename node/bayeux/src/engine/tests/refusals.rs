use super::*;
use crate::FrameError;

/// Every error row of reference 5.2 that clients can cause, one message each; `ID` stands for the client's id.
const ROWS: &[(&str, &str)] = &[
    (r#"{"clientId":"ID","id":"1"}"#, "400::channel_missing"),
    (
        r#"{"clientId":"ID","channel":null}"#,
        "400::channel_missing",
    ),
    (r#"{"clientId":"ID","channel":1}"#, "405::channel_invalid"),
    (r#"{"clientId":"ID","channel":"a"}"#, "405::channel_invalid"),
    (r#"{"clientId":"ID","channel":"/"}"#, "405::channel_invalid"),
    (
        r#"{"clientId":"ID","channel":"/a?"}"#,
        "405::channel_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/a//b"}"#,
        "405::channel_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/a/*/b"}"#,
        "405::channel_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/{x}/*"}"#,
        "405::channel_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/a","id":"a-b"}"#,
        "405::message_id_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/a","id":""}"#,
        "405::message_id_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/a","id":1.5}"#,
        "405::message_id_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/a","id":-1}"#,
        "405::message_id_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/a","id":{}}"#,
        "405::message_id_invalid",
    ),
    (
        r#"{"clientId":"unknown","channel":"/a","id":"-"}"#,
        "405::message_id_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/a","ext":1}"#,
        "400::ext_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/connect","advice":[]}"#,
        "400::advice_invalid",
    ),
    (
        r#"{"clientId":"unknown","channel":"/a"}"#,
        "402::session_unknown",
    ),
    (r#"{"clientId":5,"channel":"/a"}"#, "402::session_unknown"),
    (r#"{"channel":"/a","data":1}"#, "402::session_unknown"),
    (r#"{"channel":"/meta/disconnect"}"#, "402::session_unknown"),
    (
        r#"{"clientId":"ID","channel":"/meta/subscribe"}"#,
        "403::subscription_missing",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/unsubscribe","subscription":null}"#,
        "403::subscription_missing",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/subscribe","subscription":1}"#,
        "403::subscription_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/subscribe","subscription":{}}"#,
        "403::subscription_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/subscribe","subscription":["/a",1]}"#,
        "403::subscription_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/subscribe","subscription":"/a//b"}"#,
        "403::subscription_invalid",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/subscribe","subscription":"/meta/connect"}"#,
        "403:denied_by_security_policy:subscribe_denied",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/subscribe","subscription":"/meta/**"}"#,
        "403:denied_by_security_policy:create_denied",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/subscribe","subscription":"/oort/**"}"#,
        "403:denied_by_security_policy:subscribe_denied",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/subscribe","subscription":"\/seti\/all"}"#,
        "403:denied_by_security_policy:subscribe_denied",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/unsubscribe","subscription":"/meta/connect"}"#,
        "403::unsubscribe_failed",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/unsubscribe","subscription":"/nobody"}"#,
        "400::channel_missing",
    ),
    (
        r#"{"clientId":"ID","channel":"/meta/other","data":1}"#,
        "403:denied_by_security_policy:channel_create_denied",
    ),
    (
        r#"{"clientId":"ID","channel":"/oort/cloud","data":1}"#,
        "403:denied_by_security_policy:publish_denied",
    ),
    (
        r#"{"clientId":"ID","channel":"/seti","data":1}"#,
        "403:denied_by_security_policy:publish_denied",
    ),
    (
        r#"{"clientId":"ID","channel":"/halley/presence","data":1}"#,
        "403:denied_by_security_policy:publish_denied",
    ),
];

#[test]
fn section_5_2_error_strings() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    let (mut browser, browser_id) = Browser::connected(&engine);
    for (row, error) in ROWS {
        ws.try_send(&row.replace("ID", &id)).unwrap();
        let reply = ws.next();
        let reply = &reply[0];
        assert_eq!(
            (&reply["error"], &reply["successful"]),
            (&json!(error), &json!(false)),
            "{row}"
        );
        assert!(
            reply.get("advice").is_none() && reply.get("clientId").is_none(),
            "{row}"
        );
        let over_http = browser
            .ask(serde_json::from_str(&format!("[{}]", row.replace("ID", &browser_id))).unwrap());
        assert_eq!(&over_http[0], reply, "{row}");
    }
    assert!(engine.subscribed_channels().is_empty());
}

#[test]
fn section_5_3_ids_come_back_as_strings() {
    let engine = engine();
    let (mut ws, id) = Ws::connected(&engine);
    for (sent, back) in [
        (json!(77), json!("77")),
        (json!("ab1"), json!("ab1")),
        (json!(true), json!("true")),
    ] {
        let reply = ws.ask(json!({"channel":"/a","clientId":id,"id":sent}));
        assert_eq!(reply[0]["id"], back);
    }
    let reply = ws.ask(json!({"channel":"/a","clientId":id,"id":null}));
    assert_eq!(reply, json!([{"channel":"/a","successful":true}]));
}

/// Text, HTTP status, close code.
const FRAMES: &[(&str, u16, u16)] = &[
    ("", 400, 1007),
    ("[{\"channel\":", 400, 1007),
    ("[{}]x", 400, 1007),
    ("message=%5B%5D", 400, 1007),
    ("[]", 400, 1003),
    ("null", 400, 1003),
    ("[1]", 400, 1003),
    ("7", 400, 1003),
    (r#"[{"channel":"/a","channel":"/b"}]"#, 400, 1003),
    (
        r#"[{"channel":"/meta/handshake"},{"channel":"/a"}]"#,
        400,
        1003,
    ),
    (
        r#"[{"channel":"/a"},{"channel":"\/meta\/handshake\/ "}]"#,
        400,
        1003,
    ),
    ("[{},{},{},{}]", 400, 1008),
];

#[test]
fn section_1_4_and_3_5_frames_that_cannot_be_answered() {
    let engine = engine_with(|config| {
        config.max_batch = 3;
        config.max_message_bytes = 200;
    });
    let too_large = format!("[{{\"data\":\"{}\"}}]", "x".repeat(200));
    let too_deep = "[".repeat(90);
    let rows = FRAMES
        .iter()
        .copied()
        .chain([(&*too_large, 413, 1009), (&*too_deep, 400, 1007)]);
    for (text, status, code) in rows {
        let FrameError { code: got, reason } = Ws::new(&engine).try_send(text).unwrap_err();
        assert_eq!(got, code, "{text}: {reason}");
        assert!(!reason.is_empty() && reason.len() <= 123);
        let error = Browser::new(&engine).request(text).unwrap_err();
        assert_eq!(error.status, status, "{text}: {error}");
    }
    assert_eq!(engine.stats().messages_received, 0);
}

#[test]
fn section_1_3_a_single_object_is_a_frame() {
    let engine = engine();
    let mut ws = Ws::new(&engine);
    ws.try_send(r#" {"channel":"\/meta\/handshake","id":"1"} "#)
        .unwrap();
    assert_eq!(ws.next()[0]["successful"], json!(true));
}
