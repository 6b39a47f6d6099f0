//! What a supervisor must know again after it was killed or replaced: `state.json`.

use super::{
    super::{folders::Folders, identity::Process, procfs},
    ROUTER_SUBCOMMAND, units,
};
use crate::{
    bundle::BundleHash,
    model::{Exit, Millis, UnitId},
};
use pipeline::{
    name::Name,
    store::{self, Format, ReadError},
};
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// The document's format.
const FORMAT: Format = Format { what: "supervisor's state", version: 1 };

/// Why the state cannot be used. Running units may be in it, so it is never taken for an empty one.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// Damaged.
    #[error(
        "cannot tell which units run: put the file back from a copy; without one, end by hand what runs, remove the file \
         and deploy again"
    )]
    Damaged(#[source] ReadError),
    /// It cannot be opened, or was written by a newer Fairlead.
    #[error("cannot tell which units run")]
    Unusable(#[source] ReadError),
    /// There is none, and yet units or a router run.
    #[error(
        "`{}` is gone, and processes that it told of still run: put it back from a copy, or end them (`kill {}`) and try again", 
        .path.display(), numbers(.processes)
    )]
    Gone {
        /// Its file.
        path: PathBuf,
        /// What runs.
        processes: Vec<u32>,
    },
}

/// All that outlives the supervisor.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct State {
    /// Format version.
    version: u32,
    /// The run of the machine that processes below belong to.
    pub(crate) boot_id: String,
    /// The highest generation seen.
    pub(crate) generation: u64,
    /// Every unit that is not forgotten.
    pub(crate) units: BTreeMap<UnitId, Unit>,
    /// The migration of each service that runs, or that ended without having succeeded.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) migrations: BTreeMap<Name, Migration>,
    /// Ports by unit, also of units that stopped: a unit that comes back gets the environment that it had.
    pub(crate) ports: BTreeMap<UnitId, u16>,
    /// Stable ports that are held, by service.
    pub(crate) listening: BTreeMap<Name, Listening>,
    /// The router that was started last.
    pub(crate) router: Option<RouterRecord>,
    /// Routers before it that still answer what they were asked.
    pub(crate) retiring: Vec<RouterRecord>,
    /// A router that is about to be started, without its process. Written before that exists: whoever reads it ends the
    /// process if there is one, which has no socket yet.
    #[serde(default)]
    pub(crate) starting: Option<RouterRecord>,
}

/// What is known of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Unit {
    /// The release that it was started with.
    pub(crate) release: String,
    /// Its port on the loopback address.
    pub(crate) port: u16,
    /// Its share of its service's traffic.
    pub(crate) weight: u16,
    /// When it was started.
    pub(crate) started_at: Millis,
    /// Resident memory of all its processes, in bytes, above which it is ended.
    pub(crate) memory_max_bytes: Option<u64>,
    /// Whether it was ended for that.
    pub(crate) out_of_memory: bool,
    /// What its process was called, once it has ended: evidence belongs to that life.
    #[serde(default)]
    pub(crate) ended: String,
    /// Where it is in its life.
    pub(crate) life: Life,
}

/// One run of the migration of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Migration {
    /// The release that it belongs to.
    pub(crate) release: String,
    /// The bundle that it runs from.
    pub(crate) bundle: BundleHash,
    /// The generation that asked for it first.
    pub(crate) generation: u64,
    /// When it was started.
    pub(crate) started_at: Millis,
    /// The longest that it may run, in milliseconds.
    pub(crate) timeout: Millis,
    /// Resident memory of all its processes, in bytes, above which it is ended.
    pub(crate) memory_max_bytes: Option<u64>,
    /// Whether it was ended for that.
    pub(crate) out_of_memory: bool,
    /// Why it was told to end, if it was: then it has not succeeded, however it ended.
    pub(crate) ended_for: Option<String>,
    /// Where it is in its life.
    pub(crate) life: Life,
}

/// Where a unit or a migration is in its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Life {
    /// About to be started. Written before the process exists: whoever reads it looks whether one does.
    Starting,
    /// Its process runs.
    Running(Process),
    /// It was told to stop.
    Stopping {
        /// Its process.
        process: Process,
        /// When it is ended by force.
        kill_at: Millis,
    },
    /// It ended without being told to.
    Exited(Exit),
}

/// A stable port that is held.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct Listening {
    /// Its address.
    pub(crate) host: IpAddr,
    /// Its port.
    pub(crate) port: u16,
    /// The path that the router may ask of its units.
    pub(crate) health_path: Option<String>,
}

