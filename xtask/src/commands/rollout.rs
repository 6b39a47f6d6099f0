//! What `deploy`, `rollback` and `resume` have in common: a rollout under way, and the operator who may stop it.

use crate::{
    context::Context,
    exit::{Asked, Exit},
    failure::Failure,
    github,
    reporter::{About, Ending},
    reports,
    signals::{Stops, Then},
    wire::Opened,
};
use deploy::{
    decide::{End, Leave},
    event::Event,
    session::{Events, SessionError},
    state::Command,
};
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};
use tokio::sync::mpsc;

/// What a rollout is for.
#[derive(Clone, Copy)]
pub(super) struct Aim<'a> {
    /// The environment, opened.
    pub(super) opened: &'a Opened,
    /// Its name.
    pub(super) environment: &'a str,
    /// The release that is to stand.
    pub(super) release: &'a str,
    /// What the operator asked for.
    pub(super) asked: Asked,
}

/// Carries a rollout to its end; `begin` gets whom to tell, and what the operator asks of it. GitHub is told beside it, and
/// what comes of that changes nothing.
///
/// # Errors
/// What went wrong before or beside it. The failure of the rollout itself is an ending.
pub(super) async fn carry_out<F>(
    context: &Context,
    stops: &mut Stops,
    aim: Aim<'_>,
    begin: impl FnOnce(Events, mpsc::UnboundedReceiver<Command>) -> F,
) -> Result<(Option<End>, Ending), Failure>
where
    F: Future<Output = Result<End, SessionError>>,
{
    let (commands, receiver) = mpsc::unbounded_channel();
    let (events, has_begun) = noticing_the_beginning(context.narrator.deploy_events());
    let telling = github::begin(context, aim.opened);
    let work = begin(events, receiver);
    let told = || {
        let sentence = "stopping at the next safe point; press Ctrl-C again to leave at once (resume later)";
        context.narrator.note(sentence);
        // If nobody receives, the rollout has just ended.
        let _ = commands.send(Command::Interrupt);
        Then::Wait
    };
    let Some(end) = stops.guard(work, told).await else { return Ok((None, left_at_once(context, aim))) };
    github::finish(context, aim.opened, stops, telling).await;
    let end = end.map_err(|error| match has_begun.load(Ordering::Relaxed) {
        true => Failure::Begun(error),
        false => Failure::Session(error),
    })?;
    let Aim { opened, environment, release, asked } = aim;
    // Whoever took over writes the report, this run's journal included: a stale executor changes nothing.
    if !matches!(end, End::Left(Leave::Lost { .. })) {
        reports::after_rollout(context, opened, release);
    }
    let about = About { program: &context.program, environment, release, asked };
    let ending = Ending::of(&end, about, context.took());
    Ok((Some(end), ending))
}

/// Whoever is told, and whether a rollout has begun: an error means something else from then on.
fn noticing_the_beginning(events: Events) -> (Events, Arc<AtomicBool>) {
    let has_begun = Arc::new(AtomicBool::new(false));
    let noticed = has_begun.clone();
    let noticing = move |event| {
        if matches!(event, Event::RolloutBegan { .. }) {
            noticed.store(true, Ordering::Relaxed);
        }
        events(event);
    };
    (Arc::new(noticing), has_begun)
}

/// The second Ctrl-C: what was to be done is written down, so that it can be taken up.
fn left_at_once(context: &Context, aim: Aim<'_>) -> Ending {
    let Aim { environment, release, .. } = aim;
    let to = |command: &str| context.command(&format!("{command} {environment}"));
    Ending {
        exit: Exit::Interrupted,
        sentence: format!(
            "interrupted: release {release} on {environment}, left at once, the rollout is open"
        ),
        next: vec![to("resume"), to("rollback")],
        took: context.took(),
    }
}
