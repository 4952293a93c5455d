//! The servers under load.

use std::net::SocketAddr;

use anyhow::{Context as _, bail};

/// One server: where to connect and what to ask for.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// `ws://host:port/path`.
    pub(super) url: String,
    host: String,
    port: u16,
}

impl Target {
    pub(super) fn parse(url: &str) -> anyhow::Result<Self> {
        let rest = match url.split_once("://") {
            Some(("ws" | "http", rest)) => rest,
            _ => bail!("{url:?} starts with neither ws:// nor http://"),
        };
        let uri: http::Uri = format!("ws://{rest}")
            .parse()
            .with_context(|| format!("{url:?} is not a URL"))?;
        let host = uri
            .host()
            .with_context(|| format!("{url:?} names no host"))?;
        let host = host
            .trim_start_matches('[')
            .trim_end_matches(']')
            .to_owned();
        Ok(Self {
            url: uri.to_string(),
            host,
            port: uri.port_u16().unwrap_or(80),
        })
    }

    /// The address, looked up anew.
    pub(super) async fn address(&self) -> anyhow::Result<SocketAddr> {
        let mut addresses = tokio::net::lookup_host((self.host.as_str(), self.port)).await?;
        addresses
            .next()
            .with_context(|| format!("{} has no address", self.host))
    }
}

/// All servers, each with its address.
#[derive(Debug)]
pub(super) struct Targets(Vec<Target>);

impl Targets {
    pub(super) fn parse(urls: &[String]) -> anyhow::Result<Self> {
        let targets = urls
            .iter()
            .map(|url| Target::parse(url))
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_urls_and_goes_round() {
        let urls = ["ws://a:1/x".to_owned(), "http://[::1]:2/cometd".to_owned()];
        let targets = Targets::parse(&urls).unwrap();
        assert_eq!(targets.of(2).url, "ws://a:1/x");
        assert_eq!(
            (targets.of(3).url.as_str(), targets.of(3).host.as_str()),
            ("ws://[::1]:2/cometd", "::1")
        );
        assert!(Target::parse("wss://a/").is_err());
        assert!(Target::parse("a:80").is_err());
    }
}
