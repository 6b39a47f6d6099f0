//! The stages of `fairlead.toml` as they are written.

use crate::{
    config::{
        defaults,
        scalar::{ByteSize, EngineAddress, RuleId, Span},
    },
    scan::Severity,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// How a release is tested and built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct StagesSection {
    /// The tests that a release must pass; without this, none are run.
    pub test: Option<TestSection>,
    /// How the executables are built.
    #[serde(default)]
    pub build: BuildSection,
    /// How images are built.
    #[serde(default)]
    pub image: ImageStageSection,
    /// What is scanned, and what of it stops a release; without this, nothing is.
    pub scan: Option<ScanSection>,
    /// How images are published.
    #[serde(default)]
    pub publish: PublishSection,
    /// How many stages, and services within a stage, are worked on at the same time.
    #[serde(default = "defaults::jobs")]
    #[schemars(range(min = 1, max = 64))]
    pub jobs: u16,
}

/// The tests that a release must pass.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TestSection {
    /// Program and arguments, no shell; run in the project's root. Without it, `cargo nextest run` where cargo-nextest is
    /// installed, else `cargo test`.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Files and folders that the result depends on, besides the Cargo packages that the command names, or all of them if it
    /// names none. Without this and without such names, the result depends on every file.
    #[serde(default)]
    pub inputs: Vec<String>,
    /// The longest that it may take.
    #[serde(default = "defaults::test_timeout")]
    pub timeout: Span,
}

/// How the executables are built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct BuildSection {
    /// Program and arguments, no shell; without it, `cargo build --release` of the `cargo-bin` artifacts.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Files and folders that the result depends on, besides the Cargo packages of the services and what they use.
    pub inputs: Vec<String>,
    /// The longest that it may take.
    pub timeout: Span,
}

impl Default for BuildSection {
    fn default() -> Self {
        Self { command: None, inputs: Vec::new(), timeout: defaults::build_timeout() }
    }
}

impl Default for StagesSection {
    fn default() -> Self {
        Self {
            test: None,
            build: BuildSection::default(),
            image: ImageStageSection::default(),
            scan: None,
            publish: PublishSection::default(),
            jobs: defaults::jobs(),
        }
    }
}

/// How images are built.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ImageStageSection {
    /// The Docker engine that builds. By default that of `DOCKER_HOST`, or the one of this machine.
    pub engine: Option<EngineAddress>,
    /// The longest that an image may take.
    pub timeout: Span,
}

impl Default for ImageStageSection {
    fn default() -> Self {
        Self { engine: None, timeout: defaults::image_timeout() }
    }
}

/// What is scanned by Trivy, and what of it stops a release: every image that is made, and the files of `configuration`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ScanSection {
    /// The version of Trivy that is trusted, such as "0.59.1". Without it, any is.
    pub version: Option<String>,
    /// Dockerfiles, manifests and the like, and folders of them, that are looked through for settings that open a door.
    pub configuration: Vec<PathBuf>,
    /// The least severity at which a vulnerability stops a release.
    pub vulnerabilities: Severity,
    /// The least severity at which a misconfiguration stops a release.
    pub misconfigurations: Severity,
    /// The least severity at which a secret stops a release.
    pub secrets: Severity,
    /// Whether a vulnerability stops nothing as long as no version without it is published.
    pub fixed_only: bool,
    /// Whether an image of a distribution that gets no more fixes stops a release.
    pub end_of_life: bool,
    /// Rules that stop a release whatever their severity is.
    pub always: Vec<RuleId>,
    /// Files of findings that are tolerated for a while: TOML, or with any other ending lines as in `.trivyignore`.
    pub waivers: Vec<PathBuf>,
    /// The oldest that the database of vulnerabilities may be.
    pub database_age_max: Span,
    /// Where the database comes from, in the order in which they are tried, such as "ghcr.io/aquasecurity/trivy-db:2". Without
    /// this, Trivy's own places.
    pub database_repositories: Vec<String>,
    /// The largest image that is scanned.
    pub image_size_max: ByteSize,
    /// The longest that the scan of one image, or of one entry of `configuration`, may take.
    pub timeout: Span,
}

impl Default for ScanSection {
    fn default() -> Self {
        Self {
            version: None,
            configuration: Vec::new(),
            vulnerabilities: Severity::High,
            misconfigurations: Severity::High,
            secrets: Severity::Unknown,
            fixed_only: false,
            end_of_life: true,
            always: defaults::always(),
            waivers: Vec::new(),
            database_age_max: defaults::database_age_max(),
            database_repositories: Vec::new(),
            image_size_max: defaults::image_size_max(),
            timeout: defaults::scan_timeout(),
        }
    }
}

/// How images are published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct PublishSection {
    /// The longest that an image may take, with all attempts.
    pub timeout: Span,
}

impl Default for PublishSection {
    fn default() -> Self {
        Self { timeout: defaults::publish_timeout() }
    }
}
