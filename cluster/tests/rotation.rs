//! The secret of a running cluster is replaced, and nobody leaves.

mod support;

use halley_cluster::Secrets;
use support::{Node, config, eventually, mesh};

const OLD: [u8; 32] = [1; 32]; // that of `support::config`
const NEW: [u8; 32] = [b'n'; 32];

fn secrets(lines: &[[u8; 32]]) -> Secrets {
    Secrets::from_lines(&lines.join(&b'\n')).expect("valid secrets")
}

/// A node with these secrets joins all, and goes again.
async fn guest(name: &str, with: &[[u8; 32]], nodes: &[Node]) {
    let mut config = config(name, &[nodes[0].address()]);
    config.secrets = secrets(with);
    let guest = Node::start(config).await;
    eventually(name, || {
        guest.names().len() == nodes.len()
            && nodes
                .iter()
                .all(|node| node.names().iter().any(|other| other == name))
    })
    .await;
    guest.stop().await;
    eventually("the guest is gone", || {
        nodes
            .iter()
            .all(|node| node.names().len() == nodes.len() - 1)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_of_three_changes_its_secret_and_nobody_leaves() {
    let nodes = mesh(&["a", "b", "c"]).await;
    let (_session, inbox) = nodes[2].subscriber(&["/x"]).await;
    nodes[0].until_reached("/x", &inbox).await;
    let mut published = 0;
    let mut guests = 0;
    for (step, lines) in [&[OLD, NEW][..], &[NEW, OLD], &[NEW]]
        .into_iter()
        .enumerate()
    {
        // One node after the other, and after each the cluster is a mixture that works: new nodes can come in that are
        // as far as the others, or one step behind.
        for node in &nodes {
            node.cluster.set_secrets(secrets(lines));
            nodes[0].publish("/x", &published.to_string());
            published += 1;
            let before: &[[u8; 32]] = [&[OLD][..], &[OLD, NEW], &[NEW, OLD]][step];
            for with in [before, lines] {
                guests += 1;
                guest(&format!("guest{guests}"), with, &nodes).await;
            }
        }
    }
    eventually("everything has arrived", || {
        inbox
            .data()
            .iter()
            .any(|data| *data == (published - 1).to_string())
    })
    .await;
    let numbers = inbox
        .data()
        .into_iter()
        .filter_map(|data| data.parse().ok());
    assert_eq!(
        numbers.collect::<Vec<u32>>(),
        (0..published).collect::<Vec<_>>()
    );
    for node in &nodes {
        let events = node.events.all();
        let left: Vec<_> = events
            .iter()
            .filter(|event| event.starts_with('-'))
            .collect();
        assert!(
            left.iter().all(|event| event.starts_with("-guest")),
            "{left:?}"
        );
        assert_eq!(node.cluster.secret_count(), 1);
    }
    // The old one opens nothing any more.
    let mut old = config("old", &[nodes[0].address()]);
    old.secrets = secrets(&[OLD]);
    let failed = nodes[0].cluster.counters().handshakes_failed.get();
    let old = Node::start(old).await;
    eventually("it is turned away", || {
        nodes[0].cluster.counters().handshakes_failed.get() > failed + 1
    })
    .await;
    assert!(old.names().is_empty());
}
