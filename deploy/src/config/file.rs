//! `deploy/environments/NAME.toml` as it is written. The comments here are what editors show, and what the reference
//! is made of.

use super::defaults;
use pipeline::{
    config::{
        file::{CheckTimings, FileSection},
        scalar::{Address, ByteSize, EngineAddress, EnvName, FileName, HttpPath, Share, Span, WebUrl},
    },
    name::Name,
    secret::SecretRef,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// One environment: where the project's services go, how they get there, and what must hold before they may stay.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "deploy/environments/NAME.toml")]
pub struct EnvironmentFile {
    /// Version of this file's format; this version of Fairlead reads 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// Whether only a release of a clean tree may come here, by its manifest, planned first and confirmed.
    #[serde(default)]
    pub protected: bool,
    /// Whether a release must have been scanned to come here, where the project scans at all (`stages.scan`).
    #[serde(default)]
    pub scan: ScanNeed,
    /// Whether GitHub is told of the rollouts here, as deployments of an environment of this name.
    #[serde(default)]
    pub github: bool,
    /// Where people find what was deployed, as GitHub shows it beside a deployment.
    pub url: Option<WebUrl>,
    /// Where the units stand, by name.
    pub targets: BTreeMap<Name, TargetSection>,
    /// Groups of targets that a rollout reaches one after the other, in this order. Without it, all targets are reached
    /// together; with it, each target is in one of them.
    #[serde(default)]
    pub waves: Vec<WaveSection>,
    /// How units are replaced.
    #[serde(default)]
    pub strategy: StrategySection,
    /// How long everything may take.
    #[serde(default)]
    pub timings: TimingsSection,
    /// The lock that keeps two rollouts of one environment apart.
    #[serde(default)]
    pub lease: LeaseSection,
    /// What must hold, besides the checks of the units, before a rollout succeeds.
    #[serde(default)]
    pub gates: GatesSection,
    /// Commands that are run at certain moments of a rollout.
    #[serde(default)]
    pub hooks: HooksSection,
    /// What is different for services here, by service.
    #[serde(default)]
    pub services: BTreeMap<Name, ServiceOverride>,
}

/// Whether a release must have been scanned.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ScanNeed {
    /// It must.
    #[default]
    Required,
    /// Where the scanner is missing or cannot judge, it comes all the same. What is found stops it. Not where `protected`.
    Optional,
    /// Nothing is scanned. Not where `protected`.
    Off,
}

/// A place where units stand.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TargetSection {
    /// What it is.
    pub kind: TargetKind,
    /// The address that it holds the stable ports on, instead of the services' own, so that several targets can be on one
    /// machine: `127.0.0.2`, `127.0.0.3`, … It then has a state folder of its own, too.
    pub host: Option<Address>,
    /// The Docker engine (`kind = "docker"`). By default that of `DOCKER_HOST`, or the one of this machine.
    pub engine: Option<EngineAddress>,
}

/// What a target is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum TargetKind {
    /// This machine: units are processes below a supervisor.
    Process,
    /// A Docker engine of this machine: units are containers.
    Docker,
}

impl TargetKind {
    /// As it is written.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Docker => "docker",
        }
    }

    /// Whether units run images there, and not executables.
    pub fn runs_images(self) -> bool {
        match self {
            Self::Process => false,
            Self::Docker => true,
        }
    }
}

/// A group of targets that a rollout reaches together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct WaveSection {
    /// What it is called: a region, `first`, `rest`.
    pub name: Name,
    /// Its targets.
    #[schemars(length(min = 1))]
    pub targets: Vec<Name>,
    /// How long it is watched once it is complete, before the next wave begins, or the rollout succeeds.
    #[serde(default = "WaveSection::soak")]
    pub soak: Span,
    /// How many units may fail on its targets before the rollout has failed, besides the limit of `strategy`. Without it,
    /// it has no limit of its own.
    pub failure_limit: Option<u16>,
    /// Whether the rollout is paused after it until `promote`.
    #[serde(default)]
    pub pause: bool,
}

/// How units are replaced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct StrategySection {
    /// The way of replacing.
    #[serde(rename = "type")]
    pub kind: StrategyKind,
    /// How many units of each service are new after each batch; does not fall, and the last covers all.
    #[schemars(length(min = 1))]
    pub batches: Vec<Share>,
    /// How many units of a service may run above its number while they are replaced.
    pub max_surge: u16,
    /// How many units of a service may be missing while they are replaced.
    pub max_unavailable: u16,
    /// How many units of each service are canaries (`type = "canary"`).
    #[schemars(range(min = 1))]
    pub canary_units: u16,
    /// The share of a service's traffic that its canaries get together at each step, in per cent; it grows. Each step is
    /// watched for `bake`; then the batches follow (`type = "canary"`).
    #[schemars(length(min = 1), inner(range(min = 1, max = 99)))]
    pub canary_steps: Vec<u8>,
    /// Batches or canary steps, from 1, after which the rollout is paused until `promote`.
    #[schemars(inner(range(min = 1)))]
    pub pause_after: Vec<u16>,
    /// How many units may fail before the rollout has failed.
    pub failure_limit: u16,
    /// What is done when the rollout has failed.
    pub on_failure: FailurePolicy,
}

/// The way of replacing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StrategyKind {
    /// Batch after batch, within the bounds of `max-surge` and `max-unavailable`.
    Rolling,
    /// All old units are stopped, then the new ones started: an interruption, for what cannot run twice.
    Recreate,
    /// A few units take a growing share of the traffic, then the rest follow as if rolling.
    Canary,
    /// A whole second side is started and gets all traffic at once; the old side is kept for the bake.
    BlueGreen,
}

