//! Strategies: in which order, and how many at a time, the units of a service are replaced. Pure.
//!
//! A strategy answers a few questions about one service at one moment, given counts: how many units of the goal may
//! have been begun by now, whether they may have traffic and how much of it, and how many of the others may have been
//! taken away. The bounds of law 4 are kept by the engine for every strategy alike.

mod blue_green;
mod canary;
mod recreate;
mod rolling;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use canary::Canary;
pub use rolling::{BatchSize, Rolling};

/// How the units of a service are replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Strategy {
    /// All old units are stopped, then all new ones are started: an outage, and never two releases at once.
    Recreate,
    /// Batch by batch.
    Rolling(Rolling),
    /// A few units take a growing share of the traffic, then the rest follow batch by batch.
    Canary(Canary),
    /// A whole second side is started, gets all traffic at once, and is under watch while the old side is kept.
    BlueGreen,
}

/// What a strategy looks at: one service at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Units of the goal that are to be.
    pub desired: u32,
    /// Units of the goal that are healthy, whether they take traffic yet or not.
    pub ready: u32,
    /// Units of the goal that take traffic.
    pub serving: u32,
    /// Units that are not of the goal and have not been told to stop.
    pub others: u32,
    /// How many units stood before that are not of the goal.
    pub others_at_first: u32,
    /// How many of those run another bundle than the goal's: what there is to compare with, and to switch from.
    pub replaced: u32,
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
    /// Whether a healthy unit of the goal may get traffic.
    pub admits: bool,
    /// The share of the service's traffic that the units of the goal get together, in per cent; `None`: each gets as
    /// much as any other unit.
    pub share: Option<u32>,
    /// Units that are not of the goal that may have been taken out of traffic by now.
    pub taken_away: u32,
    /// Whether units that are out of traffic may be stopped; if not, they are kept for an instant return.
    pub stops: bool,
    /// Whether the batch is under watch before the next one.
    pub bakes: bool,
}

impl Allowed {
    /// So many units begun and so many taken away, without further conditions.
    fn plain(begun: u32, taken_away: u32) -> Self {
        Self { begun, admits: true, share: None, taken_away, stops: true, bakes: true }
    }
}

impl Strategy {
    /// Units that may be missing while units are replaced.
    pub fn max_unavailable(&self, desired: u32) -> u32 {
        match self {
            Self::Recreate => desired,
            Self::Rolling(rolling) => rolling.max_unavailable,
            Self::Canary(canary) => canary.rolling.max_unavailable,
            Self::BlueGreen => 0,
        }
    }

    /// Units above the desired number while units are replaced.
    pub fn max_surge(&self, desired: u32) -> u32 {
        match self {
            Self::Recreate => 0,
            Self::Rolling(rolling) => rolling.max_surge,
            Self::Canary(canary) => canary.rolling.max_surge.max(canary.units.min(desired)),
            Self::BlueGreen => desired,
        }
    }

    /// How many batches there are for this many units, where so many of another bundle stood before.
    pub fn batches(&self, desired: u32, replaced: u32) -> usize {
        match self {
            Self::Recreate => 1,
            Self::Rolling(rolling) => rolling.batches(desired),
            Self::Canary(canary) => canary.batches(desired, replaced),
            Self::BlueGreen => blue_green::batches(replaced),
        }
    }

    /// What is allowed at this moment.
    pub fn allowed(&self, counts: Counts) -> Allowed {
        match self {
            Self::Recreate => recreate::allowed(counts),
            Self::Rolling(rolling) => rolling.allowed(counts),
            Self::Canary(canary) => canary.allowed(counts),
            Self::BlueGreen => blue_green::allowed(counts),
        }
    }
}
