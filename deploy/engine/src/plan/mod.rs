//! The plan: everything frozen before acting, so that nothing is left to choose while it is carried out. Pure.

mod build;
mod fleet;

pub use build::{Request, Wanted, WantedMigration, build, changed_since, preconditions};
pub use fleet::{Disagreement, disagreement, merged};

use crate::{
    bundle::{Bundle, BundleHash, BundleSource},
    check::{Check, SmokeGate, SyntheticGate},
    model::{HookMoment, Millis, UnitId},
    strategy::Strategy,
};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
};

/// Everything that one rollout will do, frozen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Plan {
    /// Format version; see [`Plan::FORMAT`].
    pub version: u32,
    /// The run that it is for: names journal, dossier and history entry.
    pub run: String,
    /// The project.
    pub project: Name,
    /// The environment.
    pub environment: Name,
    /// Whether this brings something new or returns to what stood before.
    pub kind: PlanKind,
    /// The release that is to stand.
    pub release: String,
    /// The version of Fairlead that made it.
    pub tool_version: String,
    /// When it was made.
    pub created_at: jiff::Timestamp,
    /// After this it is refused.
    pub expires_at: jiff::Timestamp,
    /// What differs from the files: key → value and where it came from.
    pub overrides: Vec<Override>,
    /// What the operator should know before it is carried out.
    pub risks: Vec<Risk>,
    /// What changes, in the order of `depends-on`.
    pub services: Vec<ServicePlan>,
    /// Groups of targets, one after the other; none: all targets are one wave. Each target is in one of them.
    #[serde(default)]
    pub waves: Vec<Wave>,
    /// Whether what stood before cannot be brought back once something that runs was changed, or a migration was begun:
    /// a failure after that holds.
    #[serde(default)]
    pub irreversible: bool,
    /// Services that already stand as they should.
    pub unchanged: Vec<Name>,
    /// What applies to the whole rollout.
    pub policy: Policy,
    /// What must still hold when it is carried out.
    pub preconditions: Vec<Precondition>,
    /// Each bundle named above.
    pub bundles: BTreeMap<BundleHash, Bundle>,
    /// Where the new bundles' parts come from; empty for what already is on the targets.
    pub sources: BTreeMap<BundleHash, BundleSource>,
}

/// What a plan is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PlanKind {
    /// To bring a release.
    Deploy,
    /// To return to bundles that stood before.
    Rollback,
}

/// A configuration value that does not come from the files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Override {
    /// The key, dotted.
    pub key: String,
    /// The value; `***` for what may be secret.
    pub value: String,
    /// Where it came from: `--set` or the variable's name.
    pub origin: String,
}

/// Something that the operator should know before a plan is carried out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Risk {
    /// The service, or none for the whole environment.
    pub service: Option<Name>,
    /// What it is, in one sentence.
    pub message: String,
}

/// A field that a plan rests on, as it was seen when the plan was made.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Precondition {
    /// Which field of what, e.g. `target local: service api: current bundle`.
    pub field: String,
    /// Its value then.
    pub value: String,
}

/// What applies to a whole rollout.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Policy {
    /// Unit failures that are tolerated; one more ends the rollout.
    pub failure_limit: u32,
    /// What happens then.
    pub on_failure: OnFailure,
    /// Milliseconds without any progress after which the rollout fails.
    pub progress_deadline: Millis,
    /// The smoke tests that run before the rollout is committed.
    pub smoke: Option<SmokeGate>,
    /// How a healthy unit is judged by synthetic requests before it gets traffic, where its service has any.
    pub synthetic: Option<RateLimits>,
    /// Whether units are judged by the router's counters while they bake, and how.
    pub traffic: Option<RateLimits>,
    /// Batches, from 1, after which the rollout is paused until it is promoted.
    #[serde(default)]
    pub pause_after: BTreeSet<u32>,
    /// What is run on the machine that runs the rollout, one after the other at each moment.
    #[serde(default)]
    pub hooks: BTreeMap<HookMoment, Vec<Hook>>,
    /// Bundles kept on each target besides the current one.
    pub keep: usize,
}

/// A group of targets that a rollout reaches together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wave {
    /// What it is called: a region, `canary`, `rest`.
    pub name: Name,
    /// Its targets.
    pub targets: Vec<Name>,
    /// Milliseconds under watch after its last batch, before the next wave begins or the rollout ends.
    pub soak: Millis,
    /// Unit failures that are tolerated on its targets, besides the limit of the whole rollout; `None`: no limit of its own.
    pub failure_limit: Option<u32>,
    /// Whether the rollout is paused after it, until it is promoted. Not after the last.
    pub pause: bool,
}

/// A command that is run at a certain moment of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Hook {
    /// Program and arguments; no shell.
    pub command: Vec<String>,
    /// Variables of the command, besides those that tell of the rollout.
    pub env: BTreeMap<String, String>,
    /// The longest that it may take, in milliseconds.
    pub timeout: Millis,
}

/// A one-shot step of a service: run inside the new bundle, once per release, before any of its units is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Migration {
    /// The arguments that the service's own executable gets, instead of those of a unit.
    pub args: Vec<String>,
    /// The longest that it may take, in milliseconds.
    pub timeout: Millis,
}

/// What happens when a rollout fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// What stood before is brought back.
    RollBack,
    /// Everything is left as it is for a human to decide.
    Hold,
}

