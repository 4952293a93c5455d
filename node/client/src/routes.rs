//! Which transport is taken at which endpoint: the user's order, thinned by what has been learnt about the endpoint.

use crate::transport::Transport;

/// How many upgrades may fail in a row at an endpoint where one has worked before, until it is taken for one that
/// lets no WebSocket through. A server that restarts behind a load balancer fails a few.
const FAILURES_MAX: u8 = 3;

/// What is known of WebSocket at one endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Upgrade {
    Unknown,
    /// It has worked; this many attempts since have not.
    Works(u8),
    Fails,
}

#[derive(Debug, Clone)]
struct Memory {
    upgrade: Upgrade,
    /// What the server has said it does not support.
    denied: Option<Transport>,
}

/// What is known of all endpoints.
#[derive(Debug)]
pub(crate) struct Routes {
    order: Vec<Transport>,
    memories: Vec<Memory>,
}

impl Routes {
    /// `order` is what the user allows, best first, and not empty.
    pub(crate) fn new(order: Vec<Transport>, endpoints: usize) -> Self {
        let memory = Memory {
            upgrade: Upgrade::Unknown,
            denied: None,
        };
        Self {
            order,
            memories: vec![memory; endpoints],
        }
    }

    /// The transport to open.
    pub(crate) fn choose(&self, endpoint: usize) -> Transport {
        let denied = self.memories[endpoint].denied;
        let offers = self.offers(endpoint);
        let open = offers.iter().find(|offer| Some(**offer) != denied);
        open.or(offers.first())
            .copied()
            .unwrap_or(Transport::WebSocket)
    }

    /// What a handshake offers: everything allowed, but WebSocket where it is known not to come through.
    pub(crate) fn offers(&self, endpoint: usize) -> Vec<Transport> {
        let fails = self.memories[endpoint].upgrade == Upgrade::Fails;
        self.order
            .iter()
            .copied()
            .filter(|offer| !(fails && *offer == Transport::WebSocket))
            .collect()
    }

    /// A WebSocket has opened.
    pub(crate) fn upgraded(&mut self, endpoint: usize) {
        self.memories[endpoint].upgrade = Upgrade::Works(0);
    }

    /// The host answered but gave no WebSocket; true when long-polling is to be taken instead.
    pub(crate) fn upgrade_failed(&mut self, endpoint: usize) -> bool {
        let alone = !self.order.contains(&Transport::LongPolling);
        let upgrade = &mut self.memories[endpoint].upgrade;
        *upgrade = match *upgrade {
            Upgrade::Works(failures) if failures + 1 < FAILURES_MAX => Upgrade::Works(failures + 1),
            _ if alone => Upgrade::Unknown,
            _ => Upgrade::Fails,
        };
        *upgrade == Upgrade::Fails
    }

    /// Whether WebSocket would be preferred but for an upgrade that has failed. A new session is the time to try again.
    pub(crate) fn would_upgrade(&self, endpoint: usize) -> bool {
        let memory = &self.memories[endpoint];
        memory.upgrade == Upgrade::Fails
            && self.order.first() == Some(&Transport::WebSocket)
            && memory.denied != Some(Transport::WebSocket)
    }

    /// Lets the next opening try WebSocket again.
    pub(crate) fn try_upgrade_again(&mut self, endpoint: usize) {
        self.memories[endpoint].upgrade = Upgrade::Unknown;
    }

    /// The server's handshake reply leads from one transport to another; `denied` when it does not support the former.
    pub(crate) fn switched(&mut self, endpoint: usize, from: Transport, denied: bool) {
        self.memories[endpoint].denied = denied.then_some(from);
    }
}

#[cfg(test)]
mod tests {
    use super::{Transport::*, *};

    #[test]
    fn falls_back_at_once_and_remembers() {
        let mut routes = Routes::new(vec![WebSocket, LongPolling], 2);
        assert_eq!(routes.choose(0), WebSocket);
        assert!(routes.upgrade_failed(0));
        assert_eq!(
            (routes.choose(0), routes.choose(1)),
            (LongPolling, WebSocket)
        );
        assert_eq!(routes.offers(0), [LongPolling]);
        assert!(routes.would_upgrade(0));
        routes.try_upgrade_again(0);
        assert_eq!(routes.choose(0), WebSocket);
    }

    #[test]
    fn is_patient_where_websocket_has_worked() {
        let mut routes = Routes::new(vec![WebSocket, LongPolling], 1);
        routes.upgraded(0);
        assert!(!routes.upgrade_failed(0));
        assert!(!routes.upgrade_failed(0));
        assert!(routes.upgrade_failed(0));
    }

    #[test]
    fn never_falls_back_to_what_is_not_allowed() {
        let mut routes = Routes::new(vec![WebSocket], 1);
        for _ in 0..9 {
            assert!(!routes.upgrade_failed(0));
        }
        assert_eq!(routes.choose(0), WebSocket);
    }

    #[test]
    fn follows_the_word_of_the_server() {
        let mut routes = Routes::new(vec![WebSocket, LongPolling], 1);
        routes.switched(0, WebSocket, true);
        assert_eq!(routes.choose(0), LongPolling);
        assert_eq!(routes.offers(0), [WebSocket, LongPolling]);
        assert!(!routes.would_upgrade(0));
        routes.switched(0, LongPolling, false);
        assert_eq!(routes.choose(0), WebSocket);
    }
}
