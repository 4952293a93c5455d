//! The user directory of a running node.

use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use halley_bayeux::{
    EndReason, Engine, Millis, Publication, Session, SessionId, SessionListener, UserId,
};
use tracing::{debug, warn};

use super::announced::Announced;
use super::{PresenceListener, message};
use crate::parts::{PartLimits, PartTooLarge};
use crate::{Clock, Member, NodeId, NodeName, StateChannel, StateHandler, StateSender};

/// The user directory of one node. Cheap to clone.
///
/// It must be registered with whatever carries state: itself as the handler of [`StateChannel::SETI`],
/// [`message_handler`](Seti::message_handler) as that of [`StateChannel::SETI_MESSAGES`] and
/// [`disconnect_handler`](Seti::disconnect_handler) as that of [`StateChannel::SETI_DISCONNECTS`]. It learns of members by *joined*
/// only, so that must happen before there are any.
///
/// Frames are queued while the directory's lock is held, so that siblings get them in the order of the changes. The
/// [`StateSender`] therefore must not call a handler from inside a send.
#[derive(Clone)]
pub struct Seti {
    inner: Arc<Inner>,
}

struct Inner {
    this_node: NodeName,
    engine: Arc<Engine>,
    sender: Arc<dyn StateSender>,
    users: Announced<UserId>,
}

/// Where a message to a user went.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SendOutcome {
    /// How many sessions on this node took it.
    pub local: usize,
    /// The siblings to which it was queued. They deliver it to the sessions that the user has there by then.
    pub nodes: Vec<NodeName>,
    /// The siblings where the user is known to be, but to which it could not be queued: the link was full or has just
    /// gone, or the message is longer than a link carries.
    pub refused: Vec<NodeName>,
}

impl SendOutcome {
    /// Whether anybody was there to take it.
    pub fn is_sent(&self) -> bool {
        self.local > 0 || !self.nodes.is_empty()
    }
}

/// Why a user was not associated. Nothing has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AssociateError {
    /// The session has ended.
    #[error("the session has ended")]
    SessionEnded,
    /// The node's directory is full.
    #[error("the directory of this node is full: {0}")]
    Full(#[from] PartTooLarge),
}

impl Seti {
    /// The bounds that Seti uses unless told otherwise: 32 MiB are about a million users on one node.
    pub fn default_limits() -> PartLimits {
        PartLimits {
            part_bytes_max: 32 << 20,
            ..PartLimits::default()
        }
    }

    /// The directory of `engine`'s users, announced through `sender`. From now on sessions with a user are associated
    /// when they are added and disassociated when they are removed; to be made before the node serves.
    pub fn new(
        engine: Arc<Engine>,
        sender: Arc<dyn StateSender>,
        clock: Clock,
        limits: PartLimits,
    ) -> Self {
        let inner = Arc::new(Inner {
            this_node: sender.this_node().name,
            engine,
            users: Announced::new(StateChannel::SETI, sender.clone(), clock, limits),
            sender,
        });
        inner
            .engine
            .add_session_listener(Arc::new(Sessions(Arc::downgrade(&inner))));
        Self { inner }
    }

    /// Ties a user to a session of this node. Returns false when it was tied already. A session may stand for several
    /// users, a user may have several sessions.
    ///
    /// # Errors
    /// [`AssociateError`].
    pub fn associate(&self, user: &UserId, session: &Arc<Session>) -> Result<bool, AssociateError> {
        self.inner.associate(user, session.id())
    }

    /// Unties a user from a session. Returns false when it was not tied.
    pub fn disassociate(&self, user: &UserId, session: &Session) -> bool {
        let session = *session.id();
        self.inner
            .users
            .change(|directory, sends| directory.disassociate(user, session, sends))
    }

    /// Unties a user from all its sessions on this node and returns them.
    pub fn disassociate_all(&self, user: &UserId) -> Vec<SessionId> {
        self.inner
            .users
            .change(|directory, sends| directory.disassociate_all(user, sends))
    }

    /// Every user that is present anywhere, once, in no order.
    pub fn users(&self) -> Vec<UserId> {
        self.inner.users.read().users().cloned().collect()
    }

    /// The users with a session on this node, in no order.
    pub(crate) fn local_users(&self) -> Vec<UserId> {
        self.inner.users.read().local_users().cloned().collect()
    }

