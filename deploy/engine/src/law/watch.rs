//! What is judged at every moment, whatever is begun: that what was taken away leaves enough behind (law 4), and that what
//! has ended is not waited for (law 8).

use super::{
    Law, Moment,
    judge::{Judge, stands},
};
use crate::model::{Action, UnitId};
use std::collections::{BTreeMap, BTreeSet};

/// Moments after which a unit that has ended must have been noticed: an executor needs two or three, and one that is busy
/// with the unit some more.
const NOTICED_WITHIN: u32 = 20;

/// What is remembered from one moment to the next.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Units that went by themselves while another was being taken away: nobody knew of them when that was allowed.
    lost: BTreeSet<UnitId>,
    /// Units that did not count as available any more when they began to be taken away, even if they have come round since.
    given_up: BTreeSet<UnitId>,
    /// Units that were seen to run since the rollout reached them: what had ended before is none of its failures.
    ran: BTreeSet<UnitId>,
    /// Units that have ended and were not noticed: for so many moments.
    ended: BTreeMap<UnitId, u32>,
    /// Units on which something is under way, which has a deadline of its own.
    busy: BTreeSet<UnitId>,
    /// Whether units are being moved: what is prepared before has deadlines of its own, and waits for no unit.
    moves: bool,
}

impl Watch {
    /// Something was begun on a unit, so that it is out of sight for a while.
    pub(super) fn begins(&mut self, action: &Action) {
        if let Some(unit) = action.unit() {
            self.ended.remove(unit);
            self.given_up.remove(unit);
            self.busy.insert(unit.clone());
            self.moves = true;
        }
    }

    /// All is prepared.
    pub(super) fn goes_forward(&mut self) {
        self.moves = true;
    }

    /// Its executor heard how it ended.
    pub(super) fn ends(&mut self, action: &Action) {
        if let Some(unit) = action.unit() {
            self.busy.remove(unit);
        }
    }

    /// Whether something is under way on a unit.
    pub(super) fn is_busy(&self, unit: &UnitId) -> bool {
        self.busy.contains(unit)
    }

    /// A unit that was not available is being taken away.
    pub(super) fn given_up(&mut self, unit: &UnitId) {
        self.given_up.insert(unit.clone());
    }

    pub(super) fn takes_over(&mut self) {
        self.ended.clear();
        self.busy.clear();
    }
}

impl Judge<'_> {
    /// Judges what changed from the moment before to this one.
    pub(super) fn watch(&mut self, next: &Moment) {
        self.watch_bounds(next);
        self.watch_ended(next);
    }

    /// Law 4, at every moment: what was taken away left enough behind. What went by itself in the meantime is not held
    /// against whoever had begun to take another one away.
    fn watch_bounds(&mut self, next: &Moment) {
        for service in &self.plan.services {
            let mine = |unit: &&UnitId| unit.service == service.service;
            let available = |moment: &Moment| -> BTreeSet<UnitId> {
                moment.units.keys().filter(mine).filter(|unit| self.answers(moment, unit)).cloned().collect()
            };
            let (before, after) = (available(&self.now), available(next));
            // What had failed may go, whoever else was being taken away by then.
            let excuses = |unit: &UnitId| self.failed.contains(unit) || self.watch.given_up.contains(unit);
            let is_taken = |unit: &UnitId| {
                let stays = next.units.get(unit).is_some_and(|now| stands(now) && now.weight > 0);
                self.leaving.contains(unit) && !stays && !excuses(unit)
            };
            let (taken, lost): (Vec<_>, Vec<_>) = before.difference(&after).cloned().partition(is_taken);
            let lost: Vec<UnitId> = lost;
            self.watch.lost.extend(lost);
            self.watch.lost.retain(|unit| !after.contains(unit));
            let excused = self.watch.lost.iter().filter(mine).count();
            let (left, min) = (after.len() + excused, service.available_min() as usize);
            if let Some(unit) = taken.first().filter(|_| left < min) {
                let text = format!("it was taken away, {} are available, at least {min} must", after.len());
                self.broken(Law::Bounds, unit.label(), text);
            }
            if !self.leaving.iter().any(|unit| unit.service == service.service) {
                self.watch.lost.retain(|unit| unit.service != service.service);
            }
        }
    }

    /// Law 8: what has ended is terminal, and is not waited for.
    fn watch_ended(&mut self, next: &Moment) {
        let runs = next.units.iter().filter(|(_, now)| now.running).map(|(unit, _)| unit);
        let reached = runs.filter(|unit| !self.waves.is_ahead(self.plan, unit)).cloned();
        self.watch.ran.extend(reached);
        let forward = self.watch.moves && !self.turned && self.settled.is_none() && self.outcome.is_none();
        let is_goal = |unit: &UnitId| self.wants_forward(unit) && !self.waves.is_ahead(self.plan, unit);
        let mut ended = BTreeMap::new();
        for (unit, _) in next.units.iter().filter(|(_, now)| !now.running && !now.told_to_stop) {
            let seen = !next.unreachable.contains(&unit.target);
            let ran = self.watch.ran.contains(unit);
            let waited_for = is_goal(unit) && !self.failed.contains(unit) && !self.watch.busy.contains(unit);
            if forward && seen && ran && waited_for {
                ended.insert(unit.clone(), self.watch.ended.get(unit).copied().unwrap_or(0) + 1);
            }
        }
        let late: Vec<UnitId> = ended
            .iter()
            .filter(|(_, moments)| **moments == NOTICED_WITHIN)
            .map(|(unit, _)| unit.clone())
            .collect();
        self.watch.ended = ended;
        for unit in late {
            self.broken(Law::Deadlines, unit.label(), "it has ended, and is still waited for");
        }
    }
}
