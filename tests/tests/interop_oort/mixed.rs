//! Clusters of several Java and several Halley nodes.

use std::collections::BTreeSet;

use anyhow::{Context, ensure};
use halley_bayeux::UserId;
use halley_replication::OortMap;
use halley_tests::java_oort::{Cometd, JavaNode, same};
use halley_tests::oort::{HalleyClient, HalleyNode};
use halley_tests::patience::eventually;
use serde_json::{Value, json};

use crate::DEADLINE;
use crate::traffic::numbers;

const CHANNEL: &str = "/all";

/// A node with a user who listens to everything and has an entry in a map.
enum Node {
    Java(JavaNode),
    Halley {
        node: HalleyNode,
        user: HalleyClient,
        map: OortMap<String, Value>,
    },
}

/// A node and the name of its user.
struct Member {
    name: String,
    node: Node,
}

impl Member {
    async fn java(name: &str, node: JavaNode) -> anyhow::Result<Self> {
        let channel = json!({"channel": CHANNEL});
        node.order("observe_channel", channel).await?;
        let subscribe = json!({"user": name, "channel": CHANNEL});
        node.order("subscribe", subscribe).await?;
        node.order("associate", json!({"user": name})).await?;
        node.order("map", json!({"name": "rooms"})).await?;
        let put = json!({"name": "rooms", "key": name, "value": 1});
        node.order("put", put).await?;
        Ok(Self {
            name: name.to_owned(),
            node: Node::Java(node),
        })
    }

    async fn halley(
        cometd: Cometd,
        name: &str,
        cloud: &[&str],
        siblings: &[&str],
    ) -> anyhow::Result<Self> {
        let node = HalleyNode::start(cometd, name, cloud, |config| {
            config.siblings = siblings.iter().map(|it| (*it).to_owned()).collect();
        })
        .await?;
        let user = node.client(Some(name));
        user.subscribe(CHANNEL).await?;
        let map = OortMap::new(&node.objects, "rooms")?;
        map.put(name.to_owned(), json!(1))?;
        Ok(Self {
            name: name.to_owned(),
            node: Node::Halley { node, user, map },
        })
    }

    fn url(&self) -> anyhow::Result<String> {
        match &self.node {
            Node::Java(node) => Ok(node.url.clone()),
            Node::Halley { node, .. } => node.url(),
        }
    }

    async fn publish(&self, data: Value) -> anyhow::Result<()> {
        match &self.node {
            Node::Java(node) => {
                let order = json!({"user": "talker", "channel": CHANNEL, "data": data});
                node.order("publish", order).await.map(drop)
            }
            // A client of its own: nobody is served what it has published itself.
            Node::Halley { node, .. } => node.client(None).publish(CHANNEL, data).await,
        }
    }

    /// The data of all messages that its user has received.
    async fn received(&self) -> anyhow::Result<Vec<Value>> {
        match &self.node {
            Node::Java(node) => {
                let order = json!({"user": self.name, "channel": CHANNEL});
                let received = node.order("received", order).await?;
                let received = received.as_array().into_iter().flatten();
                Ok(received.map(|data| json!([CHANNEL, data])).collect())
            }
            Node::Halley { user, .. } => Ok(user.received()),
        }
    }

    async fn sees(&self, user: &str) -> anyhow::Result<bool> {
        match &self.node {
            Node::Java(node) => {
                let present = node.order("present", json!({"user": user})).await?;
                Ok(present == json!(true))
            }
            Node::Halley { node, .. } => Ok(node.cluster.seti().is_present(&UserId::new(user)?)),
        }
    }

    /// The keys of all parts of the map.
    async fn keys(&self) -> anyhow::Result<BTreeSet<String>> {
        match &self.node {
            Node::Java(node) => {
                let parts = node.order("parts", json!({"name": "rooms"})).await?;
                let parts = parts.as_object().into_iter().flatten();
                let entries = parts.filter_map(|(_, part)| part.as_object());
                Ok(entries.flat_map(|part| part.keys().cloned()).collect())
            }
            Node::Halley { map, .. } => {
                let merged = map.merged();
                Ok(merged.entries.keys().cloned().collect())
            }
        }
    }
}

