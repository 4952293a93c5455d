//! What one node tells of users and nodes: presence, and the replicated object behind `/halley/cluster`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use halley_client::{Client, Event, Events};
use parking_lot::Mutex;
use serde_json::Value;
use tokio::task::JoinSet;

use super::traffic::client;
use crate::history::History;

/// Users, and at which nodes each is.
pub(super) type Roster = BTreeMap<String, BTreeSet<String>>;

/// What has been told so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct View {
    pub(super) users: Roster,
    /// Name and incarnation.
    pub(super) nodes: BTreeMap<String, String>,
    /// How often a user or a node went.
    pub(super) departures: usize,
}

/// A client that follows what its node tells.
#[derive(Debug)]
pub(super) struct Observer {
    view: Arc<Mutex<View>>,
    _task: JoinSet<()>,
}

impl Observer {
    pub(super) async fn start(node: usize, url: &str, history: History) -> anyhow::Result<Self> {
        let (client, events) = client(url, None, true).await?;
        let view = Arc::new(Mutex::new(View::default()));
        let mut task = JoinSet::new();
        client.subscribe("/halley/presence").await?;
        client.subscribe("/halley/cluster").await?;
        task.spawn(follow(node, client, events, view.clone(), history));
        Ok(Self { view, _task: task })
    }

    pub(super) fn view(&self) -> View {
        self.view.lock().clone()
    }
}

async fn follow(
    node: usize,
    client: Client,
    mut events: Events,
    view: Arc<Mutex<View>>,
    history: History,
) {
    while let Some(event) = events.next().await {
        let Event::Message(message) = event else {
            // The roster and the list come anew with a new session.
            continue;
        };
        let Ok(data) = message.parse::<Value>() else {
            continue;
        };
        let before = view.lock().nodes.clone();
        apply(&mut view.lock(), &data);
        let after = view.lock().nodes.clone();
        if before != after {
            let names: Vec<_> = after.keys().map(String::as_str).collect();
            history.note(format!("n{node} sees the nodes {}", names.join(" ")));
        }
        if data["type"] == "join" || data["type"] == "leave" {
            history.note(format!(
                "n{node} sees {} at {}: {}",
                data["user"], data["node"], data["type"]
            ));
        }
    }
    drop(client);
}

/// Takes over one message of either channel.
fn apply(view: &mut View, data: &Value) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (user, node) = (text(&data["user"]), text(&data["node"]));
    match data["type"].as_str() {
        Some("roster") => {
            let users = list(&data["users"]);
            let entry = |user: &Value| {
                let nodes = list(&user["nodes"]).iter().map(text).collect();
                (text(&user["user"]), nodes)
            };
            view.users = users.iter().map(entry).collect();
        }
        Some("join") => {
            view.users.entry(user).or_default().insert(node);
        }
        Some("leave") => {
            view.departures += 1;
            if let Some(nodes) = view.users.get_mut(&user) {
                nodes.remove(&node);
                if nodes.is_empty() {
                    view.users.remove(&user);
                }
            }
        }
        Some("nodes") => {
            let nodes = list(&data["nodes"]);
            let entry = |node: &Value| (text(&node["name"]), node["incarnation"].to_string());
            let nodes: BTreeMap<_, _> = nodes.iter().map(entry).collect();
            view.departures += view
                .nodes
                .keys()
                .filter(|name| !nodes.contains_key(*name))
                .count();
            view.nodes = nodes;
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_view_follows_what_is_told() {
        let mut view = View::default();
        let mut tell = |data: Value| {
            apply(&mut view, &data);
            (view.users.len(), view.nodes.len(), view.departures)
        };
        let user = |nodes: &[&str]| json!({"user": "ann", "nodes": nodes});
        assert_eq!(
            tell(json!({"type": "roster", "users": [user(&["n1", "n2"])]})),
            (1, 0, 0)
        );
        assert_eq!(
            tell(json!({"type": "join", "user": "ben", "node": "n1"})),
            (2, 0, 0)
        );
        assert_eq!(
            tell(json!({"type": "leave", "user": "ann", "node": "n1"})),
            (2, 0, 1)
        );
        assert_eq!(
            tell(json!({"type": "leave", "user": "ann", "node": "n2"})),
            (1, 0, 2)
        );
        let nodes = |names: &[&str]| {
            let nodes: Vec<_> = names
                .iter()
                .map(|name| json!({"name": name, "incarnation": 1}))
                .collect();
            json!({"type": "nodes", "nodes": nodes})
        };
        assert_eq!(tell(nodes(&["n1", "n2"])), (1, 2, 2));
        assert_eq!(tell(nodes(&["n2"])), (1, 1, 3));
    }
}
