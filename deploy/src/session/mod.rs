//! One environment, opened: what every command of the program goes through. It wires config, targets, record and
//! journal together and holds no rules of its own.

mod apply;
mod ask;
mod clock;
mod ear;
mod error;
mod freeze;
mod images;
mod lease;
mod letters;
mod planning;
mod platform;
mod processes;
mod scribe;
mod targets;
mod vault;
mod view;
mod wanted;

use crate::{
    config::Loaded,
    event::Event,
    github::Outbox,
    plan::Plan,
    record::RecordStore,
    state::State,
    status::{FreezeStatus, HistoryEntry, LeaseStatus},
};
use pipeline::{
    name::Name,
    secret::{Redactor, Variables},
};
use std::{
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};
use vault::Vault;

pub use ask::{Answer, Asking, Listener};
pub use error::{Kind, SessionError};
pub use images::NeededImage;
pub use platform::{Lines, LogSource, Platform, Platforms};
pub use targets::Place;

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
    /// What tells this executable from any other build of it: a hash.
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
    platforms: Platforms,
    redactor: Redactor,
    vault: Vault,
    /// What happened before a rollout, for its journal.
    before: Mutex<Vec<pipeline::event::Event>>,
    /// What GitHub is to be told.
    outbox: Outbox,
    /// The run of a workflow that this is part of, as people open it.
    run_url: Option<String>,
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

/// Where the logs of units and migrations are, and what they are called.
#[derive(Debug, Clone)]
pub struct UnitLog {
    /// `api/0 (3f9a1c2b4d5e)`, `api/migration`.
    pub label: String,
    /// Where it is.
    pub source: LogSource,
}

impl Session {
    /// Opens an environment. Touches nothing yet. `root` is the project's root, absolute.
    pub fn open(
        root: PathBuf,
        loaded: Loaded,
        tool: Tool,
        platforms: Platforms,
        variables: Variables,
        redactor: Redactor,
    ) -> Self {
        let state = root.join(crate::STATE_FOLDER).join(loaded.environment.name.as_str());
        let outbox = Outbox::new(&state, loaded.environment.name.clone());
        let run_url = pipeline::github::run_url(&variables);
        let vault = Vault::new(root.clone(), vault::key_path(&state), variables, redactor.clone());
        Self {
            root,
            state,
            loaded,
            tool,
            platforms,
            redactor,
            vault,
            before: Mutex::default(),
            outbox,
            run_url,
        }
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

    fn mask(&self) -> Arc<dyn Fn(&str) -> String + Send + Sync> {
        let redactor = self.redactor.clone();
        Arc::new(move |text| redactor.mask(text).into_owned())
    }
}