    /// How many users are present anywhere. Looks at every one.
    pub fn user_count(&self) -> usize {
        self.inner.users.read().users().count()
    }

    /// The users whose names contain a text, the first so many by name. Looks at every user: for operators, not for the
    /// way of a message.
    pub fn find_users(&self, text: &str, limit: usize) -> Vec<UserId> {
        let directory = self.inner.users.read();
        let matches = |user: &&UserId| user.as_str().contains(text);
        let mut found: Vec<&UserId> = directory.users().filter(matches).collect();
        if limit < found.len() {
            found.select_nth_unstable(limit);
            found.truncate(limit);
        }
        found.sort_unstable();
        found.into_iter().cloned().collect()
    }

    /// How many users have a session on this node.
    pub fn local_user_count(&self) -> usize {
        self.inner.users.read().local_user_count()
    }

    /// The nodes on which a user is present.
    pub fn presence(&self, user: &UserId) -> Vec<NodeName> {
        self.inner.users.read().presence(user)
    }

    /// Whether a user is present on any node.
    pub fn is_present(&self, user: &UserId) -> bool {
        self.inner.users.read().is_present(user)
    }

    /// The sessions that a user has on this node.
    pub fn sessions(&self, user: &UserId) -> Vec<SessionId> {
        self.inner.users.read().local(user).to_vec()
    }

    /// Sends an event to every session of a user, on every node: one frame per node, whatever the number of sessions.
    /// An unknown user gets nothing, and nothing is sent on a guess.
    pub fn send(&self, user: &UserId, publication: &Arc<Publication>) -> SendOutcome {
        let nodes: Vec<_> = self.inner.users.read().remote(user).collect();
        let mut outcome = SendOutcome {
            local: self.inner.deliver(user, publication),
            ..SendOutcome::default()
        };
        self.inner.send_each(
            nodes,
            StateChannel::SETI_MESSAGES,
            || message::encode(user, publication),
            &mut outcome,
        );
        outcome
    }

    /// Ends every session that stands for a user, on every node, as code of those nodes would
    /// ([`EndReason::Server`]): its client is told to stay away. An unknown user: nothing happens.
    pub fn disconnect(&self, user: &UserId) -> SendOutcome {
        let nodes: Vec<_> = self.inner.users.read().remote(user).collect();
        let mut outcome = SendOutcome {
            local: self.inner.end_sessions(user),
            ..SendOutcome::default()
        };
        self.inner.send_each(
            nodes,
            StateChannel::SETI_DISCONNECTS,
            || Bytes::copy_from_slice(user.as_str().as_bytes()),
            &mut outcome,
        );
        outcome
    }

    /// How long a user is kept present whose session, or whose node, was lost: when it comes back in time, on whatever
    /// node, nobody sees it leave. For what is lost from now on; 0, which it is at first, keeps nobody. Who disconnects on
    /// purpose leaves at once. What is sent to a user meanwhile is not kept for it.
    pub fn set_grace(&self, period: std::time::Duration) {
        self.inner.users.set_grace(period);
    }

    /// Adds a listener. It is told what changes from now on, not what is.
    pub fn add_listener(&self, listener: Arc<dyn PresenceListener>) {
        self.inner
            .users
            .add_listener(Arc::new(move |user, node, present| {
                if present {
                    listener.present(user, node);
                } else {
                    listener.absent(user, node);
                }
            }));
    }

    /// A sibling has sent something for the sessions that a user has here. Any thread may say so.
    pub(crate) fn received_for_users(&self, from: &Member, channel: StateChannel, body: &[u8]) {
        if channel == StateChannel::SETI_MESSAGES {
            match message::decode(body) {
                Ok((user, publication)) => {
                    // The user may have gone meanwhile. The sender addressed every node, so it is not sent on.
                    self.inner.deliver(&user, &publication);
                }
                Err(error) => warn!(from = %from.name, %error, "message dropped"),
            }
            return;
        }
        match std::str::from_utf8(body).map(UserId::new) {
            Ok(Ok(user)) => {
                self.inner.end_sessions(&user);
            }
            _ => warn!(from = %from.name, "not the name of a user whose sessions are to end"),
        }
    }

    /// The handler of [`StateChannel::SETI_MESSAGES`].
    pub fn message_handler(&self) -> Arc<dyn StateHandler> {
        Arc::new(Messages(self.clone()))
    }

