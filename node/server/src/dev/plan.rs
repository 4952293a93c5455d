//! What is to be started: names, ports, and the files that the nodes read.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs::{DirBuilder, OpenOptions};
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use rand::RngExt as _;

/// Mesh and admin ports are taken from here: below the ports that systems hand out for outgoing connections (from 32768 on
/// Linux), so that no such connection takes one between the choice and the node's start.
const PORTS: std::ops::Range<u16> = 20_000..32_000;
/// Ports that are tried before giving up.
const PORTS_TRIED_MAX: usize = 1000;
const SECRET_CHARACTERS: usize = 48;

/// One node to be.
#[derive(Debug, Clone)]
pub(super) struct NodePlan {
    pub(super) name: String,
    pub(super) client: SocketAddr,
    pub(super) mesh: SocketAddr,
    pub(super) admin: SocketAddr,
    pub(super) config: PathBuf,
    pub(super) log: PathBuf,
}

impl NodePlan {
    /// Where a browser finds the page.
    pub(super) fn page(&self) -> String {
        format!("http://{}/", self.client)
    }
}

/// The nodes, and the folder with their files.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) folder: PathBuf,
    pub(super) nodes: Vec<NodePlan>,
}

impl Plan {
    /// Chooses ports, makes the folder and writes every node's configuration.
    ///
    /// # Errors
    /// A client port is in use, or a file cannot be written.
    pub(super) fn make(nodes: u16, client_port: u16) -> anyhow::Result<Self> {
        ensure!(
            client_port.checked_add(nodes - 1).is_some() && client_port > 0,
            "--client-port {client_port} leaves no room for {nodes} nodes: ports end at 65535"
        );
        for (index, port) in (client_port..=client_port + (nodes - 1)).enumerate() {
            if let Err(error) = TcpListener::bind(loopback(port)) {
                bail!(
                    "port {port}, for the clients of node n{}, cannot be used: {error}. Choose others with --client-port",
                    index + 1
                );
            }
        }
        let folder = std::env::temp_dir().join(format!("halley-dev-{}", random_text(8)));
        DirBuilder::new()
            .mode(0o700)
            .create(&folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        let mut taken = (client_port..=client_port + (nodes - 1)).collect::<BTreeSet<_>>();
        let mut plans = Vec::new();
        for index in 0..nodes {
            let name = format!("n{}", index + 1);
            plans.push(NodePlan {
                client: loopback(client_port + index),
                mesh: free_port(&mut taken)?,
                admin: free_port(&mut taken)?,
                config: folder.join(format!("{name}.toml")),
                log: folder.join(format!("{name}.log")),
                name,
            });
        }
        let plan = Self {
            folder,
            nodes: plans,
        };
        plan.write()?;
        Ok(plan)
    }

    fn write(&self) -> anyhow::Result<()> {
        let secret = self.folder.join("secret");
        write_private(&secret, &random_text(SECRET_CHARACTERS))?;
        for node in &self.nodes {
            write_private(&node.config, &self.config(node, &secret))?;
        }
        Ok(())
    }

    fn config(&self, node: &NodePlan, secret: &Path) -> String {
        let siblings = quoted(
            self.nodes
                .iter()
                .filter(|other| other.name != node.name)
                .map(|other| other.mesh.to_string()),
        );
        // The page follows the cluster from node to node; browsers call the other nodes other origins.
        let origins = quoted(self.nodes.iter().flat_map(|other| {
            let port = other.client.port();
            [
                format!("http://127.0.0.1:{port}"),
                format!("http://localhost:{port}"),
            ]
        }));
        let mut text = String::from(
            "# Written by `halley dev`; `halley config` prints every option with its meaning.\n",
        );
        // Writing into a string cannot fail.
        let _ = write!(
            text,
            r#"
[node]
name = "{name}"
drain_timeout_ms = 2000

[client]
listen = "{client}"
url = "http://{client}/cometd"
allowed_origins = [{origins}]
demo = true

[mesh]
listen = "{mesh}"
advertise = "{mesh}"
secret_file = {secret}
allow = ["127.0.0.0/8"]
discovery = ["static"]
siblings = [{siblings}]

[admin]
listen = "{admin}"

[session]
# All nodes are one host to a browser, and cookies know no ports.
browserCookieName = "BAYEUX_BROWSER_{name}"

[seti]
trust_handshake_user = true
direct = true

[presence]
enabled = true
nodes = true
"#,
            name = node.name,
            client = node.client,
            mesh = node.mesh,
            admin = node.admin,
            secret = toml::Value::from(secret.display().to_string()),
        );
        text
    }
}

fn quoted(items: impl Iterator<Item = String>) -> String {
    items
        .map(|item| format!("\"{item}\""))
        .collect::<Vec<_>>()
        .join(", ")
}

fn loopback(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

/// A port of this machine that nobody uses now.
fn free_port(taken: &mut BTreeSet<u16>) -> anyhow::Result<SocketAddr> {
    for _ in 0..PORTS_TRIED_MAX {
        let port = rand::rng().random_range(PORTS);
        if !taken.contains(&port) && TcpListener::bind(loopback(port)).is_ok() {
            taken.insert(port);
            return Ok(loopback(port));
        }
    }
    bail!(
        "no free port found between {} and {}",
        PORTS.start,
        PORTS.end
    )
}

fn random_text(characters: usize) -> String {
    rand::rng()
        .sample_iter(rand::distr::Alphanumeric)
        .take(characters)
        .map(char::from)
        .collect()
}

fn write_private(path: &Path, text: &str) -> anyhow::Result<()> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file| file.write_all(text.as_bytes()))
        .with_context(|| format!("cannot write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_in_use_is_named() {
        let holder = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = holder.local_addr().unwrap().port();
        let error = Plan::make(1, port).unwrap_err().to_string();
        assert!(
            error.contains(&port.to_string()) && error.contains("--client-port"),
            "{error}"
        );
    }

    #[test]
    fn ports_that_do_not_exist_are_refused() {
        assert!(
            Plan::make(3, 65_534)
                .unwrap_err()
                .to_string()
                .contains("65535")
        );
    }

    #[test]
    fn every_node_names_its_siblings_and_all_origins() {
        let mut taken = BTreeSet::new();
        let first = free_port(&mut taken).unwrap().port();
        let plan = Plan::make(2, first)
            .or_else(|_| Plan::make(2, free_port(&mut taken).unwrap().port()))
            .unwrap();
        let text = std::fs::read_to_string(&plan.nodes[1].config).unwrap();
        let config: toml::Table = text.parse().unwrap();
        assert_eq!(
            config["mesh"]["siblings"][0].as_str().unwrap(),
            plan.nodes[0].mesh.to_string()
        );
        assert_eq!(
            config["client"]["allowed_origins"]
                .as_array()
                .unwrap()
                .len(),
            4
        );
        let secret = std::fs::read(plan.folder.join("secret")).unwrap();
        assert!(secret.len() >= 32);
        std::fs::remove_dir_all(&plan.folder).unwrap();
    }
}
