//! The second part of a decision: the phase moves when what it waits for is there, and failures change its course.

use super::{Reason, Turn, converge::Way, once::prepare};
use crate::{
    model::{Action, HookMoment, UnitId},
    plan::{OnFailure, ServicePlan, Side},
    reason::ReasonCode,
    state::{Failure, Outcome, Pause, Phase, Step},
};
use pipeline::name::Name;

/// Times that a unit of the previous bundle is started again on the way back before it is given up. Three: once may be
/// a lost race for a port or for memory, twice a slow neighbour.
const BACK_ATTEMPTS: usize = 3;

impl Turn<'_> {
    /// Moves the phase as far as it goes at this moment.
    pub(super) fn advance(&mut self) {
        self.check_progress();
        // Each phase is entered at most once in one decision, so this ends.
        loop {
            let before = self.state.phase.clone();
            match before.clone() {
                Phase::Preparing => self.preparing(),
                Phase::Forward => self.forward(),
                Phase::Verifying => self.verifying(),
                Phase::Collecting { cause, hold } => self.collecting(cause, hold),
                Phase::Back { cause } => self.back(cause),
                Phase::Settling { outcome } => self.settling(outcome),
                Phase::Finished(_) => {}
            }
            if self.state.phase == before {
                return;
            }
        }
    }

    /// Enters a phase.
    pub(super) fn enter(&mut self, phase: Phase) {
        if self.state.phase == phase {
            return;
        }
        self.note(Reason::PhaseBegan { phase: phase.word().to_owned() });
        if matches!(phase, Phase::Back { .. }) {
            // Nothing is waited for but what stood before.
            self.state.pause = Pause::None;
            self.state.wave.paused = false;
            for service in self.state.services.values_mut() {
                service.batch = 0;
                service.baking_since = None;
                service.done = false;
                service.paused = false;
            }
        }
        self.state.progress_at = self.now();
        self.state.phase = phase;
    }

    fn verifying(&mut self) {
        let plan = self.plan;
        for service in &plan.services {
            self.watch_goal(service, service.to.as_ref(), Way::Forward);
            if self.state.phase != Phase::Verifying {
                return;
            }
            let goal = service.units_of(service.to.as_ref());
            if goal.iter().any(|unit| self.step_of(unit) != Step::Serving) {
                // A failure that the budget allows: the unit is replaced before the gates count, and they are run anew.
                let stays = |action: &Action| {
                    !matches!(
                        action,
                        Action::Verify { .. } | Action::Hook { moment: HookMoment::AfterDeploy, .. }
                    )
                };
                self.state.errands.retain(|errand| stays(&errand.action));
                return self.enter(Phase::Forward);
            }
        }
        let services =
            plan.services.iter().filter(|service| service.to.is_some() && plan.policy.smoke.is_some());
        let wanted =
            services.map(|service| Action::Verify { service: service.service.clone() }).take(1).collect();
        if self.all_done(wanted) && self.hooks_done(self.closing_hooks()) && self.all_answer_well() {
            self.enter(Phase::Settling { outcome: Outcome::Succeeded });
        }
    }

    /// Whether the evidence of everything that the rollout has brought is good and fresh: what was found good at the end of
    /// its bake may have been out of sight since.
    pub(super) fn all_answer_well(&self) -> bool {
        let plan = self.plan;
        plan.services.iter().all(|service| {
            service.units_of(service.to.as_ref()).iter().all(|unit| self.answers_well(service, unit))
        })
    }

    fn back(&mut self, cause: Failure) {
        let plan = self.plan;
        self.told_of_failure(&cause);
        // A stable port that has moved is moved back before anything else.
        let moved = plan.services.iter().filter(|service| match (&service.from, &service.to) {
            (Some(from), Some(to)) => (from.host, from.port) != (to.host, to.port),
            _ => false,
        });
        let wanted = moved.flat_map(|service| prepare(service, service.from.as_ref())).collect();
        if !self.all_done(wanted) {
            return;
        }
        for service in plan.services.iter().rev() {
            let dependents = plan.services.iter().filter(|other| other.depends_on.contains(&service.service));
            let ready = dependents.into_iter().all(|other| self.is_done(&other.service));
            if ready {
                self.converge(service, service.from.as_ref(), Way::Back);
            }
            if !matches!(self.state.phase, Phase::Back { .. }) {
                return;
            }
        }
        if plan.services.iter().all(|service| self.is_settled(service, service.from.as_ref()))
            && self.told_of_rollback(&cause)
            && self.no_flights()
        {
            let outcome = if self.state.begun || cause.reason == ReasonCode::Cancelled {
                Outcome::RolledBack { cause }
            } else {
                Outcome::Refused { cause }
            };
            self.enter(Phase::Settling { outcome });
        }
    }

    pub(super) fn is_done(&self, service: &Name) -> bool {
        self.state.services.get(service).is_none_or(|state| state.done)
    }

    /// Whether a service waits to be promoted, and no other one can go on meanwhile.
    pub(super) fn is_paused(&self) -> bool {
        if self.state.phase != Phase::Forward || !self.no_flights() {
            return false;
        }
        if self.state.pause == Pause::Reached || self.state.wave.paused {
            return true;
        }
        let waits = |service: &ServicePlan| {
            let state = self.state.services.get(&service.service);
            let is_ready = service.depends_on.iter().all(|name| self.is_done(name));
            !is_ready || state.is_some_and(|state| state.done || state.paused)
        };
        self.state.services.values().any(|service| service.paused) && self.plan.services.iter().all(waits)
    }

    /// Whether a service is where it should be, and still is.
    fn is_settled(&self, service: &ServicePlan, goal: Option<&Side>) -> bool {
        let goal = service.units_of(goal);
        self.is_done(&service.service) && goal.iter().all(|unit| self.step_of(unit) == Step::Serving)
    }

    /// While evidence is collected nothing is undone, but a broken unit is taken out of traffic at once if another one
    /// can take over: it keeps its process, so its evidence stays.
    pub(super) fn shield_users(&mut self) {
        let plan = self.plan;
        for service in &plan.services {
            let fleet = self.fleet(service, service.to.as_ref());
            let broken = fleet.goal.iter().filter(|unit| matches!(self.step_of(unit), Step::Broken(_)));
            let in_traffic = |unit: &&UnitId| self.facts(unit).is_some_and(|facts| facts.weight > 0);
            let runs = |unit: &&UnitId| !self.has_exited(unit) && !self.has_flight(unit);
            let broken: Vec<UnitId> = broken.filter(in_traffic).filter(runs).cloned().collect();
            if !fleet.available.is_empty() {
                for unit in broken {
                    self.move_to(&unit, Step::Draining);
                }
            }
        }
    }

    /// A unit of the goal failed.
    pub(super) fn unit_failed(&mut self, unit: &UnitId, reason: ReasonCode, message: String) {
        self.move_to(unit, Step::Broken(reason));
        if self.is_ahead(unit) {
            return self.ailed(unit, reason, message);
        }
        let failure = self.failure(reason, Some(unit), message);
        match &self.state.phase {
            Phase::Back { cause } => {
                let cause = cause.clone();
                self.failed_on_the_way_back(unit.clone(), cause, failure);
            }
            Phase::Preparing | Phase::Forward | Phase::Verifying => self.count_failure(failure),
            Phase::Collecting { .. } | Phase::Settling { .. } | Phase::Finished(_) => {
                self.note(Reason::Failed(failure.clone()));
                self.state.failures.push(failure);
            }
        }
    }

    /// Counts a unit's failure against the budget, which is exceeded by the first failure above the limit.
    fn count_failure(&mut self, failure: Failure) {
        let limit = self.plan.policy.failure_limit;
        self.note(Reason::Failed(failure.clone()));
        self.state.failures.push(failure.clone());
        let failures = self.state.failures.len() as u32;
        let in_wave = failure.unit.as_ref().is_some_and(|unit| self.exceeds_wave(unit));
        if failures > limit || in_wave {
            self.collect(failure, false);
        } else {
            self.note(Reason::Tolerated { failures, limit });
        }
    }

    fn failed_on_the_way_back(&mut self, unit: UnitId, cause: Failure, failure: Failure) {
        self.note(Reason::Failed(failure.clone()));
        self.state.failures.push(failure.clone());
        let since_back = |earlier: &&Failure| earlier.unit.as_ref() == Some(&unit);
        if self.state.failures.iter().filter(since_back).count() >= BACK_ATTEMPTS {
            self.give_up_rollback(cause, failure);
        }
    }

    /// The previous bundle does not come back. Where the new units still serve, that is held: taking them away would
    /// lose the only healthy copy.
    fn give_up_rollback(&mut self, cause: Failure, failure: Failure) {
        let served = self.plan.services.iter().all(|service| {
            let fleet = self.fleet(service, service.from.as_ref());
            service.from.is_none() || fleet.available.len() as u32 >= service.available_min().max(1)
        });
        let outcome = if served {
            let reason = ReasonCode::OnlyHealthyCopy;
            let message = format!(
                "partly rolled back: the previous bundle does not become healthy ({}: {}), and what serves now was kept; the rollout had failed with {}: {}",
                failure.reason, failure.message, cause.reason, cause.message
            );
            Outcome::Held { cause: Failure { reason, message, ..failure }, back: true }
        } else {
            Outcome::RollbackFailed { cause, failure: Box::new(failure) }
        };
        self.enter(Phase::Finished(outcome));
    }

    /// The rollout as a whole failed, whatever its budget: a gate, an action, a missing verdict (`inconclusive`).
    pub(super) fn rollout_failed(&mut self, failure: Failure, inconclusive: bool) {
        self.note(Reason::Failed(failure.clone()));
        self.state.failures.push(failure.clone());
        match &self.state.phase {
            Phase::Preparing | Phase::Forward | Phase::Verifying => self.collect(failure, inconclusive),
            Phase::Back { cause } if inconclusive => {
                let reason = failure.reason;
                let message = format!(
                    "the way back could not be judged: {}; the rollout had failed with {}: {}",
                    failure.message, cause.reason, cause.message
                );
                let cause = Failure { reason, message, ..failure };
                self.enter(Phase::Finished(Outcome::Held { cause, back: true }));
            }
            Phase::Settling { outcome } if inconclusive => {
                let back = !matches!(outcome, Outcome::Succeeded);
                self.enter(Phase::Finished(Outcome::Held { cause: failure, back }));
            }
            Phase::Back { .. } | Phase::Collecting { .. } | Phase::Settling { .. } | Phase::Finished(_) => {}
        }
    }

    /// The way forward ends: evidence is collected, and then it is rolled back, unless it is to be held.
    fn collect(&mut self, mut cause: Failure, inconclusive: bool) {
        let hold = inconclusive || self.plan.policy.on_failure == OnFailure::Hold;
        if self.is_past_return() && !hold {
            // What a program wrote comes after the sentence.
            let end = cause.message.find('\n').unwrap_or(cause.message.len());
            cause
                .message
                .insert_str(end, "; the release is irreversible, so what stood before is not brought back");
        }
        self.enter(Phase::Collecting { cause, hold: hold || self.is_past_return() });
    }

    /// Nothing has moved for too long: whatever is waited for will not come.
    fn check_progress(&mut self) {
        let soak = self.plan.waves.get(self.state.wave.index).map_or(0, |wave| wave.soak);
        let soaked = self.state.wave.soaking_since.map_or(0, |since| since + soak);
        let idle = self.now().saturating_sub(self.state.progress_at.max(soaked));
        // What is under way has a deadline of its own, which for a gate may be longer.
        if idle < self.plan.policy.progress_deadline
            || self.state.interrupted
            || !self.no_flights()
            || self.is_paused()
        {
            return;
        }
        let waits: Vec<String> = self.waiting().into_iter().map(|waiting| waiting.for_what).collect();
        let idle = crate::verdict::seconds(idle);
        let text = format!("nothing moved for {idle}; waited for: {}", waits.join("; "));
        let failure = self.failure(ReasonCode::NoProgress, None, text);
        match self.state.phase.clone() {
            Phase::Back { cause } => self.give_up_rollback(cause, failure),
            Phase::Collecting { cause, hold } => {
                let next = if hold {
                    Phase::Finished(Outcome::Held { cause, back: false })
                } else {
                    Phase::Back { cause }
                };
                self.enter(next);
            }
            Phase::Settling { outcome } => {
                let back = !matches!(outcome, Outcome::Succeeded);
                self.enter(Phase::Finished(Outcome::Held { cause: failure, back }));
            }
            _ => self.rollout_failed(failure, false),
        }
    }
}
