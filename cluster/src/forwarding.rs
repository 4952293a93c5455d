//! Which publications travel: the interest of this node, and the taps for the interest of its siblings.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
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
/// Channels that are looked at for one interest frame.
const FRAME_CHANNELS_MAX: usize = 2048;

/// Whether publications on this channel may travel between nodes.
pub(crate) fn is_forwarded(channel: &str) -> bool {
    !NEVER_FORWARDED.iter().any(|root| {
        channel
            .strip_prefix(root)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    })
}

/// What this node asks its siblings for.
///
/// A channel is asked for as soon as the runtime's task has taken the subscription and the link has carried it: some
/// milliseconds. What is published on another node before that does not come here.
#[derive(Debug)]
pub(crate) struct LocalInterest {
    follow: bool,
    /// What has changed since the runtime looked last. Several changes of one channel are one.
    changed: Mutex<BTreeMap<ChannelName, bool>>,
    wake: Notify,
    /// What the siblings are to know, changed by the runtime only.
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

    /// Takes over at most `max` of the changes since the last call, and returns the channels that are now wanted and
    /// were not, or the other way round.
    pub(crate) fn take_changes(&self, max: usize) -> Vec<ChannelName> {
        let mut taken = Vec::new();
        {
            let mut changed = self.changed.lock();
            while taken.len() < max
                && let Some(change) = changed.pop_first()
            {
                taken.push(change);
            }
        }
        let mut announced = self.announced.lock();
        taken.retain(|(channel, wanted)| {
            if *wanted {
                announced.insert(channel.clone())
            } else {
                announced.remove(channel)
            }
        });
        taken.into_iter().map(|(channel, _)| channel).collect()
    }

    /// All of what has been told.
    pub(crate) fn announced(&self) -> BTreeSet<ChannelName> {
        self.announced.lock().clone()
    }

    /// Whether this channel has been told.
    pub(crate) fn wants(&self, channel: &ChannelName) -> bool {
        self.announced.lock().contains(channel)
    }

    /// How many channels have been told.
    pub(crate) fn len(&self) -> usize {
        self.announced.lock().len()
    }

    /// Whether there are changes to be taken.
    pub(crate) fn has_changes(&self) -> bool {
        !self.changed.lock().is_empty()
    }
}

/// What one sibling is still to be told of this node's interest.
///
/// ```text
///   everything announced = told up to the cursor  |  the rest of the snapshot
///   `differs`: channels of which the sibling knows, or will be told by the snapshot, the opposite of what holds
/// ```
///
/// It holds no more than the interest itself: what this node wants, and what the sibling was told before.
#[derive(Debug, Default)]
pub(crate) struct Untold {
    /// How far the snapshot has come.
    cursor: Option<ChannelName>,
    snapshot_told: bool,
    differs: BTreeSet<ChannelName>,
}

