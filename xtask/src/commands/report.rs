//! `report`: the report of a release.

use crate::{
    cli::Report as Request,
    context::Context,
    failure::Failure,
    reporter::Ending,
    reports,
    wire::{self, Opened},
};
use deploy::STATE_FOLDER;
use pipeline::{
    release::{Manifests, ReleaseId},
    report::{Folder, ReportError},
};

/// Writes the report of a release, and shows it.
pub(super) fn run(context: &Context, request: &Request) -> Result<Ending, Failure> {
    let opened = wire::open(context, &wire::any_environment(context)?)?;
    let release = match &request.release {
        Some(name) => known(context, &opened, name)?,
        None => reports::latest(&opened)?.ok_or_else(|| nothing(context))?,
    };
    let written = reports::write(context, &opened, &release);
    let (report, path) = written.map_err(|error| {
        Failure::state(format!("the report of release {release} could not be written")).because(error)
    })?;
    context.output.document(&report, |_| report.to_markdown())?;
    let path = path.strip_prefix(&opened.root).unwrap_or(&path).display();
    Ok(Ending::done(format!("done: the report of release {release} is in {path}"), context.took()))
}

/// A release of which something is known here.
fn known(context: &Context, opened: &Opened, name: &str) -> Result<ReleaseId, Failure> {
    let (state, release) = (opened.root.join(STATE_FOLDER), ReleaseId(name.to_owned()));
    let is_told = match Folder::of(&state, &release) {
        Err(error @ ReportError::Name(_)) => return Err(Failure::usage(error.to_string()).into()),
        Err(error) => return Err(Failure::state("cannot look for the report").because(error)),
        Ok(folder) => folder.is_there(),
    };
    if is_told {
        return Ok(release);
    }
    // It was made here before there were reports, or deployed from here and made elsewhere.
    let is_made = Manifests::new(&state).find(&release).ok().flatten().is_some();
    let stories = deploy::story::of_release(&state, name);
    if is_made || stories.is_ok_and(|told| !told.stories.is_empty()) {
        return Ok(release);
    }
    let error = Failure::usage(format!("nothing is known of a release `{name}` here"));
    let made: Vec<String> =
        Manifests::new(&state).list().unwrap_or_default().into_iter().map(|id| id.to_string()).collect();
    Err(match made.is_empty() {
        true => error.hint(format!("no release has been made here yet: `{}`", context.command("build"))),
        false => error.hint(format!("releases that were made here: {}", made.join(", "))),
    }
    .into())
}

fn nothing(context: &Context) -> Failure {
    let error = Failure::refused("there is nothing to report yet");
    error.hint(format!("`{}` makes a release", context.command("build"))).into()
}
