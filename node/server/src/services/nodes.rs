//! Which nodes there are, on `/halley/cluster`: the list at subscription and whenever it changes.

use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;

use halley_bayeux::{ChannelName, Engine, Json, Publication, Session, SubscriptionListener};
use parking_lot::Mutex;
use serde_json::{Value, json};

use super::directory::{Directory, NodeInfo, NodeLoad, Nodes};
use crate::clock::Clock;

/// The channel of the nodes.
pub(crate) const CHANNEL: &str = "/halley/cluster";

/// The shortest time between two lists.
pub(crate) const PERIOD: Duration = Duration::from_millis(250);

/// Nesting of what is sent here.
const DEPTH_MAX: usize = 8;

/// The only node.
#[derive(Debug)]
pub struct LocalNodes {
    this: Mutex<NodeInfo>,
}

impl LocalNodes {
    /// A node that runs alone.
    #[must_use]
    pub fn new(this: NodeInfo) -> Self {
        Self {
            this: Mutex::new(this),
        }
    }
}

impl Nodes for LocalNodes {
    fn update(&self, load: NodeLoad) {
        self.this.lock().load = load;
    }

    fn nodes(&self) -> Vec<NodeInfo> {
        vec![self.this.lock().clone()]
    }
}

/// Tells the subscribers of this node.
pub struct NodesService {
    this: String,
    started: u64,
    channel: ChannelName,
    nodes: Arc<dyn Nodes>,
    directory: Arc<dyn Directory>,
    engine: Weak<Engine>,
    clock: Clock,
    /// What was last told to the others, and to the subscribers.
    told: Mutex<(Option<NodeLoad>, Vec<NodeInfo>)>,
}

impl fmt::Debug for NodesService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NodesService")
            .field("this", &self.this)
            .finish_non_exhaustive()
    }
}

impl NodesService {
    /// Ties the channel to the nodes. Its [`NodesService::tick`] is to be called every [`PERIOD`].
    pub fn start(
        this: String,
        started: u64,
        channel: ChannelName,
        nodes: Arc<dyn Nodes>,
        directory: Arc<dyn Directory>,
        engine: &Arc<Engine>,
        clock: Clock,
    ) -> Arc<Self> {
        let service = Arc::new(Self {
            this,
            started,
            channel,
            nodes,
            directory,
            engine: Arc::downgrade(engine),
            clock,
            told: Mutex::default(),
        });
        engine.add_subscription_listener(Arc::clone(&service) as Arc<dyn SubscriptionListener>);
        service
    }

    /// Tells the others what changed here, and the subscribers what changed anywhere.
    pub fn tick(&self) {
        let Some(engine) = self.engine.upgrade() else {
            return;
        };
        let load = NodeLoad {
            sessions: engine.session_count() as u64,
            users: self.directory.users_here() as u64,
            started: self.started,
        };
        let load_changed = self.told.lock().0.replace(load) != Some(load);
        if load_changed {
            self.nodes.update(load);
        }
        let nodes = self.nodes.nodes();
        let nodes_changed = {
            let told = &mut self.told.lock().1;
            let changed = *told != nodes;
            told.clone_from(&nodes);
            changed
        };
        if nodes_changed && let Some(publication) = self.publication(&nodes) {
            engine.publish_from_sibling(&publication, self.clock.now());
        }
    }

    fn publication(&self, nodes: &[NodeInfo]) -> Option<Arc<Publication>> {
        let nodes: Vec<Value> = nodes.iter().map(NodeInfo::json).collect();
        let text = json!({ "type": "nodes", "self": self.this, "nodes": nodes }).to_string();
        let json = Json::validate(&text, DEPTH_MAX).ok()?;
        Some(Publication::new(&self.channel, json))
    }
}

impl SubscriptionListener for NodesService {
    fn subscribed(&self, session: &Arc<Session>, channel: &ChannelName) {
        if *channel != self.channel {
            return;
        }
        if let Some(engine) = self.engine.upgrade()
            && let Some(publication) = self.publication(&self.nodes.nodes())
        {
            engine.deliver(session.id(), &publication, self.clock.now());
        }
    }
}
