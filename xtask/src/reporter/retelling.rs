//! A past rollout, told once more: the events of its journals as a report shows them, in the words in which they were told
//! when they happened.

use super::words::{self, Names, Weight};
use crate::paint::Tone;
use deploy::{
    decide::Reason,
    event::Event,
    model::UnitId,
    state::{Outcome, Step},
    story::Story,
};
use jiff::Timestamp;
use pipeline::report::{self, Lane, Moment, Rollout, Segment};

/// See the module.
pub(crate) fn retell(story: &Story) -> Rollout {
    let began_at = story.events.first().map(|(at, _)| *at).unwrap_or_default();
    let mut teller = Teller {
        names: Names::default(),
        began_at,
        units: Vec::new(),
        phases: Vec::new(),
        phase: None,
        moments: Vec::new(),
        dossiers: Vec::new(),
        aim: String::new(),
        end: None,
    };
    for (at, event) in &story.events {
        teller.tell(event, teller.after(*at));
    }
    let took = story.events.last().map_or(0, |(at, _)| teller.after(*at));
    teller.close(took);
    // Without an end on record its executor was killed, or is still at it.
    let (outcome, tone) =
        teller.end.unwrap_or_else(|| ("under way, or cut off".to_owned(), report::Tone::Warn));
    Rollout {
        environment: story.environment.clone(),
        run: story.run.clone(),
        aim: teller.aim,
        outcome,
        tone,
        began_at,
        took,
        phases: teller.phases,
        units: teller.units.into_iter().map(|(_, lane, _)| lane).collect(),
        moments: teller.moments,
        dossiers: teller.dossiers,
    }
}

/// What a unit is in, and since when.
type Since = Option<(Step, u64)>;

struct Teller {
    names: Names,
    began_at: Timestamp,
    units: Vec<(UnitId, Lane, Since)>,
    phases: Vec<Segment>,
    phase: Option<(String, u64)>,
    moments: Vec<Moment>,
    dossiers: Vec<String>,
    aim: String,
    end: Option<(String, report::Tone)>,
}

impl Teller {
    /// Milliseconds since it began.
    fn after(&self, at: Timestamp) -> u64 {
        u64::try_from(at.duration_since(self.began_at).as_millis()).unwrap_or(0)
    }

    fn tell(&mut self, event: &Event, after: u64) {
        self.names.follow(event);
        match event {
            // Whoever takes it up again goes on with it.
            Event::RolloutBegan { .. } | Event::RolloutLeft { taken_over_by: Some(_), .. } => self.end = None,
            Event::Decided { reason: Reason::PhaseBegan { phase } } => {
                self.close_phase(after);
                self.phase = Some((phase.clone(), after));
            }
            Event::Decided { reason: Reason::Stepped { unit, from, to } } => {
                self.step(unit, *from, *to, after);
            }
            Event::EvidenceCollected { dossier, .. } => self.dossiers.push(dossier.to_text()),
            Event::RolloutFinished { outcome, .. } => self.end = Some(ended(outcome)),
            Event::RolloutLeft { taken_over_by: None, .. } => {
                self.end = Some(("left, and can be resumed".to_owned(), report::Tone::Warn));
            }
            _ => {}
        }
        let Some(line) = words::deploy(event, self.names).filter(|line| line.weight >= Weight::Step) else {
            return;
        };
        if matches!(event, Event::RolloutBegan { .. }) && self.aim.is_empty() {
            self.aim.clone_from(&line.text);
        }
        self.moments.push(Moment { after, subject: line.subject, text: line.text, tone: tone(line.tone) });
    }

    fn step(&mut self, unit: &UnitId, from: Step, to: Step, after: u64) {
        let place = self.units.iter().position(|(known, ..)| known == unit).unwrap_or_else(|| {
            let name = self.names.unit(unit);
            // What it was before it moved, it was from the beginning, unless it was not there.
            let before = (from != Step::Gone && from != Step::Starting).then_some((from, 0));
            self.units.push((unit.clone(), Lane { name, segments: Vec::new() }, before));
            self.units.len() - 1
        });
        let (_, lane, since) = &mut self.units[place];
        close(lane, since.take(), after);
        *since = (to != Step::Gone).then_some((to, after));
    }

    fn close_phase(&mut self, after: u64) {
        if let Some((state, from)) = self.phase.take().filter(|(_, from)| *from < after) {
            let tone = match state.as_str() {
                "rolling back" | "collecting evidence" => report::Tone::Warn,
                "settling" => report::Tone::Dim,
                _ => report::Tone::Plain,
            };
            self.phases.push(Segment { state, tone, from, to: after });
        }
    }

    fn close(&mut self, took: u64) {
        self.close_phase(took);
        for (_, lane, since) in &mut self.units {
            close(lane, since.take(), took);
        }
    }
}

fn close(lane: &mut Lane, since: Since, to: u64) {
    if let Some((step, from)) = since {
        let tone = match step {
            Step::Serving => report::Tone::Good,
            Step::Broken(_) => report::Tone::Bad,
            Step::Draining | Step::Drained | Step::Stopping | Step::Gone => report::Tone::Dim,
            Step::Starting | Step::Waiting | Step::Judging | Step::Ready | Step::Admitting => {
                report::Tone::Plain
            }
        };
        lane.segments.push(Segment { state: step.word().to_owned(), tone, from, to });
    }
}

