//! The directory of a node that runs alone: the users of its own sessions.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Weak};

use halley_bayeux::{
    EndReason, Engine, Millis, Publication, Session, SessionId, SessionListener, UserId,
};
use parking_lot::{Mutex, RwLock};

use super::directory::{Directory, DirectoryListener, Reached};
use super::ordered::Ordered;

/// Users by the sessions of this node.
pub struct LocalDirectory {
    node: String,
    engine: Weak<Engine>,
    sessions: Mutex<HashMap<UserId, Vec<SessionId>, ahash::RandomState>>,
    changes: Ordered<Change>,
    listeners: RwLock<Vec<Arc<dyn DirectoryListener>>>,
}

enum Change {
    Joined(UserId),
    Left(UserId),
}

impl fmt::Debug for LocalDirectory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalDirectory")
            .field("node", &self.node)
            .finish_non_exhaustive()
    }
}

impl LocalDirectory {
    /// Follows the sessions of the engine from now on.
    pub fn start(node: String, engine: &Arc<Engine>) -> Arc<Self> {
        let directory = Arc::new(Self {
            node,
            engine: Arc::downgrade(engine),
            sessions: Mutex::default(),
            changes: Ordered::default(),
            listeners: RwLock::default(),
        });
        engine.add_session_listener(Arc::clone(&directory) as Arc<dyn SessionListener>);
        directory
    }

    /// Does something with each session of a user; counts where it was done.
    fn each_session(
        &self,
        user: &UserId,
        mut act: impl FnMut(&Engine, &SessionId) -> bool,
    ) -> Reached {
        let mut reached = Reached::default();
        if let Some(engine) = self.engine.upgrade() {
            let sessions = self.sessions_here(user);
            reached.here = sessions.iter().filter(|id| act(&engine, id)).count();
        }
        reached
    }

    fn tell(&self, change: Change) {
        self.changes.put(change, |change| {
            let listeners = self.listeners.read().clone();
            for listener in listeners {
                match &change {
                    Change::Joined(user) => listener.joined(user, &self.node),
                    Change::Left(user) => listener.left(user, &self.node),
                }
            }
        });
    }
}

impl SessionListener for LocalDirectory {
    fn added(&self, session: &Arc<Session>) {
        let Some(user) = session.user() else { return };
        let mut sessions = self.sessions.lock();
        let of_user = sessions.entry(user.clone()).or_default();
        of_user.push(*session.id());
        let first = of_user.len() == 1;
        drop(sessions);
        if first {
            self.tell(Change::Joined(user.clone()));
        }
    }

    fn removed(&self, session: &Arc<Session>, _reason: EndReason) {
        let Some(user) = session.user() else { return };
        let mut sessions = self.sessions.lock();
        let Some(of_user) = sessions.get_mut(user) else {
            return;
        };
        of_user.retain(|id| id != session.id());
        let last = of_user.is_empty();
        if last {
            sessions.remove(user);
        }
        drop(sessions);
        if last {
            self.tell(Change::Left(user.clone()));
        }
    }
}

impl Directory for LocalDirectory {
    fn users(&self) -> Vec<UserId> {
        self.sessions.lock().keys().cloned().collect()
    }

    fn users_here(&self) -> usize {
        self.sessions.lock().len()
    }

    fn nodes_of(&self, user: &UserId) -> Vec<String> {
        if self.sessions.lock().contains_key(user) {
            vec![self.node.clone()]
        } else {
            Vec::new()
        }
    }

    fn sessions_here(&self, user: &UserId) -> Vec<SessionId> {
        self.sessions.lock().get(user).cloned().unwrap_or_default()
    }

    fn send(&self, user: &UserId, publication: &Arc<Publication>, now: Millis) -> Reached {
        self.each_session(user, |engine, session| {
            engine.deliver(session, publication, now)
        })
    }

    fn disconnect(&self, user: &UserId, now: Millis) -> Reached {
        self.each_session(user, |engine, session| {
            engine.end_session(session, EndReason::Server, now)
        })
    }

    fn add_listener(&self, listener: Arc<dyn DirectoryListener>) {
        self.listeners.write().push(listener);
    }
}
