//! Canary: a few units take a growing share of the traffic, each step under watch; then the rest follow.
//!
//! ```text
//! canaries begun ──healthy──▶ step 0: 5 % ──bake──▶ step 1: 25 % ──bake──▶ … ──bake──▶ rolling, batch by batch ──▶ done
//!                                 └── a canary fails: the old units, which are all still there, take all traffic
//! ```
//!
//! A first deploy has nothing to compare with: it goes at once to the batches.

use super::{Allowed, Counts, Rolling};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A few units take a growing share of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Canary {
    /// How many units of a service are canaries; at least one.
    pub units: u32,
    /// The share of the traffic that the canaries get together at each step, in per cent, from 1 to 99; it grows.
    pub steps: Vec<u32>,
    /// How the rest is replaced.
    pub rolling: Rolling,
}

impl Canary {
    fn steps(&self, replaced: u32) -> usize {
        if replaced == 0 { 0 } else { self.steps.len() }
    }

    pub(super) fn batches(&self, desired: u32, replaced: u32) -> usize {
        self.steps(replaced) + self.rolling.batches(desired)
    }

    pub(super) fn allowed(&self, counts: Counts) -> Allowed {
        let steps = self.steps(counts.replaced);
        if counts.back || counts.batch >= steps {
            let batch = counts.batch.saturating_sub(steps);
            let rest = self.rolling.allowed(Counts { batch, ..counts });
            // Canaries that are there stay, even where the first batch is smaller.
            let canaries = if steps > 0 { self.units.min(counts.desired) } else { 0 };
            return Allowed { begun: rest.begun.max(canaries), ..rest };
        }
        Allowed {
            share: self.steps.get(counts.batch).copied(),
            ..Allowed::plain(self.units.min(counts.desired), 0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::strategy::BatchSize;

    fn canary() -> Canary {
        let rolling = Rolling { batches: vec![BatchSize::Percent(100)], max_surge: 1, max_unavailable: 0 };
        Canary { units: 1, steps: vec![5, 25], rolling }
    }

    const START: Counts = Counts {
        desired: 4,
        ready: 0,
        serving: 0,
        others: 4,
        others_at_first: 4,
        replaced: 4,
        batch: 0,
        back: false,
    };

    #[test]
    fn the_share_grows_step_by_step_and_nobody_leaves_meanwhile() {
        let at = |batch| canary().allowed(Counts { serving: 1, batch, ..START });
        assert_eq!((at(0).begun, at(0).share, at(0).taken_away), (1, Some(5), 0));
        assert_eq!(at(1).share, Some(25));
        assert_eq!((at(2).begun, at(2).share, at(2).taken_away), (4, None, 1));
        assert_eq!(canary().batches(4, 4), 3);
    }

    #[test]
    fn a_first_deploy_and_the_way_back_have_no_steps() {
        let first = Counts { others: 0, others_at_first: 0, replaced: 0, ..START };
        assert_eq!((canary().allowed(first).begun, canary().batches(4, 0)), (4, 1));
        assert_eq!(canary().allowed(Counts { back: true, ..START }).share, None);
    }
}
