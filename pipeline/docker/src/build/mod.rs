//! Builds images on an engine: from a folder with a Dockerfile, or from one static program.
//!
//! **Builders.** BuildKit where the engine has it, with a `session` of our own on which it asks for secrets; the classic
//! builder where it does not, or if the request says so. BuildKit asks for the context on the session (`files`), the
//! classic builder is given it as the body of the request (`upload`): both from a thread that reads it piece by piece. Either
//! tells its `story` in the same events.
//!
//! **Invariant.** A secret's value goes to the engine over the session alone. It is in no event, error, label or build
//! argument; what programs print of it is masked.
//!
//! **Invariant.** A build that is dropped closes its connections, by which the engine knows to stop it.

mod binary;
mod buildkit;
mod classic;
mod diagnosis;
mod elf;
mod event;
mod failure;
mod files;
mod logins;
mod request;
mod sending;
mod session;
mod story;
mod upload;

pub use binary::{BINARY_PATH, BINARY_USER, BinaryImage};
pub use elf::ElfError;
pub use event::{BuildEvent, Step};
pub use failure::{BuildError, BuildFailure};
pub use logins::Logins;
pub use pipeline::image::{
    labels::{ImageLabels, RELEASE_LABEL},
    words::{Platform, Word, WordError},
};
pub use request::{Builder, DEFAULT_DEADLINE, ImageBuild, ImageName};
pub use session::SessionError;

use crate::Connection;
use bollard::{
    Docker, body_full, body_try_stream,
    models::{BuildInfo, BuildInfoAux},
    query_parameters::{BuildImageOptions, TagImageOptionsBuilder},
};
use buildkit::BuildKit;
use bytes::Bytes;
use classic::Classic;
use diagnosis::diagnose;
use pipeline::{digest::Digest, image::context::Context, secret::Redactor};
use sending::{Sending, listen, times};
use session::Session;
use std::{borrow::Cow, collections::BTreeMap, path::Path, sync::Arc, time::Duration};
use story::Story;
use tokio::time::timeout;

/// The build argument by which BuildKit is asked to leave in the image what a later build can take up.
const INLINE_CACHE: &str = "BUILDKIT_INLINE_CACHE";

/// The build argument that BuildKit, and many programs, take the time of an image from.
const SOURCE_DATE_EPOCH: &str = "SOURCE_DATE_EPOCH";

/// What a build is told instead of an address if the context is asked for on the session.
const ON_THE_SESSION: &str = "client-session";

/// An image on an engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuiltImage {
    /// Its id: the digest of its configuration, which names the digests of its layers.
    pub id: Digest,
    /// Its size in bytes, with all that it shares with others.
    pub size_bytes: u64,
}

impl Connection {
    /// Builds an image. Dropping the future stops the build, on the engine too.
    ///
    /// # Errors
    /// See [`BuildFailure`]. What cannot work is refused before anything is sent.
    pub async fn build(
        &self,
        request: &ImageBuild,
        mut tell: impl FnMut(BuildEvent) + Send,
    ) -> Result<BuiltImage, BuildError> {
        let redactor = Redactor::default();
        request.secrets.values().for_each(|secret| redactor.learn(secret));
        let is_classic = request.builder == Builder::Classic || !self.facts.has_buildkit;
        let mut story = Story::new(redactor.clone(), &mut tell);
        let building = async {
            check(request, is_classic, &redactor)?;
            let context = open_context(request).await?;
            if is_classic {
                self.build_classic(request, context, &mut story).await
            } else {
                self.build_with_buildkit(request, context, &mut story).await
            }
        };
        let limit = request.deadline;
        let result = timeout(limit, building).await.unwrap_or(Err(BuildFailure::Deadline { limit }));
        result.map_err(|kind| {
            let (step, last_lines) = story.evidence();
            BuildError { subject: request.context.clone(), kind, step, last_lines }
        })
    }

