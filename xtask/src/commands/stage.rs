//! `test`, `build` and `publish`: the stages by themselves.

use crate::{
    cli::{Build, Stage},
    context::Context,
    failure::Failure,
    reporter::Ending,
    signals::{Stops, Then},
    stages::{self, Request},
    wire::{self, Opened},
};
use pipeline::{release::Release, stage::StageName};
use tokio_util::sync::CancellationToken;

/// What is built: executables, and images where the environment runs images.
pub(super) const BUILD: &[StageName] = &[StageName::Build, StageName::Image];

/// All that a release goes through before it is deployed.
pub(super) const ALL: &[StageName] =
    &[StageName::Test, StageName::Build, StageName::Image, StageName::Publish];

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
    let request = Request { names, force: request.force, from: request.from.map(Into::into) };
    let release = run_all(context, &opened, &mut stops, request).await?;
    let sentence = match release {
        Some(release) if publishes => format!("done: release {} was published", release.id),
        Some(release) => format!("done: release {} was made", release.id),
        None => "done".to_owned(),
    };
    Ok(Ending::done(sentence, context.took()))
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
