//! How a release was made: what became of each stage, and what the scanner found.

use crate::{
    event::Event,
    name::Name,
    release::ReleaseId,
    scan::{self, Finding, Subject},
    stage::StageName,
    store::{Format, ReadError},
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// The kind of document that a making is.
pub(super) const FORMAT: Format = Format { what: "record of the stages", version: 1 };

/// How a release was made, or was not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Making {
    /// Format version.
    pub version: u32,
    /// The release; where a stage failed, what it would have been called.
    pub release: ReleaseId,
    /// When the stages ended.
    pub at: Timestamp,
    /// The stages in the order of the pipeline, those of one kind in the order in which they ended.
    pub stages: Vec<StageMade>,
    /// What was found, by what was scanned.
    pub scans: Vec<Scanned>,
}

/// What became of a stage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct StageMade {
    /// Which.
    pub stage: StageName,
    /// Of which service, where each has its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// How it ended.
    pub outcome: StageOutcome,
    /// When it ended.
    pub at: Timestamp,
    /// How long it ran, in milliseconds, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub took: Option<u64>,
    /// What it came to, why it was skipped, or why it failed.
    pub words: String,
    /// The lines of its output that matter, if it failed; secrets masked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub excerpt: Vec<String>,
}

/// How a stage ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StageOutcome {
    /// It ran and passed.
    Passed,
    /// It did not need to run.
    Skipped,
    /// It ran and failed, or could not run.
    Failed,
}

impl StageOutcome {
    /// In a word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Skipped => "skipped",
            Self::Failed => "failed",
        }
    }
}

/// What was found in one subject.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Scanned {
    /// The service, if it was its image.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<Name>,
    /// Who scanned, with its version.
    pub scanner: String,
    /// When the scan ended.
    pub at: Timestamp,
    /// When the database of vulnerabilities was made, if one was used.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Timestamp>,
    /// What was found, the worst first.
    pub findings: Vec<Finding>,
}

impl Scanned {
    /// What was scanned.
    pub fn title(&self) -> String {
        self.service.as_ref().map_or_else(|| "configuration".to_owned(), |name| format!("image of {name}"))
    }
}

impl StageMade {
    /// The stage's name as it is typed, and of which service where each has its own.
    pub fn title(&self) -> String {
        match &self.service {
            Some(service) => format!("{} {service}", self.stage),
            None => self.stage.to_string(),
        }
    }

    fn is_of(&self, other: &Self) -> bool {
        (self.stage, &self.service) == (other.stage, &other.service)
    }
}

impl Making {
    /// What was told while the stages ran. The times are those at which it was told.
    pub fn of(release: ReleaseId, events: &[(Timestamp, Event)], at: Timestamp) -> Self {
        let mut stages: Vec<_> = events.iter().filter_map(|(at, event)| ended(event, *at)).collect();
        stages.sort_by_key(|stage| (stage.stage, stage.at));
        Self { version: FORMAT.version, release, at, stages, scans: Vec::new() }
    }

    /// The stage that failed first, if one did.
    pub fn failed(&self) -> Option<&StageMade> {
        self.stages.iter().find(|stage| stage.outcome == StageOutcome::Failed)
    }

    /// With what was known of the same release before: whoever makes it again and skips a stage, because nothing has
    /// changed, has not made it; the run that did is what the report is to tell of.
    #[must_use]
    pub fn after(self, before: Option<Self>) -> Self {
        let Some(before) = before.filter(|before| before.release == self.release) else { return self };
        let mut stages = self.stages;
        for stage in &mut stages {
            let known = before.stages.iter().find(|known| known.is_of(stage));
            if let Some(known) = known.filter(|known| {
                stage.outcome == StageOutcome::Skipped && known.outcome == StageOutcome::Passed
            }) {
                *stage = known.clone();
            }
        }
        let is_new = |known: &&StageMade| !stages.iter().any(|stage| stage.is_of(known));
        // One that failed before and was not asked for this time has no say in what was made now.
        let others = before.stages.iter().filter(is_new).filter(|one| one.outcome != StageOutcome::Failed);
        let mut all: Vec<StageMade> = others.cloned().collect();
        all.append(&mut stages);
        all.sort_by_key(|stage| (stage.stage, stage.at));
        let mut scans = self.scans;
        let told = |known: &Scanned| scans.iter().all(|scan| scan.service != known.service);
        let mut older: Vec<Scanned> = before.scans.into_iter().filter(told).collect();
        older.append(&mut scans);
        Self { stages: all, scans: older, ..self }
    }

    /// Whether every stage of the other is among these, so that it has nothing to add if it only skipped them.
    pub fn covers(&self, other: &Self) -> bool {
        other.stages.iter().all(|one| self.stages.iter().any(|known| known.is_of(one)))
    }

    /// Whether this stage was told of.
    pub(super) fn has(&self, stage: StageName, service: Option<&Name>) -> bool {
        self.stages.iter().any(|one| one.stage == stage && one.service.as_ref() == service)
    }

    /// The services of which a stage was told.
    pub(super) fn scanned(&self) -> impl Iterator<Item = Option<&Name>> {
        self.stages.iter().filter(|one| one.stage == StageName::Scan).map(|one| one.service.as_ref())
    }

    /// With what the scanner has found, as it is kept in the state folder.
    ///
    /// # Errors
    /// If a scan report cannot be read.
    pub(super) fn with_scans(mut self, state: &Path) -> Result<Self, ReadError> {
        for service in self.scanned().map(|service| service.cloned()).collect::<Vec<_>>() {
            let Some(report) = scan::Report::read(state, &subject(service.as_ref()))? else { continue };
            let scan::Report { at, scanner, database, mut findings, .. } = report;
            findings.sort_by(|a, b| b.severity.cmp(&a.severity).then_with(|| a.cmp(b)));
            self.scans.push(Scanned { service, scanner, at, database, findings });
        }
        Ok(self)
    }
}

/// What was scanned; where reports stand does not depend on the files.
pub(super) fn subject(service: Option<&Name>) -> Subject {
    service.cloned().map_or_else(|| Subject::Configuration(Vec::new()), Subject::Image)
}

fn ended(event: &Event, at: Timestamp) -> Option<StageMade> {
    let made = |stage: &StageName, service: &Option<Name>, outcome, took, words: &String| StageMade {
        stage: *stage,
        service: service.clone(),
        outcome,
        at,
        took,
        words: words.clone(),
        excerpt: Vec::new(),
    };
    match event {
        Event::StageSkipped { stage, service, reason } => {
            Some(made(stage, service, StageOutcome::Skipped, None, reason))
        }
        Event::StagePassed { stage, service, duration_ms, summary } => {
            Some(made(stage, service, StageOutcome::Passed, Some(*duration_ms), summary))
        }
        Event::StageFailed { stage, service, message, excerpt } => {
            let excerpt = excerpt.clone();
            Some(StageMade { excerpt, ..made(stage, service, StageOutcome::Failed, None, message) })
        }
        Event::StagesPlanned { .. }
        | Event::StageStarted { .. }
        | Event::StageOutput { .. }
        | Event::StageAdvanced { .. }
        | Event::ReleaseMade { .. } => None,
    }
}
