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
        if matches!(event, Event::LeaseAcquired { .. }) {
            story.make_up(&events[index + 1..]);
        }
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
    settled: bool,
    finished: bool,
    /// Whether the last executor told that it went.
    left: bool,
}

impl Story {
    fn tell(&mut self, happened: Happened) {
        self.told.push((self.at, happened));
    }

    /// A journal is written beside the rollout, so that a killed executor may have done more than it tells: what the next
    /// one (`rest` begins with it) goes on from must have happened before.
    fn make_up(&mut self, rest: &[(Millis, Event)]) {
        if self.left || self.generation_is_first() {
            return;
        }
        let told = rest.iter().take_while(|(_, event)| !matches!(event, Event::LeaseAcquired { .. }));
        let enters = |phases: &[&str]| {
            told.clone().any(|(_, event)| match event {
                Event::Decided { reason: Reason::PhaseBegan { phase } } => phases.contains(&phase.as_str()),
                _ => false,
            })
        };
        let ends = told.clone().any(|(_, event)| matches!(event, Event::RolloutFinished { .. }));
        let Some(outcome) = self.outcome.clone().filter(|_| ends) else { return };
        let back = matches!(
            outcome,
            Outcome::RolledBack { .. } | Outcome::RollbackFailed { .. } | Outcome::Held { back: true, .. }
        );
        if back && !self.back && !enters(&["collecting evidence", "rolling back"]) {
            if let Some(cause) = self.cause().filter(|cause| self.failure.as_ref() != Some(cause)) {
                self.tell(Happened::Failed { unit: cause.unit, reason: cause.reason });
            }
            self.turn();
            let generation = self.generation;
            self.tell(Happened::Began { generation, action: Action::Collect });
            self.go_back();
        }
        let settles = !matches!(outcome, Outcome::Held { .. } | Outcome::RollbackFailed { .. });
        if settles && !self.settled && !enters(&["settling"]) {
            self.settled = true;
            self.tell(Happened::Settled { back: outcome != Outcome::Succeeded });
        }
    }

    fn generation_is_first(&self) -> bool {
        let is_one = |(_, happened): &&(Millis, Happened)| matches!(happened, Happened::TookOver { .. });
        self.told.iter().filter(is_one).count() < 2
    }

    fn take(&mut self, event: &Event) {
        if !matches!(event, Event::LeaseAcquired { .. }) {
            self.left = matches!(event, Event::RolloutLeft { .. } | Event::RolloutFinished { .. });
        }
        match event {
            Event::LeaseAcquired { generation, .. } => {
                self.generation = *generation;
                self.tell(Happened::TookOver { generation: *generation });
            }
            Event::RolloutBegan { resumed: true, .. } if self.finished => {
                (self.finished, self.turned, self.cancelled) = (false, self.back, false);
                self.settled = false;
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
            Reason::WaveBegan { wave, .. } => {
                self.tell(Happened::WaveBegan { index: wave.saturating_sub(1) })
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
            self.settled = true;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        model::{Intent, IntentId},
        samples::{Shape, plan_of},
    };

    fn failure() -> Failure {
        let unit = plan_of(&Shape::default()).services[0].units_of(None).first().cloned();
        Failure { reason: ReasonCode::Crashed, unit, service: None, message: String::new(), at: 7 }
    }

    fn phase(word: &str) -> Event {
        Event::Decided { reason: Reason::PhaseBegan { phase: word.to_owned() } }
    }

    fn lease(generation: u64) -> Event {
        Event::LeaseAcquired { generation, took_over: None }
    }

    fn finished(outcome: Outcome) -> Event {
        let plan = plan_of(&Shape::default());
        let (run, environment, release) = (plan.run, plan.environment, plan.release);
        Event::RolloutFinished { run, environment, release, outcome, took: 1 }
    }

    fn told(events: Vec<Event>) -> Vec<Happened> {
        let events: Vec<_> = events.into_iter().map(|event| (1, event)).collect();
        of_events(&events).into_iter().map(|(_, happened)| happened).collect()
    }

    #[test]
    fn a_success_is_told_as_one() {
        let action = Action::Collect;
        let intent = Intent { id: IntentId(1), action: action.clone() };
        let events = vec![
            lease(3),
            phase("rolling out"),
            Event::ActionBegan { intent },
            phase("settling"),
            finished(Outcome::Succeeded),
        ];
        let wanted = [
            Happened::TookOver { generation: 3 },
            Happened::WentForward,
            Happened::Began { generation: 3, action },
            Happened::Settled { back: false },
            Happened::Finished(Outcome::Succeeded),
        ];
        assert_eq!(told(events), wanted);
    }

    #[test]
    fn a_way_back_turns_once_and_for_its_cause() {
        let (cause, returned) = (failure(), Outcome::RolledBack { cause: failure() });
        let events = vec![
            lease(1),
            Event::Decided { reason: Reason::Failed(cause.clone()) },
            phase("collecting evidence"),
            phase("rolling back"),
            phase("settling"),
            finished(returned.clone()),
        ];
        let wanted = [
            Happened::TookOver { generation: 1 },
            Happened::Failed { unit: cause.unit.clone(), reason: cause.reason },
            Happened::Turned { reason: cause.reason, unit: cause.unit },
            Happened::WentBack { reason: cause.reason },
            Happened::Settled { back: true },
            Happened::Finished(returned),
        ];
        assert_eq!(told(events), wanted);
    }

    #[test]
    fn what_a_killed_executor_could_not_tell_is_made_up() {
        let returned = Outcome::RolledBack { cause: failure() };
        let happened = told(vec![lease(1), phase("rolling out"), lease(2), finished(returned)]);
        let is = |wanted: &Happened| happened.contains(wanted);
        assert!(is(&Happened::WentBack { reason: ReasonCode::Crashed }), "{happened:?}");
        assert!(is(&Happened::Settled { back: true }), "{happened:?}");
        let left = Event::left("run", &"local".parse().unwrap(), crate::decide::Leave::Interrupted);
        let told_all =
            told(vec![lease(1), phase("rolling out"), left, lease(2), finished(Outcome::Succeeded)]);
        assert!(!told_all.contains(&Happened::Settled { back: false }), "{told_all:?}");
    }
}
