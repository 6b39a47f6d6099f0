//! The seam to the other rooms: where their libraries are called, and their errors become ours.

use crate::{context::Context, failure::Failure};
use deploy::{
    STATE_FOLDER,
    adapter::{process::supervisor, router},
    config::{LoadRequest, Loaded, environment_names, load},
    session::{Kind, Session, SessionError, Tool},
};
use pipeline::{
    config::{Problems, file::ArtifactSource, find_root},
    digest::Digest,
    git,
    process::Runner,
    release::{Artifact, Manifests, Parts, Release, ReleaseId, StageVerdict, manifest},
    stage::{
        ArtifactSpec, BuildStage, Context as StageContext, Stage, StageName, TestStage, plan_stages,
        run_stage,
    },
};
use std::{
    collections::BTreeMap,
    ffi::OsString,
    io::IsTerminal as _,
    path::{Path, PathBuf},
    time::Duration,
};
use tokio_util::sync::CancellationToken;

pub(crate) use crate::plan_file::{read_plan, write_plan};

/// The version of the program, for people.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// One environment, opened.
pub(crate) struct Opened {
    /// The project's root.
    pub(crate) root: PathBuf,
    /// The checked configuration.
    pub(crate) loaded: Loaded,
    /// The environment itself.
    pub(crate) session: Session,
}

/// Loads the configuration of an environment.
pub(crate) fn configuration(context: &Context, environment: &str) -> Result<(PathBuf, Loaded), Failure> {
    let root = root(context)?;
    let variables = context.variables.iter();
    // A variable that is not text is no override of ours.
    let variables =
        variables.filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.to_str()?.to_owned())));
    let request = LoadRequest {
        root: &root,
        project_file: context.global.config.as_deref(),
        environment,
        set: &context.global.set,
        variables: &variables.collect(),
    };
    let loaded = load(&request).map_err(|problems| config_failure(context, &problems))?;
    Ok((root, loaded))
}

/// Opens an environment.
pub(crate) fn open(context: &Context, environment: &str) -> Result<Opened, Failure> {
    let (root, loaded) = configuration(context, environment)?;
    let (variables, redactor) = (context.variables.clone(), context.redactor.clone());
    let session = Session::open(root.clone(), loaded.clone(), tool()?, variables, redactor);
    Ok(Opened { root, loaded, session })
}

/// The environment whose services are built when none is named: `local`, where a deploy without a name would go, or the
/// first that there is.
pub(crate) fn any_environment(context: &Context) -> Result<String, Failure> {
    const LOCAL: &str = "local";
    let names = environment_names(&root(context)?);
    let first = names.first().filter(|_| names.iter().all(|name| name.as_str() != LOCAL));
    Ok(first.map_or_else(|| LOCAL.to_owned(), ToString::to_string))
}

/// Runs stages, or skips them; with the build stage among them a release is made and its manifest written.
pub(crate) async fn stages(
    context: &Context,
    opened: &Opened,
    names: &[StageName],
    force: bool,
    cancel: CancellationToken,
) -> Result<Option<Release>, Failure> {
    let state = opened.root.join(STATE_FOLDER);
    let runner = Runner { redactor: context.redactor.clone(), cancel };
    let stage_context = StageContext {
        root: opened.root.clone(),
        state: state.clone(),
        variables: context.variables.clone(),
        runner,
    };
    let configured = configured(&opened.loaded);
    // The tree as it was before the build: what is changed meanwhile is not in the release.
    let tree = tokio::task::block_in_place(|| git::inspect(&opened.root))
        .map_err(|error| Failure::state("cannot tell the state of the work tree").because(error))?;
    let plans = tokio::task::block_in_place(|| plan_stages(&stage_context, &configured, force))
        .map_err(stage_failure)?;
    let narrate = context.narrator.pipeline_events();
    let emit = |event: pipeline::event::Event| {
        opened.session.remember(&event);
        narrate(event);
    };
    let mut verdicts = BTreeMap::new();
    let mut services = None;
    for plan in &plans {
        if !names.contains(&plan.name) {
            verdicts.insert(plan.name.to_string(), unasked(&plan.why));
            continue;
        }
        let result = run_stage(&stage_context, plan, &emit).await.map_err(|error| {
            if error.is_cancelled() { Failure::Stopped } else { stage_failed(context, plan.name) }
        })?;
        verdicts.insert(plan.name.to_string(), result.verdict);
        if plan.name == StageName::Build {
            services = Some(result.artifacts);
        }
    }
    let Some(services) = services else { return Ok(None) };
    let release = assemble(opened, tree.as_ref(), services, verdicts)?;
    Manifests::new(&state)
        .write(&release)
        .map_err(|error| Failure::state("cannot write the release manifest").because(error))?;
    emit(pipeline::event::Event::ReleaseMade {
        release: release.id.clone(),
        dirty: release.dirty,
        services: release.services.len(),
    });
    Ok(Some(release))
}

