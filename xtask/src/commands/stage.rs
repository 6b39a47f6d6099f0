//! `test`, `build`, `scan` and `publish`: the stages by themselves.

use crate::{
    cli::{Build, Stage},
    context::Context,
    failure::Failure,
    reporter::Ending,
    signals::{Stops, Then},
    stages::{self, Request},
    wire::{self, Opened},
};
use deploy::config::ScanNeed;
use pipeline::{release::Release, stage::StageName};
use tokio_util::sync::CancellationToken;

/// What is built: executables, and images where the environment runs images.
pub(super) const BUILD: &[StageName] = &[StageName::Build, StageName::Image];

/// What is built, and scanned.
pub(super) const SCAN: &[StageName] = &[StageName::Build, StageName::Image, StageName::Scan];

/// All that a release goes through before it is deployed.
pub(super) const ALL: &[StageName] =
    &[StageName::Test, StageName::Build, StageName::Image, StageName::Scan, StageName::Publish];

/// Runs the tests.
pub(super) async fn test(context: &Context, request: &Stage) -> Result<Ending, Failure> {
    let opened = wire::open(context, &wire::any_environment(context)?)?;
    let mut stops = Stops::listen()?;
    let request = Request { names: &[StageName::Test], force: request.force, from: None };
    run_all(context, &opened, &mut stops, request).await?;
    Ok(Ending::done("done: stage test passed".to_owned(), context.took()))
}

/// Makes a release by these stages.
pub(super) async fn build(
    context: &Context,
    request: &Build,
    names: &'static [StageName],
) -> Result<Ending, Failure> {
    let environment = match &request.environment {
        Some(environment) => environment.clone(),
        None => wire::any_environment(context)?,
    };
    let opened = wire::open(context, &environment)?;
    if names == SCAN {
        check_scanned(&opened)?;
    }
    let publishes = names.contains(&StageName::Publish);
    if publishes && (!opened.loaded.environment.runs_images() || opened.loaded.project.registry.is_none()) {
        let why = match opened.loaded.environment.runs_images() {
            true => "the project names no registry: `[registry]` with its `prefix`",
            false => "its targets run no images",
        };
        let error = Failure::usage(format!("nothing of `{environment}` can be published"));
        return Err(error.hint(why).into());
    }
    let mut stops = Stops::listen()?;
    let build = Request { names, force: request.force, from: request.from.map(Into::into) };
    let release = run_all(context, &opened, &mut stops, build).await?;
    if let Some(release) = release.as_ref().filter(|_| request.hand_over) {
        wire::kept(&opened)
            .keep(&release.services)
            .map_err(|error| Failure::state("cannot keep the executables of the release").because(error))?;
    }
    let sentence = match release {
        Some(release) if publishes => format!("done: release {} was published", release.id),
        Some(release) if names == SCAN => {
            format!("done: nothing that was found stops release {}", release.id)
        }
        Some(release) => format!("done: release {} was made", release.id),
        None => "done".to_owned(),
    };
    Ok(Ending::done(sentence, context.took()))
}

/// Refuses to scan where nothing is scanned.
fn check_scanned(opened: &Opened) -> Result<(), Failure> {
    let environment = &opened.loaded.environment;
    let why = match (&opened.loaded.project.stages.scan, environment.scan) {
        (None, _) => "the project scans nothing: describe it in a table `[stages.scan]` of fairlead.toml",
        (Some(_), ScanNeed::Off) => "its file says `scan = \"off\"`",
        (Some(scan), _) if !environment.runs_images() && scan.configuration.is_empty() => {
            "its targets run no images, and `stages.scan.configuration` names nothing"
        }
        _ => return Ok(()),
    };
    Err(Failure::usage(format!("nothing of `{}` is scanned", environment.name)).hint(why).into())
}

/// Runs stages; the first Ctrl-C ends their commands.
pub(super) async fn run_all(
    context: &Context,
    opened: &Opened,
    stops: &mut Stops,
    request: Request<'_>,
) -> Result<Option<Release>, Failure> {
    let cancel = CancellationToken::new();
    let work = stages::run(context, opened, request, cancel.clone());
    let told = || {
        context.narrator.note("stopping the stage; press Ctrl-C again to leave at once");
        cancel.cancel();
        Then::Wait
    };
    stops.guard(work, told).await.unwrap_or(Err(Failure::Stopped))
}