/// So many of each, of which the first ones know each other, and the others only the one before them.
struct Mixed {
    cometd: Cometd,
    members: Vec<Member>,
    /// The URLs of those that were killed and not replaced at the same place.
    lost: Vec<String>,
    published: u64,
}

impl Mixed {
    /// The last Java node is alone in its JVM.
    async fn start(cometd: Cometd, java: usize, halley: usize) -> anyhow::Result<Self> {
        let mut members: Vec<Member> = Vec::new();
        let mut before = None;
        for number in 1..=java {
            let node = if number == java {
                JavaNode::alone(cometd, 0).await?
            } else {
                JavaNode::start(cometd, json!({})).await?
            };
            if let Some(url) = before.replace(node.url.clone()) {
                node.order("observe", json!({"url": url})).await?;
            }
            members.push(Member::java(&format!("j{number}"), node).await?);
        }
        let first = members[0].url()?;
        let mut mesh: Option<String> = None;
        for number in 1..=halley {
            let name = format!("h{number}");
            let member = match &mesh {
                None => Member::halley(cometd, &name, &[&first], &[]).await?,
                Some(before) => Member::halley(cometd, &name, &[], &[before]).await?,
            };
            if let Node::Halley { node, .. } = &member.node {
                mesh = Some(node.cluster.this_node().mesh_address.to_string());
            }
            members.push(member);
        }
        Ok(Self {
            cometd,
            members,
            lost: Vec::new(),
            published: 0,
        })
    }

    fn javas(&self) -> usize {
        let java = |member: &&Member| matches!(member.node, Node::Java(_));
        self.members.iter().filter(java).count()
    }

    /// Every node knows every other one, and nothing else.
    async fn meet(&self) -> anyhow::Result<()> {
        let urls: Vec<String> = self
            .members
            .iter()
            .map(Member::url)
            .collect::<anyhow::Result<_>>()?;
        for (member, own) in self.members.iter().zip(&urls) {
            match &member.node {
                Node::Java(node) => {
                    let others = urls.iter().filter(|url| *url != own);
                    let others: Vec<&str> = others.map(String::as_str).collect();
                    node.until("known", json!({}), |known| {
                        let known = known.as_array().into_iter().flatten();
                        // A Java node goes on dialling a node that it has lost, and knows it as long.
                        let known: Vec<Value> = known
                            .filter(|url| !self.lost.iter().any(|lost| *url == lost))
                            .cloned()
                            .collect();
                        same(&json!(known), &others)
                    })
                    .await?;
                }
                Node::Halley { node, .. } => {
                    node.oort_members(self.javas()).await?;
                    eventually("all members", DEADLINE, async || {
                        let members = node.cluster.members();
                        ensure!(members.len() == urls.len() - 1, "{members:?}");
                        Ok(())
                    })
                    .await?;
                }
            }
        }
        Ok(())
    }

    /// Every Java node has been told of the loss; of what Halley nodes know [`Mixed::meet`] takes care.
    async fn have_lost(&self) -> anyhow::Result<()> {
        for member in &self.members {
            if let Node::Java(node) = &member.node {
                for lost in &self.lost {
                    node.event(&format!("left {lost}")).await?;
                }
            }
        }
        Ok(())
    }

