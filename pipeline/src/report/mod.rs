//! The report of a release: how it was made, what was found, where it went, and how that ended. One folder a release,
//! `.fairlead/reports/<release>/`, which can be handed on as it is: no file of it needs another, a program or a network.
//!
//! ```text
//! events of the stages ──▶ Making ──┐
//! release manifest ─────────────────┼──▶ Report ──▶ report.json, report.md, report.html
//! journals of rollouts ─▶ Rollout ──┘   (pure)
//! ```
//!
//! **Invariant.** A report only repeats what journals, manifests and scan reports say, in which secrets are masked already;
//! it decides nothing, and nothing is decided by it.

mod folder;
mod html;
mod making;
mod markdown;
mod rollout;
mod tests_told;
mod timeline;

pub use folder::{Folder, ReportError, remove_old};
pub use making::{Making, Scanned, StageMade, StageOutcome};
pub use rollout::{Lane, Moment, Rollout, Segment, Tone};
pub use tests_told::{FailedTest, TestsTold};

use crate::{
    name::Name,
    release::{Release, ReleaseId},
    scan::Severity,
};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// All that is known of a release.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Report {
    /// Format version; see [`Report::FORMAT`].
    pub version: u32,
    /// The project.
    pub project: Name,
    /// The release.
    pub release: ReleaseId,
    /// When this was written.
    pub at: Timestamp,
    /// The version of Fairlead that wrote it.
    pub tool_version: String,
    /// Its manifest; none if it was never made, because a stage failed.
    pub manifest: Option<Release>,
    /// How it was made; none if that was elsewhere, and is not known here.
    pub making: Option<Making>,
    /// What was said of each test, if tests were run.
    pub tests: Option<TestsTold>,
    /// The rollouts of it, and the returns to it, oldest first, over all environments.
    pub rollouts: Vec<Rollout>,
    /// The other files of the folder.
    pub files: Vec<String>,
}

impl Report {
    /// The format this version writes; older is read, newer is refused.
    pub const FORMAT: u32 = 1;

    /// For people who read text, and for GitHub's step summary.
    pub fn to_markdown(&self) -> String {
        markdown::text(self)
    }

    /// All in one sentence, and how it is meant.
    pub fn verdict(&self) -> (Tone, String) {
        if let Some(failed) = self.making.as_ref().and_then(Making::failed) {
            return (Tone::Bad, format!("not made: the stage {} failed", failed.title()));
        }
        let Some(last) = self.rollouts.last() else {
            return (Tone::Plain, "made, and not deployed yet".to_owned());
        };
        (last.tone, format!("{}: {}", last.environment, last.outcome))
    }

    /// How many findings there are of each severity that has any, the worst first.
    pub fn findings(&self) -> Vec<(Severity, usize)> {
        let scanned = self.making.iter().flat_map(|making| &making.scans);
        let all: Vec<Severity> = scanned.flat_map(|one| &one.findings).map(|one| one.severity).collect();
        let count = |severity: &Severity| all.iter().filter(|one| *one == severity).count();
        let counts = Severity::ALL.iter().rev().map(|severity| (*severity, count(severity)));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

/// A length of time for people: `0.3 s`, `12 s`, `3 min 20 s`, `2 h 5 min`.
fn span(millis: u64) -> String {
    let seconds = millis / 1_000;
    match seconds {
        0..10 => format!("{}.{} s", seconds, millis % 1_000 / 100),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3_600, seconds % 3_600 / 60),
    }
}

/// A moment for people, to the second.
fn moment(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

/// `1 test`, `2 tests`.
fn counted(count: usize, one: &str) -> String {
    format!("{count} {one}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests;
