//! Strategies: in which order, and how many at a time, the units of a service are replaced. Pure.
//!
//! A strategy answers two questions about one service at one moment, given counts: how many units of the goal may
//! have been begun by now, and how many of the others may have been taken away. The bounds of law 4 are kept by the
//! engine for every strategy alike.

mod recreate;
mod rolling;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use rolling::{BatchSize, Rolling};

/// How the units of a service are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// All old units are stopped, then all new ones are started: an outage, and never two releases at once.
    Recreate,
    /// Batch by batch.
    Rolling(Rolling),
}

/// What a strategy looks at: one service at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Units of the goal that are to be.
    pub desired: u32,
    /// Units of the goal that take traffic.
    pub serving: u32,
    /// Units that are not of the goal and have not been told to stop.
    pub others: u32,
    /// How many units stood before that are not of the goal.
    pub others_at_first: u32,
    /// The batch that the rollout is in, from 0.
    pub batch: usize,
    /// Whether this is the way back: no batches then.
    pub back: bool,
}

/// What a strategy allows at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowed {
    /// Units of the goal that may have been begun by now.
    pub begun: u32,
    /// Units that are not of the goal that may have been taken away by now.
    pub taken_away: u32,
}

impl Strategy {
    /// Units that may be missing while units are replaced.
    pub fn max_unavailable(&self, desired: u32) -> u32 {
        match self {
            Self::Recreate => desired,
            Self::Rolling(rolling) => rolling.max_unavailable,
        }
    }

    /// Units above the desired number while units are replaced.
    pub fn max_surge(&self) -> u32 {
        match self {
            Self::Recreate => 0,
            Self::Rolling(rolling) => rolling.max_surge,
        }
    }

    /// How many batches there are for this many units.
    pub fn batches(&self, desired: u32) -> usize {
        match self {
            Self::Recreate => 1,
            Self::Rolling(rolling) => rolling.batches(desired),
        }
    }

    /// What is allowed at this moment.
    pub fn allowed(&self, counts: Counts) -> Allowed {
        match self {
            Self::Recreate => recreate::allowed(counts),
            Self::Rolling(rolling) => rolling.allowed(counts),
        }
    }
}
