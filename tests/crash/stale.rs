//! A stale executor: stopped right before or after an effect while it holds the lease, replaced, and continued. It
//! changes nothing: not what stands, not the router, not a file.
//!
//! Whoever takes over kills the stale one first, if it can. So every other one is played as if it were in another
//! container, where it cannot be killed, and goes on when it is continued: then the targets must refuse it.

use crate::{
    chance, jobs,
    judge::{Standing, judge},
    say,
    scenario::{Ground, Scenario, Strategy, Way},
    series::{side_by_side, words},
    sweep::Then,
    variable,
};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    ffi::OsStr,
    fmt, fs,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};
use tests::{Background, Process, Project, Tree, pause, wait_for};

/// The lease and its renewal: as short as the program lets them be.
const LEASE: (&str, &str) = ("2s", "500ms");

/// Longer than the lease.
const EXPIRY: Duration = Duration::from_millis(2_200);

/// How long a deploy may take to come to the effect.
const COMES: Duration = Duration::from_secs(30);

/// How often a case is tried whose executor was stopped in the middle of a renewal, which lasts a hundredth of the time.
const TRIES: usize = 4;

/// Rounds in `tests/all`; all kinds of effect, before and after, take 60.
const ROUNDS: usize = 12;

/// What may change without anybody: the units write their logs, the supervisor its own. The journal is the story of
/// what happened, also of how a stale executor ended; nothing is decided by it.
const LOGS: [&str; 4] =
    [".git", ".fairlead/local/logs", ".fairlead/local/journal", ".fairlead/local/supervisor/supervisor.log"];

/// Every kind of effect, and where it does something that the others do not: the canary's share, the switch of sides,
/// and the way back after a failure.
#[rustfmt::skip]
const EFFECTS: [(Strategy, Way, &str, u32); 30] = [
    (Strategy::Rolling, Way::Forward, "prepare", 1),
    (Strategy::Rolling, Way::Forward, "start", 1),
    (Strategy::Rolling, Way::Forward, "judge", 1),
    (Strategy::Rolling, Way::Forward, "admit", 1),
    (Strategy::Rolling, Way::Forward, "drain", 1),
    (Strategy::Rolling, Way::Forward, "stop", 1),
    (Strategy::Rolling, Way::Forward, "verify", 1),
    (Strategy::Rolling, Way::Forward, "commit", 1),
    (Strategy::Rolling, Way::Fails, "collect", 1),
    (Strategy::Rolling, Way::Fails, "start", 2),
    (Strategy::Rolling, Way::Fails, "admit", 2),
    (Strategy::Rolling, Way::Fails, "commit", 1),
    (Strategy::Canary, Way::Forward, "start", 1),
    (Strategy::Canary, Way::Forward, "admit", 1),
    (Strategy::Canary, Way::Forward, "admit", 2),
    (Strategy::Canary, Way::Forward, "drain", 1),
    (Strategy::Canary, Way::Fails, "admit", 1),
    (Strategy::Canary, Way::Fails, "collect", 1),
    (Strategy::Canary, Way::Fails, "stop", 1),
    (Strategy::BlueGreen, Way::Forward, "start", 2),
    (Strategy::BlueGreen, Way::Forward, "admit", 2),
    (Strategy::BlueGreen, Way::Forward, "drain", 1),
    (Strategy::BlueGreen, Way::Forward, "stop", 1),
    (Strategy::BlueGreen, Way::Fails, "collect", 1),
    (Strategy::BlueGreen, Way::Fails, "admit", 3),
    (Strategy::BlueGreen, Way::Fails, "stop", 1),
    (Strategy::Recreate, Way::Forward, "drain", 1),
    (Strategy::Recreate, Way::Forward, "stop", 2),
    (Strategy::Recreate, Way::Forward, "start", 1),
    (Strategy::Recreate, Way::Back, "start", 1),
];

/// One executor that becomes stale at one place.
#[derive(Debug, Clone, Copy)]
struct Case {
    scenario: Scenario,
    effect: &'static str,
    /// Which effect of this kind, counted from 1.
    count: u32,
    /// `before` or `after`.
    side: &'static str,
    /// What takes its place.
    then: Then,
    /// Whether it is in another container, as far as whoever takes over can see.
    is_elsewhere: bool,
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { scenario, effect, count, side, then, is_elsewhere } = self;
        let whence = if *is_elsewhere { "elsewhere" } else { "here" };
        write!(f, "{scenario}, {side} {effect} {count}, {then:?}, {whence}")
    }
}

impl Case {
    /// The round with this number: each place comes by with each way to take over before one comes again.
    fn of_round(round: usize) -> Self {
        let places = EFFECTS.len() * 2;
        let (strategy, way, effect, count) = EFFECTS[round % places / 2];
        let ways = round % 2 + round / 2 + round / places;
        Self {
            scenario: Scenario::Replace(strategy, way),
            effect,
            count,
            side: if round.is_multiple_of(2) { "before" } else { "after" },
            then: if ways.is_multiple_of(2) { Then::Resume } else { Then::Rollback },
            is_elsewhere: (ways / 2 + round).is_multiple_of(2),
        }
    }