impl Untold {
    /// Takes note of changed channels.
    pub(crate) fn changed(&mut self, channels: &[ChannelName], interest: &LocalInterest) {
        let announced = interest.announced.lock();
        for channel in channels {
            if self.differs.remove(channel) {
                continue;
            }
            let to_come =
                !self.snapshot_told && self.cursor.as_ref().is_none_or(|cursor| channel > cursor);
            // What the snapshot has not reached and is not wanted any more will not be in it.
            if !to_come || announced.contains(channel) {
                self.differs.insert(channel.clone());
            }
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.snapshot_told && self.differs.is_empty()
    }

    /// The next frame. Looks at a bounded number of channels, so a frame may be empty; nothing when all is told.
    pub(crate) fn next(&mut self, interest: &LocalInterest) -> Option<Interest> {
        if self.is_empty() {
            return None;
        }
        let announced = interest.announced.lock();
        let mut frame = Interest {
            added: Vec::new(),
            removed: Vec::new(),
            snapshot_end: false,
        };
        let mut bytes = 0;
        if !self.snapshot_told {
            // What came while the snapshot was under way is told after it, so that it ends whatever clients do.
            let from = self
                .cursor
                .as_ref()
                .map_or(Bound::Unbounded, Bound::Excluded);
            let mut rest = announced.range::<ChannelName, _>((from, Bound::Unbounded));
            let mut last = None;
            for channel in rest.by_ref().take(FRAME_CHANNELS_MAX) {
                last = Some(channel.clone());
                if !self.differs.contains(channel) {
                    bytes += channel.as_str().len() + 8;
                    frame.added.push(channel.as_str().to_owned());
                }
                if bytes >= INTEREST_FRAME_BYTES {
                    break;
                }
            }
            self.snapshot_told = rest.next().is_none();
            frame.snapshot_end = self.snapshot_told;
            self.cursor = if self.snapshot_told {
                None
            } else {
                last.or(self.cursor.take())
            };
            return Some(frame);
        }
        for _ in 0..FRAME_CHANNELS_MAX {
            let Some(channel) = self.differs.pop_first() else {
                break;
            };
            let list = if announced.contains(&channel) {
                &mut frame.added
            } else {
                &mut frame.removed
            };
            bytes += channel.as_str().len() + 8;
            list.push(channel.as_str().to_owned());
            if bytes >= INTEREST_FRAME_BYTES {
                break;
            }
        }
        Some(frame)
    }
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
///
/// Its tap has the patterns from the first frame on, but passes nothing on until the sibling has joined, so that joining
/// takes no time however much it wants.
#[derive(Debug)]
pub(crate) struct SiblingInterest {
    wants: BTreeSet<ChannelName>,
    /// It wants more than this node remembers: it is sent everything, and chooses itself.
    everything: bool,
    tap: Arc<SiblingTap>,
    id: TapId,
}

impl SiblingInterest {
    pub(crate) fn new(engine: &Engine, counters: Arc<Counters>, frame_bytes: usize) -> Self {
        let tap = Arc::new(SiblingTap {
            queue: ArcSwapOption::empty(),
            counters,
            frame_bytes,
        });
        Self {
            wants: BTreeSet::new(),
            everything: false,
            id: engine.add_tap(tap.clone()),
            tap,
        }
    }

    /// Takes in a channel. Names that this release does not know are skipped. When that is one more than `limit`, the
    /// sibling is sent everything from now on, and what is to be forgotten is returned.
    pub(crate) fn add(&mut self, name: &str, limit: usize, engine: &Engine) -> Option<Forgotten> {
        let channel = ChannelName::parse(name).ok()?;
        if self.everything || self.wants.contains(&channel) {
            return None;
        }
        if self.wants.len() >= limit {
            self.everything = true;
            engine.tap_subscribe(self.id, &everything());
            let mut wants = std::mem::take(&mut self.wants);
            wants.remove(&everything());
            return Some(Forgotten {
                wants,
                id: self.id,
                remove_tap: false,
            });
        }
        engine.tap_subscribe(self.id, &channel);
        self.wants.insert(channel);
        None
    }

    /// The sibling does not want a channel any more.
    pub(crate) fn remove(&mut self, name: &str, engine: &Engine) {
        if let Ok(channel) = ChannelName::parse(name)
            && self.wants.remove(&channel)
        {
            engine.tap_unsubscribe(self.id, &channel);
        }
    }

    /// What it wants.
    pub(crate) fn report(&self, query: &InterestQuery) -> Wanted {
        if self.everything {
            return query.find(&BTreeSet::from([everything()]));
        }
        query.find(&self.wants)
    }

    /// The sibling has joined: from now on it gets what it wants.
    pub(crate) fn begin(&self, queue: Arc<LinkQueue>) {
        self.tap.queue.store(Some(queue));
    }

    /// The sibling has left: it gets nothing from now on.
    pub(crate) fn end(&self) {
        self.tap.queue.store(None);
    }

    /// The link has ended; its patterns are to be taken from the engine.
    pub(crate) fn forget(self) -> Forgotten {
        self.end();
        Forgotten {
            wants: self.wants,
            id: self.id,
            remove_tap: true,
        }
    }
}

fn everything() -> ChannelName {
    ChannelName::parse("/**").expect("a constant, valid name")
}

/// Patterns that are to be taken from a tap, some at a time.
#[derive(Debug)]
pub(crate) struct Forgotten {
    wants: BTreeSet<ChannelName>,
    id: TapId,
    remove_tap: bool,
}

impl Forgotten {
    /// Takes away at most `max` patterns. Says whether that was the end.
    pub(crate) fn proceed(&mut self, max: usize, engine: &Engine) -> bool {
        for _ in 0..max {
            let Some(channel) = self.wants.pop_first() else {
                break;
            };
            engine.tap_unsubscribe(self.id, &channel);
        }
        if self.wants.is_empty() && self.remove_tap {
            engine.remove_tap(self.id);
        }
        self.wants.is_empty()
    }
}

/// The link to a sibling, as a subscriber of the engine. The engine calls it once per publication.
#[derive(Debug)]
struct SiblingTap {
    /// While the sibling is a member.
    queue: ArcSwapOption<LinkQueue>,
    counters: Arc<Counters>,
    frame_bytes: usize,
}

impl Tap for SiblingTap {
    fn publication(&self, publication: &Arc<Publication>) {
        let queue = self.queue.load();
        let Some(queue) = queue.as_ref() else {
            return;
        };
        if publication.len() > self.frame_bytes {
            // It would end the link, at every attempt, and take the others with it.
            self.counters.publications_too_large.add(1);
        } else if is_forwarded(publication.channel().as_str()) {
            // A full queue has marked itself, and its writer resets the link: siblings see it, nothing is silent.
            let _ = queue.push_message(publication);
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

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).unwrap()
    }

    /// What a sibling knows, by what it was told.
    #[derive(Default)]
    struct Told {
        channels: BTreeSet<String>,
        ends: usize,
        frames: usize,
    }

    impl Told {
        fn take(&mut self, frame: Interest) {
            for channel in frame.added {
                assert!(self.channels.insert(channel), "told twice");
            }
            for channel in frame.removed {
                assert!(self.channels.remove(&channel), "never told");
            }
            self.ends += usize::from(frame.snapshot_end);
            self.frames += 1;
        }

        fn all(&mut self, untold: &mut Untold, interest: &LocalInterest) {
            while let Some(frame) = untold.next(interest) {
                self.take(frame);
            }
        }
    }

    #[test]
    fn changes_are_told_once_and_a_flap_not_at_all() {
        let interest = LocalInterest::new(&Observed::FollowSubscriptions);
        let (a, b) = (name("/a"), name("/b"));
        let (mut untold, mut told) = (Untold::default(), Told::default());
        told.all(&mut untold, &interest);
        assert_eq!((told.ends, told.channels.len()), (1, 0));
        interest.note(&a, true);
        interest.note(&b, true);
        interest.note(&b, false);
        interest.note(&name("/service/x"), true);
        assert!(interest.has_changes());
        let changes = interest.take_changes(10);
        assert_eq!(changes, std::slice::from_ref(&a));
        untold.changed(&changes, &interest);
        let frame = untold.next(&interest).unwrap();
        assert_eq!(
            (&frame.added, &frame.removed, frame.snapshot_end),
            (&vec!["/a".to_owned()], &vec![], false)
        );
        told.take(frame);
        assert!(interest.take_changes(10).is_empty() && untold.is_empty());
        interest.note(&a, false);
        untold.changed(&interest.take_changes(10), &interest);
        assert_eq!(untold.next(&interest).unwrap().removed, ["/a"]);
        assert_eq!(untold.next(&interest), None);
    }

    #[test]
    fn a_fixed_list_does_not_follow_and_a_long_one_is_cut() {
        let names: Vec<String> = (0..5000).map(|n| format!("/channel/number/{n}")).collect();
        let interest = LocalInterest::new(&Observed::Fixed(names));
        interest.note(&name("/a"), true);
        assert!(!interest.has_changes());
        let (mut untold, mut told) = (Untold::default(), Told::default());
        told.all(&mut untold, &interest);
        assert!(told.frames > 3 && told.ends == 1 && told.channels.len() == 5000);
    }

    #[test]
    fn changes_while_the_snapshot_is_under_way_come_out_right_and_do_not_prolong_it() {
        use rand::{RngExt, SeedableRng};
        let mut random = rand::rngs::StdRng::seed_from_u64(7);
        for _ in 0..15 {
            let interest = LocalInterest::new(&Observed::FollowSubscriptions);
            let mut change = |n: usize, universe: usize, interest: &LocalInterest| {
                for _ in 0..n {
                    let channel = name(&format!(
                        "/{}/{}",
                        random.random_range(0..universe),
                        "x".repeat(900)
                    ));
                    interest.note(&channel, random.random());
                }
                interest.take_changes(usize::MAX)
            };
            change(600, 400, &interest);
            let (mut untold, mut told) = (Untold::default(), Told::default());
            let limit = interest.announced.lock().len() / 30 + 3;
            while !untold.is_empty() {
                if let Some(frame) = untold.next(&interest) {
                    told.take(frame);
                }
                if told.ends == 0 {
                    assert!(told.frames < limit + 20);
                    // More is added than one frame tells.
                    let changes = change(60, 100_000, &interest);
                    untold.changed(&changes, &interest);
                    let changes = change(60, 400, &interest);
                    untold.changed(&changes, &interest);
                }
            }
            let announced = interest.announced.lock();
            assert_eq!(
                told.channels,
                announced.iter().map(|c| c.as_str().to_owned()).collect()
            );
            assert_eq!(told.ends, 1);
        }
    }
}
