//! The heart: what to do next. Pure: no I/O, no clock, no randomness; the same inputs give the same decision.
//!
//! ```text
//! Preparing ──▶ Forward ──▶ Verifying ──▶ Settling(succeeded) ──▶ Finished
//!     │            │            │
//!     └── failure ─┴────────────┴──▶ Collecting ──▶ Back ──▶ Settling(rolled back) ──▶ Finished
//!                                        │            └── the previous does not come back ──▶ Finished(failed, held)
//!                                        └── hold ──▶ Finished(held)
//! ```
//!
//! One decision has four parts, each in a file of its own: what came in is taken over ([`absorb`]); the phase moves
//! ([`phase`], on the way forward wave after wave: [`wave`], with what is done once: [`once`]); each service is brought one step nearer to its goal, forward and back by the same function
//! ([`converge`]); and what is to be done now is numbered and handed out ([`launch`]).

mod absorb;
mod converge;
mod fleet;
mod launch;
mod once;
mod phase;
mod reason;
mod wave;

#[cfg(test)]
mod tests;

use crate::{
    model::{Intent, Millis, UnitId},
    plan::{Plan, ServicePlan},
    reason::ReasonCode,
    state::{Errand, Failure, Observation, Outcome, Phase, State, Step, Track},
};
use pipeline::name::Name;
use std::collections::BTreeSet;

pub use reason::{Reason, Subject, Waiting};

/// What was decided.
#[derive(Debug, Clone, PartialEq)]
pub struct Decision {
    /// The state from now on. It is written down before any of `intents` is performed.
    pub next: State,
    /// What is to be done now, side by side.
    pub intents: Vec<Intent>,
    /// Why, in the order in which it was found out.
    pub because: Vec<Reason>,
    /// What is waited for; for people, never for decisions.
    pub waiting: Vec<Waiting>,
    /// Whether the executor is to leave the rollout as it is, unfinished.
    pub leave: Option<Leave>,
}

/// Why an executor leaves a rollout that is not finished.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// The operator asked for it, and nothing is under way: it can be resumed.
    Interrupted,
    /// It is paused, as planned, and nothing is under way: it can be promoted.
    Paused,
    /// Another executor has taken over, with this generation.
    Lost {
        /// Its generation.
        generation: u64,
    },
}

/// How an executor came out of a rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// It is finished.
    Finished(Outcome),
    /// It was left unfinished.
    Left(Leave),
}

/// Decides what to do next.
pub fn decide(plan: &Plan, state: &State, seen: &Observation) -> Decision {
    let mut turn = Turn::new(plan, state, seen);
    turn.absorb();
    turn.advance();
    turn.launch();
    turn.finish()
}

/// One decision in the making.
struct Turn<'a> {
    plan: &'a Plan,
    seen: &'a Observation,
    state: State,
    /// Units on which something is under way.
    busy: BTreeSet<UnitId>,
    intents: Vec<Intent>,
    because: Vec<Reason>,
    leave: Option<Leave>,
}

impl<'a> Turn<'a> {
    fn new(plan: &'a Plan, state: &State, seen: &'a Observation) -> Self {
        Self {
            plan,
            seen,
            state: state.clone(),
            busy: BTreeSet::new(),
            intents: Vec::new(),
            because: Vec::new(),
            leave: None,
        }
    }

    fn now(&self) -> Millis {
        self.seen.now
    }

    fn finish(mut self) -> Decision {
        if self.leave.is_none()
            && self.state.interrupted
            && self.state.flights.is_empty()
            && self.state.outcome().is_none()
        {
            self.leave = Some(Leave::Interrupted);
        } else if self.leave.is_none() && self.is_paused() {
            self.leave = Some(Leave::Paused);
        }
        let waiting = self.waiting();
        Decision {
            next: self.state,
            intents: self.intents,
            because: self.because,
            waiting,
            leave: self.leave,
        }
    }

    fn note(&mut self, reason: Reason) {
        self.because.push(reason);
    }

    fn service(&self, name: &Name) -> Option<&'a ServicePlan> {
        self.plan.service(name)
    }

    fn track(&self, unit: &UnitId) -> Option<&Track> {
        self.state.services.get(&unit.service)?.units.get(unit)
    }

    fn step_of(&self, unit: &UnitId) -> Step {
        self.track(unit).map_or(Step::Gone, |track| track.step)
    }

    /// Moves a unit to another step.
    fn move_to(&mut self, unit: &UnitId, step: Step) {
        let now = self.now();
        let Some(service) = self.state.services.get_mut(&unit.service) else { return };
        let track = service.units.entry(unit.clone()).or_insert(Track {
            step: Step::Gone,
            since: now,
            attempts: 0,
            not_before: 0,
            given_up: false,
        });
        if track.step == step {
            return;
        }
        let from = std::mem::replace(&mut track.step, step);
        track.since = now;
        track.attempts = 0;
        track.not_before = 0;
        track.given_up = match step {
            Step::Broken(_) => true,
            Step::Draining | Step::Drained | Step::Stopping => track.given_up,
            // It stays known whether the rollout took it away, or it went by itself.
            Step::Gone => track.given_up || !matches!(from, Step::Draining | Step::Drained | Step::Stopping),
            _ => false,
        };
        // What the rollout has not reached comes and goes without bringing it any further.
        if !self.is_ahead(unit) {
            self.state.progress_at = now;
        }
        self.note(Reason::Stepped { unit: unit.clone(), from, to: step });
    }

    fn has_flight(&self, unit: &UnitId) -> bool {
        self.busy.contains(unit)
    }

    /// The errand for an action, made if there is none yet.
    fn errand(&mut self, action: &crate::model::Action) -> &mut Errand {
        let found = self.state.errands.iter().position(|errand| errand.action == *action);
        let index = found.unwrap_or_else(|| {
            let errand = Errand { action: action.clone(), done: false, attempts: 0, not_before: 0 };
            self.state.errands.push(errand);
            self.state.errands.len() - 1
        });
        &mut self.state.errands[index]
    }

    fn failure(&self, reason: ReasonCode, unit: Option<&UnitId>, message: impl Into<String>) -> Failure {
        Failure {
            reason,
            unit: unit.cloned(),
            service: unit.map(|unit| unit.service.clone()),
            message: message.into(),
            at: self.now(),
        }
    }

    fn is_back(&self) -> bool {
        matches!(self.state.phase, Phase::Back { .. })
    }
}
