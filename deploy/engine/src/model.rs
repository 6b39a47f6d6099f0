//! The words of the engine: units, what is seen of them, and what may be done to them.

use crate::{bundle::BundleHash, check::Health};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, fmt, net::SocketAddr};

/// Milliseconds. As an instant: since the Unix epoch, by the clock of the machine that runs the rollout, made
/// monotonic by the loop; as a span: a length. Time is data for the engine, never asked for.
pub type Millis = u64;

/// One replaceable instance of a service on a target. Its name is its identity: the same slot with another bundle is
/// another unit, so that starting or stopping it twice is harmless.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
#[schemars(with = "String")]
pub struct UnitId {
    /// The service it is an instance of.
    pub service: Name,
    /// The target that it stands on.
    pub target: Name,
    /// Its place among the units of the service on that target, from 0.
    pub slot: u16,
    /// The bundle that it runs.
    pub bundle: BundleHash,
}

impl UnitId {
    /// For people: `api/0 (3f9a1c2b4d5e)`.
    pub fn label(&self) -> String {
        format!("{}/{} ({})", self.service, self.slot, self.bundle.short())
    }

    /// For people, as fits: where there are several targets, the target is part of it, as in
    /// `api/0@east (3f9a1c2b4d5e)`.
    pub fn label_for(&self, several_targets: bool) -> String {
        match several_targets {
            true => format!("{}/{}@{} ({})", self.service, self.slot, self.target, self.bundle.short()),
            false => self.label(),
        }
    }

    /// For file names and process titles: `api.0.3f9a1c2b4d5e`.
    pub fn file_stem(&self) -> String {
        format!("{}.{}.{}", self.service, self.slot, self.bundle.short())
    }
}

impl fmt::Display for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}/{}#{}", self.service, self.target, self.slot, self.bundle.digest().hex())
    }
}

impl fmt::Debug for UnitId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.label())
    }
}

impl From<UnitId> for String {
    fn from(unit: UnitId) -> Self {
        unit.to_string()
    }
}

/// Why a text is not a [`UnitId`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a unit: expected `service@target/slot#hash`")]
pub struct UnitIdError {
    text: String,
}

impl TryFrom<String> for UnitId {
    type Error = UnitIdError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        let parse = || {
            let (service, rest) = text.split_once('@')?;
            let (target, rest) = rest.split_once('/')?;
            let (slot, hash) = rest.split_once('#')?;
            Some(Self {
                service: service.parse().ok()?,
                target: target.parse().ok()?,
                slot: slot.parse().ok()?,
                bundle: BundleHash::new(format!("sha256:{hash}").parse().ok()?),
            })
        };
        parse().ok_or_else(|| UnitIdError { text: text.chars().take(160).collect() })
    }
}

/// How a unit's process ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Exit {
    /// Its exit code, if it exited by itself.
    pub code: Option<i32>,
    /// The number of the signal that ended it.
    pub signal: Option<i32>,
    /// Whether it was ended for using more memory than its limit.
    pub out_of_memory: bool,
    /// When, in milliseconds since the Unix epoch.
    pub at: Millis,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.out_of_memory, self.code, self.signal) {
            (true, ..) => write!(f, "ended at its memory limit"),
            (_, Some(code), _) => write!(f, "exit code {code}"),
            (_, None, Some(signal)) => write!(f, "signal {signal}"),
            (_, None, None) => write!(f, "gone, exit status unknown"),
        }
    }
}

/// Where a unit is in its life, as its target reports it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum UnitPhase {
    /// Its process runs.
    Running,
    /// It was told to stop and has not ended yet.
    Stopping,
    /// It ended without being told to.
    Exited(Exit),
}

/// What the router counted for one unit since it was admitted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct Traffic {
    /// Requests answered.
    pub requests: u64,
    /// Requests answered with 5xx, or broken off by the unit.
    pub errors: u64,
    /// Requests by time to the response's head: upper bound in milliseconds → how many took at most that long and
    /// longer than the bound before (not cumulative). Bounds: [`Traffic::BOUNDS_MS`], then `u64::MAX`.
    pub latency_ms: BTreeMap<u64, u64>,
}

impl Traffic {
    /// Upper bounds of the latency buckets in milliseconds: a 1–2.5–5 ladder around the service levels people set.
    pub const BOUNDS_MS: [u64; 10] = [5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000];

    /// Requests that took longer than `bound_ms`, which is rounded up to a bucket's bound.
    pub fn slower_than(&self, bound_ms: u64) -> u64 {
        let bound = Self::BOUNDS_MS.into_iter().find(|b| *b >= bound_ms).unwrap_or(5_000);
        self.latency_ms.range(bound + 1..).map(|(_, n)| n).sum()
    }
}

/// What a target reports of one unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub struct UnitFacts {
    /// Which unit.
    pub unit: UnitId,
    /// Where it is in its life.
    pub phase: UnitPhase,
    /// Where it listens for probes and the router, if it runs.
    pub address: Option<SocketAddr>,
    /// Ports that it listens on although it does not listen on its own; empty if it does, or if that is not known.
    #[serde(default)]
    pub other_ports: Vec<u16>,
    /// What the platform calls it: a process id and start time, a container id, …
    pub handle: String,
    /// The release it was started with.
    pub release: String,
    /// Its share of the service's traffic; 0 = out of traffic.
    pub weight: u16,
    /// Requests that it is answering now.
    pub in_flight: u32,
    /// What the router counted since it was admitted.
    pub traffic: Traffic,
    /// When it was started, in milliseconds since the Unix epoch.
    pub started_at: Millis,
}

