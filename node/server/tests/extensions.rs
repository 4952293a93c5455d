//! Each option of `[extensions]`, and of lazy and early delivery, on the wire.

mod support;

use serde_json::{Value, json};
use support::{Ws, node, within};

async fn handshake(options: &str, ext: Value) -> Value {
    let node = node(options).await;
    let mut ws = Ws::open(node.client_address()).await;
    ws.exchange(json!({"channel": "/meta/handshake", "version": "1.0", "ext": ext}))
        .await
}

#[tokio::test]
async fn ack() {
    let ext = json!({"ack": true});
    let reply = handshake("", ext.clone()).await;
    assert_eq!(reply["ext"], ext);
    let reply = handshake("[extensions]\nack = false", ext.clone()).await;
    assert!(reply.get("ext").is_none(), "{reply}");
    let early = "[session]\nallowMessageDeliveryDuringHandshake = true";
    let reply = handshake(early, ext).await;
    assert_eq!(reply["ext"], json!({"ack": {"enabled": true, "batch": 0}}));
}

#[tokio::test]
async fn timesync() {
    let reply = handshake("", json!({"timesync": {"tc": 1}})).await;
    let ours = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .expect("a clock")
        .as_millis() as u64;
    let theirs = reply["ext"]["timesync"]["ts"].as_u64().expect("a time");
    assert!(ours.abs_diff(theirs) < 60_000, "{reply}");
    assert!(reply["ext"]["timesync"]["p"].is_u64(), "{reply}");
    let reply = handshake(
        "[extensions]\ntimesync = false",
        json!({"timesync": {"tc": 1}}),
    )
    .await;
    assert!(reply.get("ext").is_none(), "{reply}");
}

#[tokio::test]
async fn timestamp() {
    let reply = handshake("[extensions]\ntimestamp = true", json!({})).await;
    let text = reply["timestamp"].as_str().expect("a timestamp");
    assert!(text.contains(" UTC 20"), "{text}");
    let reply = handshake("", json!({})).await;
    assert!(reply.get("timestamp").is_none(), "{reply}");
}

#[tokio::test]
async fn activity() {
    for mode in ["client", "client-server"] {
        let options = format!("[extensions]\nactivity = \"{mode}\"\nmaxInactivity = 20");
        let node = node(&options).await;
        let mut ws = Ws::joined(node.client_address()).await;
        let end = within("the disconnection", async {
            loop {
                ws.send(json!({"channel": "/meta/connect", "advice": {"timeout": 0}}))
                    .await;
                let next = ws.next().await;
                if next["channel"] == "/meta/disconnect" {
                    return ws.next().await;
                }
            }
        })
        .await;
        assert_eq!(end["advice"], json!({"reconnect": "none", "interval": 0}));
    }
}

#[tokio::test]
async fn lazy_channels() {
    let options = "[session]\nlazyChannels = [\"/stats/**\"]\nmaxLazyTimeout = 200";
    let node = node(options).await;
    let mut reader = Ws::joined(node.client_address()).await;
    reader.subscribe("/**").await;
    let mut writer = Ws::joined(node.client_address()).await;
    let begin = tokio::time::Instant::now();
    writer.publish("/stats/a", json!(1)).await;
    let event = reader.next().await;
    assert_eq!(event["data"], json!(1));
    assert!(begin.elapsed().as_millis() >= 190, "it waited");
    // What is not lazy takes along what is, in one frame.
    writer.publish("/stats/a", json!(2)).await;
    writer.publish("/quick", json!(3)).await;
    let frame = reader.frame().await;
    let data: Vec<_> = frame.iter().map(|event| event["data"].clone()).collect();
    assert_eq!(data, [json!(2), json!(3)]);
}

#[tokio::test]
async fn unknown_values_are_refused() {
    for text in [
        "[extensions]\nactivity = \"both\"",
        "[extensions]\nack = 1",
        "[extensions]\nbinary = true",
        "[session]\nlazyChannels = [\"stats\"]",
        "[session]\nmaxProcessing = 1000",
    ] {
        assert!(
            halley::config::Config::from_text(text, []).is_err(),
            "{text}"
        );
    }
}