    /// The handler of [`StateChannel::SETI_DISCONNECTS`].
    pub fn disconnect_handler(&self) -> Arc<dyn StateHandler> {
        Arc::new(Disconnects(self.clone()))
    }
}

impl StateHandler for Seti {
    fn joined(&self, member: &Member) {
        self.inner.users.joined(member);
    }

    fn left(&self, member: &Member) {
        self.inner.users.left(member);
    }

    fn received(&self, from: &Member, body: Bytes) {
        self.inner.users.received(from, body);
    }

    fn tick(&self) {
        self.inner.users.tick();
    }

    fn restarted(&self, this_node: &Member) {
        self.inner.users.restarted(this_node);
    }
}

impl fmt::Debug for Seti {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Seti")
            .field("this_node", &self.inner.this_node)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn now(&self) -> Millis {
        self.users.now()
    }

    fn associate(&self, user: &UserId, session: &SessionId) -> Result<bool, AssociateError> {
        let new = self
            .users
            .change(|directory, sends| directory.associate(user, *session, sends))?;
        // The session may have ended before it was tied; then its removal found nothing to untie.
        if self.engine.session(session).is_none() {
            self.users
                .change(|directory, sends| directory.session_removed(*session, None, sends));
            return Err(AssociateError::SessionEnded);
        }
        Ok(new)
    }

    fn deliver(&self, user: &UserId, publication: &Arc<Publication>) -> usize {
        let sessions =
            smallvec::SmallVec::<[SessionId; 4]>::from_slice(self.users.read().local(user));
        let now = self.now();
        sessions
            .iter()
            .filter(|session| self.engine.deliver(session, publication, now))
            .count()
    }

    /// Queues one frame for each of the nodes, made when there is one.
    fn send_each(
        &self,
        nodes: Vec<NodeId>,
        channel: StateChannel,
        frame: impl FnOnce() -> Bytes,
        outcome: &mut SendOutcome,
    ) {
        if nodes.is_empty() {
            return;
        }
        let frame = frame();
        for node in nodes {
            match self.sender.send_state(&node, channel, frame.clone()) {
                Ok(()) => outcome.nodes.push(node.name),
                Err(error) => {
                    debug!(%node, %error, "frame about a user not queued");
                    outcome.refused.push(node.name);
                }
            }
        }
    }

    /// Ends the sessions that a user has here, and returns how many there were.
    fn end_sessions(&self, user: &UserId) -> usize {
        let sessions = self.users.read().local(user).to_vec();
        let now = self.now();
        sessions
            .iter()
            .filter(|session| self.engine.end_session(session, EndReason::Server, now))
            .count()
    }
}

/// Associates sessions by themselves. It does not keep the directory alive: the engine keeps it.
struct Sessions(Weak<Inner>);

impl SessionListener for Sessions {
    fn added(&self, session: &Arc<Session>) {
        let (Some(inner), Some(user)) = (self.0.upgrade(), session.user()) else {
            return;
        };
        match inner.associate(user, session.id()) {
            // It may end while it is announced.
            Ok(_) | Err(AssociateError::SessionEnded) => {}
            Err(error) => warn!(%user, %error, "user not associated"),
        }
    }

    fn removed(&self, session: &Arc<Session>, reason: EndReason) {
        let Some(inner) = self.0.upgrade() else {
            return;
        };
        let session = *session.id();
        // Who says goodbye, or is shown out, has left. Everybody else may be about to come back.
        let on_purpose = matches!(reason, EndReason::Disconnected | EndReason::Server);
        let lost = (!on_purpose).then(|| inner.now());
        inner
            .users
            .change(|directory, sends| directory.session_removed(session, lost, sends));
    }
}

/// Delivers what siblings send to users of this node.
struct Messages(Seti);

impl StateHandler for Messages {
    fn joined(&self, _member: &Member) {}

    fn left(&self, _member: &Member) {}

    fn received(&self, from: &Member, body: Bytes) {
        self.0
            .received_for_users(from, StateChannel::SETI_MESSAGES, &body);
    }
}

/// Ends the sessions of the users that siblings name.
struct Disconnects(Seti);

impl StateHandler for Disconnects {
    fn joined(&self, _member: &Member) {}

    fn left(&self, _member: &Member) {}

    fn received(&self, from: &Member, body: Bytes) {
        self.0
            .received_for_users(from, StateChannel::SETI_DISCONNECTS, &body);
    }
}
