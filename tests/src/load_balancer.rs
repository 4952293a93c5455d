//! HAProxy in front of three nodes.

use std::net::SocketAddr;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, ensure};
use tokio::process::{Child, Command};

use crate::admin;
use crate::binary::repository;
use crate::node_process::NodeProcess;
use crate::patience::eventually;
use crate::ports::free_address;

/// A running HAProxy with the project's own configuration file. Dropped, it is killed.
#[derive(Debug)]
pub struct LoadBalancer {
    /// Where clients connect.
    pub front: SocketAddr,
    _child: Child,
}

impl LoadBalancer {
    /// Starts HAProxy in front of exactly three nodes and waits until it passes requests on.
    ///
    /// # Errors
    /// HAProxy is not installed or refuses the configuration.
    pub async fn start(nodes: &[NodeProcess]) -> anyhow::Result<Self> {
        ensure!(nodes.len() == 3, "the configuration names three nodes");
        let front = free_address();
        let mut command = Command::new("haproxy");
        command
            .arg("-db")
            .arg("-f")
            .arg(repository().join("deploy/haproxy/haproxy.cfg"));
        command.env("HALLEY_FRONT", front.to_string());
        for (place, node) in nodes.iter().enumerate() {
            command.env(
                format!("HALLEY_N{}", place + 1),
                node.settings.client.to_string(),
            );
            command.env(
                format!("HALLEY_N{}_ADMIN", place + 1),
                node.settings.admin.to_string(),
            );
        }
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let child = command
            .spawn()
            .context("cannot start haproxy: tests/run installs it")?;
        let balancer = Self {
            front,
            _child: child,
        };
        eventually(
            "HAProxy passes requests on",
            Duration::from_secs(10),
            async || {
                let (status, _) = admin::get(front, "/").await?;
                ensure!(status == 200, "status {status}");
                Ok(())
            },
        )
        .await?;
        Ok(balancer)
    }

    /// The Bayeux URL through the load balancer.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}/cometd", self.front)
    }
}
