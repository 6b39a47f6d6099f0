//! `fairlead.toml` as it is written. The comments here are what editors show, and what the reference is made of.

use super::{
    defaults,
    scalar::{
        Address, BuildPlatform, BuildWord, ByteSize, EngineAddress, EnvName, FileName, HeaderName, HttpPath,
        ImagePrefix, JsonPointer, Mode, RuleId, Span, StatusRange,
    },
};
use crate::{name::Name, scan::Severity, secret::SecretRef};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{collections::BTreeMap, path::PathBuf};

/// The project: its services, and how a release is made of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
#[schemars(title = "fairlead.toml")]
pub struct ProjectFile {
    /// Version of this file's format; this version of Fairlead reads 1.
    #[schemars(extend("const" = 1))]
    pub version: u32,
    /// The project as a whole.
    pub project: ProjectSection,
    /// The services, by name.
    pub services: BTreeMap<Name, ServiceSection>,
    /// Where images are published; without it, they stay on the engine that made them.
    pub registry: Option<RegistrySection>,
    /// How a release is tested and built.
    #[serde(default)]
    pub stages: StagesSection,
}

/// The project as a whole.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ProjectSection {
    /// The project's name; targets tell projects apart by it.
    pub name: Name,
    /// How many bundles of each service a target keeps besides the current one, to roll back to.
    #[serde(default = "defaults::keep_releases")]
    #[schemars(range(min = 1, max = 1000))]
    pub keep_releases: u16,
    /// How many manifests of the newest releases are kept on this machine, and with them what they name in the registry. What
    /// stands on a target, or can be returned to there, is kept besides.
    #[serde(default = "defaults::keep_manifests")]
    #[schemars(range(min = 1, max = 10000))]
    pub keep_manifests: u16,
}

/// One service: what its units run, and how they are known to be healthy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct ServiceSection {
    /// The executable that a unit runs: `{ cargo-bin = "NAME" }` or `{ path = "FILE" }`. Not needed where the service goes to
    /// targets that run images, and has a Dockerfile.
    pub artifact: Option<ArtifactSource>,
    /// The image that a unit runs on targets that run images. Without it, it is made of the executable and nothing else.
    pub image: Option<ImageSection>,
    /// Arguments after the executable.
    #[serde(default)]
    pub args: Vec<String>,
    /// The stable port: held by the router, the same for every release.
    #[schemars(range(min = 1))]
    pub port: u16,
    /// The address that the stable port is bound to.
    #[serde(default = "defaults::host")]
    pub host: Address,
    /// The variable that tells a unit its own port. If it is named here and set where Fairlead runs, it overrides `port`.
    #[serde(default = "defaults::port_env")]
    pub port_env: EnvName,
    /// The variable that tells a unit the address to listen on. If it is set where Fairlead runs, it overrides `host`.
    pub host_env: Option<EnvName>,
    /// Variables of the units.
    #[serde(default)]
    pub env: BTreeMap<EnvName, String>,
    /// Variables that units get from where Fairlead runs, if they are set there; they override `env`.
    #[serde(default)]
    pub inherit: Vec<EnvName>,
    /// How many units.
    #[serde(default = "defaults::replicas")]
    #[schemars(range(min = 1, max = 1000))]
    pub replicas: u16,
    /// Services that are rolled out before this one.
    #[serde(default)]
    pub depends_on: Vec<Name>,
    /// Secrets by name. A unit finds the value in the file that the variable `<NAME>_FILE` names.
    #[serde(default)]
    pub secrets: BTreeMap<EnvName, SecretRef>,
    /// Whether units get secrets as variables instead of files: visible in the process table, and shown as a risk.
    #[serde(default)]
    pub secret_env: bool,
    /// Memory that a unit may use; it is ended above that.
    pub memory_max: Option<ByteSize>,
    /// Files and connections that a unit may have open.
    #[schemars(range(min = 16))]
    pub open_files_max: Option<u64>,
    /// Config files by the name that they get; deployed and rolled back with the service.
    #[serde(default)]
    pub files: BTreeMap<FileName, FileSection>,
    /// How a unit is known to be healthy. Without it, it is when its port accepts connections.
    pub check: Option<CheckSection>,
    /// A one-shot step of each release, run before any of its units is started.
    pub migration: Option<MigrationSection>,
}

/// A one-shot step of each release: the service's own executable with other arguments, run once, with the variables,
/// files, secrets and limits of a unit, before any unit of the release is started.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct MigrationSection {
    /// Arguments after the executable, in the place of those of a unit.
    #[schemars(length(min = 1))]
    pub args: Vec<String>,
    /// The longest that it may take.
    #[serde(default = "defaults::migration_timeout")]
    pub timeout: Span,
    /// Whether what stood before still works after it. If not, a release that runs it is irreversible: a failure holds
    /// the rollout, and nothing is rolled back across it.
    #[serde(default = "defaults::reversible")]
    pub reversible: bool,
}

/// What a unit runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub enum ArtifactSource {
    /// A binary target of the Cargo workspace, built for release.
    CargoBin(String),
    /// An executable, relative to the project's root, that is there or that the build stage's command makes.
    Path(PathBuf),
}

