//! The servers under load, how they are spoken to, and how a connection to one is made.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, pem::PemObject as _},
};
use tokio::net::{TcpSocket, TcpStream};

use super::wire::Wire;

/// How a Bayeux server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Transport {
    Websocket,
    LongPolling,
}

/// What a session speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    WebSocket,
    LongPolling,
    /// The line protocol of a NATS server, to compare with: a subject for each channel, no Bayeux.
    Nats,
}

/// How connections are made.
#[derive(Debug, Clone, Args)]
pub(super) struct Connecting {
    /// The transport of Bayeux; nats://host:port speaks to a NATS server instead.
    #[arg(long, global = true, value_enum, default_value = "websocket")]
    transport: Transport,
    /// Certificates (PEM) that a server of wss:// or https:// is trusted by.
    #[arg(long, global = true, value_name = "FILE")]
    tls_ca: Option<PathBuf>,
    /// Spreads connections over this many addresses from 127.0.0.1 on, where one has too few ports; loopback only.
    #[arg(long, global = true, default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=200))]
    source_addresses: u8,
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    tls: Option<Arc<ClientConfig>>,
    source_addresses: u8,
    connections: AtomicU32,
}

/// One server: where to connect and what to ask for.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub(super) protocol: Protocol,
    /// As it was given.
    pub(super) url: String,
    /// Path and query.
    pub(super) path: String,
    /// Host and port, for the header of this name.
    pub(super) authority: String,
    host: String,
    port: u16,
    tls: bool,
    shared: Arc<Shared>,
}

impl Target {
    /// Another server, reached in the same way.
    pub(super) fn sibling(&self, url: &str) -> anyhow::Result<Self> {
        Self::parse(url, self.protocol, &self.shared)
    }

    fn parse(url: &str, protocol: Protocol, shared: &Arc<Shared>) -> anyhow::Result<Self> {
        let (protocol, tls, default_port) = match url.split_once("://") {
            Some(("ws" | "http", _)) => (protocol, false, 80),
            Some(("wss" | "https", _)) => (protocol, true, 443),
            Some(("nats", _)) => (Protocol::Nats, false, 4222),
            _ => bail!("{url:?} starts with none of ws://, wss://, http://, https://, nats://"),
        };
        let uri: http::Uri = url.parse().with_context(|| format!("{url:?} is no URL"))?;
        let authority = uri
            .authority()
            .with_context(|| format!("{url:?} names no host"))?;
        let host = authority.host();
        if tls && shared.tls.is_none() {
            bail!("{url:?} needs --tls-ca: the certificates to trust");
        }
        Ok(Self {
            protocol,
            url: url.to_owned(),
            path: uri
                .path_and_query()
                .map_or("/", |path| path.as_str())
                .to_owned(),
            authority: authority.to_string(),
            host: host
                .trim_start_matches('[')
                .trim_end_matches(']')
                .to_owned(),
            port: uri.port_u16().unwrap_or(default_port),
            tls,
            shared: Arc::clone(shared),
        })
    }

    /// A new connection.
    pub(super) async fn connect(&self) -> anyhow::Result<Wire> {
        let mut addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        let address = addresses
            .next()
            .with_context(|| format!("{} has no address", self.host))?;
        let stream = self.open(address).await.context("cannot connect")?;
        stream.set_nodelay(true)?;
        match &self.shared.tls {
            Some(config) if self.tls => Wire::tls(stream, config, &self.host)
                .await
                .context("cannot speak TLS"),
            _ => Ok(Wire::clear(stream)),
        }
    }

    async fn open(&self, address: SocketAddr) -> std::io::Result<TcpStream> {
        if self.shared.source_addresses == 1 || !address.is_ipv4() {
            return TcpStream::connect(address).await;
        }
        let number = self.shared.connections.fetch_add(1, Ordering::Relaxed);
        // Below 256: there are at most 200 of them.
        let last = (number % u32::from(self.shared.source_addresses)) as u8 + 1;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::new(
            IpAddr::V4(Ipv4Addr::new(127, 0, 0, last)),
            0,
        ))?;
        socket.connect(address).await
    }
}

/// All servers, each with its address.
#[derive(Debug)]
pub(super) struct Targets(Vec<Target>);

impl Targets {
    pub(super) fn parse(urls: &[String], connecting: &Connecting) -> anyhow::Result<Self> {
        let tls = connecting.tls_ca.as_deref().map(trusting).transpose()?;
        let shared = Arc::new(Shared {
            tls,
            source_addresses: connecting.source_addresses,
            connections: AtomicU32::new(0),
        });
        let protocol = match connecting.transport {
            Transport::Websocket => Protocol::WebSocket,
            Transport::LongPolling => Protocol::LongPolling,
        };
        let targets = urls
            .iter()
            .map(|url| Target::parse(url, protocol, &shared))
            .collect::<anyhow::Result<Vec<_>>>()?;
        if targets.is_empty() {
            bail!("no URL was given");
        }
        Ok(Self(targets))
    }

    /// The server of the client with this number: round robin.
    pub(super) fn of(&self, client: usize) -> &Target {
        &self.0[client % self.0.len()]
    }

    /// Whether publications go on connections of their own, whose answers may overtake what a session is delivered.
    pub(super) fn publish_apart(&self) -> bool {
        self.0
            .iter()
            .any(|target| target.protocol == Protocol::LongPolling)
    }
}

/// Trusts the certificates of a file and what they have signed.
fn trusting(file: &Path) -> anyhow::Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let certificates = CertificateDer::pem_file_iter(file)
        .with_context(|| format!("cannot read {}", file.display()))?;
    for certificate in certificates {
        roots
            .add(certificate.with_context(|| format!("cannot read {}", file.display()))?)
            .with_context(|| format!("{} cannot be trusted", file.display()))?;
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(urls: &[&str], transport: Transport) -> anyhow::Result<Targets> {
        let urls: Vec<String> = urls.iter().map(|url| (*url).to_owned()).collect();
        Targets::parse(
            &urls,
            &Connecting {
                transport,
                tls_ca: None,
                source_addresses: 1,
            },
        )
    }

    #[test]
    fn reads_urls_and_goes_round() {
        let urls = ["ws://a:1/x", "http://[::1]:2/cometd", "nats://b"];
        let targets = parse(&urls, Transport::LongPolling).unwrap();
        assert_eq!(
            (targets.of(3).path.as_str(), targets.of(3).protocol),
            ("/x", Protocol::LongPolling)
        );
        assert_eq!(
            (
                targets.of(4).authority.as_str(),
                targets.of(4).host.as_str()
            ),
            ("[::1]:2", "::1")
        );
        assert_eq!(
            (targets.of(2).protocol, targets.of(2).port),
            (Protocol::Nats, 4222)
        );
        assert!(targets.publish_apart());
        assert!(parse(&["a:80"], Transport::Websocket).is_err());
        // Whom to trust has to be said.
        assert!(parse(&["wss://a/"], Transport::Websocket).is_err());
    }
}