    async fn build_with_buildkit(
        &self,
        request: &ImageBuild,
        context: Context,
        story: &mut Story<'_>,
    ) -> Result<BuiltImage, BuildFailure> {
        let secrets: BTreeMap<_, _> =
            request.secrets.iter().map(|(id, secret)| (id.to_string(), secret.clone())).collect();
        let mut options = options(request, &context)?;
        let (sending, giver) = Sending::to_buildkit(context, times(request), self.facts.api).await?;
        if giver.is_some() {
            options.remote = Some(ON_THE_SESSION.to_owned());
        }
        let (secrets, logins) = (Arc::new(secrets), request.logins.clone());
        let opening = Session::open(&self.address, secrets, logins, story.redactor(), giver).await;
        let session =
            opening.map_err(|source| BuildFailure::Session { address: self.address.clone(), source })?;
        let args = options.buildargs.get_or_insert_default();
        if let Some(time) = request.source_date_epoch {
            args.entry(SOURCE_DATE_EPOCH.to_owned()).or_insert_with(|| time.to_string());
        }
        if request.inline_cache {
            args.insert(INLINE_CACHE.to_owned(), "1".to_owned());
        }
        options.session = Some(session.id().to_owned());
        // Told that it is BuildKit, bollard would open a session of its own under the same name, without secrets. So it is
        // told only on the way out.
        let docker = self.patient(request.deadline).with_request_modifier(|mut request| {
            let uri = request.uri().to_string().replace("version=1", "version=2");
            if let Ok(uri) = uri.parse() {
                *request.uri_mut() = uri;
            }
            request
        });
        let mut buildkit = BuildKit::default();
        let id = self
            .drive(&docker, options, request, sending, story, |info, story| {
                if let Some(BuildInfoAux::BuildKit(status)) = info.aux {
                    buildkit.take(status, story);
                }
            })
            .await?;
        drop(session);
        self.named(&id, &request.names, &request.dockerfile).await
    }

    async fn build_classic(
        &self,
        request: &ImageBuild,
        context: Context,
        story: &mut Story<'_>,
    ) -> Result<BuiltImage, BuildFailure> {
        let mut options = options(request, &context)?;
        options.forcerm = true; // Else the container of a step that failed is left behind.
        let mut docker = self.patient(request.deadline);
        let logins = request.logins.registry_config(request, &story.redactor()).await;
        // Not through bollard, which writes them in the base64 of mail, where engines read that of addresses.
        if let Some(logins) = logins.map_err(BuildFailure::Login)? {
            docker = docker.with_request_modifier(move |mut request| {
                request.headers_mut().insert("X-Registry-Config", logins.clone());
                request
            });
        }
        let mut classic = Classic::default();
        let sending = Sending::as_body(context, times(request));
        let result = self
            .drive(&docker, options, request, sending, story, |info, story| {
                if let Some(text) = info.stream {
                    classic.take(&text, story);
                } else if let Some(status) = info.status.filter(|_| info.progress_detail.is_none()) {
                    classic.take(&format!("{status}\n"), story);
                }
            })
            .await;
        classic.end(result.is_ok(), story);
        self.named(&result?, &request.names, &request.dockerfile).await
    }