/// One unit as the engine sees it: the target's facts and the evidence of its health.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct UnitSeen {
    /// What the target reports.
    pub facts: UnitFacts,
    /// What the probes showed.
    pub health: Health,
}

/// The number of an intent within its rollout; with the rollout's generation it makes an effect idempotent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct IntentId(pub u64);

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum HookMoment {
    /// After every bundle was brought, before anything that runs is changed. A failure ends the rollout.
    BeforeDeploy,
    /// After the final gates, before what stands is recorded. A failure fails the rollout.
    AfterDeploy,
    /// After what stood before stands again. A failure is told, and changes nothing.
    OnRollback,
    /// After the evidence of a failure was collected, before anything is undone. A failure is told, and changes nothing.
    OnFailure,
}

impl HookMoment {
    /// Its name in configuration, events and logs.
    pub fn word(self) -> &'static str {
        match self {
            Self::BeforeDeploy => "before-deploy",
            Self::AfterDeploy => "after-deploy",
            Self::OnRollback => "on-rollback",
            Self::OnFailure => "on-failure",
        }
    }

    /// Whether a failure is only told: it must not stand in the way of the rollback.
    pub fn is_advisory(self) -> bool {
        matches!(self, Self::OnRollback | Self::OnFailure)
    }
}

/// One thing to be done, as the engine asks for it. ARCHITECTURE.md says what each means on each kind of target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Bring a bundle (artifact, config files, secrets) to a target and make its service's stable port ready; changes
    /// nothing that runs.
    Prepare {
        /// Where.
        target: Name,
        /// For which service.
        service: Name,
        /// Which bundle.
        bundle: BundleHash,
    },
    /// Start a unit, out of traffic.
    Start {
        /// Which unit.
        unit: UnitId,
    },
    /// Judge a healthy unit by synthetic requests before it gets traffic.
    Judge {
        /// Which unit.
        unit: UnitId,
    },
    /// Give a unit its share of the traffic.
    Admit {
        /// Which unit.
        unit: UnitId,
        /// Its weight, above 0.
        weight: u16,
    },
    /// Take a unit out of traffic and wait until it has answered what it was asked, at most `deadline` long.
    Drain {
        /// Which unit.
        unit: UnitId,
        /// Milliseconds.
        deadline: Millis,
    },
    /// Tell a unit to stop, end it by force after `grace`, and remove what only it used.
    Stop {
        /// Which unit.
        unit: UnitId,
        /// Milliseconds.
        grace: Millis,
    },
    /// Run one of the environment's hooks on the machine that runs the rollout.
    Hook {
        /// When it is run.
        moment: HookMoment,
        /// Its place among the hooks of that moment, from 0.
        index: u16,
    },
    /// Run a service's migration inside the new bundle on a target: a one-shot step, recorded there by release, so that a
    /// release that was migrated once is not migrated again.
    Migrate {
        /// Where.
        target: Name,
        /// Whose.
        service: Name,
        /// Which bundle brings it.
        bundle: BundleHash,
    },
    /// Run the environment's final gates (the smoke tests) against the deployed services.
    Verify {
        /// The service whose stable address is verified.
        service: Name,
    },
    /// Collect the evidence of a failure before anything is undone.
    Collect,
    /// Write what stands now into a target's ledger.
    Commit {
        /// Where.
        target: Name,
        /// Service → the bundle that is current from now on (`None`: the service is gone, and what was made for it).
        services: BTreeMap<Name, Option<BundleHash>>,
    },
}

impl Action {
    /// The unit that it acts on, if it acts on one.
    pub fn unit(&self) -> Option<&UnitId> {
        match self {
            Self::Start { unit }
            | Self::Judge { unit }
            | Self::Admit { unit, .. }
            | Self::Drain { unit, .. }
            | Self::Stop { unit, .. } => Some(unit),
            Self::Prepare { .. }
            | Self::Hook { .. }
            | Self::Migrate { .. }
            | Self::Verify { .. }
            | Self::Collect
            | Self::Commit { .. } => None,
        }
    }

    /// The verb, as events and logs name it.
    pub fn verb(&self) -> &'static str {
        match self {
            Self::Prepare { .. } => "prepare",
            Self::Start { .. } => "start",
            Self::Judge { .. } => "judge",
            Self::Admit { .. } => "admit",
            Self::Drain { .. } => "drain",
            Self::Stop { .. } => "stop",
            Self::Hook { .. } => "hook",
            Self::Migrate { .. } => "migrate",
            Self::Verify { .. } => "verify",
            Self::Collect => "collect",
            Self::Commit { .. } => "commit",
        }
    }
}

/// An action with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Intent {
    /// Its number within the rollout.
    pub id: IntentId,
    /// What to do.
    pub action: Action,
}
