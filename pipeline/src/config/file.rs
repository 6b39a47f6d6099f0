//! `fairlead.toml` as it is written. The comments here are what editors show, and what the reference is made of.

mod stages;

pub use stages::{BuildSection, ImageStageSection, PublishSection, ScanSection, StagesSection, TestSection};

use super::{
    defaults,
    scalar::{
        Address, BuildPlatform, BuildWord, ByteSize, EnvName, FileName, GithubRepository, HeaderName,
        HttpPath, ImagePrefix, JsonPointer, Mode, Span, StatusRange,
    },
};
use crate::{name::Name, secret::SecretRef};
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
    /// Where GitHub is told of deployments, checks and releases.
    #[serde(default)]
    pub github: GithubSection,
    /// How a release is tested and built.
    #[serde(default)]
    pub stages: StagesSection,
}

/// What is known of GitHub. The server is that of `GITHUB_API_URL`, else github.com; the token that of `GITHUB_TOKEN`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct GithubSection {
    /// The repository. Without it, it is that of `GITHUB_REPOSITORY`, or where git's remote `origin` leads to.
    pub repository: Option<GithubRepository>,
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
    /// How long the report of a release is kept on this machine after it was last written.
    #[serde(default = "defaults::keep_reports")]
    pub keep_reports: Span,
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
