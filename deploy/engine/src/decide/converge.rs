//! The third part of a decision: one service is brought one step nearer to a goal. Forward and back are the same
//! function; only the goal differs, and that the way back has no batches, no bake and no synthetic requests. The service
//! may be that of one wave alone: then its units, batches and bounds are those of the wave, within those of the whole.

use super::{Reason, Turn, fleet::Fleet};
use crate::{
    model::UnitId,
    plan::{ServicePlan, Side},
    reason::ReasonCode,
    state::{Pause, Phase, Step},
    strategy::{Allowed, Strategy},
    verdict::{self, Verdict},
};
use pipeline::name::Name;
use std::collections::BTreeSet;

/// Why a service is brought to its goal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// The rollout brings it there, batch by batch.
    Forward,
    /// The rollout has brought it there, and goes on elsewhere.
    Upheld,
    /// The rollout has not reached it: what stands is started again where it failed by itself.
    Kept,
    /// What stood before is brought back.
    Back,
}

impl Way {
    /// Whether the goal is what stood before: no batches, no bake, no requests of our own.
    fn is_to_previous(self) -> bool {
        matches!(self, Self::Kept | Self::Back)
    }
}

impl Turn<'_> {
    /// Brings a service one step nearer to its goal.
    pub(super) fn converge(&mut self, service: &ServicePlan, goal: Option<&Side>, way: Way) {
        let phase = std::mem::discriminant(&self.state.phase);
        self.watch_goal(service, goal, way);
        if std::mem::discriminant(&self.state.phase) != phase {
            return;
        }
        let allowed = |turn: &Self, fleet: &Fleet| service.strategy.allowed(turn.counts(service, fleet, way));
        let fleet = self.fleet(service, goal);
        let allowed_now = allowed(self, &fleet);
        self.admit_ready(&fleet, allowed_now);
        self.take_away_broken(service, &fleet, allowed_now, way);
        if way != Way::Kept {
            self.take_away_others(service, fleet, allowed_now);
        }
        let fleet = self.fleet(service, goal);
        let allowed_now = allowed(self, &fleet);
        self.begin_units(service, &fleet, allowed_now, way);
        if matches!(way, Way::Forward | Way::Back) {
            self.close_batch(service, &fleet, allowed_now, way);
        }
    }

    /// Judges every unit of the goal by its evidence.
    pub(super) fn watch_goal(&mut self, service: &ServicePlan, goal: Option<&Side>, way: Way) {
        let previous = way.is_to_previous();
        for unit in service.units_of(goal) {
            let step = self.step_of(&unit);
            let idle = !self.has_flight(&unit) && !self.seen.unreachable.contains(&unit.target);
            match step {
                Step::Waiting if idle => self.watch_starting(service, &unit, previous),
                Step::Ready | Step::Admitting if idle => self.watch_admitting(service, &unit),
                Step::Serving if idle => self.watch_serving(service, &unit, previous),
                _ => {}
            }
        }
    }

    fn watch_starting(&mut self, service: &ServicePlan, unit: &UnitId, previous: bool) {
        let since = self.track(unit).map_or(0, |track| track.since);
        let (Some((facts, health)), Some(check)) = (self.seen.units.get(unit), service.check_of(unit)) else {
            return;
        };
        match verdict::starting(check, facts, health, since, self.now()) {
            Verdict::Pending(_) => {}
            Verdict::Pass => {
                let passes = health.passes;
                self.note(Reason::Healthy { unit: unit.clone(), passes });
                let judged = self.plan.policy.synthetic.is_some() && service.synthetic.is_some() && !previous;
                self.move_to(unit, if judged { Step::Judging } else { Step::Ready });
            }
            Verdict::Fail(reason, message) => self.unit_failed(unit, reason, message),
            Verdict::Inconclusive(reason, message) => self.undecided(unit, reason, message),
        }
    }

    /// There is no verdict on a unit: a human decides, unless the rollout has nothing to do with it yet.
    fn undecided(&mut self, unit: &UnitId, reason: ReasonCode, message: String) {
        if !self.is_ahead(unit) {
            let failure = self.failure(reason, Some(unit), message);
            self.rollout_failed(failure, true);
        }
    }

    /// What was healthy when it was judged may no longer be when it is to get traffic: after the synthetic requests, after
    /// a failed attempt, or for an executor that has not asked it yet. Then it is waited for anew, but not for ever.
    fn watch_admitting(&mut self, service: &ServicePlan, unit: &UnitId) {
        let (Some((facts, health)), Some(check)) = (self.seen.units.get(unit), service.check_of(unit)) else {
            return;
        };
        if verdict::starting(check, facts, health, self.now(), self.now()) == Verdict::Pass {
            return;
        }
        if health.flips >= 2 {
            let message = format!("it changed {} times", health.flips);
            return self.unit_failed(unit, ReasonCode::Flapping, message);
        }
        self.move_to(unit, Step::Waiting);
    }

    fn watch_serving(&mut self, service: &ServicePlan, unit: &UnitId, previous: bool) {
        let (Some((facts, health)), Some(check)) = (self.seen.units.get(unit), service.check_of(unit)) else {
            return;
        };
        match verdict::serving(check, health, self.now()) {
            Verdict::Fail(reason, message) => return self.unit_failed(unit, reason, message),
            Verdict::Inconclusive(reason, message) => return self.undecided(unit, reason, message),
            Verdict::Pass | Verdict::Pending(_) => {}
        }
        if let (Some(limits), false) = (&self.plan.policy.traffic, previous) {
            let traffic = &facts.traffic;
            let slow = traffic.slower_than(limits.slow_above);
            if let Verdict::Fail(reason, message) =
                verdict::rates(limits, traffic.requests, traffic.errors, slow)
            {
                self.unit_failed(unit, reason, message);
            }
        }
    }

    /// Healthy units get traffic as soon as the strategy allows it.
    fn admit_ready(&mut self, fleet: &Fleet, allowed: Allowed) {
        if allowed.admits {
            for unit in fleet.goal.iter().filter(|unit| self.step_of(unit) == Step::Ready).collect::<Vec<_>>()
            {
                self.move_to(unit, Step::Admitting);
            }
        }
    }

    /// Broken units go, to be started again if they are wanted: out of traffic first, unless they have ended anyway.
    /// One that still answers stays while nothing else does.
    fn take_away_broken(&mut self, service: &ServicePlan, fleet: &Fleet, allowed: Allowed, way: Way) {
        let back = way == Way::Back;
        let kept = way == Way::Kept;
        let others = if kept { &[][..] } else { &fleet.others };
        for unit in fleet.goal.iter().chain(others) {
            match self.step_of(unit) {
                _ if self.is_out_of_hand(unit) => continue,
                // It could not be taken away, because nothing else answered, and has come round meanwhile.
                Step::Broken(reason) if self.has_come_round(service, unit, reason) => {
                    self.move_to(unit, Step::Serving);
                    continue;
                }
                // What would not be started again keeps its process, and so its evidence.
                _ if kept && !self.may_be_restored(unit) => continue,
                Step::Broken(_) => {}
                // What was being taken away when the rollout turned round is wanted again: it still runs, so it need
                // only be healthy to get its traffic back.
                Step::Drained if back && self.is_goal(unit) && !self.has_exited(unit) => {
                    self.move_to(unit, Step::Waiting);
                    continue;
                }
                Step::Draining if back && self.is_goal(unit) && !self.has_exited(unit) => {
                    let in_traffic = self.facts(unit).is_some_and(|facts| facts.weight > 0);
                    self.move_to(unit, if in_traffic { Step::Serving } else { Step::Waiting });
                    continue;
                }
                // It answers again, before it was taken away.
                Step::Draining if kept && self.is_available(service, unit) => {
                    self.move_to(unit, Step::Serving);
                    continue;
                }
                Step::Drained if allowed.stops || fleet.goal.contains(unit) || self.has_exited(unit) => {
                    self.move_to(unit, Step::Stopping);
                    continue;
                }
                _ => continue,
            }
            let in_traffic = self.facts(unit).is_some_and(|facts| facts.weight > 0);
            if !in_traffic || self.has_exited(unit) {
                self.move_to(unit, Step::Stopping);
            } else if back || !fleet.available.is_empty() {
                self.move_to(unit, Step::Draining);
            }
        }
    }

    /// Whether a unit that failed for its answers answers well again, and never left the traffic.
    fn has_come_round(&self, service: &ServicePlan, unit: &UnitId, reason: ReasonCode) -> bool {
        let by_answers =
            matches!(reason, ReasonCode::BecameUnhealthy | ReasonCode::Unresponsive | ReasonCode::Flapping);
        by_answers && self.is_available(service, unit)
    }

    /// Units that are not of the goal go as the strategy and the bounds allow.
    fn take_away_others(&mut self, service: &ServicePlan, mut fleet: Fleet, allowed: Allowed) {
        let bound = self.bound(service);
        let stays = self.stays_for_pause(service, &fleet);
        let told = |step: Step| matches!(step, Step::Draining | Step::Drained | Step::Stopping | Step::Gone);
        let mut taken_away = fleet.others.iter().filter(|unit| told(self.step_of(unit))).count() as u32;
        for unit in self.in_order_of_leaving(&fleet) {
            match self.step_of(&unit) {
                _ if self.is_out_of_hand(&unit) => {}
                Step::Starting => self.move_to(&unit, Step::Gone),
                Step::Waiting | Step::Judging | Step::Ready => self.move_to(&unit, Step::Stopping),
                Step::Admitting => self.move_to(&unit, Step::Draining),
                Step::Serving
                    if taken_away < allowed.taken_away
                        && !stays
                        && self.is_known(&unit)
                        && fleet.may_lose(&unit, bound) =>
                {
                    taken_away += 1;
                    fleet.available.remove(&unit);
                    self.move_to(&unit, Step::Draining);
                }
                _ => {}
            }
        }
    }

    /// Whether nobody more leaves because of a pause: where units leave first, the places of those that have left are filled
    /// again; where they come first, what is too many still goes. With `recreate` all have left, or none.
    fn stays_for_pause(&self, service: &ServicePlan, fleet: &Fleet) -> bool {
        let leaves_first = service.strategy.max_surge(fleet.goal.len() as u32) == 0;
        let serves = |unit: &UnitId| self.step_of(unit) == Step::Serving;
        let all_or_none = matches!(service.strategy, Strategy::Recreate) && !fleet.others.iter().all(serves);
        let most = service.count_of(service.from.as_ref()).max(service.count_of(service.to.as_ref()));
        self.pauses() && (leaves_first || fleet.running <= most) && !all_or_none
    }

    /// Whether nothing more is to be begun for now: the operator wants it so, or a wave before this one has lost a unit,
    /// which is replaced first.
    fn pauses(&self) -> bool {
        self.state.phase == Phase::Forward && (self.state.pause != Pause::None || !self.holds_before_wave())
    }

    /// Units that do not answer go first, then those whose place has been taken, then the rest, each by slot.
    fn in_order_of_leaving(&self, fleet: &Fleet) -> Vec<UnitId> {
        let serving = fleet.goal.iter().filter(|unit| self.step_of(unit) == Step::Serving);
        let places: BTreeSet<(u16, &Name)> = serving.map(|unit| (unit.slot, &unit.target)).collect();
        let taken = |unit: &UnitId| places.contains(&(unit.slot, &unit.target));
        let mut others = fleet.others.clone();
        others.sort_by_key(|unit| {
            (fleet.available.contains(unit), !taken(unit), unit.slot, unit.target.clone())
        });
        others
    }

    /// Units of the goal are begun as the strategy and the bounds allow, empty places first.
    fn begin_units(&mut self, service: &ServicePlan, fleet: &Fleet, allowed: Allowed, way: Way) {
        let starts_first = service.strategy.max_surge(fleet.goal.len() as u32) > 0;
        // Places that were made free are filled, whoever pauses.
        let made_free = |unit: &UnitId| {
            self.track(unit).is_some_and(|track| track.step != Step::Serving && !track.given_up)
        };
        let is_free = !starts_first && fleet.others.iter().any(made_free);
        if self.state.interrupted || (way == Way::Forward && !is_free && self.pauses()) {
            return;
        }
        let begun = fleet.goal.iter().filter(|unit| self.step_of(unit) != Step::Gone).count() as u32;
        let by_strategy = allowed.begun.saturating_sub(begun);
        let by_bounds = self.room(service, fleet);
        let room = by_strategy.min(by_bounds) as usize;
        let places: BTreeSet<(u16, &Name)> =
            fleet.available.iter().map(|unit| (unit.slot, &unit.target)).collect();
        let is_held = |unit: &UnitId| places.contains(&(unit.slot, &unit.target));
        let out_of_sight = &self.seen.unreachable;
        let may_begin = |unit: &&UnitId| {
            way != Way::Kept || (self.may_be_restored(unit) && !out_of_sight.contains(&unit.target))
        };
        let absent = fleet.goal.iter().filter(|unit| self.step_of(unit) == Step::Gone);
        let mut absent: Vec<&UnitId> = absent.filter(may_begin).collect();
        absent.sort_by_key(|unit| is_held(unit));
        for unit in absent.into_iter().take(room) {
            self.move_to(unit, Step::Starting);
        }
    }

    /// A batch whose units all serve is under watch for the bake, and then makes room for the next.
    fn close_batch(&mut self, service: &ServicePlan, fleet: &Fleet, allowed: Allowed, way: Way) {
        let back = way == Way::Back;
        let counts = self.counts(service, fleet, way);
        let desired = counts.desired;
        let serving = fleet.goal.iter().filter(|unit| fleet.available.contains(*unit)).count() as u32;
        let weight = self.weight(fleet, allowed);
        let weighted = fleet.goal.iter().all(|unit| self.has_weight(unit, weight));
        let complete = serving >= allowed.begun.min(desired) && serving == counts.serving && weighted;
        let batches = service.strategy.batches(desired, counts.replaced);
        let last = back || counts.batch + 1 >= batches;
        let pauses = way == Way::Forward && self.pauses();
        let Some(state) = self.state.services.get_mut(&service.service) else { return };
        if state.done || pauses {
            return;
        }
        let waits_for_room = desired > 0 && allowed.begun == 0;
        if !complete || waits_for_room {
            state.baking_since = None;
            return;
        }
        let bake = if back || desired == 0 || !allowed.bakes { 0 } else { service.bake };
        let begins = state.baking_since.is_none();
        let since = *state.baking_since.get_or_insert(self.seen.now);
        if begins && bake > 0 {
            self.state.progress_at = since;
            self.note(Reason::BakeBegan { service: service.service.clone(), bake });
        }
        if self.seen.now.saturating_sub(since) < bake || !self.has_good_evidence(service, fleet, back) {
            return;
        }
        if !last && self.is_to_pause(service, counts.batch) {
            self.pause(service, counts.batch, batches);
        } else if !last {
            self.next_batch(service, counts.batch + 1, batches, way);
        } else if counts.others == 0 && serving >= desired && (back || self.sees_all_of(service)) {
            self.state.progress_at = self.seen.now;
            if let Some(state) = self.state.services.get_mut(&service.service) {
                state.done = true;
            }
            self.note(Reason::ServiceDone { service: service.service.clone() });
        }
    }

    /// Whether every target of a service can be reached: on one that never could be, units may stand that nobody knows of.
    fn sees_all_of(&self, service: &ServicePlan) -> bool {
        !service.targets.iter().any(|target| self.seen.unreachable.contains(target))
    }

    fn is_to_pause(&self, service: &ServicePlan, batch: usize) -> bool {
        let number = batch as u32 + 1;
        let promoted = self.state.services.get(&service.service).map_or(0, |state| state.promoted);
        self.plan.policy.pause_after.contains(&number) && promoted < number
    }

    fn pause(&mut self, service: &ServicePlan, batch: usize, batches: usize) {
        let Some(state) = self.state.services.get_mut(&service.service) else { return };
        if !std::mem::replace(&mut state.paused, true) {
            self.state.progress_at = self.seen.now;
            let name = service.service.clone();
            self.note(Reason::Paused { service: name, batch: batch + 1, batches });
        }
    }

    fn next_batch(&mut self, service: &ServicePlan, batch: usize, batches: usize, way: Way) {
        let now = self.now();
        self.state.progress_at = now;
        if let Some(state) = self.state.services.get_mut(&service.service) {
            state.batch = batch;
            state.baking_since = None;
        }
        let name = service.service.clone();
        self.note(Reason::BatchBegan { service: name, batch: batch + 1, batches });
        let goal = service.to.as_ref();
        let fleet = self.fleet(service, goal);
        let allowed = service.strategy.allowed(self.counts(service, &fleet, way));
        self.begin_units(service, &fleet, allowed, way);
    }

    /// Whether the evidence at the end of a bake or a soak is good and fresh. Too little traffic to judge by holds the
    /// rollout.
    pub(super) fn has_good_evidence(&mut self, service: &ServicePlan, fleet: &Fleet, back: bool) -> bool {
        let now = self.now();
        let mut undecided = None;
        for unit in &fleet.goal {
            if self.step_of(unit) != Step::Serving {
                continue;
            }
            let (Some((facts, health)), Some(check)) = (self.seen.units.get(unit), service.check_of(unit))
            else {
                return false;
            };
            if verdict::serving(check, health, now) != Verdict::Pass {
                return false;
            }
            let (Some(limits), false) = (&self.plan.policy.traffic, back) else { continue };
            let slow = facts.traffic.slower_than(limits.slow_above);
            let verdict = verdict::rates(limits, facts.traffic.requests, facts.traffic.errors, slow);
            if let Verdict::Inconclusive(reason, message) = verdict {
                undecided =
                    Some(self.failure(reason, Some(unit), format!("at the end of the bake: {message}")));
            }
        }
        match undecided {
            Some(failure) => {
                self.rollout_failed(failure, true);
                false
            }
            None => true,
        }
    }
}
