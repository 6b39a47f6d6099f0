//! The port to whoever makes and publishes images: an engine and a registry, which this crate does not link.

use crate::{
    digest::Digest,
    image::{
        reference::{Reference, Repository, Tag},
        words::{Platform, Word},
    },
    secret::Secret,
};
use async_trait::async_trait;
use std::{collections::BTreeMap, path::PathBuf, time::Duration};

/// Makes images and publishes them. Dropping a future breaks the work off, on the engine too.
#[async_trait]
pub trait ImageMaker: Send + Sync {
    /// What decides which image comes of the same sources.
    async fn facts(&self) -> Result<BuilderFacts, MakerError>;

    /// Whether an image is on the engine.
    async fn has(&self, image: Digest) -> Result<bool, MakerError>;

    /// Makes an image.
    async fn make(&self, order: &ImageOrder, news: News<'_>) -> Result<MadeImage, MakerError>;

    /// Whether a registry has this image.
    async fn is_published(&self, repository: &Repository, digest: Digest) -> Result<bool, MakerError>;

    /// Publishes an image: by its digest first, then its tags. Returns the digest of its manifest.
    async fn publish(&self, order: &PublishOrder, news: News<'_>) -> Result<Digest, MakerError>;

    /// Attaches the manifest of a release to a published image. The same again changes nothing.
    async fn attach(
        &self,
        repository: &Repository,
        digest: Digest,
        manifest: &[u8],
    ) -> Result<(), MakerError>;
}

/// Is told what happens.
pub struct News<'a> {
    /// Something that is worth to be kept: a step of a build that was done, a tag that was moved.
    pub step: &'a (dyn Fn(String) + Send + Sync),
    /// A line that was written, or progress; may be dropped.
    pub line: &'a (dyn Fn(String) + Send + Sync),
}

/// What decides, beside the sources, which image is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderFacts {
    /// Where the engine is.
    pub engine: String,
    /// Its version, and that of what builds: `28.5.2, BuildKit`.
    pub version: String,
    /// What it makes images for: `linux/amd64`.
    pub platform: String,
}

/// An image that is wanted.
#[derive(Debug, Clone)]
pub struct ImageOrder {
    /// What it is made of.
    pub source: Source,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// The time that it says it was made at, in seconds since 1970, if the sources have one.
    pub epoch: Option<u64>,
    /// What it is called on the engine.
    pub repository: Repository,
    /// Images that carry what earlier builds did, the likeliest first; the image is then to carry that, too. `None` if no
    /// cache is wanted.
    pub cache: Option<Vec<Reference>>,
    /// The longest that it may take.
    pub timeout: Duration,
}

/// What an image is made of, with everything that had to be looked up.
#[derive(Debug, Clone)]
pub enum Source {
    /// One static program, at this absolute path.
    Binary(PathBuf),
    /// A Dockerfile.
    Dockerfile {
        /// The folder that is the context, absolute.
        context: PathBuf,
        /// The file, relative to the context.
        dockerfile: PathBuf,
        /// The stage whose image is wanted.
        target: Option<Word>,
        /// Build arguments.
        args: BTreeMap<Word, String>,
        /// Build secrets.
        secrets: BTreeMap<Word, Secret>,
        /// The platform.
        platform: Option<Platform>,
    },
}

/// An image that was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeImage {
    /// Its id on the engine.
    pub id: Digest,
    /// Its size in bytes.
    pub size_bytes: u64,
}

/// An image that is to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishOrder {
    /// Its id on the engine.
    pub image: Digest,
    /// Where it goes.
    pub repository: Repository,
    /// The tag that is named by its content.
    pub first: Tag,
    /// The tags that point to it in the end.
    pub others: Vec<Tag>,
    /// The longest that it may take.
    pub timeout: Duration,
}

/// Why an image was not made or published: what failed, why, and what to do; no secret is in it.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct MakerError {
    /// In words, with all causes.
    pub message: String,
    /// The lines of what was written that matter.
    pub excerpt: Vec<String>,
}
