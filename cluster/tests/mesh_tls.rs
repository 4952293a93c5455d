//! TLS on the links: who gets in with which certificate, and that nobody in between gains anything.

#![allow(clippy::unwrap_used)]

#[path = "support/authority.rs"]
mod authority;
#[path = "support/log.rs"]
mod log;
#[path = "support/relay.rs"]
mod relay;
mod support;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use authority::{Authority, Pem};
use halley_cluster::{MeshTls, MeshTlsError, MeshTlsRules, TlsMode};
use relay::{Ends, Relay};
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use support::cut_proxy::CutProxy;
use support::{Node, config, eventually};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Where all nodes are.
const HOST: &str = "127.0.0.1";

async fn start(name: &str, seeds: &[SocketAddr], tls: Option<MeshTls>) -> Node {
    let mut config = config(name, seeds);
    config.tls = tls;
    Node::start(config).await
}

/// Where a node may listen that advertises the address of somebody in front of it.
fn free_address() -> SocketAddr {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap()
}

async fn joined(a: &Node, b: &Node) {
    let name = |node: &Node| node.cluster.this_node().name.to_string();
    eventually("joined", || {
        a.names().contains(&name(b)) && b.names().contains(&name(a))
    })
    .await;
}

async fn both_ways(a: &Node, b: &Node) {
    for (from, to) in [(a, b), (b, a)] {
        let (_session, inbox) = to.subscriber(&["/x"]).await;
        from.until_reached("/x", &inbox).await;
    }
}

