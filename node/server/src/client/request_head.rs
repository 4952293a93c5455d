//! What the engine's policies and services may ask about the request that brought a message.

use std::net::IpAddr;

use halley_bayeux::{RequestHead, UpgradeHead};
use http::HeaderMap;

use crate::http_server::Caller;
use crate::proxies::Proxies;

/// Headers of an upgrade that only concern the connection itself; each WebSocket would keep them for its life.
const PLUMBING: [&str; 8] = [
    "accept-encoding",
    "cache-control",
    "connection",
    "pragma",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "upgrade",
];

/// The head of an HTTP request, borrowed.
pub(super) struct Head<'a> {
    remote: Option<IpAddr>,
    headers: &'a HeaderMap,
}

impl<'a> Head<'a> {
    pub(super) fn of(proxies: &Proxies, caller: Option<Caller>, headers: &'a HeaderMap) -> Self {
        Self {
            remote: proxies.client(caller, headers),
            headers,
        }
    }
}

impl RequestHead for Head<'_> {
    fn remote_address(&self) -> Option<IpAddr> {
        self.remote
    }

    fn header(&self, name: &str, n: usize) -> Option<&str> {
        self.headers.get_all(name).iter().nth(n)?.to_str().ok()
    }
}

/// The head of an upgrade, to be kept with its connection.
pub(super) fn upgrade_head(
    proxies: &Proxies,
    caller: Option<Caller>,
    headers: &HeaderMap,
) -> UpgradeHead {
    let kept = headers
        .iter()
        .filter(|(name, _)| !PLUMBING.contains(&name.as_str()))
        .filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?)));
    UpgradeHead::new(proxies.client(caller, headers), kept)
}

#[cfg(test)]
mod tests {
    use http::request::Parts;

    use super::*;

    fn request() -> Parts {
        let caller = Caller {
            peer: IpAddr::from([192, 0, 2, 1]),
            tls: false,
        };
        http::Request::get("/cometd")
            .header("Authorization", "Bearer x")
            .header("Cookie", "a=1")
            .header("Cookie", "b=2")
            .header("Upgrade", "websocket")
            .header("Sec-WebSocket-Key", "k")
            .extension(caller)
            .body(())
            .unwrap()
            .into_parts()
            .0
    }

    fn check(head: &dyn RequestHead) {
        assert_eq!(head.remote_address(), Some(IpAddr::from([192, 0, 2, 1])));
        assert_eq!(head.header("AUTHORIZATION", 0), Some("Bearer x"));
        assert_eq!(head.header("authorization", 1), None);
        assert_eq!(head.header("cookie", 1), Some("b=2"));
    }

    #[test]
    fn the_engine_sees_address_and_headers_of_a_request_and_of_an_upgrade() {
        let (proxies, parts) = (Proxies::new(&[]), request());
        let caller = parts.extensions.get::<Caller>().copied();
        check(&Head::of(&proxies, caller, &parts.headers));
        let head = upgrade_head(&proxies, caller, &parts.headers);
        check(&head);
        assert_eq!(head.header("upgrade", 0), None);
        assert_eq!(head.header("sec-websocket-key", 0), None);
    }
}