/// A release that was made before: by its name, or by the path of its manifest.
pub(crate) fn find_release(context: &Context, opened: &Opened, text: &str) -> Result<Release, Failure> {
    if text.contains(['/', '.']) {
        let path = Path::new(text);
        return manifest::read(path).map_err(|error| {
            SessionError::new(Kind::Usage, format!("cannot take the release of `{text}`"))
                .because(error)
                .into()
        });
    }
    let manifests = Manifests::new(&opened.root.join(STATE_FOLDER));
    let found = manifests.find(&ReleaseId(text.to_owned())).map_err(|error| {
        Failure::state(format!("cannot read the manifest of release `{text}`")).because(error)
    })?;
    found.ok_or_else(|| {
        let made = manifests.list().unwrap_or_default();
        let made: Vec<String> = made.into_iter().map(|id| id.to_string()).collect();
        let error = Failure::usage(format!("there is no release `{text}` here"));
        let error = match made.is_empty() {
            true => error.hint(format!("no release has been made here yet: `{}`", context.command("build"))),
            false => error.hint(format!("releases that were made here: {}", made.join(", "))),
        };
        error
            .hint("a release of another machine is given by its file: `--release release-manifest.json`")
            .into()
    })
}

/// Runs the supervisor of an environment.
pub(crate) async fn supervisor(arguments: Vec<OsString>) -> Result<(), Failure> {
    let options = supervisor::Options::from_args(arguments)
        .map_err(|error| SessionError::new(Kind::Usage, error.to_string()))?;
    supervisor::serve(options).await.map_err(|error| Failure::state("the supervisor ended").because(error))
}

/// Runs a router: `__router --control PATH [--version TEXT]`.
pub(crate) async fn router(arguments: Vec<OsString>) -> Result<(), Failure> {
    let mut control = None;
    let mut version = None;
    let mut arguments = arguments.into_iter();
    while let (Some(key), value) = (arguments.next(), arguments.next()) {
        match (key.to_str(), value) {
            (Some("--control"), Some(value)) => control = Some(PathBuf::from(value)),
            (Some("--version"), Some(value)) => version = Some(value.to_string_lossy().into_owned()),
            _ => return Err(not_for_people(&format!("`{}` is unknown or has no value", key.display()))),
        }
    }
    let control = control.ok_or_else(|| not_for_people("`--control` is missing"))?;
    let version = version.map_or_else(build, Ok)?;
    let options = router::Options::new(&control, &version);
    router::serve(options).await.map_err(|error| Failure::state("the router ended").because(error))
}

fn not_for_people(problem: &str) -> Failure {
    Failure::usage(format!("`__router` is called by Fairlead itself, not by people: {problem}")).into()
}

/// The project's root: the folder of the project file that was named, or that is found from here upwards.
fn root(context: &Context) -> Result<PathBuf, Failure> {
    let here = std::env::current_dir()
        .map_err(|error| Failure::state("cannot tell the current folder").because(error))?;
    if let Some(root) = find_root(&here) {
        return Ok(root);
    }
    let named =
        context.global.config.as_deref().and_then(|file| here.join(file).parent().map(Path::to_path_buf));
    named.ok_or_else(|| {
        Failure::usage(format!("there is no fairlead.toml in {} or above it", here.display()))
            .hint("run the command within a project, or name its file with --config")
            .into()
    })
}

