//! Stages: the whole plan first, then each as soon as what it needs is there. Each ends as passed, skipped with a reason, or
//! failed.
//!
//! ```text
//! test ──────────────────────────────┐
//! scan (the configuration) ──────────┤
//! build ─▶ image (api) ─▶ scan (api) ┴▶ publish (api)    each service by itself; an image that needs no executable waits
//!                                                        for none
//! ```
//!
//! **Invariant.** A stage is skipped only if everything that it reads is what a run that passed has read, and what
//! that run made is still there byte for byte.

mod build;
mod cache;
mod default_test;
mod error;
mod excerpt;
mod image;
mod made;
mod maker;
mod outlook;
mod plan;
mod publish;
mod record;
mod report;
mod run;
mod runner;
mod scan;

pub use error::StageError;
pub use made::Made;
pub use maker::{BuilderFacts, ImageMaker, ImageOrder, MadeImage, MakerError, News, PublishOrder, Source};
pub use outlook::{Outlook, PlannedStage};
pub use plan::{RunReason, StagePlan, Why, plan_stages};
pub use run::{StageResult, run_stage};
pub use runner::{Order, Origin, StageFailure, run_stages};

use crate::{
    config::image::ImageSource,
    image::reference::Repository,
    name::Name,
    process::Runner,
    scan::{Rules, Subject},
    secret::Variables,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt,
    path::PathBuf,
    sync::Arc,
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
    /// Scans the image of each service, and the configuration.
    Scan,
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
            Self::Scan => "scan",
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
    /// See [`ScanStage`].
    Scan(ScanStage),
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
            Self::Scan(_) => StageName::Scan,
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
    /// What runs them.
    pub command: TestCommand,
    /// Cargo packages that the tests read. If empty, those that `command` names with `-p`, if it is cargo; else all of the
    /// workspace, if there are `inputs`.
    pub packages: Vec<String>,
    /// Other files and folders that they read, relative to the root. If these and the packages are empty, everything.
    pub inputs: Vec<PathBuf>,
    /// The longest that it may run.
    pub timeout: Duration,
}

/// What runs the tests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TestCommand {
    /// A program and its arguments.
    Own(Vec<String>),
    /// `cargo nextest run` where cargo-nextest is installed, which [`run_stages`] finds out; else `cargo test`.
    Default,
    /// `cargo nextest run`, of this version.
    Nextest {
        /// As it says it.
        version: String,
    },
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

/// Scans the image of one service, or the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScanStage {
    /// What.
    pub subject: Subject,
    /// How, and what of it stops a release.
    pub rules: Arc<Rules>,
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
    /// The longest that cargo and rustc may take to say what there is; as a rule [`crate::fingerprint::DEADLINE`].
    pub answer_limit: Duration,
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

#[cfg(test)]
mod tests;
