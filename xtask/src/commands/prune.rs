//! `prune --registry`: images that nothing needs any more are shown, and removed if that is asked for.

#![cfg_attr(
    not(any(test, feature = "docker")),
    expect(dead_code, reason = "documents are made by a program that has engines")
)]

use crate::{
    cli::Prune,
    context::Context,
    engines::{self, Needed},
    failure::Failure,
    render,
    reporter::Ending,
    signals::{Stops, Then},
    wire::{self, Opened},
};
use deploy::{STATE_FOLDER, session::SessionError};
use pipeline::{digest::Digest, image::reference::Repository, name::Name, release::Manifests};
use schemars::JsonSchema;
use serde::Serialize;
use std::collections::BTreeSet;

/// What a registry has of a project: what can be removed, and why the rest stays.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct Prunable {
    /// Format version; see [`Prunable::FORMAT`].
    pub(crate) version: u32,
    /// The repositories of the services.
    pub(crate) repositories: Vec<PrunableRepository>,
}

/// What a repository has.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct PrunableRepository {
    /// `ghcr.io/team/api`.
    pub(crate) repository: String,
    /// Images that nothing needs.
    pub(crate) goes: Vec<GoingImage>,
    /// The others.
    pub(crate) stays: Vec<StayingImage>,
}

/// An image that nothing needs.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct GoingImage {
    /// The digest of its manifest.
    pub(crate) digest: Digest,
    /// The tags that go with it.
    pub(crate) tags: Vec<String>,
    /// Other manifests that go with it: what is attached to it, and its parts.
    pub(crate) with: Vec<Digest>,
}

/// An image that stays.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub(crate) struct StayingImage {
    /// The digest of its manifest.
    pub(crate) digest: Digest,
    /// Its tags.
    pub(crate) tags: Vec<String>,
    /// Why, in words.
    pub(crate) because: Vec<String>,
}

impl Prunable {
    /// The format this version writes.
    pub(crate) const FORMAT: u32 = 1;

    /// How many images can be removed, and how many stay.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let sum = |count: fn(&PrunableRepository) -> usize| self.repositories.iter().map(count).sum();
        (sum(|one| one.goes.len()), sum(|one| one.stays.len()))
    }
}

/// Shows what can be removed, and removes it if that is asked for.
pub(super) async fn run(context: &Context, request: &Prune) -> Result<Option<Ending>, Failure> {
    let environment = request.environment.environment.as_str();
    let opened = wire::open(context, environment)?;
    check(&opened, environment)?;
    let mut stops = Stops::listen()?;
    let look = async {
        let (needed, repositories) = ask(context, &opened).await?;
        engines::look(context, &opened.loaded, &repositories, &needed).await
    };
    let (prunable, removal) = stops.guard(look, || Then::Leave).await.ok_or(Failure::Stopped)??;
    context.output.document(&prunable, |paint| render::prunable(&prunable, paint))?;
    let again = context.command(&format!("prune --registry {environment} --yes"));
    match (prunable.counts(), request.yes) {
        ((0, _), true) => Ok(Some(Ending::done("nothing to do: everything is needed", context.took()))),
        ((0, _), false) => Ok(None),
        (_, false) => {
            context.narrator.note(&format!("nothing was removed; `{again}` removes what goes"));
            Ok(None)
        }
        ((images, _), true) => {
            let tell = |text: String| context.narrator.note(&text);
            let removing = removal.carry_out(&tell);
            let told = || {
                context.narrator.note("stopping; what was removed is gone, the rest stays");
                Then::Leave
            };
            let Some(removed) = stops.guard(removing, told).await else {
                let error = Failure::refused("left while images were being removed from the registry");
                return Err(Failure::Begun(error.hint(format!("`{again}` goes on"))));
            };
            let manifests = removed?;
            let sentence = format!("done: {images} image(s), {manifests} manifest(s), were removed");
            let ending = Ending::done(
                format!("{sentence}; the registry's own garbage collection gives the space back"),
                context.took(),
            );
            Ok(Some(ending))
        }
    }
}

/// Refuses an environment of which nothing is in a registry.
fn check(opened: &Opened, environment: &str) -> Result<(), Failure> {
    let why = match (&opened.loaded.project.registry, opened.loaded.environment.runs_images()) {
        (Some(_), true) => return Ok(()),
        (None, _) => "the project names no registry: `[registry]` with its `prefix`",
        (_, false) => "its targets run no images",
    };
    Err(Failure::usage(format!("nothing of `{environment}` is in a registry")).hint(why).into())
}

/// What is needed, by every environment of the project that runs images and by every release that is kept here; and the
/// repositories of their services.
async fn ask(context: &Context, opened: &Opened) -> Result<(Needed, BTreeSet<Repository>), Failure> {
    let mut needed = kept(opened)?;
    let mut services: BTreeSet<Name> = opened.loaded.environment.services.keys().cloned().collect();
    for name in wire::environments(context)? {
        let (_, loaded) = wire::configuration(context, name.as_str())?;
        services.extend(loaded.environment.services.keys().cloned());
        if !loaded.environment.runs_images() {
            continue;
        }
        let other = wire::open(context, name.as_str())?;
        let images = other.session.needed_images().await.map_err(|error| unasked(&name, error))?;
        for image in images {
            needed.add(&image.name, image.digest, image.why);
        }
    }
    let Some(registry) = &opened.loaded.project.registry else { return Ok((needed, BTreeSet::new())) };
    let prefix = registry.prefix.prefix();
    let repositories = services.iter().map(|service| prefix.repository(service));
    let repositories: Result<BTreeSet<Repository>, _> = repositories.collect();
    Ok((needed, repositories.map_err(|error| Failure::usage(error.to_string()))?))
}

/// What the releases need that are kept here.
fn kept(opened: &Opened) -> Result<Needed, Failure> {
    let manifests = Manifests::new(&opened.root.join(STATE_FOLDER));
    let unread = "nothing was removed: a release that is kept here cannot be read";
    let ids = manifests.list().map_err(|error| Failure::state(unread).because(error))?;
    let mut releases = Vec::new();
    for id in ids {
        let found = manifests.find(&id).map_err(|error| Failure::state(unread).because(error))?;
        releases.extend(found);
    }
    releases.extend(manifests.latest().map_err(|error| Failure::state(unread).because(error))?);
    let mut needed = Needed::default();
    for release in releases {
        for image in release.images.values() {
            // By its id as well: an engine that keeps images in another form gives another digest to the same image.
            let who = format!("release {} is kept here", release.id);
            needed.who.entry(image.id).or_default().insert(who.clone());
            match image.is_published() {
                true => needed.add(&image.repository, image.digest, who),
                false => drop(needed.who.entry(image.digest).or_default().insert(who)),
            }
        }
    }
    Ok(needed)
}

/// An environment that does not say what it needs: nobody knows what can go.
fn unasked(environment: &Name, error: SessionError) -> Failure {
    let text = format!("nothing was removed: it is not known which images `{environment}` needs");
    let hints = error.hints.clone();
    let failure = Failure::refused(text).because(error);
    hints.into_iter().fold(failure, SessionError::hint).into()
}
