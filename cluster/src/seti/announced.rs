//! A directory of a running node: its frames are sent in the order of its changes, and listeners are told.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::Bytes;
use halley_bayeux::Millis;
use parking_lot::{RwLock, RwLockReadGuard};
use tracing::{debug, warn};

use super::directory::DirectoryOf;
use super::user_set::Key;
use crate::parts::{Outcome, Outgoing, PartLimits};
use crate::{Clock, Member, NodeName, StateChannel, StateHandler, StateSender};

/// How long listeners are told in one go. A sibling that joins with a hundred thousand users must not stop the cluster's
/// task for seconds because a listener takes its time.
const TELL_MS: u64 = 50;

/// So many changes are told in one go whatever the time: looking at the clock must not make a few changes late.
const TELL_AT_LEAST: u32 = 256;

/// Told of one net change: whether the key is now present on the node.
pub(super) type Tell<K> = Arc<dyn Fn(&K, &NodeName, bool) + Send + Sync>;

/// Frames are queued while the directory's lock is held, so that siblings get them in the order of the changes.
pub(super) struct Announced<K> {
    channel: StateChannel,
    sender: Arc<dyn StateSender>,
    clock: Clock,
    directory: RwLock<DirectoryOf<K>>,
    listeners: ArcSwap<Vec<Tell<K>>>,
}

impl<K: Key> Announced<K> {
    pub(super) fn new(
        channel: StateChannel,
        sender: Arc<dyn StateSender>,
        clock: Clock,
        limits: PartLimits,
    ) -> Self {
        let this = sender.this_node();
        let directory = DirectoryOf::new(this.name, this.incarnation, limits);
        Self {
            channel,
            sender,
            clock,
            directory: RwLock::new(directory),
            listeners: ArcSwap::default(),
        }
    }

    pub(super) fn now(&self) -> Millis {
        self.clock.now()
    }

    pub(super) fn read(&self) -> RwLockReadGuard<'_, DirectoryOf<K>> {
        self.directory.read()
    }

    pub(super) fn set_grace(&self, period: std::time::Duration) {
        let period_ms = u64::try_from(period.as_millis()).unwrap_or(u64::MAX);
        self.directory.write().set_grace(period_ms);
    }

    pub(super) fn add_listener(&self, listener: Tell<K>) {
        self.directory.write().listen();
        self.listeners.rcu(|listeners| {
            let mut listeners = Vec::clone(listeners);
            listeners.push(listener.clone());
            listeners
        });
    }

    /// Changes the directory, queues the frames in the order of the changes, and tells the listeners.
    pub(super) fn change<R>(
        &self,
        change: impl FnOnce(&mut DirectoryOf<K>, &mut Vec<Outgoing>) -> R,
    ) -> R {
        let mut sends = Vec::new();
        let mut directory = self.directory.write();
        let result = change(&mut directory, &mut sends);
        for send in sends {
            match send {
                Outgoing::All(body) => {
                    self.sender.broadcast_state(self.channel, body);
                }
                Outgoing::To(node, body) => {
                    // A sibling that could not be reached is reset or gone: it joins again and gets everything.
                    if let Err(error) = self.sender.send_state(&node, self.channel, body) {
                        debug!(%node, %error, "directory frame not queued");
                    }
                }
            }
        }
        let tells = directory.waiting().begin();
        drop(directory);
        if tells {
            self.tell();
        }
        result
    }

    /// Tells what waits. It may run in the task that runs the cluster, so it ends after a while: the next change or
    /// tick goes on.
    fn tell(&self) {
        let turn = Turn(self);
        let began = self.clock.now();
        for told in 0_u32.. {
            if told >= TELL_AT_LEAST && self.clock.now().since(began) > TELL_MS {
                return;
            }
            let (key, node, present) = {
                let mut directory = self.directory.write();
                let Some(((key, node), _)) = directory.waiting().take() else {
                    break;
                };
                let present = directory.is_present_at(&key, &node);
                (key, node, present)
            };
            for listener in self.listeners.load().iter() {
                listener(&key, &node, present);
            }
        }
        std::mem::forget(turn);
    }
}

/// Gives the turn to tell back when time is up or a listener panics, so that others go on.
struct Turn<'a, K: Key>(&'a Announced<K>);

impl<K: Key> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        self.0.directory.write().waiting().give_up();
    }
}

impl<K: Key + Send + Sync> StateHandler for Announced<K> {
    fn joined(&self, member: &Member) {
        let now = self.now();
        self.change(|directory, sends| directory.joined(&member.id(), now, sends));
    }

    fn left(&self, member: &Member) {
        let now = self.now();
        self.change(|directory, sends| directory.left(&member.id(), now, sends));
    }

    fn received(&self, from: &Member, body: Bytes) {
        let now = self.now();
        let outcome =
            self.change(|directory, sends| directory.received(&from.id(), body, now, sends));
        if outcome == Outcome::Malformed {
            warn!(from = %from.name, "malformed directory frame");
        }
    }

    fn tick(&self) {
        let now = self.now();
        self.change(|directory, sends| directory.tick(now, sends));
    }

    fn restarted(&self, this_node: &Member) {
        let now = self.now();
        self.change(|directory, sends| directory.restarted(this_node.incarnation, now, sends));
    }
}