    /// What each of them publishes reaches the user of each of them once.
    async fn talk(&mut self) -> anyhow::Result<()> {
        self.published += 1;
        let round = self.published;
        for talker in &self.members {
            let probe = json!({"probe": [round, talker.name]});
            eventually("a first message everywhere", DEADLINE, async || {
                talker.publish(probe.clone()).await?;
                for listener in &self.members {
                    let received = listener.received().await?;
                    let there = received.iter().any(|message| message[1] == probe);
                    let (from, to) = (&talker.name, &listener.name);
                    ensure!(there, "nothing of {from} has come to {to}");
                }
                Ok(())
            })
            .await?;
        }
        let mut expected = BTreeSet::new();
        for talker in &self.members {
            for n in 0..3 {
                let message = format!("{round} {} {n}", talker.name);
                talker.publish(json!({"n": message})).await?;
                expected.insert(message);
            }
        }
        let expected: Vec<String> = expected.into_iter().collect();
        for listener in &self.members {
            eventually("every message once", DEADLINE, async || {
                let received = numbers(&listener.received().await?, CHANNEL);
                let texts = received.iter().filter_map(Value::as_str);
                let round = format!("{round} ");
                let mut texts: Vec<&str> = texts.filter(|text| text.starts_with(&round)).collect();
                texts.sort_unstable();
                ensure!(texts == expected, "{} has {texts:?}", listener.name);
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Every node sees the users and the parts of all of them, and no others of these.
    async fn share(&self, lost: &[&str]) -> anyhow::Result<()> {
        let expected: BTreeSet<String> = self.members.iter().map(|it| it.name.clone()).collect();
        for member in &self.members {
            eventually("users and parts", DEADLINE, async || {
                let name = &member.name;
                for user in &expected {
                    ensure!(member.sees(user).await?, "{name} does not see {user}");
                }
                for user in lost {
                    ensure!(!member.sees(user).await?, "{name} still sees {user}");
                }
                let keys = member.keys().await?;
                ensure!(keys == expected, "{name} has {keys:?}");
                Ok(())
            })
            .await?;
        }
        Ok(())
    }

    /// Kills a node; its JVM, where it is one of Java.
    fn kill(&mut self, name: &str) -> anyhow::Result<JavaOrHalley> {
        let found = self.members.iter().position(|member| member.name == name);
        let member = self.members.remove(found.unwrap_or_default());
        ensure!(member.name == name, "no node {name}");
        self.lost.push(member.url()?);
        Ok(match &member.node {
            Node::Java(node) => JavaOrHalley::Java(node.port()),
            Node::Halley { .. } => JavaOrHalley::Halley,
        })
    }

    /// Starts a node in the place of one that was killed.
    async fn replace(&mut self, name: &str, lost: JavaOrHalley) -> anyhow::Result<()> {
        let first = self.members[0].url()?;
        let member = match lost {
            JavaOrHalley::Java(port) => {
                let node = JavaNode::alone(self.cometd, port).await?;
                self.lost.retain(|lost| *lost != node.url);
                node.order("observe", json!({"url": first})).await?;
                Member::java(name, node).await?
            }
            JavaOrHalley::Halley => {
                let sibling = self.members.iter().find_map(|member| match &member.node {
                    Node::Halley { node, .. } => Some(node.cluster.this_node().mesh_address),
                    Node::Java(_) => None,
                });
                let sibling = sibling.context("no Halley node is left")?.to_string();
                Member::halley(self.cometd, name, &[&first], &[&sibling]).await?
            }
        };
        self.members.push(member);
        Ok(())
    }
}

enum JavaOrHalley {
    Java(u16),
    Halley,
}

/// All of it, while the last node of each kind is killed and replaced.
async fn live_and_lose(cometd: Cometd, java: usize, halley: usize) -> anyhow::Result<()> {
    let mut cluster = Mixed::start(cometd, java, halley).await?;
    cluster.meet().await?;
    cluster.talk().await?;
    cluster.share(&[]).await?;
    let names = [format!("j{java}"), format!("h{halley}")];
    // Of the kind of which there is but one none is killed: it is what the others know.
    let mut killed = Vec::new();
    for (name, count) in names.iter().zip([java, halley]) {
        if count > 1 {
            killed.push((name.as_str(), cluster.kill(name)?));
        }
    }
    cluster.have_lost().await?;
    cluster.meet().await.context("after the loss")?;
    let lost: Vec<&str> = killed.iter().map(|(name, _)| *name).collect();
    cluster.share(&lost).await.context("after the loss")?;
    for (name, node) in killed {
        cluster.replace(name, node).await?;
    }
    cluster.meet().await.context("after the return")?;
    cluster.talk().await.context("after the return")?;
    cluster.share(&[]).await.context("after the return")
}

pub(crate) async fn three_of_each_lose_one_of_each_and_get_it_back(
    cometd: Cometd,
) -> anyhow::Result<()> {
    live_and_lose(cometd, 3, 3).await
}

pub(crate) async fn one_java_node_among_three_halley_nodes(cometd: Cometd) -> anyhow::Result<()> {
    live_and_lose(cometd, 1, 3).await
}

pub(crate) async fn one_halley_node_among_three_java_nodes(cometd: Cometd) -> anyhow::Result<()> {
    live_and_lose(cometd, 3, 1).await
}
