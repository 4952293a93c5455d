//! Discovery by multicast among Halley nodes: sealed advertisements.

use std::net::SocketAddr;
use std::sync::Arc;

use super::advert::{Advert, DATAGRAM_BYTES_MAX};
use super::group::{Talk, run_group};
use crate::MulticastConfig;
use crate::membership::Source;
use crate::net::Net;
use crate::runtime::{Event, Shared};

/// Advertises and listens until the runtime ends.
pub(crate) async fn run<N: Net>(net: N, group: MulticastConfig, shared: Arc<Shared>) {
    let adverts = Adverts {
        shared: &shared,
        counter: 0,
    };
    run_group(net, group, &shared, adverts).await;
}

struct Adverts<'a> {
    shared: &'a Shared,
    counter: u64,
}

impl Talk for Adverts<'_> {
    const BYTES_MAX: usize = DATAGRAM_BYTES_MAX;
    /// Of each the MAC is checked.
    const PER_SECOND_MAX: u32 = 2000;
    const PURPOSE: &'static str = "this cluster";

    fn advert(&mut self) -> Option<Vec<u8>> {
        self.counter += 1;
        let advert = Advert {
            member: self.shared.me(),
            counter: self.counter,
        };
        let sealed = advert.seal(&self.shared.secrets());
        if sealed.is_none() {
            tracing::warn!("the client address is too long to be advertised by multicast");
        }
        sealed
    }

    async fn received(&mut self, datagram: &[u8], _: SocketAddr) -> bool {
        let Some(advert) = Advert::open(datagram, &self.shared.secrets()) else {
            return false;
        };
        if advert.member.incarnation != self.shared.me().incarnation {
            let learned = Event::Learned(advert.member.mesh_address, Source::Hint);
            self.shared.event(learned).await;
        }
        true
    }
}
