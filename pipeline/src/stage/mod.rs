//! Stages: the whole plan first, then each as soon as what it needs is there. Each ends as passed, skipped with a reason, or
//! failed.
//!
//! ```text
//! test ─────────────────┐
//! build ─▶ image (api) ─┴▶ publish (api)      each service by itself; an image that needs no executable waits for none
//! ```
//!
//! **Invariant.** A stage is skipped only if everything that it reads is what a run that passed has read, and what
//! that run made is still there byte for byte.

mod build;
mod cache;
mod excerpt;
mod image;
mod maker;
mod plan;
mod publish;
mod record;
mod run;
mod runner;

pub use maker::{BuilderFacts, ImageMaker, ImageOrder, MadeImage, MakerError, News, PublishOrder, Source};
pub use plan::{RunReason, StagePlan, Why, plan_stages};
pub use run::{StageResult, run_stage};
pub use runner::{Made, Order, Origin, StageFailure, run_stages};

use crate::{
    config::image::ImageSource,
    fingerprint::{CargoError, FingerprintError},
    image::{context::ContextError, reference::Repository},
    name::Name,
    process::{ProcessError, Runner},
    release::ArtifactError,
    secret::{SecretError, Variables},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt, io,
    path::PathBuf,
    time::Duration,
};

/// A stage of the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum StageName {
    /// Runs the project's tests.
    Test,
    /// Builds the executables of the services.
    Build,
    /// Makes the image of each service.
    Image,
    /// Publishes the image of each service.
    Publish,
}

impl StageName {
    /// As it is written in configuration, events and manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Build => "build",
            Self::Image => "image",
            Self::Publish => "publish",
        }
    }
}

impl fmt::Display for StageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A stage as it is configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stage {
    /// See [`TestStage`].
    Test(TestStage),
    /// See [`BuildStage`].
    Build(BuildStage),
    /// See [`ImageStage`].
    Image(ImageStage),
    /// See [`PublishStage`].
    Publish(PublishStage),
}

impl Stage {
    /// Which stage it is.
    pub fn name(&self) -> StageName {
        match self {
            Self::Test(_) => StageName::Test,
            Self::Build(_) => StageName::Build,
            Self::Image(_) => StageName::Image,
            Self::Publish(_) => StageName::Publish,
        }
    }

    /// Of which variant records are kept apart, so that whoever goes back and forth between environments builds nothing anew.
    fn variant(&self) -> Option<Name> {
        match self {
            Self::Build(BuildStage { statically: true, .. }) => {
                Some("static".parse().expect("letters are a name"))
            }
            _ => None,
        }
    }
}

/// Runs a command that exits with 0 if the tests pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestStage {
    /// The program and its arguments.
    pub command: Vec<String>,
    /// Cargo packages that the tests read. If empty, those that `command` names with `-p`, if it is cargo.
    pub packages: Vec<String>,
    /// Other files and folders that they read, relative to the root. If these and the packages are empty, everything.
    pub inputs: Vec<PathBuf>,
    /// The longest that it may run.
    pub timeout: Duration,
}

/// Makes an executable for each service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuildStage {
    /// The program and its arguments; by default `cargo build --release` of the binaries that the services name.
    pub command: Option<Vec<String>>,
    /// What each service runs.
    pub services: BTreeMap<Name, ArtifactSpec>,
    /// Cargo packages that the build reads beside those of the binaries.
    pub packages: Vec<String>,
    /// Other files and folders that it reads, relative to the root.
    pub inputs: Vec<PathBuf>,
    /// Whether cargo links what it builds statically, because images are made of nothing else.
    pub statically: bool,
    /// The longest that it may run.
    pub timeout: Duration,
}

/// Makes the image of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageStage {
    /// Whose it is.
    pub service: Name,
    /// What it is made of.
    pub source: ImageSource,
    /// Whether the service has an executable, which then is built first: the image is made of it, or a Dockerfile copies it.
    pub has_executable: bool,
    /// What the image is called until it is published: `localhost/noogh/api`.
    pub repository: Repository,
    /// Where it is published, if it is: there the cache of its build is, if it wants one.
    pub published: Option<Published>,
    /// The longest that it may take.
    pub timeout: Duration,
}

/// Where an image is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    /// Its repository.
    pub repository: Repository,
    /// The branch whose newest image is tagged `latest`, too.
    pub default_branch: String,
}

/// Publishes the image of one service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishStage {
    /// Whose it is.
    pub service: Name,
    /// Where it goes.
    pub repository: Repository,
    /// The branch whose newest image is tagged `latest`, too.
    pub default_branch: String,
    /// The longest that it may take.
    pub timeout: Duration,
}

/// Where the executable of a service comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArtifactSpec {
    /// The binary of that name in the cargo workspace.
    CargoBin(String),
    /// A file, relative to the root.
    Path(PathBuf),
}

/// What stages run in.
#[derive(Debug, Clone)]
pub struct Context {
    /// The project's root, absolute.
    pub root: PathBuf,
    /// The project's state folder, `.fairlead`.
    pub state: PathBuf,
    /// Our environment, which stages inherit.
    pub variables: Variables,
    /// Runs their commands.
    pub runner: Runner,
}

impl Context {
    /// Cargo, as the cargo that runs us says.
    fn cargo(&self) -> OsString {
        self.variable("CARGO").unwrap_or(OsStr::new("cargo")).to_owned()
    }

    fn variable(&self, name: &str) -> Option<&OsStr> {
        self.variables.get(OsStr::new(name)).map(OsString::as_os_str).filter(|value| !value.is_empty())
    }
}

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
            Self::Artifact { .. } => Some(StageName::Build),
        }
    }

    /// The lines that matter of what was written; secrets masked.
    fn excerpt(&self) -> Vec<String> {
        match self {
            Self::Failed { excerpt, .. } => excerpt.clone(),
            Self::Image { source, .. } => source.excerpt.clone(),
            _ => Vec::new(),
        }
    }

    /// The whole text with its causes, for events and records.
    fn story(&self) -> String {
        crate::causes::in_one_line(self)
    }
}

#[cfg(test)]
mod tests;
