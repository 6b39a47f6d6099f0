//! Looking at units that are processes of this machine.

use super::look::{File, Life, Look, now, standing, weights_of};
use crate::{
    processes::{Process, all_pids},
    sockets::{listening_sockets, ports_among},
    units::is_unit,
};
use engine::{bundle::BundleHash, ledger::Ledger, model::UnitId};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

/// Looks, and remembers what need not be read twice.
pub(super) struct ProcessEye {
    folder: PathBuf,
    /// What the environment keeps.
    environment: PathBuf,
    /// Units: pid and start → which.
    known: BTreeMap<(i32, u64), Life>,
    /// Units that were seen to listen at some time.
    heard: BTreeSet<(i32, u64)>,
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

impl ProcessEye {
    /// An eye for the units of the project in this folder.
    pub(super) fn new(folder: &Path, environment: PathBuf) -> Self {
        Self {
            folder: folder.to_owned(),
            environment,
            known: BTreeMap::new(),
            heard: BTreeSet::new(),
            targets: BTreeMap::new(),
        }
    }

    /// The folders of all targets: the environment's own, and those of targets with an address.
    fn find_targets(&mut self) {
        let folders = fs::read_dir(self.environment.join("targets")).into_iter().flatten().flatten();
        for folder in folders.map(|entry| entry.path()).chain([self.environment.clone()]) {
            self.targets.entry(folder.clone()).or_insert_with(|| Target::new(&folder));
        }
    }

    /// Looks once.
    pub(super) fn look(&mut self) -> Look {
        let (at, units) = (now(), self.units());
        self.find_targets();
        let (mut weights, mut ledgers) = (BTreeMap::new(), BTreeMap::new());
        for target in self.targets.values_mut() {
            let known = target.supervisor.read(|bytes| weights_of(&serde_json::from_slice(bytes).ok()?));
            weights.extend(known.cloned().unwrap_or_default());
            let ledger = target.ledger.read(|bytes| serde_json::from_slice::<Ledger>(bytes).ok());
            ledgers.extend(ledger.map(standing));
        }
        Look { at, units, weights, ledgers, blind: false }
    }

    /// Which processes are units takes a look at every process of the machine, which lasts on a busy one; whether they
    /// listen is asked afterwards, of all of them at once, so that what stopped meanwhile does not count beside what
    /// took its place.
    fn units(&mut self) -> BTreeMap<Life, bool> {
        let lives = self.lives();
        let sockets = listening_sockets();
        let mut units = BTreeMap::new();
        for (life, unit) in lives {
            let listens = !ports_among(life.0, &sockets).is_empty();
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

    /// The processes that are units: pid and start, and which.
    fn lives(&mut self) -> Vec<((i32, u64), Life)> {
        let mut lives = Vec::new();
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
            lives.push((life, unit));
        }
        lives
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
