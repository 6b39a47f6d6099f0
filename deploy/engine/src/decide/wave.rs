//! The way forward, wave after wave. Waves that were passed are kept as they are to be, the current one is brought there,
//! and what the rollout has not reached yet is kept as it stands.
//!
//! ```text
//! wave 0 ──every service done──▶ soak ──evidence good──▶ (paused ──promote──▶) wave 1 ──…──▶ last wave ──soak──▶ gates
//!    └── a unit fails more often than the rollout's or the wave's budget allows ──▶ collecting, back on every target
//! ```

use super::{Reason, Turn, converge::Way};
use crate::{
    model::UnitId,
    plan::{ServicePlan, Wave},
    reason::ReasonCode,
    state::{Outcome, Pause, Phase, Step},
};
use std::cmp::Ordering;

/// Times that a unit which the rollout has not reached yet is started again, before it is left as it is. Three, as on the
/// way back: more would hide a service that does not come up any more.
const RESTORES: usize = 3;

impl Turn<'_> {
    /// Brings the current wave nearer to its goal, and keeps the others.
    pub(super) fn forward(&mut self) {
        let (plan, current) = (self.plan, self.state.wave.index);
        for wave in 0..plan.wave_count() {
            for service in &plan.services {
                let scoped = plan.in_wave(service, wave);
                match wave.cmp(&current) {
                    Ordering::Less => self.converge(&scoped, scoped.to.as_ref(), Way::Upheld),
                    Ordering::Equal if service.depends_on.iter().all(|name| self.is_done(name)) => {
                        self.converge(&scoped, scoped.to.as_ref(), Way::Forward);
                    }
                    Ordering::Equal => {}
                    Ordering::Greater => self.converge(&scoped, scoped.from.as_ref(), Way::Kept),
                }
                if self.state.phase != Phase::Forward {
                    return;
                }
            }
        }
        self.reach_pause();
        if plan.services.iter().all(|service| self.is_settled_up_to(service, current)) {
            self.close_wave();
        } else {
            self.state.wave.soaking_since = None;
        }
    }

    /// Whether a service is where it should be in every wave up to this one, and still is.
    fn is_settled_up_to(&self, service: &ServicePlan, wave: usize) -> bool {
        let goal = service.units_of(service.to.as_ref());
        let mut reached = goal.iter().filter(|unit| self.plan.wave_of(&unit.target) <= wave);
        self.is_done(&service.service) && reached.all(|unit| self.step_of(unit) == Step::Serving)
    }

    /// Whether every wave before the current one still is as it is to be.
    pub(super) fn holds_before_wave(&self) -> bool {
        let current = self.state.wave.index;
        current == 0
            || self.plan.services.iter().all(|service| {
                let goal = service.units_of(service.to.as_ref());
                let mut before = goal.iter().filter(|unit| self.plan.wave_of(&unit.target) < current);
                before.all(|unit| self.step_of(unit) == Step::Serving)
            })
    }

    /// A wave whose units all serve is under watch for its soak, and then makes room for the next.
    fn close_wave(&mut self) {
        let index = self.state.wave.index;
        let last = index + 1 >= self.plan.wave_count();
        if let Some(wave) = self.plan.waves.get(index) {
            if !self.has_soaked(wave) || self.state.pause != Pause::None {
                return;
            }
            if !last && wave.pause && self.state.wave.promoted <= index as u32 {
                return self.pause_after_wave(wave);
            }
        }
        if !last {
            return self.next_wave(index + 1);
        }
        let has_hooks = self.plan.policy.hooks.get(&self.closing_hooks()).is_some_and(|all| !all.is_empty());
        self.enter(if self.plan.policy.smoke.is_some() || has_hooks {
            Phase::Verifying
        } else if self.all_answer_well() {
            Phase::Settling { outcome: Outcome::Succeeded }
        } else {
            return;
        });
    }

    fn has_soaked(&mut self, wave: &Wave) -> bool {
        let now = self.now();
        let begins = self.state.wave.soaking_since.is_none();
        let since = *self.state.wave.soaking_since.get_or_insert(now);
        if begins && wave.soak > 0 {
            self.state.progress_at = now;
            self.note(Reason::SoakBegan { name: wave.name.clone(), soak: wave.soak });
        }
        let plan = self.plan;
        now.saturating_sub(since) >= wave.soak
            && (0..=self.state.wave.index).all(|index| {
                plan.services.iter().all(|service| {
                    let scoped = plan.in_wave(service, index);
                    let fleet = self.fleet(&scoped, scoped.to.as_ref());
                    self.has_good_evidence(&scoped, &fleet, false)
                })
            })
    }

    fn pause_after_wave(&mut self, wave: &Wave) {
        if !std::mem::replace(&mut self.state.wave.paused, true) {
            self.state.progress_at = self.now();
            let (number, waves) = (self.state.wave.index + 1, self.plan.wave_count());
            self.note(Reason::WavePaused { name: wave.name.clone(), wave: number, waves });
        }
    }

    fn next_wave(&mut self, index: usize) {
        let wave = &mut self.state.wave;
        (wave.index, wave.soaking_since, wave.paused) = (index, None, false);
        for service in self.state.services.values_mut() {
            service.batch = 0;
            service.baking_since = None;
            service.done = false;
            service.paused = false;
            service.promoted = 0;
        }
        self.state.progress_at = self.now();
        self.tell_wave();
    }

    /// Tells which wave has begun, if there are waves.
    pub(super) fn tell_wave(&mut self) {
        let (index, waves) = (self.state.wave.index, self.plan.wave_count());
        if let Some(wave) = self.plan.waves.get(index) {
            self.note(Reason::WaveBegan { name: wave.name.clone(), wave: index + 1, waves });
        }
    }

    /// The operator's pause is reached when nothing is under way: every unit serves, waits for the others of its side, is
    /// kept for a return, or is not there.
    fn reach_pause(&mut self) {
        let rests = |step: Step| matches!(step, Step::Gone | Step::Ready | Step::Serving | Step::Drained);
        let mut tracks = self.state.services.values().flat_map(|service| service.units.values());
        if self.state.pause == Pause::Asked
            && self.state.flights.is_empty()
            && tracks.all(|track| rests(track.step))
        {
            self.state.pause = Pause::Reached;
            self.state.progress_at = self.now();
            self.note(Reason::PauseReached);
        }
    }

    /// Whether a unit is of a wave that the rollout has not reached: it is kept as it stands.
    pub(super) fn is_ahead(&self, unit: &UnitId) -> bool {
        matches!(self.state.phase, Phase::Forward) && self.plan.wave_of(&unit.target) > self.state.wave.index
    }

    /// A unit that the rollout has not reached failed by itself. That says nothing of the new release, so it is not counted.
    pub(super) fn ailed(&mut self, unit: &UnitId, reason: ReasonCode, message: String) {
        let failure = self.failure(reason, Some(unit), message);
        // What is left as it is may fail for ever, and each of these is written down with every change.
        if self.may_be_restored(unit) {
            self.state.ailments.push(failure.clone());
        }
        // Should it answer again, it is as good as any other.
        if let Some(service) = self.state.services.get_mut(&unit.service)
            && let Some(track) = service.units.get_mut(unit)
        {
            track.given_up = false;
        }
        if self.may_be_restored(unit) {
            self.note(Reason::Ailed(failure));
        }
    }

    /// Whether a unit that is kept as it stands is started again when it has failed.
    pub(super) fn may_be_restored(&self, unit: &UnitId) -> bool {
        let ailed = self.state.ailments.iter().filter(|failure| failure.unit.as_ref() == Some(unit));
        ailed.count() < RESTORES
    }

    /// Whether the budget of the wave that a unit belongs to is exceeded.
    pub(super) fn exceeds_wave(&self, unit: &UnitId) -> bool {
        let index = self.plan.wave_of(&unit.target);
        let limit = self.plan.waves.get(index).and_then(|wave| wave.failure_limit);
        let failed = self.state.failures.iter().filter_map(|failure| failure.unit.as_ref());
        let here = failed.filter(|unit| self.plan.wave_of(&unit.target) == index).count() as u32;
        limit.is_some_and(|limit| here > limit)
    }
}
