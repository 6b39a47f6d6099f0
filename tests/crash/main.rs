//! The program cut off at every boundary at which it writes something down or changes something: it can be taken up
//! from everywhere, and a stale executor changes nothing. The program is built with its fail points for this.
//!
//! `tests/all` runs a sample, whose seed is printed; `tests/crash/sweep` says how to run all of it.

mod judge;
mod scenario;
mod series;
mod stale;
mod sweep;

use scenario::Scenario;
use series::{Extent, Grounds, Row};
use std::{
    collections::BTreeMap,
    fs,
    sync::Mutex,
    time::{Duration, Instant},
};
use sweep::{Case, Cut, Ended, Stroke, Then};
use tests::{Chance, variable};

/// Crossings of the sample.
const CROSSINGS: usize = 200;

/// Kills at random times of the sample.
const MOMENTS: usize = 50;

/// Cases side by side: three times as many as the smallest machine that all this is for has cores, because they mostly
/// wait.
const JOBS: usize = 6;

fn jobs() -> usize {
    variable("SWEEP_JOBS", JOBS)
}

#[expect(clippy::print_stdout, reason = "the numbers are the result of this test")]
fn say(text: &str) {
    println!("{text}");
}

/// Numbers from a seed that is told.
fn chance() -> Chance {
    let (chance, seed) = Chance::seeded();
    say(&format!("SWEEP_SEED={seed} repeats this sample"));
    chance
}

/// How many crossings a run of each scenario has, of the command and of its supervisor, and how long it takes.
#[derive(Debug, Clone, Copy, Default)]
struct Measured {
    command: u64,
    supervisor: u64,
    took: Duration,
}

/// Plays every scenario uncut, which leaves a project of each for what follows.
fn measure(grounds: &Grounds, jobs: usize) -> BTreeMap<Scenario, Measured> {
    let (left, measured) = (Mutex::new(Scenario::all()), Mutex::new(BTreeMap::new()));
    series::side_by_side(jobs, || {
        let Some(scenario) = left.lock().expect("none panicked").pop() else { return false };
        let play = |stroke| {
            let case = Case { scenario, cut: Cut::Crossing(u64::MAX, stroke), then: Then::Resume };
            match grounds.play(case) {
                Ok(Ended::Uncut { crossings, took }) => (crossings, took),
                other => panic!("{case}: {other:?}"),
            }
        };
        let (supervisor, _) = play(Stroke::Supervisor);
        let (command, took) = play(Stroke::Kill);
        let measure = Measured { command, supervisor, took };
        measured.lock().expect("none panicked").insert(scenario, measure);
        true
    });
    measured.into_inner().expect("none panicked")
}

/// Cases in turn of all scenarios and all strokes, each at a place that chance picks.
fn draw(chance: &mut Chance, measured: &BTreeMap<Scenario, Measured>) -> Vec<Case> {
    let scenarios = Scenario::all();
    let (crossings, moments) = (variable("SWEEP_CROSSINGS", CROSSINGS), variable("SWEEP_MOMENTS", MOMENTS));
    let case = |index: usize| {
        let scenario = scenarios[index % scenarios.len()];
        let Measured { command, supervisor, took } = measured[&scenario];
        let stroke = Stroke::ALL[index / scenarios.len() % Stroke::ALL.len()];
        let place = chance.share();
        let cut = if index < crossings {
            let count = if stroke == Stroke::Supervisor { supervisor } else { command };
            Cut::Crossing(1 + (count as f64 * place) as u64, stroke)
        } else {
            Cut::Time(took.mul_f64(place))
        };
        let then = if chance.share() < 0.5 { Then::Resume } else { Then::Rollback };
        Case { scenario, cut, then }
    };
    (0..crossings + moments).map(case).collect()
}

/// Shows the rows and fails if anything in them did.
fn assert_rows(rows: &BTreeMap<String, Row>, left_over: &[String]) {
    for (name, row) in rows {
        say(&format!("{name:<28}{row}"));
    }
    let failures: Vec<_> = rows.values().flat_map(|row| &row.failures).chain(left_over).cloned().collect();
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n\n"));
}

#[test]
fn a_run_that_is_cut_off_anywhere_can_be_taken_up_or_rolled_back() {
    let (mut chance, jobs, grounds) = (chance(), jobs(), Grounds::default());
    let begun = Instant::now();
    let measured = measure(&grounds, jobs);
    for (scenario, measure) in &measured {
        let Measured { command, supervisor, took } = measure;
        say(&format!("{scenario:<18}{command:>4} crossings, {supervisor:>4} of its supervisor, {took:.1?}"));
    }
    say(&format!("measured in {:.0?}", begun.elapsed()));
    let rows = series::these(&grounds, draw(&mut chance, &measured), jobs);
    let left_over = grounds.end(jobs);
    say(&format!("{jobs} side by side, {:.0?}", begun.elapsed()));
    assert_rows(&rows.into_iter().map(|(scenario, row)| (scenario.to_string(), row)).collect(), &left_over);
}

/// All of it, in hours; `SWEEP_SCENARIOS` and `SWEEP_SIGNALS` choose a part.
#[test]
#[ignore = "hours: run by tests/crash/sweep"]
fn every_crossing() {
    let chosen = |name: &str, variable: &str| {
        std::env::var(variable).map_or(true, |list| list.split(',').any(|one| one == name))
    };
    let jobs = jobs();
    let limit = Duration::from_secs(60 * variable("SWEEP_MINUTES", 600));
    let extent = Extent { jobs, step: variable("SWEEP_STEP", 1), limit };
    let (mut rows, mut left_over) = (BTreeMap::new(), Vec::new());
    let begun = Instant::now();
    for scenario in Scenario::all() {
        let grounds = Grounds::default();
        for stroke in Stroke::ALL {
            if chosen(&scenario.to_string(), "SWEEP_SCENARIOS")
                && chosen(&stroke.to_string(), "SWEEP_SIGNALS")
            {
                let name = format!("{scenario} {stroke}");
                let row = series::every_crossing(&grounds, scenario, stroke, extent);
                say(&format!("{name:<28}{row}"));
                rows.insert(name, row);
            }
        }
        left_over.extend(grounds.end(jobs));
    }
    let mut places = BTreeMap::<&String, u64>::new();
    rows.values()
        .flat_map(|row| &row.places)
        .for_each(|(place, count)| *places.entry(place).or_default() += count);
    places.iter().for_each(|(place, count)| say(&format!("{count:>6} {place}")));
    say(&format!("{jobs} side by side, {:.0?}", begun.elapsed()));
    assert_rows(&rows, &left_over);
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
