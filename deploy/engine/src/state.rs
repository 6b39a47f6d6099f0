//! The state of a rollout: what the engine remembers from one decision to the next. It is written down before anything
//! is done, so that a rollout can be taken up again by anyone.

mod observation;

use crate::{
    model::{Action, HookMoment, Intent, IntentId, Millis, UnitId},
    plan::Plan,
    reason::ReasonCode,
};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

pub use observation::{Command, Effect, Observation};

/// What the engine remembers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct State {
    /// Where the rollout is.
    pub phase: Phase,
    /// Where each service of the plan is.
    pub services: BTreeMap<Name, ServiceState>,
    /// Actions that are not on a unit and are done once.
    pub errands: Vec<Errand>,
    /// Intents that were asked for and whose outcome is not known yet.
    pub flights: BTreeMap<IntentId, Flight>,
    /// The number of the next intent.
    pub next_intent: u64,
    /// Failures of units and gates up to now, first to last.
    pub failures: Vec<Failure>,
    /// Failures of units that the rollout has not reached yet: they are started again, and not counted.
    #[serde(default)]
    pub ailments: Vec<Failure>,
    /// Whether the operator asked to stop at the next safe point.
    pub interrupted: bool,
    /// Whether something that runs can have been changed. Records of before this was written down count as if.
    #[serde(default = "has_begun")]
    pub begun: bool,
    /// Whether the operator asked to pause.
    #[serde(default)]
    pub pause: Pause,
    /// The wave that the rollout is in.
    #[serde(default)]
    pub wave: WaveState,
    /// When something last moved.
    pub progress_at: Millis,
}

/// Where a rollout is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Phase {
    /// Bundles are brought to the targets; nothing that runs has changed. → `Forward`; on a failure `Collecting`.
    Preparing,
    /// Units are replaced. → `Verifying` when all services are done; on a failure `Collecting`.
    Forward,
    /// The final gates run. → `Settling` (succeeded); on a failure `Collecting`.
    Verifying,
    /// The evidence of a failure is collected before anything is undone. → `Back`, or `Finished` (held).
    Collecting {
        /// What failed.
        cause: Failure,
        /// Whether it is rolled back after that, or held.
        hold: bool,
    },
    /// What stood before is brought back. → `Settling` (rolled back), or `Finished` (rollback failed, held).
    Back {
        /// Why.
        cause: Failure,
    },
    /// What stands now is written into the ledgers. → `Finished`.
    Settling {
        /// How it ends.
        outcome: Outcome,
    },
    /// It is over.
    Finished(Outcome),
}

/// How a rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// What was planned stands and is healthy.
    Succeeded,
    /// What stood before stands again.
    RolledBack {
        /// Why.
        cause: Failure,
    },
    /// It failed before anything that runs was changed: a bundle could not be brought, a port is taken, …
    Refused {
        /// Why.
        cause: Failure,
    },
    /// Everything was left as it is; a human decides.
    Held {
        /// Why.
        cause: Failure,
        /// Whether it was on the way back: then it is resumed on that way.
        back: bool,
    },
    /// What stood before could not be brought back; a human is needed.
    RollbackFailed {
        /// Why it was to be rolled back.
        cause: Failure,
        /// Why that failed.
        failure: Box<Failure>,
    },
}

/// A failure: of a unit, a gate or an action.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Failure {
    /// Why.
    pub reason: ReasonCode,
    /// Which unit, if it is a unit's.
    pub unit: Option<UnitId>,
    /// Which service, if it is a service's.
    pub service: Option<Name>,
    /// What happened, for people.
    pub message: String,
    /// When.
    pub at: Millis,
}

/// A stop that the operator asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pause {
    /// None was asked for.
    #[default]
    None,
    /// Nothing more is begun, and what is under way comes to its end. → `Reached`.
    Asked,
    /// Nothing is under way: it waits to be promoted. → `None`.
    Reached,
}

/// Where the current wave is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct WaveState {
    /// Its place among the waves of the plan, from 0.
    pub index: usize,
    /// Since when it is complete and under watch.
    pub soaking_since: Option<Millis>,
    /// Whether it waits for a human to promote it to the next wave.
    pub paused: bool,
    /// Waves up to this one, from 1, were promoted.
    pub promoted: u32,
}

/// Where one service is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServiceState {
    /// The batch that it is in, from 0.
    pub batch: usize,
    /// Since when the batch has been complete and is under watch.
    pub baking_since: Option<Millis>,
    /// Whether it is where it should be.
    pub done: bool,
    /// Whether it waits for a human to promote it to the next batch.
    #[serde(default)]
    pub paused: bool,
    /// Batches up to this one, from 1, were promoted.
    #[serde(default)]
    pub promoted: u32,
    /// The units it knows of.
    pub units: BTreeMap<UnitId, Track>,
}

/// Where one unit is, and since when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Track {
    /// Where it is.
    pub step: Step,
    /// Since when.
    pub since: Millis,
    /// Actions on it in a row that failed in a way that may pass.
    pub attempts: u32,
    /// No action on it before this moment.
    pub not_before: Millis,
    /// Whether it is taken away because it failed since it was last started.
    #[serde(default)]
    pub given_up: bool,
}

