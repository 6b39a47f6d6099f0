//! What happens while a release is made, in the past tense.

use crate::{
    journal::Journaled,
    name::Name,
    release::ReleaseId,
    stage::{PlannedStage, StageName},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Something that happened in the pipeline. *Steps* are ordered, kept and journaled; *progress* may be dropped.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "event", rename_all = "kebab-case", rename_all_fields = "kebab-case")]
pub enum Event {
    /// All stages that are asked for were planned, and none has begun.
    StagesPlanned {
        /// What is to happen with each, as far as it is known by then.
        stages: Vec<PlannedStage>,
    },
    /// A stage began to run.
    StageStarted {
        /// Which.
        stage: StageName,
        /// Of which service, where each has its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<Name>,
        /// Why it could not be skipped: `examples/api/src/main.rs changed`.
        because: String,
    },
    /// A stage's program wrote a line. Progress.
    StageOutput {
        /// Which stage.
        stage: StageName,
        /// Of which service, where each has its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<Name>,
        /// The line; secrets masked.
        line: String,
    },
    /// A stage came further: a step of a build was done, a tag was moved.
    StageAdvanced {
        /// Which stage.
        stage: StageName,
        /// Of which service, where each has its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<Name>,
        /// What was done; secrets masked.
        step: String,
    },
    /// A stage did not need to run.
    StageSkipped {
        /// Which.
        stage: StageName,
        /// Of which service, where each has its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<Name>,
        /// Why not: `inputs unchanged since …`.
        reason: String,
    },
    /// A stage ran and passed.
    StagePassed {
        /// Which.
        stage: StageName,
        /// Of which service, where each has its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<Name>,
        /// How long it ran, in milliseconds.
        duration_ms: u64,
        /// What it came to: `9 tests passed`.
        summary: String,
    },
    /// A stage ran and failed, or could not run.
    StageFailed {
        /// Which.
        stage: StageName,
        /// Of which service, where each has its own.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        service: Option<Name>,
        /// What failed, why, and what to do.
        message: String,
        /// The lines of its output that matter; secrets masked.
        excerpt: Vec<String>,
    },
    /// All stages have passed, and a release was made of what they built.
    ReleaseMade {
        /// Its name.
        release: ReleaseId,
        /// Whether the tree had changes that the commit does not have.
        dirty: bool,
        /// How many services it has.
        services: usize,
    },
}

impl Event {
    /// Whether it is a step, not mere progress.
    pub fn is_step(&self) -> bool {
        match self {
            Self::StageOutput { .. } => false,
            Self::StagesPlanned { .. }
            | Self::StageStarted { .. }
            | Self::StageAdvanced { .. }
            | Self::StageSkipped { .. }
            | Self::StagePassed { .. }
            | Self::StageFailed { .. }
            | Self::ReleaseMade { .. } => true,
        }
    }
}

impl Journaled for Event {
    fn is_step(&self) -> bool {
        Self::is_step(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_tagged_in_kebab_case() {
        let event = Event::StagePassed {
            stage: StageName::Test,
            service: None,
            duration_ms: 1200,
            summary: "9 tests passed".into(),
        };
        assert_eq!(
            serde_json::to_string(&event).unwrap(),
            r#"{"event":"stage-passed","stage":"test","duration-ms":1200,"summary":"9 tests passed"}"#
        );
        assert!(event.is_step());
        assert!(
            !Event::StageOutput { stage: StageName::Build, service: None, line: "Compiling".into() }
                .is_step()
        );
    }
}
