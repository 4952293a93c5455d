//! All objects of a node, by name, over one state channel.
//!
//! ```text
//! frame: length u8, name, part frame
//! ```

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use halley_bayeux::Millis;
use halley_cluster::parts::Outgoing;
use halley_cluster::{Clock, Member, NodeName, StateChannel, StateHandler, StateSender};
use parking_lot::{Mutex, RwLock};
use serde_json::value::RawValue;
use tracing::{debug, warn};

use crate::CreateError;
use crate::oort::OortChange;

/// Longest name in bytes: its length travels in one.
const NAME_BYTES_MAX: usize = 255;

/// The replicated objects of one node. Cheap to clone; the handler of [`StateChannel::OBJECTS`].
///
/// It learns of members by *joined* only, so it must be registered before there are any. Objects may be created at any
/// time. The [`StateSender`] must not call a handler from inside a send.
#[derive(Clone)]
pub struct Objects {
    inner: Arc<Inner>,
}

struct Inner {
    sender: Arc<dyn StateSender>,
    clock: Clock,
    /// The members, as *joined* and *left* told. Held while the objects learn of a member and while an object is
    /// created, so that no object misses one. Taken before `by_name`, and that before an object's own lock.
    members: Mutex<HashMap<NodeName, Member>>,
    by_name: RwLock<HashMap<Arc<str>, Arc<dyn AnyObject>>>,
}

/// An object whatever its type. What changed is told by [`tell`](AnyObject::tell), which is called with no lock held.
pub(crate) trait AnyObject: Send + Sync {
    fn joined(&self, member: &Member, now: Millis);
    /// The member was there before the object.
    fn already_joined(&self, member: &Member, now: Millis);
    fn left(&self, member: &Member);
    fn received(&self, from: &Member, frame: Bytes, now: Millis);
    fn tick(&self, now: Millis);
    fn restarted(&self, this_node: &Member);
    fn tell(&self);
    /// The version and value of the own part, as a node of the Oort dialect reads it.
    fn oort_own(&self) -> Option<(u64, Box<RawValue>)>;
    /// A delta of the own part, likewise; none when it has no such form, and the whole value is sent.
    fn oort_change(&self, delta: &[u8]) -> Option<OortChange>;
    /// The state that a whole value of such a node is.
    fn oort_whole(&self, value: &RawValue) -> Option<Bytes>;
    /// The delta that an item update of such a node is, by its type and action.
    fn oort_item(&self, kind: &str, action: &str, value: &RawValue) -> Option<Bytes>;
}

impl Objects {
    /// No objects yet; their frames go through `sender`.
    pub fn new(sender: Arc<dyn StateSender>, clock: Clock) -> Self {
        let inner = Inner {
            sender,
            clock,
            members: Mutex::default(),
            by_name: RwLock::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    pub(crate) fn this_node(&self) -> Member {
        self.inner.sender.this_node()
    }

    /// Adds an object made by `make`, which is called while no member can join or leave, and tells it who is there.
    pub(crate) fn add<O: AnyObject + 'static>(
        &self,
        name: &Arc<str>,
        make: impl FnOnce() -> Result<Arc<O>, CreateError>,
    ) -> Result<Arc<O>, CreateError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(CreateError::InvalidName);
        }
        let members = self.inner.members.lock();
        let mut by_name = self.inner.by_name.write();
        if by_name.contains_key(name) {
            return Err(CreateError::NameTaken);
        }
        let object = make()?;
        by_name.insert(name.clone(), object.clone());
        drop(by_name);
        let now = self.now();
        for member in members.values() {
            object.already_joined(member, now);
        }
        Ok(object)
    }

    /// Queues the frames of the object called `name`, in order.
    pub(crate) fn send(&self, name: &str, sends: Vec<Outgoing>) {
        for send in sends {
            match send {
                Outgoing::All(frame) => {
                    self.inner
                        .sender
                        .broadcast_state(StateChannel::OBJECTS, named(name, &frame));
                }
                Outgoing::To(node, frame) => {
                    // A sibling that could not be reached is reset or gone: it joins again and gets everything.
                    let sent = self.inner.sender.send_state(
                        &node,
                        StateChannel::OBJECTS,
                        named(name, &frame),
                    );
                    if let Err(error) = sent {
                        debug!(%node, %error, object = name, "object frame not queued");
                    }
                }
            }
        }
    }

    /// The names of all objects.
    pub(crate) fn names(&self) -> Vec<Arc<str>> {
        self.inner.by_name.read().keys().cloned().collect()
    }

    pub(crate) fn by_name(&self, name: &str) -> Option<Arc<dyn AnyObject>> {
        self.inner.by_name.read().get(name).cloned()
    }

    fn now(&self) -> Millis {
        self.inner.clock.now()
    }

    fn all(&self) -> Vec<Arc<dyn AnyObject>> {
        self.inner.by_name.read().values().cloned().collect()
    }

    /// Lets every object learn of a member, then tells the listeners.
    fn membership(
        &self,
        change: impl FnOnce(&mut HashMap<NodeName, Member>),
        learn: impl Fn(&dyn AnyObject),
    ) {
        let mut members = self.inner.members.lock();
        change(&mut members);
        let objects = self.all();
        for object in &objects {
            learn(object.as_ref());
        }
        drop(members);
        for object in &objects {
            object.tell();
        }
    }
}

impl StateHandler for Objects {
    fn joined(&self, member: &Member) {
        let now = self.now();
        let insert =
            |members: &mut HashMap<_, _>| drop(members.insert(member.name.clone(), member.clone()));
        self.membership(insert, |object| object.joined(member, now));
    }

    fn left(&self, member: &Member) {
        let remove = |members: &mut HashMap<NodeName, Member>| {
            if members
                .get(&member.name)
                .is_some_and(|known| known.incarnation == member.incarnation)
            {
                members.remove(&member.name);
            }
        };
        self.membership(remove, |object| object.left(member));
    }

    fn received(&self, from: &Member, body: Bytes) {
        let Some((name, frame)) = split(body) else {
            warn!(from = %from.name, "malformed object frame");
            return;
        };
        let object = std::str::from_utf8(&name)
            .ok()
            .and_then(|name| self.inner.by_name.read().get(name).cloned());
        // A sibling may have objects that this node does not have, or does not have yet.
        let Some(object) = object else { return };
        object.received(from, frame, self.now());
        object.tell();
    }

    fn tick(&self) {
        let now = self.now();
        for object in self.all() {
            object.tick(now);
        }
    }

    fn restarted(&self, this_node: &Member) {
        self.membership(HashMap::clear, |object| object.restarted(this_node));
    }
}

impl fmt::Debug for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Objects")
            .field("count", &self.inner.by_name.read().len())
            .finish_non_exhaustive()
    }
}

pub(crate) fn named(name: &str, frame: &Bytes) -> Bytes {
    let mut out = BytesMut::with_capacity(1 + name.len() + frame.len());
    // A name has at most 255 bytes.
    out.put_u8(name.len() as u8);
    out.put_slice(name.as_bytes());
    out.put_slice(frame);
    out.freeze()
}

pub(crate) fn split(mut body: Bytes) -> Option<(Bytes, Bytes)> {
    let length = usize::from(body.try_get_u8().ok()?);
    (body.len() >= length).then(|| (body.split_to(length), body))
}
