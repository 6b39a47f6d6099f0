//! GitHub: whether it is told of something, as whom and where; and what is told beside a rollout.

#[cfg(feature = "github")]
mod linked;
mod says;
#[cfg(not(feature = "github"))]
mod unlinked;

#[cfg(feature = "github")]
pub(crate) use linked::{Tongue, send_comment, send_release, send_report};
#[cfg(not(feature = "github"))]
pub(crate) use unlinked::{Tongue, send_comment, send_release, send_report};

use crate::{
    cli::Pull,
    context::Context,
    doctor::Finding,
    failure::Failure,
    parts,
    signals::{Stops, Then},
    wire::Opened,
};
use deploy::github::{END_DEADLINE, Left, Sender, Told};
use pipeline::{
    causes::in_one_line,
    git,
    github::{Place, TOKEN, Trouble},
    secret::Secret,
};
use serde_json::Value;
use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path, sync::Arc};

/// A release that is published, with the files beside it: names and contents.
#[cfg_attr(not(feature = "github"), expect(dead_code, reason = "read by a program that speaks to GitHub"))]
pub(crate) struct Published {
    pub(crate) tag: String,
    pub(crate) commit: String,
    pub(crate) name: String,
    pub(crate) notes: String,
    pub(crate) assets: Vec<(String, Vec<u8>)>,
}

/// What is told of a commit, and where.
#[cfg_attr(not(feature = "github"), expect(dead_code, reason = "read by a program that speaks to GitHub"))]
pub(crate) struct Reported {
    /// The whole hash of the commit that people look at.
    pub(crate) commit: String,
    /// What tells this run from others.
    pub(crate) key: String,
    pub(crate) url: Option<String>,
    pub(crate) report: pipeline::github::CheckReport,
    /// Documents for code scanning, with the commit and the branch that they are of.
    pub(crate) sarif: Vec<Vec<u8>>,
    pub(crate) scanned: Option<(String, String)>,
}

/// Whether there is a token.
pub(crate) fn has_token(context: &Context) -> bool {
    token(context).is_some()
}

/// The token, which is masked since this process began.
fn token(context: &Context) -> Option<Secret> {
    let value = context.variables.get(OsStr::new(TOKEN))?.as_bytes().trim_ascii();
    (!value.is_empty()).then(|| Secret::new(value.to_vec()))
}

/// Where GitHub is and which repository is meant.
fn place(context: &Context, opened: &Opened) -> Result<Place, Failure> {
    let configured = opened.loaded.project.github.repository.as_ref().map(|one| one.repository());
    let origin = || tokio::task::block_in_place(|| git::origin(&opened.root));
    Place::of(configured, &context.variables, origin).map_err(|error| {
        let hint = "name it in fairlead.toml: `[github]`, `repository = \"owner/name\"`";
        Failure::usage("GitHub cannot be told").because(error).hint(hint).into()
    })
}

/// Who speaks to GitHub.
///
/// # Errors
/// There is no token, or no repository is known.
pub(crate) fn tongue(context: &Context, opened: &Opened) -> Result<Tongue, Failure> {
    let token = token(context).ok_or_else(|| {
        let error = Failure::usage(format!("GitHub cannot be told: {TOKEN} is not set"));
        error.hint("in a workflow give the step `env: GITHUB_TOKEN: ${{ github.token }}`")
    })?;
    let place = place(context, opened)?;
    Tongue::new(&place, &token).map_err(|trouble| failure(context, &trouble))
}

/// A trouble as why a command did not come to its end.
pub(crate) fn failure(context: &Context, trouble: &Trouble) -> Failure {
    Failure::refused(context.redactor.mask(&trouble.to_string())).hint(trouble.hint()).into()
}

/// Begins to send what waits and what comes, if GitHub is told of this environment and that is possible here. What is in
/// the way is told.
pub(crate) fn begin(context: &Context, opened: &Opened) -> Option<Sender> {
    let environment = &opened.loaded.environment;
    if !environment.github {
        return None;
    }
    if !has_token(context) {
        let send = context.command(&format!("github send {}", environment.name));
        let note = format!("GitHub is not told: {TOKEN} is not set; with it `{send}` does so later");
        context.narrator.note(&note);
        return None;
    }
    if !cfg!(feature = "github") || parts::is_without_github(context) {
        return None;
    }
    start(context, opened).map_err(|failure| warn(context, &says::short(&failure))).ok()
}

/// Begins to send.
///
/// # Errors
/// Nobody can speak to GitHub.
pub(crate) fn start(context: &Context, opened: &Opened) -> Result<Sender, Failure> {
    let tongue = tongue(context, opened)?;
    // Somebody was ended before the end of a rollout was told: that comes first.
    opened
        .session
        .finish_story()
        .map_err(|error| Failure::state("what GitHub is to be told cannot be read").because(error))?;
    let narrator = context.narrator.clone();
    let redactor = context.redactor.clone();
    let tell = Arc::new(move |told: Told| narrator.note(&redactor.mask(&says::told(&told))));
    Ok(Sender::begin(opened.session.outbox().clone(), tongue.post(), tell))
}

