//! How nodes find each other, and who is not let in.

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, ensure};
use halley_tests::admin;
use halley_tests::agent::Agent;
use halley_tests::cluster_of_processes::members;
use halley_tests::network::Network;
use halley_tests::node_process::{NodeProcess, NodeSettings};
use halley_tests::patience::eventually;
use halley_tests::turn::turn;
use rand::RngExt as _;
use serde_json::json;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

const GROUP: Ipv4Addr = Ipv4Addr::new(239, 255, 77, 1);
const GROUP_PORT: u16 = 5577;
const JOIN: Duration = Duration::from_secs(10);

/// A node on a host of its own that knows no sibling and looks for some by multicast.
fn by_multicast(network: &Network, host: u8) -> anyhow::Result<NodeSettings> {
    let mut settings = NodeSettings::new(&format!("n{host}"));
    let address = network.address(host);
    settings.client = format!("{address}:8080").parse()?;
    settings.mesh = format!("{address}:7400").parse()?;
    settings.admin = format!("{address}:9400").parse()?;
    settings.namespace = Some(network.namespace(host));
    settings.discovery = Some(format!(
        "discovery = [\"multicast\"]\n[mesh.multicast]\ngroup = \"{GROUP}\"\nport = {GROUP_PORT}\ninterface = \"{address}\"\ninterval_ms = 200\n"
    ));
    Ok(settings)
}

/// Three hosts that know nothing but the group find each other and pass messages; datagrams that no member has signed
/// (noise, and real announcements with one bit changed) change nothing.
#[tokio::test(flavor = "multi_thread")]
async fn multicast_between_hosts_and_forged_datagrams() -> anyhow::Result<()> {
    let _turn = turn().await;
    if let Some(reason) = Network::impossible() {
        println!("SKIPPED multicast_between_hosts_and_forged_datagrams: {reason}");
        return Ok(());
    }
    let network = Network::make(3)?;
    let group = join_group(&network)?;
    let mut nodes = Vec::new();
    for host in 1..=3 {
        nodes.push(NodeProcess::start(by_multicast(&network, host)?)?);
    }
    for node in &mut nodes {
        node.ready().await?;
    }
    for node in &nodes {
        let took = members(node, 3, JOIN).await?;
        println!(
            "{} found its siblings {} ms after it was ready",
            node.settings.name,
            took.as_millis()
        );
    }
    let browser = Agent::browser_at(&network.own_address())?;
    browser
        .connect("reader", &nodes[2].settings.url(), "websocket", None)
        .await?;
    browser.subscribe("reader", "/across").await?;
    browser
        .connect("writer", &nodes[0].settings.url(), "websocket", None)
        .await?;
    let crosses = |text: &'static str| {
        let browser = &browser;
        eventually(
            "a message crosses the network",
            Duration::from_secs(5),
            async move || {
                browser
                    .publish("writer", "/across", json!({"text": text}))
                    .await?;
                browser.order("message", json!({"client": "reader", "channel": "/across", "data": {"text": text}, "ms": 200})).await
            },
        )
    };
    crosses("before").await?;

    let mut genuine = vec![0; 2048];
    let (length, _) = tokio::time::timeout(Duration::from_secs(5), group.recv_from(&mut genuine))
        .await
        .context("no announcement was seen in the group")??;
    genuine.truncate(length);
    let to = SocketAddr::from((GROUP, GROUP_PORT));
    for bit in 0..genuine.len() * 8 {
        let mut forged = genuine.clone();
        forged[bit / 8] ^= 1 << (bit % 8);
        group.send_to(&forged, to).await?;
    }
    for length in (0..1400).step_by(7) {
        let noise: Vec<u8> = std::iter::repeat_with(|| rand::rng().random())
            .take(length)
            .collect();
        group.send_to(&noise, to).await?;
    }
    crosses("after").await?;
    for node in &mut nodes {
        members(node, 3, Duration::from_secs(1)).await?;
        node.ready().await?;
    }
    Ok(())
}

/// A member of the multicast group on this machine's side of the bridge.
fn join_group(network: &Network) -> anyhow::Result<UdpSocket> {
    let interface: Ipv4Addr = network.own_address().parse()?;
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_address(true)?;
    socket.bind(&SocketAddr::from((GROUP, GROUP_PORT)).into())?;
    socket.join_multicast_v4(&GROUP, &interface)?;
    socket.set_multicast_if_v4(&interface)?;
    socket.set_nonblocking(true)?;
    Ok(UdpSocket::from_std(socket.into())?)
}

