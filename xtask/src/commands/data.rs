//! Commands that show one document: `status`, `history`, `lock`.

use super::confirm::{Confirmation, confirm};
use crate::{
    cli::{Environment, History, Lock},
    context::Context,
    failure::Failure,
    render::{self, Now},
    signals::Stops,
    wire::{self, Opened},
};
use serde_json::json;

/// Shows what stands.
pub(super) async fn status(context: &Context, request: &Environment) -> Result<(), Failure> {
    let opened = wire::open(context, &request.environment)?;
    let status = opened.session.status().await?;
    context.output.document(&status, |paint| render::status(&status, &Now::system(), paint))
}

/// Lists past rollouts.
pub(super) async fn history(context: &Context, request: &History) -> Result<(), Failure> {
    let opened = wire::open(context, &request.environment.environment)?;
    let deploy::session::History { mut entries, unreadable } = opened.session.history().await?;
    entries.truncate(request.limit);
    for problem in &unreadable {
        context.narrator.note(&format!("an entry is left out: {problem}"));
    }
    context.output.document(&entries, |paint| match (entries.as_slice(), unreadable.as_slice()) {
        ([], [_, ..]) => "no entry of the history can be read\n".to_owned(),
        _ => render::history(&entries, &Now::system(), paint),
    })
}

/// Shows who holds the lease, and whether the environment is frozen.
pub(super) async fn lock(context: &Context, request: &Lock) -> Result<(), Failure> {
    let opened = wire::open(context, &request.environment.environment)?;
    if request.unfreeze {
        unfreeze(context, &opened, request).await?;
    }
    let lock = opened.session.lock().await?;
    let document = json!({ "lease": lock.lease, "freeze": lock.freeze });
    context.output.document(&document, |paint| render::lock(&lock, &Now::system(), paint))
}

/// Lifts the freeze.
async fn unfreeze(context: &Context, opened: &Opened, request: &Lock) -> Result<(), Failure> {
    let environment = request.environment.environment.as_str();
    let Some(freeze) = opened.session.freeze().await? else {
        context.narrator.note(&format!("nothing to do: `{environment}` is not frozen"));
        return Ok(());
    };
    let mut stops = Stops::listen()?;
    let what = format!("The freeze of `{environment}` is lifted: {}.", freeze.sentence());
    let needed = opened.loaded.environment.protected;
    confirm(context, &mut stops, Confirmation { environment, needed, yes: request.yes, what: &what }).await?;
    opened.session.unfreeze().await?;
    context.narrator.note(&format!("`{environment}` is not frozen any more"));
    Ok(())
}