/// What is done when a rollout has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum FailurePolicy {
    /// Bring back what stood before.
    RollBack,
    /// Stop, leave all as it is, and ask a human.
    Hold,
}

/// How long everything may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TimingsSection {
    /// From one probe of a unit to the next.
    pub interval: Span,
    /// The longest that one probe may take.
    pub timeout: Span,
    /// Passes in a row that make a unit healthy …
    #[schemars(range(min = 1, max = 1000))]
    pub healthy_passes: u32,
    /// … over at least this long.
    pub healthy_for: Span,
    /// From a unit's start until it must be healthy.
    pub healthy_deadline: Span,
    /// Failures in a row that make a healthy unit unhealthy.
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy_failures: u32,
    /// The longest time without any progress of the rollout.
    pub progress_deadline: Span,
    /// The longest that a unit gets to answer what it was asked, once it is out of traffic.
    pub drain: Span,
    /// From telling a unit to stop until it is ended by force.
    pub stop_grace: Span,
    /// How long each batch is watched before the next one begins, and the last before the rollout succeeds.
    pub bake: Span,
    /// Errors in a row of a probe itself (not of the service) after which there is no evidence.
    #[schemars(range(min = 1, max = 1000))]
    pub provider_error_limit: u32,
}

/// The lock that keeps two rollouts of one environment apart.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct LeaseSection {
    /// How long it lasts without being renewed.
    pub ttl: Span,
    /// How often it is renewed.
    pub heartbeat: Span,
}

/// What must hold, besides the checks of the units, before a rollout succeeds.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct GatesSection {
    /// Judge new units by the requests that they get in the bake.
    pub traffic: Option<TrafficSection>,
    /// Judge new units by requests that Fairlead makes before they get traffic.
    pub synthetic: Option<SyntheticSection>,
    /// Run tests against the deployed services at the end.
    pub smoke: Option<SmokeSection>,
}

/// Judge new units by the requests that they get in the bake.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct TrafficSection {
    /// The largest share of requests that may fail.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_error_rate: f64,
    /// The largest share of requests that may be slow.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_slow_rate: f64,
    /// What is slow.
    pub slow_above: Span,
    /// Fewer requests than this are no evidence: the rollout is held.
    #[schemars(range(min = 1))]
    pub min_requests: u32,
}

/// Judge new units by requests that Fairlead makes before they get traffic.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SyntheticSection {
    /// What is asked, by service: paths of HTTP GETs, one after the other, round and round. Services that are not named
    /// are not judged.
    pub paths: BTreeMap<Name, Vec<HttpPath>>,
    /// How many requests each unit gets.
    #[serde(default = "defaults::synthetic_requests")]
    #[schemars(range(min = 1, max = 10_000))]
    pub requests: u32,
    /// The largest share of requests that may fail.
    #[serde(default = "SyntheticSection::max_error_rate")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_error_rate: f64,
    /// The largest share of requests that may be slow.
    #[serde(default = "SyntheticSection::max_slow_rate")]
    #[schemars(range(min = 0.0, max = 1.0))]
    pub max_slow_rate: f64,
    /// What is slow.
    #[serde(default = "SyntheticSection::slow_above")]
    pub slow_above: Span,
    /// Fewer answers than this are no evidence: the rollout is held.
    #[serde(default = "SyntheticSection::min_requests")]
    #[schemars(range(min = 1))]
    pub min_requests: u32,
}

/// Run tests against the deployed services at the end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct SmokeSection {
    /// Program and arguments, no shell; run in the project's root.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Variables of the command.
    #[serde(default)]
    pub env: BTreeMap<EnvName, String>,
    /// The longest that it may take.
    #[serde(default = "SmokeSection::timeout")]
    pub timeout: Span,
}

/// Commands that are run at certain moments of a rollout, one after the other.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct HooksSection {
    /// After every bundle was brought, before anything that runs is changed. If one fails, the rollout is refused.
    pub before_deploy: Vec<HookSection>,
    /// After the final gates, before what stands is recorded. If one fails, the rollout has failed.
    pub after_deploy: Vec<HookSection>,
    /// After what stood before stands again. If one fails, that is told and changes nothing.
    pub on_rollback: Vec<HookSection>,
    /// After the evidence of a failure was collected, before anything is undone. If one fails, that is told and changes
    /// nothing.
    pub on_failure: Vec<HookSection>,
}

/// A command that is run at a certain moment of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HookSection {
    /// Program and arguments, no shell; run in the project's root on the machine that runs the rollout.
    #[schemars(length(min = 1))]
    pub command: Vec<String>,
    /// Variables of the command, added to those where Fairlead runs and to those that tell of the rollout.
    #[serde(default)]
    pub env: BTreeMap<EnvName, String>,
    /// The longest that it may take.
    #[serde(default = "HookSection::timeout")]
    pub timeout: Span,
}

/// What is different for a service in this environment. What is left out is as the project file has it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ServiceOverride {
    /// How many units.
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: Option<u16>,
    /// The stable port.
    #[schemars(range(min = 1))]
    pub port: Option<u16>,
    /// The address that the stable port is bound to.
    pub host: Option<Address>,
    /// Arguments after the executable, instead of the project's.
    pub args: Option<Vec<String>>,
    /// Variables of the units, added to the project's.
    pub env: BTreeMap<EnvName, String>,
    /// Secrets, added to the project's.
    pub secrets: BTreeMap<EnvName, SecretRef>,
    /// Config files, added to the project's.
    pub files: BTreeMap<FileName, FileSection>,
    /// Memory that a unit may use; it is ended above that.
    pub memory_max: Option<ByteSize>,
    /// Files and connections that a unit may have open.
    #[schemars(range(min = 16))]
    pub open_files_max: Option<u64>,
    /// Timings of the service's check.
    pub timings: CheckTimings,
}
