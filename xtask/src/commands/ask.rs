//! `cancel` and `pause`: the open rollout is ended or paused, whoever carries it out.

use super::{
    confirm::{Confirmation, confirm},
    rollout::{Aim, carry_out},
};
use crate::{
    cli::{Cancel, Environment},
    context::Context,
    exit::{Asked, Exit},
    failure::Failure,
    reporter::Ending,
    signals::{Stops, Then},
    wire::{self, Opened},
};
use deploy::{
    session::{Answer, ApplyOptions, Asking},
    state::Command,
    status::{HistoryEntry, OpenRollout},
};

/// Ends the open rollout: what stood before comes back, or everything is left as it is.
pub(super) async fn cancel(context: &Context, request: &Cancel) -> Result<Ending, Failure> {
    let environment = request.environment.environment.as_str();
    let opened = wire::open(context, environment)?;
    let mut stops = Stops::listen()?;
    let (command, asked, what) = match request.hold {
        false => (Command::Cancel, Asked::Cancel, "is ended and undone"),
        true => (Command::Hold, Asked::Hold, "is ended and left as it is"),
    };
    let Some(open) = opened.session.open_rollout().await? else {
        let last = opened.session.history().await?.entries.into_iter().next();
        return Err(nothing_open(context, environment, last.as_ref()));
    };
    let what = format!("The open rollout of release {} on `{environment}` {what}.", open.release);
    let protected = opened.loaded.environment.protected;
    confirm(
        context,
        &mut stops,
        Confirmation { environment, needed: protected, yes: request.yes, what: &what },
    )
    .await?;
    match ask(context, &opened, &mut stops, command).await? {
        Told::Left(ending) => Ok(ending),
        Told::Answer(Answer::NothingOpen { last }) => Err(nothing_open(context, environment, last.as_ref())),
        Told::Answer(Answer::Ended(entry)) => Ok(ended(context, environment, &entry, asked)),
        Told::Answer(Answer::Paused(open) | Answer::Unattended { open, .. }) => {
            if request.hold && open.phase == "held" {
                return Ok(held_already(context, environment, &open));
            }
            let options = ApplyOptions {
                command: format!("cancel {environment}"),
                rollback_asked: !request.hold,
                ..ApplyOptions::default()
            };
            let aim = Aim { opened: &opened, environment, release: &open.release, asked };
            let resume = |events, commands| opened.session.resume(Some(command), options, events, commands);
            carry_out(context, &mut stops, aim, resume).await.map(|(_, ending)| ending)
        }
    }
}

/// Pauses the open rollout.
pub(super) async fn pause(context: &Context, request: &Environment) -> Result<Ending, Failure> {
    let environment = request.environment.as_str();
    let opened = wire::open(context, environment)?;
    let mut stops = Stops::listen()?;
    match ask(context, &opened, &mut stops, Command::Pause).await? {
        Told::Left(ending) => Ok(ending),
        Told::Answer(Answer::NothingOpen { last }) => Err(nothing_open(context, environment, last.as_ref())),
        Told::Answer(Answer::Ended(entry)) => Ok(ended(context, environment, &entry, Asked::Pause)),
        Told::Answer(Answer::Paused(open)) => Ok(paused(context, environment, &open, Exit::Done)),
        Told::Answer(Answer::Unattended { open, .. }) if open.phase == "paused" => {
            Ok(paused(context, environment, &open, Exit::Done))
        }
        Told::Answer(Answer::Unattended { open, .. }) => {
            let text = format!(
                "nobody carries out the rollout of {} on `{environment}`, so there is nothing to pause: it was \
                 left open, {}",
                open.release, open.phase
            );
            let to = |command: &str| context.command(&format!("{command} {environment}"));
            let error = Failure::refused(text).hint(format!("`{}` carries it on", to("resume")));
            Err(error.hint(format!("`{}` brings back what stood before it", to("cancel"))).into())
        }
    }
}

/// What came of asking.
pub(super) enum Told {
    /// The executor, or the record, has answered.
    Answer(Answer),
    /// The operator did not wait for it.
    Left(Ending),
}

