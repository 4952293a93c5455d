//! The services of a running node.

use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tracing::{debug, warn};

use super::frame::{NAME_BYTES_MAX, ServiceFrame, Verdict, outcome};
use super::{Action, ForwardError, Ownership, RegisterError, ServiceLimits};
use crate::{Member, NodeId, NodeName, SendError, StateChannel, StateHandler, StateSender};

type Outcome = Result<Bytes, ForwardError>;

/// The services of one node, and the handler of [`StateChannel::SERVICES`]. Cheap to clone.
#[derive(Clone)]
pub struct Services {
    inner: Arc<Inner>,
}

struct Inner {
    sender: Arc<dyn StateSender>,
    limits: ServiceLimits,
    actions: RwLock<HashMap<String, Arc<dyn Action>>>,
    /// Whom was asked, and who waits.
    asked: Mutex<HashMap<u64, (NodeId, oneshot::Sender<Outcome>)>>,
    next: AtomicU64,
    /// Actions at work, by the sibling that has asked.
    served: Mutex<HashMap<NodeId, usize>>,
}

/// A service with an owner. Cheap to clone.
#[derive(Clone)]
pub struct OortService {
    services: Services,
    name: Arc<str>,
    ownership: Arc<dyn Ownership>,
}

impl Services {
    /// The services of a node that speaks through `sender`. To be registered as the handler of
    /// [`StateChannel::SERVICES`].
    pub fn new(sender: Arc<dyn StateSender>, limits: ServiceLimits) -> Self {
        let inner = Inner {
            sender,
            limits,
            actions: RwLock::default(),
            asked: Mutex::default(),
            next: AtomicU64::new(1),
            served: Mutex::default(),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Offers a service. All nodes that may own its data must offer it.
    ///
    /// # Errors
    /// [`RegisterError`].
    pub fn offer(
        &self,
        name: &str,
        ownership: Arc<dyn Ownership>,
        action: Arc<dyn Action>,
    ) -> Result<OortService, RegisterError> {
        if name.is_empty() || name.len() > NAME_BYTES_MAX {
            return Err(RegisterError::Name);
        }
        let mut actions = self.inner.actions.write();
        if actions.contains_key(name) {
            return Err(RegisterError::Taken(name.to_owned()));
        }
        actions.insert(name.to_owned(), action);
        Ok(OortService {
            services: self.clone(),
            name: name.into(),
            ownership,
        })
    }

    /// The services of this node, by name.
    pub(crate) fn names(&self) -> Vec<String> {
        self.inner.actions.read().keys().cloned().collect()
    }

    /// How many actions this node waits for.
    pub fn asked(&self) -> usize {
        self.inner.asked.lock().len()
    }
}

impl OortService {
    /// Has the action performed by the node that owns what it is about.
    ///
    /// Cancel-safe: the action may happen all the same.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn forward(&self, parameter: Bytes) -> Outcome {
        let owner = self.ownership.owner(&parameter);
        let owner = owner.ok_or(ForwardError::NoOwner)?;
        self.forward_to(&owner, parameter).await
    }

    /// Has the action performed by this node, whoever owns what it is about.
    ///
    /// Cancel-safe: the action may happen all the same.
    ///
    /// # Errors
    /// [`ForwardError`].
    pub async fn forward_to(&self, owner: &NodeName, parameter: Bytes) -> Outcome {
        let inner = &self.services.inner;
        let limits = inner.limits;
        if parameter.len() > limits.bytes_max {
            return Err(ForwardError::TooLarge {
                size: parameter.len(),
                max: limits.bytes_max,
            });
        }
        let (done, waiting) = oneshot::channel();
        let _asked = if inner.sender.this_node().name == *owner {
            let action = inner.actions.read().get(&*self.name).cloned();
            let action = action.ok_or_else(|| ForwardError::NoService(owner.clone()))?;
            let reply = Reply {
                to: Some(To::Here(done, owner.clone())),
                bytes_max: limits.bytes_max,
            };
            action.perform(parameter, owner, reply);
            None
        } else {
            Some(inner.ask(owner, &self.name, parameter, done)?)
        };
        match timeout(limits.timeout, waiting).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(ForwardError::Dropped),
            Err(_) => Err(ForwardError::Timeout(limits.timeout)),
        }
    }
}

impl fmt::Debug for Services {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Services").finish_non_exhaustive()
    }
}

impl fmt::Debug for OortService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OortService")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// An action that a sibling was asked for; forgotten when dropped.
struct Asked<'a> {
    inner: &'a Inner,
    id: u64,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        self.inner.asked.lock().remove(&self.id);
    }
}

