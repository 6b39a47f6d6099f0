//! The story of a rollout as its events tell it, made into what a judge is told. What units do is not among it: that is
//! the observer's to see.

use super::Happened;
use crate::{
    decide::Reason,
    event::{ActionResult, Event},
    model::{Action, Millis},
    reason::ReasonCode,
    state::{Command, Failure, Outcome, Phase},
};

/// Makes the events of one rollout, first to last and across all executors of it, into what its judge is told. Each keeps
/// its moment.
pub fn of_events(events: &[(Millis, Event)]) -> Vec<(Millis, Happened)> {
    let mut story = Story::default();
    for (index, (at, event)) in events.iter().enumerate() {
        // What a phase is entered for stands in the outcome alone.
        story.outcome = events[index..].iter().find_map(|(_, event)| match event {
            Event::RolloutFinished { outcome, .. } => Some(outcome.clone()),
            _ => None,
        });
        story.at = *at;
        story.take(event);
    }
    story.told
}

#[derive(Default)]
struct Story {
    at: Millis,
    told: Vec<(Millis, Happened)>,
    generation: u64,
    /// The outcome that is next.
    outcome: Option<Outcome>,
    failure: Option<Failure>,
    cancelled: bool,
    turned: bool,
    back: bool,
    finished: bool,
}

impl Story {
    fn tell(&mut self, happened: Happened) {
        self.told.push((self.at, happened));
    }

    fn take(&mut self, event: &Event) {
        match event {
            Event::LeaseAcquired { generation, .. } => {
                self.generation = *generation;
                self.tell(Happened::TookOver { generation: *generation });
            }
            Event::RolloutBegan { resumed: true, .. } if self.finished => {
                (self.finished, self.turned, self.cancelled) = (false, self.back, false);
                self.failure = None;
                self.tell(Happened::Reopened);
            }
            Event::Decided { reason } => self.decided(reason),
            Event::ActionBegan { intent } => {
                let (generation, action) = (self.generation, intent.action.clone());
                self.tell(Happened::Began { generation, action });
            }
            Event::ActionEnded { intent, result, .. } => self.ended(&intent.action, result),
            Event::RolloutFinished { outcome, .. } => {
                if *outcome != Outcome::Succeeded {
                    self.turn();
                }
                if matches!(outcome, Outcome::Held { back: true, .. } | Outcome::RollbackFailed { .. }) {
                    self.go_back();
                }
                self.finished = true;
                self.tell(Happened::Finished(outcome.clone()));
            }
            _ => {}
        }
    }

    fn ended(&mut self, action: &Action, result: &ActionResult) {
        // Whether a migration was run is written on its target alone, which no observer of processes sees.
        if matches!((action, result), (Action::Migrate { .. }, ActionResult::Done { .. })) {
            let (generation, action) = (self.generation, action.clone());
            self.tell(Happened::TookHold { generation, action });
        }
        self.tell(Happened::Ended { action: action.clone() });
    }

    fn decided(&mut self, reason: &Reason) {
        match reason {
            Reason::Failed(failure) => {
                self.failure = Some(failure.clone());
                self.tell(Happened::Failed { unit: failure.unit.clone(), reason: failure.reason });
            }
            Reason::Commanded { command } => {
                self.cancelled |= *command == Command::Cancel;
                self.tell(Happened::Commanded(*command));
            }
            Reason::PhaseBegan { phase } => self.entered(phase),
            _ => {}
        }
    }

    fn entered(&mut self, phase: &str) {
        let cause = || Failure {
            reason: ReasonCode::Cancelled,
            unit: None,
            service: None,
            message: String::new(),
            at: 0,
        };
        let is = |other: Phase| phase == other.word();
        if is(Phase::Collecting { cause: cause(), hold: false }) {
            self.turn();
        } else if is(Phase::Back { cause: cause() }) {
            self.turn();
            self.go_back();
        } else if is(Phase::Forward) {
            self.tell(Happened::WentForward);
        } else if is(Phase::Settling { outcome: Outcome::Succeeded }) {
            let unknown = self.turned || self.cancelled;
            let back = self.outcome.as_ref().map_or(unknown, |outcome| *outcome != Outcome::Succeeded);
            if back {
                self.turn();
                self.go_back();
            }
            self.tell(Happened::Settled { back });
        }
    }

    fn turn(&mut self) {
        if !std::mem::replace(&mut self.turned, true) {
            let cause = self.cause();
            let reason = cause.as_ref().map_or(ReasonCode::Cancelled, |cause| cause.reason);
            self.tell(Happened::Turned { reason, unit: cause.and_then(|cause| cause.unit) });
        }
    }

    fn go_back(&mut self) {
        if !std::mem::replace(&mut self.back, true) {
            let reason = self.cause().map_or(ReasonCode::Cancelled, |cause| cause.reason);
            let reason = if self.cancelled { ReasonCode::Cancelled } else { reason };
            self.tell(Happened::WentBack { reason });
        }
    }

    fn cause(&self) -> Option<Failure> {
        match &self.outcome {
            None | Some(Outcome::Succeeded) => self.failure.clone(),
            Some(
                Outcome::RolledBack { cause }
                | Outcome::Refused { cause }
                | Outcome::Held { cause, .. }
                | Outcome::RollbackFailed { cause, .. },
            ) => Some(cause.clone()),
        }
    }
}
