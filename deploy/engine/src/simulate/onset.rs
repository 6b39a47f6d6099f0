//! Since when a unit has been broken: what the time to detection counts from.

use crate::{
    model::{Millis, UnitId},
    state::Step,
    world::{Behaviour, Rule},
};
use std::collections::BTreeMap;

/// When units began to run, and which were ended.
#[derive(Debug, Default)]
pub(super) struct Onsets {
    running_since: BTreeMap<UnitId, Millis>,
    ended: BTreeMap<UnitId, Millis>,
}

impl Onsets {
    /// A unit moved to another step.
    pub(super) fn stepped(&mut self, unit: &UnitId, to: Step, now: Millis) {
        // It is `Waiting` from when its start has taken hold; what never came so far counts from when it was asked for.
        if matches!(to, Step::Starting | Step::Waiting) {
            self.running_since.insert(unit.clone(), now);
            self.ended.remove(unit);
        }
    }

    /// A unit was ended.
    pub(super) fn ended(&mut self, unit: &UnitId, now: Millis) {
        self.ended.insert(unit.clone(), now);
    }

    /// Since when a unit that was found broken has been so.
    pub(super) fn of(&self, unit: &UnitId, rules: &[Rule]) -> Option<Millis> {
        if let Some(ended) = self.ended.get(unit) {
            return Some(*ended);
        }
        let since = *self.running_since.get(unit)?;
        let fits = |rule: &&Rule| {
            rule.bundle.is_none_or(|bundle| bundle == unit.bundle)
                && rule.slot.is_none_or(|slot| slot == unit.slot)
        };
        let works_for = match rules.iter().find(fits).map(|rule| rule.behaviour) {
            Some(
                Behaviour::ExitsAfter(after)
                | Behaviour::KilledAfter(after)
                | Behaviour::OutOfMemoryAfter(after),
            ) => after,
            _ => 0,
        };
        Some(since + works_for)
    }
}
