//! What a proxy in front of the node says about the connection of the client, and whose word counts.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use crate::http_server::Caller;

/// The header in which a proxy tells who reached it.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The header in which a proxy tells how the client reached it.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The proxies whose word counts.
#[derive(Debug, Clone)]
pub(crate) struct Proxies {
    trusted: Vec<IpNet>,
}

impl Proxies {
    pub(crate) fn new(trusted: &[IpNet]) -> Self {
        Self {
            trusted: trusted.to_vec(),
        }
    }

    /// Whether the client's connection is encrypted where the client is: up to this node, or, as a trusted proxy says,
    /// up to the first of the proxies. What anybody else says is not looked at.
    pub(crate) fn encrypted(&self, caller: Option<Caller>, headers: &HeaderMap) -> bool {
        let Some(caller) = caller else {
            return false;
        };
        caller.tls
            || (self.trusts(caller.peer)
                && first_proto(headers).is_some_and(|proto| proto.eq_ignore_ascii_case("https")))
    }

    /// Where the client is: the other end of the connection, or, as trusted proxies say, whoever reached the first of them. What
    /// anybody else wrote before them is not looked at.
    pub(crate) fn client(&self, caller: Option<Caller>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = caller?.peer;
        if !self.trusts(client) {
            return Some(client);
        }
        // Each appends the one that reached it: read from the end, for as long as the one who wrote is trusted.
        let values: Vec<&str> = headers
            .get_all(FORWARDED_FOR)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .collect();
        for entry in values.iter().rev().flat_map(|value| value.rsplit(',')) {
            let Some(address) = address(entry.trim()) else {
                break;
            };
            client = address;
            if !self.trusts(client) {
                break;
            }
        }
        Some(client)
    }

    /// Whether this is one of the proxies.
    pub(crate) fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer))
    }
}

/// An address, perhaps with a port, as proxies write it.
fn address(text: &str) -> Option<IpAddr> {
    text.parse()
        .ok()
        .or_else(|| text.parse().map(|socket: SocketAddr| socket.ip()).ok())
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok())
        .map(|address: IpAddr| address.to_canonical())
}

/// Proxies in a row append: the first entry is that of the one the client talks to.
fn first_proto(headers: &HeaderMap) -> Option<&str> {
    headers
        .get(FORWARDED_PROTO)?
        .to_str()
        .ok()?
        .split(',')
        .next()
        .map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encrypted(peer: &str, tls: bool, proto: Option<&str>) -> bool {
        let proxies = Proxies::new(&["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        if let Some(proto) = proto {
            headers.insert(FORWARDED_PROTO, proto.parse().unwrap());
        }
        proxies.encrypted(
            Some(Caller {
                peer: peer.parse().unwrap(),
                tls,
            }),
            &headers,
        )
    }

    #[test]
    fn the_client_is_whom_the_outermost_trusted_proxy_saw() {
        let proxies = Proxies::new(&["10.0.0.0/8".parse().unwrap()]);
        for (peer, forwarded, client) in [
            ("192.0.2.1", &["198.51.100.7"][..], "192.0.2.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("10.0.0.1", &["[2001:db8::1]:4711"], "2001:db8::1"),
            ("10.0.0.1", &["[2001:db8::1]"], "2001:db8::1"),
            // What the client claims stands before what the proxies wrote.
            (
                "10.0.0.1",
                &["1.1.1.1, 198.51.100.7, 10.0.0.2"],
                "198.51.100.7",
            ),
            ("10.0.0.1", &["1.1.1.1", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", &["unknown"], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.7, unknown, 10.0.0.2"], "10.0.0.2"),
            ("10.0.0.1", &["10.0.0.3, 10.0.0.2"], "10.0.0.3"),
        ] {
            let mut headers = HeaderMap::new();
            for value in forwarded {
                headers.append(FORWARDED_FOR, value.parse().unwrap());
            }
            let caller = Caller {
                peer: peer.parse().unwrap(),
                tls: false,
            };
            assert_eq!(
                proxies.client(Some(caller), &headers),
                Some(client.parse().unwrap()),
                "{peer} {forwarded:?}"
            );
        }
    }

    #[test]
    fn only_the_word_of_a_trusted_proxy_counts() {
        assert!(encrypted("10.1.2.3", false, Some("https")));
        assert!(encrypted("fd00::1", false, Some("HTTPS, http")));
        assert!(!encrypted("10.1.2.3", false, Some("http, https")));
        assert!(!encrypted("10.1.2.3", false, Some("http")));
        assert!(!encrypted("10.1.2.3", false, None));
        assert!(!encrypted("11.1.2.3", false, Some("https")));
        assert!(encrypted("11.1.2.3", true, Some("http")));
        assert!(encrypted("11.1.2.3", true, None));
    }
}
