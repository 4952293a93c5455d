//! A sibling that is found at another address than the one it gives.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use support::cut_proxy::CutProxy;
use support::{Node, config, eventually};
use tokio::time::sleep;

/// The seed of `a` is a proxy in front of `b`; `b` gives its own address, which works as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_sibling_whose_seed_address_is_not_its_own_joins_once() {
    let b = Node::start(config("b", &[])).await;
    let proxy = CutProxy::start(b.address()).await;
    let a = Node::start(config("a", &[proxy.address])).await;
    eventually("joined", || a.names() == ["b"] && b.names() == ["a"]).await;
    // Longer than it takes to look at further addresses of a member.
    sleep(Duration::from_millis(2500)).await;
    for (node, expected) in [(&a, 1), (&b, 1)] {
        assert_eq!(node.events.all().len(), expected, "{:?}", node.events.all());
    }
    // When the link through the proxy is lost for good, the other address does.
    proxy.cut();
    eventually("joined again", || {
        let joined = |node: &Node| node.events.all().len() == 3;
        joined(&a) && joined(&b)
    })
    .await;
    // And nobody leaves when both addresses work again.
    proxy.mend();
    sleep(Duration::from_millis(2500)).await;
    assert_eq!(a.names(), ["b"]);
    for node in [&a, &b] {
        assert_eq!(node.events.all().len(), 3, "{:?}", node.events.all());
    }
}
