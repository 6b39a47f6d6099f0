//! `resume` and `promote`: the open rollout is carried on.

use super::{
    ask::{Told, ask, ended, paused},
    rollout::{Aim, carry_out},
};
use crate::{
    cli::Environment,
    context::Context,
    exit::{Asked, Exit},
    failure::Failure,
    reporter::Ending,
    signals::Stops,
    wire,
};
use deploy::{
    session::{Answer, ApplyOptions},
    state::Command,
};

/// Resumes.
pub(super) async fn run(context: &Context, request: &Environment) -> Result<Ending, Failure> {
    carry_on(context, request, "resume", None).await
}

/// Promotes.
pub(super) async fn promote(context: &Context, request: &Environment) -> Result<Ending, Failure> {
    carry_on(context, request, "promote", Some(Command::Promote)).await
}

async fn carry_on(
    context: &Context,
    request: &Environment,
    command: &str,
    first: Option<Command>,
) -> Result<Ending, Failure> {
    let environment = request.environment.as_str();
    let opened = wire::open(context, environment)?;
    let mut stops = Stops::listen()?;
    let open = opened.session.open_rollout().await?;
    let Some(open) = open else {
        let error = Failure::refused(format!("no rollout is open on `{environment}`"));
        let status = context.command(&format!("status {environment}"));
        return Err(error.hint(format!("`{status}` shows what stands")).into());
    };
    if first == Some(Command::Promote) && open.phase == "paused" {
        match ask(context, &opened, &mut stops, Command::Promote).await? {
            Told::Left(ending) => return Ok(ending),
            Told::Answer(Answer::Ended(entry)) => {
                return Ok(ended(context, environment, &entry, Asked::Apply));
            }
            Told::Answer(Answer::Paused(open)) => return Ok(paused(context, environment, &open, Exit::Held)),
            Told::Answer(Answer::Unattended { open, taken: true }) if open.phase == "paused" => {
                return Ok(paused(context, environment, &open, Exit::Held));
            }
            // Nobody waits (any more), or nothing is open: then it is carried on, or refused, here.
            Told::Answer(Answer::Unattended { .. } | Answer::NothingOpen { .. }) => {}
        }
    } else if first == Some(Command::Promote) {
        let text =
            format!("the rollout of {} on `{environment}` is not paused: {}", open.release, open.phase);
        let resume = context.command(&format!("resume {environment}"));
        return Err(Failure::refused(text).hint(format!("`{resume}` carries it on")).into());
    }
    let options = ApplyOptions { command: format!("{command} {environment}"), ..ApplyOptions::default() };
    let aim = Aim { opened: &opened, environment, release: &open.release, asked: Asked::Apply };
    let resume = |events, commands| opened.session.resume(first, options, events, commands);
    carry_out(context, &mut stops, aim, resume).await.map(|(_, ending)| ending)
}