fn config_failure(context: &Context, problems: &Problems) -> Failure {
    let colour = context.stderr_paint.0 && std::io::stderr().is_terminal();
    Failure::Config {
        rendered: problems.render(colour),
        problems: serde_json::to_value(problems).unwrap_or_default(),
    }
}

/// This program, as it starts its own background processes.
fn tool() -> Result<Tool, Failure> {
    let executable = executable()?;
    let program = crate::cli::program(executable.as_os_str(), std::env::var_os("CARGO"));
    Ok(Tool { version: VERSION.to_owned(), program, executable, build: build()? })
}

fn executable() -> Result<PathBuf, Failure> {
    std::env::current_exe()
        .map_err(|error| Failure::state("cannot find this program's own file").because(error))
}

/// What tells this program from any other build of it.
fn build() -> Result<String, Failure> {
    let digest = Digest::of_file(Path::new("/proc/self/exe"))
        .or_else(|_| Digest::of_file(&executable().unwrap_or_default()))
        .map_err(|error| Failure::state("cannot read this program's own file").because(error))?;
    Ok(digest.short())
}

/// The stages as they are configured, in their order.
fn configured(loaded: &Loaded) -> Vec<Stage> {
    let paths = |inputs: &[String]| inputs.iter().map(PathBuf::from).collect();
    let stages = &loaded.project.stages;
    let test = stages.test.as_ref().map(|test| {
        Stage::Test(TestStage {
            command: test.command.clone(),
            packages: Vec::new(),
            inputs: paths(&test.inputs),
            timeout: Duration::from_millis(test.timeout.as_millis()),
        })
    });
    let services = loaded.environment.services.iter().map(|(name, service)| {
        let artifact = match &service.artifact {
            ArtifactSource::CargoBin(name) => ArtifactSpec::CargoBin(name.clone()),
            ArtifactSource::Path(path) => ArtifactSpec::Path(path.clone()),
        };
        (name.clone(), artifact)
    });
    let build = Stage::Build(BuildStage {
        command: stages.build.command.clone(),
        services: services.collect(),
        packages: Vec::new(),
        inputs: paths(&stages.build.inputs),
        timeout: Duration::from_millis(stages.build.timeout.as_millis()),
    });
    test.into_iter().chain([build]).collect()
}

/// The verdict of a stage that this command does not run: an earlier pass still counts if nothing has changed since.
fn unasked(why: &pipeline::stage::Why) -> StageVerdict {
    match why {
        pipeline::stage::Why::Skip { .. } => StageVerdict::SkippedUnchanged,
        pipeline::stage::Why::Run(_) => StageVerdict::NotRun,
    }
}

fn assemble(
    opened: &Opened,
    tree: Option<&git::Tree>,
    services: BTreeMap<pipeline::name::Name, Artifact>,
    stages: BTreeMap<String, StageVerdict>,
) -> Result<Release, Failure> {
    let project = &opened.loaded.project.name;
    let parts = Parts { project, tree, tool_version: VERSION, services, stages };
    Release::assemble(parts, jiff::Timestamp::now())
        .map_err(|error| Failure::state("cannot make a release of what was built").because(error))
}

/// A stage that could not be planned.
fn stage_failure(error: pipeline::stage::StageError) -> Failure {
    SessionError::new(Kind::Stage, "the stages could not begin: nothing was deployed").because(error).into()
}

/// A stage that ran and failed; how, was told as an event.
fn stage_failed(context: &Context, stage: StageName) -> Failure {
    SessionError::new(Kind::Stage, format!("the stage `{stage}` failed: nothing was deployed"))
        .hint(format!("`{}` runs it alone, -v shows all of its output", context.command(stage.as_str())))
        .into()
}
