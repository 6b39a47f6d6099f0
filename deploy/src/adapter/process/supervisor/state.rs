//! What a supervisor must know again after it was killed or replaced: `state.json`.

use super::super::{folders::Folders, identity::Process};
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
    /// Ports by unit, also of units that stopped: a unit that comes back gets the environment that it had.
    pub(crate) ports: BTreeMap<UnitId, u16>,
    /// Stable ports that are held, by service.
    pub(crate) listening: BTreeMap<Name, Listening>,
    /// The router that was started last.
    pub(crate) router: Option<RouterRecord>,
    /// Routers before it that still answer what they were asked.
    pub(crate) retiring: Vec<RouterRecord>,
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

/// Where a unit is in its life.
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
        match self.life {
            Life::Running(process) | Life::Stopping { process, .. } => Some(process),
            Life::Starting | Life::Exited(_) => None,
        }
    }
}

impl State {
    /// Reads the state; one that was never written is empty.
    ///
    /// # Errors
    /// When it is damaged or newer: running units may be in it, so it is never taken for empty.
    pub(crate) fn read(folders: &Folders) -> Result<Self, ReadError> {
        let state = store::read_json_if_exists(&folders.state(), FORMAT)?;
        Ok(state.unwrap_or_else(|| Self { version: FORMAT.version, ..Self::default() }))
    }

    /// Writes the state.
    pub(super) fn write(&self, folders: &Folders) -> io::Result<()> {
        store::write_json(&folders.state(), &Self { version: FORMAT.version, ..self.clone() }, store::PRIVATE)
    }

    /// The state with what another run of the machine left in it taken out.
    pub(crate) fn after_boot(mut self, boot_id: &str) -> Self {
        if self.boot_id != boot_id {
            self.units.clear();
            self.router = None;
            self.retiring.clear();
            boot_id.clone_into(&mut self.boot_id);
        }
        self
    }

    /// The processes of all units and routers on record; whether they still run is another question.
    pub(crate) fn processes(&self) -> impl Iterator<Item = Process> {
        let routers = self.router.iter().chain(&self.retiring).filter_map(|router| router.process);
        self.units.values().filter_map(Unit::process).chain(routers)
    }

    /// The bundles that units run from.
    pub(super) fn bundles(&self) -> BTreeSet<BundleHash> {
        self.units.keys().map(|unit| unit.bundle).collect()
    }
}
