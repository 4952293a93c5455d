use halley_bayeux::{DefaultPolicy, EndReason, EngineConfig, Session, SessionListener};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex, split};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::protocol::Role;

use super::*;
use crate::RandomSource;

const PACE: Pace = Pace {
    handshake_timeout: Duration::from_secs(3),
    ping_interval: Duration::from_secs(1),
    detection: Duration::from_secs(4),
};
const SECOND: Duration = Duration::from_secs(1);

/// When sessions have ended.
#[derive(Default)]
struct Ends(Mutex<Vec<(EndReason, Instant)>>);

impl SessionListener for Ends {
    fn removed(&self, _: &Arc<Session>, reason: EndReason) {
        self.0.lock().push((reason, Instant::now()));
    }
}

/// An engine with the times of the defaults, served on one connection; and that connection's other end.
fn served(buffer: usize) -> (Arc<Engine>, Arc<Ends>, DuplexStream) {
    let config = EngineConfig {
        timeout_ms: 10_000,
        max_interval_ms: 4000,
        ..EngineConfig::default()
    };
    let engine = Engine::new(config, Arc::new(DefaultPolicy::default()));
    let ends = Arc::new(Ends::default());
    engine.add_session_listener(ends.clone());
    let (here, there) = duplex(buffer);
    let (clock, links) = (Clock::start(), engine.clone());
    tokio::spawn(async move {
        let ws = WebSocketStream::from_raw_socket(here, Role::Server, None).await;
        serve(ws, links, clock, PACE, CancellationToken::new(), ()).await;
    });
    let ticking = engine.clone();
    tokio::spawn(async move {
        loop {
            ticking.tick(clock.now());
            sleep(Duration::from_millis(50)).await;
        }
    });
    (engine, ends, there)
}

/// Shakes hands and leaves a connect to be held, as a Java node does.
async fn connected<S: AsyncRead + AsyncWrite + Unpin>(stream: S) -> WebSocketStream<S> {
    let mut ws = WebSocketStream::from_raw_socket(stream, Role::Client, None).await;
    let handshake = r#"[{"channel":"/meta/handshake","id":"1","version":"1.0","supportedConnectionTypes":["websocket"]}]"#;
    ws.send(Message::text(handshake)).await.unwrap();
    let reply = ws.next().await.unwrap().unwrap().into_text().unwrap();
    let reply: serde_json::Value = serde_json::from_str(&reply).unwrap();
    let connect = serde_json::json!([{"channel": "/meta/connect", "id": "2", "connectionType": "websocket",
        "clientId": reply[0]["clientId"]}]);
    ws.send(Message::text(connect.to_string())).await.unwrap();
    ws
}

/// Answers pings and connects, for ever.
async fn alive<S: AsyncRead + AsyncWrite + Unpin>(mut ws: WebSocketStream<S>, client: &Session) {
    let id = client.id().to_string();
    let connect =
        serde_json::json!([{"channel": "/meta/connect", "id": "3", "connectionType": "websocket",
        "clientId": id}])
        .to_string();
    while let Some(Ok(message)) = ws.next().await {
        if message.is_text() {
            ws.send(Message::text(connect.clone())).await.unwrap();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_falls_silent_is_given_up_within_five_seconds_of_its_last_word() {
    let (engine, ends, there) = served(1 << 16);
    let ws = connected(there).await;
    sleep(SECOND / 2).await;
    let client = engine.sessions().remove(0);
    // It answers for a while, and then reads nothing more, without closing.
    let answering = alive(ws, &client);
    let mut answering = Box::pin(answering);
    for (time, frozen) in [(7, false), (20, true)] {
        let began = Instant::now();
        if frozen {
            sleep(SECOND * time).await;
            let (reason, at) = ends.0.lock()[0];
            let took = at.duration_since(began);
            assert_eq!(reason, EndReason::Expired);
            assert!(took > SECOND * 3 && took < SECOND * 5, "{took:?}");
        } else {
            let _ = timeout(SECOND * time, &mut answering).await;
            assert!(ends.0.lock().is_empty(), "it was alive");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_node_that_takes_nothing_is_given_up_as_soon() {
    let (engine, ends, there) = served(4096);
    let ws = connected(there).await;
    sleep(SECOND / 2).await;
    let client = engine.sessions().remove(0);
    let data = halley_bayeux::Json::validate("\"x\"", 2).unwrap();
    let channel = halley_bayeux::ChannelName::parse("/x").unwrap();
    let publication = halley_bayeux::Publication::new(&channel, data);
    let began = Instant::now();
    // More than the connection takes: the writer is stuck.
    for _ in 0..500 {
        engine.deliver_to(&client, &publication);
    }
    sleep(SECOND * 20).await;
    let took = ends.0.lock()[0].1.duration_since(began);
    assert!(took < SECOND * 5, "{took:?}");
    drop(ws);
}

/// Passes bytes on as a TCP connection does over a line of 100 ms that loses 2 % of all packets: in order, each again
/// and again until it arrives, after 300 ms, 600 ms, ...
async fn lossy(
    from: impl AsyncRead + Unpin,
    to: impl AsyncWrite + Unpin + Send + 'static,
    random: RandomSource,
) {
    let (passed, mut arriving) = tokio::sync::mpsc::unbounded_channel::<(Instant, Vec<u8>)>();
    let mut to = to;
    tokio::spawn(async move {
        while let Some((at, bytes)) = arriving.recv().await {
            sleep_until(at).await;
            if to.write_all(&bytes).await.is_err() {
                break;
            }
        }
    });
    let mut from = from;
    let mut buffer = vec![0; 1400];
    let mut last = Instant::now();
    while let Ok(length @ 1..) = from.read(&mut buffer).await {
        let mut late = Duration::from_millis(100);
        let mut again = Duration::from_millis(300);
        while random.next_u64() % 100 < 2 {
            late += again;
            again *= 2;
        }
        last = last.max(Instant::now() + late);
        let _ = passed.send((last, buffer[..length].to_vec()));
    }
}

#[tokio::test(start_paused = true)]
async fn loss_and_delay_are_no_silence() {
    let (engine, ends, there) = served(1 << 16);
    let (near, far) = duplex(1 << 16);
    let (there_read, there_write) = split(there);
    let (near_read, near_write) = split(near);
    let random = RandomSource::seeded(1);
    tokio::spawn(lossy(there_read, near_write, random.clone()));
    tokio::spawn(lossy(near_read, there_write, random));
    let ws = connected(far).await;
    sleep(SECOND * 2).await;
    let client = engine.sessions().remove(0);
    let _ = timeout(SECOND * 3600, alive(ws, &client)).await;
    assert!(ends.0.lock().is_empty(), "given up: {:?}", ends.0.lock());
    assert!(client.is_live());
}
