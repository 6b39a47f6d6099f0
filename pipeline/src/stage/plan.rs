//! Which stages run, and why.

use super::{
    ArtifactSpec, BuildStage, Context, Stage, StageError, StageName, TestCommand, TestStage,
    record::{Last, Record},
};
use crate::{
    digest::Digest,
    fingerprint::{self, Asking, CargoError, Difference, Fingerprint, Hashes, Scope, Stamps, Workspace},
    name::Name,
    process::Argv,
};
use jiff::Timestamp;
use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    fmt,
    path::PathBuf,
    sync::Arc,
};

/// What is to happen with one stage.
#[derive(Debug, Clone)]
pub struct StagePlan {
    /// Which stage.
    pub name: StageName,
    /// Whether it runs, and why.
    pub why: Why,
    pub(super) stage: Stage,
    pub(super) workspace: Option<Arc<Workspace>>,
    /// What the compiler makes programs for unless it is told.
    pub(super) host: Option<String>,
    pub(super) fingerprint: Fingerprint,
    pub(super) stamps: Stamps,
    /// The last run.
    pub(super) record: Option<Record>,
}

/// Whether a stage runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Why {
    /// It runs.
    Run(RunReason),
    /// It is skipped: its inputs are those of a run that passed.
    Skip {
        /// When that run ended.
        since: Timestamp,
    },
}

/// Why a stage runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RunReason {
    /// Nothing is recorded of an earlier run.
    FirstTime,
    /// The record of the last run is damaged, or from a newer version.
    RecordUnreadable,
    /// It was asked for.
    Forced,
    /// Its last run failed.
    FailedLastTime,
    /// What it reads has changed.
    Inputs(Difference),
    /// What it made is no longer there.
    ArtifactGone(PathBuf),
    /// What it made was changed by something else.
    ArtifactChanged(PathBuf),
    /// A service has been added to what it makes.
    ArtifactMissing(Name),
    /// The image that it made is no longer on the engine.
    ImageGone(Digest),
    /// The image that it published is no longer in the registry.
    Unpublished(Digest),
    /// There may be a newer database of vulnerabilities.
    DatabaseDue,
}

impl fmt::Display for RunReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FirstTime => f.write_str("first time"),
            Self::RecordUnreadable => f.write_str("the record of its last run cannot be read"),
            Self::Forced => f.write_str("asked for with --force"),
            Self::FailedLastTime => f.write_str("it failed last time"),
            Self::Inputs(difference) => difference.fmt(f),
            Self::ArtifactGone(path) => write!(f, "artifact `{}` is gone", path.display()),
            Self::ArtifactChanged(path) => write!(f, "artifact `{}` was changed", path.display()),
            Self::ArtifactMissing(service) => write!(f, "the service `{service}` has no artifact yet"),
            Self::ImageGone(image) => write!(f, "image {} is no longer on the engine", image.short()),
            Self::DatabaseDue => f.write_str("a newer database of vulnerabilities may be had"),
            Self::Unpublished(digest) => write!(f, "{} is no longer in the registry", digest.short()),
        }
    }
}

/// `runs: first time`, `skipped: inputs unchanged since 2026-11-24 11:30:00 UTC`.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Run(reason) => write!(f, "runs: {reason}"),
            Self::Skip { since } => write!(f, "skipped: {}", unchanged_since(*since)),
        }
    }
}

/// The reason of a skip, for people.
pub(super) fn unchanged_since(since: Timestamp) -> String {
    format!("inputs unchanged since {}", since.strftime("%Y-%m-%d %H:%M:%S UTC"))
}

