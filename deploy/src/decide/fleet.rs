//! One service's units at one moment, counted: what law 4 speaks of.

use super::Turn;
use crate::{
    model::{UnitFacts, UnitId, UnitPhase},
    plan::{ServicePlan, Side},
    state::Step,
    strategy::Counts,
    verdict::{self, Verdict},
};
use std::collections::BTreeSet;

/// One service's units at one moment.
pub(super) struct Fleet {
    /// The units that are to be, in order.
    pub(super) goal: Vec<UnitId>,
    /// Units that are known and are not of the goal.
    pub(super) others: Vec<UnitId>,
    /// How many of those run another bundle than the goal's.
    pub(super) replaced: u32,
    /// Units that take traffic and are healthy.
    pub(super) available: BTreeSet<UnitId>,
    /// Units that run and have not been told to stop.
    pub(super) running: u32,
}

impl Fleet {
    /// Whether taking this unit out of traffic keeps the bound of law 4.
    pub(super) fn may_lose(&self, unit: &UnitId, available_min: u32) -> bool {
        !self.available.contains(unit) || self.available.len() as u32 > available_min
    }
}

impl Turn<'_> {
    pub(super) fn fleet(&self, service: &ServicePlan, goal: Option<&Side>) -> Fleet {
        let bundle = goal.map(|side| side.bundle);
        let goal = service.units_of(goal);
        let wanted: BTreeSet<&UnitId> = goal.iter().collect();
        let known = self.state.services.get(&service.service).map(|state| &state.units);
        let tracks = || known.into_iter().flatten();
        let others: Vec<UnitId> =
            tracks().map(|(unit, _)| unit).filter(|unit| !wanted.contains(unit)).cloned().collect();
        let available = tracks()
            .filter(|(unit, track)| track.step == Step::Serving && self.is_available(service, unit))
            .map(|(unit, _)| unit.clone())
            .collect();
        let running = tracks()
            .filter(|(unit, track)| match track.step {
                Step::Gone => false,
                // Told to stop is what the target says, not what it was asked: the request may not have arrived.
                Step::Stopping => self.facts(unit).is_some_and(|facts| facts.phase == UnitPhase::Running),
                _ => !self.has_exited(unit),
            })
            .count() as u32;
        let replaced = others.iter().filter(|unit| Some(unit.bundle) != bundle).count() as u32;
        Fleet { goal, others, replaced, available, running }
    }

    pub(super) fn counts(&self, service: &ServicePlan, fleet: &Fleet, back: bool) -> Counts {
        let state = &self.state.services[&service.service];
        let count = |units: &[UnitId], is: fn(Step) -> bool| {
            units.iter().filter(|unit| is(self.step_of(unit))).count() as u32
        };
        Counts {
            desired: fleet.goal.len() as u32,
            ready: count(&fleet.goal, |step| matches!(step, Step::Ready | Step::Admitting | Step::Serving)),
            serving: count(&fleet.goal, |step| step == Step::Serving),
            others: count(&fleet.others, |step| step != Step::Gone),
            others_at_first: fleet.others.len() as u32,
            replaced: fleet.replaced,
            batch: state.batch,
            back,
        }
    }

    pub(super) fn facts(&self, unit: &UnitId) -> Option<&UnitFacts> {
        self.seen.units.get(unit).map(|(facts, _)| facts)
    }

    pub(super) fn has_exited(&self, unit: &UnitId) -> bool {
        matches!(self.facts(unit), Some(UnitFacts { phase: UnitPhase::Exited(_), .. }))
    }

    /// Whether nothing can be decided of a unit now: something is under way on it, or its target cannot be reached, so
    /// that what is known of it may be old or nothing at all.
    pub(super) fn is_out_of_hand(&self, unit: &UnitId) -> bool {
        self.has_flight(unit) || self.seen.unreachable.contains(&unit.target)
    }

    /// Whether there is enough to judge this unit by: it passed once, failed as often as makes it unhealthy, or ended, on
    /// a target that can be reached. Until then it is neither counted on nor given up.
    pub(super) fn is_known(&self, unit: &UnitId) -> bool {
        let Some((facts, health)) = self.seen.units.get(unit) else { return false };
        let check = self.service(&unit.service).and_then(|service| service.check_of(unit));
        // A unit of a bundle that the plan does not know is not asked, and not counted on.
        let answered = check.is_none_or(|check| {
            health.ever_passed
                || health.failures >= check.unhealthy_failures.max(1)
                || health.provider_errors > check.provider_error_limit
        });
        let reached = !self.seen.unreachable.contains(&unit.target);
        reached && (answered || facts.phase != UnitPhase::Running)
    }

    /// Whether it takes traffic, runs, and answers well.
    pub(super) fn is_available(&self, service: &ServicePlan, unit: &UnitId) -> bool {
        let Some((facts, health)) = self.seen.units.get(unit) else { return false };
        let Some(check) = service.check_of(unit) else { return false };
        facts.phase == UnitPhase::Running
            && facts.weight > 0
            && !self.seen.unreachable.contains(&unit.target)
            && !matches!(verdict::serving(check, health, self.seen.now), Verdict::Fail(..))
            && health.ever_passed
    }
}
