//! One environment, opened: what every command of the program goes through. It wires config, targets, record and
//! journal together and holds no rules of its own.

mod apply;
mod ask;
mod clock;
mod ear;
mod error;
mod freeze;
mod lease;
mod planning;
mod scribe;
mod vault;
mod view;
mod wanted;

use crate::{
    adapter::process::{Launch, PlannedBundle, ProcessPlan, ProcessTarget, protocol::CommitEntry},
    check::{Check, Probe},
    config::Loaded,
    event::Event,
    plan::{Plan, ServicePlan, Side},
    port::{Target, TargetSeen},
    record::RecordStore,
    state::State,
    status::{FreezeStatus, HistoryEntry, LeaseStatus},
};
use pipeline::{
    name::Name,
    secret::{Redactor, Variables},
};
use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use vault::Vault;

pub use ask::{Answer, Asking, Listener};
pub use error::{Kind, SessionError};

/// Who is told what happened.
pub type Events = Arc<dyn Fn(Event) + Send + Sync>;

/// The program itself, as it must be known to start its own background processes.
#[derive(Debug, Clone)]
pub struct Tool {
    /// Its version for people.
    pub version: String,
    /// Its executable: started as `<executable> __supervisor …` and `<executable> __router …`.
    pub executable: PathBuf,
    /// What people type to run it, for hints: `cargo xtask`.
    pub program: String,
    /// What tells this executable from any other: a hash of its bytes.
    pub build: String,
}

/// The rollout record of an environment.
type Store = RecordStore<Plan, State>;

/// One environment, opened.
pub struct Session {
    root: PathBuf,
    /// The environment's own folder of state.
    state: PathBuf,
    loaded: Loaded,
    tool: Tool,
    redactor: Redactor,
    vault: Vault,
    /// What happened before a rollout, for its journal.
    before: Mutex<Vec<pipeline::event::Event>>,
}

/// How a plan is carried out.
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    /// A failed rollout is held for inspection instead of being rolled back.
    pub keep_failed: bool,
    /// What is run, for the lease and the history: `deploy local`.
    pub command: String,
    /// Whether a rollback was asked for: then it is success.
    pub rollback_asked: bool,
    /// Whether a human has confirmed it by typing the environment's name: then it is carried out despite a freeze.
    pub confirmed: bool,
    /// How long it stays in a pause until it is promoted; none if it is left at once.
    pub wait: Option<Duration>,
}

/// What `lock` shows.
#[derive(Debug, Clone)]
pub struct Lock {
    /// The lease, if it is held.
    pub lease: Option<LeaseStatus>,
    /// Why nothing is deployed for now, if so.
    pub freeze: Option<FreezeStatus>,
    /// The lease for people, line by line, with what to do.
    pub lines: Vec<String>,
}

/// What `history` shows.
#[derive(Debug, Clone)]
pub struct History {
    /// Newest first.
    pub entries: Vec<HistoryEntry>,
    /// Why entries are missing above: each names a file.
    pub unreadable: Vec<String>,
}

/// Where the log files of units and migrations are, and what they are called.
#[derive(Debug, Clone)]
pub struct UnitLog {
    /// `api/0 (3f9a1c2b4d5e)`, `api/migration`.
    pub label: String,
    /// The file that grows; rotated parts have `.1`, `.2` appended.
    pub path: PathBuf,
}

impl Session {
    /// Opens an environment. Touches nothing yet. `root` is the project's root, absolute.
    pub fn open(root: PathBuf, loaded: Loaded, tool: Tool, variables: Variables, redactor: Redactor) -> Self {
        let state = root.join(crate::STATE_FOLDER).join(loaded.environment.name.as_str());
        let vault = Vault::new(root.clone(), vault::key_path(&state), variables, redactor.clone());
        Self { root, state, loaded, tool, redactor, vault, before: Mutex::default() }
    }