/// Plans all stages that read the project alone, before the first one runs; what is made of images is planned when they are
/// there. Asks git, cargo and rustc, and reads files, but changes nothing; cargo and rustc are ended with the run. It blocks
/// for some 30 ms (more when large files are hashed for the first time).
///
/// # Errors
/// If a stage's inputs cannot be read, or do not fit the project.
pub fn plan_stages(context: &Context, stages: &[Stage], force: bool) -> Result<Vec<StagePlan>, StageError> {
    let is_one = |stage: &&Stage| matches!(stage, Stage::Test(_) | Stage::Build(_));
    let Some(first) = stages.iter().find(is_one) else { return Ok(Vec::new()) };
    let failed = |source| match source {
        CargoError::Cancelled { .. } => StageError::Cancelled { stage: first.name() },
        source => StageError::Cargo { stage: first.name(), source },
    };
    let asking = Asking { runner: &context.runner, limit: context.answer_limit };
    let workspace = Workspace::read(&context.root, &context.cargo(), &asking).map_err(failed)?.map(Arc::new);
    let rustc = context.variable("RUSTC").unwrap_or(OsStr::new("rustc"));
    let toolchain = match &workspace {
        Some(_) => fingerprint::toolchain(&context.root, rustc, &asking).map_err(failed)?,
        None => None,
    };
    stages
        .iter()
        .filter(is_one)
        .map(|stage| plan_stage(context, stage, force, workspace.clone(), toolchain.clone()))
        .collect()
}

fn plan_stage(
    context: &Context,
    stage: &Stage,
    force: bool,
    workspace: Option<Arc<Workspace>>,
    toolchain: Option<String>,
) -> Result<StagePlan, StageError> {
    let name = stage.name();
    let Last { record, is_unreadable } = Last::read(&context.state, name, stage.variant().as_ref());
    let mut scope = match stage {
        Stage::Test(test) => scope_of_test(test, workspace.as_deref())?,
        Stage::Build(build) => scope_of_build(build, workspace.as_deref())?,
        Stage::Image(_) | Stage::Scan(_) | Stage::Publish(_) => {
            unreachable!("planned when what they are made of is there")
        }
    };
    let host = toolchain.as_ref().and_then(|text| Some(text.rsplit_once(" for ")?.1.to_owned()));
    let is_of_cargo = matches!(stage, Stage::Test(test) if is_cargo(&test.command.words()));
    if !scope.packages.is_empty() || is_of_cargo {
        scope.values.extend(toolchain.map(|toolchain| ("the toolchain".into(), toolchain)));
        scope.values.extend(fingerprint::compiler_variables(&context.variables));
    }
    let mut hashes = Hashes::new(record.as_ref().map(|record| record.stamps.clone()).unwrap_or_default());
    let at = |source| StageError::Fingerprint { stage: name, source };
    let fingerprint =
        fingerprint::take(&context.root, &scope, workspace.as_deref(), &mut hashes).map_err(at)?;
    let why = match &record {
        _ if force => Why::Run(RunReason::Forced),
        _ if is_unreadable => Why::Run(RunReason::RecordUnreadable),
        None => Why::Run(RunReason::FirstTime),
        Some(record) => match reason_to_run(context, stage, record, &fingerprint, &mut hashes).map_err(at)? {
            Some(reason) => Why::Run(reason),
            None => Why::Skip { since: record.at },
        },
    };
    let (stage, stamps) = (stage.clone(), hashes.into_stamps());
    Ok(StagePlan { name, why, stage, workspace, host, fingerprint, stamps, record })
}

/// Why a recorded run does not stand for a new one; `None` if it does.
fn reason_to_run(
    context: &Context,
    stage: &Stage,
    record: &Record,
    now: &Fingerprint,
    hashes: &mut Hashes,
) -> Result<Option<RunReason>, fingerprint::FingerprintError> {
    if let Some(difference) = now.difference_from(&record.fingerprint) {
        return Ok(Some(RunReason::Inputs(difference)));
    }
    if !record.passed {
        return Ok(Some(RunReason::FailedLastTime));
    }
    let Stage::Build(build) = stage else { return Ok(None) };
    for service in build.services.keys() {
        let Some(artifact) = record.artifacts.get(service) else {
            return Ok(Some(RunReason::ArtifactMissing(service.clone())));
        };
        match hashes.digest(&context.root.join(&artifact.path))? {
            None => return Ok(Some(RunReason::ArtifactGone(artifact.path.clone()))),
            Some(found) if found != artifact.digest => {
                return Ok(Some(RunReason::ArtifactChanged(artifact.path.clone())));
            }
            Some(_) => {}
        }
    }
    Ok(None)
}

