//! The judge of the laws over real rollouts: a witness that looks from outside, and the story of the journal.
//!
//! What the witness sees for itself: the process of each unit and what it runs (`/proc`), and whether it was told to stop
//! (it has closed its listening socket); of containers, what the engine tells of them as it happens. What cannot be seen
//! from outside without changing it is read from what the *target* wrote down, never from what the engine of rollouts
//! says: a unit's share of the traffic from the state of the supervisor or of the target, and the ledger. The witness asks
//! no unit for its health, so what needs that (most of law 5) is not judged here.
//!
//! The story, that is which action was begun and why the rollout turned, is the journal's; the plan is the record's.

mod containers;
mod falsified;
mod look;
mod processes;

use crate::wait::pause;
use containers::ContainerEye;
use engine::{
    event::Event,
    law::{Breach, Happened, Judge, Moment, of_events},
    model::Action,
    plan::Plan,
};
use look::{Look, Record, moments};
use processes::ProcessEye;
use serde_json::Value;
use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long it may take to look twice.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// The longest rollout of a test with all that happens between its crashes, in milliseconds: above every test's own
/// deadline, so that only what hangs is longer.
const LIMIT: u64 = 10 * 60 * 1_000;

/// Where the units of a project are, and which environment they are of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Watched {
    /// Processes of this machine, of the local environment.
    Processes,
    /// Containers of an engine.
    Containers {
        /// Its socket.
        socket: PathBuf,
        /// The name of the project.
        project: String,
        /// The environment.
        environment: String,
    },
}

impl Watched {
    fn environment(&self) -> &str {
        match self {
            Self::Processes => "local",
            Self::Containers { environment, .. } => environment,
        }
    }
}

/// What looks.
enum Eye {
    Processes(ProcessEye),
    Containers(ContainerEye),
}

/// All that a witness has seen.
#[derive(Default)]
struct Seen {
    looks: Vec<Look>,
    /// Run → its plan.
    plans: BTreeMap<String, Plan>,
}

/// Looks at the units of a project until it is dropped.
pub(crate) struct Witness {
    watched: Watched,
    seen: Arc<Mutex<Seen>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// One rollout, as it was seen and as it was told.
#[derive(Debug, Clone)]
pub struct Case {
    /// What was to be done.
    pub plan: Plan,
    /// What was seen, in order.
    pub moments: Vec<Moment>,
    /// What happened, in order, each with its moment in milliseconds since the epoch.
    pub told: Vec<(u64, Happened)>,
}

impl Witness {
    /// Begins to look at the units of the project in `folder`, which keeps its state in `state`.
    pub(crate) fn start(folder: &Path, state: &Path, watched: Watched) -> Self {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::new(AtomicBool::new(false)));
        let (writer, stopped) = (seen.clone(), stop.clone());
        let mut record = Record::new(state, watched.environment());
        let mut eye = match &watched {
            Watched::Processes => Eye::Processes(ProcessEye::new(folder, state.join(watched.environment()))),
            Watched::Containers { socket, project, environment } => {
                Eye::Containers(ContainerEye::new(socket, project, environment))
            }
        };
        let state = state.to_owned();
        let thread = std::thread::spawn(move || {
            let mut is_last = false;
            while !is_last {
                is_last = stopped.load(Ordering::Relaxed);
                // Where nothing was begun there is nothing to look at.
                if state.exists() {
                    let looks = match &mut eye {
                        Eye::Processes(eye) => vec![eye.look()],
                        Eye::Containers(eye) => eye.look(),
                    };
                    let plan = record.new_plan();
                    let mut seen = lock(&writer);
                    seen.plans.extend(plan.map(|plan| (plan.run.clone(), plan)));
                    seen.looks.extend(looks);
                }
                if !is_last {
                    pause(INTERVAL);
                }
            }
        });
        Self { watched, seen, stop, thread: Some(thread) }
    }

    /// Ends, and returns every rollout that is told of in the journals since it began to look; and the runs that acted on
    /// units and of which the plan was not seen, so that nothing can be said of them.
    pub(crate) fn cases(mut self, state: &Path) -> (Vec<Case>, Vec<String>) {
        self.end();
        let seen = std::mem::take(&mut *lock(&self.seen));
        let mut events = events_of(&state.join(self.watched.environment()));
        let since = seen.looks.first().map_or(u64::MAX, |look| look.at);
        let acts =
            |event: &Event| matches!(event, Event::ActionBegan { intent } if intent.action.unit().is_some());
        let acted = |events: &[(u64, Event)]| events.iter().any(|(at, event)| *at > since && acts(event));
        let unseen = events.iter().filter(|(run, events)| acted(events) && !seen.plans.contains_key(*run));
        let unseen = unseen.map(|(run, _)| run.clone()).collect();
        let cases = seen.plans.into_iter().filter_map(|(run, plan)| {
            let events = events.remove(&run)?;
            Some(Case { moments: moments(&plan, &seen.looks), told: of_events(&events), plan })
        });
        (cases.collect(), unseen)
    }

