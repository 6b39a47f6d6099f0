//! Commands that show one document: `status`, `history`, `lock`.

use crate::{
    cli::{Environment, History},
    context::Context,
    failure::Failure,
    render::{self, Now},
    wire,
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

/// Shows who holds the lease.
pub(super) async fn lock(context: &Context, request: &Environment) -> Result<(), Failure> {
    let opened = wire::open(context, &request.environment)?;
    let lock = opened.session.lock().await?;
    let document = json!({ "lease": lock.lease });
    context.output.document(&document, |paint| render::lock(&lock, &Now::system(), paint))
}
