//! Several real nodes that know each other.

use std::time::Duration;

use anyhow::ensure;

use crate::node_process::{NodeProcess, NodeSettings};
use crate::patience::eventually;

/// Nodes `n1`, `n2`, ... on loopback, each with the others as static siblings.
#[derive(Debug)]
pub struct ClusterOfProcesses {
    /// The nodes, in the order of their names.
    pub nodes: Vec<NodeProcess>,
}

impl ClusterOfProcesses {
    /// Starts `count` nodes and waits until each is ready and sees all the others.
    ///
    /// # Errors
    /// A node does not start or does not join.
    pub async fn start(count: usize) -> anyhow::Result<Self> {
        Self::start_with(count, |_| {}).await
    }

    /// As [`start`](Self::start), with settings that `adjust` has changed.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub async fn start_with(
        count: usize,
        adjust: impl Fn(&mut NodeSettings),
    ) -> anyhow::Result<Self> {
        let mut settings: Vec<_> = (1..=count)
            .map(|number| NodeSettings::new(&format!("n{number}")))
            .collect();
        let mesh: Vec<_> = settings.iter().map(|node| node.mesh).collect();
        for node in &mut settings {
            node.siblings = mesh
                .iter()
                .copied()
                .filter(|address| *address != node.mesh)
                .collect();
            adjust(node);
        }
        let mut cluster = Self {
            nodes: settings
                .into_iter()
                .map(NodeProcess::start)
                .collect::<Result<_, _>>()?,
        };
        for node in &mut cluster.nodes {
            node.ready().await?;
        }
        cluster.whole(Duration::from_secs(10)).await?;
        Ok(cluster)
    }

    /// Waits until every node counts all of them as members.
    ///
    /// # Errors
    /// Not within the deadline.
    pub async fn whole(&self, deadline: Duration) -> anyhow::Result<()> {
        for node in &self.nodes {
            members(node, self.nodes.len(), deadline).await?;
        }
        Ok(())
    }

    /// The Bayeux URL of a node by its place.
    #[must_use]
    pub fn url(&self, place: usize) -> String {
        self.nodes[place].settings.url()
    }
}

/// Waits until a node counts this many members of the cluster, itself among them; returns how long that took.
///
/// # Errors
/// Not within the deadline.
pub async fn members(
    node: &NodeProcess,
    count: usize,
    deadline: Duration,
) -> anyhow::Result<Duration> {
    let what = format!("{} has {count} members", node.settings.name);
    let ((), took) = eventually(&what, deadline, async || {
        let found = node.metric("halley_members").await?;
        ensure!(found == count as f64, "halley_members is {found}");
        Ok(())
    })
    .await?;
    Ok(took)
}
