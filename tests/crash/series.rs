//! Many cases, in as few projects as possible, and the table of how they came out.

use crate::{
    scenario::{Ground, Scenario},
    sweep::{Case, Cut, Ended, Then},
};
use nix::sys::signal::Signal;
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// More crossings than any run has: a sweep that comes so far would not end.
const MOST: u64 = 5_000;

/// How the cases of one kind came out.
#[derive(Debug, Default)]
pub(crate) struct Row {
    /// Places at which a run was cut off.
    pub(crate) cuts: u64,
    /// Crossings of the run that was not, if it came to one.
    pub(crate) crossings: Option<u64>,
    /// What was done and what stands → how often.
    pub(crate) outcomes: BTreeMap<String, u64>,
    /// Names of the crossings.
    pub(crate) places: BTreeMap<String, u64>,
    /// What did not hold.
    pub(crate) failures: Vec<String>,
}

/// Plays cases one after the other: in the same project as long as that can be.
#[derive(Default)]
pub(crate) struct Player {
    ground: Option<(Scenario, Ground)>,
}

impl Player {
    /// Plays one; what did not hold, in words, if something did not. The project is thrown away then.
    pub(crate) fn play(&mut self, case: Case) -> Result<Ended, String> {
        let scenario = case.scenario;
        let kept = self.ground.take();
        let play = move || {
            // One that is not for this scenario ends before another begins.
            let kept = kept.filter(|(of, _)| *of == scenario);
            let mut ground = kept.map_or_else(|| scenario.ground(), |(_, ground)| ground);
            let ended = case.play(&mut ground);
            // One that cannot be used again ends here, where what it finds left over is told as a failure.
            (ended, Some((scenario, ground)).filter(|_| scenario.is_repeatable()))
        };
        match catch_unwind(AssertUnwindSafe(play)) {
            Ok((ended, ground)) => {
                self.ground = ground;
                Ok(ended)
            }
            Err(payload) => Err(format!("{case}: {}", words(payload.as_ref()))),
        }
    }
}

impl Row {
    fn add(&mut self, result: Result<Ended, String>) {
        match result {
            Ok(Ended::Uncut(crossings)) => self.crossings = Some(self.crossings.unwrap_or(0).max(crossings)),
            Ok(Ended::Cut { at, outcome }) => {
                self.cuts += 1;
                *self.outcomes.entry(outcome).or_default() += 1;
                *self.places.entry(at).or_default() += 1;
            }
            Err(failure) => {
                self.cuts += 1;
                self.failures.push(failure);
            }
        }
    }
}

/// How much of a sweep is done.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extent {
    /// Cases side by side.
    pub(crate) jobs: u64,
    /// 1: every crossing.
    pub(crate) step: u64,
    /// No case is begun after this time.
    pub(crate) limit: Duration,
}

/// Plays a scenario cut off at the first crossing, the second, …, until a run ends uncut; every other one is rolled
/// back instead of carried on. With a step of 5, at every fifth crossing only; at the deadline it ends as well.
pub(crate) fn every_crossing(
    scenario: Scenario,
    cut: impl Fn(u64) -> Cut + Sync,
    Extent { jobs, step, limit }: Extent,
) -> Row {
    let until = Instant::now() + limit;
    let (next, end, row) = (AtomicU64::new(1), AtomicU64::new(MOST), Mutex::new(Row::default()));
    let work = || {
        let mut player = Player::default();
        loop {
            let turn = next.fetch_add(1, Ordering::Relaxed);
            let number = 1 + (turn - 1) * step;
            if number >= end.load(Ordering::Relaxed) || Instant::now() > until {
                return;
            }
            let then = if turn % 2 == 0 { Then::Rollback } else { Then::Resume };
            let result = player.play(Case { scenario, cut: cut(number), then });
            if matches!(result, Ok(Ended::Uncut(_))) {
                end.fetch_min(number, Ordering::Relaxed);
            }
            row.lock().expect("no other one panicked").add(result);
        }
    };
    std::thread::scope(|scope| (0..jobs).for_each(|_| drop(scope.spawn(work))));
    row.into_inner().expect("none panicked")
}

/// Plays these cases, one after the other, sorted so that few projects are needed.
pub(crate) fn these(mut cases: Vec<Case>, jobs: usize) -> BTreeMap<&'static str, Row> {
    cases.sort_by_key(|case| case.scenario);
    let rows = Mutex::new(BTreeMap::<&'static str, Row>::new());
    let part = cases.len().div_ceil(jobs).max(1);
    std::thread::scope(|scope| {
        for cases in cases.chunks(part) {
            let rows = &rows;
            scope.spawn(move || {
                let mut player = Player::default();
                for case in cases {
                    let result = player.play(*case);
                    let mut rows = rows.lock().expect("no other one panicked");
                    rows.entry(case.scenario.name()).or_default().add(result);
                }
            });
        }
    });
    rows.into_inner().expect("none panicked")
}

/// The signals by which a run can be cut off.
pub(crate) const SIGNALS: [Signal; 3] = [Signal::SIGKILL, Signal::SIGTERM, Signal::SIGINT];

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes: Vec<_> = self.outcomes.iter().map(|(what, count)| format!("{what} {count}")).collect();
        let crossings = self.crossings.map_or_else(|| "?".to_owned(), |count| count.to_string());
        write!(
            f,
            "{:>5} cuts of {crossings:>4} crossings, {:>3} kinds of place, {} failures; {}",
            self.cuts,
            self.places.len(),
            self.failures.len(),
            outcomes.join(", ")
        )
    }
}

/// What a panic said.
fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked without words").to_owned()
}
