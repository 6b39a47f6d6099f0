//! The judge of the laws over real rollouts: a witness that looks from outside, and the story of the journal.
//!
//! What the witness sees for itself: the process of each unit and what it runs (`/proc`), and whether it was told to stop
//! (it has closed its listening socket). What cannot be seen from outside without changing it is read from what the
//! *target* wrote down, never from what the engine says: a unit's share of the traffic from the supervisor's state, and
//! the ledger. The witness asks no unit for its health, so what needs that (most of law 5) is not judged here.
//!
//! The story, that is which action was begun and why the rollout turned, is the journal's; the plan is the record's.

use crate::{
    processes::{Process, all_pids},
    sockets::{listening_sockets, ports_among},
    units::is_unit,
    wait::pause,
};
use engine::{
    bundle::BundleHash,
    event::Event,
    law::{Breach, Happened, Judge, Moment, UnitNow, of_events},
    ledger::Ledger,
    model::{Action, UnitId},
    plan::Plan,
};
use pipeline::name::Name;
use serde::Deserialize;
use serde_json::Value;
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

/// Between two looks.
const INTERVAL: Duration = Duration::from_millis(20);

/// How long it may take to look twice.
const LOOK_DEADLINE: Duration = Duration::from_secs(5);

/// The longest rollout of a test with all that happens between its crashes, in milliseconds: above every test's own
/// deadline, so that only what hangs is longer.
const LIMIT: u64 = 10 * 60 * 1_000;

/// Looks at the units of a project until it is dropped.
pub(crate) struct Witness {
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

/// All that a witness has seen.
#[derive(Default)]
struct Seen {
    looks: Vec<Look>,
    /// Run → its plan.
    plans: BTreeMap<String, Plan>,
}

/// Which unit a process is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Life {
    service: Name,
    slot: u16,
    bundle: BundleHash,
    /// Its target, where that has a folder of its own.
    target: Option<Name>,
}

/// One look.
#[derive(Debug, Clone)]
struct Look {
    at: u64,
    /// Each unit that runs → whether it was told to stop.
    units: BTreeMap<Life, bool>,
    /// Share of the traffic of each unit that a target knows of, and so on which target it stands.
    weights: BTreeMap<UnitId, u16>,
    ledgers: BTreeMap<Name, BTreeMap<Name, BundleHash>>,
}

