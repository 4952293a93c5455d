//! Frames of two WebSockets, through the whole engine: each line is a frame, those that begin with a tab go to the second one.

#![no_main]

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use halley_bayeux::{Engine, Millis, Output, WebSocketPeer};
use libfuzzer_sys::fuzz_target;

mod rig;

struct Socket {
    peer: Option<WebSocketPeer>,
    session: String,
}

impl Socket {
    fn new(engine: &Arc<Engine>) -> Self {
        Self {
            peer: Some(engine.websocket_peer()),
            session: "none".to_owned(),
        }
    }

    fn receive(&mut self, engine: &Arc<Engine>, text: &str, now: Millis) {
        let Some(peer) = &mut self.peer else { return };
        let text = text.replace(rig::SESSION, &self.session);
        if rig::now_or_never(engine.websocket_frame(peer, &text, now)).is_err() {
            self.close(now);
        }
    }

    fn send(&mut self, now: Millis) {
        while let Some(peer) = &mut self.peer {
            match peer.poll_output(&mut Context::from_waker(Waker::noop()), now) {
                Poll::Pending => return,
                Poll::Ready(Output::Frame(frame)) => {
                    if let Some(id) = rig::checked(&frame) {
                        self.session = id;
                    }
                    peer.written(now);
                }
                Poll::Ready(Output::Close(..)) => self.close(now),
            }
        }
    }

    fn close(&mut self, now: Millis) {
        if let Some(mut peer) = self.peer.take() {
            peer.closed(now);
        }
    }
}

fuzz_target!(|text: &str| {
    let mut now = Millis(1_000);
    let engine = rig::engine(now);
    let mut sockets = [Socket::new(&engine), Socket::new(&engine)];
    for line in text.split('\n').take(32) {
        now.0 += 100;
        engine.tick(now);
        let (place, line) = line.strip_prefix('\t').map_or((0, line), |rest| (1, rest));
        match line {
            // The connection breaks, and the client comes with a new one.
            "!" => {
                sockets[place].close(now);
                sockets[place].peer = Some(engine.websocket_peer());
            }
            // Time passes.
            "~" => now.0 += 31_000,
            _ => sockets[place].receive(&engine, line, now),
        }
        sockets.iter_mut().for_each(|socket| socket.send(now));
    }
    sockets.iter_mut().for_each(|socket| socket.close(now));
    rig::finished(&engine, now);
});
