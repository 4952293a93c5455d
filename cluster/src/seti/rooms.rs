//! Which users are in which rooms, on all nodes.
//!
//! ```text
//!  engine ──subscribed, unsubscribed, session removed──▶ Rooms ──▶ directory of (room, user), as Seti's of users
//!                                                          │            ▲  deltas, snapshots (state channel ROOMS)
//!  listeners ◀── entered, went: per (room, user, node) ────┘            ▼  replicas of the siblings' parts
//! ```
//!
//! A room is a broadcast channel that matches one of the configured patterns. A user is in it on a node while a session of
//! theirs there is subscribed to that very channel; a subscription to a wildcard makes nobody be in a room, and neither does
//! a session without a user.
//!
//! What it does not do: ask who may be in a room (the security policy decides on subscriptions), or count sessions.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::{BufMut, BytesMut};
use halley_bayeux::{
    ChannelKind, ChannelName, EndReason, Engine, Session, SessionListener, SubscriptionListener,
    UserId,
};
use tracing::warn;

use super::announced::Announced;
use super::user_set::Key;
use crate::parts::{Malformed, PartLimits};
use crate::{Clock, NodeName, StateChannel, StateHandler, StateSender};

/// A user in a room.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Occupant {
    /// The channel.
    pub room: ChannelName,
    /// Who is subscribed to it.
    pub user: UserId,
}

const MALFORMED: Malformed = Malformed("user in a room");

const LENGTH_BYTES: usize = 2;

/// Length of the room u16, room, user.
impl Key for Occupant {
    // A channel name has at most 1024 bytes, a user id 256.
    fn len(&self) -> usize {
        LENGTH_BYTES + self.room.as_str().len() + self.user.as_str().len()
    }

    fn put(&self, out: &mut BytesMut) {
        out.put_u16_le(self.room.as_str().len() as u16);
        out.put_slice(self.room.as_str().as_bytes());
        out.put_slice(self.user.as_str().as_bytes());
    }

    fn read(bytes: &[u8]) -> Result<Self, Malformed> {
        let (length, rest) = bytes.split_first_chunk().ok_or(MALFORMED)?;
        let length: [u8; LENGTH_BYTES] = *length;
        let (room, user) = rest
            .split_at_checked(usize::from(u16::from_le_bytes(length)))
            .ok_or(MALFORMED)?;
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| MALFORMED);
        Ok(Self {
            room: ChannelName::parse(text(room)?).map_err(|_| MALFORMED)?,
            user: UserId::new(text(user)?).map_err(|_| MALFORMED)?,
        })
    }
}

/// Told once per net change of a user's presence in a room on a node, as [`PresenceListener`](super::PresenceListener) is
/// of users; what it says there of the calls holds here too.
pub trait RoomListener: Send + Sync {
    /// The user has a first session in the room on the node.
    fn entered(&self, occupant: &Occupant, node: &NodeName);
    /// The user has none there any more, or the node is no member any more.
    fn went(&self, occupant: &Occupant, node: &NodeName);
}

/// Which channels are rooms. Cheap to clone.
#[derive(Debug, Clone)]
pub struct RoomPatterns(Arc<[ChannelName]>);

impl RoomPatterns {
    /// The broadcast channels that match one of these, whether channels or patterns.
    pub fn new(patterns: &[ChannelName]) -> Self {
        Self(patterns.into())
    }

    /// Whether a channel is a room. A wildcard is none.
    pub fn is_room(&self, channel: &ChannelName) -> bool {
        channel.kind() == ChannelKind::Broadcast
            && !channel.is_wild()
            && self.0.iter().any(|pattern| pattern.matches(channel))
    }
}

/// The rooms of one node. Cheap to clone.
///
/// It must be registered as the handler of [`StateChannel::ROOMS`] before there are members. The [`StateSender`] must not
/// call a handler from inside a send.
#[derive(Clone)]
pub struct Rooms {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Weak<Engine>,
    patterns: RoomPatterns,
    occupants: Announced<Occupant>,
}

impl Rooms {
    /// The bounds unless told otherwise: 32 MiB are about half a million users in rooms of one node. A user for whom there
    /// is no place is in the room, but nobody is told.
    pub fn default_limits() -> PartLimits {
        super::Seti::default_limits()
    }

