//! Discovery by multicast, as Java nodes do it: a datagram is a URL and nothing else.
//!
//! Nothing proves who has sent it. So a URL is only tried, within `mesh.allow`, and forgotten when it gives no session;
//! the node at its end must know the secret.

use std::net::SocketAddr;
use std::sync::Arc;

use super::OortSide;
use super::url::OortUrl;
use crate::MulticastConfig;
use crate::discovery::{Talk, run_group};
use crate::net::Net;
use crate::runtime::Shared;

/// Advertises and listens until the runtime ends.
pub(crate) async fn run_multicast<N: Net>(
    net: N,
    group: MulticastConfig,
    shared: Arc<Shared>,
    side: Arc<OortSide>,
) {
    let urls = Urls {
        shared: &shared,
        side: &side,
    };
    run_group(net, group, &shared, urls).await;
}

struct Urls<'a> {
    shared: &'a Shared,
    side: &'a OortSide,
}

impl Talk for Urls<'_> {
    /// As in CometD.
    const BYTES_MAX: usize = 1400;
    const PER_SECOND_MAX: u32 = 200;
    const PURPOSE: &'static str = "nodes of Oort";

    fn advert(&mut self) -> Option<Vec<u8>> {
        Some(self.side.url().as_str().as_bytes().to_vec())
    }

    async fn received(&mut self, datagram: &[u8], from: SocketAddr) -> bool {
        let text = std::str::from_utf8(datagram).ok();
        let url = text
            .filter(|_| self.shared.config.allows(from.ip()))
            .and_then(|text| OortUrl::parse(text).ok());
        let Some(url) = url else {
            return false;
        };
        self.side.observe(url.as_str());
        true
    }
}