/// Where one unit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// It is to be started. → `Waiting`.
    Starting,
    /// It runs, out of traffic, and is to become healthy. → `Judging`, `Ready` or `Broken`.
    Waiting,
    /// It is judged by synthetic requests. → `Ready` or `Broken`.
    Judging,
    /// It is healthy, and gets traffic as soon as the strategy allows it. → `Admitting` or `Broken`.
    Ready,
    /// It is to get traffic. → `Serving`.
    Admitting,
    /// It takes traffic. → `Draining` or `Broken`.
    Serving,
    /// It is to be taken out of traffic. → `Drained`.
    Draining,
    /// It is out of traffic for good. → `Stopping`.
    Drained,
    /// It is to be stopped. → `Gone`.
    Stopping,
    /// It is not there. → `Starting`, if it is wanted.
    Gone,
    /// It failed, for this reason. → `Draining` or `Stopping`.
    Broken(ReasonCode),
}

/// An action that is not on a unit and is done once: bringing a bundle, verifying, collecting, committing.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Errand {
    /// What is to be done.
    pub action: Action,
    /// Whether it is done.
    pub done: bool,
    /// How often it failed in a way that may pass.
    pub attempts: u32,
    /// Not before this moment.
    pub not_before: Millis,
}

/// An intent whose outcome is not known yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Flight {
    /// What was asked for.
    pub intent: Intent,
    /// When.
    pub since: Millis,
}

impl Failure {
    /// The service that failed, by itself or by one of its units.
    pub fn of_service(&self) -> Option<&Name> {
        self.service.as_ref().or(self.unit.as_ref().map(|unit| &unit.service))
    }
}

impl State {
    /// The state of a rollout that has not begun.
    pub fn new(plan: &Plan, now: Millis) -> Self {
        let services = plan.services.iter().map(|service| (service.service.clone(), ServiceState::default()));
        Self {
            phase: Phase::Preparing,
            services: services.collect(),
            errands: Vec::new(),
            flights: BTreeMap::new(),
            next_intent: 1,
            failures: Vec::new(),
            ailments: Vec::new(),
            interrupted: false,
            begun: false,
            pause: Pause::None,
            wave: WaveState::default(),
            progress_at: now,
        }
    }

    /// How it ended, if it has.
    pub fn outcome(&self) -> Option<&Outcome> {
        match &self.phase {
            Phase::Finished(outcome) => Some(outcome),
            _ => None,
        }
    }

    /// Opens a rollout again that was held, or whose rollback failed: a human has decided to go on.
    pub fn reopen(&mut self) {
        let phase = match &self.phase {
            // What was brought stays brought, so that this leads on to where it was held.
            Phase::Finished(Outcome::Held { back: false, .. }) => Phase::Preparing,
            Phase::Finished(Outcome::Held { cause, back: true } | Outcome::RollbackFailed { cause, .. }) => {
                Phase::Back { cause: cause.clone() }
            }
            _ => return,
        };
        self.phase = phase;
        self.failures.clear();
        self.ailments.clear();
        self.wave.soaking_since = None;
        // To open it again is to go on.
        self.pause = Pause::None;
        // Gates and evidence are asked for anew; what is done once stays done.
        self.errands.retain(|errand| errand.done && is_done_once(&errand.action));
        for service in self.services.values_mut() {
            service.done = false;
            service.baking_since = None;
        }
    }

    /// Whether it waits for a human to promote it.
    pub fn is_paused(&self) -> bool {
        self.pause == Pause::Reached
            || self.wave.paused
            || self.services.values().any(|service| service.paused)
    }

    /// Whether the rollout is on the way back.
    pub fn is_back(&self) -> bool {
        matches!(
            self.phase,
            Phase::Back { .. }
                | Phase::Settling { outcome: Outcome::RolledBack { .. } | Outcome::Refused { .. } }
        )
    }
}

impl Phase {
    /// What the way back is called.
    pub const BACK: &'static str = "rolling back";

    /// Its name in events and logs.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Forward => "rolling out",
            Self::Verifying => "verifying",
            Self::Collecting { .. } => "collecting evidence",
            Self::Back { .. } => Self::BACK,
            Self::Settling { .. } => "settling",
            Self::Finished(_) => "finished",
        }
    }
}

impl Step {
    /// Its name in events and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Waiting => "waiting",
            Self::Judging => "judged",
            Self::Ready => "ready",
            Self::Admitting => "admitting",
            Self::Serving => "serving",
            Self::Draining => "draining",
            Self::Drained => "drained",
            Self::Stopping => "stopping",
            Self::Gone => "gone",
            Self::Broken(_) => "broken",
        }
    }
}

/// What a record says that does not say whether anything was begun.
fn has_begun() -> bool {
    true
}

/// Whether an errand is done once in a rollout, however often the rollout is opened again.
fn is_done_once(action: &Action) -> bool {
    matches!(
        action,
        Action::Prepare { .. }
            | Action::Migrate { .. }
            | Action::Hook { moment: HookMoment::BeforeDeploy, .. }
    )
}

#[cfg(test)]
mod tests;
