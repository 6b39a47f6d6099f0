//! Turns: stages that run side by side, told one after the other.
//!
//! **Invariant.** Between a stage's beginning and its end nothing of another stage is told, and of each stage everything is
//! told in its order. The stage that began first has the turn; what others say is kept until it has ended.

use super::words::stage_word;
use jiff::Timestamp;
use pipeline::event::Event;
use std::collections::VecDeque;

/// See the module.
#[derive(Default)]
pub(super) struct Turns {
    /// The stage that is told as it runs.
    current: Option<String>,
    /// What the others have said, by stage, in the order in which they began. All of it is in memory, as its output is that
    /// of programs that write logs for people.
    kept: VecDeque<(String, Vec<Said>)>,
}

/// An event, and when it happened.
type Said = (Event, Timestamp);

impl Turns {
    /// Takes what happened; what may be told now, in this order.
    pub(super) fn take(&mut self, event: &Event, at: Timestamp) -> Vec<Said> {
        let Some(stage) = stage_of(event) else { return vec![(event.clone(), at)] };
        if self.current.as_ref().is_some_and(|current| *current != stage) {
            match self.kept.iter_mut().find(|(name, _)| *name == stage) {
                Some((_, said)) => said.push((event.clone(), at)),
                None => self.kept.push_back((stage, vec![(event.clone(), at)])),
            }
            return Vec::new();
        }
        let mut told = vec![(event.clone(), at)];
        self.follow(stage, event);
        while self.current.is_none() {
            let Some((stage, said)) = self.kept.pop_front() else { break };
            said.iter().for_each(|(event, _)| self.follow(stage.clone(), event));
            told.extend(said);
        }
        told
    }

    /// All that is kept, for whoever cannot wait.
    pub(super) fn rest(&mut self) -> Vec<Said> {
        self.current = None;
        self.kept.drain(..).flat_map(|(_, said)| said).collect()
    }

    fn follow(&mut self, stage: String, event: &Event) {
        match event {
            Event::StageStarted { .. } => self.current = Some(stage),
            Event::StageSkipped { .. } | Event::StagePassed { .. } | Event::StageFailed { .. } => {
                self.current = None;
            }
            _ => {}
        }
    }
}

/// Which stage an event is of.
fn stage_of(event: &Event) -> Option<String> {
    match event {
        Event::StageStarted { stage, service, .. }
        | Event::StageOutput { stage, service, .. }
        | Event::StageAdvanced { stage, service, .. }
        | Event::StageSkipped { stage, service, .. }
        | Event::StagePassed { stage, service, .. }
        | Event::StageFailed { stage, service, .. } => Some(stage_word(*stage, service.as_ref())),
        Event::StagesPlanned { .. } | Event::ReleaseMade { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::samples;
    use pipeline::{name::Name, stage::StageName};
    use proptest::prelude::*;

    fn started(service: &Name) -> Event {
        Event::StageStarted {
            stage: StageName::Image,
            service: Some(service.clone()),
            because: String::new(),
        }
    }

    fn line(service: &Name, number: usize) -> Event {
        Event::StageOutput {
            stage: StageName::Image,
            service: Some(service.clone()),
            line: number.to_string(),
        }
    }

    fn passed(service: &Name) -> Event {
        Event::StagePassed {
            stage: StageName::Image,
            service: Some(service.clone()),
            duration_ms: 1,
            summary: String::new(),
        }
    }

    fn told(turns: &mut Turns, event: &Event) -> Vec<Event> {
        turns.take(event, samples::now()).into_iter().map(|(event, _)| event).collect()
    }

    #[test]
    fn a_stage_that_began_later_is_told_when_the_first_has_ended_and_then_as_it_runs() {
        let (api, mcp, mut turns) = (samples::name("api"), samples::name("mcp"), Turns::default());
        assert_eq!(told(&mut turns, &started(&api)), [started(&api)]);
        assert_eq!(told(&mut turns, &started(&mcp)), []);
        assert_eq!(told(&mut turns, &line(&mcp, 1)), []);
        assert_eq!(told(&mut turns, &line(&api, 2)), [line(&api, 2)]);
        assert_eq!(told(&mut turns, &passed(&api)), [passed(&api), started(&mcp), line(&mcp, 1)]);
        assert_eq!(told(&mut turns, &line(&mcp, 3)), [line(&mcp, 3)]);
        assert_eq!(told(&mut turns, &passed(&mcp)), [passed(&mcp)]);
    }

    #[test]
    fn what_is_kept_is_told_at_once_where_it_cannot_wait() {
        let (api, mcp, mut turns) = (samples::name("api"), samples::name("mcp"), Turns::default());
        told(&mut turns, &started(&api));
        told(&mut turns, &started(&mcp));
        told(&mut turns, &passed(&mcp));
        let rest: Vec<Event> = turns.rest().into_iter().map(|(event, _)| event).collect();
        assert_eq!(rest, [started(&mcp), passed(&mcp)]);
        assert_eq!(told(&mut turns, &started(&mcp)), [started(&mcp)]);
    }

    proptest! {
        #[test]
        fn whatever_runs_side_by_side_is_told_whole_and_one_after_the_other(order in prop::collection::vec(0..4usize, 0..60)) {
            let services = ["a", "b", "c", "d"].map(samples::name);
            let (mut turns, mut steps, mut all) = (Turns::default(), [0; 4], Vec::new());
            // Each stage begins, says four lines and ends.
            let rest = (0..4).flat_map(|stage| [stage; 6]);
            for stage in order.into_iter().chain(rest) {
                let service = &services[stage];
                let event = match steps[stage] {
                    0 => started(service),
                    step @ 1..=4 => line(service, step),
                    5 => passed(service),
                    _ => continue,
                };
                steps[stage] += 1;
                all.extend(told(&mut turns, &event));
            }
            prop_assert_eq!(all.len(), 24);
            for one in all.chunks(6) {
                let stage = stage_of(&one[0]);
                prop_assert!(one.iter().all(|event| stage_of(event) == stage), "{:?}", all);
                let ends = (&one[0], &one[5]);
                let is_whole = matches!(ends, (Event::StageStarted { .. }, Event::StagePassed { .. }));
                prop_assert!(is_whole, "{:?}", one);
            }
        }
    }
}
