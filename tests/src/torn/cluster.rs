//! Nodes and their clients, the faults, and what must hold when they are over.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use anyhow::{bail, ensure};

use super::observer::{Observer, Roster, View};
use super::traffic::Traffic;
use crate::cluster_of_processes::members;
use crate::history::{History, Tally, What, check, readable};
use crate::network::{Network, Tear};
use crate::node_process::{NodeProcess, NodeSettings};
use crate::patience::{eventually, patience};

/// What the links run over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wire {
    /// The bridge.
    Prompt,
    /// Devices between which each packet is late by this time.
    Late(Duration),
}

/// Presence and the nodes must be the same everywhere within this time of the healing.
const CONVERGENCE: Duration = Duration::from_secs(5);
/// A node that is gone must be known to be gone within this time.
const DETECTION: Duration = Duration::from_secs(5);
/// A message may be under way for this long.
const SLACK: Duration = Duration::from_secs(1);

/// A cluster under traffic.
#[derive(Debug)]
pub struct TornCluster {
    /// What all clients saw.
    pub history: History,
    traffic: Traffic,
    observers: Vec<Observer>,
    nodes: Vec<NodeProcess>,
    network: Network,
}

impl TornCluster {
    /// Starts the nodes `n1` to `nN` and the traffic. Nodes are counted from 1.
    ///
    /// # Errors
    /// The network cannot be made, or the nodes do not come together.
    pub async fn start(count: u8, wire: Wire) -> anyhow::Result<Self> {
        let mut network = Network::make(count)?;
        if let Wire::Late(late) = wire {
            network.add_late_network(late)?;
        }
        let mut nodes = Vec::new();
        for host in 1..=count {
            nodes.push(NodeProcess::start(settings(&network, wire, host, count)?)?);
        }
        let history = History::default();
        let mut cluster = Self {
            traffic: Traffic::new(history.clone()),
            history,
            observers: Vec::new(),
            nodes,
            network,
        };
        for node in &mut cluster.nodes {
            node.ready().await?;
        }
        for node in &cluster.nodes {
            members(node, count.into(), Duration::from_secs(15)).await?;
        }
        let urls: Vec<_> = cluster
            .nodes
            .iter()
            .map(|node| node.settings.url())
            .collect();
        for (node, url) in (1..).zip(&urls) {
            cluster.traffic.subscribe(node, url).await?;
            let observer = Observer::start(node, url, cluster.history.clone()).await?;
            cluster.observers.push(observer);
        }
        cluster.converged("the start").await?;
        for (node, url) in (1..).zip(&urls) {
            cluster.traffic.publish(node, url).await?;
        }
        tokio::time::sleep(SLACK).await;
        Ok(cluster)
    }

    fn count(&self) -> u8 {
        self.nodes.len() as u8
    }

    /// Every pair of different nodes, in both orders.
    fn pairs(&self) -> Vec<(u8, u8)> {
        let all = 1..=self.count();
        all.clone()
            .flat_map(|a| all.clone().map(move |b| (a, b)))
            .filter(|(a, b)| a != b)
            .collect()
    }

    /// Tears the directions for so long. Nothing may be lost by it and nobody may seem gone.
    ///
    /// # Errors
    /// A node has been held for gone.
    pub async fn tear_unnoticed(
        &self,
        directions: &[(u8, u8)],
        tear: Tear,
        time: Duration,
    ) -> anyhow::Result<()> {
        let before: Vec<_> = self.observers.iter().map(Observer::view).collect();
        self.tear(directions, tear)?;
        tokio::time::sleep(time).await;
        self.mend(directions, tear)?;
        // Longer than the detection time: what was torn last must not be noticed afterwards either.
        tokio::time::sleep(DETECTION).await;
        for ((before, observer), node) in before.iter().zip(&self.observers).zip(1..) {
            let after = observer.view();
            ensure!(
                *before == after,
                "n{node} has seen somebody go: before {before:?}, after {after:?}"
            );
        }
        Ok(())
    }