/// Asks the executor of the open rollout, and tells what is waited for.
pub(super) async fn ask(
    context: &Context,
    opened: &Opened,
    stops: &mut Stops,
    command: Command,
) -> Result<Told, Failure> {
    let narrator = &context.narrator;
    let tell = |asking: Asking<'_>| match asking {
        Asking::Left { command: theirs, holder } => {
            narrator.note(&format!("asked `{theirs}` of {holder}; waiting for it to take the request"));
        }
        Asking::Taken { phase } => narrator.note(&format!("taken; the rollout is now: {phase}")),
    };
    let asking = opened.session.ask(command, &tell);
    match stops.guard(asking, || Then::Leave).await {
        Some(answer) => Ok(Told::Answer(answer?)),
        None => {
            let environment = opened.loaded.environment.name.as_str();
            Ok(Told::Left(Ending {
                exit: Exit::Interrupted,
                sentence: format!(
                    "stopped waiting: what was asked of the rollout on {environment} stays asked"
                ),
                next: vec![context.command(&format!("status {environment}"))],
                took: context.took(),
            }))
        }
    }
}

/// A rollout that ended under the executor that was asked.
pub(super) fn ended(context: &Context, environment: &str, entry: &HistoryEntry, asked: Asked) -> Ending {
    let exit = Exit::of_entry(&entry.outcome, asked);
    let HistoryEntry { release, outcome, reason, .. } = entry;
    let why = reason.map(|reason| format!(" ({reason})")).unwrap_or_default();
    let to = |command: &str| context.command(&format!("{command} {environment}"));
    let sentence = match (outcome.as_str(), asked) {
        ("rolled-back", Asked::Cancel) => {
            format!("done: release {release} was taken back on {environment}, what stood before stands again")
        }
        ("held", Asked::Hold) => {
            format!("done: release {release} on {environment} is held, everything was left as it is")
        }
        ("succeeded", Asked::Apply) => format!("done: release {release} stands on {environment}, healthy"),
        ("succeeded", Asked::Cancel | Asked::Hold | Asked::Pause) => {
            format!("too late: release {release} stands on {environment}, its rollout has succeeded")
        }
        _ => format!("{}: release {release} on {environment}{why}", outcome.replace('-', " ")),
    };
    let next = match outcome.as_str() {
        "held" => vec![to("resume"), to("rollback")],
        "succeeded" if asked != Asked::Apply => vec![to("rollback")],
        "rollback-failed" => vec![to("status"), to("rollback")],
        _ => Vec::new(),
    };
    Ending { exit, sentence, next, took: context.took() }
}

/// A rollout that rests in a pause.
pub(super) fn paused(context: &Context, environment: &str, open: &OpenRollout, exit: Exit) -> Ending {
    let to = |command: &str| context.command(&format!("{command} {environment}"));
    Ending {
        exit,
        sentence: format!("paused: release {} on {environment}", open.release),
        next: vec![to("promote"), to("cancel")],
        took: context.took(),
    }
}

fn held_already(context: &Context, environment: &str, open: &OpenRollout) -> Ending {
    let to = |command: &str| context.command(&format!("{command} {environment}"));
    Ending {
        exit: Exit::Done,
        sentence: format!("nothing to do: release {} on {environment} is held already", open.release),
        next: vec![to("resume"), to("cancel")],
        took: context.took(),
    }
}

fn nothing_open(context: &Context, environment: &str, last: Option<&HistoryEntry>) -> Failure {
    let ended =
        last.map(|last| format!("; the last one, of release {}, ended: {}", last.release, last.outcome));
    let text = format!("no rollout is open on `{environment}`{}", ended.unwrap_or_default());
    let to = |command: &str| context.command(&format!("{command} {environment}"));
    let error = Failure::refused(text).hint(format!("`{}` shows what stands", to("status")));
    error.hint(format!("`{}` brings back what stood before the last change", to("rollback"))).into()
}