    /// Follows the subscriptions of the engine's sessions to the channels that are rooms, from now on; to be made before the node
    /// serves.
    pub fn new(
        engine: &Arc<Engine>,
        patterns: RoomPatterns,
        sender: Arc<dyn StateSender>,
        clock: Clock,
        limits: PartLimits,
    ) -> Self {
        let inner = Arc::new(Inner {
            engine: Arc::downgrade(engine),
            patterns,
            occupants: Announced::new(StateChannel::ROOMS, sender, clock, limits),
        });
        engine.add_subscription_listener(Arc::new(Sessions(Arc::downgrade(&inner))));
        engine.add_session_listener(Arc::new(Sessions(Arc::downgrade(&inner))));
        Self { inner }
    }

    /// How long a user stays in a room whose session, or whose node, was lost; see [`Seti::set_grace`](super::Seti::set_grace).
    pub fn set_grace(&self, period: Duration) {
        self.inner.occupants.set_grace(period);
    }

    /// The nodes on which a user is in a room.
    pub fn nodes_of(&self, occupant: &Occupant) -> Vec<NodeName> {
        self.inner.occupants.read().presence(occupant)
    }

    /// Adds a listener. It is told what changes from now on, not what is.
    pub fn add_listener(&self, listener: Arc<dyn RoomListener>) {
        self.inner
            .occupants
            .add_listener(Arc::new(move |occupant, node, present| {
                if present {
                    listener.entered(occupant, node);
                } else {
                    listener.went(occupant, node);
                }
            }));
    }
}

impl fmt::Debug for Rooms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rooms")
            .field("patterns", &self.inner.patterns)
            .finish_non_exhaustive()
    }
}

impl StateHandler for Rooms {
    fn joined(&self, member: &crate::Member) {
        self.inner.occupants.joined(member);
    }

    fn left(&self, member: &crate::Member) {
        self.inner.occupants.left(member);
    }

    fn received(&self, from: &crate::Member, body: bytes::Bytes) {
        self.inner.occupants.received(from, body);
    }

    fn tick(&self) {
        self.inner.occupants.tick();
    }

    fn restarted(&self, this_node: &crate::Member) {
        self.inner.occupants.restarted(this_node);
    }
}

impl Inner {
    /// Brings the directory in line with what the session is subscribed to at this moment: calls about one session may come
    /// from several threads, and out of order.
    fn look(&self, session: &Arc<Session>, channel: &ChannelName) {
        let Some(user) = session.user() else { return };
        if !self.patterns.is_room(channel) {
            return;
        }
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let occupant = Occupant {
            room: channel.clone(),
            user: user.clone(),
        };
        let id = *session.id();
        let outcome = self.occupants.change(|directory, sends| {
            // An ended session is untied as a whole, by `removed`.
            if engine.session(&id).is_none() {
                return Ok(());
            }
            if session.is_subscribed(channel) {
                directory.associate(&occupant, id, sends).map(drop)
            } else {
                directory.disassociate(&occupant, id, sends);
                Ok(())
            }
        });
        if let Err(error) = outcome {
            warn!(%user, room = %channel, %error, "a user in a room is not announced");
        }
    }
}

/// What the engine tells. It does not keep the rooms alive.
struct Sessions(Weak<Inner>);

impl SubscriptionListener for Sessions {
    fn subscribed(&self, session: &Arc<Session>, channel: &ChannelName) {
        if let Some(inner) = self.0.upgrade() {
            inner.look(session, channel);
        }
    }

    fn unsubscribed(&self, session: &Arc<Session>, channel: &ChannelName) {
        if let Some(inner) = self.0.upgrade() {
            inner.look(session, channel);
        }
    }
}

impl SessionListener for Sessions {
    fn removed(&self, session: &Arc<Session>, reason: EndReason) {
        let Some(inner) = self.0.upgrade() else {
            return;
        };
        if session.user().is_none() {
            return;
        }
        let session = *session.id();
        // As in the directory of users.
        let on_purpose = matches!(reason, EndReason::Disconnected | EndReason::Server);
        let lost = (!on_purpose).then(|| inner.occupants.now());
        inner
            .occupants
            .change(|directory, sends| directory.session_removed(session, lost, sends));
    }
}