    /// Tears the directions until each of the nodes holds the other one of its pair for gone, and mends them; then all must be as
    /// before. What is published between the two nodes of a direction meanwhile may be lost, in both directions.
    ///
    /// # Errors
    /// The loss is not seen on both sides, or not in time, or the cluster does not converge.
    pub async fn tear_apart(&self, directions: &[(u8, u8)], tear: Tear) -> anyhow::Result<()> {
        let both: BTreeSet<_> = directions
            .iter()
            .flat_map(|&(a, b)| [(a, b), (b, a)])
            .collect();
        self.may_lose(&both);
        self.tear(directions, tear)?;
        let expected = |node: u8| {
            let seen = (1..=self.count()).filter(|other| !both.contains(&(*other, node)));
            seen.collect::<BTreeSet<_>>()
        };
        self.eventually_views("the loss is known", DETECTION, |node, view| {
            let seen: BTreeSet<_> = view.nodes.keys().cloned().collect();
            let expected: BTreeSet<_> = expected(node)
                .iter()
                .map(|node| format!("n{node}"))
                .collect();
            ensure!(
                seen == expected,
                "n{node} sees {seen:?} instead of {expected:?}"
            );
            let users: BTreeSet<_> = view.users.values().flatten().cloned().collect();
            ensure!(
                users == expected,
                "n{node} sees users at {users:?} instead of {expected:?}"
            );
            Ok(())
        })
        .await?;
        self.mend(directions, tear)?;
        self.converged("the healing").await?;
        self.whole(&both);
        Ok(())
    }

    /// Divides the nodes into two groups that do not see each other, and heals it.
    ///
    /// # Errors
    /// As [`TornCluster::tear_apart`].
    pub async fn partition(&self, group: &[u8]) -> anyhow::Result<()> {
        let apart = |(a, b): &(u8, u8)| group.contains(a) != group.contains(b);
        let directions: Vec<_> = self.pairs().into_iter().filter(apart).collect();
        self.tear_apart(&directions, Tear::Drop).await
    }

    /// Kills a node with SIGKILL, waits until all know, and starts it again.
    ///
    /// # Errors
    /// Its death is not seen in time, or it does not come back as it was.
    pub async fn kill(&mut self, victim: u8) -> anyhow::Result<()> {
        let paths = self.paths_of(victim);
        self.may_lose(&paths);
        self.history.note(format!("kill n{victim}"));
        self.nodes[usize::from(victim) - 1].kill().await?;
        self.gone(victim).await?;
        self.history.note(format!("start n{victim}"));
        self.nodes[usize::from(victim) - 1].start_again()?;
        self.nodes[usize::from(victim) - 1].ready().await?;
        self.converged("the restart").await?;
        self.whole(&paths);
        Ok(())
    }

    /// Freezes a node with SIGSTOP until all hold it for gone, and for so long on top of it, and lets it go on.
    ///
    /// # Errors
    /// As [`TornCluster::kill`].
    pub async fn freeze(&self, victim: u8, longer: Duration) -> anyhow::Result<()> {
        let paths = self.paths_of(victim);
        self.may_lose(&paths);
        self.history.note(format!("freeze n{victim}"));
        let node = &self.nodes[usize::from(victim) - 1];
        node.signal("STOP").await?;
        let gone = self.gone(victim).await;
        tokio::time::sleep(longer).await;
        node.signal("CONT").await?;
        gone?;
        self.history.note(format!("n{victim} goes on"));
        self.converged("the thaw").await?;
        self.whole(&paths);
        Ok(())
    }

    /// Waits until all but the victim hold it and its users for gone.
    async fn gone(&self, victim: u8) -> anyhow::Result<()> {
        let name = format!("n{victim}");
        self.eventually_views("the loss is known", DETECTION, |node, view| {
            let ghost = view.users.values().any(|nodes| nodes.contains(&name));
            ensure!(
                node == victim || !(ghost || view.nodes.contains_key(&name)),
                "n{node} still sees {name} or its users: {view:?}"
            );
            Ok(())
        })
        .await
    }

    /// Stops publishing, waits for what is under way, and judges the history.
    ///
    /// # Errors
    /// The faults, and the history around the first.
    pub async fn judge(mut self) -> anyhow::Result<Tally> {
        self.traffic.stop_publishing().await;
        self.history.note("publishing has ended");
        tokio::time::sleep(patience(SLACK) * 2).await;
        self.history.note("the end");
        let events = self.history.events();
        match check(&events, patience(SLACK)) {
            Ok(tally) => Ok(tally),
            Err(faults) => {
                let shown = readable(&events, faults.first());
                let list: Vec<_> = faults.iter().take(20).map(ToString::to_string).collect();
                bail!(
                    "{shown}\n{} faults, the first of them:\n{}",
                    faults.len(),
                    list.join("\n")
                )
            }
        }
    }

