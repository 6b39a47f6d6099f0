//! Many cases side by side, in as few projects as possible, and the table of how they came out.

use crate::{
    scenario::{Ground, Scenario},
    sweep::{Case, Cut, Ended, Stroke, Then},
};
use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, MutexGuard,
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
    /// The time of all its cases together.
    pub(crate) took: Duration,
}

/// Plays cases, and keeps projects for those to come.
#[derive(Default)]
pub(crate) struct Grounds {
    idle: Mutex<BTreeMap<Scenario, Vec<Ground>>>,
}

impl Grounds {
    /// Plays one; what did not hold, in words, if something did not. The project is thrown away then.
    pub(crate) fn play(&self, case: Case) -> Result<Ended, String> {
        let scenario = case.scenario;
        let kept = lock(&self.idle).get_mut(&scenario).and_then(Vec::pop);
        let play = move || {
            let mut ground = kept.unwrap_or_else(|| scenario.ground());
            let ended = case.play(&mut ground);
            // One that cannot be used again ends here, where what it finds left over is told as a failure.
            (ended, Some(ground).filter(|_| scenario.is_repeatable()))
        };
        match catch_unwind(AssertUnwindSafe(play)) {
            Ok((ended, ground)) => {
                lock(&self.idle).entry(scenario).or_default().extend(ground);
                Ok(ended)
            }
            Err(payload) => Err(format!("{case}: {}", words(payload.as_ref()))),
        }
    }

    /// Ends all projects; what was left over in them.
    pub(crate) fn end(&self, jobs: usize) -> Vec<String> {
        let failures = Mutex::new(Vec::new());
        side_by_side(jobs, || {
            let ground = lock(&self.idle).values_mut().find_map(Vec::pop);
            let Some(ground) = ground else { return false };
            if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(ground))) {
                lock(&failures).push(format!("at the end: {}", words(payload.as_ref())));
            }
            true
        });
        failures.into_inner().expect("none panicked")
    }

    fn has(&self, scenario: Scenario) -> bool {
        lock(&self.idle).get(&scenario).is_some_and(|idle| !idle.is_empty())
    }
}

impl Row {
    fn add(&mut self, took: Duration, result: Result<Ended, String>) {
        self.took += took;
        match result {
            Ok(Ended::Uncut { crossings, .. }) => {
                self.crossings = Some(self.crossings.unwrap_or(0).max(crossings));
            }
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
    pub(crate) jobs: usize,
    /// 1: every crossing.
    pub(crate) step: u64,
    /// No case is begun after this time.
    pub(crate) limit: Duration,
}

/// Plays a scenario cut off at the first crossing, the second, …, until a run ends uncut; every other one is rolled
/// back instead of carried on. With a step of 5, at every fifth crossing only; at the deadline it ends as well.
pub(crate) fn every_crossing(
    grounds: &Grounds,
    scenario: Scenario,
    stroke: Stroke,
    Extent { jobs, step, limit }: Extent,
) -> Row {
    let until = Instant::now() + limit;
    let (next, end, row) = (AtomicU64::new(1), AtomicU64::new(MOST), Mutex::new(Row::default()));
    side_by_side(jobs, || {
        let turn = next.fetch_add(1, Ordering::Relaxed);
        let number = 1 + (turn - 1) * step;
        if number >= end.load(Ordering::Relaxed) || Instant::now() > until {
            return false;
        }
        let then = if turn % 2 == 0 { Then::Rollback } else { Then::Resume };
        let begun = Instant::now();
        let result = grounds.play(Case { scenario, cut: Cut::Crossing(number, stroke), then });
        if matches!(result, Ok(Ended::Uncut { .. })) {
            end.fetch_min(number, Ordering::Relaxed);
        }
        lock(&row).add(begun.elapsed(), result);
        true
    });
    row.into_inner().expect("none panicked")
}

/// Plays these cases. The next one is always of a scenario that has an idle project, if there is such a one.
pub(crate) fn these(grounds: &Grounds, cases: Vec<Case>, jobs: usize) -> BTreeMap<Scenario, Row> {
    let mut waiting = BTreeMap::<Scenario, Vec<Case>>::new();
    cases.into_iter().for_each(|case| waiting.entry(case.scenario).or_default().push(case));
    let (waiting, rows) = (Mutex::new(waiting), Mutex::new(BTreeMap::<Scenario, Row>::new()));
    side_by_side(jobs, || {
        let case = {
            let mut waiting = lock(&waiting);
            let ready = waiting.iter_mut().filter(|(_, cases)| !cases.is_empty());
            let next = ready.max_by_key(|(scenario, cases)| (grounds.has(**scenario), cases.len()));
            next.and_then(|(_, cases)| cases.pop())
        };
        let Some(case) = case else { return false };
        let begun = Instant::now();
        let result = grounds.play(case);
        lock(&rows).entry(case.scenario).or_default().add(begun.elapsed(), result);
        true
    });
    rows.into_inner().expect("none panicked")
}

/// Does the same again and again in so many threads, in each until there is nothing left to do.
pub(crate) fn side_by_side(jobs: usize, work: impl Fn() -> bool + Sync) {
    let work = &work;
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(move || while work() {});
        }
    });
}

impl fmt::Display for Row {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outcomes: Vec<_> = self.outcomes.iter().map(|(what, count)| format!("{what} {count}")).collect();
        let crossings = self.crossings.map_or_else(|| "?".to_owned(), |count| count.to_string());
        let cases = self.cuts.max(1) as f64;
        write!(
            f,
            "{:>5} cuts of {crossings:>4} crossings, {:>3} kinds of place, {:>4.1} s a case, {} failures; {}",
            self.cuts,
            self.places.len(),
            self.took.as_secs_f64() / cases,
            self.failures.len(),
            outcomes.join(", ")
        )
    }
}

/// What a panic said.
pub(crate) fn words(payload: &(dyn Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("it panicked without words").to_owned()
}

/// Cases panic outside of every lock.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no other one panicked")
}
