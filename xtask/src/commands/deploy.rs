//! `deploy`: the stages that are not done yet, then the rollout.

use super::{
    confirm::{Confirmation, confirm},
    plan,
    protection::{self, Asked as ProtectedRequest},
    retention,
    rollout::{Aim, carry_out},
};
use crate::{
    cli::Deploy,
    context::Context,
    exit::{Asked, Exit},
    failure::Failure,
    reporter::{Ending, Story},
    signals::{Stops, Then},
    wire::{self, Opened},
};
use deploy::{plan::Plan, session::ApplyOptions};
use std::time::Duration;

/// Deploys.
pub(super) async fn run(context: &Context, request: &Deploy) -> Result<Ending, Failure> {
    let environment = request.environment.environment.as_str();
    let opened = wire::open(context, environment)?;
    let protected = opened.loaded.environment.protected;
    if protected {
        protection::check_request(ProtectedRequest {
            program: &context.program,
            environment,
            set: &context.global.set,
            overrides: &opened.loaded.provenance,
            is_made: request.plan.is_some() || request.source.release.is_some(),
        })?;
    }
    let mut stops = Stops::listen()?;
    // Said before anything is built: while it is frozen, only a human at a terminal deploys.
    let freeze = opened.session.freeze().await?;
    let can_type = context.is_interactive && !request.yes;
    if let Some(freeze) = freeze.as_ref().filter(|_| !can_type) {
        return Err(opened.session.refuse_frozen(freeze).into());
    }
    let plan = get_plan(context, &opened, &mut stops, request).await?;
    if plan.is_empty() {
        let sentence = format!("nothing to do: release {} already stands on {environment}", plan.release);
        return Ok(Ending::done(sentence, context.took()));
    }
    context.narrator.tell(&Story::Planned(&plan));
    let what = match &freeze {
        Some(freeze) => format!(
            "`{environment}` is frozen: {}. Release {} goes there all the same.",
            freeze.sentence(),
            plan.release
        ),
        None => format!("Release {} goes to the protected environment `{environment}`.", plan.release),
    };
    let needed = protected || freeze.is_some();
    confirm(context, &mut stops, Confirmation { environment, needed, yes: request.yes, what: &what }).await?;
    let release = plan.release.clone();
    let command = format!("deploy {environment}");
    let options = ApplyOptions {
        keep_failed: request.keep_failed,
        command,
        rollback_asked: false,
        confirmed: needed && !request.yes,
        wait: request.wait.as_ref().map(|span| Duration::from_millis(span.as_millis())),
    };
    let aim = Aim { opened: &opened, environment, release: &release, asked: Asked::Apply };
    let apply = |events, commands| opened.session.apply(plan, options, events, commands);
    let (_, ending) = carry_out(context, &mut stops, aim, apply).await?;
    if ending.exit == Exit::Done {
        // Whoever stops it leaves the rest for the next deploy; this one is done.
        stops.guard(retention::remove_old_releases(context, &opened, &release), || Then::Leave).await;
    }
    Ok(ending)
}

/// The plan that was given, or one that is made.
async fn get_plan(
    context: &Context,
    opened: &Opened,
    stops: &mut Stops,
    request: &Deploy,
) -> Result<Plan, Failure> {
    let Some(path) = &request.plan else { return plan::make(context, opened, stops, &request.source).await };
    let plan = wire::read_plan(path)?;
    let environment = &opened.loaded.environment.name;
    if plan.environment != *environment {
        let text =
            format!("the plan `{}` is for `{}`, not for `{environment}`", path.display(), plan.environment);
        let right = format!("deploy {} --plan {}", plan.environment, path.display());
        return Err(Failure::usage(text)
            .hint(format!("`{}` carries it out", context.command(&right)))
            .into());
    }
    Ok(plan)
}