    /// Plays it: how the stale executor ended. `None`: it was stopped in the middle of a renewal of its lease, and nobody
    /// can take over then until it is ended by hand.
    fn play(self) -> Option<&'static str> {
        // A new unit is in traffic when it ends, also on a busy machine: the way back has something to bring back.
        let Ground { mut project, other } = self
            .scenario
            .ground_with(["4s", "5s"], |shape| shape.lease = (LEASE.0.to_owned(), LEASE.1.to_owned()));
        self.scenario.change(&mut project);
        let old = Standing::now(&project);
        let new = if self.scenario.is_back() { other } else { Some(Standing::tree(&project)) };
        let run = self.stopped(&project);
        pause(EXPIRY);
        if is_locked(&project) {
            run.crash();
            project.run(&["resume"]).expect(self.scenario.code());
            return None;
        }
        if self.is_elsewhere {
            move_elsewhere(&project);
        }
        let stands = match self.then {
            Then::Resume => {
                project.run(&["resume"]).expect(self.scenario.code());
                if self.scenario.fails() { vec![old] } else { new.into_iter().collect() }
            }
            Then::Rollback => {
                project.run(&["rollback", "--yes"]).expect(0);
                vec![old]
            }
        };
        let before = (Tree::of(project.path(), &LOGS), project.units());
        run.signal(Signal::SIGCONT);
        let stale = run.wait();
        let after = (Tree::of(project.path(), &LOGS), project.units());
        assert_eq!(before.0.difference(&after.0), "", "the stale one changed files: {stale:?}");
        assert_eq!(before.1, after.1, "the stale one changed units: {stale:?}");
        judge(&project, &stands);
        match (self.is_elsewhere, stale.code, stale.signal) {
            (true, Some(13), None) => Some("went on, was refused and exited 13"),
            (false, None, Some(9)) => Some("was killed at the takeover"),
            _ => panic!("the stale one went on: {stale:?}"),
        }
    }

    /// Starts the command and waits until it stands still.
    fn stopped(self, project: &Project) -> Background {
        let crossing = format!("effect.{}.{}#{}", self.effect, self.side, self.count);
        let variables: [(&str, &OsStr); 2] =
            [("FAIRLEAD_KILL_AT", crossing.as_ref()), ("FAIRLEAD_KILL_SIGNAL", "STOP".as_ref())];
        let run = project.spawn_with(self.scenario.command(), &variables);
        wait_for(&format!("it to stop at {crossing}"), COMES, || {
            Process::of(run.pid()).filter(|process| process.state == 'T')
        });
        run
    }
}

/// Whether the executor stands still with the lock of the record.
fn is_locked(project: &Project) -> bool {
    let lock = fs::File::open(project.state().join("local/record/record.lock")).expect("the record's lock");
    lock.try_lock().is_err()
}

/// Lets the holder of the lease be a process of another container, which cannot be killed from here.
fn move_elsewhere(project: &Project) {
    let path = project.state().join("local/record/record.json");
    let bytes = fs::read(&path).expect("a record");
    let mut record: Value = serde_json::from_slice(&bytes).expect("a record in JSON");
    record["lease"]["holder"]["pid-namespace"] = "pid:[1]".into();
    let text = serde_json::to_string_pretty(&record).expect("it was JSON before");
    fs::write(&path, text).expect("our own file");
}

#[test]
fn a_stale_executor_changes_nothing_at_any_kind_of_effect() {
    let rounds: usize = variable("SWEEP_STALE_ROUNDS", ROUNDS);
    let first = (chance().share() * EFFECTS.len() as f64 * 2.0) as usize;
    let (next, begun) = (AtomicUsize::new(0), Instant::now());
    let (ends, failures) = (Mutex::new(BTreeMap::<String, usize>::new()), Mutex::new(Vec::new()));
    side_by_side(jobs(), || {
        let round = next.fetch_add(1, Ordering::Relaxed);
        if round >= rounds {
            return false;
        }
        // A few rounds are spread over all places.
        let case = Case::of_round(first + round * (EFFECTS.len() * 2 / rounds).max(1));
        match catch_unwind(AssertUnwindSafe(|| {
            (0..TRIES).find_map(|_| case.play()).expect("a stop elsewhere")
        })) {
            Ok(end) => {
                say(&format!("stale at {case}: it {end}"));
                *ends.lock().expect("none panicked").entry(end.to_owned()).or_default() += 1;
            }
            Err(payload) => {
                failures.lock().expect("none panicked").push(format!("{case}: {}", words(payload.as_ref())));
            }
        }
        true
    });
    let failures = failures.into_inner().expect("none panicked");
    say(&format!(
        "{rounds} rounds in {:.0?}: {:?}",
        begun.elapsed(),
        ends.into_inner().expect("none panicked")
    ));
    assert!(failures.is_empty(), "{} failed:\n{}", failures.len(), failures.join("\n\n"));
}
