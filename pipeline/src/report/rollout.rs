//! A rollout as a report shows it. Whoever knows the events of rollouts puts them into these words.

use crate::name::Name;
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How something is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Tone {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// To be looked at.
    Warn,
    /// Wrong.
    Bad,
    /// Of less interest.
    Dim,
}

/// One rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rollout {
    /// The environment.
    pub environment: Name,
    /// Its run.
    pub run: String,
    /// What it is for: `brings release 3f9a1c2b4d5e to production: api (artifact)`.
    pub aim: String,
    /// How it ended, or how far it is: `succeeded`, `rolled back`, `left, can be resumed`.
    pub outcome: String,
    /// How that is meant.
    pub tone: Tone,
    /// When it began.
    pub began_at: Timestamp,
    /// How long it lasted in milliseconds, with what it was left for in between.
    pub took: u64,
    /// The phases it went through.
    pub phases: Vec<Segment>,
    /// What each unit went through, in the order in which they appeared.
    pub units: Vec<Lane>,
    /// What happened, in its order.
    pub moments: Vec<Moment>,
    /// The evidence of each failure, as text.
    pub dossiers: Vec<String>,
}

/// What one unit went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Lane {
    /// What it is called: `api/0 (3f9a1c2b4d5e)`.
    pub name: String,
    /// In its order; there may be gaps.
    pub segments: Vec<Segment>,
}

/// A time in which something was in one state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Segment {
    /// The state, in a word: `serving`.
    pub state: String,
    /// How it is meant.
    pub tone: Tone,
    /// When it began, in milliseconds since the rollout did.
    pub from: u64,
    /// When it ended, likewise.
    pub to: u64,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Moment {
    /// When, in milliseconds since the rollout began.
    pub after: u64,
    /// What it is about: `rollout`, `api`, `api/0 (3f9a1c2b4d5e)`.
    pub subject: String,
    /// What happened.
    pub text: String,
    /// How it is meant.
    pub tone: Tone,
}
