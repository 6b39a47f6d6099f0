//! `rollback`: an open rollout is ended and undone; otherwise what stood before the last change comes back.

use super::{
    confirm::{Confirmation, confirm},
    rollout::{Aim, carry_out},
};
use crate::{
    cli::Rollback,
    context::Context,
    exit::Asked,
    failure::Failure,
    reporter::{Ending, Story},
    signals::{Stops, Then},
    wire,
};
use deploy::{
    decide::End,
    session::ApplyOptions,
    state::{Command, Outcome},
};

/// Rolls back.
pub(super) async fn run(context: &Context, request: &Rollback) -> Result<Ending, Failure> {
    let environment = request.environment.environment.as_str();
    let opened = wire::open(context, environment)?;
    let needed = opened.loaded.environment.protected;
    let session = &opened.session;
    let mut stops = Stops::listen()?;
    let options = ApplyOptions {
        command: format!("rollback {environment}"),
        rollback_asked: true,
        ..ApplyOptions::default()
    };

    let open = session.open_rollout().await?;
    if let Some(open) = open.filter(|_| request.to.is_none()) {
        let what =
            format!("The open rollout of release {} on `{environment}` is ended and undone.", open.release);
        confirm(context, &mut stops, Confirmation { environment, needed, yes: request.yes, what: &what })
            .await?;
        let aim = Aim { opened: &opened, environment, release: &open.release, asked: Asked::Cancel };
        let options = options.clone();
        let cancel = |events, commands| session.resume(Some(Command::Cancel), options, events, commands);
        let (end, ending) = carry_out(context, &mut stops, aim, cancel).await?;
        // It may have been past the point where it can be cancelled; then it is a past rollout like any other.
        if end != Some(End::Finished(Outcome::Succeeded)) {
            return Ok(ending);
        }
    }

    let planning = session.plan_rollback(request.to.as_deref());
    let plan = stops.guard(planning, || Then::Leave).await.ok_or(Failure::Stopped)??;
    if plan.is_empty() {
        let sentence = format!("nothing to do: release {} already stands on {environment}", plan.release);
        return Ok(Ending::done(sentence, context.took()));
    }
    context.narrator.tell(&Story::Planned(&plan));
    let what = format!("`{environment}` returns to release {}.", plan.release);
    confirm(context, &mut stops, Confirmation { environment, needed, yes: request.yes, what: &what }).await?;
    let release = plan.release.clone();
    let aim = Aim { opened: &opened, environment, release: &release, asked: Asked::Apply };
    // Here the outcome is that of the plan: to return is to succeed.
    let options = ApplyOptions { rollback_asked: false, ..options };
    let apply = |events, commands| session.apply(plan, options, events, commands);
    carry_out(context, &mut stops, aim, apply).await.map(|(_, ending)| ending)
}
