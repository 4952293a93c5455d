//! Bodies of POSTs of one browser, through the whole engine: each line is a body. Held connects are looked at after every body.

#![no_main]

use std::task::{Context, Poll, Waker};

use halley_bayeux::{HeldConnect, HttpOutcome, HttpReply, HttpRequest, Millis, Released};
use libfuzzer_sys::fuzz_target;

mod rig;

#[derive(Default)]
struct Browser {
    cookie: Option<String>,
    session: Option<String>,
    held: Vec<HeldConnect>,
}

impl Browser {
    fn answered(&mut self, reply: HttpReply, now: Millis) {
        if let Some(id) = rig::checked(&reply.body) {
            self.session = Some(id);
        }
        if reply.set_browser.is_some() {
            self.cookie = reply.set_browser;
        }
        reply.ticket.written(now);
    }

    fn look(&mut self, now: Millis) {
        for mut held in std::mem::take(&mut self.held) {
            match held.poll_release(&mut Context::from_waker(Waker::noop()), now) {
                Poll::Pending => self.held.push(held),
                Poll::Ready(Released::Reply(reply)) => self.answered(reply, now),
                Poll::Ready(Released::Displaced { status }) => {
                    assert!((400..600).contains(&status), "status {status}");
                }
            }
        }
    }
}

fuzz_target!(|text: &str| {
    let mut now = Millis(1_000);
    let engine = rig::engine(now);
    let mut browser = Browser::default();
    for line in text.split('\n').take(32) {
        now.0 += 100;
        engine.tick(now);
        match line {
            // The connections of the held connects break.
            "!" => browser.held.clear(),
            // Time passes.
            "~" => now.0 += 31_000,
            _ => {
                let body = line.replace(rig::SESSION, browser.session.as_deref().unwrap_or("none"));
                let cookie = browser.cookie.clone();
                let request = HttpRequest {
                    browser: cookie.as_deref(),
                    http2: false,
                    callback: false,
                    head: None,
                };
                match rig::now_or_never(engine.http_request(request, &body, now)) {
                    Ok(HttpOutcome::Reply(reply)) => browser.answered(reply, now),
                    Ok(HttpOutcome::Hold(held)) => browser.held.push(held),
                    Err(error) => assert!(
                        (400..600).contains(&error.status),
                        "status {}",
                        error.status
                    ),
                }
            }
        }
        browser.look(now);
    }
    browser.held.clear();
    rig::finished(&engine, now);
});
