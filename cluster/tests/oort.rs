//! The Oort dialect against a peer under orders: what goes over the wire, and who is not believed.
//! With CometD's own nodes it is tested in `tests/tests/interop_oort.rs`.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/oort_peer.rs"]
mod oort_peer;
mod support;

use std::sync::Arc;

use halley_bayeux::{Millis, Publication, UserId};
use halley_client::{Client, ConnectError, Events};
use halley_cluster::{ClusterConfig, Dialect, OortConfig, Secret};
use oort_peer::{DIGEST, DIGEST_SHA1, OORT_SECRET, OortPeer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use support::{Node, channel, config, eventually};

fn oort_config(name: &str, cloud: &[&str]) -> ClusterConfig {
    let mut config = config(name, &[]);
    let mut oort = OortConfig::new(Secret::new(OORT_SECRET).unwrap());
    oort.cloud = cloud.iter().map(|url| (*url).to_owned()).collect();
    config.oort = Some(oort);
    config
}

fn url(node: &Node) -> String {
    node.cluster.oort_url().unwrap().as_str().to_owned()
}

/// Makes the peer a member; its link stays open as long as it is held.
async fn join(peer: &OortPeer, node: &Node) -> (Client, Events) {
    let link = peer
        .dial(node.address(), peer.ext(&url(node)))
        .await
        .unwrap();
    // The node confirms once it has dialled back.
    eventually("a join message", || {
        !peer.published("/service/oort").is_empty()
    })
    .await;
    peer.confirm(&link.0).await;
    let member = |node: &Node| {
        let members = node.cluster.members();
        members.iter().any(|member| member.client_url == peer.url)
    };
    eventually("a member", || member(node)).await;
    link
}

#[tokio::test]
async fn a_node_that_is_dialled_dials_back_and_joins_when_both_have_confirmed() {
    let peer = OortPeer::start("peer-1").await;
    let node = Node::start(oort_config("n1", &[])).await;
    let (link, _events) = peer
        .dial(node.address(), peer.ext(&url(&node)))
        .await
        .unwrap();
    let session = link.session();
    let ext: Value = serde_json::from_str(session.handshake_ext().unwrap().as_str()).unwrap();
    assert_eq!(ext["org.cometd.oort"]["oortURL"], url(&node));

    eventually("a join message", || {
        !peer.published("/service/oort").is_empty()
    })
    .await;
    let received = peer.received();
    let handshake = &received[0]["ext"]["org.cometd.oort"];
    assert_eq!(
        (&handshake["oortURL"], &handshake["oortAliasURL"]),
        (&json!(url(&node)), &json!(url(&node)))
    );
    assert_eq!(
        (&handshake["cometURL"], &handshake["oortSecret"]),
        (&json!(peer.url), &json!(DIGEST))
    );
    // Its subscriptions are active when it confirms.
    let channels: Vec<&str> = received[1..]
        .iter()
        .filter_map(|message| message["channel"].as_str())
        .collect();
    assert_eq!(
        channels,
        [
            "/meta/subscribe",
            "/meta/subscribe",
            "/oort/cloud",
            "/service/oort"
        ]
    );
    assert_eq!(peer.published("/oort/cloud"), [json!([peer.url])]);
    assert_eq!(
        peer.published("/service/oort"),
        [json!({"oortId": handshake["oortId"], "oortURL": url(&node)})]
    );
    assert!(node.cluster.members().is_empty(), "it has not confirmed");
    peer.confirm(&link).await;
    eventually("a member", || node.cluster.members().len() == 1).await;
    let member = node.cluster.members().remove(0);
    assert_eq!(member.client_url, peer.url);
    assert_eq!(node.cluster.dialect(&member.name), Some(Dialect::Oort));
    assert_eq!(node.events.all(), [format!("+{}", member.id())]);

    link.disconnect().await;
    eventually("an end", || node.events.all().len() == 2).await;
    assert!(node.cluster.members().is_empty());
}

#[tokio::test]
async fn who_cannot_be_believed_is_refused() {
    let peer = OortPeer::start("peer-1").await;
    let node = Node::start(oort_config("n1", &[])).await;
    let good = peer.ext(&url(&node));
    let with = |field: &str, value: &str| {
        let mut ext = good.clone();
        ext[field] = json!(value);
        ext
    };
    for ext in [
        with("oortSecret", "x"),
        with("oortSecret", DIGEST_SHA1),
        with("oortSecret", &DIGEST[..86]),
        with("cometURL", "http://127.0.0.1:1/cometd"),
        with("oortURL", "no URL"),
        with("halley", "another"),
        json!({"oortSecret": DIGEST}),
        json!("x"),
    ] {
        let refused = peer.dial(node.address(), ext.clone()).await;
        assert!(matches!(refused, Err(ConnectError::Refused(_))), "{ext}");
    }
    assert_eq!(node.cluster.counters().oort_refused.get(), 7);
    assert!(peer.received().is_empty(), "none of them is dialled back");
    peer.dial(node.address(), good).await.unwrap();
}

#[tokio::test]
async fn the_digest_of_older_nodes_is_accepted_only_where_it_is_configured() {
    let peer = OortPeer::start("peer-1").await;
    let mut config = oort_config("n1", &[]);
    let oort = config.oort.as_mut().unwrap();
    (oort.accept_sha1, oort.show_sha1) = (true, true);
    let node = Node::start(config).await;
    for digest in [DIGEST_SHA1, DIGEST] {
        let mut ext = peer.ext(&url(&node));
        ext["oortSecret"] = json!(digest);
        peer.dial(node.address(), ext).await.unwrap();
    }
    eventually("a handshake", || !peer.received().is_empty()).await;
    let shown = &peer.received()[0]["ext"]["org.cometd.oort"]["oortSecret"];
    assert_eq!(shown, DIGEST_SHA1);
}

#[tokio::test]
async fn a_mesh_listener_without_the_dialect_knows_no_oort() {
    let peer = OortPeer::start("peer-1").await;
    let node = Node::start(config("n1", &[])).await;
    let ext = peer.ext(&format!("http://{}/cometd", node.address()));
    let refused = peer.dial(node.address(), ext).await;
    assert!(matches!(refused, Err(ConnectError::Link(_))));
}

#[tokio::test]
async fn messages_travel_one_hop() {
    let (p1, p2) = (
        OortPeer::start("peer-1").await,
        OortPeer::start("peer-2").await,
    );
    let node = Node::start(oort_config("n1", &[])).await;
    let (_session, inbox) = node.subscriber(&["/chat/**"]).await;
    let (l1, mut e1) = join(&p1, &node).await;
    let (l2, mut e2) = join(&p2, &node).await;
    for link in [&l1, &l2] {
        link.subscribe("/chat/**").await.unwrap();
        link.subscribe("/oort/cloud").await.unwrap();
    }
    // Pushed to this node; published where this node observes; published here.
    l1.publish("/chat/x", json!("pushed")).await.unwrap();
    eventually("interest", || {
        p2.publish("/chat/x", &json!("observed")) == 1
    })
    .await;
    eventually("both", || inbox.data().len() == 2).await;
    node.publish("/chat/x", "\"own\"");
    for events in [&mut e1, &mut e2] {
        let message = events.next_message().await.unwrap();
        assert_eq!((message.channel(), message.data()), ("/chat/x", "\"own\""));
    }
    assert_eq!(inbox.data(), ["\"pushed\"", "\"observed\"", "\"own\""]);
}

#[tokio::test]
async fn a_list_of_nodes_leads_to_them_and_to_nothing_else() {
    let (p1, p2) = (
        OortPeer::start("peer-1").await,
        OortPeer::start("peer-2").await,
    );
    let node = Node::start(oort_config("n1", &[&p1.url])).await;
    let (link, _events) = join(&p1, &node).await;
    let list = json!([
        "nonsense",
        url(&node),
        p1.url,
        "http://192.0.2.1:9/x",
        p2.url
    ]);
    link.publish("/oort/cloud", list).await.unwrap();
    eventually("a handshake", || !p2.received().is_empty()).await;
    let ext = &p2.received()[0]["ext"]["org.cometd.oort"];
    assert_eq!(
        (&ext["cometURL"], &ext["oortAliasURL"]),
        (&json!(p2.url), &Value::Null)
    );
    let handshakes = p1.received();
    let handshakes = handshakes
        .iter()
        .filter(|it| it["channel"] == "/meta/handshake");
    assert_eq!(handshakes.count(), 1);
}

#[tokio::test]
async fn a_node_speaks_for_itself_only() {
    let (p1, p2) = (
        OortPeer::start("peer-1").await,
        OortPeer::start("peer-2").await,
    );
    let node = Node::start(oort_config("n1", &[])).await;
    let (_l1, _e1) = p1.dial(node.address(), p1.ext(&url(&node))).await.unwrap();
    eventually("a join message", || {
        !p1.published("/service/oort").is_empty()
    })
    .await;
    // It confirms as the other one, and tells of the other one's users; then as itself.
    let (l2, _e2) = p2.dial(node.address(), p2.ext(&url(&node))).await.unwrap();
    p1.confirm(&l2).await;
    let users = |of: &OortPeer, user: &str| {
        let (url, replace) = (&of.url, user == "later");
        json!({"userIds": [user], "oortURL": url, "presence": true, "replace": replace})
    };
    l2.publish("/seti/own", users(&p1, "forged")).await.unwrap();
    l2.publish("/seti/own", users(&p2, "own")).await.unwrap();
    p2.confirm(&l2).await;
    let own = UserId::new("own").unwrap();
    eventually("a user", || node.cluster.seti().is_present(&own)).await;
    let forged = UserId::new("forged").unwrap();
    assert!(!node.cluster.seti().is_present(&forged));
    let members = node.cluster.members();
    let urls: Vec<&str> = members.iter().map(|it| it.client_url.as_str()).collect();
    assert_eq!(urls, [p2.url.as_str()]);
    // A second link of the same process takes the place of the first, and nobody leaves.
    let (l3, _e3) = p2.dial(node.address(), p2.ext(&url(&node))).await.unwrap();
    p2.confirm(&l3).await;
    l3.publish("/seti/own", users(&p2, "later")).await.unwrap();
    let later = UserId::new("later").unwrap();
    eventually("a user", || node.cluster.seti().is_present(&later)).await;
    assert_eq!(node.events.all().len(), 1);
    assert!(!node.cluster.seti().is_present(&own));
}

#[tokio::test]
async fn data_and_ext_pass_as_they_are() {
    let peer = OortPeer::start("peer-1").await;
    let node = Node::start(oort_config("n1", &[])).await;
    let objects: Arc<Mutex<Vec<String>>> = Arc::default();
    let noted = objects.clone();
    let receiver = move |publication: &Arc<Publication>| {
        let object = publication.object();
        let object = std::str::from_utf8(&object).unwrap().to_owned();
        noted.lock().push(object);
    };
    let session = node.engine.local_session(None, Arc::new(receiver));
    let channel = channel("/chat/x");
    session.subscribe(&channel, node.clock.now()).await.unwrap();
    let (link, mut events) = join(&peer, &node).await;
    link.subscribe("/chat/x").await.unwrap();
    // A binary chunk, and a number that reading and writing again would spoil.
    let object = r#"{"channel":"/chat/x","data":{"data":"HelloWorld","last":true,"n":1.50},"ext":{"binary":{}}}"#;
    let publication = Publication::from_object(channel.clone(), object.as_bytes()).unwrap();
    eventually("interest", || {
        peer.engine.publish(&publication, Millis(0)) == 1
    })
    .await;
    eventually("the message", || !objects.lock().is_empty()).await;
    assert_eq!(*objects.lock(), [object]);
    node.engine.publish(&publication, node.clock.now());
    let message = events.next_message().await.unwrap();
    assert_eq!(
        message.data(),
        r#"{"data":"HelloWorld","last":true,"n":1.50}"#
    );
    assert_eq!(message.ext(), Some(r#"{"binary":{}}"#));
}

#[tokio::test]
async fn acknowledgement_on_links_can_be_switched_off() {
    for ack in [true, false] {
        let peer = OortPeer::start("peer-1").await;
        let mut config = oort_config("n1", &[]);
        config.oort.as_mut().unwrap().ack = ack;
        let node = Node::start(config).await;
        let (_session, inbox) = node.subscriber(&["/chat/x"]).await;
        let (link, mut events) = join(&peer, &node).await;
        assert_eq!(link.session().is_acknowledged(), ack);
        let asked = &peer.received()[0]["ext"]["ack"];
        assert_eq!(asked == &json!(true), ack, "{asked}");
        // Once each, with it and without.
        link.subscribe("/chat/x").await.unwrap();
        node.publish("/chat/x", "1");
        node.publish("/chat/x", "2");
        for data in ["1", "2"] {
            assert_eq!(events.next_message().await.unwrap().data(), data);
        }
        eventually("interest", || peer.publish("/chat/x", &json!(3)) == 1).await;
        eventually("there", || inbox.data().contains(&"3".to_owned())).await;
        assert_eq!(inbox.data(), ["1", "2", "3"]);
    }
}
