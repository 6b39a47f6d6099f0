//! Decisions made into a story that can be read: what only leads from one step to the next is left out, what happens to
//! several units at once is one line, and what was found out about a unit is why it moved.

use super::{Entry, Mark};
use crate::{
    decide::{Decision, Reason, Subject},
    model::{Millis, UnitId},
    reason::ReasonCode,
    state::{Outcome, Phase, Step},
};
use std::collections::{BTreeMap, BTreeSet};

/// Units that are named one by one in a line; more are counted. Three fit beside the rest on a terminal.
const NAMED_MAX: usize = 3;

/// The story of a rollout in the making.
#[derive(Debug)]
pub(super) struct Timeline {
    /// Whether units are called by their target, too.
    several_targets: bool,
    entries: Vec<Entry>,
    /// What was found out about units that have not moved since.
    found: BTreeMap<UnitId, String>,
    /// Units whose end was told: a target that still shows a unit for a moment makes the engine say so again.
    stopped: BTreeSet<UnitId>,
}

impl Timeline {
    /// A story that has not begun.
    pub(super) fn new(several_targets: bool) -> Self {
        Self { several_targets, entries: Vec::new(), found: BTreeMap::new(), stopped: BTreeSet::new() }
    }

    /// Takes over what was decided at a moment.
    pub(super) fn add(&mut self, at: Millis, decision: &Decision) {
        for reason in &decision.because {
            if let Some(entry) = self.entry(at, reason, &decision.next.phase) {
                self.merge(entry);
            }
        }
    }

    /// Adds a line about the whole rollout.
    pub(super) fn tell(&mut self, at: Millis, what: &str, why: String, mark: Mark) {
        self.merge(line(at, "rollout".to_owned(), what, why, mark));
    }

    /// The whole story.
    pub(super) fn finish(self) -> Vec<Entry> {
        let name = |mut entry: Entry| {
            if !entry.units.is_empty() {
                entry.units.sort();
                entry.subject = names(&entry.units, self.several_targets);
            }
            entry
        };
        self.entries.into_iter().map(name).collect()
    }

    fn entry(&mut self, at: Millis, reason: &Reason, phase: &Phase) -> Option<Entry> {
        let subject = match reason.subject() {
            Subject::Rollout => "rollout".to_owned(),
            Subject::Service(service) => service.to_string(),
            Subject::Unit(unit) => unit.label_for(self.several_targets),
        };
        let about = |what: &str, why: String, mark| Some(line(at, subject.clone(), what, why, mark));
        match reason {
            Reason::Stepped { unit, from, to } => self.step(at, unit, (*from, *to), phase),
            Reason::Healthy { unit, .. } => {
                self.found.insert(unit.clone(), reason.text());
                None
            }
            Reason::Failed(failure) => {
                let mut entry = line(
                    at,
                    subject,
                    &format!("failed: {}", failure.reason),
                    failure.message.clone(),
                    Mark::Bad,
                );
                entry.units.extend(failure.unit.clone());
                Some(entry)
            }
            // The last line says how it ended.
            Reason::PhaseBegan { phase: word } if *word == Phase::Finished(Outcome::Succeeded).word() => None,
            Reason::PhaseBegan { phase: word } => {
                let why = cause(phase).map(|reason| reason.to_string()).unwrap_or_default();
                about(word, why, if cause(phase).is_some() { Mark::Warn } else { Mark::Step })
            }
            Reason::Retried { message, .. } => about("tried again", message.clone(), Mark::Warn),
            Reason::WaveBegan { .. } => about(&reason.text(), String::new(), Mark::Good),
            Reason::SoakBegan { .. } => {
                about(&reason.text(), "every unit of the wave serves".to_owned(), Mark::Step)
            }
            Reason::WavePaused { .. } | Reason::Paused { .. } => {
                about(&reason.text(), "it waits to be promoted".to_owned(), Mark::Warn)
            }
            Reason::BakeBegan { .. } => {
                about(&reason.text(), "every unit of the batch serves".to_owned(), Mark::Step)
            }
            Reason::ServiceDone { .. } => {
                let why = if cause(phase).is_none() { "" } else { "it is as it was" };
                about(&reason.text(), why.to_owned(), Mark::Good)
            }
            Reason::Tolerated { .. } | Reason::TakenUp => about(&reason.text(), String::new(), Mark::Warn),
            Reason::Commanded { .. } => {
                about(&reason.text(), "the operator asked for it".to_owned(), Mark::Warn)
            }
            _ => about(&reason.text(), String::new(), Mark::Step),
        }
    }

