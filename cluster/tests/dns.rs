//! Discovery by the DNS: through a scripted resolver, and through the real one against a small name server.

mod support;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use halley_cluster::{DnsConfig, MulticastConfig, Net, TokioDatagrams, TokioListener, TokioNet};
use parking_lot::Mutex;
use support::name_server::{Answer, NameServer};
use support::{Node, config, eventually};
use tokio::net::TcpStream;

/// What the name stands for at present; `None`: the DNS fails.
type Script = Arc<Mutex<Option<Vec<SocketAddr>>>>;

/// The real network with a scripted DNS. Counts the dials.
#[derive(Clone, Debug, Default)]
struct ScriptedNet {
    script: Script,
    dialled: Arc<Mutex<Vec<SocketAddr>>>,
}

impl Net for ScriptedNet {
    type Stream = TcpStream;
    type Listener = TokioListener;
    type Datagrams = TokioDatagrams;

    async fn listen(&self, address: SocketAddr) -> io::Result<TokioListener> {
        TokioNet.listen(address).await
    }

    async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        self.dialled.lock().push(address);
        TokioNet.connect(address).await
    }

    async fn resolve(&self, host_and_port: &str) -> io::Result<Vec<SocketAddr>> {
        TokioNet.resolve(host_and_port).await
    }

    async fn discover(&self, _: &DnsConfig) -> io::Result<Vec<SocketAddr>> {
        let script = self.script.lock().clone();
        script.ok_or_else(|| io::ErrorKind::HostUnreachable.into())
    }

    async fn join(&self, config: &MulticastConfig) -> io::Result<TokioDatagrams> {
        TokioNet.join(config).await
    }
}

fn dns(name: &str, port: u16, servers: Vec<SocketAddr>) -> Option<DnsConfig> {
    Some(DnsConfig {
        name: name.into(),
        port,
        interval: Duration::from_millis(100),
        servers,
    })
}

async fn scripted(name: &str, net: &ScriptedNet) -> Node {
    let mut config = config(name, &[]);
    config.dns = dns("nodes.example", 7400, Vec::new());
    let node = Node::prepare(config);
    node.cluster.open(net.clone()).await.expect("opens");
    node
}

