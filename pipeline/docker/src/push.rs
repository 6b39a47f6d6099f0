//! Publishing an image: the engine pushes it, and we say what it is called.
//!
//! **Invariant.** Digest first, tags last: the engine pushes under one tag alone, which is named by its content and never
//! moved. What arrived is read back and held against the image; only then do other tags point to it, with the very bytes
//! that were verified. So a push that is interrupted anywhere leaves every tag where it was, and can be run again.

mod error;
mod event;
mod stream;

pub use error::PushError;
pub use event::{Event, LayerState};

use crate::Connection;
use bollard::query_parameters::TagImageOptionsBuilder;
use futures::future::join_all;
use pipeline::{crossing, digest::Digest};
use registry::{Content, Manifest, Registry, Repository, Tag, Which};
use std::time::Duration;
use stream::{Failure, Lines};
use tokio::time::{Instant, sleep};

/// The longest wait between two attempts.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// What is to be published, and under which names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Push {
    /// The image as the engine calls it.
    pub image: Digest,
    /// Where it goes.
    pub repository: Repository,
    /// The tag that is named by its content, such as the release: it is never moved.
    pub first: Tag,
    /// The tags that point to it in the end: the branch, `latest`.
    pub others: Vec<Tag>,
}

/// How patient we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    /// How often the engine is asked to push. Four: it tries each layer five times by itself already.
    pub attempts: u32,
    /// How long is waited after the first failure; twice as long after each other, up to 30 s. Two seconds.
    pub first_wait: Duration,
    /// How long the engine may say nothing. Ten minutes: as long as a registry may take to store a large layer.
    pub silence: Duration,
    /// How long all of it may take. An hour: a large image over a slow line.
    pub whole: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            attempts: 4,
            first_wait: Duration::from_secs(2),
            silence: Duration::from_secs(600),
            whole: Duration::from_secs(3600),
        }
    }
}

/// What is published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pushed {
    /// What it is called for ever: the digest of its manifest.
    pub digest: Digest,
    /// Whether all of it was there before.
    pub was_there: bool,
    /// The tags that pointed elsewhere, or nowhere, before.
    pub moved: Vec<Tag>,
}

/// Publishes an image. What is there already is not pushed again. `tell` is called in between, and so should not block.
///
/// # Errors
/// See [`PushError`]. After any of them every tag but `first` points to where it did, or to the verified image.
pub async fn push(
    engine: &Connection,
    registry: &Registry,
    push: &Push,
    patience: &Patience,
    tell: &(dyn Fn(Event) + Send + Sync),
) -> Result<Pushed, PushError> {
    let work = Work { engine, registry, push, patience, tell };
    match tokio::time::timeout(patience.whole, work.publish()).await {
        Ok(result) => result,
        Err(_) => Err(PushError::Deadline { reference: work.name(), limit: patience.whole }),
    }
}

/// Why an attempt came to nothing.
enum Stopped {
    /// The engine gave up, or went away.
    Failed(Failure),
    /// The registry has no space left, as it says: another attempt would not help.
    Full(registry::Error),
}

impl From<Failure> for Stopped {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

struct Work<'a> {
    engine: &'a Connection,
    registry: &'a Registry,
    push: &'a Push,
    patience: &'a Patience,
    tell: &'a (dyn Fn(Event) + Send + Sync),
}

