//! The environment, checked: project and environment file made one.

pub use super::file::{FailurePolicy, ScanNeed, StrategyKind, TargetKind};
use crate::{
    bundle::Limits,
    check::Check,
    model::{HookMoment, Millis},
    plan::Hook,
};
use pipeline::{
    config::{
        file::{ArtifactSource, FileSection},
        image::ImageSource,
        scalar::{EngineAddress, ShareKind},
    },
    name::Name,
    secret::SecretRef,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, net::IpAddr};

/// Everything that a rollout must know of where it goes. Consistent: see [`super::resolve`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Environment {
    /// Its name.
    pub name: Name,
    /// Whether only a release of a clean tree may come here.
    pub protected: bool,
    /// Whether a release must have been scanned; where `protected`, it must.
    #[serde(default)]
    pub scan: ScanNeed,
    /// Whether GitHub is told of the rollouts here.
    #[serde(default)]
    pub github: bool,
    /// Where people find what was deployed.
    #[serde(default)]
    pub url: Option<String>,
    /// Where units stand: at least one, all of one kind. No two hold the stable ports on the same address.
    pub targets: BTreeMap<Name, Target>,
    /// Groups of targets, one after the other; none: all are reached together. Each target is in one of them, each has a
    /// name of its own and at least one target, and the last does not pause.
    pub waves: Vec<Wave>,
    /// How units are replaced.
    pub strategy: Strategy,
    /// How long the rollout's own steps may take.
    pub timings: Timings,
    /// The lock.
    pub lease: Lease,
    /// What must hold, besides the checks, before a rollout succeeds.
    pub gates: Gates,
    /// What is run at which moment of a rollout, in order; only moments that have any.
    pub hooks: BTreeMap<HookMoment, Vec<Hook>>,
    /// How many bundles of each service a target keeps besides the current one.
    pub keep_releases: u16,
    /// The services.
    pub services: BTreeMap<Name, EffectiveService>,
}

impl Environment {
    /// Whether its targets run images, and not executables.
    pub fn runs_images(&self) -> bool {
        self.targets.values().any(|target| target.kind.runs_images())
    }
}

/// A place where units stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Target {
    /// What it is.
    pub kind: TargetKind,
    /// The address that it holds the stable ports on; `None`: each service's own.
    pub host: Option<IpAddr>,
    /// The Docker engine, of a target that is one; `None`: the one of this machine.
    pub engine: Option<EngineAddress>,
}

/// A group of targets that a rollout reaches together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Wave {
    /// Its name.
    pub name: Name,
    /// Its targets.
    pub targets: Vec<Name>,
    /// Milliseconds under watch once it is complete.
    pub soak: Millis,
    /// How many units may fail on its targets; `None`: no limit of its own.
    pub failure_limit: Option<u16>,
    /// Whether the rollout is paused after it.
    pub pause: bool,
}

/// How units are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Strategy {
    /// The way of replacing.
    pub kind: StrategyKind,
    /// How many units of each service are new after each batch; not falling, and the last covers all.
    pub batches: Vec<ShareKind>,
    /// How many units of a service may run above its number. Not 0 together with `max_unavailable` when rolling.
    pub max_surge: u16,
    /// How many units of a service may be missing.
    pub max_unavailable: u16,
    /// How many units of each service are canaries; at least one.
    pub canary_units: u16,
    /// The canaries' share of the traffic at each step, in per cent, 1 to 99; it grows.
    pub canary_steps: Vec<u8>,
    /// Batches, from 1, after which the rollout is paused.
    pub pause_after: Vec<u16>,
    /// How many units may fail before the rollout has failed.
    pub failure_limit: u16,
    /// What is done then.
    pub on_failure: FailurePolicy,
}

/// How long the rollout's own steps may take, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Timings {
    /// The longest time without any progress.
    pub progress_deadline: Millis,
    /// The longest that a unit gets to answer what it was asked, once it is out of traffic.
    pub drain: Millis,
    /// From telling a unit to stop until it is ended by force.
    pub stop_grace: Millis,
    /// How long each batch is watched.
    pub bake: Millis,
}

/// The lock, in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lease {
    /// How long it lasts without being renewed.
    pub ttl: Millis,
    /// How often it is renewed; at most half of `ttl`.
    pub heartbeat: Millis,
}

/// What must hold, besides the checks, before a rollout succeeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Gates {
    /// By the requests that new units get in the bake.
    pub traffic: Option<Thresholds>,
    /// By requests that Fairlead makes before they get traffic.
    pub synthetic: Option<SyntheticGate>,
    /// By tests against the deployed services at the end.
    pub smoke: Option<SmokeGate>,
}

/// What a gate over requests tolerates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Thresholds {
    /// The largest share of requests that may fail, from 0 to 1.
    pub max_error_rate: f64,
    /// The largest share of requests that may be slow, from 0 to 1.
    pub max_slow_rate: f64,
    /// What is slow, in milliseconds.
    pub slow_above: Millis,
    /// Fewer requests than this are no evidence.
    pub min_requests: u32,
}

/// A gate by requests that Fairlead makes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SyntheticGate {
    /// What is asked, by service: paths of HTTP GETs, never none.
    pub paths: BTreeMap<Name, Vec<String>>,
    /// How many requests each unit gets; at least `thresholds.min_requests`.
    pub requests: u32,
    /// What is tolerated.
    pub thresholds: Thresholds,
}

/// A gate by tests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct SmokeGate {
    /// Program and arguments, no shell.
    pub command: Vec<String>,
    /// Variables of the command.
    pub env: BTreeMap<String, String>,
    /// The longest that it may take, in milliseconds.
    pub timeout: Millis,
}

/// A service as it is in this environment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct EffectiveService {
    /// The executable that a unit runs; never `None` where the targets run executables.
    pub artifact: Option<ArtifactSource>,
    /// What the image is made of that a unit runs; never `None` where the targets run images.
    pub image: Option<ImageSource>,
    /// Arguments after the executable.
    pub args: Vec<String>,
    /// How many units.
    pub replicas: u16,
    /// The stable port, which no other service of the environment has.
    pub port: u16,
    /// The address that the stable port is bound to.
    pub host: IpAddr,
    /// The variable that tells a unit its own port.
    pub port_env: String,
    /// The variable that tells a unit the address to listen on.
    pub host_env: Option<String>,
    /// Variables of the units. None has the name of any other variable that units are given.
    pub env: BTreeMap<String, String>,
    /// Config files by the name that they get.
    pub files: BTreeMap<String, FileSection>,
    /// Secrets by name.
    pub secrets: BTreeMap<String, SecretRef>,
    /// Whether units get secrets as variables instead of files.
    pub secret_env: bool,
    /// Limits of each unit.
    pub limits: Limits,
    /// How a unit is known to be healthy.
    pub check: Check,
    /// Services that are rolled out before this one.
    pub depends_on: Vec<Name>,
    /// What is run once for each release before any of its units is started.
    pub migration: Option<Migration>,
}

/// A one-shot step of each release of a service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Migration {
    /// What the service's executable gets in the place of a unit's arguments; never empty.
    pub args: Vec<String>,
    /// The longest that it may take, in milliseconds; above 0.
    pub timeout: Millis,
    /// Whether what stood before still works after it.
    pub reversible: bool,
}