/// A TLS connection of somebody who is no node, and what the node says to a request to upgrade.
async fn upgrade(node: &Node, client: Arc<ClientConfig>) -> (CertificateDer<'static>, Vec<u8>) {
    let address = node.address();
    let stream = TcpStream::connect(address).await.unwrap();
    let name = ServerName::IpAddress(address.ip().into());
    let mut stream = TlsConnector::from(client)
        .connect(name, stream)
        .await
        .unwrap();
    let shown = stream.get_ref().1.peer_certificates().unwrap()[0].clone();
    let request = "GET /halley/mesh HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
        Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n";
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = vec![0; 12];
    let read = tokio::time::timeout(support::patience(), stream.read(&mut answer));
    let length = read.await.unwrap().unwrap_or(0);
    answer.truncate(length);
    (shown, answer)
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_with_certificates_of_the_mesh_are_one_cluster_and_nothing_is_in_clear_text() {
    let mesh = Authority::new();
    let a = start("node-a", &[], Some(mesh.issue(HOST).tls())).await;
    let relay = Relay::start(a.address(), Ends::default()).await;
    let b = start("node-b", &[relay.address], Some(mesh.issue(HOST).tls())).await;
    joined(&a, &b).await;
    both_ways(&a, &b).await;
    let sent = relay.recorded().concat();
    assert_eq!(sent[0], 0x16, "a TLS handshake");
    for secret in ["/halley/mesh", "node-b", "probe"] {
        let in_clear = sent
            .windows(secret.len())
            .any(|bytes| bytes == secret.as_bytes());
        assert!(!in_clear, "{secret} can be read");
    }
    for node in [&a, &b] {
        assert_eq!(node.cluster.counters().tls_failures.get(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_ends_tls_cannot_pass_proofs_on() {
    let log = log::capture();
    let mesh = Authority::new();
    // The relay has stolen a certificate of the mesh: for TLS alone it is a node.
    let stolen = mesh.issue(HOST);
    let (front, back) = (Some(stolen.server()), Some(mesh.client(Some(&stolen))));
    let tls = || Some(mesh.issue(HOST).tls());
    for (a_tls, ends, b_tls, passes) in [
        (tls(), Ends::default(), tls(), true),
        (
            tls(),
            Ends {
                front: front.clone(),
                back: back.clone(),
            },
            tls(),
            false,
        ),
        (
            None,
            Ends {
                front: None,
                back: back.clone(),
            },
            tls(),
            false,
        ),
        (
            tls(),
            Ends {
                front: front.clone(),
                back: None,
            },
            None,
            false,
        ),
    ] {
        let b = start("b", &[], b_tls).await;
        let relay = Relay::start(b.address(), ends).await;
        let a = start("a", &[relay.address], a_tls).await;
        if passes {
            joined(&a, &b).await;
            continue;
        }
        // Again and again, and never a word of the acceptor.
        eventually("refused on both sides", || {
            b.cluster.counters().handshakes_failed.get() > 1
                && a.cluster.counters().dials_closed.get() > 1
        })
        .await;
        assert!(a.events.all().is_empty() && b.events.all().is_empty());
        assert!(log.contains("the other side does not know the cluster secret"));
        for node in [&a, &b] {
            assert_eq!(node.cluster.counters().tls_failures.get(), 0);
        }
    }
}

fn end_of_head(bytes: &[u8]) -> usize {
    let end = bytes.windows(4).position(|end| end == b"\r\n\r\n");
    end.expect("a head") + 4
}

/// Behind the head of a request, `Hello` and `Proof`, each in a short masked WebSocket message.
fn end_of_proof(bytes: &[u8]) -> usize {
    (0..2).fold(end_of_head(bytes), |at, _| {
        let length = usize::from(bytes[at + 1] & 0x7f);
        assert!(length < 126);
        at + 2 + 4 + length
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_recorded_is_worth_nothing_when_it_is_sent_again() {
    let mesh = Authority::new();
    for tls in [None, Some(mesh.issue(HOST).tls())] {
        let listen = free_address();
        let relay = Relay::start(listen, Ends::default()).await;
        let mut b = config("b", &[]);
        (b.listen, b.advertise, b.tls) = (listen, Some(relay.address), tls.clone());
        let b = Node::start(b).await;
        let a = start("a", &[relay.address], tls.clone()).await;
        joined(&a, &b).await;
        both_ways(&a, &b).await;
        let mut recorded = relay.recorded().remove(0);
        if tls.is_none() {
            recorded.truncate(end_of_proof(&recorded));
        }
        let failed = b.cluster.counters().handshakes_failed.get();
        let mut replay = TcpStream::connect(listen).await.unwrap();
        let mut answer = Vec::new();
        if tls.is_none() {
            // The node wants to be asked one thing after the other.
            let rest = recorded.split_off(end_of_head(&recorded));
            replay.write_all(&recorded).await.unwrap();
            while !answer.ends_with(b"\r\n\r\n") {
                answer.push(replay.read_u8().await.unwrap());
            }
            recorded = rest;
        }
        let _ = replay.write_all(&recorded).await;
        let read = replay.read_to_end(&mut answer);
        let _ = tokio::time::timeout(support::patience(), read)
            .await
            .expect("it is cut off");
        eventually("counted", || {
            b.cluster.counters().handshakes_failed.get() > failed
        })
        .await;
        if tls.is_none() {
            // The upgrade, the challenge in a WebSocket frame, and no welcome.
            assert_eq!(answer.len(), end_of_head(&answer) + 2 + 35);
        }
        assert_eq!((a.events.all().len(), b.events.all().len()), (1, 1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_only_one_side_has_tls_there_is_no_link_and_both_logs_say_why() {
    let log = log::capture();
    let mesh = Authority::new();
    let says = async |texts: [&str; 2], nodes: [&Node; 2]| {
        for text in texts {
            eventually(text, || log.contains(text)).await;
        }
        for node in nodes {
            eventually("counted", || node.cluster.counters().tls_failures.get() > 1).await;
            assert!(node.events.all().is_empty());
        }
    };
    let b = start("b", &[], Some(mesh.issue(HOST).tls())).await;
    let a = start("a", &[b.address()], None).await;
    let texts = [
        "a connection failed to join: the connection is in clear text, and mesh.tls is set here",
        "no link: the other side takes TLS only: mesh.tls must be set here as it is there",
    ];
    says(texts, [&a, &b]).await;

    let b = start("b", &[], None).await;
    let a = start("a", &[b.address()], Some(mesh.issue(HOST).tls())).await;
    let texts = [
        "a connection failed to join: the connection begins with a TLS handshake, and mesh.tls is not set here",
        "no link: TLS: the other side ended the handshake",
    ];
    says(texts, [&a, &b]).await;
}

fn named(name: &str) -> MeshTlsRules {
    MeshTlsRules {
        server_name: Some(name.into()),
        ..MeshTlsRules::default()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_must_be_of_the_mesh_for_the_right_name_and_valid() {
    let log = log::capture();
    let (mesh, foreign) = (Authority::new(), Authority::new());
    let one_name = |pem: Pem| pem.with(&named("mesh.example")).unwrap();
    let mut trusting = foreign.issue(HOST);
    trusting.ca = mesh.pem();
    for (a_tls, b_tls, says) in [
        // The dialler does not accept the acceptor.
        (
            mesh.issue(HOST).tls(),
            foreign.issue(HOST).tls(),
            "UnknownIssuer",
        ),
        (
            mesh.issue(HOST).tls(),
            mesh.issue("10.9.9.9").tls(),
            "10.9.9.9",
        ),
        (
            mesh.issue(HOST).tls(),
            mesh.issue_until(HOST, 2020).tls(),
            "expired",
        ),
        (
            one_name(mesh.issue("mesh.example")),
            one_name(mesh.issue("web.example")),
            "web.example",
        ),
        // The acceptor does not accept the dialler.
        (
            trusting.tls(),
            mesh.issue(HOST).tls(),
            "received fatal alert",
        ),
        (
            mesh.issue("10.8.8.8").tls(),
            mesh.issue(HOST).tls(),
            "the certificate of node a is not accepted",
        ),
        (
            one_name(mesh.issue("mail.example")),
            one_name(mesh.issue("mesh.example")),
            "mail.example",
        ),
    ] {
        let b = start("b", &[], Some(b_tls)).await;
        let a = start("a", &[b.address()], Some(a_tls)).await;
        eventually(says, || log.contains(says)).await;
        eventually("counted", || {
            let failures = |node: &Node| node.cluster.counters().tls_failures.get();
            failures(&a) + failures(&b) > 1
        })
        .await;
        assert!(
            a.events.all().is_empty() && b.events.all().is_empty(),
            "{says}"
        );
    }
    // One name for all, whatever their addresses.
    let b = start("b", &[], Some(one_name(mesh.issue("mesh.example")))).await;
    let a = start(
        "a",
        &[b.address()],
        Some(one_name(mesh.issue("mesh.example"))),
    )
    .await;
    joined(&a, &b).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_certificate_is_not_spoken_to_unless_the_configuration_says_so() {
    let mesh = Authority::new();
    let own = mesh.issue(HOST);
    let demanding = start("a", &[], Some(own.tls())).await;
    let (_, answer) = upgrade(&demanding, mesh.client(None)).await;
    assert_eq!(answer, b"");
    let (_, answer) = upgrade(&demanding, mesh.client(Some(&own))).await;
    assert_eq!(answer, b"HTTP/1.1 101");

    let rules = MeshTlsRules {
        verify_clients: false,
        ..MeshTlsRules::default()
    };
    let lenient = start("b", &[], Some(own.with(&rules).unwrap())).await;
    let (_, answer) = upgrade(&lenient, mesh.client(None)).await;
    assert_eq!(answer, b"HTTP/1.1 101");
    // The nodes themselves always have one to show.
    let c = start("c", &[lenient.address()], Some(mesh.issue(HOST).tls())).await;
    joined(&lenient, &c).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn certificates_and_authorities_are_replaced_and_nobody_leaves() {
    let (old, new) = (Authority::new(), Authority::new());
    let with = |pem: &Pem, ca: String| Pem { ca, ..pem.clone() }.tls();
    let (old_pem, new_pem) = (old.issue(HOST), new.issue(HOST));
    let both = || old.pem() + &new.pem();
    let a = start("a", &[], Some(old_pem.tls())).await;
    let b = start("b", &[a.address()], Some(old_pem.tls())).await;
    joined(&a, &b).await;
    let (shown, _) = upgrade(&a, old.client(Some(&old_pem))).await;
    assert_eq!(shown, old_pem.chain()[0]);
    // One node after the other: both authorities, then the new certificate, then the new authority alone.
    let mut guests = 0;
    for (step, tls) in [
        with(&old_pem, both()),
        with(&new_pem, both()),
        with(&new_pem, new.pem()),
    ]
    .into_iter()
    .enumerate()
    {
        for node in [&a, &b] {
            node.cluster.set_tls(tls.clone());
            guests += 1;
            let name = format!("guest{guests}");
            let before = [
                old_pem.tls(),
                with(&old_pem, both()),
                with(&new_pem, both()),
            ];
            let guest = start(&name, &[a.address()], Some(before[step].clone())).await;
            joined(&guest, &a).await;
            joined(&guest, &b).await;
            guest.stop().await;
        }
    }
    let (shown, _) = upgrade(&a, new.client(Some(&new_pem))).await;
    assert_eq!(shown, new_pem.chain()[0]);
    both_ways(&a, &b).await;
    for node in [&a, &b] {
        let events = node.events.all();
        let stays = |event: &String| !event.starts_with("-a") && !event.starts_with("-b");
        assert!(events.iter().all(stays), "{events:?}");
    }
    let refused = a.cluster.counters().handshakes_failed.get();
    let late = start("late", &[a.address()], Some(old_pem.tls())).await;
    eventually("the old certificate opens nothing any more", || {
        a.cluster.counters().handshakes_failed.get() > refused
            || late.cluster.counters().tls_failures.get() > 0
    })
    .await;
    assert!(late.events.all().is_empty());
    // TLS does not come or go by a reload.
    let plain = start("plain", &[], None).await;
    plain.cluster.set_tls(new_pem.tls());
    let other = start("other", &[plain.address()], None).await;
    joined(&plain, &other).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_goes_over_to_tls_step_by_step() {
    let mesh = Authority::new();
    let tls = |mode| {
        let rules = MeshTlsRules {
            mode,
            ..MeshTlsRules::default()
        };
        Some(mesh.issue(HOST).with(&rules).unwrap())
    };
    let steps = [
        None,
        Some(TlsMode::Accepted),
        Some(TlsMode::Dialled),
        Some(TlsMode::Required),
    ];
    for pair in steps.windows(2) {
        let a = start("a", &[], pair[0].and_then(tls)).await;
        let b = start("b", &[a.address()], pair[1].and_then(tls)).await;
        joined(&a, &b).await;
        both_ways(&a, &b).await;
    }
    // Two steps apart is too far: the one dials in clear text, the other takes TLS only.
    let a = start("a", &[], tls(TlsMode::Required)).await;
    let b = start("b", &[a.address()], tls(TlsMode::Accepted)).await;
    eventually("refused", || b.cluster.counters().tls_failures.get() > 1).await;
    assert!(a.events.all().is_empty() && b.events.all().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_that_is_cut_goes_on_over_tls() {
    let mesh = Authority::new();
    let listen = free_address();
    let proxy = CutProxy::start(listen).await;
    let a = start("a", &[], Some(mesh.issue(HOST).tls())).await;
    let mut b = config("b", &[a.address()]);
    (b.listen, b.advertise) = (listen, Some(proxy.address));
    b.tls = Some(mesh.issue(HOST).tls());
    let b = Node::start(b).await;
    joined(&a, &b).await;
    let (_session, inbox) = b.subscriber(&["/x"]).await;
    a.until_reached("/x", &inbox).await;
    let numbers = || {
        let numbers = inbox
            .data()
            .into_iter()
            .filter_map(|data| data.parse().ok());
        numbers.collect::<Vec<usize>>()
    };
    for n in 0..300 {
        a.publish("/x", &n.to_string());
        if n % 100 == 50 {
            let resumed = a.cluster.link_stats()[0].resumed;
            proxy.cut();
            proxy.mend();
            eventually("goes on", || a.cluster.link_stats()[0].resumed > resumed).await;
        }
        if n % 10 == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    eventually("all there", || numbers().len() >= 300).await;
    assert_eq!(numbers(), (0..300).collect::<Vec<_>>());
    assert_eq!((a.events.all().len(), b.events.all().len()), (1, 1));
}

#[test]
fn files_that_cannot_serve_are_told_apart() {
    let mesh = Authority::new();
    let good = mesh.issue(HOST);
    let rules = MeshTlsRules::default();
    let but = |change: fn(&mut Pem)| {
        let mut pem = good.clone();
        change(&mut pem);
        pem.with(&rules).unwrap_err()
    };
    let certificate = but(|pem| pem.certificate.clear());
    assert!(matches!(certificate, MeshTlsError::Certificate(_)));
    let key = but(|pem| "nonsense".clone_into(&mut pem.key));
    assert!(matches!(key, MeshTlsError::Key(_)));
    let other = but(|pem| pem.key = Authority::new().issue(HOST).key);
    assert!(matches!(other, MeshTlsError::Key(_)), "{other}");
    let ca = but(|pem| pem.ca.clear());
    assert!(matches!(ca, MeshTlsError::Ca(_)));
    let name = good.with(&named("not a name")).unwrap_err();
    assert_eq!(name, MeshTlsError::ServerName("not a name".into()));
}