/// Two free addresses of loopback with the same port, as pods have.
fn same_port(hosts: &[u8]) -> u16 {
    for _ in 0..100 {
        let first = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = first.local_addr().expect("an address").port();
        let rest = hosts
            .iter()
            .map(|host| std::net::TcpListener::bind((Ipv4Addr::new(127, 0, 0, *host), port)));
        if rest.collect::<Result<Vec<_>, _>>().is_ok() {
            return port;
        }
    }
    panic!("no port is free on all addresses");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_appear_late_fail_and_come_back() {
    let net = ScriptedNet::default();
    let a = scripted("a", &net).await;
    let b = scripted("b", &net).await;
    eventually("the failure is counted", || {
        a.cluster.counters().dns_failures.get() > 1
    })
    .await;
    // An empty answer is no answer either.
    *net.script.lock() = Some(Vec::new());
    let failures = a.cluster.counters().dns_failures.get();
    eventually("the empty answer is counted", || {
        a.cluster.counters().dns_failures.get() > failures + 1
    })
    .await;
    assert_eq!(a.cluster.counters().dns_answers.get(), 0);

    *net.script.lock() = Some(vec![a.address(), b.address()]);
    eventually("joined", || a.names() == ["b"] && b.names() == ["a"]).await;
    // Nobody leaves because the DNS says nothing, or names nobody.
    for says in [Some(Vec::new()), None, Some(vec![a.address()])] {
        *net.script.lock() = says;
        let (answers, failures) = {
            let counters = b.cluster.counters();
            (counters.dns_answers.get(), counters.dns_failures.get())
        };
        eventually("it was asked again", || {
            let counters = b.cluster.counters();
            counters.dns_answers.get() + counters.dns_failures.get() > answers + failures + 2
        })
        .await;
    }
    assert_eq!((a.names(), b.names()), (vec!["b".into()], vec!["a".into()]));
    for node in [&a, &b] {
        assert_eq!(node.events.all().len(), 1, "{:?}", node.events.all());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_comes_back_at_another_address_is_found() {
    let net = ScriptedNet::default();
    let a = scripted("a", &net).await;
    let b = scripted("b", &net).await;
    *net.script.lock() = Some(vec![a.address(), b.address()]);
    eventually("joined", || a.names() == ["b"]).await;
    let before = b.address();
    b.stop().await;
    eventually("gone", || a.names().is_empty()).await;
    // The new one finds nobody by itself: it has no discovery at all.
    let again = Node::start(config("b", &[])).await;
    assert_ne!(again.address(), before);
    *net.script.lock() = Some(vec![a.address(), again.address()]);
    eventually("joined anew", || {
        a.names() == ["b"] && again.names() == ["a"]
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn neither_itself_nor_an_address_that_is_not_allowed_is_dialled() {
    let net = ScriptedNet::default();
    let a = scripted("a", &net).await;
    let b = scripted("b", &net).await;
    let foreign: SocketAddr = "192.0.2.1:7400".parse().unwrap();
    *net.script.lock() = Some(vec![foreign, a.address(), b.address()]);
    eventually("joined", || a.names() == ["b"] && b.names() == ["a"]).await;
    let answers = a.cluster.counters().dns_answers.get();
    eventually("asked a few times more", || {
        a.cluster.counters().dns_answers.get() > answers + 3
    })
    .await;
    let dialled = net.dialled.lock().clone();
    assert!(!dialled.contains(&foreign), "{dialled:?}");
    // Each dials the other, and nobody dials itself: no node is refused as itself.
    for node in [&a, &b] {
        assert_eq!(node.cluster.counters().nodes_refused.get(), 0);
        assert_eq!(node.cluster.counters().dns_addresses_not_allowed.get(), 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_combined_with_static_seeds() {
    let net = ScriptedNet::default();
    let by_seed = Node::start(config("seed", &[])).await;
    let by_name = Node::start(config("name", &[])).await;
    *net.script.lock() = Some(vec![by_name.address()]);
    let mut both = config("a", &[by_seed.address()]);
    both.dns = dns("nodes.example", 7400, Vec::new());
    let a = Node::prepare(both);
    a.cluster.open(net).await.unwrap();
    eventually("one cluster", || {
        [&a, &by_seed, &by_name]
            .iter()
            .all(|node| node.names().len() == 2)
    })
    .await;
}

/// Nodes on 127.0.0.2 and 127.0.0.3 with one port, found by the real resolver.
async fn resolved(port: u16, name: &str, server: &NameServer) -> [Node; 2] {
    let mut nodes = Vec::new();
    for (host, node) in [(2, "a"), (3, "b")] {
        let mut config = config(node, &[]);
        config.listen = (Ipv4Addr::new(127, 0, 0, host), port).into();
        config.dns = dns(name, port, vec![server.address()]);
        nodes.push(Node::start(config).await);
    }
    nodes.try_into().expect("two nodes")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_resolver_asks_for_every_address_of_a_name() {
    let server = NameServer::start().await;
    let port = same_port(&[2, 3]);
    let [a, b] = resolved(port, "nodes.mesh.example", &server).await;
    // The name does not exist yet.
    eventually("it was asked for", || {
        a.cluster.counters().dns_failures.get() > 0
    })
    .await;
    assert!(a.names().is_empty());
    let host = |host| Ipv4Addr::new(127, 0, 0, host);
    server.set(
        "nodes.mesh.example.",
        vec![Answer::A(host(2)), Answer::A(host(3))],
    );
    eventually("joined", || a.names() == ["b"] && b.names() == ["a"]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_real_resolver_follows_srv_records() {
    let server = NameServer::start().await;
    let port = same_port(&[2, 3]);
    let srv = |host: &str| Answer::Srv(port, host.into());
    server.set(
        "_mesh._tcp.example.",
        // The second host is not there: that does not hide the others.
        vec![srv("a.example."), srv("gone.example."), srv("b.example.")],
    );
    server.set("a.example.", vec![Answer::A(Ipv4Addr::new(127, 0, 0, 2))]);
    server.set("b.example.", vec![Answer::A(Ipv4Addr::new(127, 0, 0, 3))]);
    let [a, b] = resolved(port, "_mesh._tcp.example", &server).await;
    eventually("joined", || a.names() == ["b"] && b.names() == ["a"]).await;
}

#[test]
fn a_name_that_is_none_is_refused() {
    for bad in ["", ".", "a..b", "a b", "a/b", &"x".repeat(254)] {
        let mut config = config("a", &[]);
        config.dns = dns(bad, 7400, Vec::new());
        let problems = config.validate().unwrap_err();
        assert_eq!(problems[0].key, "mesh.dns.name", "{bad:?}");
    }
}
