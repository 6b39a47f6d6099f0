//! The dossier: the evidence of a failure, collected before anything is undone.

use crate::{
    check::Look,
    model::{Exit, UnitId, UnitPhase},
    plan::Change,
    state::Failure,
    verdict,
};
use pipeline::name::Name;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// The evidence of a failure.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Dossier {
    /// Format version; see [`Dossier::FORMAT`].
    pub version: u32,
    /// The run that failed.
    pub run: String,
    /// The environment.
    pub environment: Name,
    /// The release that was to stand.
    pub release: String,
    /// When the evidence was collected.
    pub at: jiff::Timestamp,
    /// What failed first, and why.
    pub cause: Failure,
    /// Every failure up to then.
    pub failures: Vec<Failure>,
    /// The unit that failed first, as it stood.
    pub unit: Option<UnitEvidence>,
    /// A unit of the previous bundle in the same place, for comparison.
    pub previous_unit: Option<UnitEvidence>,
    /// The first failures of a gate, or the last lines of the smoke tests.
    pub gate_excerpt: Vec<String>,
    /// What is different from the last good bundle.
    pub changes: Vec<Change>,
    /// The commands to type next.
    pub next: Vec<String>,
    /// Whether there are several targets, so that units are called by theirs, too.
    #[serde(default)]
    pub several_targets: bool,
}

/// One unit as it stood.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct UnitEvidence {
    /// Which.
    pub unit: UnitId,
    /// What the platform calls it.
    pub handle: String,
    /// Where it was in its life.
    pub phase: UnitPhase,
    /// The last answers of its probes, oldest first.
    pub looks: Vec<Look>,
    /// Its last log lines, oldest first; secrets masked.
    pub log_tail: Vec<String>,
    /// What it used: memory, threads, open files, ports.
    pub resources: Vec<(String, String)>,
}

impl UnitEvidence {
    /// How its process ended, if it has.
    pub fn exit(&self) -> Option<&Exit> {
        match &self.phase {
            UnitPhase::Exited(exit) => Some(exit),
            UnitPhase::Running | UnitPhase::Stopping => None,
        }
    }
}

impl Dossier {
    /// The format this version writes.
    pub const FORMAT: u32 = 1;

    /// As text for people: the reason first, what to type last.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        let cause = &self.cause;
        let subject = match (&cause.unit, &cause.service) {
            (Some(unit), _) => unit.label_for(self.several_targets),
            (None, Some(service)) => service.to_string(),
            (None, None) => "the rollout".to_owned(),
        };
        line(&mut text, format_args!("{}: {subject}: {}", cause.reason, cause.message));
        line(&mut text, format_args!("meaning: {}", cause.reason.meaning()));
        line(&mut text, format_args!("release {} to {}, run {}", self.release, self.environment, self.run));
        for change in &self.changes {
            let shown = |side: &Option<String>| side.clone().unwrap_or_else(|| "nothing".to_owned());
            line(
                &mut text,
                format_args!("changed {}: {} -> {}", change.field, shown(&change.from), shown(&change.to)),
            );
        }
        if let Some(unit) = &self.unit {
            unit.write(&mut text, "failed unit", self.several_targets);
        }
        if let Some(unit) = &self.previous_unit {
            unit.write(&mut text, "previous unit", self.several_targets);
        }
        section(&mut text, "gate", &self.gate_excerpt);
        line(&mut text, format_args!("advice: {}", cause.reason.advice()));
        for command in &self.next {
            line(&mut text, format_args!("next: {command}"));
        }
        text
    }
}

impl UnitEvidence {
    fn write(&self, text: &mut String, title: &str, several_targets: bool) {
        let phase = match &self.phase {
            UnitPhase::Running => "running".to_owned(),
            UnitPhase::Stopping => "stopping".to_owned(),
            UnitPhase::Exited(exit) => exit.to_string(),
        };
        let unit = self.unit.label_for(several_targets);
        line(text, format_args!("{title} {unit} ({}): {phase}", self.handle));
        for (what, value) in &self.resources {
            line(text, format_args!("  {what}: {value}"));
        }
        let looks = self.looks.iter().map(|look| {
            let words = verdict::describe(&look.answer);
            let excerpt = look.excerpt.lines().next().unwrap_or_default();
            format!("{words} after {} {excerpt}", verdict::seconds(look.took)).trim_end().to_owned()
        });
        section(text, "probe", &looks.collect::<Vec<_>>());
        section(text, "log", &self.log_tail);
    }
}

fn section(text: &mut String, title: &str, lines: &[String]) {
    for each in lines {
        line(text, format_args!("  {title}: {each}"));
    }
}

fn line(text: &mut String, words: std::fmt::Arguments<'_>) {
    text.write_fmt(words).expect("writing to a String cannot fail");
    text.push('\n');
}
