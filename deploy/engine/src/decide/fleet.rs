//! One service's units at one moment, counted: what law 4 speaks of.

use super::{Turn, converge::Way};
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
    /// The same service in the other waves.
    elsewhere: Elsewhere,
}

/// How many units of a service stand outside of the wave that is looked at.
#[derive(Debug, Clone, Copy, Default)]
struct Elsewhere {
    available: u32,
    running: u32,
}

/// The fewest units that must stay available.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bound {
    /// Of the service in the wave that is looked at.
    here: u32,
    /// Of the whole service.
    whole: u32,
}

impl Fleet {
    /// Whether taking this unit out of traffic keeps the bound of law 4.
    pub(super) fn may_lose(&self, unit: &UnitId, bound: Bound) -> bool {
        let here = self.available.len() as u32;
        !self.available.contains(unit) || (here > bound.here && here + self.elsewhere.available > bound.whole)
    }

    /// Whether it has as many available units as it must.
    pub(super) fn keeps(&self, bound: Bound) -> bool {
        let here = self.available.len() as u32;
        here >= bound.here && here + self.elsewhere.available >= bound.whole
    }
}

impl Turn<'_> {
    pub(super) fn fleet(&self, service: &ServicePlan, goal: Option<&Side>) -> Fleet {
        let bundle = goal.map(|side| side.bundle);
        let goal = service.units_of(goal);
        let wanted: BTreeSet<&UnitId> = goal.iter().collect();
        let known = self.state.services.get(&service.service).map(|state| &state.units);
        let (mut others, mut available, mut running) = (Vec::new(), BTreeSet::new(), 0);
        let mut elsewhere = Elsewhere::default();
        for (unit, track) in known.into_iter().flatten() {
            let is_available = track.step == Step::Serving && self.is_available(service, unit);
            let runs = self.runs(unit, track.step);
            if !service.targets.contains(&unit.target) && self.plan.waves.len() > 1 {
                elsewhere.available += u32::from(is_available);
                elsewhere.running += u32::from(runs);
                continue;
            }
            if !wanted.contains(unit) {
                others.push(unit.clone());
            }
            if is_available {
                available.insert(unit.clone());
            }
            running += u32::from(runs);
        }
        let replaced = others.iter().filter(|unit| Some(unit.bundle) != bundle).count() as u32;
        Fleet { goal, others, replaced, available, running, elsewhere }
    }

    /// Whether a unit runs and has not been told to stop.
    fn runs(&self, unit: &UnitId, step: Step) -> bool {
        match step {
            Step::Gone => false,
            // It is started, or started again, whatever stands there now.
            Step::Starting => true,
            // Told to stop is what the target says, not what it was asked: the request may not have arrived.
            Step::Stopping => self.facts(unit).map_or_else(
                || self.seen.unreachable.contains(&unit.target),
                |facts| facts.phase == UnitPhase::Running,
            ),
            _ => !self.has_exited(unit),
        }
    }

    /// The fewest units of a service that must stay available: of the wave that it is limited to, and of the whole.
    pub(super) fn bound(&self, service: &ServicePlan) -> Bound {
        let here = service.available_min();
        Bound { here, whole: self.service(&service.service).map_or(here, ServicePlan::available_min) }
    }

    /// How many more units of a service may run: in the wave that it is limited to, and in all.
    pub(super) fn room(&self, service: &ServicePlan, fleet: &Fleet) -> u32 {
        let here = service.running_max().saturating_sub(fleet.running);
        let whole = self.service(&service.service).map_or(u32::MAX, ServicePlan::running_max);
        here.min(whole.saturating_sub(fleet.running + fleet.elsewhere.running))
    }

    pub(super) fn counts(&self, service: &ServicePlan, fleet: &Fleet, way: Way) -> Counts {
        let state = &self.state.services[&service.service];
        let batch = match way {
            Way::Forward => state.batch,
            // Beyond the last one: nothing is held back any more.
            Way::Upheld | Way::Kept | Way::Back => usize::MAX,
        };
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
            batch,
            back: matches!(way, Way::Kept | Way::Back),
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

    /// Whether the evidence that it answers well is fresh.
    pub(super) fn answers_well(&self, service: &ServicePlan, unit: &UnitId) -> bool {
        let Some((_, health)) = self.seen.units.get(unit) else { return false };
        let check = service.check_of(unit);
        check.is_some_and(|check| verdict::serving(check, health, self.seen.now) == Verdict::Pass)
            && !self.seen.unreachable.contains(&unit.target)
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
