//! Hosts of a network of their own: network namespaces joined by a bridge, made and removed by the test.

use std::process::Command;

use anyhow::{Context, ensure};

/// A bridge on this machine and namespaces that hang on it. Dropped, all of it is removed.
#[derive(Debug)]
pub struct Network {
    bridge: String,
    subnet: u8,
    namespaces: Vec<String>,
}

impl Network {
    /// Why no network can be made here; `None` when it can.
    #[must_use]
    pub fn impossible() -> Option<String> {
        let name = format!("halley-probe-{}", std::process::id());
        match ip(&["netns", "add", &name]) {
            Ok(()) => {
                let _ = ip(&["netns", "delete", &name]);
                None
            }
            Err(error) => Some(format!(
                "network namespaces cannot be made here (root is needed): {error:#}"
            )),
        }
    }

    /// A bridge with hosts at `10.211.S.1` to `10.211.S.N`; this machine itself is at `10.211.S.254`.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn make(hosts: u8) -> anyhow::Result<Self> {
        let subnet = (std::process::id() % 250) as u8;
        let mut network = Self {
            bridge: format!("hb{subnet}"),
            subnet,
            namespaces: Vec::new(),
        };
        let bridge = network.bridge.clone();
        ip(&[
            "link",
            "add",
            &bridge,
            "type",
            "bridge",
            "mcast_snooping",
            "0",
        ])?;
        ip(&[
            "address",
            "add",
            &format!("10.211.{subnet}.254/24"),
            "dev",
            &bridge,
        ])?;
        ip(&["link", "set", &bridge, "up"])?;
        for host in 1..=hosts {
            network.add(host)?;
        }
        Ok(network)
    }

    fn add(&mut self, host: u8) -> anyhow::Result<()> {
        let namespace = format!("halley-{}-{host}", self.subnet);
        let (outside, inside) = (
            format!("hv{}o{host}", self.subnet),
            format!("hv{}i{host}", self.subnet),
        );
        ip(&["netns", "add", &namespace])?;
        self.namespaces.push(namespace.clone());
        ip(&[
            "link", "add", &outside, "type", "veth", "peer", "name", &inside, "netns", &namespace,
        ])?;
        ip(&["link", "set", &outside, "master", &self.bridge, "up"])?;
        let address = format!("{}/24", self.address(host));
        for command in [
            vec!["address", "add", &address, "dev", &inside],
            vec!["link", "set", &inside, "up"],
            vec!["link", "set", "lo", "up"],
            vec!["route", "add", "default", "dev", &inside],
        ] {
            ip(&[&["-n", namespace.as_str()], command.as_slice()].concat())?;
        }
        Ok(())
    }

    /// The address of a host, counted from 1.
    #[must_use]
    pub fn address(&self, host: u8) -> String {
        format!("10.211.{}.{host}", self.subnet)
    }

    /// This machine's own address on the bridge.
    #[must_use]
    pub fn own_address(&self) -> String {
        self.address(254)
    }

    /// The namespace of a host, counted from 1.
    #[must_use]
    pub fn namespace(&self, host: u8) -> String {
        format!("halley-{}-{host}", self.subnet)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for namespace in &self.namespaces {
            let _ = ip(&["netns", "delete", namespace]);
        }
        let _ = ip(&["link", "delete", &self.bridge]);
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .context("ip (iproute2) is not installed")?;
    ensure!(
        output.status.success(),
        "ip {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
