//! What a proxy in front of the node says about the connection of the client, and whose word counts.

use std::net::{IpAddr, SocketAddr};

use http::HeaderMap;
use ipnet::IpNet;

use crate::http_server::Caller;

/// The header in which a proxy tells how the client reached it.
const FORWARDED_PROTO: &str = "x-forwarded-proto";

/// The header in which proxies tell whom they speak for, the last at the end.
const FORWARDED_FOR: &str = "x-forwarded-for";

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

    /// The client's address: the other end of the connection or, when that is a trusted proxy, the last address in
    /// `x-forwarded-for` that is not one. What anybody else says is not looked at.
    pub(crate) fn client(&self, caller: Option<Caller>, headers: &HeaderMap) -> Option<IpAddr> {
        let mut client = caller?.peer;
        let lines: Vec<_> = headers.get_all(FORWARDED_FOR).iter().collect();
        let hops = lines
            .iter()
            .rev()
            .filter_map(|line| line.to_str().ok())
            .flat_map(|line| line.rsplit(','));
        for hop in hops {
            if !self.trusts(client) {
                break;
            }
            // What cannot be read was not written by a trusted proxy: the last known address stands.
            let Some(address) = address(hop.trim()) else {
                break;
            };
            client = address;
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

    fn client(peer: &str, forwarded: &[&str]) -> String {
        let proxies = Proxies::new(&["10.0.0.0/8".parse().unwrap()]);
        let mut headers = HeaderMap::new();
        for line in forwarded {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        let caller = Caller {
            peer: peer.parse().unwrap(),
            tls: false,
        };
        proxies.client(Some(caller), &headers).unwrap().to_string()
    }

    #[test]
    fn the_client_is_the_last_address_that_is_no_trusted_proxy() {
        assert_eq!(client("11.0.0.1", &["12.0.0.1"]), "11.0.0.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
        assert_eq!(client("10.0.0.1", &["13.0.0.1, 12.0.0.1"]), "12.0.0.1");
        assert_eq!(
            client("10.0.0.1", &["13.0.0.1, 12.0.0.1 ,10.0.0.2"]),
            "12.0.0.1"
        );
        assert_eq!(
            client("10.0.0.1", &["13.0.0.1", "10.0.0.3,10.0.0.2"]),
            "13.0.0.1"
        );
        assert_eq!(
            client("10.0.0.1", &["13.0.0.1, unknown, 10.0.0.2"]),
            "10.0.0.2"
        );
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