/// Two nodes know the first one only: all three become a full mesh, which the death of the seed does not break.
#[tokio::test(flavor = "multi_thread")]
async fn one_seed_is_enough() -> anyhow::Result<()> {
    let _turn = turn().await;
    let seed = NodeSettings::new("seed");
    let address = seed.mesh;
    let mut nodes = vec![
        NodeProcess::start(seed)?,
        NodeProcess::start(NodeSettings::new("a").siblings(&[address]))?,
        NodeProcess::start(NodeSettings::new("b").siblings(&[address]))?,
    ];
    for node in &mut nodes {
        node.ready().await?;
    }
    for node in &nodes {
        members(node, 3, JOIN).await?;
    }
    nodes[0].kill().await?;
    for node in &nodes[1..] {
        members(node, 2, Duration::from_secs(5)).await?;
    }
    let up = nodes[1].metric("halley_link_up{sibling=\"b\"}").await?;
    ensure!(up == 1.0, "a's link to b: {up}");
    Ok(())
}

/// A node with another secret stays alone; the cluster does not notice it, and its log says why.
#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_stays_outside() -> anyhow::Result<()> {
    let _turn = turn().await;
    let (first, second) = (NodeSettings::new("n1"), NodeSettings::new("n2"));
    let (one, two) = (first.mesh, second.mesh);
    let mut stranger = NodeSettings::new("stranger").siblings(&[one, two]);
    stranger.secret = "another secret, which is also longer than thirty-two bytes".into();
    let mut nodes = vec![
        NodeProcess::start(first.siblings(&[two, stranger.mesh]))?,
        NodeProcess::start(second.siblings(&[one]))?,
        NodeProcess::start(stranger)?,
    ];
    for node in &mut nodes {
        node.ready().await?;
    }
    members(&nodes[0], 2, JOIN).await?;
    // Both sides dial each other, and both say in their logs that the other does not know the secret.
    for place in [0, 2] {
        let node = &nodes[place];
        eventually("the log tells of the secret", JOIN, async || {
            ensure!(
                node.log().contains("does not know the cluster secret"),
                "{}",
                node.log()
            );
            Ok(())
        })
        .await?;
    }
    members(&nodes[0], 2, Duration::from_secs(1)).await?;
    members(&nodes[1], 2, Duration::from_secs(1)).await?;
    members(&nodes[2], 1, Duration::from_secs(1)).await?;
    Ok(())
}

/// Of two nodes with one name the older keeps it. The younger is not a member and not ready, and says why.
#[tokio::test(flavor = "multi_thread")]
async fn the_second_node_of_a_name_is_not_admitted() -> anyhow::Result<()> {
    let _turn = turn().await;
    let (first, second) = (NodeSettings::new("n1"), NodeSettings::new("n2"));
    let (one, two) = (first.mesh, second.mesh);
    let mut first = NodeProcess::start(first.siblings(&[two]))?;
    let mut second = NodeProcess::start(second.siblings(&[one]))?;
    first.ready().await?;
    second.ready().await?;
    members(&first, 2, JOIN).await?;
    members(&second, 2, JOIN).await?;

    let twin = NodeProcess::start(NodeSettings::new("n2").siblings(&[one, two]))?;
    eventually("the twin says why it is not ready", JOIN, async || {
        let (status, body) = admin::get(twin.settings.admin, "/readyz").await?;
        ensure!(status == 503 && body.contains("name"), "{status} {body}");
        Ok(())
    })
    .await?;
    let browser = Agent::browser()?;
    browser
        .connect("watcher", &first.settings.url(), "websocket", None)
        .await?;
    browser.subscribe("watcher", "/halley/cluster").await?;
    let panel = browser
        .nodes("watcher", &["n1", "n2"], Duration::from_secs(5))
        .await?;
    ensure!(
        panel.to_string().contains(&second.settings.url()),
        "the twin took the name: {panel}"
    );
    members(&first, 2, Duration::from_secs(1)).await?;
    members(&second, 2, Duration::from_secs(1)).await?;
    second.ready().await?;
    Ok(())
}
