//! What an observer of the simulated fleet sees: the truth, not what the executor is told.

use super::World;
use crate::{
    law::{Looked, Moment, UnitNow},
    model::{Action, Millis},
};

impl World {
    /// What stands at this moment, for [`crate::law::Judge`].
    pub fn moment(&self) -> Moment {
        let now = self.now;
        let units = self.units.iter().map(|(id, unit)| {
            let health = &unit.witness;
            let looked = Looked {
                answers: health.observed,
                passes: health.passes,
                held_for: held_for(health.passing_since, health.last_at),
                failures: health.failures,
                wrong_release: health.wrong_release,
                age: health.last_at.map(|at| now.saturating_sub(at)),
                ever_passed: health.ever_passed,
            };
            let seen = UnitNow {
                running: !unit.has_exited(now),
                told_to_stop: unit.ends_at.is_some(),
                weight: unit.weight,
                looked: Some(looked),
            };
            (id.clone(), seen)
        });
        Moment {
            at: now,
            units: units.collect(),
            ledgers: self.ledgers.clone(),
            unreachable: self.unreachable(),
        }
    }

    /// What took hold since this was asked last, and for which generation.
    pub fn take_what_took_hold(&mut self) -> Vec<(u64, Action)> {
        std::mem::take(&mut self.took_hold)
    }
}

fn held_for(first: Option<Millis>, last: Option<Millis>) -> Millis {
    match (first, last) {
        (Some(first), Some(last)) => last.saturating_sub(first),
        _ => 0,
    }
}
