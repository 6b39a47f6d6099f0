//! The `build` stage: a command, and the executables that it leaves.

use super::{
    ArtifactSpec, BuildStage, Context, StageError, StageName,
    run::{Made, failed, run_command},
};
use crate::{
    event::Event,
    fingerprint::Workspace,
    name::Name,
    process::{Argv, Stream},
    release::Artifact,
};
use serde::Deserialize;
use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

/// What cargo says of the project, and of this machine.
pub(super) struct Cargo<'a> {
    pub(super) workspace: Option<&'a Workspace>,
    /// What the compiler makes programs for unless it is told.
    pub(super) host: Option<&'a str>,
}

impl<'a> Cargo<'a> {
    /// What programs are linked statically for: named, so that compilers' plugins, which run on this machine, are not.
    fn static_target(&self, build: &BuildStage) -> Option<&'a str> {
        self.host.filter(|_| build.statically)
    }
}

/// Builds, and reads what was built.
///
/// `expected` is what the same inputs gave before, if that is why the stage runs. Cargo links its output into
/// `target/release`: whoever writes into the executable there writes into cargo's own copy as well, which cargo then
/// hands out as fresh. So when its answer is not what is expected, its copy is thrown away and built anew.
pub(super) async fn run(
    context: &Context,
    build: &BuildStage,
    cargo: &Cargo<'_>,
    expected: Option<&BTreeMap<Name, Artifact>>,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<Made, StageError> {
    let mut artifacts = make(context, build, cargo, emit).await?;
    let is_other = |(service, artifact): (&Name, &Artifact)| {
        expected.and_then(|expected| expected.get(service)).is_some_and(|e| e.digest != artifact.digest)
    };
    if build.command.is_none() && artifacts.iter().any(is_other) {
        let mut argv = Argv::new(context.cargo()).args(["clean", "--release"]);
        if let Some(target) = cargo.static_target(build) {
            argv = argv.args(["--target", target]);
        }
        for package in binaries(build, cargo.workspace)?.into_keys() {
            argv = argv.args(["--package", package]);
        }
        run_checked(context, &argv, build, emit, &mut |_, _| true).await?;
        artifacts = make(context, build, cargo, emit).await?;
    }
    Ok((summary(&artifacts), artifacts))
}

/// Runs the command, if there is one, and reads what it made.
async fn make(
    context: &Context,
    build: &BuildStage,
    cargo: &Cargo<'_>,
    emit: &(dyn Fn(Event) + Send + Sync),
) -> Result<BTreeMap<Name, Artifact>, StageError> {
    let mut executables = BTreeMap::new();
    if let Some(argv) = command(context, build, cargo)? {
        let mut is_told = |stream, line: &str| match message(stream, line) {
            None => true,
            Some(message) => {
                executables.extend(message.into_executable());
                false
            }
        };
        run_checked(context, &argv, build, emit, &mut is_told).await?;
    }
    let read = |(service, spec): (&Name, &ArtifactSpec)| {
        let path = match spec {
            ArtifactSpec::Path(path) => context.root.join(path),
            ArtifactSpec::CargoBin(name) => {
                let target = cargo.static_target(build);
                built_by_cargo(context, name, target, cargo.workspace, &executables)
            }
        };
        let artifact = Artifact::of_file(&path).map_err(|source| StageError::Artifact {
            service: service.clone(),
            hint: hint(build, spec),
            source: Box::new(source),
        })?;
        Ok((service.clone(), artifact.named_below(&context.root)))
    };
    build.services.iter().map(read).collect()
}

async fn run_checked(
    context: &Context,
    argv: &Argv,
    build: &BuildStage,
    emit: &(dyn Fn(Event) + Send + Sync),
    is_told: &mut (dyn FnMut(Stream, &str) -> bool + Send),
) -> Result<(), StageError> {
    let stage = StageName::Build;
    let (finished, output) = run_command(context, stage, argv, build.timeout, emit, is_told).await?;
    if finished.success() { Ok(()) } else { Err(failed(stage, argv, &finished, output.excerpt(), "")) }
}

fn summary(artifacts: &BTreeMap<Name, Artifact>) -> String {
    let list: Vec<_> = artifacts
        .iter()
        .map(|(service, artifact)| {
            format!("{service} {} ({})", artifact.digest.short(), size(artifact.size_bytes))
        })
        .collect();
    if list.is_empty() { "nothing to build".into() } else { list.join(", ") }
}

pub(super) fn size(bytes: u64) -> String {
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{} kB", bytes / 1_000),
        _ => format!("{}.{} MB", bytes / 1_000_000, bytes % 1_000_000 / 100_000),
    }
}