impl Inner {
    fn ask(
        &self,
        owner: &NodeName,
        service: &str,
        parameter: Bytes,
        done: oneshot::Sender<Outcome>,
    ) -> Result<Asked<'_>, ForwardError> {
        let members = self.sender.members();
        let member = members.iter().find(|member| member.name == *owner);
        let node = member
            .ok_or_else(|| ForwardError::NotMember(owner.clone()))?
            .id();
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        {
            let mut asked = self.asked.lock();
            if asked.len() >= self.limits.asked_max {
                return Err(ForwardError::TooMany(self.limits.asked_max));
            }
            // Before it is sent: the sibling may leave, or answer, at once.
            asked.insert(id, (node.clone(), done));
        }
        let asked = Asked { inner: self, id };
        let request = ServiceFrame::Request {
            id,
            service: service.to_owned(),
            parameter,
        };
        let bytes = request.encode();
        self.sender
            .send_state(&node, StateChannel::SERVICES, bytes)
            .map_err(|error| match error {
                SendError::NotMember(_) => ForwardError::NotMember(owner.clone()),
                SendError::TooLarge { size, limit } => ForwardError::TooLarge { size, max: limit },
                SendError::QueueFull(_) => ForwardError::OwnerLeft(owner.clone()),
            })?;
        Ok(asked)
    }

    fn served(&self, by: &NodeId) {
        let mut served = self.served.lock();
        if let Some(count) = served.get_mut(by) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                served.remove(by);
            }
        }
    }

    fn answer(&self, to: &NodeId, id: u64, verdict: Verdict, data: Bytes) {
        let bytes = ServiceFrame::Result { id, verdict, data }.encode();
        // A sibling that cannot be reached has left, and has told its callers so.
        if let Err(error) = self.sender.send_state(to, StateChannel::SERVICES, bytes) {
            debug!(%to, %error, "the result of an action is not sent");
        }
    }
}

/// Answers one action, once. Dropped, it says that there is no answer.
#[derive(Debug)]
#[must_use = "a dropped reply is a failure"]
pub struct Reply {
    to: Option<To>,
    bytes_max: usize,
}

enum To {
    /// A caller on this node.
    Here(oneshot::Sender<Outcome>, NodeName),
    /// A sibling's caller.
    There {
        node: Weak<Inner>,
        asked_by: NodeId,
        id: u64,
    },
}

impl fmt::Debug for To {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            To::Here(..) => f.write_str("Here"),
            To::There { asked_by, id, .. } => write!(f, "There({asked_by}, {id})"),
        }
    }
}

impl Reply {
    /// The action has succeeded.
    pub fn succeed(mut self, result: Bytes) {
        self.answer(Verdict::Success, result);
    }

    /// The action has failed; `data` says why.
    pub fn fail(mut self, data: Bytes) {
        self.answer(Verdict::Failure, data);
    }

    fn answer(&mut self, verdict: Verdict, data: Bytes) {
        let size = data.len();
        let (verdict, data) = if size > self.bytes_max {
            let size = (size as u64).to_le_bytes();
            (Verdict::TooLarge, Bytes::copy_from_slice(&size))
        } else {
            (verdict, data)
        };
        match self.to.take() {
            Some(To::Here(done, owner)) => {
                // Who asked may have given up.
                let _ = done.send(outcome(verdict, data, &owner, self.bytes_max));
            }
            Some(To::There { node, asked_by, id }) => {
                if let Some(node) = node.upgrade() {
                    node.served(&asked_by);
                    node.answer(&asked_by, id, verdict, data);
                }
            }
            None => {}
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        self.answer(Verdict::Dropped, Bytes::new());
    }
}

impl StateHandler for Services {
    fn joined(&self, _: &Member) {}

    fn left(&self, member: &Member) {
        let gone = member.id();
        let mut waiting = Vec::new();
        self.inner.asked.lock().retain(|_, (node, done)| {
            if *node == gone {
                // The entry goes, so that nobody else can answer.
                let (nobody, _) = oneshot::channel();
                waiting.push(std::mem::replace(done, nobody));
            }
            *node != gone
        });
        for done in waiting {
            let _ = done.send(Err(ForwardError::OwnerLeft(gone.name.clone())));
        }
    }

    fn received(&self, from: &Member, body: Bytes) {
        let inner = &self.inner;
        let sibling = from.id();
        match ServiceFrame::decode(body) {
            Ok(ServiceFrame::Request {
                id,
                service,
                parameter,
            }) => {
                let action = inner.actions.read().get(&service).cloned();
                let Some(action) = action else {
                    return inner.answer(&sibling, id, Verdict::NoService, Bytes::new());
                };
                {
                    let mut served = inner.served.lock();
                    let count = served.entry(sibling.clone()).or_default();
                    if *count >= inner.limits.served_max {
                        drop(served);
                        return inner.answer(&sibling, id, Verdict::Busy, Bytes::new());
                    }
                    *count += 1;
                }
                let to = To::There {
                    node: Arc::downgrade(inner),
                    asked_by: sibling,
                    id,
                };
                let reply = Reply {
                    to: Some(to),
                    bytes_max: inner.limits.bytes_max,
                };
                action.perform(parameter, &from.name, reply);
            }
            Ok(ServiceFrame::Result { id, verdict, data }) => {
                let mut asked = inner.asked.lock();
                // Only whom was asked may answer; late answers find nobody.
                if asked.get(&id).is_none_or(|(node, _)| *node != sibling) {
                    return debug!(%sibling, id, "a result that nobody waits for");
                }
                let Some((node, done)) = asked.remove(&id) else {
                    return;
                };
                drop(asked);
                let _ = done.send(outcome(verdict, data, &node.name, inner.limits.bytes_max));
            }
            Err(error) => warn!(from = %from.name, %error, "a frame about services is dropped"),
        }
    }
}
