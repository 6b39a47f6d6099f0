//! Stories: what was decided, so far as two tellings of one rollout must agree. Times, lengths and words for people are
//! left out; nothing else is. The one thing whose place is free in the whole story is that a unit has drained or is
//! gone: how long a process takes for its last requests and for its end is its own matter. That it was told to, and in
//! which batch, is compared like everything else.

use deploy::{
    decide::Reason,
    model::{Action, UnitId},
    plan::Plan,
    state::{Failure, Outcome, Step},
};
use std::collections::BTreeMap;

/// What was decided: chapters in their order, each with what was decided in it, whose order is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Story {
    chapters: Vec<Chapter>,
    /// Units that did what they were told, whenever they did.
    left: Chapter,
}

/// A phase, or a batch of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Chapter {
    title: String,
    /// Line → how often.
    lines: BTreeMap<String, usize>,
}

/// Writes a story down as it is told.
pub(crate) struct Teller<'a> {
    plan: &'a Plan,
    story: Story,
}

impl<'a> Teller<'a> {
    pub(crate) fn new(plan: &'a Plan) -> Self {
        let left = Chapter::new("whenever it was".to_owned());
        let story = Story { chapters: Vec::new(), left };
        let mut teller = Self { plan, story };
        teller.begin("the beginning".to_owned());
        teller
    }

    /// Takes a decision down. `action` is what was asked for by the intent that it speaks of.
    pub(crate) fn decided(&mut self, reason: &Reason, action: Option<&Action>) {
        match reason {
            Reason::PhaseBegan { phase } => self.begin(format!("phase: {phase}")),
            Reason::BatchBegan { service, batch, batches } => {
                self.begin(format!("{service}: batch {batch} of {batches}"));
            }
            Reason::Stepped { unit, from, to } => {
                let line = format!("{}: {} -> {}", self.name(unit), step(*from), step(*to));
                if matches!(to, Step::Drained | Step::Gone) {
                    self.story.left.add(line);
                } else {
                    self.line(line);
                }
            }
            Reason::Healthy { unit, .. } => self.line(format!("{}: healthy", self.name(unit))),
            Reason::Failed(failure) => self.line(format!("failed: {}", self.failure(failure))),
            Reason::Tolerated { failures, limit } => self.line(format!("tolerated: {failures} of {limit}")),
            Reason::Retried { .. } => {
                let what = action.map_or_else(
                    || "what nobody asked for".to_owned(),
                    |action| {
                        let unit =
                            action.unit().map(|unit| format!(" {}", self.name(unit))).unwrap_or_default();
                        format!("{}{unit}", action.verb())
                    },
                );
                self.line(format!("tried again: {what}"));
            }
            Reason::Paused { service, batch, batches } => {
                self.line(format!("{service}: paused after batch {batch} of {batches}"));
            }
            Reason::BakeBegan { service, .. } => self.line(format!("{service}: the bake began")),
            Reason::ServiceDone { service } => self.line(format!("{service}: done")),
            // Whatever is added later is compared as it is, rather than overlooked.
            other => self.line(format!("{other:?}")),
        }
    }

    /// Ends with how the rollout ended.
    pub(crate) fn end(mut self, outcome: Option<&Outcome>) -> Story {
        let end = match outcome {
            None => "it did not end".to_owned(),
            Some(Outcome::Succeeded) => "succeeded".to_owned(),
            Some(Outcome::RolledBack { cause }) => format!("rolled back: {}", self.failure(cause)),
            Some(Outcome::Refused { cause }) => format!("refused: {}", self.failure(cause)),
            Some(Outcome::Held { cause, back }) => {
                format!("held{}: {}", if *back { " on the way back" } else { "" }, self.failure(cause))
            }
            Some(Outcome::RollbackFailed { cause, failure }) => {
                format!("rollback failed: {}, then {}", self.failure(cause), self.failure(failure))
            }
        };
        self.begin(format!("the end: {end}"));
        self.story
    }

    fn begin(&mut self, title: String) {
        self.story.chapters.push(Chapter::new(title));
    }

    fn line(&mut self, line: String) {
        if let Some(chapter) = self.story.chapters.last_mut() {
            chapter.add(line);
        }
    }

    /// A unit as both tell it: service, slot, and whether it is of the old or the new bundle.
    fn name(&self, unit: &UnitId) -> String {
        let service = self.plan.service(&unit.service);
        let is_new =
            service.and_then(|service| service.to.as_ref()).is_some_and(|to| to.bundle == unit.bundle);
        format!("{} {}/{}", if is_new { "new" } else { "old" }, unit.service, unit.slot)
    }

    fn failure(&self, failure: &Failure) -> String {
        match (&failure.unit, &failure.service) {
            (Some(unit), _) => format!("{} of {}", failure.reason, self.name(unit)),
            (None, Some(service)) => format!("{} of {service}", failure.reason),
            (None, None) => failure.reason.to_string(),
        }
    }
}

impl Story {
    /// What is in one story and not in the other, for people; `None`: they are the same.
    pub(crate) fn difference(&self, other: &Self, mine: &str, others: &str) -> Option<String> {
        if self == other {
            return None;
        }
        let mut text = String::new();
        let all = |story: &Self| -> Vec<Chapter> {
            std::iter::once(&story.left).chain(&story.chapters).cloned().collect()
        };
        let (mine_all, others_all) = (all(self), all(other));
        for index in 0..mine_all.len().max(others_all.len()) {
            match (mine_all.get(index), others_all.get(index)) {
                (Some(one), Some(two)) if one == two => text.push_str(&format!("    = {}\n", one.title)),
                (one, two) => {
                    one.iter().for_each(|one| text.push_str(&one.without(two, mine)));
                    two.iter().for_each(|two| text.push_str(&two.without(one, others)));
                }
            }
        }
        Some(text)
    }
}

impl Chapter {
    fn new(title: String) -> Self {
        Self { title, lines: BTreeMap::new() }
    }

    fn add(&mut self, line: String) {
        *self.lines.entry(line).or_default() += 1;
    }

    /// What the other does not have as often.
    fn without(&self, other: Option<&Self>, whose: &str) -> String {
        let mut text = format!("    {whose}: {}\n", self.title);
        for (line, count) in &self.lines {
            let there = other.and_then(|other| other.lines.get(line)).copied().unwrap_or_default();
            if *count > there {
                text.push_str(&format!("    {whose}:   {line} ({count}, there {there})\n"));
            }
        }
        text
    }
}

fn step(step: Step) -> String {
    match step {
        Step::Broken(reason) => format!("broken ({reason})"),
        other => other.word().to_owned(),
    }
}
