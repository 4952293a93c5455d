//! What Halley nodes tell each other about the Oort dialect: their own Oort URL, and the Java nodes they know.
//!
//! With it no Halley node dials another one in the Oort dialect, and every Java node is told of every Halley node.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use super::event::{Event, SiblingNews};
use super::inbox::Inbox;
use super::url::URL_BYTES_MAX;
use crate::{Member, NodeName, StateChannel, StateHandler, StateSender};

/// Most nodes that are taken from one sibling.
const NODES_MAX: usize = 1024;

/// Ticks of the handler between two repetitions.
const TICKS: u32 = 8;

#[derive(Serialize, Deserialize, Default, Clone, PartialEq)]
struct News {
    url: String,
    nodes: Vec<String>,
}

/// Tells and hears the news.
pub(super) struct Siblings {
    sender: Arc<dyn StateSender>,
    inbox: Arc<Inbox<Event>>,
    news: Mutex<(News, u32)>,
    heard: Mutex<BTreeMap<NodeName, SiblingNews>>,
}

impl Siblings {
    pub(super) fn new(sender: Arc<dyn StateSender>, inbox: Arc<Inbox<Event>>, url: &str) -> Self {
        let url = url.to_owned();
        let nodes = Vec::new();
        Self {
            sender,
            inbox,
            news: Mutex::new((News { url, nodes }, 0)),
            heard: Mutex::default(),
        }
    }

    /// Tells the siblings which nodes this one has links to, when that has changed.
    pub(super) fn tell(&self, mut nodes: Vec<String>) {
        nodes.sort_unstable();
        nodes.truncate(NODES_MAX);
        let mut news = self.news.lock();
        if news.0.nodes != nodes {
            news.0.nodes = nodes;
            self.broadcast(&news.0);
        }
    }

    fn broadcast(&self, news: &News) {
        self.sender
            .broadcast_state(StateChannel::OORT, encoded(news));
    }

    /// The news of one sibling, if they are new.
    fn note(&self, from: &NodeName, news: SiblingNews) {
        let mut heard = self.heard.lock();
        let before = match &news {
            SiblingNews::Left => heard.remove(from),
            SiblingNews::Knows { .. } => heard.insert(from.clone(), news.clone()),
        };
        if before.as_ref() != Some(&news) {
            self.inbox.push_always(Event::Sibling(from.clone(), news));
        }
    }
}

fn encoded(news: &News) -> Bytes {
    serde_json::to_vec(news).unwrap_or_default().into()
}

impl StateHandler for Siblings {
    fn joined(&self, member: &Member) {
        let news = encoded(&self.news.lock().0);
        // A sibling that cannot be reached joins again.
        let _ = self
            .sender
            .send_state(&member.id(), StateChannel::OORT, news);
    }

    fn left(&self, member: &Member) {
        self.note(&member.name, SiblingNews::Left);
    }

    fn received(&self, from: &Member, body: Bytes) {
        let Ok(news) = serde_json::from_slice::<News>(&body) else {
            return;
        };
        let fits = |url: &String| url.len() <= URL_BYTES_MAX;
        if !fits(&news.url) {
            return;
        }
        let nodes = news.nodes.into_iter().filter(fits).take(NODES_MAX);
        let nodes = nodes.collect();
        let url = news.url;
        self.note(&from.name, SiblingNews::Knows { url, nodes });
    }

    fn tick(&self) {
        let mut news = self.news.lock();
        news.1 += 1;
        if news.1.is_multiple_of(TICKS) {
            self.broadcast(&news.0);
        }
    }
}
