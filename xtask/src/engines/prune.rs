//! What can be removed from a registry, looked for and removed.

use super::{Needed, linked::own};
use crate::{
    commands::{GoingImage, Prunable, PrunableRepository, StayingImage},
    context::Context,
    failure::Failure,
};
use deploy::{
    config::Loaded,
    session::{Kind, SessionError},
};
use pipeline::{
    digest::Digest,
    image::reference::{Repository, Tag},
    secret::DEADLINE,
};
use registry::{Going, Login, Options, Registry, Selection, Survey, Why, select};
use std::{
    collections::BTreeSet,
    error::Error,
    sync::atomic::{AtomicUsize, Ordering},
};

/// What is to be removed, and from where.
pub(crate) struct Removal {
    registries: Vec<(Registry, Repository, Vec<Going>)>,
}

/// Looks through repositories for what nothing needs.
pub(crate) async fn look(
    context: &Context,
    loaded: &Loaded,
    repositories: &BTreeSet<Repository>,
    needed: &Needed,
) -> Result<(Prunable, Removal), Failure> {
    let mut prunable = Prunable { version: Prunable::FORMAT, repositories: Vec::new() };
    let mut registries = Vec::new();
    for repository in repositories {
        let failed = |error: Box<dyn Error + Send + Sync>| {
            let text = format!("nothing was removed: {repository} cannot be looked through");
            Failure::state(text).because(error)
        };
        let host = &repository.host;
        let login = Login::find(host, own(loaded), &context.variables, DEADLINE).await;
        let login = login.map_err(|error| failed(error.into()))?;
        let registry =
            Registry::new(host.clone(), login, Options::default()).map_err(|e| failed(e.into()))?;
        let asked = needed.asked.get(&repository.to_string()).cloned().unwrap_or_default();
        let survey = registry.survey(repository, &asked).await.map_err(|error| failed(error.into()))?;
        let selection = select(&survey, &needed.who);
        prunable.repositories.push(described(repository, &survey, &selection));
        registries.push((registry, repository.clone(), selection.goes));
    }
    Ok((prunable, Removal { registries }))
}

impl Removal {
    /// Removes it, and tells of each image. Gives how many manifests there were.
    pub(crate) async fn carry_out(&self, tell: &(dyn Fn(String) + Send + Sync)) -> Result<usize, Failure> {
        let removed = AtomicUsize::new(0);
        for (registry, repository, goes) in &self.registries {
            let images: BTreeSet<Digest> = goes.iter().map(|going| going.digest).collect();
            let told = |digest: Digest| {
                removed.fetch_add(1, Ordering::Relaxed);
                if images.contains(&digest) {
                    tell(format!("removed {repository}@{}", digest.short()));
                }
            };
            registry.remove(repository, goes, told).await.map_err(|error| {
                let count = removed.load(Ordering::Relaxed);
                let text = match count {
                    0 => "nothing was removed".to_owned(),
                    count => format!("only {count} manifest(s) were removed; the same command goes on"),
                };
                let error = SessionError::new(Kind::State, text).because(error);
                if count == 0 { Failure::Session(error) } else { Failure::Begun(error) }
            })?;
        }
        Ok(removed.into_inner())
    }
}

fn described(repository: &Repository, survey: &Survey, selection: &Selection) -> PrunableRepository {
    let texts = |tags: &[Tag]| tags.iter().map(ToString::to_string).collect();
    let goes = selection.goes.iter().map(|going| GoingImage {
        digest: going.digest,
        tags: texts(&going.tags),
        with: going.all().filter(|digest| *digest != going.digest).collect(),
    });
    let stays = selection.stays.iter().map(|(digest, why)| StayingImage {
        digest: *digest,
        tags: survey.tags.iter().filter(|(_, one)| *one == digest).map(|(tag, _)| tag.to_string()).collect(),
        because: match why {
            Why::Needed(who) => who.iter().cloned().collect(),
            Why::Tag(tag) => vec![format!("the tag `{tag}` points to it")],
            Why::Foreign => vec!["no tag of ours leads to it".to_owned()],
            Why::Reached => vec!["something that stays is made of it".to_owned()],
        },
    });
    PrunableRepository { repository: repository.to_string(), goes: goes.collect(), stays: stays.collect() }
}