/// How many failed and slow requests are acceptable.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct RateLimits {
    /// Fewer requests than this say nothing.
    pub min_requests: u64,
    /// The largest acceptable share of failed requests, 0 to 1.
    pub max_error_rate: f64,
    /// The largest acceptable share of slow requests, 0 to 1.
    pub max_slow_rate: f64,
    /// What is slow, in milliseconds.
    pub slow_above: Millis,
}

/// What changes for one service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServicePlan {
    /// The service.
    pub service: Name,
    /// Services of this plan that must be done before this one begins.
    pub depends_on: Vec<Name>,
    /// The targets, in the order in which they are reached: wave by wave.
    pub targets: Vec<Name>,
    /// How its units are replaced.
    pub strategy: Strategy,
    /// What stands now; `None`: nothing does.
    pub from: Option<Side>,
    /// What is to stand; `None`: the service is taken away.
    pub to: Option<Side>,
    /// What is different, for people.
    pub changes: Vec<Change>,
    /// What is run once before its units are replaced; `None`: nothing, or it was run for this release already.
    #[serde(default)]
    pub migration: Option<Migration>,
    /// Synthetic requests to each new unit before it gets traffic.
    pub synthetic: Option<SyntheticGate>,
    /// Milliseconds under watch after each batch.
    pub bake: Millis,
    /// Milliseconds that a unit may take to answer what it was asked before it is stopped.
    pub drain: Millis,
    /// Milliseconds from SIGTERM to SIGKILL.
    pub stop_grace: Millis,
}

/// One side of a change: what stands, or is to stand, for a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Side {
    /// The bundle.
    pub bundle: BundleHash,
    /// The release that brought it.
    pub release: String,
    /// Units on each target.
    pub replicas: u16,
    /// How its units are checked.
    pub check: Check,
    /// The address on which the stable port is held.
    pub host: IpAddr,
    /// The stable port.
    pub port: u16,
    /// Targets of the service on which nothing of it stands: they have joined since.
    #[serde(default)]
    pub absent: BTreeSet<Name>,
}

/// One difference between the two sides of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Change {
    /// What changes: `artifact`, `env LOG_LEVEL`, `file api.conf`, `secret HF_TOKEN`, `replicas`, …
    pub field: String,
    /// Before; `None`: there was none.
    pub from: Option<String>,
    /// After; `None`: there is none.
    pub to: Option<String>,
}

impl Plan {
    /// The format this version writes; older is read, newer is refused.
    pub const FORMAT: u32 = 1;

    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.services.is_empty()
    }

    /// How many waves there are; at least one.
    pub fn wave_count(&self) -> usize {
        self.waves.len().max(1)
    }

    /// The place of the wave that reaches a target, from 0.
    pub fn wave_of(&self, target: &Name) -> usize {
        self.waves.iter().position(|wave| wave.targets.contains(target)).unwrap_or(0)
    }

    /// A service on the targets of one wave alone: its own bounds, batches and units.
    pub fn in_wave<'a>(&self, service: &'a ServicePlan, index: usize) -> Cow<'a, ServicePlan> {
        if self.waves.len() <= 1 {
            return Cow::Borrowed(service);
        }
        let mut scoped = service.clone();
        scoped.targets.retain(|target| self.wave_of(target) == index);
        Cow::Owned(scoped)
    }

    /// The plan of a service, if it changes.
    pub fn service(&self, name: &Name) -> Option<&ServicePlan> {
        self.services.iter().find(|service| service.service == *name)
    }
}

impl Side {
    /// Whether it stands, or is to stand, on a target of its service.
    pub fn stands_on(&self, target: &Name) -> bool {
        !self.absent.contains(target)
    }
}

impl ServicePlan {
    /// The units of one side, in the order in which they are replaced: slot by slot over all targets.
    pub fn units_of(&self, side: Option<&Side>) -> Vec<UnitId> {
        let Some(side) = side else { return Vec::new() };
        let slots = 0..side.replicas;
        slots
            .flat_map(|slot| {
                let targets = self.targets.iter().filter(|target| side.stands_on(target));
                targets.map(move |target| UnitId {
                    service: self.service.clone(),
                    target: target.clone(),
                    slot,
                    bundle: side.bundle,
                })
            })
            .collect()
    }

    /// How many units a side has.
    pub fn count_of(&self, side: Option<&Side>) -> u32 {
        side.map_or(0, |side| {
            let targets = self.targets.iter().filter(|target| side.stands_on(target)).count();
            u32::from(side.replicas) * targets as u32
        })
    }

    /// How many batches the way forward has.
    pub fn batches(&self) -> usize {
        let is_replaced = |from: &&Side| self.to.as_ref().is_none_or(|to| to.bundle != from.bundle);
        let replaced = self.count_of(self.from.as_ref().filter(is_replaced));
        self.strategy.batches(self.count_of(self.to.as_ref()), replaced)
    }

    /// The least number of available units at any moment (law 4).
    pub fn available_min(&self) -> u32 {
        let desired = self.count_of(self.from.as_ref()).min(self.count_of(self.to.as_ref()));
        desired.saturating_sub(self.strategy.max_unavailable(desired))
    }

    /// The greatest number of running units at any moment (law 4).
    pub fn running_max(&self) -> u32 {
        let desired = self.count_of(self.from.as_ref()).max(self.count_of(self.to.as_ref()));
        desired + self.strategy.max_surge(desired)
    }

    /// How a unit of this service is checked: as its own side says.
    pub fn check_of(&self, unit: &UnitId) -> Option<&Check> {
        let sides = [self.to.as_ref(), self.from.as_ref()];
        sides.into_iter().flatten().find(|side| side.bundle == unit.bundle).map(|side| &side.check)
    }
}