    /// Remembers what happened before a rollout: it is told first in the rollout's journal.
    pub fn remember(&self, event: &pipeline::event::Event) {
        if event.is_step() {
            self.before.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).push(event.clone());
        }
    }

    /// The environment's own folder of state.
    pub fn state_folder(&self) -> &std::path::Path {
        &self.state
    }

    fn store(&self) -> Store {
        RecordStore::open(self.state.join("record"))
    }

    fn environment(&self) -> &Name {
        &self.loaded.environment.name
    }

    /// The targets, ready to carry out a plan, or only to be observed.
    fn targets(&self, plan: Option<&Plan>) -> Result<BTreeMap<Name, Arc<dyn Target>>, SessionError> {
        let names = &self.loaded.environment.targets;
        if names.len() > 1 {
            let text =
                format!("environment `{}` has {} targets of kind `process`", self.environment(), names.len());
            return Err(SessionError::new(Kind::Usage, text)
                .hint("a machine is one target: keep one, and set `replicas` for more units"));
        }
        let mut targets: BTreeMap<Name, Arc<dyn Target>> = BTreeMap::new();
        for name in names.keys() {
            let launch = self.launch(name);
            let plan = plan.map(process_plan).unwrap_or_default();
            let target = ProcessTarget::new(launch, plan, Arc::new(self.vault.clone())).map_err(|error| {
                SessionError::new(Kind::State, format!("target {name} could not be opened")).because(error)
            })?;
            targets.insert(name.clone(), Arc::new(target));
        }
        Ok(targets)
    }

    /// The supervisor that a target of this environment needs.
    fn launch(&self, target: &Name) -> Launch {
        Launch {
            state_dir: self.state.clone(),
            environment: self.environment().clone(),
            target: target.clone(),
            executable: self.tool.executable.clone(),
            version: self.tool.build.clone(),
        }
    }

    /// What stands on every target.
    async fn standing(
        &self,
        targets: &BTreeMap<Name, Arc<dyn Target>>,
    ) -> Result<BTreeMap<Name, TargetSeen>, SessionError> {
        let mut standing = BTreeMap::new();
        for (name, target) in targets {
            let seen = target.observe().await.map_err(|error| {
                SessionError::new(Kind::State, format!("target {name} does not say what stands there"))
                    .because(error)
            })?;
            standing.insert(name.clone(), seen);
        }
        self.miss_ledger(&standing)?;
        Ok(standing)
    }

    /// A rollout that has succeeded here has left a ledger. One that is gone is not taken for an empty one: the next
    /// rollout would have nothing to return to.
    fn miss_ledger(&self, standing: &BTreeMap<Name, TargetSeen>) -> Result<(), SessionError> {
        if standing.values().any(|seen| seen.ledger.generation > 0) {
            return Ok(());
        }
        // What cannot be read is told by whoever needs it.
        let Ok(History { entries, .. }) = self.past() else { return Ok(()) };
        let Some(last) = entries.iter().find(|entry| entry.outcome == apply::SUCCEEDED) else {
            return Ok(());
        };
        let path = self.state.join("ledger.json");
        let text =
            format!("`{}` is gone, although release {} was deployed here", path.display(), last.release);
        let down = format!("{} down {}", self.program(), self.environment());
        Err(SessionError::new(Kind::State, text)
            .hint("put the file back from a copy")
            .hint(format!("without one: `{down}`, then remove {} and deploy anew", self.state.display())))
    }

    fn mask(&self) -> Arc<dyn Fn(&str) -> String + Send + Sync> {
        let redactor = self.redactor.clone();
        Arc::new(move |text| redactor.mask(text).into_owned())
    }
}

/// What the process target must know of a plan.
fn process_plan(plan: &Plan) -> ProcessPlan {
    let mut bundles = BTreeMap::new();
    let sides = plan.services.iter().flat_map(|service| {
        let brings = is_new(service);
        [(&service.from, false), (&service.to, plan.irreversible && brings)]
    });
    for (side, irreversible) in sides.filter_map(|(side, one_way)| Some((side.as_ref()?, one_way))) {
        let source = plan.sources.get(&side.bundle).cloned();
        let source = source.and_then(|source| Some((plan.bundles.get(&side.bundle)?.clone(), source)));
        let planned = PlannedBundle {
            entry: commit_entry(side, irreversible),
            host: side.host,
            health_path: health_path(&side.check),
            source,
        };
        // Where both sides are the same bundle, the goal counts.
        bundles.insert(side.bundle, planned);
    }
    let migration = |service: &ServicePlan| Some((service.service.clone(), service.migration.clone()?));
    let migrations = plan.services.iter().filter_map(migration).collect();
    ProcessPlan { bundles, migrations, keep: plan.policy.keep }
}

/// Whether a service gets another bundle than the one that stands.
fn is_new(service: &ServicePlan) -> bool {
    let bundle = |side: &Option<Side>| side.as_ref().map(|side| side.bundle);
    bundle(&service.from) != bundle(&service.to)
}

fn commit_entry(side: &Side, irreversible: bool) -> CommitEntry {
    CommitEntry {
        bundle: side.bundle,
        release: side.release.clone(),
        replicas: side.replicas,
        check: side.check.clone(),
        port: side.port,
        irreversible,
    }
}

fn health_path(check: &Check) -> Option<String> {
    match &check.probe {
        Probe::Http(http) if http.tls.is_none() => Some(http.path.clone()),
        Probe::Http(_) | Probe::Tcp | Probe::Command(_) => None,
    }
}
