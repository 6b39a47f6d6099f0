//! Why a stage could not be planned, or did not pass.

use super::{MakerError, StageName};
use crate::{
    fingerprint::{CargoError, FingerprintError},
    image::context::ContextError,
    name::Name,
    process::ProcessError,
    release::ArtifactError,
    scan::trivy::ScanError,
    secret::SecretError,
};
use std::{io, sync::Arc};

/// Why a stage could not be planned, or did not pass.
#[derive(Debug, thiserror::Error)]
pub enum StageError {
    /// What it reads could not be found out.
    #[error("cannot tell what the stage `{stage}` reads")]
    Fingerprint {
        /// Which stage.
        stage: StageName,
        /// Why.
        #[source]
        source: FingerprintError,
    },
    /// The configuration and the cargo workspace do not fit together.
    #[error("the stage `{stage}` cannot be planned")]
    Cargo {
        /// Which stage.
        stage: StageName,
        /// Why.
        #[source]
        source: CargoError,
    },
    /// It has no command, and the project is not one of cargo.
    #[error(
        "the stage `test` has no command, and there is no Cargo.toml to run tests of: give `[stages.test]` a `command`"
    )]
    NoTests,
    /// Its command is an empty list.
    #[error("the command of the stage `{stage}` is an empty list: give a program and its arguments")]
    NoCommand {
        /// Which stage.
        stage: StageName,
    },
    /// Its command ran and failed.
    #[error("{message}")]
    Failed {
        /// Which stage.
        stage: StageName,
        /// What failed and what to do.
        message: String,
        /// The lines of its output that matter; secrets masked.
        excerpt: Vec<String>,
    },
    /// Its command could not be run to its end.
    #[error("the stage `{stage}` did not come to its end")]
    Process {
        /// Which stage.
        stage: StageName,
        /// Why.
        #[source]
        source: ProcessError,
    },
    /// The build context of an image is at fault.
    #[error("cannot read what the image of `{service}` is made of")]
    Context {
        /// Which service.
        service: Name,
        /// Why.
        #[source]
        source: ContextError,
    },
    /// A build secret cannot be had.
    #[error("the image of `{service}` needs the build secret `{secret}`, which cannot be had")]
    Secret {
        /// Which service.
        service: Name,
        /// Which secret.
        secret: String,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// Whoever makes and publishes images cannot say what is needed.
    #[error("the stage `{stage}` cannot be planned for `{service}`")]
    Maker {
        /// Which stage.
        stage: StageName,
        /// Which service.
        service: Name,
        /// Why.
        #[source]
        source: MakerError,
    },
    /// An image was not made, or not published.
    #[error("the stage `{stage}` failed for `{service}`")]
    Image {
        /// Which stage.
        stage: StageName,
        /// Which service.
        service: Name,
        /// Why, with the lines that matter.
        #[source]
        source: MakerError,
    },
    /// The scanner cannot judge.
    #[error("{subject} could not be scanned")]
    Scan {
        /// What.
        subject: String,
        /// Why.
        #[source]
        source: Arc<ScanError>,
    },
    /// What was found stops the release.
    #[error(
        "the scan of {subject} stops the release: {summary}. Mend it, or waive it for a while with a reason in a file of \
         `stages.scan.waivers`; all that was found is in {report}"
    )]
    Findings {
        /// What was scanned.
        subject: String,
        /// How many of what.
        summary: String,
        /// The file with all of them.
        report: String,
        /// Those that stop it.
        excerpt: Vec<String>,
    },
    /// The run was cancelled.
    #[error("the stage `{stage}` was broken off because the run was cancelled")]
    Cancelled {
        /// Which stage.
        stage: StageName,
    },
    /// An earlier stage is to be taken as it was, and there is nothing of it.
    #[error("the stage `{stage}` has never passed here, so nothing can begin after it: leave out `--from`")]
    NothingBefore {
        /// Which stage.
        stage: StageName,
    },
    /// A service's executable is not there or cannot be used.
    #[error("the service `{service}` has no artifact: {hint}")]
    Artifact {
        /// Which service.
        service: Name,
        /// What to do.
        hint: &'static str,
        /// Why.
        #[source]
        source: Box<ArtifactError>,
    },
    /// What its tests said could not be kept.
    #[error("the tests passed, but their report cannot be written")]
    Report {
        /// Names the file.
        #[source]
        source: io::Error,
    },
    /// That it passed could not be recorded.
    #[error("the stage `{stage}` passed, but that cannot be recorded")]
    Record {
        /// Which stage.
        stage: StageName,
        /// Names the file.
        #[source]
        source: io::Error,
    },
}

impl StageError {
    /// Whether the run was cancelled, and the stage is not to blame.
    pub fn is_cancelled(&self) -> bool {
        matches!(self, Self::Process { source: ProcessError::Cancelled { .. }, .. } | Self::Cancelled { .. })
    }

    /// Which stage it is about, if it is about one.
    pub fn stage(&self) -> Option<StageName> {
        match self {
            Self::Fingerprint { stage, .. }
            | Self::Cargo { stage, .. }
            | Self::NoCommand { stage }
            | Self::Failed { stage, .. }
            | Self::Process { stage, .. }
            | Self::Maker { stage, .. }
            | Self::Image { stage, .. }
            | Self::Cancelled { stage }
            | Self::NothingBefore { stage }
            | Self::Record { stage, .. } => Some(*stage),
            Self::Context { .. } | Self::Secret { .. } => Some(StageName::Image),
            Self::Scan { .. } | Self::Findings { .. } => Some(StageName::Scan),
            Self::NoTests | Self::Report { .. } => Some(StageName::Test),
            Self::Artifact { .. } => Some(StageName::Build),
        }
    }

    /// The lines that matter of what was written; secrets masked.
    pub(super) fn excerpt(&self) -> Vec<String> {
        match self {
            Self::Failed { excerpt, .. } | Self::Findings { excerpt, .. } => excerpt.clone(),
            Self::Image { source, .. } => source.excerpt.clone(),
            _ => Vec::new(),
        }
    }

    /// The whole text with its causes, for events and records.
    pub(super) fn story(&self) -> String {
        crate::causes::in_one_line(self)
    }
}