    /// Waits for a look that was begun after this was called, and no longer than a busy machine may take for one.
    pub(crate) fn has_looked(&self, state: &Path) {
        // Where nothing was begun there is nothing to look at.
        if !state.exists() {
            return;
        }
        let looks = || lock(&self.seen).looks.len();
        let (begun, until) = (looks(), Instant::now() + LOOK_DEADLINE);
        // The first to come may have been under way.
        while looks() < begun + 2 && Instant::now() < until {
            pause(INTERVAL / 4);
        }
    }

    fn end(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the witness does not panic");
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Case {
    /// Whether it has come to its end, and nobody has opened it again.
    pub fn is_over(&self) -> bool {
        let ends = |happened: &Happened| matches!(happened, Happened::Finished(_) | Happened::Reopened);
        let last = self.told.iter().rev().find(|(_, happened)| ends(happened));
        matches!(last, Some((_, Happened::Finished(_))))
    }

    /// The laws that were broken: which, when and by what. What stands in the end is judged at one of two looks: a unit may
    /// have been on its way out at the last one before, and a test may have gone on before the first one after. What is as
    /// it should be at one of them was so in between.
    pub fn breaches(&self) -> Vec<Breach> {
        let after = self.judged(true, true);
        let others = || {
            [(false, true), (true, false), (false, false)].map(|(settles, ends)| self.judged(settles, ends))
        };
        if after.is_empty() || others().iter().any(Vec::is_empty) { Vec::new() } else { after }
    }

    /// The same with what stands and the end at the first look after them, or at the last one before.
    fn judged(&self, settles_after: bool, ends_after: bool) -> Vec<Breach> {
        let mut judge = Judge::new(&self.plan, LIMIT);
        let (Some((first, _)), mut next) = (self.told.first(), 0) else { return Vec::new() };
        // The looks before it are of other rollouts.
        while self.moments.get(next + 1).is_some_and(|moment| moment.at <= *first) {
            next += 1;
        }
        for (at, happened) in &self.told {
            let is_end = match happened {
                Happened::Settled { .. } => settles_after,
                Happened::Finished(_) => ends_after,
                _ => false,
            };
            while let Some(moment) = self.moments.get(next)
                && moment.at <= *at
            {
                judge.see(moment.clone());
                next += 1;
            }
            match self.moments.get(next) {
                Some(moment) if is_end => {
                    judge.see(moment.clone());
                    next += 1;
                }
                Some(after) if acts(happened) && next > 0 => {
                    judge.see(between(&self.moments[next - 1], after));
                }
                _ => {}
            }
            judge.hear(happened.clone());
        }
        if self.is_over() { judge.finish() } else { judge.adjourn() }
    }
}

fn acts(happened: &Happened) -> bool {
    matches!(happened, Happened::Began { action, .. } if action.unit().is_some() && !matches!(action, Action::Judge { .. }))
}

/// What is certain of a moment between two looks: a unit that got its traffic after the first one may have had it by then,
/// and so may one that lost it before the second.
fn between(before: &Moment, after: &Moment) -> Moment {
    let mut moment = before.clone();
    for (unit, now) in &mut moment.units {
        now.weight = now.weight.max(after.units.get(unit).map_or(0, |after| after.weight));
    }
    moment
}

/// Run → the events of all its executors, in order. A line that a crash has torn is left out.
fn events_of(environment: &Path) -> BTreeMap<String, Vec<(u64, Event)>> {
    let folder = fs::read_dir(environment.join("journal")).into_iter().flatten().flatten();
    let mut journals: Vec<(String, u64, PathBuf)> = folder
        .filter_map(|entry| {
            let path = entry.path();
            let (run, generation) = path.file_stem()?.to_str()?.rsplit_once("-g")?;
            Some((run.to_owned(), generation.parse().ok()?, path.clone()))
        })
        .collect();
    journals.sort();
    let mut runs = BTreeMap::<String, Vec<(u64, Event)>>::new();
    for (run, _, path) in journals {
        let text = fs::read_to_string(path).unwrap_or_default();
        let entries = text.lines().filter_map(|line| {
            let entry: pipeline::journal::Entry<Value> = serde_json::from_str(line).ok()?;
            let at = u64::try_from(entry.at.as_millisecond()).ok()?;
            Some((at, serde_json::from_value(entry.event).ok()?))
        });
        runs.entry(run).or_default().extend(entries);
    }
    runs
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
