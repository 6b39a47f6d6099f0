//! The commands: thin. Each loads what it needs, asks a session, and shows what it says.

mod ask;
mod confirm;
mod data;
mod deploy;
mod doctor;
mod down;
mod github;
mod logs;
mod plan;
mod protection;
mod prune;
mod report;
mod resume;
mod retention;
mod rollback;
mod rollout;
mod simulate;
mod stage;

use crate::{cli::Command, context::Context, failure::Failure, reporter::Ending};

pub(crate) use prune::Prunable;
#[cfg(any(test, feature = "docker"))]
pub(crate) use prune::{GoingImage, PrunableRepository, StayingImage};
#[cfg(test)]
pub(crate) use simulate::simulation;
pub(crate) use simulate::{Run, Simulation};

/// Runs a command. Those that only show something have no ending to tell.
pub(crate) async fn run(context: &Context, command: Command) -> Result<Option<Ending>, Failure> {
    match command {
        Command::Deploy(request) => deploy::run(context, &request).await.map(Some),
        Command::Plan(request) => plan::run(context, &request).await.map(|()| None),
        Command::Simulate(request) => simulate::run(context, &request).await.map(|()| None),
        Command::Status(request) => data::status(context, &request).await.map(|()| None),
        Command::History(request) => data::history(context, &request).await.map(|()| None),
        Command::Rollback(request) => rollback::run(context, &request).await.map(Some),
        Command::Resume(request) => resume::run(context, &request).await.map(Some),
        Command::Promote(request) => resume::promote(context, &request).await.map(Some),
        Command::Pause(request) => ask::pause(context, &request).await.map(Some),
        Command::Cancel(request) => ask::cancel(context, &request).await.map(Some),
        Command::Logs(request) => logs::run(context, &request).await.map(|()| None),
        Command::Lock(request) => data::lock(context, &request).await.map(|()| None),
        Command::Test(request) => stage::test(context, &request).await.map(Some),
        Command::Build(request) => stage::build(context, &request, stage::BUILD).await.map(Some),
        Command::Scan(request) => stage::build(context, &request, stage::SCAN).await.map(Some),
        Command::Publish(request) => stage::build(context, &request, stage::ALL).await.map(Some),
        Command::Report(request) => report::run(context, &request).map(Some),
        Command::Doctor(request) => doctor::run(context, &request).await.map(Some),
        Command::Prune(request) => prune::run(context, &request).await,
        Command::Github(request) => github::run(context, &request).await.map(Some),
        Command::Down(request) => down::run(context, &request).await.map(Some),
        // These have runtimes of their own; see `app`.
        Command::Supervisor(background) => crate::wire::supervisor(background.arguments).await.map(|()| None),
        Command::Router(background) => crate::wire::router(background.arguments).await.map(|()| None),
    }
}
