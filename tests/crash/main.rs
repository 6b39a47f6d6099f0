//! The program cut off at every boundary at which it writes something down or changes something: it can be taken up
//! from everywhere, and a stale executor changes nothing. The program is built with its fail points for this.
//!
//! `tests/all` runs a sample, whose seed is printed; `tests/crash/sweep` runs all of it.

mod judge;
mod scenario;
mod series;
mod stale;
mod sweep;

use nix::sys::signal::Signal;
use scenario::Scenario;
use series::{Extent, SIGNALS};
use std::{
    collections::BTreeMap,
    fs,
    str::FromStr,
    time::{Duration, SystemTime},
};
use sweep::{Case, Cut, Ended, Then};

/// Crossings of the sample.
const CROSSINGS: usize = 40;

/// Kills at random times of the sample.
const MOMENTS: usize = 10;

/// Cases side by side: as many as the smallest machine that all this is for has cores.
const JOBS: usize = 2;

/// A variable that says how much is to be done.
fn variable<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

#[expect(clippy::print_stdout, reason = "the numbers are the result of this test")]
fn say(text: &str) {
    println!("{text}");
}

/// Numbers from a seed: splitmix64.
struct Chance(u64);

impl Chance {
    fn seeded() -> Self {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
        let seed = variable("SWEEP_SEED", now.as_secs());
        say(&format!("SWEEP_SEED={seed} repeats this sample"));
        Self(seed)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn then(&mut self) -> Then {
        if self.below(2) == 0 { Then::Resume } else { Then::Rollback }
    }
}

/// How many crossings a run of each scenario has, and how long it takes.
fn measure() -> BTreeMap<Scenario, (u64, Duration)> {
    let measure = |scenario| {
        let begun = std::time::Instant::now();
        let case = Case { scenario, cut: Cut::Crossing(u64::MAX, Signal::SIGKILL), then: Then::Resume };
        let mut ground = scenario.ground();
        let prepared = begun.elapsed();
        match case.play(&mut ground) {
            Ended::Uncut(crossings) => (scenario, (crossings, begun.elapsed() - prepared)),
            cut @ Ended::Cut { .. } => panic!("{}: {cut:?}", scenario.name()),
        }
    };
    Scenario::ALL.into_iter().map(measure).collect()
}

/// Shows the rows and fails if anything in them did.
fn assert_rows(rows: &BTreeMap<String, series::Row>) {
    for (name, row) in rows {
        say(&format!("{name:<18}{row}"));
    }
    let failures: Vec<_> = rows.values().flat_map(|row| &row.failures).cloned().collect();
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn a_run_that_is_cut_off_anywhere_can_be_taken_up_or_rolled_back() {
    let mut chance = Chance::seeded();
    let measured = measure();
    let (crossings, moments) = (variable("SWEEP_CROSSINGS", CROSSINGS), variable("SWEEP_MOMENTS", MOMENTS));
    let mut cases = Vec::new();
    for index in 0..crossings + moments {
        let scenario = Scenario::ALL[index % Scenario::ALL.len()];
        let (count, took) = measured[&scenario];
        let cut = if index < crossings {
            Cut::Crossing(1 + chance.below(count), SIGNALS[index / Scenario::ALL.len() % SIGNALS.len()])
        } else {
            Cut::Time(took.mul_f64(chance.below(1_000) as f64 / 1_000.0))
        };
        cases.push(Case { scenario, cut, then: chance.then() });
    }
    let rows = series::these(cases, variable("SWEEP_JOBS", JOBS));
    assert_rows(&rows.into_iter().map(|(name, row)| (name.to_owned(), row)).collect());
}

/// All of it, in an hour or so; `SWEEP_SCENARIOS` and `SWEEP_SIGNALS` choose a part.
#[test]
#[ignore = "hours: run by tests/crash/sweep"]
fn every_crossing() {
    let chosen = |name: &str, variable: &str| {
        std::env::var(variable).map_or(true, |list| list.split(',').any(|one| one == name))
    };
    let extent = Extent {
        jobs: variable("SWEEP_JOBS", JOBS) as u64,
        step: variable("SWEEP_STEP", 1),
        limit: Duration::from_secs(60 * variable("SWEEP_MINUTES", 600)),
    };
    let mut rows = BTreeMap::new();
    for scenario in Scenario::ALL.into_iter().filter(|one| chosen(one.name(), "SWEEP_SCENARIOS")) {
        for signal in SIGNALS.into_iter().filter(|one| chosen(&one.as_str()[3..], "SWEEP_SIGNALS")) {
            let name = format!("{} {}", scenario.name(), &signal.as_str()[3..]);
            let row = series::every_crossing(scenario, |number| Cut::Crossing(number, signal), extent);
            say(&format!("{name:<18}{row}"));
            rows.insert(name, row);
        }
        // Only when asked for: a supervisor that is killed right after it started a router leaves that router behind,
        // and one killed at its start makes the rollout end with 3 although it is open.
        if std::env::var("SWEEP_SIGNALS").is_ok_and(|list| list.contains("supervisor")) {
            let name = format!("{} supervisor", scenario.name());
            let row = series::every_crossing(scenario, Cut::Supervisor, extent);
            say(&format!("{name:<18}{row}"));
            rows.insert(name, row);
        }
    }
    let mut places = BTreeMap::<&String, u64>::new();
    rows.values()
        .flat_map(|row| &row.places)
        .for_each(|(place, count)| *places.entry(place).or_default() += count);
    places.iter().for_each(|(place, count)| say(&format!("{count:>6} {place}")));
    assert_rows(&rows);
}

/// What is released has no fail points; the same search finds them in the build that has.
#[test]
fn a_build_without_the_feature_carries_none_of_it() {
    let has = |program: &std::path::Path, text: &str| {
        let bytes = fs::read(program).expect("the program");
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    };
    for text in ["FAIRLEAD_KILL_AT", "FAIRLEAD_CROSSINGS", "bundle.filled"] {
        assert!(has(tests::program_with_fail_points(), text), "this check sees nothing: {text}");
        assert!(!has(&tests::binaries().xtask, text), "{text}");
    }
}
