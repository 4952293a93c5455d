//! The links of siblings that may go on over another connection: where that connection is to be handed.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::NodeId;
use crate::link::Successor;

type Links<S> = BTreeMap<(NodeId, u64), mpsc::Sender<Successor<S>>>;

/// The links that siblings have opened, by sibling and the link's own number. As many as there are inbound links.
#[derive(Debug)]
pub(super) struct Resumable<S>(Arc<Mutex<Links<S>>>);

impl<S> Default for Resumable<S> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<S> Clone for Resumable<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// A link's entry; dropped with the link.
#[derive(Debug)]
pub(super) struct Entered<S> {
    links: Resumable<S>,
    key: (NodeId, u64),
}

impl<S> Drop for Entered<S> {
    fn drop(&mut self) {
        self.links.0.lock().remove(&self.key);
    }
}

impl<S> Resumable<S> {
    /// A link is there from now on.
    pub(super) fn enter(
        &self,
        sibling: &NodeId,
        link: u64,
    ) -> (Entered<S>, mpsc::Receiver<Successor<S>>) {
        let (sender, receiver) = mpsc::channel(1);
        let key = (sibling.clone(), link);
        self.0.lock().insert(key.clone(), sender);
        let links = self.clone();
        (Entered { links, key }, receiver)
    }

    /// Where a connection for the link goes, if the link is there.
    pub(super) fn find(&self, sibling: &NodeId, link: u64) -> Option<mpsc::Sender<Successor<S>>> {
        self.0.lock().get(&(sibling.clone(), link)).cloned()
    }
}
