//! Real nodes on hosts of their own, whose network is cut, reset, lossy or late, and who are killed and frozen, all under traffic.
//!
//! What must hold is checked by `halley_tests::history`. `tests/faults/run` runs these scenarios by hand, and longer ones.

use std::time::Duration;

use anyhow::{Context, ensure};
use halley_tests::network::{Network, Tear};
use halley_tests::torn::{TornCluster, Wire};
use halley_tests::turn::turn;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// A link goes on without loss after a cut that is shorter than the detection time (4 s).
const SHORT: Duration = Duration::from_secs(2);

/// Runs a scenario and judges what came of it.
async fn scenario(
    nodes: u8,
    wire: Wire,
    faults: impl AsyncFnOnce(&mut TornCluster) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let _turn = turn().await;
    if let Some(reason) = Network::cannot_be_torn() {
        let needed = std::env::var_os("CI").is_some();
        ensure!(!needed, "the network cannot be torn here: {reason}");
        println!("SKIPPED, AND NOTHING OF IT TESTED: the network cannot be torn here: {reason}");
        return Ok(());
    }
    let mut cluster = TornCluster::start(nodes, wire).await?;
    if let Err(error) = faults(&mut cluster).await {
        println!("{}", cluster.story());
        return Err(error);
    }
    let tally = cluster.judge().await?;
    println!("{tally:?}");
    ensure!(
        tally.owed > 1000,
        "too little traffic to tell anything: {tally:?}"
    );
    Ok(())
}

/// Both directions between two nodes, for each pair.
fn both(pairs: &[(u8, u8)]) -> Vec<(u8, u8)> {
    pairs.iter().flat_map(|&(a, b)| [(a, b), (b, a)]).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn short_cuts_and_resets_lose_nothing() -> anyhow::Result<()> {
    scenario(3, Wire::Prompt, async |cluster| {
        cluster
            .tear_unnoticed(&both(&[(1, 2)]), Tear::Drop, SHORT)
            .await?;
        let reset = Duration::from_millis(300);
        cluster
            .tear_unnoticed(&both(&[(1, 3), (2, 3)]), Tear::Reset, reset)
            .await?;
        cluster.tear_unnoticed(&[(2, 1)], Tear::Drop, SHORT).await
    })
    .await
}

/// One direction is lost: both sides count the other as gone, and a third node still sees and serves both.
#[tokio::test(flavor = "multi_thread")]
async fn a_one_way_cut_is_a_loss_for_both_and_for_nobody_else() -> anyhow::Result<()> {
    scenario(3, Wire::Prompt, async |cluster| {
        cluster.tear_apart(&[(1, 3)], Tear::Drop).await?;
        cluster.tear_apart(&both(&[(2, 3)]), Tear::Drop).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_heal() -> anyhow::Result<()> {
    scenario(4, Wire::Prompt, async |cluster| {
        cluster.partition(&[1, 2]).await?;
        cluster.partition(&[4]).await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn loss_and_delay_are_not_taken_for_the_end_of_a_node() -> anyhow::Result<()> {
    let late = Duration::from_millis(100);
    scenario(3, Wire::Late(late), async |cluster| {
        let all = both(&[(1, 2), (1, 3), (2, 3)]);
        cluster
            .tear_unnoticed(&all, Tear::Loss(2.0), Duration::from_secs(12))
            .await
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_and_frozen_nodes_come_back_as_others() -> anyhow::Result<()> {
    scenario(3, Wire::Prompt, async |cluster| {
        cluster.kill(3).await?;
        cluster.freeze(1, Duration::from_secs(2)).await
    })
    .await
}

/// Faults in an order that a seed decides: `HALLEY_FAULT_SEED`, for `HALLEY_FAULT_SECONDS`; longer by hand,
/// with `tests/faults/run drawn --seed N --seconds N`.
#[tokio::test(flavor = "multi_thread")]
async fn drawn() -> anyhow::Result<()> {
    let variable = |name: &str, default: u64| {
        std::env::var(name).map_or(Ok(default), |text| {
            text.parse().context("a number is needed")
        })
    };
    let seed = variable("HALLEY_FAULT_SEED", 1)?;
    let time = Duration::from_secs(variable("HALLEY_FAULT_SECONDS", 15)?);
    let mut random = StdRng::seed_from_u64(seed);
    let wire = match random.random_range(0..3) {
        0 => Wire::Late(Duration::from_millis(random.random_range(1..100))),
        _ => Wire::Prompt,
    };
    println!("seed {seed}, {} s, {wire:?}", time.as_secs());
    let nodes = 4;
    scenario(nodes, wire, async |cluster| {
        let began = std::time::Instant::now();
        while began.elapsed() < time {
            let mut order: Vec<u8> = (1..=nodes).collect();
            order.shuffle(&mut random);
            let pair = (order[0], order[1]);
            let short = Duration::from_millis(random.random_range(50..2500));
            let reset = Duration::from_millis(random.random_range(10..500));
            let loss = Tear::Loss(random.random_range(0.5..4.0));
            match random.random_range(0..9) {
                0 => {
                    cluster
                        .tear_unnoticed(&both(&[pair]), Tear::Drop, short)
                        .await
                }
                1 => cluster.tear_unnoticed(&[pair], Tear::Drop, short).await,
                2 => {
                    cluster
                        .tear_unnoticed(&both(&[pair]), Tear::Reset, reset)
                        .await
                }
                3 => {
                    cluster
                        .tear_unnoticed(&both(&[pair]), loss, short * 4)
                        .await
                }
                4 => cluster.tear_apart(&[pair], Tear::Drop).await,
                5 => cluster.tear_apart(&both(&[pair]), Tear::Drop).await,
                6 => cluster.partition(&order[..random.random_range(1..3)]).await,
                7 => cluster.kill(pair.0).await,
                _ => cluster.freeze(pair.0, short).await,
            }?;
        }
        Ok(())
    })
    .await
}
