//! What a simulation found: data for people and scripts. Moments count from the beginning of the rollout.

use crate::{
    law::Breach,
    model::{Millis, UnitId},
    reason::ReasonCode,
};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a simulation of one rollout found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Report {
    /// How it ended.
    pub outcome: Finish,
    /// Milliseconds from the beginning to the end.
    pub took: Millis,
    /// What users met of each service.
    pub services: Vec<Availability>,
    /// The first failure, if there was one.
    pub detection: Option<Detection>,
    /// Milliseconds from the failure that ended the rollout until what stood before stood again, if it came to that.
    pub back_after: Option<Millis>,
    /// What was assumed and never came to pass, in words.
    pub unmet: Vec<String>,
    /// Laws that the engine broke: empty, or there is a bug in Fairlead.
    #[serde(default)]
    pub breaches: Vec<Broken>,
    /// What was decided, in order.
    pub timeline: Vec<Entry>,
}

/// A law of the engine that was broken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Broken {
    /// Which, in words: `law 4 (bounds)`.
    pub law: String,
    /// When.
    pub at: Millis,
    /// By what: a unit, a service or the rollout.
    pub subject: String,
    /// What was seen.
    pub seen: String,
}

impl Broken {
    /// What the judge found, in a rollout that began at `beginning` of the judge's clock.
    pub(super) fn of(breach: &Breach, beginning: Millis) -> Self {
        Self {
            law: breach.law.to_string(),
            at: breach.at.saturating_sub(beginning),
            subject: breach.subject.clone(),
            seen: breach.seen.clone(),
        }
    }
}

/// How a simulated rollout ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Finish {
    /// In words: `succeeded`, `rolled back`, `refused`, `held`, `rollback failed`, `left` or `not ended`.
    pub word: String,
    /// Why, unless it succeeded.
    pub reason: Option<ReasonCode>,
    /// Which unit was to blame.
    pub unit: Option<UnitId>,
    /// What happened, for people; empty if there is nothing to say.
    pub message: String,
}

/// What users met of one service.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Availability {
    /// The service.
    pub service: Name,
    /// Units that stood before.
    pub before: u32,
    /// Units that are to stand.
    pub wanted: u32,
    /// The least number of available units that the plan promises while units are replaced.
    pub promised: u32,
    /// The least number of units that were in traffic and healthy.
    pub lowest: u32,
    /// When that was first.
    pub lowest_at: Millis,
    /// For how many milliseconds none was, though some had stood before, or had served on the way forward.
    pub outage: Millis,
}

/// The first failure that was decided, tolerated or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Detection {
    /// When.
    pub at: Millis,
    /// Which unit, if it was a unit's.
    pub unit: Option<UnitId>,
    /// Why.
    pub reason: ReasonCode,
    /// Milliseconds from the moment from which the unit was broken until that was decided: from its end, where it
    /// ended by itself, otherwise from when it ran.
    pub took: Option<Millis>,
    /// What ran the new bundles in traffic at that moment.
    pub blast: Blast,
}

/// How much of the traffic the new bundles took at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Blast {
    /// Units of new bundles in traffic.
    pub units: u32,
    /// Units in traffic.
    pub of: u32,
    /// The share of the capacity, by weight, that the new bundles held: per cent, rounded up.
    pub percent: u32,
}

/// Something that was decided, about one or more subjects at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Entry {
    /// When.
    pub at: Millis,
    /// What it is about, in words: units, a service, the rollout.
    pub subject: String,
    /// The units that it is about.
    pub units: Vec<UnitId>,
    /// What.
    pub what: String,
    /// Why; empty where the engine gives no reason beyond its plan.
    pub why: String,
    /// How it is meant.
    pub mark: Mark,
}

/// How something that was decided is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mark {
    /// As planned.
    Step,
    /// Something has come to what it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Something failed.
    Bad,
}