impl Work<'_> {
    async fn publish(&self) -> Result<Pushed, PushError> {
        let (manifest, was_there) = match self.standing().await? {
            Some(manifest) => {
                (self.tell)(Event::AlreadyThere { reference: self.name(), digest: manifest.digest });
                (manifest, true)
            }
            None => (self.bring().await?, false),
        };
        let moved = self.point_all(&manifest).await?;
        Ok(Pushed { digest: manifest.digest, was_there, moved })
    }

    /// What the first tag points to, if it is this image and all of it is there.
    async fn standing(&self) -> Result<Option<Manifest>, PushError> {
        let Some(manifest) = self.registry.manifest(&self.push.repository, &self.first()).await? else {
            return Ok(None);
        };
        if !self.is_image(&manifest) {
            let (image, found) = (self.push.image, manifest.digest);
            return Err(PushError::Taken { reference: self.name(), image, found });
        }
        let missing = self.registry.missing(&self.push.repository, &manifest).await?;
        Ok(missing.is_empty().then_some(manifest))
    }

    /// Has the engine push, and verifies what came.
    async fn bring(&self) -> Result<Manifest, PushError> {
        self.tag_in_engine().await?;
        let told = self.push_by_engine().await?;
        (self.tell)(Event::ImagePushed { reference: self.name() });
        let manifest = self.registry.manifest(&self.push.repository, &self.first()).await?;
        let Some(manifest) = manifest else {
            return Err(PushError::Vanished { reference: self.name() });
        };
        let reference = self.name();
        if !self.is_image(&manifest) || told.is_some_and(|told| told != manifest.digest) {
            return Err(PushError::Different { reference, image: self.push.image, found: manifest.digest });
        }
        let missing = self.registry.missing(&self.push.repository, &manifest).await?;
        if !missing.is_empty() {
            let missing = missing.into_iter().map(|blob| blob.digest).collect();
            return Err(PushError::Incomplete { reference, missing });
        }
        (self.tell)(Event::Verified { reference, digest: manifest.digest });
        Ok(manifest)
    }

    async fn tag_in_engine(&self) -> Result<(), PushError> {
        let image = self.push.image.to_string();
        let options = TagImageOptionsBuilder::default()
            .repo(&self.push.repository.to_string())
            .tag(self.push.first.as_str())
            .build();
        self.engine.docker().tag_image(&image, Some(options)).await.map_err(|source| match source {
            bollard::errors::Error::DockerResponseServerError { status_code: 404, .. } => {
                PushError::NoImage { image: self.push.image, engine: self.engine.address.clone() }
            }
            source => PushError::Tag { reference: self.name(), engine: self.engine.address.clone(), source },
        })
    }

    /// The digest that the engine says it pushed, if it says so.
    async fn push_by_engine(&self) -> Result<Option<Digest>, PushError> {
        let mut wait = self.patience.first_wait;
        let begun = Instant::now();
        for attempt in 1.. {
            let failure = match self.attempt().await {
                Ok(digest) => return Ok(digest),
                Err(Stopped::Full(error)) => return Err(PushError::Registry(error)),
                Err(Stopped::Failed(failure)) => failure,
            };
            let last = attempt >= self.patience.attempts || begun.elapsed() + wait >= self.patience.whole;
            if last || !failure.may_pass() {
                return Err(self.explain(failure, attempt).await);
            }
            let reason = failure.to_string();
            (self.tell)(Event::Retrying { reference: self.name(), attempt, reason, wait });
            sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
        unreachable!("the loop ends with the last attempt")
    }

    async fn attempt(&self) -> Result<Option<Digest>, Stopped> {
        let mut lines = Lines::open(
            &self.engine.address,
            &self.push.repository,
            &self.push.first,
            self.registry.login(),
            self.patience.silence,
        )
        .await?;
        let (mut digest, mut asked) = (None, false);
        while let Some(line) = lines.next().await? {
            digest = line.pushed().or(digest);
            let Some(event) = line.event() else { continue };
            let failed = matches!(event, Event::Layer { state: LayerState::Failed { .. }, .. });
            (self.tell)(event);
            // The engine would try again and again, for minutes, and never say that the registry is full.
            if failed && !std::mem::replace(&mut asked, true) {
                self.refuse_full().await?;
            }
        }
        Ok(digest)
    }

    /// Whether the registry has space left, which only it can tell. What else it may say shows in the push.
    async fn refuse_full(&self) -> Result<(), Stopped> {
        match self.registry.try_upload(&self.push.repository).await {
            Err(error @ registry::Error::Full { .. }) => Err(Stopped::Full(error)),
            _ => Ok(()),
        }
    }

    /// What it means that the engine gave up. Engines tell nothing of a registry's reasons but a number, so it is asked
    /// whether it still takes anything.
    async fn explain(&self, failure: Failure, attempts: u32) -> PushError {
        let reference = self.name();
        let login = self.registry.login().source.to_string();
        if failure.is_unauthorized() {
            return PushError::Unauthorized { reference, login, said: failure.to_string() };
        }
        if failure.is_denied() {
            return PushError::Denied { reference, login, said: failure.to_string() };
        }
        if failure.may_pass()
            && let Err(error) = self.registry.try_upload(&self.push.repository).await
        {
            return PushError::Registry(error);
        }
        PushError::Engine { reference, attempts, source: failure.into() }
    }

    /// Points the other tags to what was verified, side by side; those that pointed elsewhere before. All of them have ended
    /// when the first failure is told, so that none moves after that.
    async fn point_all(&self, manifest: &Manifest) -> Result<Vec<Tag>, PushError> {
        let pointed = self.push.others.iter().map(|tag| async move {
            let moved = self.point(tag, manifest).await?;
            Ok::<_, PushError>(moved.then(|| tag.clone()))
        });
        let pointed: Result<Vec<_>, _> = join_all(pointed).await.into_iter().collect();
        Ok(pointed?.into_iter().flatten().collect())
    }

    /// Points a tag to what was verified. `false` if it did already.
    async fn point(&self, tag: &Tag, manifest: &Manifest) -> Result<bool, PushError> {
        let (repository, which) = (&self.push.repository, Which::Tag(tag.clone()));
        let reference = repository.with(&which).to_string();
        let digest = manifest.digest;
        let from = self.registry.digest(repository, &which).await?;
        if from == Some(digest) {
            (self.tell)(Event::TagStays { reference, digest });
            return Ok(false);
        }
        crossing!("image.tag.before");
        self.registry.put_manifest(repository, &which, manifest).await?;
        crossing!("image.tag.after");
        match self.registry.digest(repository, &which).await? {
            Some(now) if now == digest => {
                (self.tell)(Event::TagMoved { reference, from, digest });
                Ok(true)
            }
            now => Err(PushError::TagLost { reference, digest, now }),
        }
    }

    /// Whether a manifest is that of the image: engines call an image by its config, or by its manifest where they keep
    /// images as containerd does.
    fn is_image(&self, manifest: &Manifest) -> bool {
        let by_config = match &manifest.content {
            Content::Image { config, .. } => config.digest == self.push.image,
            Content::Index { .. } => false,
        };
        by_config || manifest.digest == self.push.image
    }

    fn first(&self) -> Which {
        Which::Tag(self.push.first.clone())
    }

    fn name(&self) -> String {
        self.push.repository.with(&self.first()).to_string()
    }
}