impl Witness {
    /// Begins to look at a project that keeps its state in this folder.
    pub(crate) fn start(folder: &Path, state: &Path) -> Self {
        let (seen, stop) = (Arc::<Mutex<Seen>>::default(), Arc::new(AtomicBool::new(false)));
        let (writer, stopped) = (seen.clone(), stop.clone());
        let mut eye = Eye::new(folder, state);
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                eye.look(&writer);
                pause(INTERVAL);
            }
            eye.look(&writer);
        });
        Self { seen, stop, thread: Some(thread) }
    }

    /// Ends, and returns every rollout that is told of in the journals since it began to look; and the runs that acted on
    /// units and of which the plan was not seen, so that nothing can be said of them.
    pub(crate) fn cases(mut self, state: &Path) -> (Vec<Case>, Vec<String>) {
        self.end();
        let seen = std::mem::take(&mut *lock(&self.seen));
        let mut events = events_of(state);
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

/// What a judge is shown: the looks, with the targets of this plan.
fn moments(plan: &Plan, looks: &[Look]) -> Vec<Moment> {
    let targets: BTreeSet<&Name> = plan.services.iter().flat_map(|service| &service.targets).collect();
    let moment = |look: &Look| {
        let mut moment = Moment { at: look.at, ..Moment::default() };
        for (Life { service, slot, bundle, target }, told_to_stop) in &look.units {
            let id = |place: &Name| UnitId {
                service: service.clone(),
                target: target.as_ref().unwrap_or(place).clone(),
                slot: *slot,
                bundle: *bundle,
            };
            let known = targets.iter().map(|target| id(target)).find(|id| look.weights.contains_key(id));
            let Some(unit) = known.or_else(|| targets.first().map(|target| id(target))) else { continue };
            let weight = look.weights.get(&unit).copied().unwrap_or(0);
            let now = UnitNow { running: true, told_to_stop: *told_to_stop, weight, looked: None };
            moment.units.insert(unit, now);
        }
        for service in &plan.services {
            for target in &service.targets {
                let stands = look.ledgers.get(target).and_then(|ledger| ledger.get(&service.service));
                let ledger = moment.ledgers.entry(target.clone()).or_default();
                ledger.insert(service.service.clone(), stands.copied());
            }
        }
        moment
    };
    looks.iter().map(moment).collect()
}

/// Looks, and remembers what need not be read twice.
struct Eye {
    folder: PathBuf,
    state: PathBuf,
    /// Units: pid and start → which.
    known: BTreeMap<(i32, u64), Life>,
    /// Units that were seen to listen at some time.
    heard: BTreeSet<(i32, u64)>,
    record: File<Value>,
    targets: BTreeMap<PathBuf, Target>,
}

/// What one target wrote down.
struct Target {
    supervisor: File<BTreeMap<UnitId, u16>>,
    ledger: File<Ledger>,
}

impl Target {
    fn new(folder: &Path) -> Self {
        Self {
            supervisor: File::new(folder.join("supervisor/state.json")),
            ledger: File::new(folder.join("ledger.json")),
        }
    }
}

impl Eye {
    fn new(folder: &Path, state: &Path) -> Self {
        let environment = state.join("local");
        Self {
            folder: folder.to_owned(),
            state: state.to_owned(),
            known: BTreeMap::new(),
            heard: BTreeSet::new(),
            record: File::new(environment.join("record/record.json")),
            targets: BTreeMap::new(),
        }
    }

    /// The folders of all targets: the environment's own, and those of targets with an address.
    fn find_targets(&mut self) {
        let environment = self.state.join("local");
        let folders = fs::read_dir(environment.join("targets")).into_iter().flatten().flatten();
        for folder in folders.map(|entry| entry.path()).chain([environment]) {
            self.targets.entry(folder.clone()).or_insert_with(|| Target::new(&folder));
        }
    }

    fn look(&mut self, seen: &Mutex<Seen>) {
        if !self.state.exists() {
            return;
        }
        let at = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
        let units = self.units();
        self.find_targets();
        let (mut weights, mut ledgers) = (BTreeMap::new(), BTreeMap::new());
        for target in self.targets.values_mut() {
            weights.extend(target.supervisor.read(weights_of).cloned().unwrap_or_default());
            let ledger = target.ledger.read(|bytes| serde_json::from_slice::<Ledger>(bytes).ok());
            ledgers.extend(ledger.map(|ledger| {
                let services = ledger.services.iter();
                let current = services.map(|(name, standing)| (name.clone(), standing.current.bundle));
                (ledger.target.clone(), current.collect())
            }));
        }
        let is_new = self.record.is_new();
        let record = self.record.read(|bytes| serde_json::from_slice(bytes).ok()).filter(|_| is_new);
        let plan = record.and_then(|record| Plan::deserialize(&record["open"]["plan"]).ok());
        let mut seen = lock(seen);
        seen.plans.extend(plan.map(|plan| (plan.run.clone(), plan)));
        seen.looks.push(Look { at, units, weights, ledgers });
    }

    fn units(&mut self) -> BTreeMap<Life, bool> {
        let mut units = BTreeMap::new();
        let sockets = listening_sockets();
        for pid in all_pids() {
            let Ok(exe) = fs::read_link(format!("/proc/{pid}/exe")) else { continue };
            if !exe.starts_with(&self.folder) || !is_unit(&exe) {
                continue;
            }
            let Some(process) = Process::of(pid) else { continue };
            let life = (pid, process.started);
            let unit = match self.known.get(&life) {
                Some(unit) => unit.clone(),
                None => {
                    let Some(unit) = which(&process, &exe) else { continue };
                    self.known.insert(life, unit.clone());
                    unit
                }
            };
            let listens = !ports_among(pid, &sockets).is_empty();
            if listens {
                self.heard.insert(life);
            }
            let told_to_stop = !listens && self.heard.contains(&life);
            // Two lives of one unit follow each other: the one that stands is meant.
            let entry = units.entry(unit).or_insert(told_to_stop);
            *entry &= told_to_stop;
        }
        units
    }
}

/// Which unit a process is: by the variables that it was started with, and the folder that its executable is in.
fn which(process: &Process, exe: &Path) -> Option<Life> {
    let environ = process.environ();
    let (service, slot) = environ.get("FAIRLEAD_UNIT")?.split_once('/')?;
    let bundle = environ.get("FAIRLEAD_BUNDLE")?.parse().ok()?;
    let mut folders = exe.components().map(|part| part.as_os_str().to_str().unwrap_or_default());
    let target = folders.find(|folder| *folder == "targets").and_then(|_| folders.next());
    Some(Life {
        service: service.parse().ok()?,
        slot: slot.parse().ok()?,
        bundle: BundleHash::new(bundle),
        target: target.and_then(|name| name.parse().ok()),
    })
}

fn weights_of(bytes: &[u8]) -> Option<BTreeMap<UnitId, u16>> {
    let state: Value = serde_json::from_slice(bytes).ok()?;
    let units = state["units"].as_object()?.iter();
    let weight = |(id, unit): (&String, &Value)| {
        let weight = unit["weight"].as_u64().and_then(|weight| u16::try_from(weight).ok())?;
        Some((UnitId::try_from(id.clone()).ok()?, weight))
    };
    units.map(weight).collect()
}

/// Run → the events of all its executors, in order. A line that a crash has torn is left out.
fn events_of(state: &Path) -> BTreeMap<String, Vec<(u64, Event)>> {
    let folder = fs::read_dir(state.join("local/journal")).into_iter().flatten().flatten();
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

/// A file that is read again only when another one was put in its place, or it was written to.
struct File<T> {
    path: PathBuf,
    version: Option<(u64, i64, i64)>,
    content: Option<T>,
}

impl<T> File<T> {
    fn new(path: PathBuf) -> Self {
        Self { path, version: None, content: None }
    }

    fn version(&self) -> Option<(u64, i64, i64)> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
    }

    fn is_new(&self) -> bool {
        self.version() != self.version
    }

    /// What it says; of one that cannot be read, nothing.
    fn read(&mut self, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<&T> {
        let version = self.version();
        if version != self.version {
            self.version = version;
            self.content = fs::read(&self.path).ok().and_then(|bytes| parse(&bytes));
        }
        self.content.as_ref()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
