//! Rolling: batch by batch, start-first where there is surge, stop-first where there is none.
//!
//! ```text
//! batch 0 ──all begun, serving, baked──▶ batch 1 ──…──▶ last batch ──baked, others gone──▶ done
//!    └── a unit fails more often than the budget allows ──▶ back: the same, without batches, to the previous bundles
//! ```

use super::{Allowed, Counts};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Batch by batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Rolling {
    /// How many units have been begun at the end of each batch, counted from the start of the rollout; they grow, and
    /// the last one covers all.
    pub batches: Vec<BatchSize>,
    /// Units above the desired number while units are replaced.
    pub max_surge: u32,
    /// Units that may be missing while units are replaced.
    pub max_unavailable: u32,
}

/// The size of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum BatchSize {
    /// So many units.
    Count(u32),
    /// So many per cent of all units, rounded up, so that a batch is never empty.
    Percent(u32),
}

impl BatchSize {
    fn of(self, desired: u32) -> u32 {
        match self {
            Self::Count(count) => count.min(desired),
            Self::Percent(percent) => (u64::from(desired) * u64::from(percent)).div_ceil(100) as u32,
        }
    }
}

impl Rolling {
    /// The distinct cumulative sizes of the batches: batches that add nothing for this many units are left out.
    fn sizes(&self, desired: u32) -> Vec<u32> {
        let mut sizes: Vec<u32> = self.batches.iter().map(|batch| batch.of(desired)).collect();
        sizes.push(desired);
        sizes.dedup();
        sizes.retain(|size| *size > 0);
        sizes
    }

    pub(super) fn batches(&self, desired: u32) -> usize {
        self.sizes(desired).len().max(1)
    }

    pub(super) fn allowed(&self, counts: Counts) -> Allowed {
        let all = counts.desired;
        let begun = if counts.back { all } else { self.sizes(all).get(counts.batch).copied().unwrap_or(all) };
        let surplus = counts.others_at_first.saturating_sub(counts.desired);
        // Start-first: one goes for each that has come. Stop-first: room is made for those that may be begun.
        let replaced = if self.max_surge > 0 { counts.serving } else { begun };
        let done = counts.serving >= counts.desired;
        let taken_away = if done { counts.others_at_first } else { replaced + surplus };
        Allowed::plain(begun, taken_away.min(counts.others_at_first))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rolling(max_surge: u32) -> Rolling {
        let batches = vec![BatchSize::Count(1), BatchSize::Percent(25), BatchSize::Percent(100)];
        Rolling { batches, max_surge, max_unavailable: u32::from(max_surge == 0) }
    }

    #[test]
    fn batches_grow_and_cover_all() {
        assert_eq!(rolling(1).sizes(10), [1, 3, 10]);
        assert_eq!(rolling(1).sizes(2), [1, 2]);
        assert_eq!(rolling(1).sizes(1), [1]);
        assert_eq!(rolling(1).sizes(0), [0; 0]);
    }

    #[test]
    fn start_first_takes_one_away_for_each_that_serves() {
        let counts = Counts {
            desired: 4,
            ready: 0,
            serving: 0,
            others: 4,
            others_at_first: 4,
            replaced: 4,
            batch: 0,
            back: false,
        };
        assert_eq!(rolling(1).allowed(counts), Allowed::plain(1, 0));
        assert_eq!(rolling(1).allowed(Counts { serving: 1, ..counts }), Allowed::plain(1, 1));
    }

    #[test]
    fn stop_first_makes_room_for_what_may_be_begun() {
        let counts = Counts {
            desired: 4,
            ready: 0,
            serving: 0,
            others: 4,
            others_at_first: 4,
            replaced: 4,
            batch: 0,
            back: false,
        };
        assert_eq!(rolling(0).allowed(counts), Allowed::plain(1, 1));
    }

    #[test]
    fn the_way_back_has_no_batches() {
        let counts = Counts {
            desired: 4,
            ready: 0,
            serving: 0,
            others: 1,
            others_at_first: 1,
            replaced: 1,
            batch: 0,
            back: true,
        };
        assert_eq!(rolling(1).allowed(counts).begun, 4);
    }
}
