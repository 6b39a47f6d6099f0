//! The first part of a decision: what came in since the last one is taken over into the state.

use super::{Leave, Reason, Turn};
use crate::{
    model::{Action, Exit, HookMoment, IntentId, Millis, UnitId, UnitPhase},
    port::{EffectError, GateResult},
    reason::ReasonCode,
    state::{Command, Effect, Outcome, Pause, Phase, Step},
    verdict::{self, Verdict},
};

/// Times that an effect is tried again after a failure that may pass, on the way forward. On the way back it is tried
/// until the progress deadline. Three, after 1, 2 and 4 s: long enough for a restart of a service on the target.
const RETRIES: u32 = 3;

/// The first pause before an effect is tried again, in milliseconds; it doubles each time.
const RETRY_PAUSE: Millis = 1_000;

/// The longest pause before an effect is tried again, in milliseconds.
const RETRY_PAUSE_MAX: Millis = 8_000;

impl Turn<'_> {
    pub(super) fn absorb(&mut self) {
        if self.seen.fresh {
            self.take_up();
        }
        for (id, result) in &self.seen.effects {
            self.absorb_effect(*id, result);
        }
        let busy = self.state.flights.values().filter_map(|flight| flight.intent.action.unit());
        self.busy = busy.cloned().collect();
        self.absorb_facts();
        for command in &self.seen.commands {
            self.absorb_command(*command);
        }
    }

    /// A new executor knows nothing of the flights of the one before, and its waits begin anew.
    fn take_up(&mut self) {
        let now = self.now();
        let begun = self.state.next_intent > 1;
        self.state.flights.clear();
        self.state.interrupted = false;
        self.state.progress_at = now;
        self.state.wave.soaking_since = self.state.wave.soaking_since.map(|_| now);
        for errand in &mut self.state.errands {
            errand.attempts = 0;
            errand.not_before = 0;
        }
        for service in self.state.services.values_mut() {
            service.baking_since = service.baking_since.map(|_| now);
            for track in service.units.values_mut() {
                track.since = now;
                track.attempts = 0;
                track.not_before = 0;
            }
        }
        if begun {
            self.note(Reason::TakenUp);
        }
    }

    fn absorb_effect(&mut self, id: IntentId, result: &Result<Effect, EffectError>) {
        let Some(flight) = self.state.flights.remove(&id) else { return };
        let action = flight.intent.action;
        match result {
            Ok(Effect::Done) => self.took_hold(&action),
            Ok(Effect::Gate(result)) => self.absorb_gate(&action, result),
            Err(EffectError::Fenced { generation }) => {
                self.leave = Some(Leave::Lost { generation: *generation });
            }
            Err(EffectError::Passing { message }) => self.try_again(id, &action, message),
            Err(EffectError::Terminal { reason, message }) => self.gave_up(&action, *reason, message),
        }
    }

    fn took_hold(&mut self, action: &Action) {
        self.state.progress_at = self.now();
        match action {
            Action::Start { unit } => self.move_to(unit, Step::Waiting),
            Action::Judge { unit } => self.move_to(unit, Step::Ready),
            Action::Admit { unit, .. } => self.move_to(unit, Step::Serving),
            Action::Drain { unit, .. } => self.move_to(unit, Step::Drained),
            Action::Stop { unit, .. } => self.move_to(unit, Step::Gone),
            Action::Prepare { .. }
            | Action::Hook { .. }
            | Action::Migrate { .. }
            | Action::Verify { .. }
            | Action::Collect
            | Action::Commit { .. } => {
                // A gate says nothing of what has changed since it was asked for.
                let counts = !is_gate(action) || self.is_current(action);
                self.errand(action).done = counts;
            }
        }
    }

    fn absorb_gate(&mut self, action: &Action, result: &GateResult) {
        let (samples, errors) = (result.samples, result.errors);
        let verdict = match (action, &self.plan.policy.synthetic) {
            (Action::Judge { .. }, Some(limits)) => verdict::rates(limits, samples, errors, result.slow),
            _ if samples == 0 => {
                Verdict::Inconclusive(ReasonCode::NoEvidence, "no smoke test was run".to_owned())
            }
            _ if errors > 0 => {
                Verdict::Fail(ReasonCode::SmokeFailed, format!("{errors} of {samples} smoke tests failed"))
            }
            _ => Verdict::Pass,
        };
        let unit = action.unit();
        match verdict {
            Verdict::Pass | Verdict::Pending(_) => self.took_hold(action),
            Verdict::Fail(reason, message) => match unit {
                Some(unit) => self.unit_failed(unit, reason, message),
                None => {
                    let failure = self.failure(reason, None, message);
                    self.rollout_failed(failure, false);
                }
            },
            Verdict::Inconclusive(reason, message) => {
                let failure = self.failure(reason, unit, message);
                self.rollout_failed(failure, true);
            }
        }
    }

    fn try_again(&mut self, id: IntentId, action: &Action, message: &str) {
        let back = self.is_back();
        let now = self.now();
        let attempts = match action.unit() {
            Some(unit) => self.track(unit).map_or(0, |track| track.attempts),
            None => self.errand(action).attempts,
        };
        let is_advisory = matches!(action, Action::Hook { moment, .. } if moment.is_advisory());
        if attempts >= RETRIES && (!back || is_advisory) {
            return self.gave_up(action, ReasonCode::ActionFailed, message);
        }
        let after = RETRY_PAUSE.saturating_mul(1 << attempts.min(10)).min(RETRY_PAUSE_MAX);
        let slot = match action.unit() {
            Some(unit) => self
                .state
                .services
                .get_mut(&unit.service)
                .and_then(|service| service.units.get_mut(unit))
                .map(|track| (&mut track.attempts, &mut track.not_before)),
            None => {
                let errand = self.errand(action);
                Some((&mut errand.attempts, &mut errand.not_before))
            }
        };
        if let Some((attempts, not_before)) = slot {
            *attempts += 1;
            *not_before = now + after;
        }
        self.note(Reason::Retried { intent: id, message: message.to_owned(), after });
    }

    fn gave_up(&mut self, action: &Action, reason: ReasonCode, message: &str) {
        match action {
            // Evidence that cannot be collected must not stand in the way of the rollback.
            Action::Collect => self.errand(action).done = true,
            Action::Hook { moment, .. } if moment.is_advisory() => {
                self.errand(action).done = true;
                self.note(Reason::HookIgnored { moment: *moment, message: message.to_owned() });
            }
            Action::Hook { .. } => {
                let failure = self.failure(reason, None, message);
                self.pause_errand(action);
                self.rollout_failed(failure, false);
            }
            Action::Migrate { service, .. } => {
                let mut failure = self.failure(reason, None, message);
                failure.service = Some(service.clone());
                self.pause_errand(action);
                self.rollout_failed(failure, false);
            }
            Action::Start { unit } | Action::Admit { unit, .. } => {
                self.unit_failed(unit, reason, message.to_owned());
            }
            Action::Judge { unit } => {
                let failure = self.failure(reason, Some(unit), message);
                self.rollout_failed(failure, true);
            }
            Action::Drain { unit, .. } | Action::Stop { unit, .. } => {
                let failure = self.failure(reason, Some(unit), format!("{}: {message}", action.verb()));
                self.pause_after(unit);
                self.rollout_failed(failure, false);
            }
            Action::Prepare { service, .. } | Action::Verify { service } => {
                let mut failure = self.failure(reason, None, message);
                failure.service = Some(service.clone());
                self.pause_errand(action);
                // A gate that cannot be run says nothing of the service.
                self.rollout_failed(failure, reason == ReasonCode::ProbeBroken);
            }
            Action::Commit { .. } => {
                let failure = self.failure(reason, None, message);
                self.pause_errand(action);
                self.rollout_failed(failure, true);
            }
        }
    }

    /// An action that failed for good is not asked for again at once, should the way back need it too.
    fn pause_after(&mut self, unit: &UnitId) {
        let not_before = self.now() + RETRY_PAUSE_MAX;
        if let Some(service) = self.state.services.get_mut(&unit.service)
            && let Some(track) = service.units.get_mut(unit)
        {
            track.not_before = not_before;
        }
    }

    fn pause_errand(&mut self, action: &Action) {
        let not_before = self.now() + RETRY_PAUSE_MAX;
        self.errand(action).not_before = not_before;
    }

    /// What the targets report overrules what is remembered, except of units on which something is under way.
    fn absorb_facts(&mut self) {
        let seen = self.seen;
        for (unit, (facts, _)) in &seen.units {
            let planned = self.state.services.contains_key(&unit.service);
            if planned && self.track(unit).is_none() {
                self.move_to(unit, step_of_stranger(&facts.phase, facts.weight));
            }
        }
        let known: Vec<(UnitId, Step)> = self
            .state
            .services
            .values()
            .flat_map(|service| service.units.iter().map(|(unit, track)| (unit.clone(), track.step)))
            .collect();
        for (unit, step) in known {
            if !self.has_flight(&unit) && !seen.unreachable.contains(&unit.target) {
                self.absorb_unit(&unit, step);
            }
        }
    }

    fn absorb_unit(&mut self, unit: &UnitId, step: Step) {
        let phase = self.facts(unit).map(|facts| (facts.phase.clone(), facts.weight));
        match (step, phase) {
            // The answer said that it failed, or nobody heard it: what stands counts.
            (Step::Starting, Some((UnitPhase::Running, weight))) => {
                self.move_to(unit, step_of_stranger(&UnitPhase::Running, weight));
            }
            // Asked for and not under way: it is asked for again, which is harmless if it took hold.
            (Step::Starting | Step::Stopping, _) | (Step::Gone, None) => {}
            (Step::Gone, Some((phase, weight))) => self.move_to(unit, step_of_stranger(&phase, weight)),
            (Step::Drained | Step::Draining | Step::Broken(_), None) => self.move_to(unit, Step::Gone),
            (_, None) => self.vanished(unit),
            (Step::Drained | Step::Draining | Step::Broken(_), Some(_)) => {}
            (_, Some((UnitPhase::Exited(exit), _))) => self.exited(unit, &exit),
            (_, Some((UnitPhase::Stopping, _))) => self.move_to(unit, Step::Drained),
            (Step::Serving, Some((UnitPhase::Running, 0))) => {
                let step = if self.is_goal(unit) { Step::Waiting } else { Step::Drained };
                self.move_to(unit, step);
            }
            (
                Step::Waiting | Step::Judging | Step::Ready | Step::Admitting,
                Some((UnitPhase::Running, weight)),
            ) if weight > 0 => {
                self.move_to(unit, Step::Serving);
            }
            (
                Step::Waiting | Step::Judging | Step::Ready | Step::Admitting | Step::Serving,
                Some((UnitPhase::Running, _)),
            ) => {}
        }
    }

    fn exited(&mut self, unit: &UnitId, exit: &Exit) {
        let ever_passed = self.seen.units.get(unit).is_some_and(|(_, health)| health.ever_passed);
        let reason = verdict::of_exit(exit, ever_passed);
        if self.is_goal(unit) {
            self.unit_failed(unit, reason, exit.to_string());
        } else {
            self.move_to(unit, Step::Broken(reason));
        }
    }

    fn vanished(&mut self, unit: &UnitId) {
        if self.is_goal(unit) {
            let text = "it is gone, and nobody here stopped it".to_owned();
            self.unit_failed(unit, ReasonCode::Killed, text);
        }
        self.move_to(unit, Step::Gone);
    }

    /// Whether a unit is wanted in the phase that the rollout is in.
    pub(super) fn is_goal(&self, unit: &UnitId) -> bool {
        let Some(service) = self.service(&unit.service) else { return false };
        let side = if self.is_back() || self.is_ahead(unit) { &service.from } else { &service.to };
        side.as_ref().is_some_and(|side| side.bundle == unit.bundle && unit.slot < side.replicas)
    }

    /// What is paused may go on: after the operator's own pause as it was, or else every service to its next batch, and the
    /// rollout to its next wave.
    fn promote(&mut self) {
        self.state.progress_at = self.now();
        if std::mem::replace(&mut self.state.pause, Pause::None) != Pause::None {
            return;
        }
        let wave = &mut self.state.wave;
        if std::mem::replace(&mut wave.paused, false) {
            wave.promoted = wave.index as u32 + 1;
        }
        for service in self.state.services.values_mut().filter(|service| service.paused) {
            service.paused = false;
            service.promoted = service.batch as u32 + 1;
        }
    }

    fn absorb_command(&mut self, command: Command) {
        self.note(Reason::Commanded { command });
        let cancel =
            |turn: &Self| turn.failure(ReasonCode::Cancelled, None, "the operator ended the rollout");
        match (command, &self.state.phase) {
            (_, Phase::Finished(_) | Phase::Settling { .. }) => {}
            (Command::Interrupt, _) => self.state.interrupted = true,
            (Command::Pause, Phase::Preparing | Phase::Forward) if self.state.pause == Pause::None => {
                self.state.pause = Pause::Asked;
            }
            // After the last unit there is nothing left to pause before, and a way back is not stopped half way.
            (Command::Pause, _) => {}
            (Command::Promote, _) => self.promote(),
            (Command::Cancel, Phase::Back { .. }) => {}
            (Command::Cancel, Phase::Collecting { cause, .. }) => {
                let (cause, hold) = (cause.clone(), self.is_past_return());
                self.enter(Phase::Collecting { cause, hold });
            }
            (Command::Cancel, _) if self.is_past_return() => {
                let message =
                    "the operator ended the rollout, and its release is irreversible: what stands was kept";
                let cause = self.failure(ReasonCode::Irreversible, None, message);
                self.enter(Phase::Finished(Outcome::Held { cause, back: false }));
            }
            (Command::Cancel, Phase::Preparing | Phase::Forward | Phase::Verifying) => {
                let cause = cancel(self);
                self.enter(Phase::Back { cause });
            }
            (Command::Hold, _) => {
                let (cause, back) = (cancel(self), self.is_back());
                self.enter(Phase::Finished(Outcome::Held { cause, back }));
            }
        }
    }
}

/// Whether an action asks what stands.
fn is_gate(action: &Action) -> bool {
    matches!(action, Action::Verify { .. } | Action::Hook { moment: HookMoment::AfterDeploy, .. })
}

/// Where a unit is that was not known, or was thought to be gone.
fn step_of_stranger(phase: &UnitPhase, weight: u16) -> Step {
    match phase {
        UnitPhase::Running if weight > 0 => Step::Serving,
        UnitPhase::Running => Step::Waiting,
        UnitPhase::Stopping => Step::Drained,
        UnitPhase::Exited(_) => Step::Broken(ReasonCode::Crashed),
    }
}
