//! The simulator is reality: the same scripts, drawn from a seed, are played in the simulated fleet and on processes of
//! this machine, and the same is decided in both. A fault of which the simulated fleet knows nothing would show.
//!
//! `SIMULATOR_SEED` repeats a run, `SIMULATOR_SCRIPTS` draws more, and `SIMULATOR_ONLY` names kinds of faults.

mod kind;
mod real;
mod script;
mod simulated;
mod story;

use deploy::{
    plan::Plan,
    world::{Behaviour, EffectFault},
};
use kind::{Kind, Real, Simulated, TABLE};
use script::{Chance, Script};
use std::{
    collections::{BTreeMap, BTreeSet},
    str::FromStr,
    sync::{
        Mutex, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};
use story::Story;

/// Scripts in which nothing goes wrong.
const GOOD: usize = 4;

/// Scripts side by side: as many as the smallest machine that all this is for has cores.
const JOBS: usize = 2;

/// How often a script is played at most, each time more slowly than before.
const TRIES: u32 = 3;

/// A rollout whose loop hears of a quick action so late says nothing of what is decided within a second or two: the
/// machine was busy with something else.
const BUSY: Duration = Duration::from_millis(300);

/// A script that was played on processes.
struct Played {
    script: Script,
    plan: Plan,
    real: Story,
    lateness: Duration,
}

impl Played {
    /// Plays a script. What differs while the machine is busy with something else is no evidence: the script is played
    /// again, more slowly, so that the machine's lateness weighs less.
    fn of(script: &Script) -> Self {
        let mut script = script.clone();
        for _ in 1..TRIES {
            let played = Self::once(&script);
            if played.lateness < BUSY || played.difference().is_none() {
                return played;
            }
            say(&format!("     {} ms late, played again: {script}", played.lateness.as_millis()));
            script.pace += 1;
        }
        Self::once(&script)
    }

    fn once(script: &Script) -> Self {
        let real::Told { plan, story, lateness } = real::play(script);
        Self { script: script.clone(), plan, real: story, lateness }
    }

    /// What was decided on processes and not in the simulated fleet, or the other way round.
    fn difference(&self) -> Option<String> {
        let simulated = simulated::play(&self.script, &self.plan, None);
        self.real.difference(&simulated, "real", "simulated")
    }
}

#[expect(clippy::print_stdout, reason = "the scripts and the seed are the result of this test")]
fn say(text: &str) {
    println!("{text}");
}

/// A variable that says how much is to be done.
fn variable<T: FromStr>(name: &str, default: T) -> T {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// Draws the scripts: every kind once, some in which nothing goes wrong, and what is asked for above that.
fn draw() -> Vec<Script> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("after 1970");
    let seed = variable("SIMULATOR_SEED", now.as_secs());
    say(&format!("SIMULATOR_SEED={seed} repeats these scripts"));
    let mut chance = Chance::new(seed);
    let once = TABLE.iter().map(|row| Some(row.kind)).chain([None; GOOD]);
    let count = variable("SIMULATOR_SCRIPTS", TABLE.len() + GOOD);
    let kinds: Vec<Option<Kind>> = once.cycle().take(count).collect();
    let scripts = kinds.into_iter().map(|kind| Script::draw(kind, &mut chance));
    let only = std::env::var("SIMULATOR_ONLY").ok();
    let is_asked_for = |script: &Script| {
        let name = script.kind.map_or("Nothing".to_owned(), |kind| format!("{kind:?}"));
        only.as_ref().is_none_or(|only| only.split(',').any(|one| one == name))
    };
    scripts.filter(is_asked_for).collect()
}

/// All scripts, played on processes once for all tests.
///
/// # Panics
/// If one of them could not be played to its end, in each test.
fn played() -> &'static [Played] {
    static PLAYED: OnceLock<Option<Vec<Played>>> = OnceLock::new();
    PLAYED.get_or_init(play_all).as_deref().expect("every script is played to its end")
}

/// Plays all scripts side by side; `None`: one could not be played, as was said.
fn play_all() -> Option<Vec<Played>> {
    let scripts = draw();
    let (next, played) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let play_some = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(script) = scripts.get(index) else { return };
            let begun = Instant::now();
            let one = Played::of(script);
            say(&format!("{index:>3}  {:>4.1} s  {}", begun.elapsed().as_secs_f32(), one.script));
            played.lock().expect("nobody panics with it").insert(index, one);
        }
    };
    let went_well = std::thread::scope(|scope| {
        let jobs: Vec<_> = (0..variable("SIMULATOR_JOBS", JOBS)).map(|_| scope.spawn(play_some)).collect();
        // All are joined, whatever becomes of the first.
        jobs.into_iter().filter_map(|job| job.join().err()).count() == 0
    });
    let played: Vec<Played> = played.into_inner().expect("nobody panics with it").into_values().collect();
    say_how_often(&played);
    went_well.then_some(played)
}

fn say_how_often(played: &[Played]) {
    let mut counts = BTreeMap::<Option<Kind>, usize>::new();
    for one in played {
        *counts.entry(one.script.kind).or_default() += 1;
    }
    for (kind, count) in counts {
        say(&format!("{count:>3} × {}", kind.map_or("nothing".to_owned(), |kind| format!("{kind:?}"))));
    }
}

#[test]
fn the_same_is_decided_in_the_simulated_fleet_and_on_processes() {
    let mut differences = Vec::new();
    for one in played() {
        if let Some(difference) = one.difference() {
            let late = one.lateness.as_millis();
            differences.push(format!("{} (at most {late} ms late)\n{difference}", one.script));
        }
    }
    assert!(differences.is_empty(), "{} scripts differ:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn without_any_one_kind_of_fault_something_else_would_be_decided() {
    let mut unnoticed = Vec::new();
    for Played { script, plan, real, .. } in played() {
        let Some(kind) = script.kind else { continue };
        if simulated::play(script, plan, Some(kind)) == *real {
            unnoticed.push(script.to_string());
        }
    }
    assert!(unnoticed.is_empty(), "these faults make no difference: {unnoticed:#?}");
}

#[test]
fn every_fault_of_the_simulated_fleet_is_in_the_table() {
    let kinds: BTreeSet<Kind> = TABLE.iter().map(|row| row.kind).collect();
    assert_eq!(kinds.len(), TABLE.len(), "a kind stands there twice");
    for row in &TABLE {
        let told = match row.simulated {
            Simulated::Unit(behaviour) | Simulated::Units(behaviour) => kind::kind_of(behaviour),
            Simulated::Start(fault) | Simulated::Starts(fault) | Simulated::Stop(fault) => {
                Some(kind::kind_of_effect(fault))
            }
            Simulated::Kill => kind::kind_of(Behaviour::KilledAfter(0)),
            Simulated::Outage => Some(Kind::Unreachable),
            Simulated::Verify => Some(Kind::SmokeFails),
        };
        assert_eq!(told, Some(row.kind), "{row:?}");
        assert_eq!(matches!(row.real, Real::KillUnit), row.kind == Kind::Killed, "{row:?}");
    }
    for fault in [EffectFault::FailsBefore, EffectFault::FailsAfter, EffectFault::FailsForGood] {
        assert!(kinds.contains(&kind::kind_of_effect(fault)), "{fault:?}");
    }
}