/// How it ended, and how that is meant.
fn ended(outcome: &Outcome) -> (String, report::Tone) {
    let first = |message: &str| message.lines().next().unwrap_or_default().to_owned();
    match outcome {
        Outcome::Succeeded => ("succeeded".to_owned(), report::Tone::Good),
        Outcome::RolledBack { cause } => (format!("rolled back ({})", cause.reason), report::Tone::Bad),
        Outcome::Refused { cause } => {
            (format!("refused ({}: {})", cause.reason, first(&cause.message)), report::Tone::Bad)
        }
        Outcome::Held { cause, .. } => (format!("held ({})", cause.reason), report::Tone::Warn),
        Outcome::RollbackFailed { cause, failure } => {
            (format!("rollback failed ({}, then {})", cause.reason, failure.reason), report::Tone::Bad)
        }
    }
}

fn tone(tone: Tone) -> report::Tone {
    match tone {
        Tone::Plain | Tone::Title => report::Tone::Plain,
        Tone::Good => report::Tone::Good,
        Tone::Warn => report::Tone::Warn,
        Tone::Bad => report::Tone::Bad,
        Tone::Dim => report::Tone::Dim,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use deploy::{plan::PlanKind, state::Phase};

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millisecond(1_800_000_000_000 + millis).expect("a time")
    }

    fn began(resumed: bool) -> Event {
        Event::RolloutBegan {
            run: "r".to_owned(),
            environment: samples::name("local"),
            release: "3f9a".to_owned(),
            kind: PlanKind::Deploy,
            services: Vec::new(),
            targets: vec![samples::name("local")],
            resumed,
        }
    }

    fn phase(phase: &Phase) -> Event {
        Event::Decided { reason: Reason::PhaseBegan { phase: phase.word().to_owned() } }
    }

    fn stepped(unit: &UnitId, from: Step, to: Step) -> Event {
        Event::Decided { reason: Reason::Stepped { unit: unit.clone(), from, to } }
    }

    fn left(taken_over_by: Option<u64>) -> Event {
        Event::RolloutLeft { run: "r".to_owned(), environment: samples::name("local"), taken_over_by }
    }

    fn finished() -> Event {
        Event::RolloutFinished {
            run: "r".to_owned(),
            environment: samples::name("local"),
            release: "3f9a".to_owned(),
            outcome: Outcome::Succeeded,
            took: 9,
        }
    }

    fn told(events: Vec<(i64, Event)>) -> Rollout {
        let events = events.into_iter().map(|(millis, event)| (at(millis), event)).collect();
        retell(&Story { environment: samples::name("local"), run: "r".to_owned(), events })
    }

    fn segments(lane: &[Segment]) -> Vec<(&str, u64, u64)> {
        lane.iter().map(|segment| (segment.state.as_str(), segment.from, segment.to)).collect()
    }

    #[test]
    fn each_unit_has_a_lane_of_what_it_went_through() {
        let (new, old) = (samples::unit("api", 0, "new"), samples::unit("api", 0, "old"));
        let rollout = told(vec![
            (0, began(false)),
            (10, phase(&Phase::Forward)),
            (10, stepped(&new, Step::Gone, Step::Starting)),
            (40, stepped(&new, Step::Starting, Step::Waiting)),
            (900, stepped(&new, Step::Waiting, Step::Serving)),
            (950, stepped(&old, Step::Serving, Step::Draining)),
            (990, stepped(&old, Step::Draining, Step::Gone)),
            (1_000, phase(&Phase::Verifying)),
            (1_200, finished()),
        ]);
        assert_eq!(
            segments(&rollout.units[0].segments),
            [("starting", 10, 40), ("waiting", 40, 900), ("serving", 900, 1_200)]
        );
        assert_eq!(segments(&rollout.units[1].segments), [("serving", 0, 950), ("draining", 950, 990)]);
        assert_eq!(segments(&rollout.phases), [("rolling out", 10, 1_000), ("verifying", 1_000, 1_200)]);
        assert_eq!(
            (rollout.outcome.as_str(), rollout.tone, rollout.took),
            ("succeeded", report::Tone::Good, 1_200)
        );
        assert_eq!(rollout.aim, "brings release 3f9a to local");
    }

    #[test]
    fn an_end_counts_until_somebody_takes_the_rollout_up() {
        let outcome = |events| told(events).outcome;
        let cut_off = "under way, or cut off";
        assert_eq!(outcome(vec![(0, began(false))]), cut_off);
        assert_eq!(outcome(vec![(0, began(false)), (5, left(None))]), "left, and can be resumed");
        assert_eq!(outcome(vec![(0, began(false)), (5, left(None)), (9, began(true))]), cut_off);
        assert_eq!(outcome(vec![(0, began(false)), (5, left(Some(2)))]), cut_off);
        assert_eq!(
            outcome(vec![(0, began(false)), (5, left(None)), (9, began(true)), (10, finished())]),
            "succeeded"
        );
        assert_eq!(outcome(vec![]), cut_off);
    }
}
