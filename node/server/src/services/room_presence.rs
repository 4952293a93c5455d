//! Who is in a room, on `/halley/presence` and the room's own name behind it: the roster at subscription, then who joins and leaves.
//!
//! ```text
//! rooms of all nodes ──entered, went per node──> occupants by room ──first node: join, last node: leave──> subscribers here
//! ```
//!
//! As with [`Presence`](super::Presence) each node tells its own subscribers. A user who is in a room with several sessions, or on
//! several nodes, joins once and leaves once.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Weak};

use halley_bayeux::{
    ChannelName, Engine, Json, Publication, Session, SessionId, SubscriptionListener, UserId,
};
use halley_cluster::NodeName;
use halley_cluster::seti::{Occupant, RoomListener, RoomPatterns};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::ordered::Ordered;
use super::presence::CHANNEL;
use crate::clock::Clock;

/// Nesting of what is sent here.
const DEPTH_MAX: usize = 8;

/// How many nodes each user is in the room on. As large as what the nodes tell, which is bounded.
type Occupants = HashMap<ChannelName, BTreeMap<UserId, usize>, ahash::RandomState>;

/// Tells the subscribers of this node.
pub(crate) struct RoomPresence {
    rooms: RoomPatterns,
    engine: Weak<Engine>,
    clock: Clock,
    occupants: Mutex<Occupants>,
    /// Rosters and changes leave in one order: a roster taken before a change must not arrive after it.
    actions: Ordered<Action>,
}

enum Action {
    Roster {
        session: SessionId,
        room: ChannelName,
    },
    Entered(Occupant),
    Went(Occupant),
}

impl fmt::Debug for RoomPresence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RoomPresence").finish_non_exhaustive()
    }
}

impl RoomPresence {
    /// Offers the channels of rooms. What is returned is to be told who is in them, from their beginning.
    pub(crate) fn start(rooms: RoomPatterns, engine: &Arc<Engine>, clock: Clock) -> Arc<Self> {
        let presence = Arc::new(Self {
            rooms,
            engine: Arc::downgrade(engine),
            clock,
            occupants: Mutex::default(),
            actions: Ordered::default(),
        });
        engine.add_subscription_listener(Arc::clone(&presence) as Arc<dyn SubscriptionListener>);
        presence
    }

    fn carry_out(&self, action: Action) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let now = self.clock.now();
        match action {
            Action::Roster { session, room } => {
                if let Some(publication) = publication(&room, &self.roster(&room)) {
                    engine.deliver(&session, &publication, now);
                }
            }
            Action::Entered(occupant) => {
                if self.enter(&occupant) {
                    tell(&engine, &occupant, "join", now);
                }
            }
            Action::Went(occupant) => {
                if self.leave(&occupant) {
                    tell(&engine, &occupant, "leave", now);
                }
            }
        }
    }

    fn roster(&self, room: &ChannelName) -> Value {
        let occupants = self.occupants.lock();
        let users = occupants.get(room).into_iter().flat_map(BTreeMap::keys);
        let users: Vec<Value> = users.map(|user| json!({ "user": user.as_str() })).collect();
        json!({ "type": "roster", "room": room.as_str(), "users": users })
    }

    /// Whether it is the first node of the user in the room.
    fn enter(&self, occupant: &Occupant) -> bool {
        let mut occupants = self.occupants.lock();
        let users = occupants.entry(occupant.room.clone()).or_default();
        let nodes = users.entry(occupant.user.clone()).or_default();
        *nodes += 1;
        *nodes == 1
    }

    /// Whether it was the last.
    fn leave(&self, occupant: &Occupant) -> bool {
        let mut occupants = self.occupants.lock();
        let Some(users) = occupants.get_mut(&occupant.room) else {
            return false;
        };
        let Some(nodes) = users.get_mut(&occupant.user) else {
            return false;
        };
        *nodes -= 1;
        if *nodes > 0 {
            return false;
        }
        users.remove(&occupant.user);
        if users.is_empty() {
            occupants.remove(&occupant.room);
        }
        true
    }

    fn put(&self, action: Action) {
        self.actions.put(action, |action| self.carry_out(action));
    }
}

fn tell(engine: &Engine, occupant: &Occupant, kind: &str, now: halley_bayeux::Millis) {
    let user = occupant.user.as_str();
    let event = json!({ "type": kind, "room": occupant.room.as_str(), "user": user });
    if let Some(publication) = publication(&occupant.room, &event) {
        engine.publish_from_sibling(&publication, now);
    }
}

/// On the channel of the room's presence; `None` for a room whose name leaves no place for the prefix.
fn publication(room: &ChannelName, data: &Value) -> Option<Arc<Publication>> {
    let channel = ChannelName::parse(&format!("{CHANNEL}{room}")).ok()?;
    let text = data.to_string();
    let json = Json::validate(&text, DEPTH_MAX).ok()?;
    Some(Publication::new(&channel, json))
}

impl SubscriptionListener for RoomPresence {
    fn subscribed(&self, session: &Arc<Session>, channel: &ChannelName) {
        let room = channel.as_str().strip_prefix(CHANNEL);
        let Some(Ok(room)) = room.map(ChannelName::parse) else {
            return;
        };
        if self.rooms.is_room(&room) {
            let session = *session.id();
            self.put(Action::Roster { session, room });
        }
    }
}

impl RoomListener for RoomPresence {
    fn entered(&self, occupant: &Occupant, _node: &NodeName) {
        self.put(Action::Entered(occupant.clone()));
    }

    fn went(&self, occupant: &Occupant, _node: &NodeName) {
        self.put(Action::Went(occupant.clone()));
    }
}
