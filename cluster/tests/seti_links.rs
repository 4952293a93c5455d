//! The user directory over real links on loopback.

#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

use std::sync::Arc;

use halley_bayeux::{EndReason, Json, LocalSession, Publication, UserId};
use halley_cluster::seti::Seti;
use support::{Inbox, Node, channel, config, eventually};

struct Host {
    node: Node,
    seti: Seti,
}

impl Host {
    async fn start(name: &str, seeds: &[&Host]) -> Self {
        let seeds: Vec<_> = seeds.iter().map(|host| host.node.address()).collect();
        let node = Node::start(config(name, &seeds)).await;
        let seti = node.cluster.seti().clone();
        Self { node, seti }
    }

    fn client(&self, user: &str) -> (LocalSession, Arc<Inbox>) {
        let inbox = Arc::new(Inbox::default());
        (
            self.node
                .engine
                .local_session(Some(id(user)), inbox.clone()),
            inbox,
        )
    }

    fn presence(&self, user: &str) -> Vec<String> {
        let nodes = self.seti.presence(&id(user));
        nodes.iter().map(ToString::to_string).collect()
    }
}

fn id(user: &str) -> UserId {
    UserId::new(user).unwrap()
}

fn number(number: usize) -> Arc<Publication> {
    let data = number.to_string();
    Publication::new(&channel("/service/dm"), Json::validate(&data, 4).unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_are_known_on_three_nodes_and_messages_keep_their_order() {
    let a = Host::start("a", &[]).await;
    let (alice, inbox) = a.client("alice");
    let b = Host::start("b", &[&a]).await;
    let c = Host::start("c", &[&a]).await;
    for host in [&b, &c] {
        eventually("alice is known", || host.presence("alice") == ["a"]).await;
    }
    for sent in 0..500 {
        assert_eq!(b.seti.send(&id("alice"), &number(sent)).nodes.len(), 1);
    }
    eventually("all messages", || inbox.data().len() == 500).await;
    let expected: Vec<_> = (0..500).map(|number| number.to_string()).collect();
    assert_eq!(inbox.data(), expected);
    let (_more, _) = c.client("alice");
    eventually("alice is on two nodes", || b.presence("alice").len() == 2).await;
    a.node
        .engine
        .end_session(alice.session().id(), EndReason::Server, a.node.clock.now());
    eventually("alice is on one node", || b.presence("alice") == ["c"]).await;
    c.node.cluster.stop();
    for host in [&a, &b] {
        eventually("alice went with her node", || {
            !host.seti.is_present(&id("alice"))
        })
        .await;
    }
    for host in [&a, &b] {
        host.node.cluster.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_joins_late_learns_a_directory_of_many_windows() {
    const USERS: usize = 100_000;
    let a = Host::start("a", &[]).await;
    let (session, _) = a.client("first");
    for user in 1..USERS {
        let user = id(&format!("user-{user:08}@example.com"));
        a.seti.associate(&user, session.session()).unwrap();
    }
    let b = Host::start("b", &[&a]).await;
    let some = id("user-00000001@example.com");
    eventually("some user", || b.seti.is_present(&some)).await;
    eventually("all users", || b.seti.users().len() == USERS).await;
    let joined = b.node.events.all();
    drop(session);
    // One is looked at, because to list all of them takes longer than a change.
    let last = id(&format!("user-{:08}@example.com", USERS - 1));
    eventually("not the last user", || !b.seti.is_present(&last)).await;
    eventually("no user", || b.seti.users().is_empty()).await;
    assert_eq!(b.node.events.all(), joined, "no link was reset");
    for host in [&a, &b] {
        host.node.cluster.leave().await;
    }
}