/// Waits for what is left to be sent, at most until the deadline; what is left after that is told, and changes nothing.
pub(crate) async fn finish(context: &Context, opened: &Opened, stops: &mut Stops, sender: Option<Sender>) {
    let environment = opened.loaded.environment.name.as_str();
    let Some(sender) = sender else { return finish_without(context, opened) };
    let waiting = sender.waiting();
    if waiting > 0 {
        let seconds = END_DEADLINE.as_secs();
        context.narrator.note(&format!("GitHub is told of {waiting} more; waiting at most {seconds} s"));
    }
    // Whoever does not want to wait leaves the rest for the next command.
    let left = stops.guard(sender.finish(END_DEADLINE), || Then::Leave).await;
    let waiting = left.map_or_else(|| waiting_in(opened), |Left { waiting }| waiting);
    if waiting > 0 {
        let send = context.command(&format!("github send {environment}"));
        warn(
            context,
            &format!("GitHub has not heard {waiting} things: `{send}` sends them, as does the next rollout"),
        );
    }
}

/// Nobody has spoken to GitHub. If there was no time to build the part that does, it is built now that nothing waits for it.
fn finish_without(context: &Context, opened: &Opened) {
    let is_without = parts::is_without_github(context);
    let waiting = waiting_in(opened);
    // What was in the way of a program that speaks to it has been told.
    let is_told = cfg!(feature = "github") && !is_without;
    if waiting == 0 || is_told || !opened.loaded.environment.github || !has_token(context) {
        return;
    }
    let environment = opened.loaded.environment.name.as_str();
    let sent = match parts::is_for_later(context) {
        true => tokio::task::block_in_place(|| parts::send_with_linked(context, environment)),
        false if is_without => Err("it was to be left alone".to_owned()),
        false => Err("this build of the program does not speak to it".to_owned()),
    };
    if let Err(why) = sent {
        let send = context.command(&format!("github send {environment}"));
        warn(context, &format!("GitHub has not heard {waiting} things ({why}): `{send}` sends them"));
    }
}

/// How much waits.
pub(crate) fn waiting_in(opened: &Opened) -> usize {
    opened.session.outbox().waiting().map_or(0, |waiting| waiting.len())
}

/// Tells what is wrong and stops nothing.
pub(crate) fn warn(context: &Context, sentence: &str) {
    context.narrator.note(&format!("warning: {}", context.redactor.mask(sentence)));
}

/// Shows something in a sticky comment; what is in the way is told, and changes nothing.
pub(crate) async fn comment(
    context: &Context,
    opened: &Opened,
    stops: &mut Stops,
    pull: Pull,
    (about, title, text): (&str, &str, &str),
) {
    let number = match pull {
        Pull::Number(number) => Some(number),
        Pull::This => this_pull(context),
    };
    let Some(number) = number else {
        return warn(context, "this is no run of a pull request: name one by `--comment=NUMBER`");
    };
    let tongue = match tongue(context, opened) {
        Ok(tongue) => tongue,
        Err(failure) => return warn(context, &says::short(&failure)),
    };
    let (marker, body) = pipeline::github::comment(about, title, &context.redactor.mask(text));
    let sent = send_comment(context, &tongue, number, &marker, &body);
    match stops.guard(sent, || Then::Leave).await {
        Some(Ok(())) => context.narrator.note(&format!("the plan stands in pull request {number}")),
        Some(Err(trouble)) => warn(context, &says::trouble("the plan was not commented", &trouble)),
        None => warn(context, "the plan was not commented: interrupted"),
    }
}

/// The pull request of this run of a workflow.
fn this_pull(context: &Context) -> Option<u64> {
    let event = event(context);
    let told = event["pull_request"]["number"].as_u64();
    told.or_else(|| {
        variable(context, "GITHUB_REF")?.strip_prefix("refs/pull/")?.split('/').next()?.parse().ok()
    })
}

/// What began this run of a workflow.
pub(crate) fn event(context: &Context) -> Value {
    let read = variable(context, "GITHUB_EVENT_PATH").and_then(|path| std::fs::read(Path::new(path)).ok());
    read.and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default()
}

/// A variable that is set, and text.
pub(crate) fn variable<'a>(context: &'a Context, name: &str) -> Option<&'a str> {
    context.variables.get(OsStr::new(name))?.to_str().filter(|value| !value.is_empty())
}

/// Whether GitHub can be told of an environment. It is never in the way of a deploy.
pub(crate) fn examine(context: &Context, opened: &Opened) -> Option<Finding> {
    const CHECK: &str = "github";
    if !opened.loaded.environment.github {
        return None;
    }
    let place = match place(context, opened) {
        Ok(place) => place,
        Err(Failure::Session(error)) => {
            return Some(Finding::warn(CHECK, in_one_line(&error), error.hints.join("; ")));
        }
        Err(failure) => return Some(Finding::warn(CHECK, says::short(&failure), "mend the configuration")),
    };
    if !has_token(context) {
        let found = format!("{} is not told: {TOKEN} is not set", place.repository);
        let fix = "set it where it is to be told; all else works without";
        return Some(Finding::warn(CHECK, found, fix));
    }
    let environment = &opened.loaded.environment.name;
    let found = format!("{} at {} is told, with {TOKEN}", place.repository, place.server.api);
    Some(match waiting_in(opened) {
        0 => Finding::ok(CHECK, found),
        waiting => {
            let fix = format!("`{}`", context.command(&format!("github send {environment}")));
            Finding::warn(CHECK, format!("{found}; it has not heard {waiting} things"), fix)
        }
    })
}
