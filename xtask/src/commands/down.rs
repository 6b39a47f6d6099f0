//! `down`: every unit of an environment is stopped.

use super::confirm::{Confirmation, confirm};
use crate::{
    cli::Down,
    context::Context,
    failure::Failure,
    reporter::Ending,
    signals::{Stops, Then},
    wire,
};

/// Stops everything.
pub(super) async fn run(context: &Context, request: &Down) -> Result<Ending, Failure> {
    let environment = request.environment.environment.as_str();
    let opened = wire::open(context, environment)?;
    let protected = opened.loaded.environment.protected;
    let mut stops = Stops::listen()?;
    let what = format!("Every unit of `{environment}` is stopped, and its ports are given back.");
    let confirmation = Confirmation { environment, needed: protected, yes: request.yes, what: &what };
    confirm(context, &mut stops, confirmation).await?;
    let told = || {
        context.narrator.note("units are still stopping; press Ctrl-C again to leave them to it");
        Then::Wait
    };
    let Some(stopped) = stops.guard(opened.session.down(), told).await else {
        let again = context.command(&format!("down {environment}"));
        let error = Failure::refused(format!("left while units of `{environment}` were stopping"));
        return Err(Failure::Begun(error.hint(format!("`{again}` makes sure that none is left"))));
    };
    let sentence = if stopped? {
        let deploy = context.command(&format!("deploy {environment}"));
        format!("done: every unit of {environment} was stopped; `{deploy}` brings them back")
    } else {
        format!("nothing to do: nothing runs on {environment}")
    };
    Ok(Ending::done(sentence, context.took()))
}