    /// Sends the context and listens, until the engine has no more to say. Gives the image's id.
    async fn drive(
        &self,
        docker: &Docker,
        options: BuildImageOptions,
        request: &ImageBuild,
        sending: Sending,
        story: &mut Story<'_>,
        mut hear: impl FnMut(BuildInfo, &mut Story<'_>),
    ) -> Result<String, BuildFailure> {
        let Sending { body, mut taken, outcome } = sending;
        let mut id = None;
        let body = body.map_or_else(|| body_full(Bytes::new()), body_try_stream);
        let answers = docker.build_image(options, None, Some(body));
        let heard = listen(answers, &mut taken, story, |mut info, story| {
            match info.aux.take() {
                Some(BuildInfoAux::Default(image)) => id = image.id,
                aux => info.aux = aux,
            }
            hear(info, story);
        })
        .await;
        outcome.await?;
        heard.map_err(|error| self.failure(error, &request.dockerfile, story))?;
        id.ok_or_else(|| self.gone(None))
    }

    /// A client that waits for the beginning of an answer as long as a build may take: it comes after the context.
    fn patient(&self, deadline: Duration) -> Docker {
        // The client counts whole seconds; the exact deadline is kept around it.
        self.docker().clone().with_timeout(deadline + Duration::from_secs(1))
    }

    fn failure(&self, error: bollard::errors::Error, dockerfile: &Path, story: &Story<'_>) -> BuildFailure {
        use bollard::errors::Error::{DockerResponseServerError, DockerStreamError};
        match error {
            DockerStreamError { error: message } | DockerResponseServerError { message, .. } => {
                diagnose(&story.mask(&message), &story.evidence().1, dockerfile)
            }
            error => self.gone(Some(error)),
        }
    }

    fn gone(&self, source: Option<bollard::errors::Error>) -> BuildFailure {
        BuildFailure::Gone { address: self.address.clone(), source }
    }

    /// Gives an image its names, and asks what it is.
    async fn named(
        &self,
        id: &str,
        names: &[ImageName],
        dockerfile: &Path,
    ) -> Result<BuiltImage, BuildFailure> {
        let failure = |error| match error {
            bollard::errors::Error::DockerResponseServerError { message, .. } => {
                diagnose(&message, &[], dockerfile)
            }
            error => self.gone(Some(error)),
        };
        for name in names {
            let options = TagImageOptionsBuilder::default().repo(name.repository()).tag(name.tag()).build();
            self.docker().tag_image(id, Some(options)).await.map_err(failure)?;
        }
        let image = self.docker().inspect_image(id).await.map_err(failure)?;
        let told = image.id.as_deref().unwrap_or(id);
        let id = told.parse().map_err(|_| BuildFailure::Engine {
            reason: format!("it calls the image `{told}`, which is no digest"),
        })?;
        Ok(BuiltImage { id, size_bytes: image.size.and_then(|size| size.try_into().ok()).unwrap_or(0) })
    }
}

/// Refuses what cannot work, or would give a secret away.
fn check(request: &ImageBuild, is_classic: bool, redactor: &Redactor) -> Result<(), BuildFailure> {
    let needs = |what: &str| Err(BuildFailure::NeedsBuildKit { what: what.to_owned() });
    if is_classic && !request.secrets.is_empty() {
        return needs("a build secret");
    }
    if is_classic && request.inline_cache {
        return needs("an inline cache");
    }
    let args = request.args.iter().map(|(name, value)| (format!("build argument `{name}`"), value));
    let labels = request.labels.iter().map(|(name, value)| (format!("label `{name}`"), value));
    for (what, value) in args.chain(labels) {
        if matches!(redactor.mask(value), Cow::Owned(_)) {
            return Err(BuildFailure::SecretInTheOpen { what });
        }
    }
    Ok(())
}

async fn open_context(request: &ImageBuild) -> Result<Context, BuildFailure> {
    let (folder, dockerfile) = (request.context.clone(), request.dockerfile.clone());
    let opening = tokio::task::spawn_blocking(move || Context::open(&folder, Some(&dockerfile)));
    opening.await.expect("opening a context does not panic").map_err(BuildFailure::Context)
}

fn options(request: &ImageBuild, context: &Context) -> Result<BuildImageOptions, BuildFailure> {
    let dockerfile = context.dockerfile().unwrap_or(&request.dockerfile);
    let dockerfile = dockerfile.to_str().ok_or_else(|| BuildFailure::Dockerfile {
        dockerfile: dockerfile.to_owned(),
        line: None,
        reason: "its path is not UTF-8, which the engine needs: rename it".to_owned(),
    })?;
    let args = request.args.iter().map(|(name, value)| (name.to_string(), value.clone()));
    let cache: Vec<String> = request.cache_from.iter().map(ImageName::to_string).collect();
    Ok(BuildImageOptions {
        dockerfile: dockerfile.to_owned(),
        // The others are given to the image once it is there; with one, it is never without a name for others to prune.
        t: request.names.first().map(ImageName::to_string),
        nocache: request.no_cache,
        cachefrom: (!cache.is_empty()).then_some(cache),
        buildargs: Some(args.collect()),
        labels: Some(request.labels.clone().into_iter().collect()),
        platform: request.platform.as_ref().map(Platform::to_string).unwrap_or_default(),
        target: request.target.as_ref().map(Word::to_string).unwrap_or_default(),
        ..BuildImageOptions::default()
    })
}
