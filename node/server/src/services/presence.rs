//! Who is present, on `/halley/presence`: the roster at subscription, then who joins and leaves.
//!
//! Each node tells its own subscribers; nothing of this travels between nodes, since every node has the directory.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use halley_bayeux::{
    ChannelName, Engine, Json, Publication, Session, SessionId, SubscriptionListener, UserId,
};
use serde_json::{Value, json};

use super::directory::{Directory, DirectoryListener};
use super::ordered::Ordered;
use crate::clock::Clock;

/// The channel of presence.
pub(crate) const CHANNEL: &str = "/halley/presence";

/// Nesting of what is sent here.
const DEPTH_MAX: usize = 8;

/// Tells the subscribers of this node.
pub struct Presence {
    channel: ChannelName,
    directory: Arc<dyn Directory>,
    engine: Weak<Engine>,
    clock: Clock,
    /// Rosters and changes leave in one order: a roster taken before a change must not arrive after it.
    actions: Ordered<Action>,
}

enum Action {
    Roster(SessionId),
    Change {
        kind: &'static str,
        user: UserId,
        node: String,
    },
}

impl fmt::Debug for Presence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Presence").finish_non_exhaustive()
    }
}

impl Presence {
    /// Ties the channel to the directory.
    pub fn start(
        channel: ChannelName,
        directory: Arc<dyn Directory>,
        engine: &Arc<Engine>,
        clock: Clock,
    ) {
        let presence = Arc::new(Self {
            channel,
            directory: Arc::clone(&directory),
            engine: Arc::downgrade(engine),
            clock,
            actions: Ordered::default(),
        });
        engine.add_subscription_listener(Arc::clone(&presence) as Arc<dyn SubscriptionListener>);
        directory.add_listener(presence);
    }

    fn carry_out(&self, action: Action) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let now = self.clock.now();
        match action {
            Action::Roster(session) => {
                if let Some(publication) = self.publication(&self.roster()) {
                    engine.deliver(&session, &publication, now);
                }
            }
            Action::Change { kind, user, node } => {
                let event = json!({ "type": kind, "user": user.as_str(), "node": node });
                if let Some(publication) = self.publication(&event) {
                    engine.publish_from_sibling(&publication, now);
                }
            }
        }
    }

    fn roster(&self) -> Value {
        let users: BTreeMap<String, Vec<String>> = self
            .directory
            .users()
            .iter()
            .map(|user| (user.as_str().to_owned(), self.directory.nodes_of(user)))
            .filter(|(_, nodes)| !nodes.is_empty())
            .collect();
        let users: Vec<Value> = users
            .iter()
            .map(|(user, nodes)| json!({ "user": user, "nodes": nodes }))
            .collect();
        json!({ "type": "roster", "users": users })
    }

    fn publication(&self, data: &Value) -> Option<Arc<Publication>> {
        let text = data.to_string();
        let json = Json::validate(&text, DEPTH_MAX).ok()?;
        Some(Publication::new(&self.channel, json))
    }

    fn put(&self, action: Action) {
        self.actions.put(action, |action| self.carry_out(action));
    }
}

impl SubscriptionListener for Presence {
    fn subscribed(&self, session: &Arc<Session>, channel: &ChannelName) {
        if *channel == self.channel {
            self.put(Action::Roster(*session.id()));
        }
    }
}

impl DirectoryListener for Presence {
    fn joined(&self, user: &UserId, node: &str) {
        self.put(Action::Change {
            kind: "join",
            user: user.clone(),
            node: node.to_owned(),
        });
    }

    fn left(&self, user: &UserId, node: &str) {
        self.put(Action::Change {
            kind: "leave",
            user: user.clone(),
            node: node.to_owned(),
        });
    }
}
