//! What a proxy in front of the node says about the connection of the client, and whose word counts.

use std::net::IpAddr;

use http::HeaderMap;
use ipnet::IpNet;

use crate::http_server::Caller;

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

    fn trusts(&self, peer: IpAddr) -> bool {
        self.trusted.iter().any(|network| network.contains(&peer))
    }
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
