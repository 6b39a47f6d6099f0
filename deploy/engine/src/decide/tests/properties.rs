//! Random scripts: the laws hold in all of them, and every rollout ends.
//!
//! How many are played, and from which seed, is set by variables, so that a long run and the script that judges mutants
//! use the same tests: `FAIRLEAD_CASES`, `FAIRLEAD_SEED` and `FAIRLEAD_SHRINK` (steps that make a failing script smaller).

use super::{
    generate::scripts,
    script::{Met, Script},
};
use crate::{
    law::Breach,
    samples::{Shape, plan_of},
    state::State,
    world::World,
};
use proptest::{
    prelude::*,
    test_runner::{Config, RngAlgorithm, TestRng, TestRunner},
};
use std::{
    fmt::Write as _,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Instant,
};

/// Cases of the usual run, so few that the inner loop stays quick.
const CASES: u32 = 2_000;

/// The least share of the cases, in per cent, that must meet each of the things that are hard to meet.
const SHARE_MIN: usize = 5;

fn variable(name: &str, otherwise: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")),
        Err(_) => otherwise,
    }
}

/// Plays scripts from a seed, and says what they met; at the first broken law, the shrunk script that breaks it.
fn play_many(cases: u32, seed: u64) -> Result<Vec<Met>, String> {
    // Where only the verdict counts, nothing is made smaller.
    let max_shrink_iters = variable("FAIRLEAD_SHRINK", 5_000) as u32;
    let config = Config { cases, failure_persistence: None, max_shrink_iters, ..Config::default() };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let mut runner = TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes));
    let met = Mutex::new(Vec::new());
    let result = runner.run(&scripts(), |script| {
        let played = script.play();
        met.lock().expect("no case panics while it holds this").push(played.met);
        let broken: Vec<String> = played.breaches.iter().map(Breach::to_string).collect();
        prop_assert!(broken.is_empty(), "{}", broken.join("\n"));
        Ok(())
    });
    if let Err(error) = result {
        let played = met.lock().map_or(0, |met| met.len());
        return Err(format!("seed {seed}, after {played} cases: {error}"));
    }
    Ok(met.into_inner().expect("no case panics while it holds this"))
}

/// A row of the table of what was met: words, whether it must be met often, and who met it.
type Row = (&'static str, bool, fn(&Met) -> bool);

const ROWS: [Row; 12] = [
    ("a rollback", true, |met| met.rollback),
    ("the exact boundary of the budget", true, |met| met.boundary),
    ("a cancel that turned it back", true, |met| met.cancel),
    ("a takeover", true, |met| met.takeover),
    ("a takeover inside a rollback", true, |met| met.takeover_in_rollback),
    ("a stale executor that was refused", true, |met| met.stale),
    ("a pause that was promoted", true, |met| met.paused),
    ("a second wave", true, |met| met.second_wave),
    ("a turn in the second wave or later", true, |met| met.turned_in_second_wave),
    ("a success", true, |met| met.succeeded),
    ("a hold", true, |met| met.held),
    ("a rollout that a human opened again", false, |met| met.reopened),
];

fn table(met: &[Met]) -> String {
    let mut table = format!("{} cases, of which met\n", met.len());
    for (words, _, is) in ROWS {
        let count = met.iter().filter(|met| is(met)).count();
        let share = 100.0 * count as f64 / met.len() as f64;
        writeln!(table, "{count:>9} {share:>5.1} %  {words}").expect("a string takes everything");
    }
    table
}

#[test]
fn every_rollout_ends_and_keeps_the_laws() {
    let cases = variable("FAIRLEAD_CASES", CASES.into()) as u32;
    let met = play_many(cases, variable("FAIRLEAD_SEED", 1)).unwrap_or_else(|broken| panic!("{broken}"));
    println!("{}", table(&met));
    for (words, must, is) in ROWS {
        let count = met.iter().filter(|met| is(met)).count();
        assert!(!must || count * 100 >= met.len() * SHARE_MIN, "too seldom met: {words}\n{}", table(&met));
    }
}

/// How many cases of a long run come from one seed, so that a run that is ended early has shown something, and what it finds
/// is found again within a minute: by `FAIRLEAD_SEED` of that round and this many `FAIRLEAD_CASES`.
const ROUND: u64 = 10_000;

/// Run by hand: `FAIRLEAD_CASES=1000000 cargo test --profile long-run -p engine --lib long_run -- --ignored --nocapture`.
#[test]
#[ignore = "as long as is asked for, on every core"]
fn long_run() {
    let cases = variable("FAIRLEAD_CASES", 20_000);
    let clock = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = variable("FAIRLEAD_SEED", clock.map_or(0, |since| since.as_secs()));
    let threads = std::thread::available_parallelism().map_or(1, |count| count.get());
    let rounds = cases.div_ceil(ROUND);
    println!("seed {seed}, {rounds} rounds on {threads} threads");
    let began = Instant::now();
    let (next, met) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let play = || {
        loop {
            let round = next.fetch_add(1, Ordering::Relaxed);
            if round >= rounds {
                return;
            }
            let cases = ROUND.min(cases - round * ROUND) as u32;
            let played = play_many(cases, seed + round).unwrap_or_else(|broken| {
                // What the others would still find is found again when this is mended.
                next.store(rounds, Ordering::Relaxed);
                panic!("{broken}");
            });
            let mut met = met.lock().expect("nobody panics while holding this");
            met.extend(played);
            println!("{:>9} cases after {:.0?}, to seed {}", met.len(), began.elapsed(), seed + round);
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(play))));
    let met = met.into_inner().expect("nobody panics while holding this");
    println!("{}in {:.0?}", table(&met), began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn a_decision_is_the_same_for_the_same_inputs(script in scripts()) {
        let plan = plan_of(&script.shape);
        let mut world = World::new(1_000_000).with_previous(&plan);
        let state = State::new(&plan, world.now);
        let seen = world.observe(&plan, 100);
        prop_assert_eq!(super::decide(&plan, &state, &seen), super::decide(&plan, &state, &seen));
    }
}

#[test]
fn the_judge_is_not_blind_a_script_without_faults_meets_nothing() {
    let met = Script { shape: Shape::default(), ..Script::default() }.play().met;
    assert!(met.succeeded && !met.rollback && !met.takeover && !met.held);
}
