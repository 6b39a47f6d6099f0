//! Waves: the next one is begun only when the one before is complete, has been under watch for its soak, and was promoted
//! if it is to be.

use super::{
    Law, Moment,
    judge::{Judge, stands},
};
use crate::{
    model::{Millis, UnitId},
    plan::Plan,
};
use std::collections::BTreeSet;

/// What is seen of the waves of a rollout.
#[derive(Debug, Default)]
pub(super) struct Waves {
    /// The last one of which a unit was begun on the way forward.
    reached: usize,
    /// Since when each is complete.
    complete_since: Vec<Option<Millis>>,
    /// Those that once were under watch for their whole soak.
    soaked: BTreeSet<usize>,
    /// Those that were promoted after that.
    promoted: BTreeSet<usize>,
    /// Failures of units in each.
    failures: Vec<u32>,
}

impl Waves {
    pub(super) fn see(&mut self, plan: &Plan, moment: &Moment) {
        self.complete_since.resize(plan.wave_count(), None);
        for index in 0..plan.waves.len() {
            if is_complete(plan, index, moment) {
                let since = *self.complete_since[index].get_or_insert(moment.at);
                if moment.at.saturating_sub(since) >= plan.waves[index].soak {
                    self.soaked.insert(index);
                }
            } else {
                self.complete_since[index] = None;
            }
        }
    }

    pub(super) fn promote(&mut self) {
        // What is promoted has soaked, even if it loses a unit at this very moment.
        self.promoted.extend(&self.soaked);
    }

    pub(super) fn count_failure(&mut self, plan: &Plan, unit: &UnitId) {
        self.failures.resize(plan.wave_count(), 0);
        self.failures[plan.wave_of(&unit.target)] += 1;
    }

    pub(super) fn forget_failures(&mut self) {
        self.failures.clear();
    }

    /// A wave whose own budget is exceeded: its name, its failures, and its limit.
    pub(super) fn exceeded(&self, plan: &Plan) -> Option<(String, u32, u32)> {
        plan.waves.iter().zip(&self.failures).find_map(|(wave, failures)| {
            let limit = wave.failure_limit?;
            (*failures > limit).then(|| (wave.name.to_string(), *failures, limit))
        })
    }

    /// Whether a unit is of a wave that was not begun yet.
    pub(super) fn is_ahead(&self, plan: &Plan, unit: &UnitId) -> bool {
        plan.waves.len() > 1 && plan.wave_of(&unit.target) > self.reached
    }

    /// What is missing for a wave to be begun on the way forward, if something is.
    fn lack(&self, plan: &Plan, index: usize) -> Option<String> {
        if plan.waves.is_empty() || index <= self.reached {
            return None;
        }
        plan.waves[..index].iter().enumerate().find_map(|(place, before)| {
            if self.complete_since.get(place).copied().flatten().is_none() {
                Some(format!("wave {}, which is not complete", before.name))
            } else if !self.soaked.contains(&place) {
                Some(format!("wave {}, which has not soaked for {} ms", before.name, before.soak))
            } else if before.pause && !self.promoted.contains(&place) {
                Some(format!("wave {}, which was not promoted", before.name))
            } else {
                None
            }
        })
    }
}

impl Judge<'_> {
    /// Waves go one after the other: whoever says that the next one begins, or begins something of it.
    pub(super) fn keeps_waves(&mut self, unit: &UnitId) {
        self.reaches_wave(self.plan.wave_of(&unit.target), unit.label());
    }

    /// The rollout says that a wave has begun.
    pub(super) fn wave_began(&mut self, index: usize) {
        self.reaches_wave(index, format!("wave {}", index + 1));
    }

    fn reaches_wave(&mut self, index: usize, subject: String) {
        let lack = self.waves.lack(self.plan, index);
        self.waves.reached = self.waves.reached.max(index);
        if let Some(lack) = lack {
            self.broken(Law::Waves, subject, format!("begun behind {lack}"));
        }
    }
}

/// Whether everything that is to stand in a wave stands and has traffic.
fn is_complete(plan: &Plan, index: usize, moment: &Moment) -> bool {
    plan.services.iter().all(|service| {
        let goal = plan.in_wave(service, index);
        // What ended out of sight is not held against the executor.
        let has_traffic = |unit: &UnitId| {
            moment.unreachable.contains(&unit.target)
                || moment.units.get(unit).is_some_and(|now| stands(now) && now.weight > 0)
        };
        goal.units_of(goal.to.as_ref()).iter().all(has_traffic)
    })
}
