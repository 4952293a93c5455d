use halley_bayeux::{DefaultPolicy, EngineConfig};

use super::interest::CHANNELS_PER_TURN;
use super::*;
use crate::wire::{LinkClaim, MAC_BYTES, Proof};
use crate::{Clock, ClusterConfig, RandomSource, Secret, TokioNet};

fn shared() -> (Arc<Shared>, Receivers) {
    let secret = Secret::new(&[1; 32]).unwrap();
    let name = NodeName::new("a").unwrap();
    let config = ClusterConfig::new(name, "127.0.0.1:1".parse().unwrap(), secret);
    let engine =
        halley_bayeux::Engine::new(EngineConfig::default(), Arc::new(DefaultPolicy::default()));
    let random = RandomSource::seeded(1);
    let me = member("a", 1);
    let (shared, receivers) = Shared::new(config, Clock::start(), random, engine, me);
    (Arc::new(shared), receivers)
}

fn member(name: &str, port: u16) -> Member {
    Member {
        name: NodeName::new(name).unwrap(),
        incarnation: Incarnation(u64::from(port)),
        mesh_address: ([127, 0, 0, 1], port).into(),
        client_url: String::new(),
    }
}

async fn admit(shared: &Shared, link: u64, name: &str) {
    let (reply, admitted) = oneshot::channel();
    let proof = Proof {
        identity: member(name, u16::try_from(link).unwrap() + 10),
        uptime_ms: 0,
        link: LinkClaim::default(),
        mac: [0; MAC_BYTES],
    };
    shared
        .event(Event::Admit {
            link: LinkId(link),
            proof,
            cancel: CancellationToken::new(),
            done: CancellationToken::new(),
            reply,
        })
        .await;
    admitted.await.unwrap().unwrap();
}

/// What was wrong: the whole interest of a sibling was taken in, and forgotten, at one go. 40,000 channels stopped the
/// membership for 16 s.
#[tokio::test]
async fn the_membership_does_not_wait_for_the_interest_of_a_sibling() {
    const CHANNELS: usize = 50_000;
    let (shared, receivers) = shared();
    let actor = Actor::new(TokioNet, shared.clone());
    let actor = tokio::spawn(actor.run(receivers));
    admit(&shared, 1, "b").await;
    let interest = Interest {
        added: (0..CHANNELS).map(|n| format!("/many/{n}")).collect(),
        removed: Vec::new(),
        snapshot_end: true,
    };
    shared.bulk(Bulk::Interest(LinkId(1), interest)).await;
    let channels = || usize::try_from(shared.engine.stats().channels).unwrap();
    while channels() == 0 {
        tokio::task::yield_now().await;
    }
    admit(&shared, 2, "c").await;
    assert!(channels() < 20 * CHANNELS_PER_TURN, "{}", channels());
    while channels() < CHANNELS {
        tokio::task::yield_now().await;
    }
    // The link ends: its channels are forgotten in slices too, and the tap with them in the end.
    let end = LinkEnd::Closed;
    let link = LinkId(1);
    shared.event(Event::InDown { link, end }).await;
    let began = std::time::Instant::now();
    admit(&shared, 3, "d").await;
    let admitted = began.elapsed();
    shared.cancel.cancel();
    actor.await.unwrap();
    let forgotten = began.elapsed();
    assert!(admitted < forgotten / 10, "{admitted:?} of {forgotten:?}");
}
