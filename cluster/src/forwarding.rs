//! Which publications travel: the interest of this node, and the taps for the interest of its siblings.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use halley_bayeux::{ChannelName, Engine, Publication, Session, SubscriptionListener, Tap, TapId};
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::link::LinkQueue;
use crate::wire::Interest;
use crate::{Counters, InterestQuery, Observed, Wanted};

/// Channels below these are never forwarded: each node has its own.
const NEVER_FORWARDED: [&str; 5] = ["/meta", "/service", "/oort", "/seti", "/halley"];
/// Channel names are put into interest frames of about this many bytes.
const INTEREST_FRAME_BYTES: usize = 32 << 10;

/// Whether publications on this channel may travel between nodes.
pub(crate) fn is_forwarded(channel: &str) -> bool {
    !NEVER_FORWARDED.iter().any(|root| {
        channel
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// What this node asks its siblings for.
#[derive(Debug)]
pub(crate) struct LocalInterest {
    follow: bool,
    /// What has changed since the runtime looked last. Several changes of one channel are one.
    changed: Mutex<BTreeMap<ChannelName, bool>>,
    wake: Notify,
    /// What has been told to the siblings, by the runtime only.
    announced: Mutex<BTreeSet<ChannelName>>,
}

impl LocalInterest {
    pub(crate) fn new(observed: &Observed) -> Self {
        let fixed: BTreeSet<ChannelName> = match observed {
            Observed::FollowSubscriptions => BTreeSet::new(),
            Observed::Fixed(channels) => channels
                .iter()
                .filter_map(|text| ChannelName::parse(text).ok())
                .collect(),
        };
        Self {
            follow: matches!(observed, Observed::FollowSubscriptions),
            changed: Mutex::default(),
            wake: Notify::new(),
            announced: Mutex::new(fixed),
        }
    }

    /// Marks what was subscribed before the listener was added.
    pub(crate) fn begin(&self, engine: &Engine) {
        for channel in engine.subscribed_channels() {
            self.note(&channel, true);
        }
    }

    fn note(&self, channel: &ChannelName, wanted: bool) {
        if self.follow && is_forwarded(channel.as_str()) {
            self.changed.lock().insert(channel.clone(), wanted);
            self.wake.notify_one();
        }
    }

    /// Waits for a change. Cancel-safe.
    pub(crate) async fn woken(&self) {
        self.wake.notified().await;
    }

    /// What has been told to the siblings.
    pub(crate) fn report(&self, query: &InterestQuery) -> Wanted {
        query.find(&self.announced.lock())
    }

    /// The changes since the last call, as frames for all siblings.
    pub(crate) fn deltas(&self) -> Vec<Interest> {
        let changed = std::mem::take(&mut *self.changed.lock());
        let mut announced = self.announced.lock();
        let (mut added, mut removed) = (Vec::new(), Vec::new());
        for (channel, wanted) in changed {
            if wanted {
                if announced.insert(channel.clone()) {
                    added.push(channel);
                }
            } else if announced.remove(&channel) {
                removed.push(channel);
            }
        }
        let mut frames = chunks(added.iter(), |added| Interest {
            added,
            removed: Vec::new(),
            snapshot_end: false,
        });
        frames.extend(chunks(removed.iter(), |removed| Interest {
            added: Vec::new(),
            removed,
            snapshot_end: false,
        }));
        frames
    }

    /// Everything, as frames for a new link. The last one is marked.
    pub(crate) fn snapshot(&self) -> Vec<Interest> {
        let mut frames = chunks(self.announced.lock().iter(), |added| Interest {
            added,
            removed: Vec::new(),
            snapshot_end: false,
        });
        match frames.last_mut() {
            Some(last) => last.snapshot_end = true,
            None => frames.push(Interest {
                added: Vec::new(),
                removed: Vec::new(),
                snapshot_end: true,
            }),
        }
        frames
    }
}

fn chunks<'a>(
    channels: impl Iterator<Item = &'a ChannelName>,
    frame: impl Fn(Vec<String>) -> Interest,
) -> Vec<Interest> {
    let (mut frames, mut chunk, mut bytes) = (Vec::new(), Vec::new(), 0);
    for channel in channels {
        bytes += channel.as_str().len() + 8;
        chunk.push(channel.as_str().to_owned());
        if bytes >= INTEREST_FRAME_BYTES {
            frames.push(frame(std::mem::take(&mut chunk)));
            bytes = 0;
        }
    }
    if !chunk.is_empty() {
        frames.push(frame(chunk));
    }
    frames
}

/// Tells the engine's first and last subscriptions to the runtime. The engine calls it in order per channel.
#[derive(Debug)]
pub(crate) struct InterestListener(pub(crate) Arc<LocalInterest>);

impl SubscriptionListener for InterestListener {
    fn first(&self, channel: &ChannelName) {
        self.0.note(channel, true);
    }
    fn last(&self, channel: &ChannelName) {
        self.0.note(channel, false);
    }
    fn subscribed(&self, _: &Arc<Session>, _: &ChannelName) {}
    fn unsubscribed(&self, _: &Arc<Session>, _: &ChannelName) {}
}

/// What one sibling wants, as far as its frames have said.
#[derive(Debug, Default)]
pub(crate) struct SiblingInterest {
    wants: BTreeSet<ChannelName>,
    tap: Option<TapId>,
}

/// A sibling asks for more channels than this node grants.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TooMuchInterest;

impl SiblingInterest {
    /// Takes in a frame. Names that this release does not know are skipped.
    pub(crate) fn apply(
        &mut self,
        interest: &Interest,
        limit: usize,
        engine: &Engine,
    ) -> Result<(), TooMuchInterest> {
        let parse = |name: &String| ChannelName::parse(name).ok();
        for channel in interest.added.iter().filter_map(parse) {
            if self.wants.len() >= limit {
                return Err(TooMuchInterest);
            }
            if self.wants.insert(channel.clone())
                && let Some(tap) = self.tap
            {
                engine.tap_subscribe(tap, &channel);
            }
        }
        for channel in interest.removed.iter().filter_map(parse) {
            if self.wants.remove(&channel)
                && let Some(tap) = self.tap
            {
                engine.tap_unsubscribe(tap, &channel);
            }
        }
        Ok(())
    }

    /// What it wants.
    pub(crate) fn report(&self, query: &InterestQuery) -> Wanted {
        query.find(&self.wants)
    }

    /// The sibling has joined: from now on it gets what it wants.
    pub(crate) fn begin(
        &mut self,
        engine: &Engine,
        queue: Arc<LinkQueue>,
        counters: Arc<Counters>,
        frame_bytes: usize,
    ) {
        let tap = SiblingTap {
            queue,
            counters,
            frame_bytes,
        };
        let tap = engine.add_tap(Arc::new(tap));
        for channel in &self.wants {
            engine.tap_subscribe(tap, channel);
        }
        self.tap = Some(tap);
    }

    /// The sibling has left.
    pub(crate) fn end(&mut self, engine: &Engine) {
        if let Some(tap) = self.tap.take() {
            engine.remove_tap(tap);
        }
    }
}

/// The link to a sibling, as a subscriber of the engine. The engine calls it once per publication.
#[derive(Debug)]
struct SiblingTap {
    queue: Arc<LinkQueue>,
    counters: Arc<Counters>,
    frame_bytes: usize,
}

impl Tap for SiblingTap {
    fn publication(&self, publication: &Arc<Publication>) {
        if publication.len() > self.frame_bytes {
            // It would end the link, at every attempt, and take the others with it.
            self.counters.publications_too_large.add(1);
        } else if is_forwarded(publication.channel().as_str()) {
            // A full queue has marked itself, and its writer resets the link: siblings see it, nothing is silent.
            let _ = self.queue.push_message(publication);
        }
    }
}

/// Hands the publications of a sibling to the local sessions, and to nobody else.
pub(crate) fn deliver(
    items: &[(Bytes, Bytes)],
    engine: &Engine,
    now: halley_bayeux::Millis,
    counters: &Counters,
) {
    for (channel, object) in items {
        let publication = std::str::from_utf8(channel)
            .ok()
            .filter(|name| is_forwarded(name))
            .and_then(|name| ChannelName::parse(name).ok())
            .and_then(|name| Publication::from_object(name, object).ok());
        match publication {
            Some(publication) => {
                counters.publications_received.add(1);
                engine.publish_from_sibling(&publication, now);
            }
            None => counters.publications_invalid.add(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn internal_channels_do_not_travel() {
        for no in [
            "/meta/connect",
            "/service/x",
            "/oort/cloud",
            "/seti/all",
            "/halley/presence",
            "/seti",
        ] {
            assert!(!is_forwarded(no), "{no}");
        }
        for yes in ["/chat", "/metadata/x", "/services", "/**", "/halleys/x"] {
            assert!(is_forwarded(yes), "{yes}");
        }
    }

    #[test]
    fn changes_are_told_once_and_a_flap_not_at_all() {
        let interest = LocalInterest::new(&Observed::FollowSubscriptions);
        let (a, b) = (
            ChannelName::parse("/a").unwrap(),
            ChannelName::parse("/b").unwrap(),
        );
        interest.note(&a, true);
        interest.note(&b, true);
        interest.note(&b, false);
        interest.note(&ChannelName::parse("/service/x").unwrap(), true);
        let deltas = interest.deltas();
        assert_eq!(deltas.len(), 1);
        assert_eq!(
            (&deltas[0].added, &deltas[0].removed),
            (&vec!["/a".to_owned()], &vec![])
        );
        assert!(interest.deltas().is_empty());
        interest.note(&a, false);
        assert_eq!(interest.deltas()[0].removed, ["/a"]);
        let snapshot = interest.snapshot();
        assert!(snapshot.len() == 1 && snapshot[0].snapshot_end && snapshot[0].added.is_empty());
    }

    #[test]
    fn a_fixed_list_does_not_follow_and_a_long_one_is_cut() {
        let names: Vec<String> = (0..5000).map(|n| format!("/channel/number/{n}")).collect();
        let interest = LocalInterest::new(&Observed::Fixed(names));
        interest.note(&ChannelName::parse("/a").unwrap(), true);
        assert!(interest.deltas().is_empty());
        let snapshot = interest.snapshot();
        assert!(snapshot.len() > 3);
        assert_eq!(
            snapshot
                .iter()
                .map(|frame| frame.added.len())
                .sum::<usize>(),
            5000
        );
        assert_eq!(
            snapshot.iter().filter(|frame| frame.snapshot_end).count(),
            1
        );
        assert!(snapshot.last().unwrap().snapshot_end);
    }
}
