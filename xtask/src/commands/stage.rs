//! `test` and `build`: the stages by themselves.

use crate::{
    cli::Stage as Request,
    context::Context,
    failure::Failure,
    reporter::Ending,
    signals::{Stops, Then},
    wire::{self, Opened},
};
use pipeline::{release::Release, stage::StageName};
use tokio_util::sync::CancellationToken;

/// Runs one stage.
pub(super) async fn run(context: &Context, name: StageName, request: &Request) -> Result<Ending, Failure> {
    let opened = wire::open(context, &wire::any_environment(context)?)?;
    let mut stops = Stops::listen()?;
    let release = run_all(context, &opened, &mut stops, &[name], request.force).await?;
    let sentence = match release {
        Some(release) => format!("done: release {} was made", release.id),
        None => format!("done: stage {name} passed"),
    };
    Ok(Ending::done(sentence, context.took()))
}

/// Runs stages; the first Ctrl-C ends their commands.
pub(super) async fn run_all(
    context: &Context,
    opened: &Opened,
    stops: &mut Stops,
    names: &[StageName],
    force: bool,
) -> Result<Option<Release>, Failure> {
    let cancel = CancellationToken::new();
    let work = wire::stages(context, opened, names, force, cancel.clone());
    let told = || {
        context.narrator.note("stopping the stage; press Ctrl-C again to leave at once");
        cancel.cancel();
        Then::Wait
    };
    stops.guard(work, told).await.unwrap_or(Err(Failure::Stopped))
}
