//! Reports of releases, as they come about: what the stages leave is put aside when they have ended, and the report is
//! written anew when a rollout has. Neither is ever in the way of what it tells of.

use crate::{
    context::Context,
    failure::Failure,
    reporter::retell,
    wire::{Opened, VERSION},
};
use deploy::{STATE_FOLDER, story};
use jiff::Timestamp;
use pipeline::{
    causes::in_one_line,
    event::Event,
    git::Tree,
    release::{Release, ReleaseId},
    report::{Folder, Making, Report, ReportError, StageOutcome, remove_old},
};
use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::{Duration, SystemTime},
};

/// What the stages of one run tell.
#[derive(Debug, Default)]
pub(crate) struct Told(Mutex<Vec<(Timestamp, Event)>>);

impl Told {
    /// Takes what a report needs.
    pub(crate) fn take(&self, event: &Event) {
        if event.is_step() {
            let told = (Timestamp::now(), event.clone());
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(told);
        }
    }

    /// Puts aside what they came to. Of a run that made no release this is known by what the release would have been
    /// called, if the project is in git.
    pub(crate) fn keep(&self, context: &Context, state: &Path, tree: Option<&Tree>, made: Option<&Release>) {
        let told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let release = match (made, tree) {
            (Some(release), _) => release.id.clone(),
            (None, Some(tree)) if tree.commit.is_some() => {
                match ReleaseId::of(Some(tree), &BTreeMap::new(), &BTreeMap::new()) {
                    Ok(release) => release,
                    Err(error) => return warn(context, "nothing was put aside", &error),
                }
            }
            (None, _) => return,
        };
        if let Err(error) = keep(state, release, &told) {
            warn(context, "what the stages have left could not be put aside", &error);
        }
    }
}

fn keep(state: &Path, release: ReleaseId, told: &[(Timestamp, Event)]) -> Result<(), ReportError> {
    let folder = Folder::of(state, &release)?;
    let making = Making::of(release, told, Timestamp::now());
    // Whoever changes nothing is not to wait for a disk.
    let is_nothing_new = making.stages.iter().all(|stage| stage.outcome == StageOutcome::Skipped);
    if making.stages.is_empty()
        || is_nothing_new && folder.making()?.is_some_and(|known| known.covers(&making))
    {
        return Ok(());
    }
    folder.keep(making)
}

/// Writes the report of a release, after a rollout of it. That it could not be written is told, and no more.
pub(crate) fn after_rollout(context: &Context, opened: &Opened, release: &str) {
    if let Err(error) = write(context, opened, &ReleaseId(release.to_owned())) {
        warn(context, "the report could not be written", &error);
    }
}

/// Writes the report of a release, and removes those that have had their time.
pub(crate) fn write(
    context: &Context,
    opened: &Opened,
    release: &ReleaseId,
) -> Result<(Report, PathBuf), ReportError> {
    let (state, project) = (opened.root.join(STATE_FOLDER), &opened.loaded.project);
    let folder = Folder::of(&state, release)?;
    let story::Stories { stories, unreadable } = story::of_release(&state, &release.0)?;
    for why in unreadable {
        context.narrator.note(&format!("warning: a journal is left out of the report: {why}"));
    }
    let rollouts = stories.iter().map(retell).collect();
    let report = folder.assemble(&project.name, VERSION, rollouts, Timestamp::now())?;
    folder.write(&report)?;
    remove_old(&state, Duration::from_millis(project.keep_reports.as_millis()), SystemTime::now())?;
    Ok((report, folder.path().to_owned()))
}

/// Which release is meant if none is named: the one whose stages ended last.
pub(crate) fn latest(opened: &Opened) -> Result<Option<ReleaseId>, Failure> {
    let failed =
        |error: ReportError| Failure::state("cannot tell which release was made last").because(error);
    Folder::latest(&opened.root.join(STATE_FOLDER)).map_err(failed)
}

fn warn(context: &Context, what: &str, error: &(dyn std::error::Error + 'static)) {
    let why = in_one_line(error);
    let why = context.redactor.mask(&why);
    context.narrator.note(&format!("warning: {what}: {why}"));
}
