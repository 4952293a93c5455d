//! Where a server is: the parts of a `ws://`, `wss://`, `http://` or `https://` URL.

use std::fmt;

/// A URL the client cannot use.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUrl {
    /// None of the four schemes.
    #[error("{0:?} starts with none of ws://, wss://, http:// and https://")]
    Scheme(String),
    /// No host, or a host that cannot stand in a request.
    #[error("{0:?} names no usable host")]
    Host(String),
    /// The port is not a number from 1 to 65535.
    #[error("{0:?} has no usable port")]
    Port(String),
    /// Spaces or control characters in the path.
    #[error("the path of {0:?} holds characters that must be percent-encoded")]
    Path(String),
    /// No URL was given at all.
    #[error("no URL was given")]
    Missing,
}

/// One address of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Endpoint {
    /// Host name or address, an IPv6 address without its brackets.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// Whether TLS is spoken.
    pub(crate) tls: bool,
    /// `host:port` as the `Host` header wants it.
    pub(crate) authority: String,
    /// Path and query, at least `/`.
    pub(crate) path: String,
}

impl Endpoint {
    /// Reads a URL. `ws` and `http` mean the same, clear text, as do `wss` and `https`, TLS: the transport is chosen
    /// otherwise.
    ///
    /// # Errors
    /// When the URL has another scheme, no host, a bad port or a path that is not encoded.
    pub(crate) fn parse(url: &str) -> Result<Self, InvalidUrl> {
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| InvalidUrl::Scheme(url.to_owned()))?;
        let tls = match scheme {
            "ws" | "http" => false,
            "wss" | "https" => true,
            _ => return Err(InvalidUrl::Scheme(url.to_owned())),
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let split = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(split);
        let (host, port) = match authority.strip_prefix('[') {
            Some(v6) => {
                let (host, after) = v6
                    .split_once(']')
                    .ok_or_else(|| InvalidUrl::Host(url.to_owned()))?;
                (host, after.strip_prefix(':'))
            }
            None => match authority.rsplit_once(':') {
                Some((host, port)) => (host, Some(port)),
                None => (authority, None),
            },
        };
        let host_ok =
            |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
        if host.is_empty() || !host.chars().all(host_ok) {
            return Err(InvalidUrl::Host(url.to_owned()));
        }
        let port = match port {
            None if tls => 443,
            None => 80,
            Some(port) => match port.parse::<u16>() {
                Ok(port) if port > 0 => port,
                _ => return Err(InvalidUrl::Port(url.to_owned())),
            },
        };
        if !path.chars().all(|c| c.is_ascii_graphic()) {
            return Err(InvalidUrl::Path(url.to_owned()));
        }
        let path = if path.starts_with('/') {
            path.to_owned()
        } else {
            format!("/{path}")
        };
        Ok(Self {
            host: host.to_owned(),
            port,
            tls,
            authority: authority.to_owned(),
            path,
        })
    }

    /// The URL of the upgrade request.
    pub(crate) fn upgrade_url(&self) -> String {
        let scheme = if self.tls { "wss" } else { "ws" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.upgrade_url())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_all_schemes() {
        for (scheme, upgrade) in [
            ("ws", "ws"),
            ("http", "ws"),
            ("wss", "wss"),
            ("https", "wss"),
        ] {
            let endpoint =
                Endpoint::parse(&format!("{scheme}://node.example:8080/cometd")).unwrap();
            assert_eq!(
                (endpoint.host.as_str(), endpoint.port),
                ("node.example", 8080)
            );
            assert_eq!(endpoint.tls, upgrade == "wss");
            assert_eq!(
                endpoint.upgrade_url(),
                format!("{upgrade}://node.example:8080/cometd")
            );
        }
        assert_eq!(Endpoint::parse("wss://h").unwrap().port, 443);
    }

    #[test]
    fn fills_in_port_and_path() {
        let endpoint = Endpoint::parse("ws://h").unwrap();
        assert_eq!(
            (endpoint.port, endpoint.upgrade_url().as_str()),
            (80, "ws://h/")
        );
        assert_eq!(
            Endpoint::parse("ws://h?a=b").unwrap().upgrade_url(),
            "ws://h/?a=b"
        );
    }

    #[test]
    fn takes_the_brackets_off_an_ipv6_address() {
        let endpoint = Endpoint::parse("ws://[::1]:9/x").unwrap();
        assert_eq!((endpoint.host.as_str(), endpoint.port), ("::1", 9));
    }

    #[test]
    fn refuses_what_it_cannot_use() {
        assert!(matches!(
            Endpoint::parse("ftp://h/"),
            Err(InvalidUrl::Scheme(_))
        ));
        assert!(matches!(
            Endpoint::parse("ws:///x"),
            Err(InvalidUrl::Host(_))
        ));
        assert!(matches!(
            Endpoint::parse("ws://a b/x"),
            Err(InvalidUrl::Host(_))
        ));
        assert!(matches!(
            Endpoint::parse("ws://h:0/x"),
            Err(InvalidUrl::Port(_))
        ));
        assert!(matches!(
            Endpoint::parse("ws://h:99999/x"),
            Err(InvalidUrl::Port(_))
        ));
        assert!(matches!(
            Endpoint::parse("ws://h/a b"),
            Err(InvalidUrl::Path(_))
        ));
    }
}