fn hint(build: &BuildStage, spec: &ArtifactSpec) -> &'static str {
    match (spec, &build.command) {
        (ArtifactSpec::Path(_), None) => {
            "make the file first, or give the build stage a command that makes it"
        }
        (ArtifactSpec::Path(_), Some(_)) => "the build command should have made the file",
        (ArtifactSpec::CargoBin(_), Some(_)) => {
            "the build command should have built it with the release profile, or told where it is with \
             `--message-format=json-render-diagnostics`"
        }
        (ArtifactSpec::CargoBin(_), None) => "cargo should have built it",
    }
}

/// The configured command, or cargo for the binaries that the services name; `None` if there is nothing to run.
fn command(context: &Context, build: &BuildStage, cargo: &Cargo<'_>) -> Result<Option<Argv>, StageError> {
    let stage = StageName::Build;
    if let Some(command) = &build.command {
        return Argv::from_list(command).map(Some).ok_or(StageError::NoCommand { stage });
    }
    let binaries = binaries(build, cargo.workspace)?;
    if binaries.is_empty() {
        return Ok(None);
    }
    let mut argv =
        Argv::new(context.cargo()).args(["build", "--release", "--message-format=json-render-diagnostics"]);
    if let Some(target) = cargo.static_target(build) {
        argv = argv.args(["--target", target]).env(flags_variable(target), static_flags(context, target));
    }
    for package in binaries.keys() {
        argv = argv.args(["--package", package]);
    }
    for binary in binaries.values().flatten() {
        argv = argv.args(["--bin", binary]);
    }
    Ok(Some(argv))
}

/// The variable that cargo takes flags from, for what is compiled for this target alone.
fn flags_variable(target: &str) -> String {
    format!("CARGO_TARGET_{}_RUSTFLAGS", target.to_uppercase().replace(['-', '.'], "_"))
}

/// The flags that somebody has set, and the one that links the C library in.
fn static_flags(context: &Context, target: &str) -> String {
    let set = context.variable(&flags_variable(target)).map(|flags| flags.to_string_lossy().into_owned());
    let flags = [set.as_deref(), Some("-C target-feature=+crt-static")];
    flags.into_iter().flatten().collect::<Vec<_>>().join(" ")
}

/// The binaries that services name, by package.
fn binaries<'a>(
    build: &'a BuildStage,
    workspace: Option<&'a Workspace>,
) -> Result<BTreeMap<&'a str, BTreeSet<&'a str>>, StageError> {
    let mut binaries = BTreeMap::<_, BTreeSet<_>>::new();
    for spec in build.services.values() {
        let (ArtifactSpec::CargoBin(name), Some(workspace)) = (spec, workspace) else { continue };
        let package = workspace
            .package_with_binary(name)
            .map_err(|source| StageError::Cargo { stage: StageName::Build, source })?;
        binaries.entry(package).or_default().insert(name.as_str());
    }
    Ok(binaries)
}

/// Where cargo said that it put a binary, or where it puts it by default.
fn built_by_cargo(
    context: &Context,
    name: &str,
    target: Option<&str>,
    workspace: Option<&Workspace>,
    executables: &BTreeMap<String, PathBuf>,
) -> PathBuf {
    executables.get(name).cloned().unwrap_or_else(|| {
        let default = context.root.join("target");
        let folder = workspace.map_or(default.as_path(), Workspace::target_directory);
        folder.join(target.unwrap_or_default()).join("release").join(name)
    })
}

/// A message of cargo, as far as we need it.
#[derive(Deserialize)]
struct Message {
    reason: String,
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

impl Message {
    fn into_executable(self) -> Option<(String, PathBuf)> {
        let target = self.target.filter(|target| target.kind.iter().any(|kind| kind == "bin"))?;
        let path = self.executable.filter(|path: &PathBuf| path.is_absolute() && path != Path::new("/"))?;
        (self.reason == "compiler-artifact").then_some((target.name, path))
    }
}

/// The message of cargo in a line; `None` if the line is for people.
fn message(stream: Stream, line: &str) -> Option<Message> {
    let is_candidate = stream == Stream::Stdout && line.starts_with("{\"reason\":");
    is_candidate.then(|| serde_json::from_str(line).ok()).flatten()
}
