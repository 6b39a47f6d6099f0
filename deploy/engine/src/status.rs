//! What an environment shows to people and scripts: `status` and `history`. The documents are public; their schemas are
//! in `docs/schema/`.

use crate::{
    check::Answer,
    model::{Millis, UnitPhase},
    plan::PlanKind,
    reason::ReasonCode,
};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What stands in an environment, and whether it is as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Status {
    /// Format version; see [`Status::FORMAT`].
    pub version: u32,
    /// The project.
    pub project: Name,
    /// The environment.
    pub environment: Name,
    /// All in one word.
    pub health: Standing,
    /// The generation of the last rollout.
    pub generation: u64,
    /// Each service of the configuration and of the ledger.
    pub services: Vec<ServiceStatus>,
    /// The rollout that is open, if one is.
    pub rollout: Option<OpenRollout>,
    /// The lease, if it is held.
    pub lease: Option<LeaseStatus>,
    /// Why nothing is deployed for now, if so.
    #[serde(default)]
    pub freeze: Option<FreezeStatus>,
    /// What to type next, if something is not as it should be.
    pub next: Vec<String>,
}

/// How a service or an environment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// Nothing was ever deployed.
    Absent,
    /// Every unit that should be there is there and healthy.
    Healthy,
    /// Some unit is missing or not healthy.
    Degraded,
    /// No unit is healthy.
    Down,
}

/// How one service stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct ServiceStatus {
    /// The service.
    pub service: Name,
    /// All in one word.
    pub health: Standing,
    /// The release that brought what is current.
    pub release: Option<String>,
    /// The current bundle, twelve digits.
    pub bundle: Option<String>,
    /// When it became current.
    pub since: Option<jiff::Timestamp>,
    /// The release that a rollback would return to.
    pub previous_release: Option<String>,
    /// The stable port.
    pub port: Option<u16>,
    /// Units that should be there, on all targets together.
    pub wanted: u32,
    /// Units that are there.
    pub units: Vec<UnitStatus>,
}

/// How one unit stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UnitStatus {
    /// Its name for people, `api/0 (3f9a1c2b4d5e)`; `api/0@east (3f9a1c2b4d5e)` where there are several targets.
    pub unit: String,
    /// The target that it stands on.
    pub target: Name,
    /// Whether it is of the current bundle.
    pub current: bool,
    /// Where it is in its life.
    pub phase: UnitPhase,
    /// What a probe answered just now; none if it was not asked.
    pub answer: Option<Answer>,
    /// Its share of the traffic.
    pub weight: u16,
    /// Where it listens.
    pub address: Option<String>,
    /// What the platform calls it.
    pub handle: String,
    /// When it was started.
    pub started_at: jiff::Timestamp,
}

/// A rollout that is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct OpenRollout {
    /// Its run.
    pub run: String,
    /// The release that is to stand.
    pub release: String,
    /// Where it is, in a word.
    pub phase: String,
    /// Why it is held, if it is.
    pub held: Option<String>,
    /// When it began.
    pub started_at: jiff::Timestamp,
}

/// Who holds the lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct LeaseStatus {
    /// Who: user, host and process id.
    pub holder: String,
    /// For what.
    pub command: String,
    /// Since when.
    pub since: jiff::Timestamp,
    /// When it was last renewed.
    pub renewed_at: jiff::Timestamp,
    /// When it expires unless it is renewed.
    pub expires_at: jiff::Timestamp,
    /// What can be said of the holder: alive, provably dead, unknown, expired.
    pub verdict: String,
}

/// Why nothing is deployed for now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct FreezeStatus {
    /// Since when.
    pub since: jiff::Timestamp,
    /// Who caused it: user and host.
    pub actor: String,
    /// Why, for people.
    pub why: String,
    /// The release that was taken back.
    pub release: String,
}

/// One run that is over, as `history` lists it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct HistoryEntry {
    /// Format version; see [`HistoryEntry::FORMAT`].
    pub version: u32,
    /// The run.
    pub run: String,
    /// The environment.
    pub environment: Name,
    /// Whether it was to bring something new or to return.
    pub kind: PlanKind,
    /// The release that was to stand.
    pub release: String,
    /// The services that it changed.
    pub services: Vec<Name>,
    /// How it ended: `succeeded`, `rolled-back`, `held`, `rollback-failed`.
    pub outcome: String,
    /// Why, if it did not succeed.
    pub reason: Option<ReasonCode>,
    /// The words for it.
    pub message: Option<String>,
    /// Who ran it: user and host.
    pub actor: String,
    /// When it began.
    pub started_at: jiff::Timestamp,
    /// How long it took, in milliseconds.
    pub took: Millis,
}

impl Status {
    /// The format this version writes.
    pub const FORMAT: u32 = 1;
}

impl FreezeStatus {
    /// All of it in a sentence, without the environment.
    pub fn sentence(&self) -> String {
        let Self { since, actor, why, release } = self;
        format!("{why} by {actor} at {since:.0} (release {release} was taken back)")
    }
}

impl HistoryEntry {
    /// The format this version writes; older is read, newer is refused.
    pub const FORMAT: u32 = 1;
}
