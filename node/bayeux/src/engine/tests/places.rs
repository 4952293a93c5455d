use super::*;
use crate::{Decision, HandshakeVerdict, Message, SecurityPolicy, Session, Verdict};
use std::sync::atomic::AtomicBool;

/// Answers handshakes once it is open: no to those with `ext.deny`.
#[derive(Default)]
struct Gate(Arc<AtomicBool>);

impl SecurityPolicy for Gate {
    fn can_handshake(&self, message: &Message<'_>) -> Decision<HandshakeVerdict> {
        let open = self.0.clone();
        let verdict = match message.ext_field("deny") {
            Some(_) => HandshakeVerdict::deny(),
            None => HandshakeVerdict::grant(None),
        };
        Decision::Later(Box::pin(std::future::poll_fn(move |_| {
            if open.load(Ordering::Relaxed) {
                Poll::Ready(verdict.clone())
            } else {
                Poll::Pending
            }
        })))
    }

    fn can_create(&self, _: &Arc<Session>, _: &ChannelName, _: &Message<'_>) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }

    fn can_subscribe(
        &self,
        _: &Arc<Session>,
        _: &ChannelName,
        _: &Message<'_>,
    ) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }

    fn can_publish(&self, _: &Arc<Session>, _: &ChannelName, _: &Message<'_>) -> Decision<Verdict> {
        Decision::Now(Verdict::Grant)
    }
}

#[test]
fn handshakes_in_process_have_their_place_among_the_sessions() {
    let open = Arc::new(AtomicBool::new(false));
    let config = EngineConfig {
        max_sessions: 2,
        ..EngineConfig::default()
    };
    let engine = Engine::new(config, Arc::new(Gate(open.clone())));
    let mut cx = Context::from_waker(Waker::noop());
    let granted = r#"{"channel":"/meta/handshake"}"#;
    let denied = r#"{"channel":"/meta/handshake","ext":{"deny":1}}"#;
    let mut peers: Vec<_> = (0..4).map(|_| engine.websocket_peer()).collect();
    let [first, second, third, fourth] = &mut peers[..] else {
        panic!("four")
    };
    let mut a = Box::pin(engine.websocket_frame(first, granted, START));
    let mut b = Box::pin(engine.websocket_frame(second, denied, START));
    assert!(a.as_mut().poll(&mut cx).is_pending());
    assert!(b.as_mut().poll(&mut cx).is_pending());
    assert_eq!(engine.session_count(), 0);
    // Both places are taken by handshakes that have not been decided.
    let reply = Ws::new(&engine).ask(json!({"channel":"/meta/handshake"}));
    assert_eq!(reply[0]["error"], json!("503::session_limit_reached"));
    // One is dropped, and its place is free again.
    drop(a);
    let mut c = Box::pin(engine.websocket_frame(third, granted, START));
    assert!(c.as_mut().poll(&mut cx).is_pending());
    open.store(true, Ordering::Relaxed);
    assert!(b.as_mut().poll(&mut cx).is_ready(), "denied");
    assert!(c.as_mut().poll(&mut cx).is_ready(), "granted");
    assert_eq!(engine.session_count(), 1);
    now_or_never(engine.websocket_frame(fourth, granted, START)).unwrap();
    assert_eq!(engine.session_count(), 2);
    let reply = Ws::new(&engine).ask(json!({"channel":"/meta/handshake"}));
    assert_eq!(reply[0]["error"], json!("503::session_limit_reached"));
    assert_eq!(engine.session_count(), 2);
}

#[test]
fn many_handshakes_at_one_time_do_not_exceed_the_bound() {
    let engine = engine_with(|config| config.max_sessions = 50);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..200 {
                    let mut peer = engine.websocket_peer();
                    let frame = r#"{"channel":"/meta/handshake"}"#;
                    now_or_never(engine.websocket_frame(&mut peer, frame, START)).unwrap();
                    assert!(engine.session_count() <= 50);
                }
            });
        }
    });
    assert_eq!(engine.session_count(), 50);
}