/// The image that a unit runs: made by a Dockerfile, or of the executable and nothing else.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct ImageSection {
    /// `true`: the image has the executable of `artifact`, linked statically, and nothing else; it runs as user 1000.
    pub from_binary: Option<bool>,
    /// The Dockerfile, relative to the project's root, in or below `context`. By default the `Dockerfile` of `context`.
    pub dockerfile: Option<PathBuf>,
    /// The folder whose files the Dockerfile may copy, relative to the project's root. By default the root.
    pub context: Option<PathBuf>,
    /// The stage of the Dockerfile whose image is wanted. By default the last.
    pub target: Option<BuildWord>,
    /// Values of the Dockerfile's `ARG`s. They stay readable in the image.
    pub args: BTreeMap<BuildWord, String>,
    /// What `RUN --mount=type=secret,id=NAME` is given; neither in the image nor in its history. Needs BuildKit.
    pub secrets: BTreeMap<BuildWord, SecretRef>,
    /// The platform that it is made for. By default that of the engine.
    pub platform: Option<BuildPlatform>,
    /// `registry`: what was built before is taken from the image that was published last, and the next build finds there
    /// what this one did. Needs `[registry]`, and BuildKit; an engine without it builds as always.
    pub cache: Option<ImageCache>,
}

/// Where what was built is kept for other engines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum ImageCache {
    /// In the published image itself.
    Registry,
}

/// Where images are published.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct RegistrySection {
    /// The registry, and a path in it: each service has a repository below. Who may push is known from where the Docker
    /// client knows it, or from FAIRLEAD_REGISTRY_USERNAME and FAIRLEAD_REGISTRY_PASSWORD.
    pub prefix: ImagePrefix,
    /// The branch whose newest image is tagged `latest`, too.
    #[serde(default = "defaults::default_branch")]
    pub default_branch: String,
}

/// A config file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct FileSection {
    /// The file, relative to the project's root.
    pub source: PathBuf,
    /// Its permission bits.
    #[serde(default = "defaults::file_mode")]
    pub mode: Mode,
    /// The variable that tells a unit where it is.
    pub env: Option<EnvName>,
}

/// How a unit is known to be healthy: one of `http`, `tcp` and `command`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CheckSection {
    /// An HTTP GET that must be answered as described.
    pub http: Option<HttpSection>,
    /// `true`: its port must accept a connection.
    pub tcp: Option<bool>,
    /// A command (program and arguments, no shell) that must exit 0; `FAIRLEAD_UNIT_ADDRESS` tells it the unit.
    #[schemars(length(min = 1))]
    pub command: Option<Vec<String>>,
    /// Where a unit says which release it is, so that nothing else is taken for it.
    pub identity: Option<IdentitySection>,
    /// Timings of this service's check that differ from those of the environment.
    #[serde(default)]
    pub timings: CheckTimings,
}

/// What an HTTP check asks and expects.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct HttpSection {
    /// Path and query of the request.
    pub path: HttpPath,
    /// The status that is good, or a range of them.
    #[serde(default = "defaults::status")]
    pub status: StatusRange,
    /// A text that the body must contain.
    pub body_contains: Option<String>,
    /// What the body, as JSON, must have: JSON pointer → value.
    #[serde(default)]
    pub json: BTreeMap<JsonPointer, serde_json::Value>,
    /// Headers of the request.
    #[serde(default)]
    pub headers: BTreeMap<HeaderName, String>,
    /// Headers that the answer must have: name → a text that its value must contain.
    #[serde(default)]
    pub expect_headers: BTreeMap<HeaderName, String>,
    /// The longest time to the complete answer that is still good.
    pub latency_max: Option<Span>,
    /// Speak TLS.
    pub tls: Option<TlsSection>,
}

/// How an HTTP check speaks TLS.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct TlsSection {
    /// The name that the certificate must bear.
    pub server_name: String,
    /// The authority that signs it, in PEM, relative to the project's root; without it, this machine's authorities.
    pub ca_file: Option<PathBuf>,
    /// The least number of days that the certificate must still be valid.
    pub min_days_left: Option<u32>,
}

/// Where a unit says which release it is: an HTTP GET that answers JSON.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct IdentitySection {
    /// Path and query of the request.
    pub path: HttpPath,
    /// JSON pointer to what must equal the variable `FAIRLEAD_RELEASE` of the unit.
    #[serde(default = "defaults::release_pointer")]
    pub release: JsonPointer,
    /// JSON pointer to what must equal the variable `FAIRLEAD_BUNDLE` of the unit, if it reports that.
    pub bundle: Option<JsonPointer>,
}

/// Timings of a check that differ from those of the environment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
pub struct CheckTimings {
    /// From one probe to the next.
    pub interval: Option<Span>,
    /// The longest that one probe may take.
    pub timeout: Option<Span>,
    /// Passes in a row that make a unit healthy …
    #[schemars(range(min = 1, max = 1000))]
    pub healthy_passes: Option<u32>,
    /// … over at least this long.
    pub healthy_for: Option<Span>,
    /// From a unit's start until it must be healthy.
    pub healthy_deadline: Option<Span>,
    /// Failures in a row that make a healthy unit unhealthy.
    #[schemars(range(min = 1, max = 1000))]
    pub unhealthy_failures: Option<u32>,
}

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
