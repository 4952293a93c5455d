//! Pages of sessions, channels and subscribers.

use super::*;
use crate::{LocalSession, Tap, UserId};

fn session(engine: &Arc<Engine>, channels: &[&str]) -> LocalSession {
    let user = UserId::new("alice").unwrap();
    let session = engine.local_session(Some(user), Arc::new(|_: &Arc<Publication>| {}));
    for channel in channels {
        now_or_never(session.subscribe(&name(channel), START)).unwrap();
    }
    session
}

fn keys(sessions: &[Arc<Session>]) -> Vec<u64> {
    sessions.iter().map(|session| session.key()).collect()
}

struct Deaf;

impl Tap for Deaf {
    fn publication(&self, _: &Arc<Publication>) {}
}

#[test]
fn sessions_come_in_the_order_of_their_keys() {
    let engine = engine();
    let sessions: Vec<_> = (0..7).map(|_| session(&engine, &[])).collect();
    let all: Vec<u64> = sessions.iter().map(|one| one.session().key()).collect();
    assert_eq!(keys(&engine.sessions_after(0, 100)), all);
    assert_eq!(keys(&engine.sessions_after(0, 3)), all[..3]);
    assert_eq!(keys(&engine.sessions_after(all[2], 3)), all[3..6]);
    assert_eq!(keys(&engine.sessions_after(all[6], 3)), Vec::<u64>::new());
    assert_eq!(keys(&engine.sessions_after(0, 0)), Vec::<u64>::new());
    sessions[0].disconnect(START);
    assert_eq!(keys(&engine.sessions_after(0, 2)), all[1..3]);
    assert!(engine.session_with_key(all[0]).is_none());
    assert_eq!(
        engine.session_with_key(all[1]).map(|one| *one.id()),
        Some(*sessions[1].session().id())
    );
}

#[test]
fn channels_come_by_name_with_their_sessions() {
    let engine = engine();
    let _sessions = [
        session(&engine, &["/b", "/a/**", "/c"]),
        session(&engine, &["/b", "/a/x"]),
    ];
    let tap = engine.add_tap(Arc::new(Deaf));
    engine.tap_subscribe(tap, &name("/c"));
    engine.tap_subscribe(tap, &name("/d"));
    let page = |after: &str, limit| -> Vec<(String, usize)> {
        let wanted = |channel: &ChannelName| channel.as_str() != "/a/x";
        let page = engine.channels_after(after, limit, wanted);
        page.into_iter()
            .map(|found| (found.channel.as_str().to_owned(), found.sessions))
            .collect()
    };
    let of = |names: &[(&str, usize)]| -> Vec<(String, usize)> {
        names
            .iter()
            .map(|(name, n)| ((*name).to_owned(), *n))
            .collect()
    };
    assert_eq!(page("", 2), of(&[("/a/**", 1), ("/b", 2)]));
    assert_eq!(page("/b", 9), of(&[("/c", 1), ("/d", 0)]));
}

#[test]
fn subscribers_are_those_of_exactly_this_channel() {
    let engine = engine();
    let sessions: Vec<_> = (0..5).map(|_| session(&engine, &["/a/b"])).collect();
    let _wild = session(&engine, &["/a/*"]);
    let tap = engine.add_tap(Arc::new(Deaf));
    engine.tap_subscribe(tap, &name("/a/b"));
    let all: Vec<u64> = sessions.iter().map(|one| one.session().key()).collect();
    let page = |after, limit| engine.subscribers_after(&name("/a/b"), after, limit);
    assert_eq!(page(0, 2).map(|page| keys(&page)), Some(all[..2].to_vec()));
    assert_eq!(
        page(all[1], 9).map(|page| keys(&page)),
        Some(all[2..].to_vec())
    );
    assert!(engine.subscribers_after(&name("/a"), 0, 9).is_none());
}
