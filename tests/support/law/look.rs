//! What is seen at one look, and what a judge is shown of it.

use engine::{
    bundle::BundleHash,
    law::{Moment, UnitNow},
    ledger::Ledger,
    model::UnitId,
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
    time::{SystemTime, UNIX_EPOCH},
};

/// Which unit a process or a container is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Life {
    pub(super) service: Name,
    pub(super) slot: u16,
    pub(super) bundle: BundleHash,
    /// Its target, where that is known from outside.
    pub(super) target: Option<Name>,
}

/// What a ledger says of each service: what stands.
pub(super) type Standing = BTreeMap<Name, BundleHash>;

/// One look.
#[derive(Debug, Clone)]
pub(super) struct Look {
    /// Milliseconds since the epoch.
    pub(super) at: u64,
    /// Each unit that runs → whether it was told to stop.
    pub(super) units: BTreeMap<Life, bool>,
    /// Share of the traffic of each unit that a target knows of, and so on which target it stands.
    pub(super) weights: BTreeMap<UnitId, u16>,
    /// What each target wrote down.
    pub(super) ledgers: BTreeMap<Name, Standing>,
    /// Whether nobody could look: what is said is of before.
    pub(super) blind: bool,
}

/// Milliseconds since the epoch.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

/// What stands by a ledger, and on which target.
pub(super) fn standing(ledger: &Ledger) -> (Name, Standing) {
    let services = ledger.services.iter();
    let current = services.map(|(name, standing)| (name.clone(), standing.current.bundle));
    (ledger.target.clone(), current.collect())
}

/// The plan of the rollout that is open, by the record.
pub(super) struct Record(File<Value>);

impl Record {
    pub(super) fn new(state: &Path, environment: &str) -> Self {
        Self(File::new(state.join(environment).join("record/record.json")))
    }

    /// The plan, if it may be another than at the last look.
    pub(super) fn new_plan(&mut self) -> Option<Plan> {
        let is_new = self.0.is_new();
        let record = self.0.read(|bytes| serde_json::from_slice(bytes).ok()).filter(|_| is_new)?;
        Plan::deserialize(&record["open"]["plan"]).ok()
    }
}

/// What a judge is shown: the looks, with the targets of this plan.
pub(super) fn moments(plan: &Plan, looks: &[Look]) -> Vec<Moment> {
    let targets: BTreeSet<&Name> = plan.services.iter().flat_map(|service| &service.targets).collect();
    let moment = |look: &Look| {
        let mut moment = Moment { at: look.at, ..Moment::default() };
        if look.blind {
            moment.unreachable = targets.iter().map(|target| (*target).clone()).collect();
        }
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

/// Unit → its share of the traffic, by the state of a supervisor or of a target on an engine.
pub(super) fn weights_of(state: &Value) -> Option<BTreeMap<UnitId, u16>> {
    let units = state["units"].as_object()?.iter();
    let weight = |(id, unit): (&String, &Value)| {
        let weight = unit["weight"].as_u64().and_then(|weight| u16::try_from(weight).ok())?;
        Some((UnitId::try_from(id.clone()).ok()?, weight))
    };
    units.map(weight).collect()
}

/// A file that is read again only when another one was put in its place, or it was written to.
pub(super) struct File<T> {
    path: PathBuf,
    version: Option<(u64, i64, i64)>,
    content: Option<T>,
}

impl<T> File<T> {
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, version: None, content: None }
    }

    fn version(&self) -> Option<(u64, i64, i64)> {
        let metadata = fs::metadata(&self.path).ok()?;
        Some((metadata.ino(), metadata.mtime(), metadata.mtime_nsec()))
    }

    pub(super) fn is_new(&self) -> bool {
        self.version() != self.version
    }

    /// What it says; of one that cannot be read, nothing.
    pub(super) fn read(&mut self, parse: impl FnOnce(&[u8]) -> Option<T>) -> Option<&T> {
        let version = self.version();
        if version != self.version {
            self.version = version;
            self.content = fs::read(&self.path).ok().and_then(|bytes| parse(&bytes));
        }
        self.content.as_ref()
    }
}
