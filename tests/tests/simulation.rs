//! The cluster layer under seeded partitions, crashes and restarts, in virtual time.
//!
//! `HALLEY_SIM_SEED` pins the seed, `HALLEY_SIM_RUNS` sets how many seeds are tried.

use std::time::Duration;

use halley_tests::sim::{Settings, run};

fn variable(name: &str) -> Option<u64> {
    std::env::var(name)
        .ok()
        .map(|text| text.parse().expect("a number"))
}

/// Runs as many seeds as the environment says, and prints what is needed to repeat a failure.
fn try_seeds(test: &str, runs: u64, settings: Settings) {
    let pinned = variable("HALLEY_SIM_SEED");
    let runs = variable("HALLEY_SIM_RUNS").unwrap_or(if pinned.is_some() { 1 } else { runs });
    let first = pinned.unwrap_or(1);
    for seed in first..first + runs {
        let report = run(seed, settings);
        if let Some(problem) = report.problem {
            let quiet = |line: &String| !line.contains("Delivered") && !line.contains("Published");
            for line in report.trace.iter().map(ToString::to_string).filter(quiet) {
                println!("{line}");
            }
            panic!(
                "seed {seed}: {problem}\nrepeat with: HALLEY_SIM_SEED={seed} cargo test -p halley-tests \
                 --test simulation {test}"
            );
        }
    }
}

#[test]
fn three_nodes_heal_and_nothing_is_doubled_or_out_of_order() {
    try_seeds("three_nodes", 8, Settings::default());
}

#[test]
fn five_nodes_heal_and_nothing_is_doubled_or_out_of_order() {
    let settings = Settings {
        nodes: 5,
        faulty: Duration::from_secs(90),
        ..Settings::default()
    };
    try_seeds("five_nodes", 2, settings);
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