impl Listening {
    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        SocketAddr::new(self.host, self.port)
    }
}

/// A router process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) struct RouterRecord {
    /// Its process, if it has one of its own.
    pub(crate) process: Option<Process>,
    /// Its control socket.
    pub(crate) socket: PathBuf,
    /// The version of its executable.
    pub(crate) version: String,
}

impl RouterRecord {
    /// Whether its process is known to have ended.
    pub(super) fn has_ended(&self) -> bool {
        self.process.is_some_and(|process| process.ended().is_some())
    }
}

impl Unit {
    /// Its process, while it has one.
    pub(crate) fn process(&self) -> Option<Process> {
        self.life.process()
    }
}

impl Migration {
    /// Its process, while it has one.
    pub(super) fn process(&self) -> Option<Process> {
        self.life.process()
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        matches!(self.life, Life::Exited(_))
    }

    /// Whether it has ended as it should.
    pub(super) fn has_succeeded(&self) -> bool {
        let exited_well = matches!(self.life, Life::Exited(Exit { code: Some(0), .. }));
        exited_well && self.ended_for.is_none()
    }

    /// Whether both tell of one run.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        (&self.release, self.started_at) == (&other.release, other.started_at)
    }
}

impl Life {
    /// The process, while there is one.
    pub(crate) fn process(&self) -> Option<Process> {
        match *self {
            Self::Running(process) | Self::Stopping { process, .. } => Some(process),
            Self::Starting | Self::Exited(_) => None,
        }
    }
}

impl State {
    /// Reads the state; one that was never written is empty.
    ///
    /// # Errors
    /// When it is damaged, newer, or gone while units or a router run.
    pub(crate) fn read(folders: &Folders) -> Result<Self, StateError> {
        match store::read_json_if_exists(&folders.state(), FORMAT) {
            Ok(Some(state)) => Ok(state),
            Ok(None) => {
                let processes = left_running(folders);
                if !processes.is_empty() {
                    return Err(StateError::Gone { path: folders.state(), processes });
                }
                Ok(Self { version: FORMAT.version, ..Self::default() })
            }
            Err(error @ ReadError::Malformed { .. }) => Err(StateError::Damaged(error)),
            Err(error) => Err(StateError::Unusable(error)),
        }
    }

    /// Writes the state.
    pub(super) fn write(&self, folders: &Folders) -> io::Result<()> {
        store::write_json(&folders.state(), &Self { version: FORMAT.version, ..self.clone() }, store::PRIVATE)
    }

    /// The state with what another run of the machine left in it taken out.
    pub(crate) fn after_boot(mut self, boot_id: &str) -> Self {
        if self.boot_id != boot_id {
            self.units.clear();
            self.migrations.clear();
            self.router = None;
            self.retiring.clear();
            self.starting = None;
            boot_id.clone_into(&mut self.boot_id);
        }
        self
    }

    /// The processes of all units, migrations and routers on record; whether they still run is another question.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Process> {
        let routers = self.router.iter().chain(&self.retiring).filter_map(|router| router.process);
        let migrations = self.migrations.values().filter_map(Migration::process);
        self.units.values().filter_map(Unit::process).chain(migrations).chain(routers)
    }

    /// Whether something was about to be started whose process, if it has one, is not on record.
    pub(crate) fn is_unsure(&self) -> bool {
        self.starting.is_some() || self.units.values().any(|unit| unit.life == Life::Starting)
    }

    /// The bundles that units and migrations run from.
    pub(super) fn bundles(&self) -> BTreeSet<BundleHash> {
        let migrations = self.migrations.values().filter(|run| !run.is_over()).map(|run| run.bundle);
        self.units.keys().map(|unit| unit.bundle).chain(migrations).collect()
    }
}

/// Units, migrations and routers of this environment that run, found without any record of them.
fn left_running(folders: &Folders) -> Vec<u32> {
    let units = procfs::processes_under(&folders.bundles()).into_iter();
    let marks = [units::MARK, units::MIGRATION_MARK];
    let units = units.filter(|pid| marks.iter().any(|mark| procfs::has_variable(*pid, mark)));
    let routers = procfs::processes_under(&folders.executables()).into_iter();
    let routers = routers.filter(|pid| procfs::has_argument(*pid, ROUTER_SUBCOMMAND));
    units.chain(routers).collect()
}

fn numbers(processes: &[u32]) -> String {
    processes.iter().map(u32::to_string).collect::<Vec<_>>().join(" ")
}