fn scope_of_test(test: &TestStage, workspace: Option<&Workspace>) -> Result<Scope, StageError> {
    let command = test.command.words();
    let mut packages = if test.packages.is_empty() { packages_in(&command) } else { test.packages.clone() };
    let mut values = BTreeMap::from([command_value(&command)]);
    match (&test.command, workspace) {
        (TestCommand::Own(_), _) => {}
        (TestCommand::Default | TestCommand::Nextest { .. }, None) => return Err(StageError::NoTests),
        (TestCommand::Default, Some(_)) => {}
        (TestCommand::Nextest { version }, Some(_)) => {
            values.insert("the test runner".to_owned(), version.clone());
        }
    }
    // Inputs are added to what the tests are known to read: they must not hide the sources from us.
    if let Some(workspace) = workspace.filter(|_| packages.is_empty() && !test.inputs.is_empty()) {
        packages = workspace.member_names().map(str::to_owned).collect();
    }
    Ok(Scope { packages, dev_dependencies: true, paths: test.inputs.clone(), values })
}

fn scope_of_build(build: &BuildStage, workspace: Option<&Workspace>) -> Result<Scope, StageError> {
    let mut scope = Scope { paths: build.inputs.clone(), ..Scope::default() };
    let mut packages: BTreeSet<String> = build.packages.iter().cloned().collect();
    for (service, spec) in &build.services {
        scope.values.insert(format!("the artifact of `{service}`"), format!("{spec:?}"));
        match (spec, workspace) {
            (ArtifactSpec::CargoBin(name), Some(workspace)) => {
                let package = workspace.package_with_binary(name);
                let at = |source| StageError::Cargo { stage: StageName::Build, source };
                packages.insert(package.map_err(at)?.to_owned());
            }
            // Without a manifest, `take` refuses the name.
            (ArtifactSpec::CargoBin(name), None) => _ = packages.insert(name.clone()),
            // A file that no command of ours makes is read, not made.
            (ArtifactSpec::Path(path), _) if build.command.is_none() => scope.paths.push(path.clone()),
            (ArtifactSpec::Path(_), _) => {}
        }
    }
    scope.packages = packages.into_iter().collect();
    if build.statically {
        scope.values.insert("the linking".to_owned(), "static".to_owned());
    }
    scope.values.extend(build.command.as_deref().map(command_value));
    Ok(scope)
}

/// The command as a value of the fingerprint, quoted, so that no two commands read alike.
fn command_value(command: &[String]) -> (String, String) {
    ("the command".into(), Argv::from_list(command).map(|argv| argv.to_string()).unwrap_or_default())
}

fn is_cargo(command: &[String]) -> bool {
    command.first().and_then(|program| program.rsplit('/').next()) == Some("cargo")
}

/// The packages that a cargo command names: `-p x`, `-px`, `--package x`, `--package=x`, before any `--`.
fn packages_in(command: &[String]) -> Vec<String> {
    if !is_cargo(command) {
        return Vec::new();
    }
    let mut packages = Vec::new();
    let mut words = command.iter().skip(1).take_while(|word| *word != "--");
    while let Some(word) = words.next() {
        let attached =
            word.strip_prefix("--package=").or_else(|| word.strip_prefix("-p").filter(|p| !p.is_empty()));
        match word.as_str() {
            "-p" | "--package" => packages.extend(words.next().cloned()),
            _ => packages.extend(attached.map(str::to_owned)),
        }
    }
    packages
}

#[cfg(test)]
mod tests {
    use super::packages_in;

    #[test]
    fn packages_are_read_off_a_cargo_command() {
        let packages = |line: &str| packages_in(&line.split(' ').map(String::from).collect::<Vec<_>>());
        assert_eq!(packages("cargo test -p a --package b --package=c -pd -- -p e"), ["a", "b", "c", "d"]);
        assert_eq!(packages("/x/cargo test -p a"), ["a"]);
        assert!(packages("make -p a").is_empty() && packages("cargo test --workspace").is_empty());
    }
}