    /// What a person needs to understand a scenario that failed: what was done and seen, and the last lines of each node.
    #[must_use]
    pub fn story(&self) -> String {
        let mut story = readable(&self.history.events(), None);
        for node in &self.nodes {
            let log = node.log();
            let lines: Vec<_> = log.lines().collect();
            let from = lines.len().saturating_sub(40);
            story += &format!("--- {}\n{}\n", node.settings.name, lines[from..].join("\n"));
        }
        story
    }

    fn paths_of(&self, victim: u8) -> BTreeSet<(u8, u8)> {
        let all = 1..=self.count();
        all.flat_map(|other| [(victim, other), (other, victim)])
            .collect()
    }

    fn may_lose(&self, paths: &BTreeSet<(u8, u8)>) {
        for &(from, to) in paths {
            let (from, to) = (from.into(), to.into());
            self.history.add(What::Broken { from, to });
        }
    }

    fn whole(&self, paths: &BTreeSet<(u8, u8)>) {
        for &(from, to) in paths {
            let (from, to) = (from.into(), to.into());
            self.history.add(What::Whole { from, to });
        }
    }

    fn tear(&self, directions: &[(u8, u8)], tear: Tear) -> anyhow::Result<()> {
        for &(from, to) in directions {
            self.history.note(format!("{tear:?} n{from} -> n{to}"));
            self.network.tear(from, to, tear)?;
        }
        Ok(())
    }

    fn mend(&self, directions: &[(u8, u8)], tear: Tear) -> anyhow::Result<()> {
        for &(from, to) in directions {
            self.network.mend(from, to, tear)?;
            self.history.note(format!("mended n{from} -> n{to}"));
        }
        Ok(())
    }

    /// Waits until every node tells of all users and nodes, and of the same incarnations.
    async fn converged(&self, since: &str) -> anyhow::Result<()> {
        let name = |node: u8| format!("n{node}");
        let names: BTreeSet<_> = (1..=self.count()).map(name).collect();
        let mut users: Roster = BTreeMap::from([("everywhere".to_owned(), names.clone())]);
        users.extend((1..=self.count()).map(|n| (format!("user{n}"), BTreeSet::from([name(n)]))));
        let first = &self.observers[0];
        let what = format!(
            "all see the same within {} s of {since}",
            CONVERGENCE.as_secs()
        );
        self.eventually_views(&what, CONVERGENCE, |node, view| {
            ensure!(
                view.users == users,
                "n{node} sees the users {:?}",
                view.users
            );
            ensure!(
                view.nodes.keys().eq(&names) && view.nodes == first.view().nodes,
                "n{node} sees the nodes {:?}",
                view.nodes
            );
            Ok(())
        })
        .await?;
        self.history.note(format!("all see the same after {since}"));
        Ok(())
    }

    async fn eventually_views(
        &self,
        what: &str,
        deadline: Duration,
        check: impl Fn(u8, View) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let ((), took) = eventually(what, deadline, async || {
            (1..)
                .zip(&self.observers)
                .try_for_each(|(node, observer)| check(node, observer.view()))
        })
        .await?;
        self.history
            .note(format!("{what}: after {} ms", took.as_millis()));
        Ok(())
    }
}

fn settings(network: &Network, wire: Wire, host: u8, count: u8) -> anyhow::Result<NodeSettings> {
    let mesh = |host| {
        let address = match wire {
            Wire::Prompt => network.address(host),
            Wire::Late(_) => network.late_address(host),
        };
        format!("{address}:7400").parse()
    };
    let address = network.address(host);
    let mut settings = NodeSettings::new(&format!("n{host}"));
    settings.client = format!("{address}:8080").parse()?;
    settings.admin = format!("{address}:9400").parse()?;
    settings.mesh = mesh(host)?;
    settings.namespace = Some(network.namespace(host));
    let others = (1..=count).filter(|other| *other != host);
    settings.siblings = others.map(mesh).collect::<Result<_, _>>()?;
    Ok(settings)
}