    /// A unit's step, where it lasts or changes what users meet.
    fn step(&mut self, at: Millis, unit: &UnitId, (from, to): (Step, Step), phase: &Phase) -> Option<Entry> {
        let back = matches!(phase, Phase::Back { .. } | Phase::Collecting { .. });
        let (what, why, mark) = match (from, to) {
            // It was found there when the rollout began.
            (Step::Gone, Step::Serving) => ("serving", "it stands already".to_owned(), Mark::Step),
            (_, Step::Starting) if back => ("starting", "it stood before".to_owned(), Mark::Step),
            (_, Step::Starting) => ("starting", String::new(), Mark::Step),
            (Step::Draining, Step::Serving) => {
                ("serving", "it is not taken away after all".to_owned(), Mark::Good)
            }
            (_, Step::Serving) => ("serving", self.found.remove(unit).unwrap_or_default(), Mark::Good),
            (Step::Broken(reason), Step::Draining) => ("draining", reason.to_string(), Mark::Warn),
            (_, Step::Draining) => ("draining", taken_away(back).to_owned(), Mark::Step),
            (_, Step::Gone) if self.stopped.contains(unit) => return None,
            (_, Step::Gone) => ("stopped", String::new(), Mark::Step),
            _ => return None,
        };
        match to {
            Step::Gone => self.stopped.insert(unit.clone()),
            _ => self.stopped.remove(unit),
        };
        let mut entry = line(at, String::new(), what, why, mark);
        entry.units.push(unit.clone());
        Some(entry)
    }

    /// Adds a line, or its units to a line that says the same of units of the same bundle at the same moment.
    fn merge(&mut self, entry: Entry) {
        let bundle = |entry: &Entry| entry.units.first().map(|unit| unit.bundle);
        let same = |other: &&mut Entry| {
            !entry.units.is_empty()
                && bundle(other) == bundle(&entry)
                && (&other.what, &other.why, other.mark) == (&entry.what, &entry.why, entry.mark)
        };
        let mut now = self.entries.iter_mut().rev().take_while(|other| other.at == entry.at);
        match now.find(same) {
            Some(other) => other.units.extend(entry.units),
            None => self.entries.push(entry),
        }
    }
}

fn line(at: Millis, subject: String, what: &str, why: String, mark: Mark) -> Entry {
    Entry { at, subject, units: Vec::new(), what: what.to_owned(), why, mark }
}

fn taken_away(back: bool) -> &'static str {
    if back { "what stood before comes back" } else { "it is replaced" }
}

/// Units of one bundle by their names: `api/0, api/1 (3f9a1c2b4d5e)`, or `api/0@east, …` where there are several targets.
fn names(units: &[UnitId], several_targets: bool) -> String {
    let Some(first) = units.first() else { return String::new() };
    let name = |unit: &UnitId| match several_targets {
        true => format!("{}/{}@{}", unit.service, unit.slot, unit.target),
        false => format!("{}/{}", unit.service, unit.slot),
    };
    let named = units.iter().take(NAMED_MAX).map(name);
    let named = named.collect::<Vec<_>>().join(", ");
    let more = match units.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!("{named}{more} ({})", first.bundle.short())
}

/// Why a rollout is not on its way forward.
pub(super) fn cause(phase: &Phase) -> Option<ReasonCode> {
    match phase {
        Phase::Collecting { cause, .. } | Phase::Back { cause } => Some(cause.reason),
        Phase::Settling { outcome } | Phase::Finished(outcome) => match outcome {
            Outcome::Succeeded => None,
            Outcome::RolledBack { cause }
            | Outcome::Refused { cause }
            | Outcome::Held { cause, .. }
            | Outcome::RollbackFailed { cause, .. } => Some(cause.reason),
        },
        _ => None,
    }
}
