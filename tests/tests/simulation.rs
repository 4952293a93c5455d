//! The cluster layer under seeded partitions, crashes and restarts, in virtual time.
//!
//! `HALLEY_SIM_SEED` pins the first seed, `HALLEY_SIM_RUNS` sets how many are tried; `--profile simulation` makes each of them many times
//! cheaper than the test command's build does.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::available_parallelism;
use std::time::{Duration, Instant};

use halley_tests::sim::{Settings, form, run};

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// Runs as many seeds as the environment says, on all cores, and prints what is needed to repeat a failure.
fn try_seeds(test: &str, runs: u64, settings: Settings) {
    let pinned = variable("HALLEY_SIM_SEED");
    let runs = variable("HALLEY_SIM_RUNS").unwrap_or(if pinned.is_some() { 1 } else { runs });
    let first = pinned.unwrap_or(1);
    let began = Instant::now();
    try_each(test, (first..first + runs).collect(), settings);
    println!(
        "{test}: {runs} schedules in {:.1} s",
        began.elapsed().as_secs_f64()
    );
}

fn try_each(test: &str, seeds: Vec<u64>, settings: Settings) {
    let next = AtomicUsize::new(0);
    let work = || {
        while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
            let report = run(*seed, settings);
            let Some(problem) = report.problem else {
                continue;
            };
            // The others need not go on.
            next.store(seeds.len(), Ordering::Relaxed);
            let loud = ["Delivered", "Published", "Taken", "Sent"];
            let quiet = |line: &String| !loud.iter().any(|what| line.contains(what));
            let lines = report.trace.iter().map(ToString::to_string).filter(quiet);
            let trace = lines.collect::<Vec<_>>().join("\n");
            panic!(
                "{trace}\nseed {seed}: {problem}\nrepeat with: HALLEY_SIM_SEED={seed} cargo test -p halley-tests \
                 --test simulation {test}"
            );
        }
    };
    let cores = available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..cores.min(seeds.len()) {
            scope.spawn(work);
        }
    });
}

/// Many schedules are worth more than long ones: what goes wrong, goes wrong within a few faults.
const SHORT: Settings = Settings {
    nodes: 3,
    faulty: Duration::from_secs(20),
    converge: Duration::from_secs(10),
};

#[test]
fn three_nodes_heal_and_nothing_is_lost_in_silence_doubled_or_out_of_order() {
    try_seeds("three_nodes", 12, SHORT);
}

#[test]
fn three_nodes_heal_after_a_minute() {
    try_seeds("three_nodes_heal_after", 2, Settings::default());
}

#[test]
fn five_nodes_heal_and_nothing_is_lost_in_silence_doubled_or_out_of_order() {
    let settings = Settings { nodes: 5, ..SHORT };
    try_seeds("five_nodes", 2, settings);
}

/// Seeds that have found a fault once, each with what it was. A change of [`halley_tests::sim::Schedule`] gives them other schedules: then
/// the fault needs a test of its own, if it has none.
const KEPT: [u64; 0] = [];

#[test]
fn seeds_that_found_something_once_are_kept() {
    try_each("three_nodes", KEPT.to_vec(), SHORT);
}

/// As many as a cluster is meant for become one full mesh, and what that costs each of them is printed. `HALLEY_SIM_NODES` says how many;
/// CI takes 50, the test command fewer.
#[test]
fn as_many_as_a_cluster_is_meant_for_become_a_full_mesh() {
    let nodes = variable("HALLEY_SIM_NODES").unwrap_or(20) as usize;
    let size = form(1, nodes).expect("a full mesh");
    println!("{size}");
    assert!(size.whole_after < Duration::from_secs(20), "{size}");
    // A ping and a pong for each sibling and second in each direction, some ten bytes each and a few of framing.
    assert!(size.sent_per_sibling < 100.0, "{size}");
}

#[test]
fn two_runs_with_one_seed_give_the_same_trace() {
    let settings = Settings {
        faulty: Duration::from_secs(30),
        ..Settings::default()
    };
    for seed in [3, 4] {
        let (once, again) = (run(seed, settings), run(seed, settings));
        let differs = once
            .trace
            .iter()
            .zip(&again.trace)
            .position(|(a, b)| a != b);
        if let Some(at) = differs {
            panic!(
                "seed {seed}: entry {at} is once {} and then {}",
                once.trace[at], again.trace[at]
            );
        }
        assert_eq!(once.trace.len(), again.trace.len());
        assert!(once.trace.len() > 1000);
    }
    assert_ne!(run(3, settings).trace, run(4, settings).trace);
}
