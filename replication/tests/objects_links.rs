//! Replicated objects over real links on loopback.

#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "../../cluster/tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use halley_cluster::{StateChannel, TokioNet};
use halley_replication::{Objects, OortObject};
use support::{Node, config, eventually};

struct Host {
    node: Node,
    objects: Objects,
}

impl Host {
    async fn start(name: &str, seeds: &[&Host]) -> Self {
        let seeds: Vec<_> = seeds.iter().map(|host| host.node.address()).collect();
        let node = Node::prepare(config(name, &seeds));
        let objects = Objects::new(Arc::new(node.cluster.clone()), node.clock);
        node.cluster
            .register(StateChannel::OBJECTS, Arc::new(objects.clone()));
        node.cluster.open(TokioNet).await.unwrap();
        Self { node, objects }
    }
}

fn values(object: &OortObject<String>) -> Vec<(String, String)> {
    let parts = object.parts().into_iter();
    let mut values: Vec<_> = parts
        .map(|(member, value)| (member.name.to_string(), value.to_string()))
        .collect();
    values.sort();
    values
}

fn text(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn parts_are_shared_and_go_with_their_nodes() {
    let a = Host::start("a", &[]).await;
    let on_a = OortObject::new(&a.objects, "state", "a0".to_owned()).unwrap();
    let b = Host::start("b", &[&a]).await;
    let c = Host::start("c", &[&b]).await;
    eventually("all are joined", || {
        [&a, &b, &c].iter().all(|host| host.node.names().len() == 2)
    })
    .await;
    // Created after the nodes joined.
    let on_b = OortObject::new(&b.objects, "state", "b0".to_owned()).unwrap();
    let on_c = OortObject::new(&c.objects, "state", "c0".to_owned()).unwrap();
    for object in [&on_a, &on_b, &on_c] {
        let expected = text(&[("a", "a0"), ("b", "b0"), ("c", "c0")]);
        eventually("the initial values", || values(object) == expected).await;
    }
    for set in 1..200 {
        on_a.set(format!("a{set}")).unwrap();
    }
    let large = "x".repeat(3 << 20);
    on_b.set(large.clone()).unwrap();
    for object in [&on_a, &on_b, &on_c] {
        let expected = text(&[("a", "a199"), ("b", &large), ("c", "c0")]);
        eventually("the last values", || values(object) == expected).await;
    }
    assert_eq!(on_a.parts()[0].0, a.node.cluster.this_node());
    b.node.cluster.stop();
    for object in [&on_a, &on_c] {
        let expected = text(&[("a", "a199"), ("c", "c0")]);
        eventually("the part of b is gone", || values(object) == expected).await;
    }
    let again = Host::start("b", &[&a]).await;
    let on_b = OortObject::new(&again.objects, "state", "b again".to_owned()).unwrap();
    for object in [&on_a, &on_b, &on_c] {
        let expected = text(&[("a", "a199"), ("b", "b again"), ("c", "c0")]);
        eventually("b is back in a new incarnation", || {
            values(object) == expected
        })
        .await;
    }
    for host in [&a, &again, &c] {
        host.node.cluster.leave().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn maps_lists_and_numbers_over_real_links() {
    let a = Host::start("a", &[]).await;
    let b = Host::start("b", &[&a]).await;
    let hosts = [&a, &b];
    let maps = hosts.map(|host| host.objects.map::<u32>("map").unwrap());
    let lists = hosts.map(|host| host.objects.list::<u32>("list").unwrap());
    let longs = hosts.map(|host| host.objects.long("long").unwrap());
    for (at, number) in (0..2_000).enumerate() {
        maps[at % 2].put(format!("key {number}"), number).unwrap();
        lists[at % 2].add(number % 100).unwrap();
        longs[at % 2].add_and_get(1).unwrap();
    }
    lists[0].remove(42).unwrap();
    maps[1].remove(&"key 1".to_owned()).unwrap();
    let [name_a, name_b] = hosts.map(|host| host.node.cluster.this_node().name);
    let expected = (1_999, 1_980, 2_000);
    for at in 0..2 {
        eventually("both have all", || {
            let merged = maps[at].merged();
            assert!(merged.conflicts.is_empty());
            (
                merged.entries.len(),
                lists[at].merged().len(),
                longs[at].sum() as usize,
            ) == expected
        })
        .await;
    }
    assert_eq!(maps[1].part(&name_a), Some(maps[0].local()));
    assert_eq!(lists[0].part(&name_b), Some(lists[1].local()));
    b.node.cluster.stop();
    eventually("the parts of b are gone", || {
        maps[0].part(&name_b).is_none() && lists[0].parts().len() == 1 && longs[0].sum() == 1_000
    })
    .await;
    a.node.cluster.leave().await;
}
