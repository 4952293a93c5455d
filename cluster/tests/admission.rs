//! Who is let in: secrets, names, addresses; and what strangers on the mesh port can do.

mod support;

use std::time::Duration;

use support::{Node, config, eventually, mesh, secret};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test(flavor = "multi_thread")]
async fn a_node_with_another_secret_is_not_let_in() {
    let a = Node::start(config("a", &[])).await;
    let mut stranger = config("b", &[a.address()]);
    stranger.secrets = secret(2).into();
    let b = Node::start(stranger).await;
    eventually("counted", || {
        a.cluster.counters().handshakes_failed.get() >= 2
    })
    .await;
    assert!(a.names().is_empty() && b.names().is_empty());
    assert!(a.events.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_node_with_the_same_name_is_refused_until_the_first_is_gone() {
    let mut nodes = mesh(&["a", "b"]).await;
    let twin = Node::start(config("b", &[nodes[0].address()])).await;
    eventually("it says why", || !twin.cluster.conflicts().is_empty()).await;
    assert_eq!(twin.cluster.conflicts()[0].holder, nodes[1].address());
    assert!(twin.names().is_empty());
    assert_eq!(nodes[0].cluster.members()[0], nodes[1].cluster.this_node());
    assert!(nodes[1].cluster.conflicts().is_empty());
    assert!(nodes[0].cluster.counters().nodes_refused.get() > 0);
    nodes.pop().unwrap().stop().await;
    eventually("the name is free", || twin.names() == ["a"]).await;
    eventually("no conflict any more", || {
        twin.cluster.conflicts().is_empty()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_with_one_name_that_meet_the_younger_is_in_conflict() {
    let old = Node::start(config("a", &[])).await;
    tokio::time::sleep(Duration::from_millis(20)).await; // so that their ages differ
    let young = Node::start(config("a", &[old.address()])).await;
    eventually("the younger knows", || {
        !young.cluster.conflicts().is_empty()
    })
    .await;
    assert!(old.cluster.conflicts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn addresses_outside_allow_are_neither_dialled_nor_accepted() {
    let a = Node::start(config("a", &[])).await;
    let mut narrow = config("b", &[a.address()]);
    narrow.allow = vec!["10.0.0.0/8".parse().unwrap()];
    let b = Node::start(narrow).await;
    let c = Node::start(config("c", &[b.address()])).await;
    eventually("turned away", || {
        b.cluster.counters().connections_not_allowed.get() > 0
    })
    .await;
    assert_eq!(a.cluster.counters().handshakes_failed.get(), 0);
    assert!(a.names().is_empty() && b.names().is_empty() && c.names().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_its_own_seed_does_not_join_itself() {
    let probe = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let mut own = config("a", &[]);
    own.listen = address;
    own.advertise = Some(format!("127.0.0.2:{}", address.port()).parse().unwrap());
    own.siblings = vec![address.to_string()];
    let a = Node::start(own).await;
    eventually("refused by itself", || {
        a.cluster.counters().nodes_refused.get() > 0
    })
    .await;
    assert!(a.names().is_empty() && a.cluster.conflicts().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_the_mesh_port_disturbs_nobody() {
    let mut nodes = mesh(&["a", "b"]).await;
    let mut bounded = config("c", &[nodes[0].address()]);
    bounded.handshake_timeout = Duration::from_millis(300);
    bounded.unauthenticated_max = 4;
    nodes.push(Node::start(bounded).await);
    eventually("joined", || {
        nodes.iter().all(|node| node.names().len() == 2)
    })
    .await;
    let address = nodes[2].address();
    let upgrade = format!(
        "GET /halley/mesh HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    let oversize: Vec<u8> = [
        &[0x82, 0xff, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0][..],
        &[0; 9000],
    ]
    .concat();
    let unknown: Vec<u8> = vec![0x82, 0x82, 0, 0, 0, 0, 9, 9];
    let attacks: Vec<Vec<u8>> = vec![
        b"\x00\xff garbage \r\n\r\n".to_vec(),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        vec![b'A'; 1 << 20],
        [upgrade.as_bytes(), &oversize].concat(),
        [upgrade.as_bytes(), &unknown].concat(),
        [upgrade.as_bytes(), &[0x81, 0x80, 0, 0, 0, 0]].concat(),
    ];
    for attack in attacks {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let _ = stream.write_all(&attack).await;
        let mut answer = Vec::new();
        // Closed, without a word about why.
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(support::patience(), read)
            .await
            .expect("it is closed");
        assert!(!String::from_utf8_lossy(&answer).contains("secret"));
    }
    // Silent ones are closed too, and only so many may wait.
    let mut silent = Vec::new();
    for _ in 0..12 {
        silent.push(TcpStream::connect(address).await.unwrap());
    }
    eventually("over the limit", || {
        nodes[2].cluster.counters().connections_over_limit.get() > 0
    })
    .await;
    for mut stream in silent {
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(support::patience(), read)
            .await
            .expect("it is closed");
    }
    for node in &nodes {
        assert_eq!(
            node.events.all().len(),
            2,
            "nobody has noticed: {:?}",
            node.events.all()
        );
    }
}
