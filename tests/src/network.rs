//! Hosts of a network of their own: network namespaces joined by a bridge, made, torn and removed by the test.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, ensure};

use crate::binary::repository;

/// A bridge on this machine and namespaces that hang on it. Dropped, all of it is removed.
#[derive(Debug)]
pub struct Network {
    bridge: String,
    subnet: u8,
    namespaces: Vec<String>,
    /// Carries the second network, on which every packet is late.
    late: Option<Child>,
}

/// What happens to packets that come from a host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Tear {
    /// Nothing of it passes.
    Drop,
    /// Every TCP connection with it is reset; attempts at another get no answer (a refusal would say that the process is gone).
    Reset,
    /// As many percent of it get lost.
    Loss(f64),
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

    /// Why the network cannot be torn here; `None` when it can.
    #[must_use]
    pub fn cannot_be_torn() -> Option<String> {
        let iptables = || run("iptables", &["--version"]);
        Self::impossible().or_else(|| iptables().err().map(|error| format!("{error:#}")))
    }

    /// A bridge with hosts at `10.211.S.1` to `10.211.S.N`; this machine itself is at `10.211.S.254`.
    ///
    /// # Errors
    /// `ip` refuses.
    pub fn make(hosts: u8) -> anyhow::Result<Self> {
        // The kernel takes its time to remove a namespace: the next network of this process must not meet what is left of the last one.
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed).wrapping_mul(7);
        let subnet = (std::process::id().wrapping_add(number) % 250) as u8;
        let mut network = Self {
            bridge: format!("hb{subnet}"),
            subnet,
            namespaces: Vec::new(),
            late: None,
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

    /// Gives every host a second address, at which each packet of a sibling arrives late by this time.
    ///
    /// # Errors
    /// `tests/faults/late.py` cannot make its TUN devices.
    pub fn add_late_network(&mut self, late: Duration) -> anyhow::Result<()> {
        let hosts = 1..=self.namespaces.len() as u8;
        let device = |host| format!("hl{}i{host}", self.subnet);
        let mut command = Command::new("python3");
        command.arg(repository().join("tests/faults/late.py"));
        command.arg(late.as_millis().to_string());
        for host in hosts.clone() {
            command.arg(format!("{}={}", device(host), self.late_address(host)));
        }
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("python3 is not installed")?;
        let mut line = String::new();
        let stdout = child.stdout.take().context("no output")?;
        self.late = Some(child);
        BufReader::new(stdout).read_line(&mut line)?;
        ensure!(line == "ready\n", "tests/faults/late.py: {line}");
        for host in hosts {
            let (device, namespace) = (device(host), self.namespace(host));
            let address = format!("{}/24", self.late_address(host));
            ip(&["link", "set", &device, "netns", &namespace])?;
            ip(&["-n", &namespace, "address", "add", &address, "dev", &device])?;
            ip(&["-n", &namespace, "link", "set", &device, "up"])?;
        }
        Ok(())
    }

    /// Does something to all packets from one host to another, in this direction, on both networks.
    ///
    /// # Errors
    /// `iptables` refuses.
    pub fn tear(&self, from: u8, to: u8, tear: Tear) -> anyhow::Result<()> {
        self.rule("-A", from, to, tear)
    }

    /// Ends what [`Network::tear`] began.
    ///
    /// # Errors
    /// `iptables` refuses, as when there is no such tear.
    pub fn mend(&self, from: u8, to: u8, tear: Tear) -> anyhow::Result<()> {
        self.rule("-D", from, to, tear)
    }

    fn rule(&self, action: &str, from: u8, to: u8, tear: Tear) -> anyhow::Result<()> {
        let probability;
        let what: &[&str] = match tear {
            Tear::Drop => &["-j", "DROP"],
            Tear::Reset => &[
                "-p",
                "tcp",
                "!",
                "--syn",
                "-j",
                "REJECT",
                "--reject-with",
                "tcp-reset",
            ],
            Tear::Loss(percent) => {
                probability = (percent / 100.0).to_string();
                let words = ["-m", "statistic", "--mode", "random", "--probability"];
                &[words.as_slice(), &[&probability, "-j", "DROP"]].concat()
            }
        };
        for source in [self.address(from), self.late_address(from)] {
            let namespace = self.namespace(to);
            let place = [
                "netns", "exec", &namespace, "iptables", "-w", action, "INPUT",
            ];
            ip(&[&place, ["-s", source.as_str()].as_slice(), what].concat())?;
        }
        Ok(())
    }

    /// The address of a host, counted from 1, on the network where packets are late.
    #[must_use]
    pub fn late_address(&self, host: u8) -> String {
        format!("10.212.{}.{host}", self.subnet)
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
        if let Some(mut late) = self.late.take() {
            let _ = late.kill();
            let _ = late.wait();
        }
        for namespace in &self.namespaces {
            let _ = ip(&["netns", "delete", namespace]);
        }
        let _ = ip(&["link", "delete", &self.bridge]);
    }
}

fn ip(arguments: &[&str]) -> anyhow::Result<()> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("{program} is not installed"))?;
    ensure!(
        output.status.success(),
        "{program} {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(())
}
